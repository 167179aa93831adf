"""Effects by segment, over time, and beside another experiment: level, planted truths, formulas by hand, and bad input."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats

from tenant_lab.core.errors import ParameterError, SchemaError
from tenant_lab.experiments.fixed import delta_relative, effects, welch
from tenant_lab.experiments.heterogeneity import (
    LEAST,
    comparable,
    effect_over_time,
    homogeneity,
    interaction,
    segment_effects,
    shrink,
)
from tenant_lab.experiments.metrics import Mean, Proportion
from tenant_lab.experiments.moments import moments
from tenant_lab.experiments.multiplicity import adjust_p


def within(hits, draws, level=0.05):
    """The 99.9 % range of a binomial distribution."""
    return stats.binom.ppf(0.0005, draws, level) <= hits <= stats.binom.ppf(0.9995, draws, level)


# Homogeneity

def test_cochrans_q_of_the_bcg_trials():
    """metafor's manual, rma() of dat.bcg, log risk ratios: Q(df = 12) = 152.2330, p < .0001. Rows: cases and others, vaccinated and not (Colditz et al. 1994)."""
    a, b, c, d = np.array([[4, 119, 11, 128], [6, 300, 29, 274], [3, 228, 11, 209], [62, 13536, 248, 12619], [33, 5036, 47, 5761], [180, 1361, 372, 1079], [8, 2537, 10, 619], [505, 87886, 499, 87892],
                           [29, 7470, 45, 7232], [17, 1699, 65, 1600], [186, 50448, 141, 27197], [5, 2493, 3, 2338], [27, 16886, 29, 17825]], float).T
    statistic, p = homogeneity(np.log(a / (a + b) / (c / (c + d))), np.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)))
    assert statistic * 12 == pytest.approx(152.2330, abs=5e-5) and p < 1e-4
    assert homogeneity([1.0, 2, 4], [1.0, 1, 1])[1] == pytest.approx(stats.chi2.sf(14 / 3, 2), rel=1e-9)


def test_two_segments_are_welchs_t_test():
    one, other = np.random.default_rng(0).normal(0, [[1], [4]], (2, 9))
    statistic, p = homogeneity([one.mean(), other[:5].mean()], [one.std(ddof=1) / 3, other[:5].std(ddof=1) / 5**0.5], np.array([8, 4]))
    t = stats.ttest_ind(one, other[:5], equal_var=False)
    assert statistic == pytest.approx(t.statistic**2) and p == pytest.approx(t.pvalue)


def test_several_segments_are_welchs_analysis_of_variance():
    oneway = pytest.importorskip("statsmodels.stats.oneway")
    groups = [np.random.default_rng(1).normal(m, s, n) for m, s, n in ((0, 1, 8), (1, 3, 12), (0, 2, 30), (2, 1, 5))]
    expected = oneway.anova_oneway(groups, use_var="unequal")
    statistic, p = homogeneity([g.mean() for g in groups], [stats.sem(g) for g in groups], np.array([len(g) - 1 for g in groups]))
    assert statistic == pytest.approx(expected.statistic) and p == pytest.approx(expected.pvalue)


@pytest.mark.parametrize(("k", "n", "draws"), [(2, 20, 4000), (12, 40, 4000), (200, 40, 1000), (1000, 40, 400)])
def test_level_of_the_test_of_homogeneity(k, n, draws):
    """Normal units, arms of unlike size and variance, an effect that is the same everywhere; Cochran's test breaks the bound for many segments."""
    rng, size = np.random.default_rng(k), np.array([n, 2 * n])[:, None, None]
    value = rng.normal(np.array([1, 1.3])[:, None, None], np.array([1, 1.4])[:, None, None] / size**0.5, (2, draws, k))
    variance = np.array([1, 1.96])[:, None, None] * rng.chisquare(size - 1, (2, draws, k)) / (size - 1) / size
    sizes = np.broadcast_to(size, value.shape)
    for scale in ("absolute", "relative"):
        y, error, _ = comparable(sizes, value, variance, scale)
        assert within((homogeneity(y, error, 3 * n - 2)[1] < 0.05).sum(), draws)
    if k == 1000:
        assert not within((homogeneity(value[1] - value[0], np.sqrt(variance.sum(axis=0)))[1] < 0.05).sum(), draws)


