"""Tests against a margin: by brute force, by SciPy, and at the margin itself, where they may err as often as they say."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats
from scipy.special import xlog1py, xlogy

from tenant_lab.core.errors import ParameterError
from tenant_lab.core.shares import newcombe_interval
from tenant_lab.experiments.fixed import Effects, effects, fieller, share_ratio
from tenant_lab.experiments.margins import KINDS, contrast_t, margin_test, score_z
from tenant_lab.experiments.metrics import Mean, Proportion, Quantile
from tenant_lab.experiments.moments import moments

REPETITIONS, ALPHA = 20_000, 0.025
MOST = stats.binom.ppf(0.999, REPETITIONS, ALPHA)   # of as many tests of level alpha, the 99.9 % point


def brute(k0, n0, k1, n1, factor, shift):
    """The score statistic, its variance at the largest likelihood of all p0 with p1 = factor * p0 + shift."""
    low, high = max(0, -shift / factor), min(1, (1 - shift) / factor)
    def lost(p0):
        p1 = np.clip(factor * p0 + shift, 0, 1)
        return -(xlogy(k0, p0) + xlog1py(n0 - k0, -p0) + xlogy(k1, p1) + xlog1py(n1 - k1, -p1))
    grid = np.linspace(low, high, 2001)
    best = grid[np.argmin(lost(grid))]
    step = (high - low) / 2000
    p0 = optimize.minimize_scalar(lost, bounds=(max(low, best - step), min(high, best + step)), method="bounded", options={"xatol": 1e-12}).x
    p1 = factor * p0 + shift
    return (k1 / n1 - factor * k0 / n0 - shift) / np.sqrt(p1 * (1 - p1) / n1 + factor**2 * p0 * (1 - p0) / n0)


@pytest.mark.parametrize(("factor", "shift"), [(1, 0), (1, -0.05), (1, 0.1), (0.9, 0), (1.25, 0), (0.5, 0), (3, 0), (1, -0.6)])
def test_score_is_that_of_the_largest_likelihood(factor, shift):
    rng = np.random.default_rng(1)
    n0, n1 = rng.integers(20, 400, (2, 6))
    k0, k1 = rng.integers(1, n0), rng.integers(1, n1)
    want = [brute(*one, factor, shift) for one in zip(k0, n0, k1, n1, strict=True)]
    np.testing.assert_allclose(score_z(k0, n0, k1, n1, factor, shift), want, rtol=1e-5)


def test_score_without_margin_is_pearsons_chi_squared():
    z = score_z([20, 50], 100, [30, 40], [90, 200])
    for one, table in zip(z, ([[20, 80], [30, 60]], [[50, 50], [40, 160]]), strict=True):
        assert one**2 == pytest.approx(stats.chi2_contingency(table, correction=False).statistic, rel=1e-9)
    assert (z * [1, -1] > 0).all()


def test_score_at_the_ends():
    assert score_z(0, 50, 0, 50, 0.9) == 0 and score_z(0, 50, 0, 50) == 0 and score_z(50, 50, 50, 50) == 0   # no doubt, and no difference
    assert score_z(0, 50, 0, 50, 1, -0.1) == pytest.approx(brute(0, 50, 0, 50, 1, -0.1), rel=1e-4) and score_z(0, 50, 0, 50, 1, -0.1) > 2
    assert score_z(0, 50, 50, 50) == pytest.approx(10)   # (1 - 0) / sqrt(2 / 4 / 50)
    assert score_z(0, 50, 50, 50, 1, 1) == 0
    big = score_z(10**8, 10**9, 10**8 + 10**6, 10**9, 1, -1e-3)
    assert big == pytest.approx((1e-3 + 1e-3) / np.sqrt(2 * 0.1 * 0.9 / 1e9), rel=0.01)


def test_score_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score_z([0, 10, 10, 0], 10, [0, 10, 0, 10], 10, 0.9)
        score_z(10, 10, 10, 10, 0.9)


def test_contrast_is_welchs_t():
    rng = np.random.default_rng(2)
    a, b = rng.normal(10, 3, 40), rng.normal(11, 5, 70)
    moments_of = (a.mean(), b.mean(), a.var(ddof=1) / 40, b.var(ddof=1) / 70, 39, 69)
    for factor, shift in ((1, 0), (1, -0.7), (0.9, 0), (1.2, 0.3)):
        want = stats.ttest_ind(b - shift, factor * a, equal_var=False)
        t, df = contrast_t(*moments_of, factor, shift)
        assert (t, df) == (pytest.approx(want.statistic), pytest.approx(want.df))
    assert np.isnan(contrast_t(*map(np.array, (1.0, 2.0, 0.0, 0.0, 9, 9)))[0])


@np.errstate(divide="ignore")
def found_of(m0, m1, v0, v1, n0, n1, counts, direction="increase", df=True):
    """`Effects` with one row for each number, as if each were a treatment."""
    m0, m1, v0, v1 = (np.asarray(one, float) for one in np.broadcast_arrays(m0, m1, v0, v1))
    table = pd.DataFrame({"metric": "y", "variant": np.arange(len(m0)), "n_control": n0, "n": n1, "control_value": m0, "value": m1, "effect": m1 - m0, "relative": m1 / m0 - 1, "control_variance": v0, "variance": v1, "control_df": n0 - 1 if df else np.inf, "value_df": n1 - 1 if df else np.inf, "counts": counts})
    return Effects(table, (Mean("y", direction=direction),))


def drawn_shares(p0, p1, n0, n1, direction):
    rng = np.random.default_rng(3)
    k0, k1 = rng.binomial(n0, p0, REPETITIONS), rng.binomial(n1, p1, REPETITIONS)
    return found_of(k0 / n0, k1 / n1, 0.0, 0.0, n0, n1, True, direction)


def drawn_means(m0, m1, n0, n1, direction):
    """Normal outcomes of deviation 2 and 3: means and variances by what theory says of them."""
    rng = np.random.default_rng(4)
    v0, v1 = (sd**2 * rng.chisquare(n - 1, REPETITIONS) / (n - 1) / n for sd, n in ((2, n0), (3, n1)))
    return found_of(rng.normal(m0, 2 / n0**0.5, REPETITIONS), rng.normal(m1, 3 / n1**0.5, REPETITIONS), v0, v1, n0, n1, False, direction)


@pytest.mark.parametrize("direction", ["increase", "decrease"])
@pytest.mark.parametrize(("relative", "margin"), [(True, 0.1), (False, 0.03)])
@pytest.mark.parametrize("kind", list(KINDS))
def test_level_of_shares_at_the_margin(kind, relative, margin, direction):
    """A treatment that is at the margin passes in at most alpha of all experiments, and where the test has one side in not much less."""
    sign = (1 if direction == "increase" else -1) * (1 if kind == "superiority" else -1)
    p1 = 0.3 * (1 + sign * margin) if relative else 0.3 + sign * margin
    passed = margin_test(drawn_shares(0.3, p1, 6000, 4000, direction), "y", margin, kind, relative, ALPHA).table["passed"].sum()
    assert stats.binom.ppf(0.001, REPETITIONS, ALPHA) * 0.95 <= passed <= MOST


@pytest.mark.parametrize("direction", ["increase", "decrease"])
@pytest.mark.parametrize(("relative", "margin"), [(True, 0.1), (False, 1.0)])
@pytest.mark.parametrize("kind", list(KINDS))
def test_level_of_means_at_the_margin(kind, relative, margin, direction):
    sign = (1 if direction == "increase" else -1) * (1 if kind == "superiority" else -1)
    m1 = 10 * (1 + sign * margin) if relative else 10 + sign * margin
    passed = margin_test(drawn_means(10, m1, 120, 80, direction), "y", margin, kind, relative, ALPHA).table["passed"].sum()
    assert stats.binom.ppf(0.001, REPETITIONS, ALPHA) <= passed <= MOST   # Welch's t is that good: his error is of the order 1 / n²


def test_equivalence_errs_at_neither_margin_and_finds_what_is_the_same():
    for m1 in (9, 11):
        assert margin_test(drawn_means(10, m1, 120, 80, "increase"), "y", 0.1, "equivalence", alpha=ALPHA).table["passed"].sum() <= MOST
    assert margin_test(drawn_means(10, 10, 1200, 800, "increase"), "y", 0.1, "equivalence", alpha=ALPHA).table["passed"].mean() > 0.99
    assert margin_test(drawn_shares(0.3, 0.3, 20_000, 20_000, "increase"), "y", 0.1, "equivalence", alpha=ALPHA).table["passed"].mean() > 0.99


def test_p_values_are_scipys():
    rng = np.random.default_rng(5)
    a, b = rng.normal(10, 2, 50), rng.normal(10.3, 3, 60)
    found = found_of([a.mean()], [b.mean()], [a.var(ddof=1) / 50], [b.var(ddof=1) / 60], 50, 60, False)
    def p(shift, factor, alternative):
        return stats.ttest_ind(b - shift, factor * a, equal_var=False, alternative=alternative).pvalue
    assert margin_test(found, "y", 1, relative=False).table["p"][0] == pytest.approx(p(-1, 1, "greater"))
    assert margin_test(found, "y", 0.1).table["p"][0] == pytest.approx(p(0, 0.9, "greater"))
    assert margin_test(found, "y", 0.1, "superiority").table["p"][0] == pytest.approx(p(0, 1.1, "greater"))
    assert margin_test(found, "y", 0.1, "equivalence").table["p"][0] == pytest.approx(max(p(0, 0.9, "greater"), p(0, 1.1, "less")))
    down = found_of([a.mean()], [b.mean()], [a.var(ddof=1) / 50], [b.var(ddof=1) / 60], 50, 60, False, "decrease")
    assert margin_test(down, "y", 0.1).table["p"][0] == pytest.approx(p(0, 1.1, "less"))
    assert margin_test(down, "y", 1, "superiority", relative=False).table["p"][0] == pytest.approx(p(-1, 1, "less"))
    assert margin_test(down, "y", 0.1, "equivalence").table["p"][0] == margin_test(found, "y", 0.1, "equivalence").table["p"][0]


def test_a_mean_passes_where_its_interval_ends_before_the_margin():
    """For means interval and test are one: Fieller's end lies before the margin if and only if the t-test of the contrast says so."""
    found = drawn_means(10, 9.6, 60, 60, "increase")
    for relative, margin in ((True, 0.1), (False, 1.0)):
        t = margin_test(found, "y", margin, relative=relative, alpha=0.05).table
        contrary = t["passed"] != (t["low"] > -margin)
        assert contrary.mean() < (0.003 if relative else 1e-9)   # degrees of freedom of the contrast and of the difference differ a little
        t = margin_test(found, "y", margin, "superiority", relative=relative, alpha=0.05).table
        assert (t["passed"] != (t["low"] > margin)).mean() < (0.003 if relative else 1e-9)


