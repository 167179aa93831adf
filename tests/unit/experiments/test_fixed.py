"""Effects beside SciPy, statsmodels and published intervals; several treatments, corrections, segments, and what the notes say."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats
from scipy.optimize import brentq
from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest

from tenant_lab.core.errors import ParameterError, SchemaError
from tenant_lab.core.shares import newcombe_interval
from tenant_lab.experiments.fixed import LEAST, delta_relative, effects, fieller, share_p, share_ratio, two_sided, welch
from tenant_lab.experiments.heterogeneity import interaction, segment_effects
from tenant_lab.experiments.margins import margin_test
from tenant_lab.experiments.metrics import Mean, Proportion, Quantile, Ratio
from tenant_lab.experiments.moments import moments
from tenant_lab.experiments.multiplicity import adjust_p, dunnett


def units(n=900, seed=0, arms="ABC"):
    rng = np.random.default_rng(seed)
    arm = rng.integers(0, len(arms), n)
    y = rng.normal(0, 1, n)
    return pd.DataFrame({"variant": np.array(list(arms))[arm], "seg": rng.choice(["u", "v"], n), "y": y, "x": 5 + 0.3 * arm + y + rng.normal(0, 1, n), "b": rng.random(n) < 0.2 + 0.1 * arm, "s": 1 + rng.poisson(3, n), "shop": rng.integers(0, 50, n)})


def found(frame, given, control="A", **asked):
    by, strata = ([one] if isinstance(one, str) else list(one) for one in (asked.get("by", ()), asked.get("strata", ())))
    return effects(moments(pl.from_pandas(frame).lazy(), given, by=[*by, *strata], cluster=asked.pop("cluster", None)), control, **asked)


def small(a, b, **more):
    return pd.DataFrame({"variant": ["A"] * len(a) + ["B"] * len(b), "x": [*map(float, a), *map(float, b)], "seg": "s"} | more)


def of(frame, column, variant):
    return frame.loc[frame["variant"] == variant, column].to_numpy(float)


def test_two_sided():
    t = np.array([0.0, 1.0, -2.5, 40.0])
    assert two_sided(t, 7) == pytest.approx(2 * stats.t.sf(np.abs(t), 7), rel=1e-12) and two_sided(t[:3], np.inf) == pytest.approx(2 * stats.norm.sf(np.abs(t[:3])), rel=1e-12)
    assert two_sided(1e6, np.inf) == LEAST > 0 and two_sided(np.inf, 5) == LEAST


@pytest.mark.parametrize(("n0", "n1"), [(2, 2), (5, 40), (300, 300)])
def test_welch_is_scipys(n0, n1):
    rng = np.random.default_rng(n0)
    a, b = rng.normal(0, 1, n0), rng.normal(0.4, 3, n1)
    for alpha in (0.05, 0.2):
        theirs = stats.ttest_ind(b, a, equal_var=False)
        low, high, p, se, df = welch(b.mean() - a.mean(), a.var(ddof=1) / n0, b.var(ddof=1) / n1, n0 - 1, n1 - 1, alpha)
        assert (p, df) == pytest.approx((theirs.pvalue, theirs.df), rel=1e-10) and se == pytest.approx(np.hypot(stats.sem(a), stats.sem(b)))
        assert (float(low), float(high)) == pytest.approx(tuple(theirs.confidence_interval(1 - alpha)), rel=1e-10)


def test_welch_at_its_edges():
    low, high, p, se, _ = welch(np.array([0.0, 1.0]), np.zeros(2), np.zeros(2), 5, 5)
    assert p[0] == 1 and np.isnan(p[1]) and low.tolist() == high.tolist() == [0.0, 1.0] and not se.any()
    assert welch(1.0, np.array(0.0), 0.01, 5, 9)[4] == pytest.approx(9) and welch(1e5, 1e-3, 1e-3, 1e6, 1e6)[2] == LEAST
    assert welch(2.0, np.array([0.5]), 0.5, np.inf, np.inf)[2] == pytest.approx(2 * stats.norm.sf(2.0))


def test_fieller_holds_the_ratios_that_a_test_does_not_contradict():
    """The ends are where |m1 - ρ m0| is just t standard errors; Fieller (1954)."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        m0, m1, v0, v1, t = rng.uniform(1, 5), rng.uniform(-5, 5), rng.uniform(0.001, 0.02), rng.uniform(0.001, 0.5), rng.uniform(1, 3)
        low, high = fieller(m0, m1, v0, v1, t)

        def beyond(rho, m0=m0, m1=m1, v0=v0, v1=v1, t=t):
            return (m1 - rho * m0)**2 - t**2 * (v1 + rho**2 * v0)

        assert low < m1 / m0 - 1 < high
        assert low == pytest.approx(brentq(beyond, m1 / m0 - 1e3, m1 / m0) - 1, rel=1e-8) and high == pytest.approx(brentq(beyond, m1 / m0, m1 / m0 + 1e3) - 1, rel=1e-8)
        assert (low <= 0 <= high) == (abs(m1 - m0) <= t * np.sqrt(v0 + v1))


