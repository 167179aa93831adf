"""Design of experiments: what the numbers must obey, and what is refused."""
import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr, ndtri, stdtr

from tenant_lab.core.errors import ParameterError
from tenant_lab.experiments.always import AlwaysValidLooks
from tenant_lab.experiments.design import (
    Baseline,
    Plan,
    Trial,
    design_effect,
    detectable_effect,
    duration,
    plan,
    power,
    sample_size,
)
from tenant_lab.experiments.margins import contrast_t, score_z
from tenant_lab.experiments.sequential import GroupSequential

ORDERS = Baseline.of_proportion(0.1, daily_units=1000, name="orders")
REVENUE = Baseline(20.0, 900.0)
LATENCY = Baseline(300.0, 40_000.0, "quantile")
Z, Z80 = 1.959964, 0.841621   # normal quantiles at 0.975 and 0.8


@dataclass(frozen=True)
class OneLook:
    """A sequential design of one look."""

    alpha: float = 0.05

    def power(self, drift):
        return ndtr(drift + ndtri(self.alpha / 2))

    def drift(self, power):
        return ndtri(power) - ndtri(self.alpha / 2)


# the baseline

@pytest.mark.parametrize("given, said", [
    ({"kind": "median"}, "kind 'median'"), ({"mean": math.nan}, "mean nan"), ({"mean": True}, "mean True"), ({"variance": 0}, "variance 0"),
    ({"variance": -1}, "variance -1"), ({"correlation": 1.0}, "between -1 and 1"), ({"design_effect": 0.0}, "design_effect 0.0"), ({"skewness": math.inf}, "skewness"),
    ({"daily_units": 0}, "nobody comes"), ({"daily_units": []}, "nobody comes"), ({"daily_units": [5, -1]}, "daily_units -1"), ({"daily_units": "many"}, "daily_units 'many'"),
    ({"kind": "proportion", "mean": 0.1, "variance": 0.1}, "use Baseline.of_proportion"), ({"kind": "proportion", "mean": 1.5}, "between 0 and 1")])
def test_a_baseline_refuses(given, said):
    with pytest.raises(ParameterError, match=said):
        Baseline(**{"mean": 5.0, "variance": 4.0, **given})


@pytest.mark.parametrize("p", [0.0, 1.0, 1.2, "0.1"])
def test_a_proportion_lies_inside(p):
    with pytest.raises(ParameterError, match="proportion"):
        Baseline.of_proportion(p)


def test_numpy_numbers_are_numbers():
    given = Baseline(np.float64(5), np.float32(4), daily_units=np.array([3, 4]), skewness=np.int64(2))
    assert given.daily_units == (3, 4)
    assert sample_size(given, np.float64(0.5), np.float64(0.8), shares=np.array([1, 1])) == sample_size(Baseline(5.0, 4.0), 0.5)


