"""Posteriors of experiments, held against closed forms, other integrals, draws, and themselves."""
import pickle
from fractions import Fraction
from math import factorial

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import ndtr
from scipy.stats import beta, norm

from tenant_lab.core.errors import ParameterError
from tenant_lab.experiments import bayes
from tenant_lab.experiments.bayes import BetaBinomial, Normal, prior_from_history

Z = 4.5   # of draws: a bound that one of 150,000 comparisons breaks


def row(posterior):
    return posterior.frame().iloc[0]


def whole_beta(a, b):
    return Fraction(factorial(a - 1) * factorial(b - 1), factorial(a + b - 1))


def second_higher(a, b, c, d):
    """Miller (2015), Formulas for Bayesian A/B testing: chance that Beta(c, d) is above Beta(a, b), whole parameters."""
    return sum(whole_beta(a + i, b + d) / ((d + i) * whole_beta(1 + i, d) * whole_beta(a, b)) for i in range(c))


def loss_of_second(a, b, c, d):
    """Stucchio (2014): the mean of (X - Y)+ for X ~ Beta(a, b), Y ~ Beta(c, d)."""
    return Fraction(a, a + b) * (1 - second_higher(a + 1, b, c, d)) - Fraction(c, c + d) * (1 - second_higher(a, b, c + 1, d))


@pytest.mark.parametrize("control, treatment", [((0, 0), (0, 0)), ((0, 1), (1, 1)), ((1, 1), (0, 1)), ((0, 10), (3, 10)), ((12, 100), (20, 100)), ((1, 400), (60, 70)),
                                                ((0, 500), (1, 3)), ((90, 100), (0, 100)), ((300, 600), (0, 0)), ((4, 7), (4, 7))])
def test_rates_against_exact_fractions(control, treatment):
    found = row(BetaBinomial().compare(control, treatment))
    (a, b), (c, d) = ((1 + s, 1 + n - s) for s, n in (control, treatment))
    assert found["chance"] == pytest.approx(float(second_higher(a, b, c, d)), abs=1e-10)
    assert found["loss_shipping"] == pytest.approx(float(loss_of_second(a, b, c, d)), abs=1e-10)
    assert found["loss_holding"] == pytest.approx(float(loss_of_second(c, d, a, b)), abs=1e-10)
    assert found["difference"] == pytest.approx(c / (c + d) - a / (a + b), abs=1e-15)


def test_tiny_losses_keep_their_digits():
    """A vague control, and a treatment that is surely higher: the loss lives where the control's upper tail is below the rounding of 1."""
    found = row(BetaBinomial().compare((2, 100), (240, 400)))
    assert found["loss_shipping"] == pytest.approx(float(loss_of_second(3, 99, 241, 161)), rel=1e-8, abs=0)
    assert 0 < found["loss_shipping"] < 1e-30


@pytest.mark.parametrize("control, treatment, chance", [((10**7, 10**8), (10**7 + 3000, 10**8), 0.76023528865078924), ((10**7, 10**8), (10**7 + 9000, 10**8), 0.98303473104582946),
                                                        ((100, 10**8), (120, 10**8), 0.910809334637314438), ((10**5, 10**6), (10**5 + 300, 10**6), 0.760103087970048233)])
def test_a_hundred_million_visitors(control, treatment, chance):
    """Reference: from 1/2 for equal arms by the recurrences of Cook (2005), Exact calculation of beta inequalities, in 40 digits of mpmath."""
    found = row(BetaBinomial().compare(control, treatment))
    assert found["chance"] == pytest.approx(chance, abs=1e-10)
    n = control[1] + 2
    assert found["loss_holding"] - found["loss_shipping"] == pytest.approx((treatment[0] - control[0]) / n, rel=1e-9)