@pytest.mark.parametrize("scale", ["absolute", "relative"])
def test_level_where_events_are_few(scale):
    """5 % of 60 and 240 units: errors of each arm go up and down with the effect, and the test of them finds what is not there."""
    rng, draws = np.random.default_rng(7), 600
    n = np.broadcast_to(np.array([60, 240])[:, None, None], (2, draws, 300))
    value = rng.binomial(n, 0.05) / n
    variance = value * (1 - value) / (n - 1)
    y, error, _ = comparable(n, value, variance, scale)
    assert within((homogeneity(y, error, n.sum(axis=0) - 2)[1] < 0.05).sum(), draws)
    assert (homogeneity(value[1] - value[0], np.sqrt(variance.sum(axis=0)) + 1e-9, n.sum(axis=0) - 2)[1] < 0.05).mean() > 0.5


def test_comparable_effects():
    n, value, variance = np.array([[100, 50, 10], [100, 100, 90]]), np.array([[1.0, 2, 4], [1.5, 2, 5]]), np.array([[0.1, 0.2, 0.9], [0.3, 0.1, 0.4]])
    y, error, ratio = comparable(n[:, :1], value[:, :1], variance[:, :1], "absolute")
    assert (y, error, ratio) == (0.5, pytest.approx(0.4**0.5), 1)                      # arms of one size: Welch's error
    y, error, _ = comparable(n, value, variance, "absolute")
    assert y.tolist() == [0.5, 0, 1] and (error**2).sum() == pytest.approx(variance.sum())
    assert (error[1:]**2 / error[0]**2) == pytest.approx([(0.2 * 0.5 + 0.1 * 2) / 0.4, (0.9 / 9 + 0.4 * 9) / 0.4])
    y, error, ratio = comparable(n, 3 * value, 9 * variance)
    assert (y, error, ratio) == tuple(pytest.approx(one) for one in comparable(n, value, variance))   # whatever the currency
    assert ratio.item() == pytest.approx((50 * 1.5 + 100 / 3 * 2 + 9 * 5) / (50 * 1 + 100 / 3 * 2 + 9 * 4))
    for bad in ([[-1.0, 2, 4], [1, 2, 5]], [[0, 0, 0], [1, 1, 1]], [[1, 1, 1], [0, 0, 0]], [[1, 1, -9], [1, 1, 1]]):
        with pytest.raises(ParameterError, match="ask for scale='absolute'"):
            comparable(n, bad, variance)


# Shrinkage

def test_shrinkage_is_the_integral():
    """The same posterior by brute force: the mean by hand, the variance between segments on a fine and even grid of the shrinkage factor, on which the prior is flat."""
    y, v = np.array([28.0, 8, -3, 7, -1, 1, 18, 12]), np.array([15.0, 10, 16, 11, 9, 11, 10, 18])**2    # Rubin 1981
    unit = stats.hmean(v)
    factor = (np.arange(200_000) + 0.5) / 200_000
    between = (unit * (1 - factor) / factor)[:, None]
    marginal = stats.norm.logpdf(y, (w := 1 / (v + between)) @ y[:, None] / w.sum(axis=1, keepdims=True), np.sqrt(v + between)).sum(axis=1) - np.log(w.sum(axis=1)) / 2
    p = np.exp(marginal - marginal.max())
    p /= p.sum()
    mean = (w @ y / w.sum(axis=1))[:, None]
    each = mean + between * w * (y - mean)
    second = between * w * v + (v * w)**2 / w.sum(axis=1, keepdims=True) + each**2
    found = shrink(y, np.sqrt(v))
    assert found.effect == pytest.approx(p @ each, rel=1e-3) and found.error**2 == pytest.approx(p @ second - (p @ each)**2, rel=1e-3) and found.mean == pytest.approx((p @ mean).item(), rel=1e-3)
    rising = np.cumsum(p[::-1])
    assert found.spread == pytest.approx([np.sqrt(between[::-1][np.searchsorted(rising, q), 0]) for q in (0.5, 0.025, 0.975)], rel=2e-2)


