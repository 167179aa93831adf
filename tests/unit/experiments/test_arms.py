"""Values of arms and their variances beside formulas on the units themselves, SciPy's Welch test and statsmodels' regressions."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import statsmodels.api as sm
from scipy import stats

from tenant_lab.core.errors import ParameterError
from tenant_lab.experiments.arms import arms, gradients, pairs
from tenant_lab.experiments.fixed import welch
from tenant_lab.experiments.metrics import Mean, Proportion, Ratio
from tenant_lab.experiments.moments import Samples, moments, samples


def units(n=800, seed=0):
    rng = np.random.default_rng(seed)
    t, y, z = rng.random(n) < 0.4, rng.normal(0, 1, n), rng.normal(0, 1, n)
    s = 1 + rng.poisson(3, n)
    return pd.DataFrame({"variant": np.where(t, "B", "A"), "t": t * 1.0, "y": y, "z": z, "s": s, "x": 5 + 0.3 * t + (1 + t) * y + 0.5 * z + rng.normal(0, 1 + t, n), "orders": rng.binomial(s, 0.3 + 0.1 * t),
                         "before": rng.poisson(2, n), "before s": 1 + rng.poisson(3, n), "seg": rng.choice(["u", "v", "w"], n, p=[0.2, 0.3, 0.5]), "shop": rng.integers(0, 50, n) + 50 * t})


def compared(frame, metric, strata=(), adjust="pooled", cluster=None):
    some = samples(moments(pl.from_pandas(frame).lazy(), metric, by=strata, cluster=cluster), metric.name, ("variant", *strata))
    _, rows = pairs(some.groups, "A", [], list(strata))
    return arms(some, rows, 1, adjust)


def read(both, alpha=0.05):
    """Effect, low, high, p, standard error, degrees of freedom."""
    effect = both.value[1] - both.value[0]
    return [float(one[0]) for one in (effect, *welch(effect, *both.variance, *both.df, alpha))]


def beside_welch(both, a, b):
    """SciPy's test of two lists of numbers."""
    theirs = stats.ttest_ind(b, a, equal_var=False)
    effect, low, high, p, _, df = read(both)
    assert (effect, p, df) == pytest.approx((b.mean() - a.mean(), theirs.pvalue, theirs.df), rel=1e-9)
    assert (low, high) == pytest.approx(tuple(theirs.confidence_interval()), rel=1e-9)


def of(frame, column):
    return frame.loc[frame["variant"] == "A", column].to_numpy(float), frame.loc[frame["variant"] == "B", column].to_numpy(float)


def test_without_covariates_it_is_welchs_test():
    frame = units()
    both = compared(frame, Mean("x"))
    beside_welch(both, *of(frame, "x"))
    assert both.n[:, 0].tolist() == both.units[:, 0].tolist() == [len(one) for one in of(frame, "x")] and both.extra.tolist() == [0.0] and both.raw == pytest.approx(both.variance.sum(axis=0))
    beside_welch(compared(frame, Mean("x", covariate="y"), adjust=None), *of(frame, "x"))


@pytest.mark.parametrize("covariate", [["y"], ["y", "z"]])
def test_cuped_is_welchs_test_of_what_covariates_leave(covariate):
    """One slope for both arms, from all units: Deng, Xu, Kohavi & Walker (2013, WSDM, eq. 5)."""
    frame = units()
    slope = sm.OLS(frame["x"], sm.add_constant(frame[covariate])).fit().params[covariate].to_numpy()
    left = frame["x"] - (frame[covariate] - frame[covariate].mean()) @ slope
    both = compared(frame, Mean("x", covariate=covariate))
    beside_welch(both, left[frame["variant"] == "A"].to_numpy(), left[frame["variant"] == "B"].to_numpy())
    assert both.value[:, 0] == pytest.approx([left[frame["variant"] == one].mean() for one in "AB"], rel=1e-10)
    assert both.raw == pytest.approx(compared(frame, Mean("x")).variance.sum(axis=0)) and both.extra == pytest.approx([0.0])