@pytest.mark.parametrize("a, b, c, d", [(3, 9, 5, 8), (20, 4000, 31, 5000), (10**6, 3 * 10**6, 10**6 + 900, 3 * 10**6)])
def test_symmetries(a, b, c, d):
    """Thompson (1933) and Cook (2005): g(a, b, c, d) = 1 - g(c, d, a, b) = g(d, c, b, a) = g(d, b, c, a), the chance that the first is higher."""
    def g(a, b, c, d):
        return row(BetaBinomial().compare((c - 1, c + d - 2), (a - 1, a + b - 2)))["chance"]
    first = g(a, b, c, d)
    assert [1 - g(c, d, a, b), g(d, c, b, a), g(d, b, c, a)] == pytest.approx([first] * 3, abs=1e-10)


def test_swapped_arms_swap_the_answers():
    one, two = row(BetaBinomial().compare((40, 900), (55, 1000))), row(BetaBinomial().compare((55, 1000), (40, 900)))
    assert [1 - two["chance"], two["loss_holding"], two["loss_shipping"], -two["high"], -two["low"]] == pytest.approx([one[name] for name in ("chance", "loss_shipping", "loss_holding", "low", "high")])
    assert (1 + one[["lift", "lift_low", "lift_high"]].to_numpy(float)) * (1 + two[["lift", "lift_high", "lift_low"]].to_numpy(float)) == pytest.approx(1, abs=1e-8)


def test_intervals_of_two_unknown_rates():
    """The difference of two uniforms is a triangle; their ratio r has P(r < x) = x / 2 up to 1, and 1 - 1 / (2x) from there."""
    found = row(BetaBinomial().compare((0, 0), (0, 0), level=0.9))
    assert found[["low", "high"]].tolist() == pytest.approx([0.1**0.5 - 1, 1 - 0.1**0.5], abs=1e-8)
    assert found[["lift_low", "lift", "lift_high"]].tolist() == pytest.approx([0.1 - 1, 0, 10 - 1], abs=1e-7)


@pytest.mark.parametrize("prior, control, treatment", [((1, 1), (3, 10), (10**7, 10**8)), ((1, 1), (10**7, 10**8), (3, 10)), ((1, 1), (0, 100), (3, 100)), ((0.5, 0.5), (5, 100), (9, 1000)),
                                                       ((3, 97), (0, 0), (30, 1000)), ((0.1, 99.9), (1, 50), (1, 20)), ((1, 1), (10**8, 10**8), (10**8 - 3, 10**8))])
def test_intervals_hold_their_share_of_draws(prior, control, treatment):
    """Of 300,000 draws the shares below the ends, within 4.5 binomial standard errors."""
    found, rng, n = row(BetaBinomial(prior).compare(control, treatment)), np.random.default_rng(5), 300_000
    c, t = (rng.beta(prior[0] + s, prior[1] + k - s, n) for s, k in (control, treatment))
    shares = [np.mean(t - c <= found[name]) for name in ("low", "high")] + [np.mean(t / c - 1 <= found[name]) for name in ("lift_low", "lift", "lift_high")]
    goal = np.array([0.025, 0.975, 0.025, 0.5, 0.975])
    assert (np.abs(shares - goal) < Z * np.sqrt(goal * (1 - goal) / n)).all()
    assert abs(np.mean(t > c) - found["chance"]) <= Z * np.sqrt(max(found["chance"] * (1 - found["chance"]), 1e-9) / n)


def test_interval_at_a_spike():
    """Of two small priors, the density of the difference is a spike at 0, far narrower than its standard deviation; the ends are still where they should be."""
    found = row(BetaBinomial((0.1, 99.9)).compare((0, 0), (0, 86_061), level=0.5))
    ends = bayes._beta_below(found[["low", "high"]].to_numpy(float), bayes._Beta(0.1, 99.9), bayes._Beta(0.1, 86_160.9), False)
    assert ends == pytest.approx([0.25, 0.75], abs=1e-8)


def test_mean_of_the_lift():
    """Against an integral over the control's density; and missing, with a note, where it is infinite."""
    found = row(BetaBinomial().compare((7, 50), (12, 60)))
    assert found["lift_mean"] == pytest.approx(13 / 62 * quad(lambda x: beta.pdf(x, 8, 44) / x, 0, 1)[0] - 1, rel=1e-8)
    none = BetaBinomial().compare((0, 50), (12, 60))
    assert np.isnan(row(none)["lift_mean"]) and any("infinite" in note for note in none.notes)
    assert not BetaBinomial().compare((1, 50), (12, 60)).notes