def test_what_is_drawn_from_the_prior_has_errors_of_the_size_that_is_said():
    """Exact for any Bayes rule: over draws from the prior the mean of (truth - guess)² less the variance is 0; within 3.29 standard errors."""
    rng, gaps = np.random.default_rng(3), []
    for k in (2, 6, 40):
        for _ in range(120):
            error = np.exp(rng.normal(0, 0.7, k))
            factor = rng.uniform(0.02, 1)       # below, a handful of spreads of hundreds of units would be all that counts
            truth = rng.normal(5, np.sqrt(stats.hmean(error**2) * (1 - factor) / factor), k)
            found = shrink(truth + error * rng.normal(size=k), error)
            gaps.append((((truth - found.effect)**2 - found.error**2) / error**2).mean())
    assert abs(np.mean(gaps)) < 3.29 * stats.sem(gaps)


@pytest.mark.parametrize("tau", [0, 0.5, 1, 2, 8])
def test_closer_to_the_truth_than_steins_estimator(tau):
    """Risks in units of the raw effects': Stein's is 1 - (k - 3) / k / (1 + τ²) (Efron & Morris 1973), and the least one, with τ known, (τ² + 1/k) / (1 + τ²); within 3.29 standard errors."""
    rng, k = np.random.default_rng(4), 12
    truth = rng.normal(0, tau, (300, k))
    raw = truth + rng.normal(size=truth.shape)
    loss = np.array([((shrink(one, np.ones(k)).effect - true)**2).mean() for one, true in zip(raw, truth, strict=True)])
    least, most = (tau**2 + 1 / k) / (1 + tau**2), 1 - (k - 3) / k / (1 + tau**2)
    assert least - 3.29 * stats.sem(loss) < loss.mean() < most + 3.29 * stats.sem(loss)
    assert loss.mean() < 1 - 3.29 * stats.sem(loss) or tau == 8


def test_shrinkage_knows_no_unit_and_no_origin():
    y, error = np.array([0.1, 0.5, -0.2, 0.9]), np.array([0.1, 0.3, 0.2, 0.5])
    one, other = shrink(y, error), shrink(1e6 * y + 7e6, 1e6 * error)
    assert other.effect == pytest.approx(1e6 * one.effect + 7e6, rel=1e-6) and other.error == pytest.approx(1e6 * one.error, rel=1e-6) and other.spread == pytest.approx([1e6 * s for s in one.spread], rel=1e-6)


def test_clear_effects_stay_and_equal_ones_come_together():
    apart = shrink([0.0, 1000, 2000, 3000], [1.0, 1, 1, 1])
    assert apart.effect == pytest.approx([0, 1000, 2000, 3000], abs=0.01) and apart.error == pytest.approx([1] * 4, abs=1e-3) and apart.spread[1] > 500
    same = shrink(np.full(400, 3.0), np.ones(400))
    assert same.effect == pytest.approx(np.full(400, 3.0)) and same.spread[2] < 0.4 and same.error.max() < 0.3


@pytest.mark.parametrize(("k", "tau"), [(2000, 0.5), (2000, 1.3), (10_000, 5)])
def test_the_spread_of_many_segments(k, tau):
    """With k effects of error 1 the standard error of τ² is √(2/k) (1 + τ²); within 3.29 of them, and the interval is 3.92 of them wide."""
    some = shrink(np.random.default_rng(5).normal(0, np.sqrt(1 + tau**2), k), np.ones(k))
    se = np.sqrt(2 / k) * (1 + tau**2)
    assert abs(some.spread[0]**2 - tau**2) < 3.29 * se and some.spread[2]**2 - some.spread[1]**2 == pytest.approx(3.92 * se, rel=0.1)


@pytest.mark.parametrize(("effect", "error"), [([1.0], [1.0]), ([1, 2], [1, 0]), ([1, 2], [1, -1]), ([1, np.nan], [1, 1]), ([1, 2], [1, np.inf]), ([1, 2], [1, 1, 1]), ([[1, 2]], [[1, 1]])])
def test_bad_effects(effect, error):
    with pytest.raises(ParameterError, match="needs two effects or more"):
        shrink(effect, error)


# Segments

def shop(lifts, n=40_000, seed=0, arms=("control", "new")):
    """Spending in as many countries as there are lifts, the rich ones ten times the poor ones."""
    rng = np.random.default_rng(seed)
    where = rng.integers(0, len(lifts), n)
    d = pd.DataFrame({"variant": rng.choice(arms, n), "country": where, "device": rng.choice(["phone", "desk"], n)})
    new = (d["variant"] == "new").to_numpy()
    d["spent"] = rng.gamma(2, np.geomspace(1, 10, len(lifts))[where]) * (1 + np.asarray(lifts)[where] * new)
    d["bought"] = rng.random(n) < 0.2 * (1 + np.asarray(lifts)[where] * new)
    return d