def test_fieller_where_the_control_may_be_0():
    low, high = fieller(np.array([1.0, 1.0, 0.0]), 2.0, np.array([0.26, 0.2, 0.0]), 0.1, 2.0)
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [True, False, True]


def test_duality_with_the_p_value_over_many_experiments():
    """p at most alpha, a difference whose interval leaves out 0, and a relative one that does: all three or none."""
    frame = pd.concat([units(150, seed).assign(seg=seed) for seed in range(8)])
    made = moments(pl.from_pandas(frame).lazy(), [Mean("x", covariate="y"), Ratio("x", "s")], by="seg")
    for alpha in (0.05, 0.3):
        for adjust in ("pooled", "separate"):
            table = effects(made, "A", by="seg", adjust=adjust, alpha=alpha).table
            clear = table["p"] <= alpha
            assert (clear == ((table["low"] > 0) | (table["high"] < 0))).all() and (clear == ((table["relative_low"] > 0) | (table["relative_high"] < 0))).all()


def test_the_delta_method():
    lift, error = delta_relative(np.array([2.0, 0.0]), np.array([3.0, 1.0]), 0.04, 0.09)
    assert (lift[0], error[0]) == pytest.approx((0.5, np.sqrt(0.09 / 4 + 0.04 * 9 / 16))) and not np.isfinite(lift[1])
    row = found(units(arms="AB"), Mean("x"), relative="delta").table.iloc[0]
    lift, error = delta_relative(row["control_value"], row["value"], row["control_variance"], row["variance"])
    assert (row["relative_low"], row["relative_high"]) == pytest.approx((lift - stats.t.ppf(0.975, row["df"]) * error, lift + stats.t.ppf(0.975, row["df"]) * error))


def test_ratio_of_shares_published():
    """Perondi et al. (2004): 7 of 34 beside 1 of 34, ratio 7.0000 from 1.1537 to 41.9763, difference from 0.0189 to 0.3404.

    Fagerland, Lydersen & Laake (2017, Statistical Analysis of Contingency Tables, chapter 4), MOVER-R Wilson and Newcombe; numbers of the tests of its R package `contingencytables`.
    """
    low, high = share_ratio(7, 34, 1, 34)
    assert (1 + low, 1 + high) == pytest.approx((1 / 41.9763, 1 / 1.1537), rel=1e-4)
    assert [float(one) for one in newcombe_interval(7, 34, 1, 34)] == pytest.approx([0.0189, 0.3404], abs=5e-5)


def test_ratio_of_shares_published_where_the_control_is_rare():
    low, high = share_ratio(1, 34, 7, 34)
    assert (1 + low, 1 + high) == pytest.approx((1.1537, 41.9763), rel=1e-4)


def test_a_ratio_of_shares_turned_around():
    """Control and treatment exchanged: the ends are one through the other."""
    k, n = np.random.default_rng(2).integers(20, 90, (2, 50)), 100
    low, high = share_ratio(k[0], n, k[1], n)
    back_low, back_high = share_ratio(k[1], n, k[0], n)
    assert 1 + low == pytest.approx(1 / (1 + back_high), rel=1e-9) and 1 + high == pytest.approx(1 / (1 + back_low), rel=1e-9)


def test_a_ratio_of_shares_is_near_the_score_interval():
    """Koopman's (1984), as of statsmodels: of hundreds of events within a hundredth of the interval's width."""
    for k0, n0, k1, n1 in ((200, 1000, 260, 1100), (500, 900, 480, 1000), (150, 5000, 190, 5000)):
        ends, theirs = np.array(share_ratio(k0, n0, k1, n1)) + 1, np.array(confint_proportions_2indep(k1, n1, k0, n0, compare="ratio", method="score"))
        assert ends == pytest.approx(theirs, abs=0.01 * (theirs[1] - theirs[0]))


@pytest.mark.parametrize(("n0", "n1", "p0", "p1"), [(100, 100, 0.2, 0.25), (60, 120, 0.4, 0.4), (150, 80, 0.7, 0.5)])
def test_coverage_of_a_ratio_of_shares(n0, n1, p0, p1):
    """By all outcomes; Fagerland, Lydersen & Laake (2015, Statistical Methods in Medical Research 24, 224-254) find it close to 95 % at such sizes."""
    assert covered(n0, n1, p0, p1)[0] == pytest.approx(0.95, abs=0.012)