def test_an_arm_without_visitors_is_the_prior():
    found = BetaBinomial((2, 8)).compare((0, 0), {"a": (0, 0), "b": (5, 10)})
    assert found.notes == ("control: nobody was counted; its posterior is the prior", "a: nobody was counted; its posterior is the prior")
    assert found.frame()["difference"].tolist() == pytest.approx([0, 7 / 20 - 2 / 10])


def test_priors_of_small_weight_stay_finite():
    for prior in ((0.1, 99.9), (1e9, 1e9)):
        for control, treatment in (((0, 0), (0, 0)), ((0, 10**9), (10**9, 10**9)), ((1, 3), (0, 10**6))):
            found = row(BetaBinomial(prior).compare(control, treatment)).drop(["arm", "lift_mean"])
            assert np.isfinite(found.astype(float)).all() and 0 <= found["chance"] <= 1
            assert found["loss_holding"] - found["loss_shipping"] == pytest.approx(found["difference"], abs=1e-8)
    assert row(BetaBinomial((0.1, 0.1)).compare((0, 0), (0, 0)))["chance"] == pytest.approx(0.5, abs=1e-6)


def test_several_rates_against_draws():
    rng, n = np.random.default_rng(2), 300_000
    given = {"a": (11, 100), "b": (150, 1500), "c": (3, 12), "d": (9000, 100_000)}
    found = BetaBinomial((2, 20)).compare((95, 1000), given)
    draws = np.array([rng.beta(2 + s, 20 + k - s, n) for s, k in ((95, 1000), *given.values())])
    best, top = np.bincount(draws.argmax(axis=0), minlength=5) / n, draws.max(axis=0)
    assert (np.abs(best - found.arms["best"]) < Z * np.sqrt(best * (1 - best) / n)).all()
    for drawn, expected in zip(top - draws, found.arms["loss"], strict=True):
        assert abs(drawn.mean() - expected) < Z * drawn.std() / n**0.5
    assert found.arms["arm"].tolist() == ["control", *given] and found.arms["best"].sum() == pytest.approx(1, abs=1e-9)
    assert found.frame()["arm"].tolist() == list(given)
    for name, pair in given.items():
        alone = row(BetaBinomial((2, 20)).compare((95, 1000), pair)).drop("arm")
        assert found.frame().set_index("arm").loc[name].tolist() == pytest.approx(alone.tolist())


def test_arms_that_are_far_apart():
    """The loss is the difference of the means where the order is certain."""
    found = BetaBinomial().compare((1, 10**6), {"middle": (5000, 10_000), "top": (10**7 - 5, 10**7)})
    assert found.arms["best"].tolist() == pytest.approx([0, 0, 1], abs=1e-12)
    means = np.array([2 / (10**6 + 2), 5001 / 10_002, (10**7 - 4) / (10**7 + 2)])
    assert found.arms["loss"].tolist() == pytest.approx((means[2] - means).tolist(), abs=1e-10)


def test_chance_to_win_is_calibrated():
    """Of 20,000 pairs of rates drawn from the prior, those called with chance q win a share q; ten parts, each within its 99.99 % bound, so all within about 99.9 %."""
    rng, n, prior = np.random.default_rng(11), 20_000, (2, 6)
    rates = rng.beta(*prior, (2, n))
    pairs, which = np.unique(rng.binomial(8, rates), axis=1, return_inverse=True)
    chance = np.array([row(BetaBinomial(prior).compare((int(c), 8), (int(t), 8)))["chance"] for c, t in pairs.T])[which.ravel()]
    won = rates[1] > rates[0]
    for own in np.array_split(np.argsort(chance), 10):
        q = chance[own].mean()
        assert abs(won[own].mean() - q) < 3.9 * np.sqrt(q * (1 - q) / len(own))