def test_the_same_effect_in_all_segments():
    found = segment_effects(moments(shop([0.1] * 8), Mean("spent"), by="country"), "control", "spent", "country")
    assert found.p > 0.05 and found.verdict == found.plot().layout.title.text and found.verdict.startswith("The effect is the same in all 8 segments of country, as far as can be seen (p = .")
    assert found.mean == pytest.approx(0.1, abs=0.04) and found.spread[1] < found.spread[0] < found.spread[2] < 0.1
    t = found.frame()
    assert t["p_adjusted"].to_numpy() == pytest.approx(adjust_p(t["p"].to_numpy(), "benjamini-hochberg"))
    assert np.ptp(t["shrunken"]) < np.ptp(t["effect"]) / 2 and (t["shrunken_low"] < t["shrunken"]).all() and (t["shrunken"] < t["shrunken_high"]).all()
    assert found.notes == () and len(found.plot().data) == 2 and found.plot().layout.xaxis.tickformat == "+.1%"


def test_raw_effects_are_those_of_fixed():
    made = moments(shop([0.1, 0.3, 0.0]), [Mean("spent"), Proportion("bought")], by=("country", "device"))
    for metric in ("spent", "bought"):
        plain = effects(made, "control", [metric], by=["country", "device"]).frame()
        for scale, names in (("absolute", ["effect", "low", "high"]), ("relative", ["relative", "relative_low", "relative_high"])):
            found = segment_effects(made, "control", metric, ["country", "device"], scale=scale, correction="holm")
            assert found.frame()[["effect", "low", "high"]].to_numpy() == pytest.approx(plain[names].to_numpy())
            assert found.frame()["p_adjusted"].to_numpy() == pytest.approx(adjust_p(plain["p"].to_numpy(), "holm")) and found.by == ("country", "device")
            n, value, variance = (plain[names].to_numpy().T for names in (["n_control", "n"], ["control_value", "value"], ["control_variance", "variance"]))
            y, error, ratio = comparable(n, value, variance, scale)
            assert (found.statistic, found.p) == pytest.approx(homogeneity(y, error, n.sum(axis=0) - 2))
            assert found.spread == pytest.approx(np.array(shrink(y, error).spread) * np.ravel(ratio))


def test_planted_differences_are_found():
    lifts = np.r_[np.zeros(6), np.full(6, 0.4)]
    found = segment_effects(moments(shop(lifts), Mean("spent"), by="country"), "control", "spent", "country")
    t = found.frame()
    assert found.p < 1e-6 and found.spread[1] < 0.2 < found.spread[2] and found.mean == pytest.approx(0.2, abs=0.1)
    assert ((t["shrunken_low"] <= lifts) & (lifts <= t["shrunken_high"])).sum() >= 9      # 12 at 95 %: fewer have a chance of 0.2 %
    assert found.verdict.startswith("The effect differs by country: from ") and " in " in found.verdict and found.verdict.endswith("(p < .001)")


def test_the_scale_decides_what_the_same_means():
    made = moments(shop([0.3] * 8), Mean("spent"), by="country")
    relative, absolute = (segment_effects(made, "control", "spent", "country", scale=scale) for scale in ("relative", "absolute"))
    assert absolute.p < 1e-3 < 0.05 < relative.p
    assert absolute.mean > 1 and absolute.plot().layout.xaxis.tickformat == "+.3~g"


def test_few_segments_of_many_are_small_or_do_not_vary():
    few = pd.DataFrame({"variant": ["control", "new"] * (LEAST - 1), "country": 99, "bought": np.arange(2 * LEAST - 2) % 4 < 2})
    d = pd.concat([shop([0.1] * 4, 4000), few, shop([0.1], 200).assign(country=77, bought=False), few.iloc[:3].assign(country=55)])
    found = segment_effects(moments(d, Proportion("bought"), by="country"), "control", "bought", "country", scale="absolute")
    t = found.frame().set_index("country")
    assert t.index.tolist() == [0, 1, 2, 3, 77, 99] and t["shrunken"].isna().tolist() == [False] * 4 + [True] * 2 and not t[["effect", "low", "p"]].isna().any(axis=None)
    assert found.notes[0].startswith("bought: 1 segments are left out, where an arm has fewer than 2 units (55)")
    assert found.notes[-1] == "bought: 2 segments have fewer than 20 units an arm, or values that do not vary; they are not compared"
    assert "in all 4 segments" in found.verdict and len(found.plot().data[0].y) == 4