def units(seed=6, n=3000):
    rng = np.random.default_rng(seed)
    variant = rng.choice(["old", "new", "newer"], n)
    y = rng.gamma(4, 5, n)
    return pd.DataFrame({"variant": variant, "country": rng.choice(["FR", "DE"], n), "y": y, "z": rng.integers(0, 2, n), "w": rng.poisson(3, n)})


def test_from_effects_of_all_kinds_and_segments():
    made = moments(units(), [Mean("y", name="mean"), Proportion("z", name="share", direction="decrease"), Quantile("y", name="median")], by=["country"])
    found = effects(made, "old", by="country", alpha=0.1)
    for metric in ("mean", "share", "median"):
        test = margin_test(found, metric, 0.2)
        t = test.frame()
        assert t.columns.tolist() == ["country", "variant", "effect", "low", "high", "p", "passed"] and len(t) == 4 and test.alpha == 0.05
        assert (t["low"] < t["effect"]).all() and (t["effect"] < t["high"]).all() and t["p"].between(0, 1).all() and (t["passed"] == (t["p"] <= 0.05)).all()
        assert (t["effect"].to_numpy() == found.table.loc[found.table["metric"] == metric, "relative"]).all()
        assert margin_test(found, metric, 0.2, relative=False).table["effect"].tolist() == found.table.loc[found.table["metric"] == metric, "effect"].tolist()