def test_effect_against_bayes_theorem():
    """Prior times likelihood, integrated numerically."""
    found = row(Normal(mean=0.3, sd=0.5).effect(1.0, 0.8, level=0.9))
    weight = quad(lambda x: norm.pdf(x, 0.3, 0.5) * norm.pdf(1.0, x, 0.8), -10, 10, points=[0.3, 1])[0]
    posterior = lambda x: norm.pdf(x, 0.3, 0.5) * norm.pdf(1.0, x, 0.8) / weight  # noqa: E731
    assert found["chance"] == pytest.approx(quad(posterior, 0, 10)[0], abs=1e-9)
    assert found["difference"] == pytest.approx(quad(lambda x: x * posterior(x), -10, 10, points=[0.3])[0], abs=1e-9)
    assert found["loss_shipping"] == pytest.approx(quad(lambda x: -x * posterior(x), -10, 0)[0], abs=1e-9)
    assert found["loss_holding"] == pytest.approx(quad(lambda x: x * posterior(x), 0, 10)[0], abs=1e-9)
    assert quad(posterior, found["low"], found["high"])[0] == pytest.approx(0.9, abs=1e-9)


def test_a_flat_prior_is_the_limit_of_wide_ones():
    flat, wide = row(Normal().effect(-0.4, 0.3)), row(Normal(mean=5.0, sd=1e9).effect(-0.4, 0.3))
    assert flat.drop("arm").tolist() == pytest.approx(wide.drop("arm").tolist(), nan_ok=True)
    assert flat["chance"] == pytest.approx(ndtr(-0.4 / 0.3))


def test_effects_that_are_certain():
    sure, lost = row(Normal().effect(1.0, 1e-3)), row(Normal().effect(-1e50, 1e-50))
    assert (sure["chance"], sure["loss_shipping"], sure["loss_holding"]) == (1.0, 0.0, 1.0)
    assert (lost["chance"], lost["loss_shipping"], lost["loss_holding"]) == (0.0, 1e50, 0.0)


def ratio_density(w, mean_c, sd_c, mean_t, sd_t):
    """Of T / C, both normal and independent: Hinkley (1969), Biometrika 56, 635-639, eq. 1 with no correlation."""
    a = np.sqrt(w**2 / sd_t**2 + 1 / sd_c**2)
    b, c = mean_t * w / sd_t**2 + mean_c / sd_c**2, mean_t**2 / sd_t**2 + mean_c**2 / sd_c**2
    first = b * np.exp((b**2 / a**2 - c) / 2) / (np.sqrt(2 * np.pi) * sd_t * sd_c * a**3) * (2 * ndtr(b / a) - 1)
    return first + np.exp(-c / 2) / (np.pi * sd_t * sd_c * a**2)


@pytest.mark.parametrize("control, treatment", [((10.0, 0.2), (10.5, 0.3)), ((1.0, 0.6), (2.0, 0.6)), ((-3.0, 1.0), (0.5, 2.0)), ((0.1, 1.0), (0.0, 0.5))])
def test_relative_lift_against_the_density_of_a_ratio(control, treatment):
    found = row(Normal().compare(control, treatment, level=0.8))
    ends = [1 + found[name] for name in ("lift_low", "lift", "lift_high")]
    for low, high, share in ((ends[0], ends[1], 0.4), (ends[1], ends[2], 0.4)):
        assert quad(ratio_density, low, high, args=(*control, *treatment), limit=500)[0] == pytest.approx(share, abs=1e-8)


def test_a_control_of_exactly_zero():
    """The ratio of two standard normals is a Cauchy variable: quartiles -1, 0 and 1."""
    found = Normal().compare((0.0, 1.0), (0.0, 1.0), level=0.5)
    assert row(found)[["lift_low", "lift", "lift_high"]].tolist() == pytest.approx([-2, -1, 0], abs=1e-8)
    assert "at most 0 with a chance of 0.5" in found.notes[1] and np.isnan(row(found)["lift_mean"])
    assert len(Normal().compare((10.0, 1.0), (9.0, 1.0)).notes) == 1


