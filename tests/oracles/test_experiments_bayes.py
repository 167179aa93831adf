"""Published posteriors of experiments, found again."""
import numpy as np
import pytest

from tenant_lab.core.errors import ParameterError
from tenant_lab.experiments.bayes import BetaBinomial, Normal, prior_from_history


def row(posterior):
    return posterior.frame().iloc[0]


def counted(a, b):
    """Successes and visitors after which a flat prior is Beta(a, b)."""
    return a - 1, a + b - 2


@pytest.mark.parametrize("control, treatment, chance", [((1, 2), (3, 4), 0.6428571428571429), ((55, 50), (30, 30), 0.38386463776317903), ((50, 50), (35, 30), 0.6867997222295887)])
def test_two_rates_of_field_test(control, treatment, chance):
    """ankane/field_test, test/calculations_test.rb, test_prob_b_beats_a: Miller's sums."""
    assert row(BetaBinomial().compare(counted(*control), counted(*treatment)))["chance"] == pytest.approx(chance, abs=1e-10)


@pytest.mark.parametrize("arms, chance", [(((1, 2), (3, 4), (5, 6)), 0.4128959276018096), (((1, 2), (3, 4), (5, 100)), 0.0004147782900546515),
                                          (((55, 50), (30, 30), (10, 10)), 0.35421204276865736), (((50, 50), (35, 30), (13, 18)), 0.09139305107602524)])
def test_three_rates_of_field_test(arms, chance):
    """The same, test_prob_c_beats_a_and_b at commit c7dfa92: chance that the third is the best (before, its formula lost a term)."""
    a, b, c = (counted(*arm) for arm in arms)
    assert BetaBinomial().compare(a, {"b": b, "c": c}).arms["best"][2] == pytest.approx(chance, abs=1e-10)


def test_losses_of_rates_of_growthbook():
    """growthbook/growthbook, packages/stats/tests/bayesian/test_tests.py at commit 0aac0ba, TestBinom: risk = [0.03872, 0.01912] for 49 and 51 of 100 with flat
    priors, and [0.03025, 0.01692] for Beta(49, 51) against Beta(151, 149); by quadrature, of keeping the control and of shipping."""
    flat = row(BetaBinomial().compare((49, 100), (51, 100)))
    assert flat[["loss_holding", "loss_shipping"]].tolist() == pytest.approx([0.03872, 0.01912], abs=6e-6)
    strong = row(BetaBinomial().compare(counted(49, 51), counted(151, 149)))
    assert strong[["loss_holding", "loss_shipping"]].tolist() == pytest.approx([0.03025, 0.01692], abs=6e-6)


def test_losses_of_means_of_growthbook():
    """The same, TestNorm: risk = [0.51256, 0.01256] for 10 +- 0.5 and 10.5 +- 1, ten units each."""
    found = row(Normal().compare((10.0, 0.5 / 10**0.5), (10.5, 1 / 10**0.5)))
    assert found[["loss_holding", "loss_shipping"]].tolist() == pytest.approx([0.51256, 0.01256], abs=6e-6)


RATES = ((0.49, (0.49 * 0.51 / 100) ** 0.5), (0.51, (0.51 * 0.49 / 100) ** 0.5))
MEANS = ((10.0, 0.5 / 10**0.5), (10.5, 1 / 10**0.5))


@pytest.mark.parametrize("prior, arms, lift, low, high, chance, holding, shipping", [
    (Normal(), RATES, 0.04082, -0.24779, 0.32943, 0.60918, 0.0814, 0.04058),
    (Normal(), MEANS, 0.05, -0.02, 0.12, 0.91923, 0.05131, 0.00131),
    (Normal(mean=0.1, sd=0.1**0.5), MEANS, 0.05063, -0.01893, 0.12019, 0.92315, 0.05186, 0.00123)])
def test_relative_lift_of_growthbook(prior, arms, lift, low, high, chance, holding, shipping):
    """growthbook/growthbook, packages/stats/tests/bayesian/test_tests.py, EffectBayesianABTest (TestBinom and TestNorm): expected, ci, chance_to_win, risk; five digits."""
    found = row(prior.lift(*arms))
    assert found[["lift", "lift_low", "lift_high", "chance", "loss_holding", "loss_shipping"]].tolist() == pytest.approx([lift, low, high, chance, holding, shipping], abs=6e-6)