@pytest.mark.parametrize("covariate", [["y"], ["y", "z"]])
def test_separate_slopes_are_lins_regression(covariate):
    """Lin (2013, Annals of Applied Statistics 7, 295-318): the treatment's coefficient beside centred covariates and their interactions.

    The coefficient is the same. Its variance is that of residuals divided by n - 1 in each arm, which lies between HC0 (by n) and HC3,
    and by more than both the part for a centre that is itself estimated: Σ over covariates, which no HC knows. Without it, the error is HC2's but for terms of k / n.
    """
    frame = units(2000)
    centred = (frame[covariate] - frame[covariate].mean()).to_numpy()
    design = np.column_stack([np.ones(len(frame)), frame["t"], centred, frame["t"].to_numpy()[:, None] * centred])
    both = compared(frame, Mean("x", covariate=covariate), adjust="separate")
    fits = {kind: sm.OLS(frame["x"].to_numpy(), design).fit(cov_type=kind) for kind in ("HC0", "HC2", "HC3")}
    assert both.value[1, 0] - both.value[0, 0] == pytest.approx(fits["HC2"].params[1], rel=1e-9)
    error = np.sqrt(both.variance.sum())
    least = min(len(one) for one in of(frame, "x"))
    for kind in fits:
        assert error == pytest.approx(fits[kind].bse[1], rel=4 * (len(covariate) + 1) / least)
    step = fits["HC2"].params[2 + len(covariate):]
    assert both.extra[0] == pytest.approx(step @ np.atleast_2d(np.cov(frame[covariate].T)) @ step / len(frame), rel=1e-9)
    assert both.df[:, 0].tolist() == [len(one) - 1 - len(covariate) for one in of(frame, "x")]


def test_separate_slopes_by_hand():
    frame = units()
    both = compared(frame, Mean("x", covariate="y"), adjust="separate")
    for row, variant in enumerate("AB"):
        own = frame[frame["variant"] == variant]
        slope = np.polyfit(own["y"], own["x"], 1)[0]
        assert both.value[row, 0] == pytest.approx(own["x"].mean() - slope * (own["y"].mean() - frame["y"].mean()), rel=1e-10)
        assert both.variance[row, 0] == pytest.approx((own["x"] - slope * own["y"]).var() / len(own), rel=1e-9)


def test_the_part_for_an_estimated_centre():
    """Over many samples the effect spreads as its standard error says, if the extra part is in it: 2,000 samples, so 5 errors of their variance are 16 %."""
    rng, n, times = np.random.default_rng(1), 100, 2000
    y = rng.normal(0, 1, (2 * times, n))
    x = np.tile([[0.0], [3.0]], (times, 1)) * y + rng.normal(0, 1, (2 * times, n))   # slopes of 0 and 3: the centre matters
    mean, size = np.stack([x.mean(axis=1), y.mean(axis=1)], axis=1), np.full(2 * times, float(n))
    off = np.stack([x, y], axis=1) - mean[:, :, None]
    rows = pd.DataFrame({"comparison": range(times), "control": range(0, 2 * times, 2), "treatment": range(1, 2 * times, 2)})
    both = arms(Samples(pd.DataFrame(), size, size, mean, off @ off.swapaxes(1, 2) / (n - 1), ((0, None), (1, None)), size), rows, times, "separate")
    said = both.variance.sum(axis=0)
    assert np.var(both.value[1] - both.value[0]) == pytest.approx((said + both.extra).mean(), rel=5 * np.sqrt(2 / times))
    assert (said + both.extra).mean() > 1.5 * said.mean()   # without it a good part would be missing