def test_intervals_are_those_of_their_level():
    made = moments(units(), [Mean("y"), Proportion("z")])
    found = effects(made, "old")
    k0, n0, k1, n1 = (found.row("z", "new")[one] for one in ("control_value", "n_control", "value", "n"))
    k0, k1 = round(k0 * n0), round(k1 * n1)
    relative, absolute = (margin_test(found, "z", 0.2, relative=one, alpha=0.05).table.set_index("variant").loc["new"] for one in (True, False))
    assert (relative["low"], relative["high"]) == tuple(map(float, share_ratio(k0, n0, k1, n1, 0.1)))
    assert (absolute["low"], absolute["high"]) == tuple(map(float, newcombe_interval(k1, n1, k0, n0, 0.9)))
    row = found.row("y", "new")
    relative, absolute = (margin_test(found, "y", 0.2, relative=one, alpha=0.05).table.set_index("variant").loc["new"] for one in (True, False))
    wide = effects(made, "old", ["y"], alpha=0.1).row("y", "new")
    assert (absolute["low"], absolute["high"]) == (pytest.approx(wide["low"]), pytest.approx(wide["high"]))
    assert (relative["low"], relative["high"]) == tuple(pytest.approx(float(one)) for one in fieller(row.control_value, row.value, row.control_variance, row.variance, stats.t.ppf(0.95, row.df)))


