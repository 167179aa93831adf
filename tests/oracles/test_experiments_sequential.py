"""Group sequential tests beside published numbers, and beside simulated Brownian paths.

rpact's numbers are those that its own tests expect, which it keeps to seven digits: `test-f_design_group_sequential.R` of github.com/rpact-com/rpact
(commit 1d81a55e) and `test-f_analysis_base_survival.R` of github.com/cran/rpact (commit 12f682f7). Jennison and Turnbull (2000) is *Group Sequential
Methods with Applications to Clinical Trials*.
"""
import numpy as np
import pytest

from tenant_lab.experiments.boundaries import (
    classical_boundary,
    crossing_probabilities,
    read_information,
    spending,
    spent_boundary,
)
from tenant_lab.experiments.sequential import GroupSequential, Look, stage_wise

SURE = 3.2905   # standard errors that 99.9 % of simulations keep within


def test_looking_often_at_1_96():
    """Armitage, McPherson and Rowe (1969, JRSS A): chance of |z| > 1.96 at any of K looks."""
    for looks, chance in {1: 0.05, 2: 0.083, 3: 0.107, 4: 0.126, 5: 0.142, 10: 0.193, 20: 0.248, 50: 0.320}.items():
        up, down, _ = crossing_probabilities([-1.96] * looks, [1.96] * looks, looks)
        assert (up + down).sum() == pytest.approx(chance, abs=6e-4)


@pytest.mark.parametrize("looks, pocock, obrien_fleming", [(2, 2.1783, 1.9774), (3, 2.2895, 2.0040), (4, 2.3613, 2.0243), (5, 2.4132, 2.0401), (10, 2.5550, 2.0865)])
def test_classical_boundaries(looks, pocock, obrien_fleming):
    """Two-sided 5 %; Jennison and Turnbull (2000), tables 2.1 and 2.3, with the further digit of gsDesign and rpact."""
    assert classical_boundary("pocock", looks, 0.025) == pytest.approx([pocock] * looks, abs=6e-5)
    assert classical_boundary("obrien-fleming", looks, 0.025)[-1] == pytest.approx(obrien_fleming, abs=6e-5)


def test_spending_of_lan_and_demets():
    """Two-sided 5 %, five equal looks: Reboussin, DeMets, Kim and Lan (2000, Controlled Clinical Trials), an example that the manual of ldbounds repeats."""
    assert GroupSequential().boundaries()["critical"].to_numpy() == pytest.approx([4.8769, 3.3570, 2.6803, 2.2898, 2.0310], abs=6e-5)


@pytest.mark.parametrize("boundary, looks, power, factor", [
    ("pocock", 2, 0.8, 1.110), ("pocock", 2, 0.9, 1.100), ("pocock", 5, 0.8, 1.229), ("pocock", 5, 0.9, 1.207), ("pocock", 10, 0.8, 1.301), ("pocock", 10, 0.9, 1.271),
    ("obrien-fleming", 2, 0.8, 1.008), ("obrien-fleming", 2, 0.9, 1.007), ("obrien-fleming", 5, 0.8, 1.028), ("obrien-fleming", 5, 0.9, 1.026), ("obrien-fleming", 10, 0.8, 1.040), ("obrien-fleming", 10, 0.9, 1.037)])
def test_inflation_factors(boundary, looks, power, factor):
    """Two-sided 5 %; Jennison and Turnbull (2000), tables 2.2 and 2.4."""
    assert GroupSequential(looks=looks, boundary=boundary).inflation(power) == pytest.approx(factor, abs=6e-4)


def test_a_pocock_design_of_sas():
    """SAS/STAT 13.2 User's Guide, SEQDESIGN, example 3: four looks, 5 % two-sided, power 0.9; in percent of the sample of a single test.

    The last printed digit of the first is one off, where SAS's root of the critical value is.
    """
    plan = GroupSequential(looks=4, boundary="pocock")
    most = plan.inflation(0.9)
    assert 100 * most == pytest.approx(118.3143, abs=1.5e-4)
    assert 100 * most * plan.expected_information(0) == pytest.approx(115.6074, abs=1.5e-4)
    assert 100 * most * plan.expected_information(plan.drift(0.9)) == pytest.approx(69.74805, abs=1.5e-4)