def test_a_thousand_segments_and_forty_of_them_drawn():
    found = segment_effects(moments(shop([0.1] * 1000, 100_000), Mean("spent"), by="country"), "control", "spent", "country")
    assert len(found.frame()) == 1000 and found.p > 0.001
    drawn = [float(one) for one in found.plot().data[1].x]
    assert len(drawn) == 40 and drawn == sorted(drawn, reverse=True) and drawn[0] == found.frame()["shrunken"].max()


def test_a_treatment_without_a_buyer_has_its_say():
    rows = pd.DataFrame({"variant": np.repeat(["control", "new"], 300), "country": np.tile(np.repeat([1, 2, 3], 100), 2)})
    rows["bought"] = 0.0
    for country, variant, k in ((1, "control", 10), (1, "new", 12), (2, "control", 8), (3, "control", 9), (3, "new", 9)):
        rows.loc[rows[(rows["country"] == country) & (rows["variant"] == variant)].index[:k], "bought"] = 1.0
    t = segment_effects(moments(rows, Proportion("bought"), by="country"), "control", "bought", "country").frame()
    assert t["effect"][1] == -1 and -1 < t["shrunken"][1] < t["shrunken"].drop(1).min() and (t["shrunken_low"] >= -1).all()


def test_an_effect_without_an_upper_end():
    """Nobody of 30 and 3 of 30, in turns: the control may have nothing at all."""
    bought = np.r_[np.zeros(30), np.ones(3), np.zeros(27), np.ones(3), np.zeros(57)]
    rows = pd.DataFrame({"variant": np.tile(np.repeat(["control", "new"], 30), 2), "country": np.repeat([1, 2], 60), "bought": bought})
    t = segment_effects(moments(rows, Proportion("bought"), by="country"), "control", "bought", "country").frame()
    assert t["shrunken_high"][0] == np.inf and t["shrunken_low"][1] == -1 and np.isfinite(t["shrunken"]).all()


def test_one_of_several_treatments():
    d = shop([0.1, 0.1, 0.5], arms=("control", "new", "old"))
    made = moments(d, Mean("spent"), by="country")
    found, alone = segment_effects(made, "control", "spent", "country", variant="new"), segment_effects(moments(d[d["variant"] != "old"], Mean("spent"), by="country"), "control", "spent", "country")
    assert found.p == pytest.approx(alone.p) and found.frame()["shrunken"].to_numpy() == pytest.approx(alone.frame()["shrunken"].to_numpy())
    for bad in (None, "none", "control"):
        with pytest.raises(ParameterError, match="the treatments are new, old; name one of them"):
            segment_effects(made, "control", "spent", "country", variant=bad)


def test_bad_questions_of_segments():
    made = moments(shop([0.1, 0.1]).assign(loss=lambda d: -d["spent"]), [Mean("spent"), Mean("loss")], by="country")
    for message, change in (("scale", {"scale": "log"}), ("method", {"correction": "tukey"}), ("alpha", {"alpha": 2}), ("metric 'x'", {"metric": "x"}), ("control 'x'", {"control": "x", "variant": "new"}),
                            ("1 segments have 20 units", {"by": []}), ("scale='absolute'", {"metric": "loss"})):
        with pytest.raises(ParameterError, match=message):
            segment_effects(made, **({"control": "control", "metric": "spent", "by": "country"} | change))
    with pytest.raises(SchemaError, match="lacks shop"):
        segment_effects(made, "control", "spent", "shop")
    with pytest.raises(ParameterError, match="the treatments are missing"):
        segment_effects(made.where(variant="control"), "control", "spent", "country")


# Time

WINDOWS = {"w1": (0, 7), "w2": (7, 7), "w3": (14, 14)}