def test_strata_count_in_margins_as_they_do_in_effects():
    """An effect of strata has more variance than both values together; its interval is the same here as there."""
    rng = np.random.default_rng(8)
    frame = pd.DataFrame({"variant": rng.choice(["old", "new"], 400), "country": rng.choice(["FR", "DE"], 400)})
    frame["y"] = rng.normal(10, 1, 400) + np.where(frame["country"] == "FR", 8.0, 0) * np.where(frame["variant"] == "new", 1, -1)
    found = effects(moments(frame, [Mean("y")], by=["country"]), "old", strata="country", alpha=0.1)
    row, test = found.row("y"), margin_test(found, "y", 1, relative=False, alpha=0.05).table.iloc[0]
    assert (test["low"], test["high"]) == (pytest.approx(row["low"]), pytest.approx(row["high"]))


def test_the_words_and_the_picture():
    found = effects(moments(units(), [Mean("y"), Proportion("z", direction="decrease")]), "old")
    test = margin_test(found, "y", 0.2)
    assert test.words() == "worse by less than 20.0%" and repr(test).startswith("MarginTest(metric='y', kind='noninferiority', margin=0.2")
    assert margin_test(found, "y", 1.5, "equivalence", relative=False).words() == "the same within 1.50"
    assert margin_test(found, "y", 2, "superiority").words() == "better by more than 200%"
    fig = test.plot()
    assert fig.layout.title.text == "y: 2 of 2 shown to be worse by less than 20.0%"
    assert list(fig.data[0].y) == ["newer", "new"] and [line.x0 for line in fig.layout.shapes] == [-0.2] and fig.layout.xaxis.tickformat == "+.1%"
    assert [line.x0 for line in margin_test(found, "z", 0.2).plot().layout.shapes] == [0.2]   # of a metric that should fall, worse is above
    assert [line.x0 for line in margin_test(found, "z", 0.2, "superiority").plot().layout.shapes] == [-0.2]
    both = margin_test(found, "y", 1, "equivalence", relative=False).plot()
    assert sorted(line.x0 for line in both.layout.shapes) == [-1, 1] and both.layout.xaxis.tickformat is None
    own = test.frame()
    own["p"] = 2
    assert (test.frame()["p"] <= 1).all()


def test_p_values_are_never_0():
    found = found_of([0.5], [0.9], [0.0], [0.0], 10**6, 10**6, True)
    assert margin_test(found, "y", 0.01, "superiority").table["p"][0] > 0


def test_nothing_varies():
    row = margin_test(found_of([2.0], [2.0], [0.0], [0.0], 10, 10, False), "y", 0.1).table.iloc[0]
    assert np.isnan(row["p"]) and not row["passed"]


@pytest.mark.parametrize(("arguments", "message"), [
    (("x", 0.1), "metric 'x': there are y"), (("y", 0), "margin 0: needs a number above 0, and a relative one below 1"), (("y", -0.1), "margin -0.1: needs a number from 0"), (("y", True), "margin True: needs a number"),
    (("y", 1.0), "margin 1.0: needs a number above 0, and a relative one below 1"), (("y", float("nan")), "margin nan"), (("y", 0, "noninferiority", False), "margin 0: needs a number above 0"),
    (("y", 0.1, "inferiority"), "kind 'inferiority': allowed are noninferiority, equivalence, superiority"), (("y", 0.1, "equivalence", True, 0), "alpha 0: needs a number from 1e-12 to 0.5"), (("y", 0.1, "equivalence", True, 0.6), "alpha 0.6")])
def test_what_cannot_be(arguments, message):
    with pytest.raises(ParameterError) as error:
        margin_test(found_of([1.0], [1.0], [0.1], [0.1], 10, 10, False), *arguments)
    assert message in str(error.value)


def test_a_share_of_nothing_makes_no_margin():
    for value in (0.0, -3.0):
        with pytest.raises(ParameterError, match="a share of it makes no margin, so give one in its unit, with relative=False"):
            margin_test(found_of([value, 1.0], [1.0, 1.0], 0.1, 0.1, 10, 10, False), "y", 0.1)
    assert margin_test(found_of([0.0], [1.0], [0.1], [0.1], 10, 10, False), "y", 0.1, relative=False).table["passed"][0]