@pytest.mark.parametrize(("n0", "n1", "p0", "p1"), [(30, 30, 0.1, 0.1), (100, 100, 0.02, 0.04), (40, 200, 0.1, 0.1), (1000, 1000, 0.004, 0.006)])
def test_an_interval_that_is_given_holds_also_where_the_control_is_rare(n0, n1, p0, p1):
    """If it were given only after many events of the control, most of those given would miss; it must hold given that there is one."""
    held, given = covered(n0, n1, p0, p1)
    assert held / given >= 0.93


def covered(n0, n1, p0, p1):
    """Chance that the interval is given and holds, and that it is given."""
    k0, k1 = (one.ravel() for one in np.meshgrid(np.arange(min(n0, 60) + 1) if p0 < 0.01 else np.arange(n0 + 1), np.arange(min(n1, 60) + 1) if p1 < 0.01 else np.arange(n1 + 1)))
    chance = stats.binom.pmf(k0, n0, p0) * stats.binom.pmf(k1, n1, p1)
    low, high = share_ratio(k0, n0, k1, n1)
    return chance[(low <= p1 / p0 - 1) & (p1 / p0 - 1 <= high)].sum(), chance[~np.isnan(low)].sum()


def test_a_ratio_of_shares_at_its_edges():
    assert all(np.isnan(share_ratio(0, 20, 5, 20)))
    low, high = share_ratio(np.array([5, 20, 20]), np.array([10, 20, 20]), np.array([0, 20, 0]), np.array([10, 20, 20]))
    assert low[0] == low[2] == -1 and (high > low).all() and low[1] < 0 < high[1]
    narrow, wide = (share_ratio(50, 100, 60, 100, alpha) for alpha in (0.2, 0.01))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_p_of_shares_is_that_of_statsmodels_or_fishers():
    rng = np.random.default_rng(3)
    for _ in range(60):
        n0, n1 = rng.integers(5, 400, 2)
        k0, k1 = rng.binomial(n0, 0.1), rng.binomial(n1, 0.15)
        pooled = (k0 + k1) / (n0 + n1)
        few = min(pooled, 1 - pooled) * min(n0, n1) < 5
        wanted = stats.fisher_exact([[k0, n0 - k0], [k1, n1 - k1]]).pvalue if few else proportions_ztest([k0, k1], [n0, n1])[1]
        assert float(share_p(k0, n0, k1, n1)) == pytest.approx(wanted, rel=1e-9)
    assert share_p(np.array([0, 10]), 10, np.array([0, 10]), 10).tolist() == [1.0, 1.0] and share_p([0], [9999], [9999], [9999]).tolist() == [LEAST]
    assert share_p(5 * 10**14, 10**15, 5 * 10**14 + 10**8, 10**15) == pytest.approx(2 * stats.norm.sf(2 * 1e8 / np.sqrt(2e15)), rel=1e-6)


def test_a_mean_is_scipys_test():
    frame = units()
    table = found(frame, Mean("x")).table
    assert table["variant"].tolist() == ["B", "C"] and (table["control"] == "A").all()
    for _, row in table.iterrows():
        theirs = stats.ttest_ind(of(frame, "x", row["variant"]), of(frame, "x", "A"), equal_var=False)
        assert row["p"] == row["p_adjusted"] == pytest.approx(theirs.pvalue, rel=1e-9) and row["df"] == pytest.approx(theirs.df)
        assert (row["low"], row["high"]) == pytest.approx(tuple(theirs.confidence_interval()), rel=1e-9)
        assert (row["n_control"], row["n"]) == (len(of(frame, "x", "A")), len(of(frame, "x", row["variant"]))) and row["saved"] == pytest.approx(0, abs=1e-12)
        assert row["effect"] == pytest.approx(row["value"] - row["control_value"]) and row["relative"] == pytest.approx(row["value"] / row["control_value"] - 1)


def test_a_share_goes_by_its_own_methods():
    frame = units(arms="AB")
    row = found(frame, Proportion("b"), alpha=0.1).table.iloc[0]
    (k0, n0), (k1, n1) = ((of(frame, "b", one).sum(), len(of(frame, "b", one))) for one in "AB")
    assert (row["low"], row["high"]) == pytest.approx(tuple(float(one) for one in newcombe_interval(k1, n1, k0, n0, 0.9)))
    assert (row["relative_low"], row["relative_high"]) == pytest.approx(tuple(float(one) for one in share_ratio(k0, n0, k1, n1, 0.1)))
    assert row["p"] == pytest.approx(proportions_ztest([k0, k1], [n0, n1])[1])
    for asked in ({"given": Proportion("b", covariate="y")}, {"given": Proportion("b"), "strata": "seg"}, {"given": Proportion("b"), "cluster": "shop"}):   # then as means
        row = found(frame, **asked).table.iloc[0]
        assert row["high"] - row["effect"] == pytest.approx(row["effect"] - row["low"]) == pytest.approx(stats.t.ppf(0.975, row["df"]) * row["standard_error"])