def test_obrien_fleming_designs_of_sas():
    """SAS/STAT User's Guide, SEQDESIGN, Aspects of Group Sequential Designs: maximum information for an effect of 0.25, power 0.9."""
    for looks, information in {1: 168.12, 2: 169.32, 5: 172.57, 10: 174.42}.items():
        assert (GroupSequential(looks=looks, boundary="obrien-fleming").drift(0.9) / 0.25) ** 2 == pytest.approx(information, abs=6e-3)


@pytest.mark.parametrize("options, critical, spent", [
    ({"looks": 3, "alpha": 0.025, "boundary": "obrien-fleming"}, [3.4710914, 2.4544323, 2.0040356], [0.00025917372, 0.0071600594, 0.025]),
    ({"looks": [0.2, 0.4, 1], "alpha": 0.03, "boundary": "hwang-shih-decani-spending", "parameter": 0}, [2.5121443, 2.4228747, 2.0280392], [0.006, 0.012, 0.03]),
    ({"looks": [0.2, 0.4, 1], "alpha": 0.07, "boundary": "hwang-shih-decani-spending", "parameter": -1}, [2.364813, 2.1928805, 1.5660474], [0.0090195874, 0.020036136, 0.07]),
    ({"looks": [0.3, 0.7, 1], "alpha": 0.03, "boundary": "power-spending", "parameter": 2.2}, [2.8594012, 2.2435708, 1.9735737], [0.0021222083, 0.013687904, 0.03]),
    ({"looks": [0.35, 0.7, 1], "alpha": 0.13, "boundary": "pocock-spending"}, [1.5446617, 1.4828682, 1.4620058], [0.061214062, 0.10266465, 0.13]),
    ({"looks": [0.4, 0.75, 0.85, 1], "alpha": 0.13}, [2.1280732, 1.4368565, 1.422873, 1.2970881], [0.016665509, 0.080406163, 0.10053322, 0.13]),
    ({"looks": [0.2, 0.4, 0.6, 1], "alpha": 0.025, "boundary": "wang-tsiatis", "parameter": 0.45}, [2.4878815, 2.4031352, 2.3549063, 2.2955206], [0.0064253267, 0.012720859, 0.01826361, 0.025]),
    ({"looks": [0.3, 0.8, 1], "alpha": 0.025, "boundary": "wang-tsiatis", "parameter": 0.24, "alternative": "two-sided"}, [3.2029374, 2.4819703, 2.3420706], [0.0013603353, 0.013978861, 0.025]),
    ({"looks": [0.3, 0.6, 0.8, 1], "alpha": 0.025, "boundary": "wang-tsiatis", "parameter": 0.18, "alternative": "two-sided"}, [3.4563925, 2.7688119, 2.5253005, 2.3512665], [0.00054745752, 0.0059439465, 0.014151805, 0.025]),
])
def test_designs_of_rpact(options, critical, spent):
    """Seven digits are printed; rpact solves for alpha to 1e-8, which is 2e-7 in a critical value."""
    table = GroupSequential(**{"alternative": "greater", **options}).boundaries()
    assert table["critical"].to_numpy() == pytest.approx(critical, abs=3e-7) and table["spent"].to_numpy() == pytest.approx(spent, abs=2e-8)


def test_a_plan_that_never_reached_its_end():
    """rpact, x6b: Pocock's spending at 0.4 and 0.7 of the information."""
    t = [0.4, 0.7]
    assert spent_boundary(spending("pocock", t, 0.025), t, [-np.inf] * 2) == pytest.approx([2.223875, 2.3050796], abs=3e-7)