@pytest.mark.parametrize("control, treatment", [((0.0063, 372.7), (-3.6, 0.042)), ((-190.1, 104.5), (0.0, 21.2)), ((4.9, 6.7), (0.0017, 1.6)), ((0.25, 39.8), (0.0, 1.86)),
                                                ((-1.7e-4, 0.145), (16.3, 0.059)), ((-0.05, 4735.0), (-11.4, 0.001))])
def test_ratios_with_two_hills_and_far_tails(control, treatment):
    """Where the distribution is flat between two hills or runs out like a Cauchy variable, its quantiles are still found."""
    for level in (0.5, 0.95, 0.9999):
        found = Normal().compare(control, treatment, level)
        ends = 1 + row(found)[["lift_low", "lift", "lift_high"]].to_numpy(float)
        assert found.below[0](ends) == pytest.approx([(1 - level) / 2, 0.5, (1 + level) / 2], abs=2e-8)


def test_quantiles_take_few_steps(monkeypatch):
    """Between two hills the secant rule alone creeps for thousands of steps; with a halving each eighth step it takes at most 8 for each of 53 binary digits, and mostly far fewer."""
    steps, plain = [], bayes._ratio_below
    monkeypatch.setattr(bayes, "_ratio_below", lambda *args: steps.append(1) or plain(*args))
    for control, treatment in (((-2.86159054e-04, 104.982480), (392.161479, 0.103895274)), ((-1.68917650e-04, 1377.83179), (-53.5227673, 0.370143205)), ((0.00761978, 4843.48962), (-0.83540596, 0.00141854896))):
        steps.clear()
        Normal().compare(control, treatment, 0.99)
        assert len(steps) < 60


def test_priors_of_means():
    """A prior of each arm's mean draws both to it; the difference of two independent posteriors is normal."""
    found = row(Normal(mean=10.0, sd=1.0).compare((8.0, 1.0), (13.0, 0.5)))
    c, t = 9.0, (13 / 0.25 + 10) / 5
    assert found["difference"] == pytest.approx(t - c)
    assert found["chance"] == pytest.approx(ndtr((t - c) / np.sqrt(0.5 + 0.2)))
    assert found["lift"] == pytest.approx(t / c - 1, abs=5e-3)


def test_several_means():
    """Of three independent centred normals the first is the highest with chance 1/4 + arcsin(r) / 2 pi, r the correlation of its two leads (Sheppard 1899); and draws."""
    sd = np.array([1.0, 2.0, 0.3])
    found = Normal().compare((0.0, sd[0]), {"a": (0.0, sd[1]), "b": (0.0, sd[2])})
    for i in range(3):
        j, k = (n for n in range(3) if n != i)
        r = sd[i] ** 2 / np.sqrt((sd[i] ** 2 + sd[j] ** 2) * (sd[i] ** 2 + sd[k] ** 2))
        assert found.arms["best"][i] == pytest.approx(0.25 + np.arcsin(r) / (2 * np.pi), abs=1e-9)
    given = [(5.0, 1.0), (5.5, 0.01), (3.0, 2.0), (5.4, 0.4)]
    found = Normal().compare(given[0], dict(zip("abc", given[1:], strict=True)))
    n = 300_000
    draws = np.random.default_rng(0).normal(*np.array(given).T, (n, 4)).T
    best = np.bincount(draws.argmax(axis=0), minlength=4) / n
    assert (np.abs(best - found.arms["best"]) < Z * np.sqrt(best * (1 - best) / n)).all()
    for drawn, expected in zip(draws.max(axis=0) - draws, found.arms["loss"], strict=True):
        assert abs(drawn.mean() - expected) < Z * drawn.std() / n**0.5