def test_effect_of_growthbook():
    """The same, TestEffectBayesianABTest: 0.5365124375579775 with [0.4572559589115422, 0.6157689162044128] under a flat prior becomes 0.536495315442269 with
    [0.4572401014910488, 0.6157505293934892] under N(0, 1) of the relative effect, which is N(0, 7.157987489967789^2) of the effect."""
    error = (0.6157689162044128 - 0.4572559589115422) / 2 / 1.959963984540054
    found = row(Normal(sd=7.157987489967789).effect(0.5365124375579775, error))
    assert found[["difference", "low", "high"]].tolist() == pytest.approx([0.536495315442269, 0.4572401014910488, 0.6157505293934892], abs=1e-12)


@pytest.mark.parametrize("arms, best, loss, draws", [
    (((1580, 31500), (1700, 32000), (1550, 31000)), [0.04185, 0.92235, 0.0358], [0.0030138, 6.06e-05, 0.0031649], 20_000),
    (((80, 100), (160, 200)), [0.4899, 0.5101], [0.0204051, 0.0182965], 10_000),
    (((0, 100), (0, 100)), [0.5008, 0.4992], [0.0030829, 0.0031614], 20_000)])
def test_draws_of_bayesian_testing(arms, best, loss, draws):
    """Matt52/bayesian-testing, tests/test_evaluation.py, PBB_BERNOULLI_AGG_INPUTS: its draws with priors Beta(1/2, 1/2), within 4 of their standard errors (the loss is
    not negative, and its standard deviation here at most twice the greatest mean, or 6 times a small one)."""
    control, *others = arms
    found = BetaBinomial(prior=(0.5, 0.5)).compare(control, {f"t{i}": arm for i, arm in enumerate(others)})
    p = np.array(best)
    assert (np.abs(found.arms["best"] - p) < 4 * np.sqrt(p * (1 - p) / draws)).all()
    assert (np.abs(found.arms["loss"] - loss) < 4 * np.minimum(2 * max(loss), 6 * np.array(loss)) / draws**0.5).all()


def test_lift_of_bayesab():
    """Berggren (2022), A/B testing, jakobj.se/posts/A_B_testing.html: bayesAB's 100,000 draws for 13 of 16 against 58 of 100, flat priors: P(A > B) = 0.95664, and 0.0139 to
    0.6865 as the 90 % interval of (A - B) / B. Within 4 standard errors: those of the ends are 0.00069, that of a share of 5 %, by the density there, 0.49."""
    found = row(BetaBinomial().compare((58, 100), (13, 16), level=0.9))
    assert abs(found["chance"] - 0.95664) < 4 * np.sqrt(0.957 * 0.043 / 100_000)
    assert abs(found["lift_low"] - 0.01391909) < 4 * 0.00069 / 0.49 and abs(found["lift_high"] - 0.68653184) < 4 * 0.00069 / 0.49


BCG = np.array([[4, 119, 11, 128], [6, 300, 29, 274], [3, 228, 11, 209], [62, 13536, 248, 12619], [33, 5036, 47, 5761], [180, 1361, 372, 1079], [8, 2537, 10, 619], [505, 87886, 499, 87892],
                [29, 7470, 45, 7232], [17, 1699, 65, 1600], [186, 50448, 141, 27197], [5, 2493, 3, 2338], [27, 16886, 29, 17825]])   # ill and well, vaccinated and not: Colditz et al. (1994), JAMA 271, 698-702


def test_prior_of_thirteen_trials():
    """Van Houwelingen, Arends & Stijnen (2002), Statistics in Medicine 21, 589-624, p. 597, by maximum likelihood; digits of metafor's own test of that analysis: variance of
    the log odds ratios 0.3025, mean odds ratio 0.4762."""
    ratio, error = np.log(BCG[:, 0] * BCG[:, 3] / (BCG[:, 1] * BCG[:, 2])), np.sqrt((1 / BCG).sum(axis=1))
    found = prior_from_history(ratio, error, mean=None)
    assert (found.sd**2, np.exp(found.mean)) == pytest.approx((0.3025, 0.4762), abs=6e-5)


def test_no_prior_of_eight_schools():
    """Rubin (1981), Estimation in parallel randomized experiments: the likelihood of the spread between the eight schools is highest at 0."""
    with pytest.raises(ParameterError, match="8 estimates spread no more"):
        prior_from_history([28, 8, -3, 7, -1, 1, 18, 12], [15, 10, 16, 11, 9, 11, 10, 18], mean=None)