@pytest.mark.parametrize("options, futility, powers, shift, inflation, expected, expected_without", [
    ({"looks": [0.2, 0.4, 1], "alpha": 0.07, "boundary": "hwang-shih-decani-spending", "parameter": -1, "futility": 0.86, "futility_spending": "hwang-shih-decani", "futility_parameter": -2},
     [-1.1063623, -0.35992439], [0.12038953, 0.32895265, 0.86], 7.1015942, 1.0869177, 0.82636428, 0.79471657),
    ({"looks": [0.3, 0.7, 1], "alpha": 0.03, "boundary": "power-spending", "parameter": 2.2, "futility": 0.66, "futility_spending": "power", "futility_parameter": 3.2},
     [-1.1558435, 0.72836893], [0.058336437, 0.398246, 0.66], 5.551371, 1.0555891, 0.86740735, 0.75480974),
    ({"looks": [0.2, 0.4, 1], "alpha": 0.03, "boundary": "hwang-shih-decani-spending", "parameter": 0}, None, [0.12783451, 0.34055165, 0.86], 9.4594101, 1.0788327, 0.83081135, 1.0697705),
])
def test_power_futility_and_sample_size_of_rpact(options, futility, powers, shift, inflation, expected, expected_without):
    """x1 to x3 and y1 to y3: `shift` is the squared drift, expected samples are by that of a single test.

    rpact's recursion keeps about 1e-7; its bounds for futility are solved for the shift, so their error is that of both.
    """
    plan = GroupSequential(alternative="greater", **options)
    drift = plan.drift(powers[-1])
    assert drift**2 == pytest.approx(shift, rel=3e-7) and plan.inflation(powers[-1]) == pytest.approx(inflation, abs=3e-7)
    assert plan._towards(drift).up.cumsum() == pytest.approx(powers, abs=3e-7)
    assert inflation * plan.expected_information(drift) == pytest.approx(expected, abs=3e-7) and inflation * plan.expected_information(0) == pytest.approx(expected_without, abs=3e-7)
    if futility:
        assert plan.boundaries()["futility"].iloc[:-1].to_numpy() == pytest.approx(futility, abs=1e-6)


def test_four_looks_with_obrien_flemings_spending_and_power_for_futility():
    """rpact, x7a."""
    plan = GroupSequential(looks=[0.4, 0.75, 0.85, 1], alpha=0.13, alternative="greater", futility=0.59, futility_spending="power", futility_parameter=2.5)
    assert plan.boundaries()["futility"].iloc[:-1].to_numpy() == pytest.approx([-0.82676531, 0.3743303, 0.65077266], abs=1e-6)


@pytest.mark.parametrize("alternative", ["greater", "less"])
def test_an_analysis_of_rpact(alternative):
    """Log-rank tests after 8, 15 and 29 events with z = 1.52, 1.38, 2.9; the estimate is the log hazard ratio, its error 2 by the root of the events.

    rpact searches intervals and repeated p-values to 1e-6, of the hazard ratio or its logarithm, and of p; its repeated p-values are of one look, ours the smallest so far.
    """
    sign = -1 if alternative == "less" else 1
    plan = GroupSequential(looks=[0.2, 0.4, 0.6, 1], alpha=0.025, boundary="wang-tsiatis", parameter=0.45, alternative=alternative)
    history = [Look(fraction, sign * z * 2 / events**0.5, 2 / events**0.5) for fraction, z, events in zip((0.2, 0.4, 0.6), (1.52, 1.38, 2.9), (8, 15, 29), strict=True)]
    done = plan.monitor(history)
    table = done.frame()
    assert table["decision"].tolist() == ["continue", "continue", "efficacy"] and done.look == 3
    lower, upper = ((0.50439514, 0.58958009, 1.2243899), (17.013382, 7.0540547, 7.0401059)) if sign > 0 else ((0.058777136, 0.14176244, 0.14204332), (1.9825732, 1.6961224, 0.81673327))
    assert np.exp(table["low"].to_numpy()) == pytest.approx(lower, abs=1.5e-6, rel=1.5e-6) and np.exp(table["high"].to_numpy()) == pytest.approx(upper, abs=1.5e-6, rel=1.5e-6)
    assert table["p_value"].to_numpy() == pytest.approx([0.16918725, 0.16918725, 0.0054226276], abs=1.5e-6)
    assert done.p_value == pytest.approx(0.013371274, abs=1e-8)
    published = (1.1294538, 2.632639, 5.6956842) if sign > 0 else (0.17557153, 0.379847, 0.88538374)
    assert np.exp([done.low, done.estimate, done.high]) == pytest.approx(published, abs=1.5e-6, rel=1.5e-6)


