"""Confidence sequences beside published numbers of other implementations, and beside what theory says exactly.

The other packages use an approximation of the best mixture, x = −2 log α + log(1 − 2 log α) at the planned size; `planned_for` asks for the same mixture here.
"""
import numpy as np
import pytest
from scipy.special import ndtr

from tenant_lab.experiments.always import always_valid_inflation, always_valid_p, asymptotic_sequence, mixture_variance


def planned_for(tuning: float, alpha: float = 0.05) -> float:
    """`planned_n` with the mixture of packages that are tuned to `tuning` by the approximation."""
    return tuning * mixture_variance(alpha) / (-2 * np.log(alpha) + np.log(1 - 2 * np.log(alpha)))


def test_two_sided_normal_mixture_of_confseq():
    """Howard et al., confseq (MIT), test/uniform_boundaries_unittest.cpp: best_rho(100, 0.05) = 12.60056; bound(100, log(1/0.05)) = 30.35209; log_superMG(10, 100) = −0.6510052.

    There v/rho is x, and the bound is on the sum, so at v = 100 it is 10 times that in standard errors.
    """
    assert 100 * mixture_variance(0.05) / planned_for(100) == pytest.approx(100 / 12.60056, abs=2e-6 * 100)
    _, high = asymptotic_sequence([0.0], [10.0], [100], planned_for(100))
    assert high[0] == pytest.approx(30.35209, abs=1e-5)
    assert always_valid_p([30.35209], [10.0], [100], planned_for(100))[0] == pytest.approx(0.05, rel=1e-5)
    # p is cut at 1, so a sum whose value is known to be exp(−0.6510052) is compared by way of a second one: log p = 0.6510052 − (S² − 10²) x / (200 (1 + x))
    x = 100 / 12.60056
    assert np.log(always_valid_p([40.0], [10.0], [100], planned_for(100))[0]) == pytest.approx(0.6510052 - (40**2 - 10**2) * x / (200 * (1 + x)), abs=1e-6)


def test_the_best_mixture_is_that_of_the_authors_package():
    """drconfseq 0.1, best_rho2_exact: −W(−α² exp(α² − 1)) − 1, which at 5 % is 8.20916; it is no narrower than ours, and both agree to 0.04 %."""
    x = mixture_variance(0.05)
    assert x == pytest.approx(8.20916, rel=4e-4)

    def width(x: float) -> float:
        return (1 + x) / x * np.log((1 + x) / 0.05**2)
    assert width(x) < width(8.20916) < width(x) * (1 + 1e-7)


@pytest.mark.parametrize(("estimate", "error", "digits", "n", "tuning", "low", "high"), [
    (0.50336, 0.33341, 2e-5, 6461, 1000, -0.55844, 1.56516),
    (0.50386, 0.03386, 2e-4, 6461, 5000, 0.40098, 0.60675),
    (0.50338, 0.33341, 2e-5, 6461, 5000, -0.50969, 1.51646),
    (-0.0007, 0.00391, 1.5e-3, 200, 5000, -0.02063, 0.01923),
])
def test_intervals_of_growthbook(estimate, error, digits, n, tuning, low, high):
    """GrowthBook, packages/stats/tests/frequentist/test_tests.py, TestSequentialTTest: estimate and standard error to five decimals, whence `digits` of the width."""
    found = asymptotic_sequence([estimate], [error], [n], planned_for(tuning))
    assert [end[0] for end in found] == pytest.approx([low, high], abs=digits * (high - low) / 2 + 1e-5)


@pytest.mark.parametrize(("pairs", "sigma", "difference"), [(50, 1.0, 0.9), (400, 2.0, -0.5), (5000, 0.3, 0.02)])
def test_the_mixture_likelihood_ratio_of_johari(pairs, sigma, difference):
    """Johari, Koomen, Pekelis & Walsh, as in the R package mixtureSPRT, mSPRT: sqrt(2σ²/(2σ² + nτ²)) exp(n²τ²(ȳ − x̄)²/(4σ²(2σ² + nτ²)))."""
    tau2 = 0.05
    ratio = np.sqrt(2 * sigma**2 / (2 * sigma**2 + pairs * tau2)) * np.exp(pairs**2 * tau2 * difference**2 / (4 * sigma**2 * (2 * sigma**2 + pairs * tau2)))
    planned_n = mixture_variance() * 2 * sigma**2 / tau2
    assert always_valid_p([difference], [np.sqrt(2 * sigma**2 / pairs)], [pairs], planned_n)[0] == pytest.approx(min(1, 1 / ratio), rel=1e-9)