def test_a_ratio_is_the_delta_method_by_hand():
    """Var(R) = var(orders - R·sessions) / (n · mean sessions²); Deng, Knoblich & Lu (2018, KDD, section 2)."""
    frame = units()
    both = compared(frame, Ratio("orders", "s"))
    for row, (top, below) in enumerate(zip(of(frame, "orders"), of(frame, "s"), strict=True)):
        ratio = top.sum() / below.sum()
        assert both.value[row, 0] == pytest.approx(ratio, rel=1e-12)
        assert both.variance[row, 0] == pytest.approx((top - ratio * below).var(ddof=1) / len(top) / below.mean()**2, rel=1e-10)


@pytest.mark.parametrize("adjust", ["pooled", "separate"])
def test_a_ratio_with_a_ratio_for_a_covariate(adjust):
    """Each ratio is a mean of what its units add to it: (top - R·below) / mean below."""
    frame = units()
    centre = {pair: frame[pair[0]].sum() / frame[pair[1]].sum() for pair in (("orders", "s"), ("before", "before s"))}
    both = compared(frame, Ratio("orders", "s", covariate=("before", "before s")), adjust=adjust)

    def added(own, pair, at):
        return (own[pair[0]] - at * own[pair[1]]) / own[pair[1]].mean()

    slopes = []
    for row, variant in enumerate("AB"):
        own = frame[frame["variant"] == variant]
        ratios = {pair: own[pair[0]].sum() / own[pair[1]].sum() for pair in centre}
        outcome, before = (added(own, pair, ratios[pair]) for pair in centre)
        whole = [added(frame, pair, centre[pair]) for pair in centre]
        slope = np.polyfit(before, outcome, 1)[0] if adjust == "separate" else np.polyfit(whole[1], whole[0], 1)[0]
        slopes.append(slope)
        assert both.value[row, 0] == pytest.approx(ratios["orders", "s"] - slope * (ratios["before", "before s"] - centre["before", "before s"]), rel=1e-9)
        assert both.variance[row, 0] == pytest.approx((outcome - slope * before).var(ddof=1) / len(own), rel=1e-9)
    assert both.extra[0] == pytest.approx((slopes[1] - slopes[0])**2 * whole[1].var(ddof=1) / len(frame), rel=1e-9, abs=1e-18)


def strata_by_hand(frame, column):
    """Weights, means (2, strata), variances of means, and units."""
    cells = frame.groupby(["variant", "seg"])[column].agg(["mean", "var", "size"])
    mean, var, size = (cells[name].unstack("seg").to_numpy(float) for name in ("mean", "var", "size"))
    return size.sum(axis=0) / size.sum(), mean, var / size, size


def test_strata_by_hand():
    """Differences within strata, weighted by their units; Miratrix, Sekhon & Yu (2013, JRSS B 75, 369-396), and a part for weights that are themselves estimated."""
    frame = units()
    w, mean, error, size = strata_by_hand(frame, "x")
    both = compared(frame, Mean("x"), ("seg",))
    assert both.value[:, 0] == pytest.approx(mean @ w, rel=1e-11) and both.variance[:, 0] == pytest.approx(error @ w**2, rel=1e-10)
    step = mean[1] - mean[0]
    assert both.extra[0] == pytest.approx(w @ (step - w @ step)**2 / len(frame), rel=1e-9)
    assert both.df[:, 0].tolist() == (size.sum(axis=1) - 3).tolist() and both.n[:, 0].tolist() == size.sum(axis=1).tolist()
    one = compared(frame.assign(seg="all"), Mean("x"), ("seg",))
    assert (one.value, one.variance, one.extra) == (pytest.approx(compared(frame, Mean("x")).value), pytest.approx(compared(frame, Mean("x")).variance), pytest.approx([0.0]))