def test_the_repeated_p_of_the_second_look_alone():
    """The same analysis of rpact, where its second repeated p-value is above the first."""
    plan = GroupSequential(looks=[0.2, 0.4, 0.6, 1], alpha=0.19438137, boundary="wang-tsiatis", parameter=0.45, alternative="greater")
    assert plan.boundaries()["critical"].iloc[1] == pytest.approx(1.38, abs=5e-6)


def paths(looks, drift, n, seed):
    """z of n Brownian paths with drift at equally spaced looks, shape (n, looks)."""
    steps = np.random.default_rng(seed).normal(drift / looks, looks**-0.5, (n, looks))
    return steps.cumsum(axis=1) / np.sqrt(read_information(looks))


@pytest.mark.parametrize("looks", [5, 50])
@pytest.mark.parametrize("boundary", ["obrien-fleming-spending", "pocock-spending", "pocock"])
def test_paths_without_an_effect_keep_the_level(looks, boundary):
    critical = GroupSequential(looks=looks, boundary=boundary).boundaries()["critical"].to_numpy()
    n = 200_000 if looks == 5 else 40_000
    assert (np.abs(paths(looks, 0, n, looks)) >= critical).any(axis=1).mean() == pytest.approx(0.05, abs=SURE * (0.05 * 0.95 / n) ** 0.5)


@pytest.mark.parametrize("drift", [0.0, 1.5, 3.0])
def test_stage_wise_chances_of_paths_are_uniform(drift):
    """So the adjusted p-value is one, the estimate has its median at the truth, and intervals hold it as often as they say."""
    from scipy.stats import kstest

    plan = GroupSequential(boundary="pocock-spending")
    critical, chances = plan.boundaries()["critical"].to_numpy(), []
    for path in paths(5, drift, 600, 11):
        k = int(np.r_[np.abs(path[:4]) >= critical[:4], True].argmax()) + 1
        chances.append(stage_wise(path[k - 1], critical[:k], plan.fractions[:k], drift))
    assert kstest(chances, "uniform").pvalue > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"boundary": "pocock"}, {"alternative": "greater", "futility": 0.8}])
def test_intervals_hold_the_truth(options, record_property):
    """Adjusted ones with the level they say, repeated ones at all looks at once with at least that; unequal looks, other than planned."""
    plan, t, drift, n = GroupSequential(looks=4, **options), np.array([0.2, 0.55, 0.7, 1.0]), 2.2, 400
    steps = np.diff(t, prepend=0.0)
    z = np.random.default_rng(5).normal(drift * steps, steps**0.5, (n, 4)).cumsum(axis=1) / np.sqrt(t)
    held, repeated, above = 0, 0, 0
    critical = plan.monitor([Look(fraction, 0.0, fraction**-0.5) for fraction in t]).frame()["critical"].to_numpy()
    for path in z:
        stop = int(np.r_[(path if "alternative" in options else np.abs(path))[:3] >= critical[:3], True].argmax()) + 1   # futility is not binding: the path goes on
        done = plan.monitor([Look(fraction, x / fraction**0.5, fraction**-0.5) for fraction, x in zip(t[:stop], path[:stop], strict=True)])
        held += done.low <= drift <= done.high
        above += done.estimate > drift
        repeated += done.frame()["low"].max() <= drift <= done.frame()["high"].min()
    record_property("held", held / n), record_property("repeated", repeated / n), record_property("above", above / n)
    assert held / n == pytest.approx(done.level, abs=SURE * (done.level * (1 - done.level) / n) ** 0.5)
    assert above / n == pytest.approx(0.5, abs=SURE * (0.25 / n) ** 0.5)
    assert repeated / n >= done.level - SURE * (done.level * (1 - done.level) / n) ** 0.5