def test_covariates_save_and_can_be_left_out():
    frame = units(arms="AB")
    both = {adjust: found(frame, Mean("x", covariate="y"), adjust=adjust).table.iloc[0] for adjust in ("pooled", "separate", None)}
    assert both[None]["p"] == pytest.approx(found(frame, Mean("x")).table["p"].iloc[0]) and both[None]["saved"] == pytest.approx(0)
    for adjust in ("pooled", "separate"):   # y makes half of the variance
        assert both[adjust]["saved"] == pytest.approx(0.5, abs=0.1) and both[adjust]["saved"] == pytest.approx(1 - (both[adjust]["standard_error"] / both[None]["standard_error"])**2)


@pytest.mark.parametrize("method", ["bonferroni", "holm", "hochberg", "benjamini-hochberg", "benjamini-yekutieli"])
def test_corrections_are_over_all_rows(method):
    made = moments(units(300), [Mean("x"), Proportion("b"), Mean("s")])
    plain, table = (effects(made, "A", correction=one).table for one in ("none", method))
    assert table["p"].tolist() == plain["p"].tolist() and len(table) == 6
    assert table["p_adjusted"].to_numpy() == pytest.approx(adjust_p(plain["p"].to_numpy(), method)) and (table["low"] == plain["low"]).all()
    assert [one is not None for one in table["better"]] == (table["p_adjusted"] <= 0.05).tolist()


def test_dunnetts_intervals_hold_together():
    frame = units(300)
    made = found(frame, [Mean("x"), Mean("s")], correction="dunnett", alpha=0.1)
    for name in ("x", "s"):
        own = made.table[made.table["metric"] == name]
        joint = dunnett(own["effect"].to_numpy(), own["control_variance"].iloc[0], own["variance"].to_numpy(), float(own["df"].min()), 0.1)
        assert own["p_adjusted"].to_numpy() == pytest.approx(joint.frame()["p"].to_numpy()) and own["low"].to_numpy() == pytest.approx(joint.frame()["low"].to_numpy())
        assert own["high"].to_numpy() - own["effect"].to_numpy() == pytest.approx(joint.critical * own["standard_error"].to_numpy())
        ends = fieller(own["control_value"], own["value"], own["control_variance"], own["variance"], joint.critical)
        assert own["relative_low"].to_numpy() == pytest.approx(ends[0]) and own["relative_high"].to_numpy() == pytest.approx(ends[1])
    theirs = stats.dunnett(of(frame, "x", "B"), of(frame, "x", "C"), control=of(frame, "x", "A"), rng=np.random.default_rng(4)).pvalue
    assert made.table["p_adjusted"].to_numpy()[:2] == pytest.approx(theirs, abs=0.02)   # theirs pools the variances of all three arms, ours of two
    by = found(frame, [Mean("x"), Quantile("y", name="q")], by="seg", correction="dunnett").table
    assert len(by) == 8 and by["p_adjusted"].notna().all() and (by["p_adjusted"] >= by["p"] - 2e-3).all()


def test_an_adjusted_p_is_never_below_the_plain_one():
    for metric in (Mean("x"), Proportion("b")):
        table = found(units(600), metric, correction="dunnett").table
        assert (table["p_adjusted"] >= table["p"]).all() and (table["low"] < table["effect"]).all()


def test_dunnett_keeps_the_kind_of_relative_interval_that_was_asked_for():
    table = found(units(600), Mean("x"), correction="dunnett", relative="delta").table
    assert (table["relative_high"] - table["relative"]).to_numpy() == pytest.approx((table["relative"] - table["relative_low"]).to_numpy())


def test_dunnett_of_what_does_not_vary():
    still = found(small([1, 1, 1], [1, 1, 1]), Mean("x"), correction="dunnett").table.iloc[0]
    assert still["p_adjusted"] == 1 and still["better"] is None and still["p"] == 1
    frame = pd.DataFrame({"variant": np.repeat(["A", "B", "C"], 400), "k": [1] * 40 + [0] * 360 + [1] * 80 + [0] * 320 + [0] * 400})
    nobody = pd.DataFrame({"variant": np.repeat(["A", "B", "C"], 100), "k": [1] * 200 + [1] * 90 + [0] * 10})
    rows = found(nobody, Proportion("k"), correction="dunnett").table   # all of A and B: no interval of no width
    low, high = newcombe_interval(np.array([100, 90]), 100, 100, 100, 0.975)
    assert rows["low"].tolist() == pytest.approx(low) and rows["high"].tolist() == pytest.approx(high) and (rows["relative_high"] - rows["relative_low"] > 0.01).all()
    for metric in (Proportion("k"), Mean("k")):   # C lost everything, and does not vary: Bonferroni of two
        table = found(frame, metric, correction="dunnett").table.set_index("variant")
        assert table["p_adjusted"].tolist() == pytest.approx((2 * table["p"]).tolist()) and table["better"].tolist() == [True, False]
        assert (table["low"] < table["effect"]).all() and (table["effect"] < table["high"]).all()