def plays(lifts, n=6000, seed=0, arms=("control", "new")):
    """Plays in two weeks and a fortnight, that fall with age by themselves."""
    rng = np.random.default_rng(seed)
    d = pd.DataFrame({"variant": rng.choice(arms, n), "age": rng.integers(0, 60, n), "before": rng.gamma(2, 2, n)})
    for (name, (_, days)), rate, lift in zip(WINDOWS.items(), (1.0, 0.7, 0.5), lifts, strict=True):
        d[name] = rng.poisson(d["before"] * days * rate * (1 + lift * (d["variant"] == "new")))
    return d


@pytest.mark.parametrize(("lifts", "verdict"), [((0.3, 0.1, 0.0), "fades (novelty)"), ((-0.1, 0.1, 0.2), "grows (primacy, learning)"), ((-0.1, -0.2, -0.3), "falls"), ((0.1, 0.1, 0.1), "no change that can be seen")])
def test_what_becomes_of_an_effect(lifts, verdict):
    d = plays(lifts, seed=1)
    found = effect_over_time(d, "control", WINDOWS, covariate="before")
    assert found.verdict == verdict and verdict in found.plot().layout.title.text and "over 28 days" in found.plot().layout.title.text
    x = np.array([3.5, 10.5, 21])
    slope = (x - x.mean()) * (x[-1] - x[0]) / ((x - x.mean())**2).sum()
    assert abs(found.change - slope @ lifts) < 3.29 / 1.96 * (found.change_high - found.change_low) / 2   # planted; within 99.9 %
    t = found.frame()
    assert t["window"].tolist() == ["w1", "w2", "w3"] and t["first"].tolist() == [0, 7, 14] and t["end"].tolist() == [7, 14, 28]
    assert (np.abs(t["effect"] - np.array(lifts)) < 3.29 / 1.96 * (t["high"] - t["low"]) / 2).all() and found.plot().data[0].x.tolist() == x.tolist()
    kept = (d["age"] >= 28).sum()
    assert t[["n_control", "n"]].sum(axis=1).tolist() == [kept] * 3 and "not seen for 28 days" in found.notes[0]


def test_two_windows_are_late_less_early():
    d = plays((0.2, 0.1, 0.0))
    found = effect_over_time(d, "control", {"w1": (0, 7), "w3": (14, 14)}, age=None, scale="absolute")
    step = d["w3"] / 14 - d["w1"] / 7
    t = stats.ttest_ind(step[d["variant"] == "new"], step[d["variant"] == "control"], equal_var=False)
    assert found.p == pytest.approx(t.pvalue, rel=1e-6) and (found.change_low, found.change_high) == pytest.approx(tuple(t.confidence_interval(0.95))) and found.notes == ()
    assert found.frame()["effect"].diff().iloc[-1] == pytest.approx(found.change) and found.plot().layout.yaxis.tickformat == "+.3~g"


def test_the_error_of_a_relative_change_by_hand():
    """The delta method with the whole covariance of the windows in each arm."""
    d = plays((0.02, 0.01, 0.0))
    found = effect_over_time(d, "control", WINDOWS, age=None, alpha=0.1)
    x = np.array([3.5, 10.5, 21])
    slope = (x - x.mean()) * (x[-1] - x[0]) / ((x - x.mean())**2).sum()
    both = [(d.loc[d["variant"] == arm, list(WINDOWS)] / [7, 7, 14]).to_numpy() for arm in ("control", "new")]
    m0, m1 = (one.mean(axis=0) for one in both)
    gradients = slope * m1 / m0**2, slope / m0
    v0, v1 = (g @ np.cov(one.T) @ g / len(one) for g, one in zip(gradients, both, strict=True))
    low, high, p, *_ = map(float, welch(slope @ (m1 / m0 - 1), v0, v1, len(both[0]) - 1, len(both[1]) - 1, 0.1))
    assert (found.change, found.change_low, found.change_high, found.p) == pytest.approx((slope @ (m1 / m0 - 1), low, high, p), rel=1e-6)


def test_usage_that_falls_is_no_novelty():
    d = plays((0.3, 0.3, 0.3), 20_000)
    relative, absolute = (effect_over_time(d, "control", WINDOWS, scale=scale) for scale in ("relative", "absolute"))
    assert relative.p > 0.05 and absolute.verdict == "fades (novelty)"


