"""Baselines from history against hand computation; simulated splits against one query each and against theory."""
import math
from dataclasses import replace

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy.stats import binom, fisher_exact, norm

from tenant_lab.core.errors import ParameterError, SchemaError
from tenant_lab.experiments.design import detectable_effect, plan, sample_size
from tenant_lab.experiments.fixed import effects
from tenant_lab.experiments.history import aa_simulation, baseline, history_moments, power_simulation
from tenant_lab.experiments.metrics import Mean, Proportion, Quantile, Ratio, Retention
from tenant_lab.experiments.moments import moments, samples

N = 2400
RNG = np.random.default_rng(11)
HOME = RNG.integers(0, 300, N)
LEVEL = RNG.normal(0, 1, 300)[HOME]
UNITS = pd.DataFrame({"home": HOME, "first": pd.Timestamp("2024-03-04") + pd.to_timedelta(RNG.integers(0, 30, N), unit="D"), "before": RNG.normal(20, 4, N), "sessions": 1 + RNG.poisson(4, N), "sessions_before": 1 + RNG.poisson(4, N),
                      "active": RNG.random(N) < 0.7, "age": RNG.integers(0, 30, N)})
UNITS["revenue"] = 5 + UNITS["before"] + LEVEL + RNG.normal(0, 3, N)
UNITS["orders"] = RNG.binomial(UNITS["sessions"], 0.3)
UNITS["orders_before"] = RNG.binomial(UNITS["sessions_before"], 0.3)
UNITS["buys"] = UNITS["orders"] > 1
METRICS = [Mean("revenue"), Mean("revenue", covariate="before", name="cuped"), Mean("revenue", covariate=["before", "sessions"], filter="active", name="two"), Mean("orders", winsorize=0.95),
           Proportion("buys"), Proportion("buys", covariate="before", name="buys, cuped"), Retention("orders", 7), Ratio("orders", "sessions"),
           Ratio("orders", "sessions", covariate=("orders_before", "sessions_before"), filter="active", name="rate, cuped")]
MADE = history_moments(UNITS, METRICS)


def within(found: float, p: float, repeats: int) -> bool:
    """Is a share inside the middle 99.9 % of the binomial distribution?"""
    low, high = binom.ppf([0.0005, 0.9995], repeats, p) / repeats
    return bool(low <= found <= high)


# moments of history

@pytest.mark.parametrize("made", [lambda f: f, pl.from_pandas, pa.Table.from_pandas, lambda f: pl.from_pandas(f).lazy(), lambda f: duckdb.connect().from_arrow(pa.Table.from_pandas(f))])
def test_any_frame_has_a_history_and_its_variants_do_not_matter(made):
    frame = UNITS[["revenue", "buys"]].assign(variant=np.arange(N) % 3)
    found = history_moments(made(frame), [Mean("revenue"), Proportion("buys")])
    assert found.variants() == ("history",)
    assert found.size == [N]
    by_variant = moments(made(frame), [Mean("revenue"), Proportion("buys")])
    for name in ("revenue", "buys"):
        assert baseline(by_variant, name).variance == pytest.approx(baseline(found, name).variance, rel=1e-12)