@pytest.mark.parametrize("adjust", ["pooled", "separate"])
def test_strata_and_covariates_by_hand(adjust):
    frame = units()
    both = compared(frame, Mean("x", covariate="y"), ("seg",), adjust)
    w, mean, _, size = strata_by_hand(frame, "x")
    _, before, _, _ = strata_by_hand(frame, "y")
    within = sum(weight * np.cov(own["x"], own["y"]) for weight, (_, own) in zip(w, frame.groupby("seg"), strict=True))
    centre = w @ frame.groupby("seg")["y"].mean()
    for row, variant in enumerate("AB"):
        cells = [np.cov(own["x"], own["y"]) for _, own in frame[frame["variant"] == variant].groupby("seg")]
        views = sum(w[k]**2 / size[row, k] * cells[k] for k in range(3))
        slope = (views if adjust == "separate" else within)[0, 1] / (views if adjust == "separate" else within)[1, 1]
        assert both.value[row, 0] == pytest.approx(mean[row] @ w - slope * (before[row] @ w - centre), rel=1e-10)
        assert both.variance[row, 0] == pytest.approx(views[0, 0] - 2 * slope * views[0, 1] + slope**2 * views[1, 1], rel=1e-9)


def test_clusters_beside_statsmodels():
    """A regression on the arm with errors by cluster: the same but for G / (G - 1), in each arm with its own number of clusters."""
    frame = units()
    both = compared(frame, Mean("x"), cluster="shop")
    fit = sm.OLS(frame["x"], sm.add_constant(frame["t"])).fit()
    shops = frame.groupby("variant")["shop"].nunique()
    wanted = []
    for row, variant in enumerate("AB"):
        own = frame[frame["variant"] == variant]
        off = (own["x"] - own["x"].mean()).groupby(own["shop"]).sum()
        wanted.append(shops[variant] / (shops[variant] - 1) * (off**2).sum() / len(own)**2)
        assert both.value[row, 0] == pytest.approx(own["x"].mean(), rel=1e-11) and both.variance[row, 0] == pytest.approx(wanted[-1], rel=1e-9)
    plain = fit.get_robustcov_results("cluster", groups=frame["shop"], use_correction=False).bse[1]
    assert np.sqrt(both.variance.sum()) == pytest.approx(plain * np.sqrt(50 / 49), rel=1e-9) and shops.tolist() == [50, 50]
    assert np.sqrt(both.variance.sum()) == pytest.approx(fit.get_robustcov_results("cluster", groups=frame["shop"]).bse[1], rel=0.01)
    assert both.n[:, 0].tolist() == [50, 50] and both.units[:, 0].sum() == len(frame) and both.df[:, 0].tolist() == [49, 49]


def test_a_cluster_of_one_is_a_unit():
    frame = units().assign(shop=np.arange(800))
    one, other = (compared(frame, Ratio("orders", "s"), cluster=cluster) for cluster in (None, "shop"))
    assert (one.value, one.variance) == (pytest.approx(other.value, rel=1e-10), pytest.approx(other.variance, rel=1e-9))


def test_a_share_is_a_mean_of_0_and_1():
    frame = units().assign(b=lambda one: one["x"] > 5)
    beside_welch(compared(frame, Proportion("b")), *of(frame, "b"))
    assert read(compared(frame, Proportion("b", covariate="y")))[4] < read(compared(frame, Proportion("b")))[4]


@pytest.mark.parametrize("adjust", ["pooled", "separate"])
@pytest.mark.parametrize(("more", "less"), [(["y", "one"], ["y"]), (["one"], []), (["y", "twice"], ["y"]), (["y", "y"], ["y"]), (["y", "z", "both"], ["y", "z"])])
def test_covariates_that_say_nothing_new(adjust, more, less):
    """One that does not vary, or is made of others, changes neither value nor variance."""
    frame = units().assign(one=7.0, twice=lambda own: 2 * own["y"] + 1, both=lambda own: own["y"] - own["z"])
    one, other = (compared(frame, Mean("x", covariate=each), adjust=adjust) for each in (more, less))
    assert one.value == pytest.approx(other.value, rel=1e-9) and one.variance == pytest.approx(other.variance, rel=1e-9)