def test_better_in_the_metrics_own_direction():
    frame = units(3000)
    made = found(frame, [Mean("x"), Mean("x", name="cost", direction="decrease"), Mean("y")])
    table = made.table.set_index(["metric", "variant"])["better"]
    assert table["x", "C"] is True and table["cost", "C"] is False and table["y", "B"] is None
    back = found(frame, [Mean("x", name="cost", direction="decrease")], control="C").table.set_index("variant")
    assert back.loc["A", "better"] is True and back.loc["A", "effect"] < 0
    assert made.row("x", "C")["effect"] == made.table["effect"].iloc[1] and found(units(arms="AB"), Mean("x")).row("x")["variant"] == "B"
    for metric, variant in (("x", None), ("x", "A"), ("z", "B")):
        with pytest.raises(ParameterError, match=r"rows; there are \('x', 'B'\), \('x', 'C'\)"):
            made.row(metric, variant)


def test_metrics_chosen_and_ordered():
    made = found(units(), [Mean("x"), Proportion("b"), Mean("s")], metrics=["s", "x"])
    assert made.table["metric"].tolist() == ["s", "s", "x", "x"] and [one.name for one in made.metrics] == ["s", "x"]
    frame = made.frame()
    frame["effect"] = 0
    assert made.table["effect"].any() and list(frame)[:3] == ["metric", "control", "variant"]


def test_segments():
    frame = units()
    made = found(frame, [Mean("x"), Proportion("b"), Quantile("x", name="q")], by="seg")
    assert list(made.table)[:4] == ["metric", "seg", "control", "variant"] and made.by == ("seg",) and len(made.table) == 12
    for name in ("u", "v"):
        alone = found(frame[frame["seg"] == name], [Mean("x"), Proportion("b")]).table
        own = made.table[(made.table["seg"] == name) & (made.table["metric"] != "q")]
        for column in ("effect", "low", "high", "relative_low", "p"):
            assert own[column].to_numpy() == pytest.approx(alone[column].to_numpy(), rel=1e-9)


def test_segments_where_an_arm_is_empty_are_left_out_with_a_note():
    frame = units(300, arms="AB")
    frame.loc[frame["variant"] == "B", "seg"] = "u"
    frame.loc[:0, ["variant", "seg"]] = "B", "w"
    frame["x"] = np.round(frame["x"])
    made = found(frame, [Mean("x"), Quantile("x", name="q")], by="seg")
    assert made.table["seg"].tolist() == ["u", "u"]
    assert [note for note in made.notes if "left out" in note] == [f"{name}: 2 segments are left out, where an arm has fewer than 2 units (v, w)" for name in ("x", "q")]
    many = frame.assign(seg=[f"{k:03d}" for k in range(100)] + ["all"] * 200)
    assert any("100 segments are left out" in note and "(000 · 001 · 002, …)".replace(" · ", ", ") in note for note in found(many, Mean("x"), by="seg").notes)
    clusters = found(frame.assign(shop=np.where(frame["seg"] == "w", 1, frame["shop"])), Mean("x"), by="seg", cluster="shop")
    assert any("fewer than 2 clusters" in note for note in clusters.notes)


def test_all_segments_left_out():
    """Nobody can be compared: an empty table and a note, or an error that says so, but not one about p."""
    try:
        made = found(small([1], [2]), Mean("x"), by="seg")
    except ParameterError as error:
        assert "fewer than 2 units" in str(error)
    else:
        assert not len(made.table) and "left out" in made.notes[0]


def test_too_few():
    for metric in (Mean("x"), Ratio("x", "x")):
        with pytest.raises(ParameterError, match="an arm has fewer than 2 units, variant 'B' or the control; there is nothing to compare"):
            found(small([1, 2], [2]), metric)
    with pytest.raises(ParameterError, match="q: an arm has fewer than 2 units, variant 'B' or the control; there is nothing to compare"):
        found(small([1, 2], [2]), [Mean("x"), Quantile("x", name="q")], metrics=["q"])
    with pytest.raises(ParameterError, match="in a stratum, variant 'B' or the control; join strata"):
        found(small([1, 2, 3], [2, 3, 4]).assign(seg=["u", "u", "v", "u", "u", "u"]), Mean("x"), strata="seg")
    with pytest.raises(ParameterError, match="fewer than 2 clusters"):
        found(small([1, 2, 3], [2, 3, 4], shop=1), Mean("x"), cluster="shop")