def test_only_the_columns_that_are_needed_are_read():
    frame = UNITS[["revenue"]].assign(mixed=[1, "two"] * (N // 2))   # Arrow refuses such a column
    assert baseline(history_moments(frame, Mean("revenue")), "revenue").mean == pytest.approx(UNITS["revenue"].mean())
    assert len(aa_simulation(frame, Mean("revenue"), repeats=100).p) == 100


def test_history_needs_a_frame_and_its_columns():
    with pytest.raises(ParameterError, match="is no data frame"):
        history_moments([1, 2], Mean("x"))
    with pytest.raises(SchemaError, match="lacks turnover"):
        history_moments(UNITS, Mean("turnover"))


# baselines

def test_mean_and_its_skewness():
    found, x = baseline(MADE, "revenue"), UNITS["revenue"].to_numpy()
    assert (found.kind, found.name, found.correlation, found.design_effect, found.daily_units) == ("mean", "revenue", 0, 1, None)
    assert (found.mean, found.variance) == pytest.approx((x.mean(), x.var(ddof=1)), rel=1e-10)
    assert found.skewness == pytest.approx(((x - x.mean()) ** 3).mean() / x.std() ** 3, rel=1e-8)


def test_a_limit_is_in_the_baseline():
    limited = UNITS["orders"].clip(upper=UNITS["orders"].quantile(0.95))
    assert baseline(MADE, "orders").variance == pytest.approx(limited.var(), rel=1e-10)


def test_shares_of_those_that_count():
    assert baseline(MADE, "buys").mean == pytest.approx(UNITS["buys"].mean(), rel=1e-12)
    old = UNITS.loc[UNITS["age"] >= 7, "orders"]
    found = baseline(MADE, "orders from day 7")
    assert (found.kind, found.mean, found.skewness) == ("proportion", pytest.approx((old > 0).mean(), rel=1e-12), None)
    assert found.variance == pytest.approx(found.mean * (1 - found.mean), rel=1e-12)


def test_ratio_is_linearised():
    found, rate = baseline(MADE, "orders / sessions"), UNITS["orders"].sum() / UNITS["sessions"].sum()
    assert (found.kind, found.mean) == ("ratio", pytest.approx(rate, rel=1e-12))
    assert found.variance == pytest.approx(((UNITS["orders"] - rate * UNITS["sessions"]) / UNITS["sessions"].mean()).var(), rel=1e-10)


def test_correlation_is_the_multiple_one():
    assert baseline(MADE, "cuped").correlation == pytest.approx(UNITS["revenue"].corr(UNITS["before"]), rel=1e-9)
    some = UNITS[UNITS["active"]]
    design = np.column_stack([np.ones(len(some)), some[["before", "sessions"]]])
    rest = some["revenue"] - design @ np.linalg.lstsq(design, some["revenue"], rcond=None)[0]
    assert baseline(MADE, "two").correlation == pytest.approx(math.sqrt(1 - (rest @ rest) / ((some["revenue"] - some["revenue"].mean()) ** 2).sum()), rel=1e-9)
    linear = [(some[f"orders{end}"] - some[f"orders{end}"].sum() / some[f"sessions{end}"].sum() * some[f"sessions{end}"]) for end in ("", "_before")]
    assert baseline(MADE, "rate, cuped").correlation == pytest.approx(abs(np.corrcoef(*linear)[0, 1]), abs=1e-9)


def test_what_the_covariate_saves_is_what_the_analysis_saves():
    """1 - correlation^2 is the share of the variance that `effects` is left with; the arms' own variances differ from the common one by chance alone, 1 / sqrt(N)."""
    saved = effects(moments(UNITS.assign(variant=np.arange(N) % 2), METRICS), 0).row("cuped")["saved"]
    assert saved == pytest.approx(baseline(MADE, "cuped").correlation ** 2, abs=3 / math.sqrt(N))


def test_clusters_of_twins():
    """Of k clusters with m equal units each, the design effect is m, up to the degrees of freedom: (m k - 1) / (k - 1)."""
    k, m = 200, 3
    twins = pd.DataFrame({"x": np.repeat(RNG.normal(5, 2, k), m), "cluster": np.repeat(np.arange(k), m)})
    found = baseline(history_moments(twins, Mean("x"), cluster="cluster"), "x")
    assert found.design_effect == pytest.approx((m * k - 1) / (k - 1), rel=1e-9) and found.cluster_size == m


@pytest.mark.parametrize("metric", [Mean("revenue"), Proportion("buys"), Ratio("orders", "sessions"), Mean("revenue", covariate="before", filter="active")])
def test_variance_of_clusters_is_that_of_totals(metric):
    found = baseline(history_moments(UNITS, metric, cluster="home"), metric.name)
    some = UNITS[UNITS["active"]] if metric.filter else UNITS
    top, below = metric.outcome()
    totals = pd.DataFrame({"x": some[top].astype(float), "y": some[below] if below else 1, "z": some["before"], "n": 1}).groupby(some["home"]).sum()
    assert found.mean == pytest.approx(totals["x"].sum() / totals["y"].sum(), rel=1e-10)
    lines = [(totals[a] - totals[a].sum() / totals[b].sum() * totals[b]) / totals[b].mean() for a, b in (("x", "y"), ("z", "n"))]
    variance = lines[0].var() / len(totals)
    if metric.covariate:
        assert found.correlation == pytest.approx(abs(np.corrcoef(*lines)[0, 1]), rel=1e-9)
    assert found.variance * found.design_effect / len(some) == pytest.approx(variance, rel=0.0005)   # of a proportion p (1 - p) has n below, not n - 1
    assert found.design_effect > (1.1 if top == "revenue" and not metric.covariate else 0)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("n", [1500, 200_000])
def test_quantile_of_a_normal(q, n):
    """q (1 - q) / f^2; the exact values stand in for a sample, so what is left is the bias of order 1/m and the cells (Hall and Martin 1988)."""
    x = pd.DataFrame({"x": norm(100, 10).ppf((np.arange(n) + 0.5) / n)})
    found, f = baseline(history_moments(x, [Mean("x", name="mean"), Quantile("x", q)]), f"x q{q:g}"), norm(100, 10).pdf(norm(100, 10).ppf(q))
    assert (found.kind, found.skewness) == ("quantile", None)
    assert found.mean == pytest.approx(norm(100, 10).ppf(q), rel=0.001)
    assert found.variance == pytest.approx(q * (1 - q) / f**2, rel=0.02)


@pytest.mark.parametrize("metric", [Mean("x"), Proportion("x"), Ratio("x", "y"), Quantile("x")])
def test_what_does_not_vary_is_no_baseline(metric):
    frame = pd.DataFrame({"x": [1, 1, 1], "y": [2, 2, 2]})
    with pytest.raises(ParameterError, match="do not vary"):
        baseline(history_moments(frame, [metric, Mean("y")]), metric.name)
    with pytest.raises(ParameterError, match="fewer than two"):
        baseline(history_moments(frame[:1], [metric, Mean("y")]), metric.name)


def test_baseline_refuses():
    with pytest.raises(ParameterError, match="there are revenue"):
        baseline(MADE, "turnover")
    with pytest.raises(ParameterError, match="correlation 1.0"):
        baseline(history_moments(UNITS.assign(twice=2 * UNITS["revenue"] + 1), Mean("revenue", covariate="twice")), "revenue")
    with pytest.raises(ParameterError, match="do not vary"):   # clusters that do not differ
        baseline(history_moments(pd.DataFrame({"x": [0.0, 2.0] * 5, "cluster": np.repeat(np.arange(5), 2)}), Mean("x"), cluster="cluster"), "x")


# traffic

def of_days(*counts: int, **columns) -> pd.DataFrame:
    n = sum(counts)
    day = np.repeat(pd.date_range("2024-03-04", periods=len(counts)), counts)
    return pd.DataFrame({"first": day, "x": np.arange(n) % 5, **{name: value(day) for name, value in columns.items()}})


@pytest.mark.parametrize("counts, expected", [((4, 6), (4, 6)), (range(1, 8), tuple(range(1, 8))), (range(1, 17), tuple(range(1, 15))), ((5, 0, 0, 3), (5, 0, 0, 3)), ((9,), (9,))])
@pytest.mark.parametrize("metric", [Mean("x"), Quantile("x")])
def test_days_from_the_first_in_whole_weeks(counts, expected, metric):
    assert baseline(history_moments(of_days(*counts), [metric, Mean("x", name="mean")], day="first"), metric.name).daily_units == expected


def test_only_who_counts_is_traffic():
    frame = of_days(*[10] * 14, age=lambda day: (pd.Timestamp("2024-03-18") - day).days, new=lambda day: np.arange(len(day)) % 2 == 0)
    made = history_moments(frame, [Mean("x"), Mean("x", filter="new", name="new"), Retention("x", 5), Retention("x", 7, name="week")], day="first")
    assert baseline(made, "x").daily_units == (10,) * 14
    assert baseline(made, "new").daily_units == (5,) * 14
    assert baseline(made, "x from day 5").daily_units == (10,) * 7   # the last days are not old enough, and no sign of less traffic
    assert baseline(made, "week").daily_units == (10,) * 7


def test_traffic_of_clusters_is_of_units_and_what_is_given_counts():
    frame = of_days(3, 4, 5).assign(cluster=np.arange(12) // 2)
    made = history_moments(frame, Mean("x"), day="first", cluster="cluster")
    assert baseline(made, "x").daily_units == (3, 4, 5)
    assert baseline(made, "x", daily_units=[7, 8]).daily_units == (7, 8)
    assert baseline(history_moments(frame, Mean("x")), "x").daily_units is None


def test_a_plan_of_history_lasts_until_its_traffic_is_enough():
    found = baseline(history_moments(UNITS, Mean("revenue"), day="first"), "revenue")
    by_day = UNITS.groupby("first").size().cumsum().to_numpy()
    units = sample_size(found, 0.03, relative=True)
    assert plan(found, 0.03, relative=True).days == np.searchsorted(by_day, math.ceil(units / 2) * 2) + 1


# splits

@pytest.mark.parametrize("cluster, share", [(None, 0.2), ("home", 0.5)])
def test_the_algebra_is_the_query(cluster, share):
    """Effects of simulated splits are those of moments of a table with the same variants."""
    found = aa_simulation(UNITS, METRICS, repeats=100, share=share, cluster=cluster, seed=3)
    drawn = np.random.default_rng(3).random((300 if cluster else N, 100), np.float32) < share
    variant = drawn[HOME if cluster else np.arange(N), 41].astype(int)
    slow = effects(moments(UNITS.assign(variant=variant), METRICS, cluster=cluster), 0).frame().set_index("metric")
    assert found.p.loc[41].to_numpy() == pytest.approx(slow.loc[list(found.p), "p"].to_numpy(), rel=1e-9)
    sizes = drawn.sum(axis=0)
    assert found.frame().set_index("metric")["n"][["revenue", "buys"]].tolist() == [len(drawn)] * 2
    assert found.frame().set_index("metric")["n"]["orders from day 7"] == (UNITS.loc[UNITS["age"] >= 7, "home"].nunique() if cluster else (UNITS["age"] >= 7).sum())
    assert found.split_alarms <= 0.01
    assert within(sizes.mean() / len(drawn), share, len(drawn) * 100)


def test_moments_of_a_split_are_those_of_its_table():
    from tenant_lab.experiments.history import _split, _values

    fast = _split(_values(UNITS, MADE), MADE, 2, 0.4, np.random.default_rng(5))
    drawn = np.random.default_rng(5).random((N, 2), np.float32) < 0.4
    few = effects(fast, 0, by="split").frame().set_index(["split", "metric"])
    columns = ["n_control", "n", "control_value", "value", "effect", "standard_error", "df", "low", "high", "relative", "relative_low", "relative_high", "p", "saved"]
    for split in range(2):
        slow = effects(moments(UNITS.assign(variant=drawn[:, split].astype(int)), METRICS), 0).frame().set_index("metric")
        np.testing.assert_allclose(few.loc[split].loc[slow.index, columns].astype(float), slow[columns].astype(float), rtol=1e-9, atol=1e-12)


def test_normal_values_are_calm():
    """Welch's test of normal values is exact, so the number of false alarms is binomial."""
    rng = np.random.default_rng(4)
    x = pd.DataFrame({"x": rng.normal(3, 1, 3000), "b": rng.normal(0, 1, 3000)}).eval("y = x + b")
    for alpha in (0.05, 0.2):
        found = aa_simulation(x, [Mean("x"), Mean("y", covariate="b")], repeats=1000, alpha=alpha, seed=1)
        for rate in found.frame()["found"]:
            assert within(rate, alpha, 1000)
        assert (found.uniformity()["p"] > 0.001).all()
        assert found.frame()["fits"].all()
        assert (found.frame()["expected"] == alpha).all()
        assert found.split_alarms <= 0.01


def test_groups_that_differ_are_calm_too():
    found = aa_simulation(UNITS, [Mean("revenue"), Ratio("orders", "sessions")], repeats=2000, cluster="home", seed=2).frame()
    for rate in found["found"]:
        assert within(rate, 0.05, 2000)


def test_heavy_tails_are_not():
    """The smaller arm of a skewed metric rejects too often, the even one of few whales too rarely (Boos and Hughes-Oliver 2000, The American Statistician 54:121)."""
    rng = np.random.default_rng(0)
    x = pd.DataFrame({"x": rng.lognormal(0, 2.5, 5000) * (rng.random(5000) < 0.1)})
    metrics = [Mean("x"), Mean("x", winsorize=0.95, name="limited")]
    uneven, even = (aa_simulation(x, metrics, share=share).frame().set_index("metric") for share in (0.1, 0.5))
    assert uneven.loc["x", "low"] > 0.05
    assert uneven.loc["x", "verdict"].endswith("of splits without a treatment look like an effect, and 5.0% should: winsorize it or split evenly or take more units")
    assert even.loc["x", "high"] < 0.05
    assert even.loc["x", "verdict"].endswith("should: winsorize it or take more units")
    assert even.loc["limited", "fits"]
    assert uneven.loc["limited", "found"] < uneven.loc["x", "low"]
    assert uneven.loc["limited", "verdict"].endswith("should: split evenly or take more units")
    alone = aa_simulation(x.assign(one=np.arange(5000)), Mean("x"), cluster="one").frame()
    assert alone["verdict"][0].endswith("should: winsorize it or take more clusters")
    assert even.loc["limited", "verdict"].endswith("and 5.0% should")


@pytest.mark.parametrize("metric, share", [*((metric, 0.5) for metric in METRICS), (METRICS[1], 0.25), (METRICS[4], 0.25)], ids=lambda given: getattr(given, "name", given))
def test_the_plans_promise_is_kept(metric, share):
    """What the baseline calls detectable with 80 % is found in 80 % of the splits."""
    n = samples(MADE, metric.name, ()).n[0]
    lift = detectable_effect(baseline(MADE, metric.name), n, relative=True, shares=(1 - share, share))
    row = power_simulation(UNITS, metric, lift, repeats=1000, share=share, seed=6).frame().iloc[0]
    assert row["expected"] == pytest.approx(0.8, abs=2e-3)
    assert within(row["found"], 0.8, 1000)


def test_a_plan_of_another_alpha():
    lift = detectable_effect(baseline(MADE, "revenue"), N, relative=True, alpha=0.2)
    row = power_simulation(UNITS, Mean("revenue"), lift, alpha=0.2, seed=8).frame().iloc[0]
    assert row["expected"] == pytest.approx(0.8, abs=2e-3)
    assert within(row["found"], 0.8, 1000)


def test_clusters_in_which_nobody_counts_are_none():
    frame = UNITS.assign(active=UNITS["active"] & (HOME >= 60))
    metric = Mean("revenue", filter="active")
    found = aa_simulation(frame, metric, repeats=100, cluster="home", seed=3)
    assert found.frame()["n"][0] == frame.loc[frame["active"], "home"].nunique() <= 240
    drawn = np.random.default_rng(3).random((300, 100), np.float32)[HOME, 7] < 0.5
    slow = effects(moments(frame.assign(variant=drawn.astype(int)), metric, cluster="home"), 0).row("revenue")
    assert found.p["revenue"][7] == pytest.approx(slow["p"], rel=1e-9)


def test_the_promise_of_clusters_is_kept():
    """The baseline in units with its design effect, and the simulation in clusters, mean the same power."""
    base = baseline(history_moments(UNITS, Mean("revenue"), cluster="home"), "revenue")
    row = power_simulation(UNITS, Mean("revenue"), detectable_effect(base, N, relative=True), cluster="home", seed=7).frame().iloc[0]
    assert row["expected"] == pytest.approx(0.8, abs=0.01)
    assert within(row["found"], 0.8, 1000)


def test_a_planted_effect_counts_on_its_side_only():
    """A hundredth of what can be seen is found in about half of alpha; and a fall like a rise."""
    tiny = power_simulation(UNITS, Mean("revenue"), 1e-6, repeats=2000).frame().iloc[0]
    assert within(tiny["found"], 0.025, 2000)
    assert tiny["verdict"].startswith(f"{tiny['found'] * 100:.1f}% of splits find the planted +1e-06, and 2.5% should")
    fall, rise = (power_simulation(UNITS.assign(loss=-UNITS["revenue"]), Mean(name), 0.02, repeats=400).frame()["found"].iloc[0] for name in ("loss", "revenue"))
    assert abs(fall - rise) < 4 * math.sqrt(0.5 / 400)
    assert power_simulation(UNITS, Mean("revenue"), 0.5, repeats=100).frame()["fits"].all()   # 100 % where 100 % are promised


def test_the_seed_decides():
    one, same, other = (aa_simulation(UNITS, Mean("revenue"), repeats=100, seed=seed) for seed in (1, 1, 2))
    assert one.p.equals(same.p)
    assert not one.p.equals(other.p)


def test_more_than_most_are_sampled():
    found = aa_simulation(UNITS, Mean("revenue"), repeats=100, most=500)
    assert found.frame()["n"].tolist() == [500]
    assert found.notes[0] == "500 of 2\u202f400 units were sampled"
    homes = aa_simulation(UNITS, Mean("revenue"), repeats=100, most=50, cluster="home")
    assert homes.notes[0] == "50 of 300 clusters were sampled"
    assert len(aa_simulation(UNITS, Mean("revenue"), repeats=100, most=N).notes) == 1


def test_nobody_is_sampled_twice():
    """All but one of the numbers from 0 to N - 1: their sum lacks one of them."""
    from tenant_lab.experiments.history import _split_units

    _, split, _ = _split_units(pd.DataFrame({"x": np.arange(N)}), [Mean("x")], 100, 0.5, None, N - 1, 0)
    both = split.where(split=0)
    assert 0 <= N * (N - 1) / 2 - (both.sums.sum() + both.count.sum() * split.centre[0]) < N


def test_rare_planted_shares_are_whole_numbers_for_fisher():
    """Of 120 units 6 say yes, and the lift adds as many again: 0.05 of the treated, in whole units."""
    yes = np.arange(120) < 6
    found = power_simulation(pd.DataFrame({"x": yes}), Proportion("x"), 1.0, repeats=100, seed=9)
    drawn = np.random.default_rng(9).random((120, 100), np.float32) < 0.5
    for split in range(100):
        n1, k1 = drawn[:, split].sum(), (yes & drawn[:, split]).sum()
        more, k0, n0 = round(k1 + 0.05 * n1), 6 - k1, 120 - n1
        if (k0 + more) / 120 * min(n0, n1) < 5:
            assert found.p["x"][split] == pytest.approx(fisher_exact([[k0, n0 - k0], [more, n1 - more]]).pvalue, rel=1e-9)


def test_a_share_near_one_stays_a_share():
    """With 0.97 + 0.02 some arms would have more than all; those are all."""
    frame = pd.DataFrame({"x": np.arange(100) % 33 > 0})
    found = power_simulation(frame, Proportion("x"), 0.02, repeats=200)
    assert found.p["x"].between(0, 1).all()


def test_splits_with_an_empty_arm_are_left_out():
    """Of 12 units an arm of 45 % has fewer than two in 0.83 % of splits."""
    found = aa_simulation(UNITS[:12], Mean("revenue"), repeats=3000, share=0.45)
    out = 3000 - found.frame()["splits"].iloc[0]
    assert within(out / 3000, 0.55**12 + 12 * 0.45 * 0.55**11 + 0.45**12 + 12 * 0.55 * 0.45**11, 3000)
    assert found.p["revenue"].isna().sum() == out
    assert len(found.p) == 3000


def test_the_picture_tells_the_worst():
    found = aa_simulation(UNITS, [Mean("revenue"), Proportion("buys")], repeats=400)
    fig, table = found.plot(), found.frame()
    for far in (0, 1):
        worse = replace(found, table=table.assign(found=np.where(table.index == far, 0.9, 0.05)))
        assert worse.plot().layout.title.text == f"{table['metric'][far]}: {table['verdict'][far]}"
    assert replace(found, p=found.p * 0 + 0.5).plot().data[1].y[99:101].tolist() == [0, 1]   # up to x, x itself included
    assert [trace.name for trace in fig.data] == ["no effect", "revenue", "buys"]
    at = fig.data[1].x.tolist().index(0.05)
    assert fig.data[1].y[at] == pytest.approx(table["found"][0], abs=1e-4)
    assert "the check of the split rings" in found._repr_html_()
    table.loc[0, "found"] = 2
    assert found.frame()["found"][0] < 1


@pytest.mark.parametrize("given, said", [
    ({"metrics": Quantile("revenue")}, "revenue q0.5: a quantile has no moments"), ({"metrics": []}, "needs at least one"), ({"repeats": 99}, "repeats 99"), ({"repeats": 200.0}, "repeats 200.0"), ({"share": 0.0}, "share 0.0: needs 5 or more"),
    ({"share": 1.1}, "share 1.1"), ({"share": 0.001}, "take more units"), ({"share": 0.999}, "take more units"), ({"most": 0}, "most 0"), ({"most": 8}, "8 units that count"), ({"alpha": 0}, "alpha 0"), ({"metrics": Mean("same")}, "do not vary"), ({"cluster": "home", "share": 0.01}, "take more clusters"),
    ({"metrics": Quantile("revenue"), "cluster": "home"}, "a quantile has no moments")])
def test_simulation_refuses(given, said):
    with pytest.raises(ParameterError, match=said):
        aa_simulation(**{"units": UNITS.assign(same=1), "metrics": Mean("revenue"), "repeats": 100, **given})


def test_power_simulation_refuses():
    for lift, said in ((0, "plants nothing"), (True, "lift True"), (math.nan, "lift nan"), (9.0, "needs one between 0 and 1")):
        with pytest.raises(ParameterError, match=said):
            power_simulation(UNITS, Proportion("buys"), lift, repeats=100)
    with pytest.raises(SchemaError, match="no value"):
        aa_simulation(UNITS.assign(revenue=np.where(np.arange(N) == 5, np.nan, UNITS["revenue"])), Mean("revenue"))