def test_lift_by_the_delta_method():
    """Flat: estimate and error by hand. With a prior: weighted by precision."""
    control, treatment = (4.0, 0.1), (5.0, 0.3)
    error = np.sqrt(0.09 / 16 + 25 * 0.01 / 256)
    flat = row(Normal().lift(control, treatment))
    assert (flat["lift"], flat["lift_mean"]) == (0.25, 0.25)
    assert flat["lift_high"] - flat["lift"] == pytest.approx(norm.ppf(0.975) * error)
    assert flat[["difference", "low", "high"]].isna().all()
    prior = row(Normal(sd=0.3).lift(control, treatment))
    assert prior["lift"] == pytest.approx(0.25 / error**2 / (1 / error**2 + 1 / 0.09))
    assert prior["chance"] == pytest.approx(ndtr(prior["lift"] * np.sqrt(1 / error**2 + 1 / 0.09)))


def test_decisions():
    shop = BetaBinomial().compare((100, 1000), (150, 1000))
    least = row(shop)["loss_shipping"]
    assert shop.decide(1.01 * least) == "treatment" and shop.decide(0.99 * least) is None
    assert BetaBinomial().compare((150, 1000), (100, 1000)).decide(0.001) == "control"
    assert Normal().effect(-0.5, 0.1).decide(0.01) == "control"
    assert BetaBinomial().compare((100, 1000), {"a": (150, 1000), "b": (170, 1000)}).decide(0.01) == "b"
    for wrong in (0, -0.1, float("nan"), True, None):
        with pytest.raises(ParameterError, match="threshold"):
            shop.decide(wrong)


@pytest.mark.parametrize("posterior, title, axis", [
    (BetaBinomial().compare((100, 1000), (120, 1000)), "treatment beats the control with a chance of 92.3%, by this model", "relative lift"),
    (BetaBinomial().compare((100, 1000), (190, 1000)), "treatment beats the control with a chance of over 99.9%, by this model", "relative lift"),
    (Normal().effect(-4.0, 1.0), "treatment beats the control with a chance of under 0.1%, by this model", "difference"),
    (Normal().lift((10.0, 0.1), (10.0, 0.1), level=0.5), "treatment beats the control with a chance of 50.0%, by this model", "relative lift"),
    (Normal().compare((10.0, 0.1), {"a": (10.1, 0.1), "b": (10.0, 0.1)}), "a is the best of 3 arms with a chance of 63.4%, by this model", "relative lift")])
def test_pictures_say_what_was_found(posterior, title, axis):
    figure = posterior.plot()
    assert figure.layout.title.text == title and figure.layout.xaxis.title.text == axis
    assert [line.name for line in figure.data] == posterior.frame()["arm"].tolist()
    column = "difference" if axis == "difference" else "lift"
    for line, centre in zip(figure.data, posterior.frame()[column], strict=True):
        x, y = np.array(line.x), np.array(line.y)
        assert (y * np.gradient(x)).sum() == pytest.approx(1, abs=2e-3)   # 3.5 standard deviations on each side
        assert y.min() >= 0 and x[0] < centre < x[-1]


def test_results_are_tables_and_travel():
    found = BetaBinomial().compare((100, 1000), {"a": (120, 1000), "b": (90, 1000)}, level=0.8)
    table = found.frame()
    table["chance"] = 7
    assert found.frame()["chance"].max() < 1 and found.level == 0.8
    back = pickle.loads(pickle.dumps(found))
    pd.testing.assert_frame_equal(back.frame(), found.frame())
    assert back.plot().layout.title.text == found.plot().layout.title.text
    assert "chance" in found._repr_html_() and "no mean" in Normal().compare((1.0, 0.1), (1.0, 0.1))._repr_html_()
    for one in (found, BetaBinomial(), Normal()):
        with pytest.raises(AttributeError):
            one.level = one.prior = one.sd = 1


def test_numbers_of_numpy_are_numbers():
    assert row(BetaBinomial(np.array([1, 1])).compare(np.array([3, 10]), (np.int64(4), np.int32(10))))["chance"] == row(BetaBinomial().compare((3, 10), (4, 10)))["chance"]