def test_other_frames_kinds_of_columns_and_treatments():
    d = plays((0.3, 0.1, 0.0), arms=("control", "new", "old"))
    found = effect_over_time(d, "control", WINDOWS, variant="new", covariate=["before"])
    lazy = effect_over_time(pl.from_pandas(d).lazy(), "control", WINDOWS, variant="new", covariate=["before"])
    assert (lazy.p, lazy.change) == pytest.approx((found.p, found.change)) and lazy.notes == found.notes
    came = d.assign(**{name: d[name] > 15 for name in WINDOWS})
    shares = effect_over_time(came, "control", {"w1": (0, 1), "w2": (1, 1)}, variant="new")
    assert shares.frame()["value"][0] == pytest.approx(came.loc[(d["variant"] == "new") & (d["age"] >= 2), "w1"].mean())
    with pytest.raises(ParameterError, match="name one of them"):
        effect_over_time(d, "control", WINDOWS)


@pytest.mark.parametrize(("windows", "message"), [({}, "needs two columns or more"), ({"w1": (0, 7)}, "needs two columns or more"), ({"w1": (7, 7), "w2": (0, 7)}, "each must be later"), ({"w1": (0, 7), "w2": (0, 7)}, "each must be later"),
                                                  ({"w1": 7, "w2": (7, 7)}, "of each the first day"), ({"w1": (0, 7), "w2": (7, 7, 7)}, "of each the first day"), ({"w1": (-1, 7), "w2": (7, 7)}, "first day of w1"), ({"w1": (0, 0), "w2": (7, 7)}, "days of w1"),
                                                  ({"w1": (0, 7), "w2": (70, 7)}, "none of 6\u202f000 units was seen for 77 days")])
def test_bad_windows(windows, message):
    with pytest.raises(ParameterError, match=message):
        effect_over_time(plays((0, 0, 0)), "control", windows)


def test_bad_columns_of_windows():
    d = plays((0, 0, 0))
    for bad, message in ((d.drop(columns="w2"), "lacks w2"), (d.drop(columns="age"), "lacks age"), (d.assign(w2="many"), "needs numbers"), (d.assign(w2=d["w2"].where(d["age"] > 30)), "no value")):
        with pytest.raises(SchemaError, match=message):
            effect_over_time(bad, "control", WINDOWS)
    for bad, message in ((d.assign(w2=0), "w2: the control's value is not above 0"), (d.assign(w1=7, w2=7, w3=14), "no unit changes"), (d.assign(variant="control"), "the treatments are missing")):
        with pytest.raises(ParameterError, match=message):
            effect_over_time(bad, "control", WINDOWS)
    with pytest.raises(ParameterError, match="scale"):
        effect_over_time(d, "control", WINDOWS, scale="log")
    with pytest.raises(ParameterError, match="alpha"):
        effect_over_time(d, "control", WINDOWS, alpha=0)


# Two experiments

def visits(joint, n=12_000, seed=0, seconds=("off", "on")):
    rng = np.random.default_rng(seed)
    d = pd.DataFrame({"variant": rng.choice(["control", "new"], n), "banner": rng.choice(seconds, n)})
    new, on = d["variant"] == "new", d["banner"] == "on"
    d["orders"] = rng.poisson(2 * (1 + 0.1 * new) * (1 + 0.2 * on) * (1 + joint * (new & on)))
    d["value"] = rng.gamma(2, 10, n)
    return d


def by_hand(n, value, variance, scale):
    """p-value of the difference of differences; arrays of shape (2, 2, ...): the second's arm, the first's arm."""
    df = (variance.sum(axis=1))**2 / (variance**2 / (n - 1)).sum(axis=1)
    lift, error = delta_relative(value[:, 0], value[:, 1], variance[:, 0], variance[:, 1]) if scale == "relative" else (value[:, 1] - value[:, 0], np.sqrt(variance.sum(axis=1)))
    return welch(lift[1] - lift[0], error[0]**2, error[1]**2, df[0], df[1])


@pytest.mark.parametrize("scale", ["relative", "absolute"])
def test_interaction_by_hand(scale):
    d = visits(-0.03)
    cells = d.groupby(["banner", "variant"])["orders"].agg(["size", "mean", "var"])
    n, value, variance = (one.to_numpy().reshape(2, 2) for one in (cells["size"], cells["mean"], cells["var"] / cells["size"]))
    low, high, p, se, df = map(float, by_hand(n, value, variance, scale))
    row = interaction(moments(d, Mean("orders"), by="banner"), "control", "banner", "off", scale=scale).frame().iloc[0]
    assert row[["low", "high", "p", "standard_error", "df"]].to_numpy(float) == pytest.approx([low, high, p, se, df], rel=1e-6)
    assert row["interaction"] == pytest.approx(row["effect_with"] - row["effect_without"]) and row["banner"] == "on" and row["variant"] == "new"
    if scale == "absolute":
        assert homogeneity(value[:, 1] - value[:, 0], np.sqrt(variance.sum(axis=1)), variance.sum(axis=1)**2 / (variance**2 / (n - 1)).sum(axis=1))[1] == pytest.approx(p)