def test_values_that_do_not_vary():
    """Two arms that differ and never vary: no p-value, and a note that says why."""
    same = found(small([1, 1, 1], [1, 1, 1]), Mean("x"))
    assert same.table[["p", "low", "high", "relative_low"]].iloc[0].tolist() == [1.0, 0.0, 0.0, 0.0] and not any("p-value" in note for note in same.notes)
    both = found(small([1, 1, 1], [2, 2, 2], y=[1.0, 2.0, 3.5, 4.0, 5.0, 6.5]), [Mean("x"), Mean("y")])
    assert np.isnan(both.table["p"].iloc[0]) and both.table["p"].iloc[1] < 1 and both.table["better"].iloc[0] is None
    assert "x: 1 comparisons of values that do not vary in either arm, so no p-value" in both.notes
    alone = found(small([1, 1, 1], [2, 2, 2]), Mean("x"))
    assert np.isnan(alone.table["p_adjusted"].iloc[0]) and "x: 1 comparisons of values that do not vary in either arm, so no p-value" in alone.notes


@pytest.mark.parametrize("value", [0.7, 1 / 3, 123.456])
@pytest.mark.parametrize("n", [2, 3, 10])
def test_an_arm_that_does_not_vary_has_no_skewness(value, n):
    """Rounding leaves a trace of a third power, and none of a variance."""
    made = found(small([11, 12, 13], [value] * n), Mean("x"))
    assert not made.notes and made.table["variance"].iloc[0] == pytest.approx(0, abs=8 * np.spacing(max(value, 13.0)**2))


def test_separate_slopes_of_too_few_units():
    """Three units and two slopes leave no degree of freedom: a note or an error about that."""
    frame = units(6, arms="AB").assign(variant=list("AAABBB"), z=[1.0, 3.0, 2.0, 5.0, 4.0, 4.5])
    try:
        made = found(frame, Mean("x", covariate=["y", "z"]), adjust="separate")
    except ParameterError as error:
        assert "covariate" in str(error)
    else:
        assert made.notes


def test_a_control_near_0_has_no_relative_interval():
    made = found(units(arms="AB").assign(y=lambda own: own["y"] - of(own, "y", "A").mean() + 0.01), Mean("y"))
    assert np.isnan(made.table["relative_low"].iloc[0]) and "y: 1 relative effects without interval, for the control's value may be 0 or below" in made.notes
    rare = small([0] * 50, [0, 1] * 25)
    made = found(rare, [Proportion("x"), Quantile("x", name="q")])
    assert made.table["relative_low"].isna().all() and sum("relative effects without interval" in note for note in made.notes) == 2
    assert made.table["p"].iloc[0] == pytest.approx(proportions_ztest([0, 25], [50, 50])[1])


@pytest.mark.parametrize("metric", [Mean("x"), Quantile("x")], ids=str)
def test_of_a_loss_there_are_no_percents(metric):
    rng = np.random.default_rng(1)
    made = found(small(rng.normal(-10, 2, 400), rng.normal(-5, 2, 400)), metric)
    row = made.table.iloc[0]
    assert row["effect"] == pytest.approx(5, abs=0.7) and row["better"] is True and np.isnan(row[["relative", "relative_low", "relative_high"]].astype(float)).all()
    assert any("may be 0 or below" in note for note in made.notes) and made.plot().data[0].x[0] == row["effect"]


def test_a_picture_of_what_has_an_interval_only():
    rng = np.random.default_rng(2)
    shown = found(pd.DataFrame({"variant": ["A", "B"] * 200, "x": rng.normal(0.02, 1, 400), "y": rng.normal(9, 1, 400)}), [Mean("x"), Mean("y")]).plot().data[0]
    assert list(shown.y) == ["y"] and np.isfinite(np.array(shown.error_x.array, float)).all()


def test_a_segment_without_a_denominator_is_left_out():
    frame = units(arms="AB").assign(below=lambda own: np.where(own["seg"] == own["seg"].iloc[0], 0.0, 1.0))
    made = found(frame, Ratio("x", "below"), by="seg")
    assert frame["seg"].iloc[0] not in set(made.table["seg"]) and len(made.table) == frame["seg"].nunique() - 1
    assert "1 segments are left out, where an arm has fewer than one unit whose denominator is above 0" in made.notes[0]
    with pytest.raises(ParameterError, match="x / below: an arm has fewer than one unit whose denominator is above 0"):
        found(frame.assign(below=0.0), Ratio("x", "below"))


def test_quantiles_without_strata_say_so():
    assert "x q0.5: quantiles know no strata, and are compared without" in found(units(arms="AB"), [Quantile("x")], by=(), strata="seg").notes