@pytest.mark.parametrize("call, said", [
    (lambda: BetaBinomial().compare((11, 10), (1, 2)), "control: successes 11: needs a whole number from 0 to 10"),
    (lambda: BetaBinomial().compare((1, 10), (-1, 2)), "treatment: successes -1"),
    (lambda: BetaBinomial().compare((1, -10), (1, 2)), "control: visitors -10"),
    (lambda: BetaBinomial().compare((1, 10**9 + 1), (1, 2)), "control: visitors"),
    (lambda: BetaBinomial().compare((1.5, 10), (1, 2)), "control: successes 1.5"),
    (lambda: BetaBinomial().compare((1, 10), {"new": (float("nan"), 2)}), "new: successes nan"),
    (lambda: BetaBinomial().compare((True, 10), (1, 2)), "control: successes True"),
    (lambda: BetaBinomial().compare((1, 10, 3), (1, 2)), "needs two numbers, successes and visitors"),
    (lambda: BetaBinomial().compare(5, (1, 2)), "control 5: needs two numbers"),
    (lambda: BetaBinomial().compare((1, 10), {}), "treatment: names"),
    (lambda: BetaBinomial().compare((1, 10), {"control": (1, 2)}), "other than 'control'"),
    (lambda: BetaBinomial().compare((1, 10), (1, 2), level=1.0), "level 1.0"),
    (lambda: BetaBinomial(prior=(0, 1)), "prior 0"),
    (lambda: BetaBinomial(prior=(1, float("inf"))), "prior inf"),
    (lambda: BetaBinomial(prior=1), "prior 1: needs two numbers, a and b"),
    (lambda: Normal(mean=float("nan")), "mean nan"),
    (lambda: Normal(sd=0), "sd 0"),
    (lambda: Normal(sd=-1.0), "sd -1.0"),
    (lambda: Normal().effect(0.1, 0.0), "effect: standard error 0.0"),
    (lambda: Normal().effect(float("inf"), 1.0), "effect: estimate inf"),
    (lambda: Normal().effect(0.1, "1"), "effect: standard error '1'"),
    (lambda: Normal().effect(0.1, 1.0, level=0), "level 0"),
    (lambda: Normal().compare((1.0, 0.1), (1.0, -0.1)), "treatment: standard error -0.1"),
    (lambda: Normal().compare((1.0, 0.1), (1.0, 0.1), level=2), "level 2"),
    (lambda: Normal().compare((1.0, 1e-20), (1.0, 0.1)), "a billion times smaller"),
    (lambda: Normal().lift((1.0, 0.3), (1.0, 0.1)), "at least 4 of them above 0"),
    (lambda: Normal().lift((-1.0, 0.1), (1.0, 0.1)), "at least 4 of them above 0"),
    (lambda: prior_from_history([0.1, 0.2], [1, 1]), "at least 3 experiments"),
    (lambda: prior_from_history([0.1, 0.2, 0.3], [1, 1]), r"standard_errors of shape \(2,\)"),
    (lambda: prior_from_history([[0.1, 0.2, 0.3]], [[1, 1, 1]]), "at least 3 experiments"),
    (lambda: prior_from_history([0.1, 0.2, "much"], [1, 1, 1]), "need numbers"),
    (lambda: prior_from_history([0.1, 0.2, np.nan], [1, 1, 1]), "need finite estimates"),
    (lambda: prior_from_history([0.1, 0.2, 5], [1, 0, 1]), "standard errors above 0"),
    (lambda: prior_from_history([9.1, 0.2, 5], [1, 1, 1], mean=np.inf), "mean inf"),
    (lambda: prior_from_history([0.1, -0.2, 0.1], [1, 1, 1]), "spread no more than their standard errors explain"),
    (lambda: prior_from_history([2.0, 2.0, 2.0], [1, 1, 1], mean=None), "spread no more than their standard errors explain")])
def test_errors(call, said):
    with pytest.raises(ParameterError, match=said):
        call()


def test_history_of_equal_errors_has_a_closed_form():
    """With one standard error for all, the likeliest variance is the mean square less the error's, and the likeliest mean is the mean."""
    y = np.random.default_rng(1).normal(0.3, 2.0, 40)
    for given, centre, variance in ((0, 0, np.mean(y**2)), (1, 1, np.mean((y - 1) ** 2)), (None, y.mean(), y.var())):
        found = prior_from_history(y, np.full(40, 0.5), mean=given)
        assert (found.mean, found.sd) == pytest.approx((centre, np.sqrt(variance - 0.25)), rel=1e-6)