def test_days_and_units_are_inverse():
    for daily in (1000, [2000, 0, 500], [0, 1, 2.5], [0, 0, 7, 0]):
        baseline = replace(REVENUE, daily_units=daily)
        total = np.cumsum(np.resize(np.atleast_1d(daily), 60))
        assert [baseline.units(day) for day in range(1, 61)] == total.tolist()
        for n in range(1, int(total[-1]), max(1, int(total[-1]) // 50)):
            assert baseline.days(n) == int(np.argmax(total >= n)) + 1


@pytest.mark.parametrize("days", [0, -1, 1.5])
def test_days_are_whole(days):
    with pytest.raises(ParameterError, match="days"):
        ORDERS.units(days)


def test_without_traffic_there_are_no_days():
    for ask in (lambda: REVENUE.days(5), lambda: REVENUE.units(5), lambda: duration(REVENUE, 1.0), lambda: plan(REVENUE, 1.0).plot("days")):
        with pytest.raises(ParameterError, match="how many new units come each day"):
            ask()


def test_design_effect():
    assert design_effect(1, 0.7) == 1 and design_effect(10, 0) == 1
    assert design_effect(10, 0.05) == pytest.approx(1.45) and design_effect(10, 0.05, 0.5) == pytest.approx(1.575)
    assert sample_size(replace(LATENCY, design_effect=1.45), 10) == pytest.approx(1.45 * sample_size(LATENCY, 10))
    for given in ({"size": 0.9}, {"correlation": 1.1}, {"variation": -0.1}):
        with pytest.raises(ParameterError):
            design_effect(**{"size": 10, "correlation": 0.1, **given})


@pytest.mark.parametrize("kind", [{"variance": 1.0}, {"variance": 1.0, "kind": "ratio"}, {"variance": 0.25, "kind": "proportion"}])
def test_few_groups_have_few_degrees_of_freedom(kind):
    """20 groups an arm: noncentral t with 38, whatever the units, of which there are ten times as many."""
    some = Baseline(0.5, **kind, design_effect=2.8, cluster_size=10)
    assert power(some, 0.2, 400) < power(replace(some, cluster_size=1), 0.2, 400)
    if some.kind != "proportion":   # whose second variance is that of the effect
        assert power(some, 0.2, 400) == pytest.approx(1 - stats.nct.cdf(stats.t.ppf(0.975, 38), 38, 0.2 / np.sqrt(2.8 * 2 / 200)), abs=1e-9)
    with pytest.raises(ParameterError, match="n 39: needs a number from 40"):
        power(some, 0.2, 39)


# the trial

@pytest.mark.parametrize("given, said", [
    ({"alpha": 0.0}, "alpha 0.0"), ({"alpha": 1}, "alpha 1"), ({"alternative": "smaller"}, "alternative 'smaller'"), ({"method": "exact"}, "method 'exact'"),
    ({"margin": -0.1}, "margin -0.1"), ({"margin": 0.1}, "two-sided and arcsine have none"), ({"alternative": "equivalence"}, "equivalence needs one above 0"),
    ({"alternative": "greater", "margin": 0.1, "method": "arcsine"}, "arcsine have none"), ({"shares": (1,)}, "for the control and for each treatment"), ({"shares": 0.5}, "for each treatment"),
    ({"shares": (0.5, 0)}, "share 0"), ({"shares": "ab"}, "share 'ab'"), ({"comparisons": 0}, "comparisons"), ({"comparisons": "holm"}, "dunnett"), ({"comparisons": "dunnett", "alternative": "greater"}, "if two-sided"),
    ({"design": 5}, "needs a sequential design"), ({"design": OneLook(), "alpha": 0.01}, "alpha of one comparison"), ({"design": OneLook(), "shares": (1, 1, 1)}, "comparisons=1"),
    ({"design": OneLook(), "alternative": "equivalence", "margin": 1.0}, "this alternative"), ({"design": GroupSequential(alternative="less"), "alternative": "greater"}, "this alternative")])
def test_a_trial_refuses(given, said):
    with pytest.raises(ParameterError, match=said):
        Trial(**given)


def test_a_trial_takes_over_from_its_design():
    assert (Trial().alpha, Trial().alternative, Trial().level) == (0.05, "two-sided", 0.05)
    trial = Trial(design=GroupSequential(alpha=0.01, alternative="greater"))
    assert (trial.alpha, trial.alternative) == (0.01, "greater")


def test_comparisons_share_alpha():
    assert Trial(shares=(1, 1, 1, 1)).level == Trial(comparisons=3).level == 0.05 / 3
    assert Trial(comparisons="dunnett").level == pytest.approx(0.05, abs=1e-8)   # one comparison has nothing to share
    between = Trial(shares=(1, 1, 1, 1), comparisons="dunnett").level
    assert between > 1 - 0.95 ** (1 / 3) > 0.05 / 3   # comparisons that go up and down together may have more than independent ones (Šidák)
    assert 2 * ndtr(-2.355) < between < 2 * ndtr(-2.345)   # 2.35 in Dunnett's table (1964, Biometrics 20:482)


# power and its inverses

@pytest.mark.parametrize("baseline", [ORDERS, REVENUE, LATENCY, Baseline(0.4, 0.2, "ratio"), replace(ORDERS, correlation=0.5), Baseline.of_proportion(0.6)], ids=lambda b: b.kind)
@pytest.mark.parametrize("options", [
    {}, {"alpha": 0.01}, {"alternative": "greater"}, {"alternative": "less"}, {"shares": (10, 1)}, {"shares": (2, 1, 3)}, {"method": "unpooled"}, {"method": "arcsine"},
    {"alternative": "greater", "margin": 0.1}, {"alternative": "less", "margin": 0.1}, {"design": OneLook()}, {"design": GroupSequential(3)}, {"design": GroupSequential(3, alternative="less")}, {"design": AlwaysValidLooks(3)}], ids=str)
def test_all_functions_agree(baseline, options):
    effect = -0.05 if "less" in (options.get("alternative"), getattr(options.get("design"), "alternative", "")) else 0.05
    for promised in (0.6, 0.9):
        n = sample_size(baseline, effect, promised, relative=True, **options)
        assert power(baseline, effect, n, relative=True, **options) == pytest.approx(promised, abs=1e-8)
        assert detectable_effect(baseline, n, promised, relative=True, **options) == pytest.approx(effect, abs=1e-8)
        if "margin" not in options:   # a relative margin is another question than one in the unit
            assert detectable_effect(baseline, n, promised, **options) == pytest.approx(effect * baseline.mean, abs=1e-8 * baseline.mean)


@pytest.mark.parametrize(("alternative", "sign"), [("greater", -1), ("less", 1)])
@pytest.mark.parametrize(("margin", "relative"), [(0.2, True), (0.02, False)])
@pytest.mark.parametrize("shares", [(1, 1), (1, 3)])
def test_margins_keep_their_promise(alternative, sign, margin, relative, shares):
    """Tests of `experiments.margins` pass in 80 % of 20,000 drawn experiments, within 3.3 standard errors (0.9 points) and 0.3 points of the normal approximation."""
    rng, factor, shift = np.random.default_rng(4), 1 + sign * margin if relative else 1.0, 0.0 if relative else sign * margin
    options = {"effect": 0.0, "alternative": alternative, "relative": relative, "alpha": 0.025, "shares": shares}
    n0, n1 = plan(ORDERS, margin=margin, **options).units
    z = score_z(rng.binomial(n0, 0.1, 20_000), n0, rng.binomial(n1, 0.1, 20_000), n1, factor, shift)
    assert np.mean(-sign * z > Z) == pytest.approx(0.8, abs=0.012)
    shift *= 100   # of a mean of 10
    n0, n1 = plan(Baseline(10.0, 25.0), margin=margin if relative else 100 * margin, **options).units
    means, errors = (rng.normal(10, 5 / np.sqrt(n), 20_000) for n in (n0, n1)), (25 * rng.chisquare(n - 1, 20_000) / (n - 1) / n for n in (n0, n1))
    t, df = contrast_t(*means, *errors, n0 - 1, n1 - 1, factor, shift)
    assert np.mean(stdtr(df, sign * t) < 0.025) == pytest.approx(0.8, abs=0.02)   # whole units: one of a hundred more


def test_closed_forms():
    """Normal theory: n = V (z + z')² / effect² for each of two equal arms; V is all that a kind differs by."""
    one_arm = (Z + Z80) ** 2 * LATENCY.variance / 10**2 * 2
    assert sample_size(LATENCY, 10) / 2 == pytest.approx(one_arm, rel=1e-5)
    assert sample_size(LATENCY, -10) == sample_size(LATENCY, 10)
    assert sample_size(replace(LATENCY, correlation=-0.6), 10) / 2 == pytest.approx(0.64 * one_arm, rel=1e-5)
    assert sample_size(LATENCY, 10, shares=(10, 1)) / 2 == pytest.approx(one_arm * 11**2 / 40, rel=1e-5)
    assert sample_size(LATENCY, 4, alternative="greater", margin=6, alpha=0.025) / 2 == pytest.approx(one_arm, rel=1e-5)
    assert sample_size(LATENCY, 0, alternative="less", margin=10, alpha=0.025) / 2 == pytest.approx(one_arm, rel=1e-5)
    tost = (1.644854 + 1.281552) ** 2 * LATENCY.variance / 10**2 * 2   # at no effect each side has half of the 20 % to miss
    assert sample_size(LATENCY, 0, alternative="equivalence", margin=10) / 2 == pytest.approx(tost, rel=1e-5)
    assert sample_size(LATENCY, 10, design=OneLook()) / 2 == pytest.approx(one_arm, rel=1e-5)
    assert sample_size(LATENCY, 10, comparisons=5) == sample_size(LATENCY, 10, alpha=0.01)


def test_equivalence_is_two_tests():
    options = {"alternative": "equivalence", "margin": 10.0}
    a, b = (power(LATENCY, 3, 20_000, alternative=side, margin=10.0) for side in ("greater", "less"))
    assert power(LATENCY, 3, 20_000, **options) == pytest.approx(a + b - 1)
    assert power(LATENCY, 3, 20_000, **options) == power(LATENCY, -3, 20_000, **options)
    assert power(LATENCY, 0, 100, **options) == 0   # the interval is wider than the margins: it can never be inside them


def test_without_an_effect_the_test_errs_with_its_level():
    for baseline in (ORDERS, REVENUE, LATENCY):
        assert power(baseline, 0, 500, alpha=0.04) == pytest.approx(0.02)
        assert power(baseline, 0, 500, alternative="less", alpha=0.04) == pytest.approx(0.04)
    assert power(LATENCY, -6, 500, alternative="greater", margin=6) == pytest.approx(0.05)
    assert power(LATENCY, 0, 500, design=GroupSequential(3)) == pytest.approx(0.025)
    assert power(LATENCY, 0, 500, design=AlwaysValidLooks(3)) < 0.025


def test_power_at_the_far_ends():
    """The noncentral t distribution of SciPy is missing in places where it is 0 or 1."""
    for effect in np.linspace(-400, 400, 801):
        for options in ({}, {"alternative": "greater"}, {"design": OneLook()}):
            found = power(REVENUE, effect, 200, **options)
            assert 0 <= found <= 1
            if abs(effect) > 60:
                assert found == pytest.approx(1 if effect > 0 or options.get("alternative") is None else 0)


def test_a_sequential_one_sided_design_looks_its_own_way():
    less, greater = (GroupSequential(3, alpha=0.025, alternative=side) for side in ("less", "greater"))
    n = sample_size(LATENCY, 10, design=greater)
    assert sample_size(LATENCY, -10, design=less) == pytest.approx(n)
    assert power(LATENCY, -10, n, design=less) == pytest.approx(0.8) and power(LATENCY, 10, n, design=less) < 0.001
    assert sample_size(LATENCY, 0, design=less, margin=10) == pytest.approx(n)
    with pytest.raises(ParameterError, match="none that the test should find"):
        sample_size(LATENCY, 10, design=less)


def test_always_valid_looks():
    once, often = AlwaysValidLooks(1), AlwaysValidLooks(20)
    edge = math.sqrt(9.2073) + 1e-3   # the root of u in the mixture at 5 %, u - 1 = log(u / 0.05²), is 9.207
    assert once.edges[1][0] == pytest.approx(edge, abs=2e-3)
    assert once.drift(0.8) == pytest.approx(once.edges[1][0] + Z80, abs=1e-5)
    assert often.drift(0.8) < once.drift(0.8) and often.power(-3.0) == often.power(3.0)
    for given in ({"looks": 0}, {"looks": 501}, {"looks": 5, "alpha": 0.0}):
        with pytest.raises(ParameterError):
            AlwaysValidLooks(**given)
    with pytest.raises(ParameterError, match="power 0.05"):
        often.drift(0.05)


def test_pooling_needs_plain_proportions():
    for baseline, options in ((replace(ORDERS, correlation=0.3), {}), (replace(ORDERS, design_effect=2.0), {}), (ORDERS, {"design": OneLook()})):
        assert sample_size(baseline, 0.02, **options) == pytest.approx(sample_size(baseline, 0.02, method="unpooled", **options))
    assert sample_size(ORDERS, 0.02) != pytest.approx(sample_size(ORDERS, 0.02, method="unpooled"), rel=1e-5)


def test_a_huge_effect_needs_two_of_each_arm():
    assert sample_size(LATENCY, 1e6) == 4 and sample_size(LATENCY, 1e6, shares=(3, 1)) == 8


@pytest.mark.parametrize("ask, said", [
    (lambda: sample_size(ORDERS, 0), "none that the test should find"), (lambda: sample_size(ORDERS, -0.01, alternative="greater"), "none that the test should find"),
    (lambda: sample_size(LATENCY, 10, alternative="equivalence", margin=10), "none that the test should find"), (lambda: sample_size(LATENCY, 1e-9), "more than 1e\\+18 units"),
    (lambda: sample_size(ORDERS, 0.02, power=0.05), "power 0.05"), (lambda: sample_size(ORDERS, 0.02, power=1), "power 1"), (lambda: sample_size(ORDERS, 0.02, power="high"), "power 'high'"),
    (lambda: sample_size(ORDERS, 0.9), "needs one between 0 and 1"), (lambda: power(ORDERS, -0.1, 500), "needs one between 0 and 1"), (lambda: power(ORDERS, math.nan, 500), "effect nan"),
    (lambda: power(ORDERS, 0.01, 500, alternative="greater", margin=0.2), "margin -0.2"), (lambda: power(ORDERS, 0.01, 500, alternative="less", margin=0.95), "margin 0.95"),
    (lambda: power(ORDERS, 0.01, 3), "n 3"), (lambda: power(ORDERS, 0.01, 20, shares=(19, 1)), "n 20"), (lambda: detectable_effect(ORDERS, 3), "n 3"),
    (lambda: power(Baseline(0.0, 1.0), 0.1, 500, relative=True), "needs a mean above 0"), (lambda: detectable_effect(Baseline(-1.0, 1.0), 500, relative=True), "needs a mean above 0"),
    (lambda: detectable_effect(LATENCY, 500, alternative="equivalence", margin=5), "equivalence has no smallest effect"), (lambda: detectable_effect(Baseline.of_proportion(0.9), 20), "needs more units"),
    (lambda: plan(ORDERS), "needs an effect, or a number of units n, or both"), (lambda: plan(ORDERS, n=3), "n 3"),
    (lambda: plan(ORDERS, 0.02).plot("power"), "what 'power'"), (lambda: plan(ORDERS, 0.0, alternative="equivalence", margin=0.05).plot("days"), "equivalence has no")])
def test_refused(ask, said):
    with pytest.raises(ParameterError, match=said):
        ask()


# the plan

def test_a_plan_of_an_effect():
    made = plan(ORDERS, 0.2, relative=True)
    assert made.units == (3841, 3841) and made.days == 8 == duration(ORDERS, 0.2, relative=True)
    assert made.effect == pytest.approx(0.02) and made.relative == pytest.approx(0.2) and 0.8 < made.power < 0.8001 and made.notes == ()
    row = made.frame().iloc[0]
    assert len(made.frame()) == 1
    assert row[["metric", "kind", "alternative", "design"]].tolist() == ["orders", "proportion", "two-sided", "fixed"]
    assert row[["margin", "alpha", "level", "units", "control", "treatment_1", "days"]].tolist() == [0, 0.05, 0.05, 7682, 3841, 3841, 8]


def test_units_are_rounded_up_where_found_and_down_where_given():
    made = plan(ORDERS, 0.02, shares=(10, 1))
    n = sample_size(ORDERS, 0.02, shares=(10, 1))
    assert made.units == (math.ceil(n * 10 / 11), math.ceil(n / 11)) and made.power >= 0.8
    assert plan(ORDERS, n=1000, shares=(2, 1)).units == (666, 333)
    assert plan(ORDERS, n=90, shares=(0.7, 0.3), power=0.3).units == (63, 27)   # 90 · 0.7 is 62.99999999999999


def test_a_plan_of_a_size():
    made = plan(ORDERS, n=ORDERS.units(14))
    assert made.days == 14 and made.power == pytest.approx(0.8) and made.effect == pytest.approx(detectable_effect(ORDERS, 14_000))
    both = plan(ORDERS, 0.01, 14_000, power=0.99)
    assert both.power == pytest.approx(power(ORDERS, 0.01, 14_000)) and both.effect == 0.01


@pytest.mark.parametrize("made, title", [
    (plan(ORDERS, 0.2, relative=True), "20.0% more orders can be seen after 8 days, with 80% power"),
    (plan(ORDERS, -0.02, power=0.9), "20.0% less orders can be seen after 9 days, with 90% power"),
    (plan(REVENUE, 1.0, 1000), "5.0% more of the metric can be seen with 1\u202f000 units, with 8% power"),
    (plan(Baseline(-2.0, 4.0), 0.5), "0.500 more of the metric can be seen with 506 units, with 80% power"),
    (plan(ORDERS, 0.0, alternative="greater", margin=0.01), "At most 10.0% less orders can be shown after 23 days, with 80% power"),
    (plan(ORDERS, 0.0, alternative="less", margin=0.1, relative=True), "At most 10.0% more orders can be shown after 25 days, with 80% power"),
    (plan(ORDERS, 0.0, alternative="equivalence", margin=0.01), "At most 10.0% more or less orders can be shown after 31 days, with 80% power"),
    (plan(Baseline.of_proportion(0.9, name="calls"), 0.08), "8.9% more calls can be seen with 276 units, with 80% power")], ids=lambda given: getattr(given, "trial", None) and given.trial.alternative)
def test_the_title_says_the_finding(made, title):
    fig = made.plot()
    assert fig.layout.title.text == title
    x, y = (np.array(values, float) for values in (fig.data[0].x, fig.data[0].y))
    assert ((y >= 0) & (y <= 1)).all() and (np.diff(x) >= 0).all()
    assert np.interp(fig.data[1].x[0], x, y) == pytest.approx(made.power, abs=2e-3)   # the point is on the curve


def test_the_curve_by_days():
    for options in ({"relative": True}, {"relative": True, "design": GroupSequential(3)}, {"relative": True, "alternative": "less"}):
        made = plan(ORDERS, -0.1 if "alternative" in options else 0.1, **options)
        fig = made.plot("days")
        assert fig.data[0].x[0] == made.days and fig.data[0].x[-1] == 2 * made.days and fig.data[1].x[0] == made.days
        assert abs(fig.data[0].y[0]) <= abs(fig.data[1].y[0]) + 1e-12 and (np.diff(np.abs(fig.data[0].y)) < 0).all()
    assert plan(ORDERS, 0.5, relative=True).plot("days").data[0].x[-1] == 28   # four weeks are shown, however short


def test_notes():
    assert plan(ORDERS, 0.5, relative=True).notes == ("2 days do not have all weekdays: let it run for a week",)
    assert plan(REVENUE, 1.0).notes == ("days are missing: the baseline has no daily_units",)
    skewed = replace(REVENUE, skewness=8.0, daily_units=1000)
    assert [note for note in plan(skewed, 1.0).notes if "winsorise" in note and "from 22\u202f720 on" in note]   # 355 · 8²
    assert plan(skewed, 1.0, 50_000).notes == ()
    assert "the most that the sequential design takes" in plan(ORDERS, 0.02, design=OneLook()).notes[0]
    negative = plan(Baseline(-2.0, 4.0, daily_units=10), 0.5)
    assert math.isnan(negative.relative) and "the relative effect is missing" in negative.notes[0]
    assert isinstance(negative, Plan) and "the relative effect is missing" in negative._repr_html_()
    assert plan(ORDERS, 0.02, design=GroupSequential()).frame()["design"].tolist() == ["GroupSequential"]


def test_a_margin_as_large_as_the_control():
    with np.errstate(all="raise"):
        assert power(ORDERS, 0.0, 2000, alternative="less", margin=1.0, relative=True) > 0.999