def test_a_skewed_mean_says_so():
    """355 × skewness² units: Kohavi, Deng, Longbotham & Xu (2014, KDD, rule 7)."""
    rng = np.random.default_rng(5)
    frame = small(rng.lognormal(0, 2, 400), rng.lognormal(0, 2, 500))
    note, = found(frame, Mean("x")).notes
    skew = max((stats.skew(of(frame, "x", one))**2 / len(of(frame, "x", one)), stats.skew(of(frame, "x", one)), len(of(frame, "x", one))) for one in "AB")
    assert note.startswith(f"x: {skew[2]} units of skewness {skew[1]:.1f} are few for a mean") and "winsorize, or compare quantiles" in note
    assert not found(units(arms="AB"), Mean("x")).notes and not found(frame, Mean("x", winsorize=(None, 3))).notes


def test_few_clusters_say_so():
    apart = units(arms="AB").assign(shop=lambda own: own["shop"] + 100 * (own["variant"] == "B"))
    assert not found(apart, Mean("x"), cluster="shop").notes
    few = found(apart.assign(shop=lambda own: own["shop"] // 100 * 100 + own["shop"] % 7), Mean("x"), cluster="shop")
    assert few.notes == ("x: an arm has only 7 clusters; intervals of fewer than 20 are rough",)


def test_quantiles():
    """Ends beside a plain bootstrap of 4,000 draws, within 5 Monte-Carlo errors of their shares; the same for the same seed."""
    rng = np.random.default_rng(6)
    frame = small(rng.lognormal(0, 1, 400), rng.lognormal(0.3, 1, 300))
    metrics = [Mean("x"), Quantile("x", q=0.8, name="q")]
    row = found(frame, metrics, metrics=["q"]).table.iloc[0]
    a, b = of(frame, "x", "A"), of(frame, "x", "B")
    assert (row["control_value"], row["value"]) == pytest.approx(tuple(np.quantile(one, 0.8, method="inverted_cdf") for one in (a, b)), rel=1e-3)
    drawn = [np.quantile(rng.choice(one, (4000, len(one))), 0.8, axis=1, method="inverted_cdf") for one in (a, b)]
    for step, names in ((drawn[1] - drawn[0], ("low", "high")), (drawn[1] / drawn[0] - 1, ("relative_low", "relative_high"))):
        for share, name in zip((0.025, 0.975), names, strict=True):
            off = 5 * np.sqrt(share * (1 - share) / 4000)
            assert np.quantile(step, share - off) - 0.002 <= row[name] <= np.quantile(step, share + off) + 0.002   # 0.002: cells
    assert row["standard_error"] == pytest.approx((drawn[1] - drawn[0]).std(), rel=5 * np.sqrt(1 / 8000) + 0.02)
    assert row["n"] == 300 and np.isinf(row["df"]) and np.isnan(row["saved"])
    assert found(frame, metrics, metrics=["q"], seed=1).table["low"].iloc[0] != row["low"] == found(frame, metrics, metrics=["q"]).table["low"].iloc[0]


def test_p_is_never_0():
    frame = small(np.arange(200) % 7, np.arange(200) % 7 + 1e6).assign(b=np.repeat([0.0, 1.0], 200))
    table = found(frame, [Mean("x"), Proportion("b"), Quantile("x", name="q"), Ratio("x", "x", name="r")], correction="none").table
    assert (table["p"] > 0).all() and (table["p"] <= 1).all() and table["p"].iloc[2] == pytest.approx(2 / 10_001)


def test_a_p_value_holds_its_level_without_an_effect():
    """Of 1,000 comparisons of nothing 5 % are below 0.05, give or take 5 binomial errors; for shares at most, for Fisher's test errs to the safe side."""
    rng, n = np.random.default_rng(7), 60_000
    frame = pd.DataFrame({"variant": rng.choice(["A", "B"], n), "seg": rng.integers(0, 1000, n), "x": rng.exponential(1, n), "y": rng.normal(0, 1, n), "b": rng.random(n) < 0.3})
    table = found(frame, [Mean("x", covariate="y"), Proportion("b")], by="seg").table
    share = (table["p"] <= 0.05).groupby(table["metric"]).mean()
    off = 5 * np.sqrt(0.05 * 0.95 / 1000)
    assert share["x"] == pytest.approx(0.05, abs=off) and share["b"] <= 0.05 + off


def test_pictures():
    frame = units(3000)
    made = found(frame, [Mean("x"), Mean("x", name="cost", direction="decrease"), Mean("y")])
    assert made.plot().layout.title.text == "Better: x · B, x · C; worse: cost · B, cost · C"
    assert found(frame, Mean("y")).plot().layout.title.text == "No clear difference"
    assert list(made.plot().data[0].y) == ["cost · C", "cost · B", "x · C", "x · B"]
    assert list(found(units(300, arms="AB"), Mean("x"), by="seg").plot().data[0].y) == ["x · v", "x · u"]
    rare = found(small([0] * 50, [0, 1] * 25), Proportion("x"))._repr_html_()
    assert "<b>Effects</b>" in rare and "may be 0" in rare


def test_relative_effects_without_a_number_are_drawn_as_differences():
    """The docstring says: absolute ones where no relative one is known."""
    shown = found(small([0, 0, 0], [1, 2, 3]), Mean("x")).plot().data[0]
    assert np.isfinite(np.array(shown.x, float)).all()


def test_what_is_refused():
    made = moments(pl.from_pandas(units()).lazy(), [Mean("x"), Proportion("b")], by="seg")
    for control in ("Z", None, ["A"], 0):
        with pytest.raises(ParameterError, match="the variants are A, B, C; needs a control that is one of them, and a treatment"):
            effects(made, control)
    with pytest.raises(ParameterError, match="the variants are A; needs a control"):
        effects(made.where(variant="A"), "A")
    for asked, said in (({"metrics": ["y"]}, "metric 'y': there are x, b"), ({"adjust": "cuped"}, "adjust 'cuped': allowed are pooled, separate, None"), ({"relative": "exact"}, "relative 'exact': allowed are fieller, delta"),
                        ({"correction": "x"}, "'x': allowed are"), ({"alpha": 0}, "alpha 0: needs a number"), ({"alpha": 1}, "alpha 1"), ({"alpha": "5 %"}, "alpha '5 %'"), ({"alpha": True}, "alpha True")):
        with pytest.raises(ParameterError, match=said):
            effects(made, "A", **asked)
    for asked in ({"by": "nope"}, {"strata": "nope"}):
        with pytest.raises(SchemaError, match="moments lacks nope; it has variant, seg"):
            effects(made, "A", **asked)


@pytest.mark.parametrize("asked", [{"metrics": []}, {"by": "variant"}, {"strata": "variant"}, {"by": "seg", "strata": "seg"}, {"seed": -1}, {"seed": "x"}, {"seed": None}], ids=str)
def test_users_mistakes_are_parameter_errors(asked):
    made = moments(pl.from_pandas(units(100)).lazy(), [Mean("x"), Quantile("x", name="q")], by="seg")
    with pytest.raises(ParameterError):
        effects(made, "A", **asked)


@pytest.mark.parametrize("name", ["n", "value", "effect", "p", "comparison", "control", "metric"])
def test_segments_named_like_a_column_of_the_table(name):
    """Two columns of one name cannot be read: another name, or an error that asks for one."""
    try:
        made = found(units(300).rename(columns={"seg": name}), [Mean("x"), Quantile("y", name="q")], by=name)
    except ParameterError as error:
        assert name in str(error)
    else:
        assert made.table.columns.is_unique and len(made.table) == 8


def test_variants_that_are_numbers_or_yes_and_no():
    frame = units(400, arms="AB")
    wanted = found(frame, Mean("x")).table["effect"].iloc[0]
    for values, control in (((0, 1), 0), ((False, True), False), ((1.5, 2.5), 1.5)):
        assert found(frame.assign(variant=np.where(frame["variant"] == "A", *values)), Mean("x"), control=control).table["effect"].iloc[0] == pytest.approx(wanted)


@pytest.mark.parametrize("made", [None, pd.DataFrame({"variant": ["A"], "x": [1.0]}), "x"], ids=lambda one: type(one).__name__)
def test_what_is_no_moments(made):
    with pytest.raises(ParameterError, match="is no Moments; make them of a frame"):
        effects(made, "A")
    with pytest.raises(ParameterError, match="is no Effects; make them with"):
        margin_test(made, "x", 0.1)


@pytest.mark.parametrize("name", ["shrunken", "effect_with", "_error", "df_without", "p"])
def test_segments_called_like_columns_of_the_table(name):
    made = moments(units(arms="AB").rename(columns={"seg": name}), Mean("x"), by=name)
    for ask in (lambda: effects(made, "A", by=name), lambda: segment_effects(made, "A", "x", name), lambda: interaction(made, "A", name, "u")):
        with pytest.raises(ParameterError, match=f"{name} would stand twice in the table"):
            ask()


def test_the_denominator_of_a_covariate_that_is_not_used():
    frame = units(arms="AB").assign(zero=0.0)
    metric = Ratio("x", "s", covariate=[("x", "zero")])
    assert found(frame, metric, adjust=None).table["effect"].iloc[0] == pytest.approx(found(frame, Ratio("x", "s")).table["effect"].iloc[0])   # engines add in any order
    with pytest.raises(ParameterError, match="whose denominator is above 0"):
        found(frame, metric)