@pytest.mark.parametrize("far, about", [(6, 0.05), (12, 280)])
def test_history_finds_the_highest_of_two_hills(far, about):
    """Three exact estimates near 0 and some vague ones far out: one hill near 0.05, one near 280; a dense search says which is higher."""
    y = np.r_[0.05, -0.05, 0.06, np.tile([300.0, -300.0], far // 2)]
    s = np.r_[np.full(3, 0.01), np.full(far, 100.0)]
    dense = np.geomspace(1e-3, 1000, 2001)
    heights = np.array([norm.logpdf(y, 0, np.hypot(sd, s)).sum() for sd in dense])
    assert ((heights[1:-1] > heights[:-2]) & (heights[1:-1] > heights[2:])).sum() == 2
    found = prior_from_history(y, s).sd
    assert found == pytest.approx(dense[heights.argmax()], rel=1e-2) and found == pytest.approx(about, rel=0.2)
    assert norm.logpdf(y, 0, np.hypot(found, s)).sum() >= heights.max()


def test_history_has_no_bias_to_speak_of():
    """The mean of 200 estimated variances, within 4.5 standard errors of the truth; maximum likelihood with a known mean is unbiased but for terms of 1 / n."""
    rng, found = np.random.default_rng(3), []
    for _ in range(200):
        s = rng.uniform(0.5, 1.5, 400)
        found.append(prior_from_history(rng.normal(rng.normal(0, 1, 400), s), s).sd ** 2)
    assert abs(np.mean(found) - 1) < Z * np.std(found) / 200**0.5


def test_shrinkage_ends_the_winners_curse():
    """Of winners chosen by their own estimates, the mean of (truth - posterior mean) is 0 under the true prior; the plain estimates are too high."""
    rng, n = np.random.default_rng(4), 20_000
    truth, s = rng.normal(0, 1, n), rng.uniform(0.5, 2, n)
    y = rng.normal(truth, s)
    won = y > 1.96 * s
    believed = np.array([row(Normal(sd=1.0).effect(*pair))["difference"] for pair in zip(y[won][:300], s[won][:300], strict=True)])
    missed = truth[won][:300] - believed
    assert abs(missed.mean()) < Z * missed.std() / 300**0.5
    assert (y - truth)[won].mean() > 0.5


def test_peeking():
    """With a flat prior, twenty looks for a chance below 2.5 % or above 97.5 % stop 24.8 % of treatments without effect (Armitage, McPherson & Rowe 1969, JRSS A 132, 235-244, table 2);
    under the true prior the share of stopped treatments that are better is the mean of the chance at the stop."""
    rng, runs, looks = np.random.default_rng(9), 40_000, 20
    share = np.arange(1, looks + 1) / looks
    noise = np.cumsum(rng.normal(0, looks**0.5, (runs, looks)), axis=1) / np.arange(1, looks + 1)
    at = row(Normal().effect(noise[0, 4], 1 / share[4] ** 0.5))["chance"]
    assert at == pytest.approx(ndtr(noise[0, 4] * share[4] ** 0.5))
    assert abs((np.abs(ndtr(noise * share**0.5) - 0.5) >= 0.475).any(axis=1).mean() - 0.248) < 0.0005 + Z * np.sqrt(0.248 * 0.752 / runs)
    effect = rng.normal(0, 1, runs)
    chance = ndtr((effect[:, None] + noise) * share / np.sqrt(share + 1))
    hit = chance >= 0.95
    first = hit.argmax(axis=1)[hit.any(axis=1)]
    promised = chance[hit.any(axis=1), first]
    kept = effect[hit.any(axis=1)] > 0
    assert abs(kept.mean() - promised.mean()) < Z * np.sqrt(0.05 * 0.95 / len(kept))