@pytest.mark.parametrize("adjust", ["pooled", "separate"])
@pytest.mark.parametrize("scale", [1e-9, 1e-5, 1e5, 1e9, 1e12])
def test_units_of_a_covariate_do_not_matter(adjust, scale):
    """Bytes beside shares: a regression does not care in what a covariate is counted."""
    frame = units().assign(far=lambda own: own["z"] * scale)
    one, other = (compared(frame, Mean("x", covariate=["y", name]), adjust=adjust) for name in ("z", "far"))
    assert one.value == pytest.approx(other.value, rel=1e-9) and one.variance == pytest.approx(other.variance, rel=1e-9)


def test_an_outcome_that_its_covariate_tells():
    both = compared(units().assign(same=lambda own: own["x"]), Mean("x", covariate="same"))
    assert both.value[0] == pytest.approx(both.value[1]) and (both.variance >= 0).all() and both.variance == pytest.approx(np.zeros((2, 1)), abs=1e-12)


def test_a_denominator_of_0():
    with pytest.raises(ParameterError, match="the denominator of a ratio is 0 for all units of an arm"):
        compared(units().assign(s=lambda own: own["t"]), Ratio("orders", "s"))
    with pytest.raises(ParameterError, match="the denominator of a ratio is 0"):
        gradients(np.array([[1.0, 0.0]]), ((0, 1),))


def test_gradients_are_slopes():
    mean, layout, step = np.array([[2.0, 4.0, 3.0], [1.0, 5.0, 2.0]]), ((0, 1), (2, None), (2, 1), (1, 1)), 1e-6
    value, slope = gradients(mean, layout)
    assert value == pytest.approx(np.array([[0.5, 3, 0.75, 1], [0.2, 2, 0.4, 1]]))
    for term in range(3):
        moved = (gradients(mean + step * np.eye(3)[term], layout)[0] - gradients(mean - step * np.eye(3)[term], layout)[0]) / (2 * step)
        assert slope[:, term] == pytest.approx(moved, abs=1e-8)


def frames(*rows, columns=("variant",)):
    return pd.DataFrame(rows, columns=columns)


def test_pairs_of_two_and_of_many():
    compared, rows = pairs(frames(["A"], ["B"], ["C"]), "B", [], [])
    assert compared.to_numpy().tolist() == [["A"], ["C"]] and rows.to_numpy().tolist() == [[0, 1, 0], [1, 1, 2]]


def test_pairs_of_segments_where_an_arm_is_empty():
    compared, rows = pairs(frames(["A", "u"], ["A", "v"], ["B", "u"], ["B", "w"], columns=("variant", "seg")), "A", ["seg"], [])
    assert compared.to_numpy().tolist() == [["u", "B"], ["v", "B"], ["w", "B"]]
    assert rows.fillna(-1).to_numpy().tolist() == [[0, 0, 2], [1, 1, -1], [2, -1, 3]]


def test_pairs_of_strata_in_segments_with_missing_names():
    groups = frames(["A", "u", 1], ["A", None, 1], ["B", "u", 1], ["B", "u", 2], ["B", None, 1], columns=("variant", "seg", "stratum"))
    compared, rows = pairs(groups, "A", ["seg"], ["stratum"])
    assert len(compared) == 2 and rows.groupby("comparison").size().tolist() == [2, 1]
    assert rows["treatment"].tolist() == [2, 3, 4] and rows["control"].fillna(-1).tolist() == [0, -1, 1]


@pytest.mark.parametrize("name", ["control", "treatment", "comparison", "_at"])
def test_pairs_of_segments_of_any_name(name):
    groups = frames(["A", "u"], ["A", "v"], ["B", "u"], ["B", "v"], columns=("variant", name))
    for by, strata in (([name], []), ([], [name])):
        _, rows = pairs(groups, "A", by, strata)
        assert rows["comparison"].tolist() == ([0, 1] if by else [0, 0])