@pytest.mark.parametrize("looks", [5, 50])
def test_false_decisions_are_as_frequent_as_the_mixture_says(looks):
    """Wald's identity: without an effect, a decision by K looks has the chance E[p at the decision; decided], the mean over effects drawn from the mixture.

    It holds only if 1/p is the likelihood ratio of just that mixture. Two simulations, 3.3 standard errors (1 in 1000) apart at most.
    """
    rng, n, repeats = np.random.default_rng(0), np.arange(1, looks + 1), 40_000
    noise = np.cumsum(rng.normal(size=(repeats, looks)), axis=1) / n
    drawn = np.cumsum(rng.normal(size=(repeats, looks)), axis=1) / n + rng.normal(0, np.sqrt(mixture_variance() / looks), (repeats, 1))
    _, limit = asymptotic_sequence(np.zeros(looks), 1 / np.sqrt(n), n, looks)
    plain = (np.abs(noise) > limit).any(axis=1)
    out = np.abs(drawn) > limit
    first, decided = out.argmax(axis=1), out.any(axis=1)
    p = np.array([always_valid_p([drawn[i, k]], [1 / np.sqrt(n[k])], [n[k]], looks)[0] for i, k in enumerate(first[:4000])])
    weighed = np.where(decided[:4000], p, 0)
    error = np.sqrt(plain.var() / repeats + weighed.var() / len(weighed))
    assert abs(plain.mean() - weighed.mean()) < 3.3 * error
    assert weighed.mean() <= 0.05 * decided.mean()   # beyond the limit p is below α


def test_power_is_at_least_that_of_the_last_look():
    """Planned for 80 % at the last look, looked at 100 times: 80 % there, within 3.3 standard errors, and more at any."""
    looks, n = 100, np.arange(1, 101)
    effect = (np.sqrt(1 + mixture_variance()) + 0.8416212) / np.sqrt(looks)
    means = effect + np.cumsum(np.random.default_rng(1).normal(size=(20_000, looks)), axis=1) / n
    out = means > asymptotic_sequence(np.zeros(looks), 1 / np.sqrt(n), n, looks)[1]
    assert out[:, -1].mean() == pytest.approx(0.8, abs=3.3 * np.sqrt(0.16 / 20_000))
    assert out.any(axis=1).mean() > 0.83
    assert ndtr(effect * np.sqrt(looks / always_valid_inflation()) - 1.959964) == pytest.approx(0.8, abs=1e-6)   # a fixed test of so many fewer units


@pytest.mark.slow
@pytest.mark.parametrize(("share", "first"), [(0.5, 50), (0.1, 800)])
def test_level_of_skewed_outcomes_from_first_on(share, first, record_property):
    """Exponential outcomes, skewness 2: arms of equal size from 50 units on, of 1 to 9 from 20 · 2² units in the smaller arm on; 99.9 % bound of the binomial."""
    from scipy.stats import binom

    rng, looks, last = np.random.default_rng(2), np.arange(first, 4001, 10), 4000
    _, limit = asymptotic_sequence(np.zeros(len(looks)), np.ones(len(looks)), looks, 1600)
    wrong, repeats = 0, 4000
    for _ in range(repeats):
        y, arm = rng.exponential(size=last), rng.random(last) < share
        mean, variance = [], []
        for own in (arm, ~arm):
            k, s1, s2 = (np.cumsum(part)[looks - 1] for part in (own, own * y, own * y**2))
            mean.append(s1 / k)
            variance.append((s2 / k - mean[-1] ** 2) / (k - 1))
        wrong += bool((np.abs(mean[1] - mean[0]) / np.sqrt(variance[0] + variance[1]) > limit).any())
    record_property("wrong", wrong / repeats)
    assert wrong <= binom.ppf(0.999, repeats, 0.05)