@pytest.mark.parametrize("scale", ["relative", "absolute"])
def test_level_of_the_interaction(scale):
    """Both experiments work, and neither changes the other's effect; the arms of the second are of unlike size."""
    rng, draws = np.random.default_rng(9), 20_000
    n = np.array([[400, 400], [1200, 1200]])[..., None]
    truth = np.array([[5.0, 5.5], [6.0, 6.6 if scale == "relative" else 6.5]])[..., None]
    value = rng.normal(truth, 2 / n**0.5, (2, 2, draws))
    variance = 4 * rng.chisquare(n - 1, (2, 2, draws)) / (n - 1) / n
    assert within((by_hand(n, value, variance, scale)[2] < 0.05).sum(), draws)


def test_a_planted_interaction_is_found_and_none_is_not():
    made = moments(visits(-0.15), [Mean("orders"), Mean("value")], by="banner")
    found = interaction(made, "control", "banner", "off")
    t = found.frame().set_index("metric")
    assert t.loc["orders", "p_adjusted"] < 0.001 and t.loc["value", "p_adjusted"] > 0.05 and t.loc["orders", "low"] < -0.15 * 1.1 < t.loc["orders", "high"]
    assert t["p_adjusted"].to_numpy() == pytest.approx(adjust_p(t["p"].to_numpy(), "holm"))
    assert found.verdict.startswith("With banner on the effect on orders is ") and " instead of +" in found.verdict and found.plot().layout.title.text == found.verdict
    assert found.independence > 0.01 and found.notes == () and found.plot().data[0].y == ("orders · new · on", "value · new · on") and not found.plot().data[0].showlegend
    nothing = interaction(made, "control", "banner", "off", metrics=["value"], scale="absolute")
    assert len(nothing.frame()) == 1 and nothing.verdict.startswith("The experiments do not change each other's effects, as far as can be seen (p = ")


def test_three_arms_and_units_of_one_experiment_only():
    d = visits(0, seconds=("off", "on", "dim"))
    d.loc[:999, "banner"] = None
    found = interaction(moments(d, Mean("orders"), by="banner"), "control", "banner", "off")
    assert found.frame()["banner"].tolist() == ["dim", "on"] and found.notes == ("1\u202f000 units are not in banner, and left out",)
    counts = pd.crosstab(d["variant"], d["banner"])
    assert found.independence == pytest.approx(stats.chi2_contingency(counts, correction=False).pvalue)


def test_assignment_that_hangs_together_is_said():
    d = visits(0)
    sent = d[(d["variant"] == "control") | (d["banner"] == "off") | (np.arange(len(d)) % 5 > 0)]
    found = interaction(moments(sent, Mean("orders"), by="banner"), "control", "banner", "off")
    assert found.independence < 0.001 and "variant and banner were not drawn independently (p < .001)" in found.notes[0]


def test_bad_questions_of_two_experiments():
    made = moments(visits(0), Mean("orders"), by="banner")
    for message, change in (("scale", {"scale": "log"}), ("method", {"correction": "tukey"}), ("variants of banner are off, on", {"second_control": "none"}), ("control 'x'", {"control": "x"}), ("metric 'x'", {"metrics": ["x"]})):
        with pytest.raises(ParameterError, match=message):
            interaction(made, **({"control": "control", "second": "banner", "second_control": "off"} | change))
    with pytest.raises(SchemaError, match="lacks shop"):
        interaction(made, "control", "shop", "off")
    with pytest.raises(ParameterError, match="the variants of banner are off; needs"):
        interaction(made.where(banner="off"), "control", "banner", "off")
    with pytest.raises(ParameterError, match="nothing to compare"):
        interaction(moments(visits(0).assign(orders=1), Mean("orders"), by="banner"), "control", "banner", "off")
