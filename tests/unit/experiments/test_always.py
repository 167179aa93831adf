"""Always-valid inference: the boundary and its dual by hand, the level under many looks, and each way to ask wrongly."""
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq, minimize_scalar
from scipy.special import ndtr, ndtri
from scipy.stats import binom

from tenant_lab.core.errors import ParameterError
from tenant_lab.experiments.always import (
    AlwaysValid,
    Peek,
    always_valid_inflation,
    always_valid_p,
    asymptotic_sequence,
    mixture_variance,
)

ALPHAS = (1e-100, 1e-6, 0.001, 0.05, 0.2, 0.5, 0.99)


def boundary(n, planned_n, alpha=0.05):
    """Half widths at `n`, in standard errors."""
    return asymptotic_sequence(np.zeros(len(n)), np.ones(len(n)), n, planned_n, alpha)[1]


def walks(seed, repeats, looks, effect=0.0):
    """Means of unit-variance normal noise around `effect` at looks 1, 2, …, shape (repeats, looks)."""
    return effect + np.cumsum(np.random.default_rng(seed).normal(size=(repeats, looks)), axis=1) / np.arange(1, looks + 1)


def peeks(estimates, errors, sizes):
    return [Peek(n, estimate, error) for n, estimate, error in zip(sizes, estimates, errors, strict=True)]


# the boundary

@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_mixture_is_the_best_one_at_planned_n(alpha):
    x = mixture_variance(alpha)
    least = minimize_scalar(lambda log_x: np.log1p(np.exp(log_x)) - log_x + np.log(np.log1p(np.exp(log_x)) - 2 * np.log(alpha)), bracket=(np.log(x) - 2, np.log(x) + 2), tol=1e-12)
    assert np.exp(least.x / 2) == pytest.approx(np.sqrt(x), rel=1e-5)   # the width is flat there: only half of the digits are left
    assert boundary([500], 500, alpha) == pytest.approx([np.sqrt(1 + x)], rel=1e-9)


def test_half_width_by_hand():
    """x = 3 at n: sqrt(4/3 · log(4/0.0025))."""
    planned = 100 * mixture_variance(0.05) / 3
    low, high = asymptotic_sequence([2.0], [0.5], [100], planned)
    assert (high + low)[0] / 2 == pytest.approx(2.0)
    assert (high - low)[0] / 2 == pytest.approx(0.5 * np.sqrt(4 / 3 * np.log(4 / 0.0025)), rel=1e-12)


@pytest.mark.parametrize(("alpha", "ratio"), [(0.01, 1.38659), (0.05, 1.54856), (0.1, 1.68024)])
def test_width_beside_a_fixed_interval(alpha, ratio):
    """sqrt(−W(−α²/e)) by the normal quantile; W by brentq of u − log u = 1 − 2 log α, without Lambert's function."""
    u = brentq(lambda u: u - np.log(u) - 1 + 2 * np.log(alpha), 1, 100)
    assert boundary([77], 77, alpha)[0] / ndtri(1 - alpha / 2) == pytest.approx(np.sqrt(u) / ndtri(1 - alpha / 2), rel=1e-9) == pytest.approx(ratio, abs=1e-5)


def test_the_clock_has_no_unit_and_the_effect_scales():
    rng = np.random.default_rng(0)
    estimate, error, n = rng.normal(size=6), rng.uniform(0.1, 1, 6), np.cumsum(rng.integers(1, 50, 6))
    low, high = asymptotic_sequence(estimate, error, n, 80)
    np.testing.assert_allclose(asymptotic_sequence(10 * estimate, 10 * error, 3 * n, 240), [10 * low, 10 * high])
    np.testing.assert_allclose(asymptotic_sequence(-estimate, error, n, 80), [-high, -low])
    np.testing.assert_allclose(always_valid_p(-10 * estimate, 10 * error, 3 * n, 240), always_valid_p(estimate, error, n, 80))
    assert low.shape == high.shape == (6,)
    np.testing.assert_array_equal(asymptotic_sequence(pd.Series(estimate), list(error), pd.Series(n), np.int64(80)), [low, high])


# the p-value

@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.5])
def test_p_is_the_level_at_which_the_interval_ends_at_0(alpha):
    rng = np.random.default_rng(1)
    for z, n in zip(rng.uniform(2.5, 12, 20), rng.integers(5, 5000, 20), strict=True):
        p = always_valid_p([z], [1.0], [n], 700, alpha)[0]
        if p < 0.9:
            same_mixture = 700 * mixture_variance(p) / mixture_variance(alpha)
            assert asymptotic_sequence([z], [1.0], [n], same_mixture, p)[0][0] == pytest.approx(0, abs=1e-9)


def test_p_and_interval_decide_alike():
    """At most rounding apart: p ≤ α just where an interval so far excludes 0."""
    error, n = 1 / np.sqrt(np.arange(1, 201)), np.arange(1, 201)
    decided = 0
    for means in walks(2, 200, 200, effect=0.2):
        low, high = asymptotic_sequence(means, error, n, 200)
        excluded = np.maximum.accumulate((low > 0) | (high < 0))
        p = always_valid_p(means, error, n, 200)
        assert (excluded == (p <= 0.05)).all() and (np.diff(p) <= 0).all()
        decided += excluded[-1]
    assert 20 < decided < 180   # so that both answers were seen


@pytest.mark.filterwarnings("error")
def test_p_stays_within_its_limits():
    assert always_valid_p([0.0, 0.1, 0.0], [1.0, 1.0, 1.0], [1, 2, 3], 10).tolist() == [1, 1, 1]
    assert always_valid_p([1.0, 0.0], [1e-3, 1.0], [10, 20], 10).tolist() == [np.finfo(float).tiny] * 2
    assert always_valid_p([1e200], [1e-200], [10], 10)[0] == np.finfo(float).tiny
    assert always_valid_p(np.float32([20]), np.float32([1]), np.int8([10]), 10)[0] == always_valid_p([20], [1], [10], 10)[0] > 0   # in double precision


# the level

@pytest.mark.parametrize(("looks", "repeats"), [(5, 20_000), (50, 20_000), (1000, 4000)])
def test_level_under_continuous_looking(looks, repeats):
    """No more than α, within the 99.9 % bound of the binomial; a fixed interval is wrong far more often."""
    means, n = walks(3, repeats, looks), np.arange(1, looks + 1)
    wrong = (np.abs(means) * np.sqrt(n) > boundary(n, looks)).any(axis=1).sum()
    assert 0 < wrong <= binom.ppf(0.999, repeats, 0.05)
    assert (np.abs(means) * np.sqrt(n) > ndtri(0.975)).any(axis=1).mean() > 0.13   # Armitage, McPherson & Rowe (1969): 0.14 for five looks


def test_level_long_after_planned_n():
    """To 10 000 times planned_n, at looks that grow by 1 %: never more than α, and no less than 0.75 α.

    Seen all the time it would be 0.99 α (2 Φ(−0.01), the limit by the mixture's spread there); steps of 0.4 in log M leave exp(−0.58 · 0.4) = 0.8 of it
    (Siegmund 1985, Sequential Analysis, overshoot).
    """
    t = 0.01 * 1.01 ** np.arange(1389)
    steps = np.sqrt(np.diff(t, prepend=0)) * np.random.default_rng(4).normal(size=(4000, len(t)))
    wrong = (np.abs(np.cumsum(steps, axis=1)) / np.sqrt(t) > boundary(t, 1)).any(axis=1).sum()
    assert binom.ppf(0.001, 4000, 0.75 * 0.05) < wrong <= binom.ppf(0.999, 4000, 0.05)


def test_running_interval_holds_the_effect():
    """All looks at once, 99.9 % bound of the binomial, and with an estimated standard error of skewed outcomes."""
    design, n, missed = AlwaysValid(planned_n=1000, first=50), np.arange(50, 2001, 50), 0
    rng = np.random.default_rng(5)
    for _ in range(400):
        arms = rng.exponential(size=(2, 1000)) + [[0.3], [0.0]]
        sizes = n // 2
        mean = np.cumsum(arms, axis=1)[:, sizes - 1] / sizes
        variance = np.cumsum(arms**2, axis=1)[:, sizes - 1] / sizes - mean**2
        last = design.monitor(peeks(mean[0] - mean[1], np.sqrt(variance.sum(axis=0) / (sizes - 1)), n)).frame().iloc[-1]
        missed += not last["running_low"] <= 0.3 <= last["running_high"]   # a missing one has missed it too
    assert missed <= binom.ppf(0.999, 400, 0.05)


# its price

@pytest.mark.parametrize(("power", "alpha"), [(0.8, 0.05), (0.5, 0.01), (0.95, 0.2)])
def test_inflation_gives_the_power_at_the_last_look(power, alpha):
    """A fixed test of N units with an effect that it finds with `power`; factor · N units find it at the last look as often."""
    shift = ndtri(1 - alpha / 2) + ndtri(power)
    n = 1000 * always_valid_inflation(power, alpha)
    assert ndtr(shift * np.sqrt(n / 1000) - boundary([n], n, alpha)[0]) == pytest.approx(power, abs=1e-9)


def test_inflation_falls_with_power_and_with_alpha():
    assert always_valid_inflation() == pytest.approx(1.9148, abs=5e-5)
    assert always_valid_inflation(0.95) < always_valid_inflation(0.8) < always_valid_inflation(0.5)
    assert always_valid_inflation(alpha=0.001) < always_valid_inflation(alpha=0.1)


# the design and its history

def test_a_history_by_hand():
    """Three looks from `first` on: intervals, what they have in common, and the decision at the third."""
    n, estimate, error = [100, 400, 500, 900], [5.0, 0.1, 0.3, 0.9], [0.1, 0.2, 0.2, 0.1]
    found = AlwaysValid(planned_n=800, first=400).monitor(peeks(estimate, error, n))
    table = found.frame()
    low, high = asymptotic_sequence(estimate[1:], error[1:], n[1:], 800)
    assert table.columns.tolist() == ["n", "estimate", "standard_error", "low", "high", "running_low", "running_high", "p", "decided"]
    assert table["low"].tolist() == [-np.inf, *low] and table["high"].tolist() == [np.inf, *high]
    assert table["running_low"].tolist() == [-np.inf, low[0], low[1], low[2]] and table["running_high"].tolist() == [np.inf, high[0], high[0], high[0]]
    assert table["p"].tolist() == [1.0, *always_valid_p(estimate[1:], error[1:], n[1:], 800)]
    assert table["decided"].tolist() == [False, False, False, True] and table["n"].tolist() == n
    assert found.notes == ("1 of 4 looks are before n = 400: nothing is decided there",)
    assert found.plot().layout.title.text.startswith("Decided at 900 units: the effect is between 0.5")
    assert "1 of 4 looks" in found._repr_html_()
    table.loc[0, "p"] = 0.5
    assert found.frame()["p"][0] == 1   # a copy


def test_what_was_decided_stays_so_and_does_not_know_the_future():
    design, n = AlwaysValid(planned_n=100, first=1), np.arange(1, 101)
    means = walks(6, 1, 100, effect=0.45)[0]
    table = design.monitor(peeks(means, 1 / np.sqrt(n), n)).frame()
    assert table["decided"].is_monotonic_increasing and table["decided"].nunique() == 2
    assert table["decided"].tolist() == ((table["running_low"] > 0) | (table["running_high"] < 0)).tolist() == (table["p"] <= 0.05).tolist()
    pd.testing.assert_frame_equal(design.monitor(iter(peeks(means, 1 / np.sqrt(n), n)[:30])).frame(), table.iloc[:30])


def test_not_decided_and_too_early():
    history = peeks([0.1, 0.2], [0.2, 0.1], [100, 300])
    open_still, early = AlwaysValid(1000).monitor(history), AlwaysValid(1000, first=301).monitor(history)
    assert open_still.plot().layout.title.text.startswith("Not decided after 300 units: the effect is between −0.")
    assert early.plot().layout.title.text == "Too few units to decide anything"
    assert early.frame()["p"].tolist() == [1, 1] and not early.frame()["decided"].any() and len(early.plot().data) == 1
    assert AlwaysValid(1000, first=100).monitor(history).notes == ()


def test_an_effect_that_turns_has_no_common_interval():
    found = AlwaysValid(planned_n=1000).monitor(peeks([1.0, -1.0, 0.0], [0.1, 0.1, 0.1], [500, 600, 700]))
    table = found.frame()
    assert table["running_low"].isna().tolist() == table["running_high"].isna().tolist() == [False, True, True]
    assert table["decided"].all() and np.isfinite(table[["low", "high"]]).all(axis=None)
    assert len(found.notes) == 1 and "from look 2 on" in found.notes[0] and "below 5.0%" in found.notes[0]
    assert found.plot().layout.title.text == "No single effect fits all looks"


# wrong uses

@pytest.mark.parametrize(("estimate", "error", "n", "said"), [
    ([], [], [], "at least one look"),
    ([0.1, np.nan], [1, 1], [1, 2], r"estimate \[0.1 nan\]: needs a finite number"),
    ([0.1, 0.2], [1, np.inf], [1, 2], "standard_error .*: needs a finite number"),
    ([0.1, None], [1, 1], [1, 2], "estimate .*: needs a finite number"),
    (["a"], [1], [1], "estimate .*: needs a finite number"),
    ([0.1], [1], [True], "n .*: needs a finite number"),
    (0.1, 1, 1, "estimate 0.1: needs a finite number for each look"),
    ([[0.1], [0.1, 0.2]], [1, 1], [1, 2], "estimate: .*needs one number a look"),
    ([0.1, 0.2], [1], [1, 2], "2 of estimate, 1 of standard_error, 2 of n"),
    ([0.1, 0.2], [1, 0], [1, 2], "standard_error 0 at look 2: needs numbers above 0"),
    ([0.1, 0.2], [-1, 1], [1, 2], "standard_error -1 at look 1"),
    ([0.1], [1], [0], "n 0 at look 1: needs numbers above 0"),
    ([0.1, 0.2], [1, 1], [2, 2], "n 2 at look 2: .*grow"),
    ([0.1, 0.2, 0.3], [1, 1, 1], np.array([2, 1, 3], np.uint8), "n 1 at look 2"),
])
def test_looks_that_are_none(estimate, error, n, said):
    for function in (asymptotic_sequence, always_valid_p):
        with pytest.raises(ParameterError, match=said):
            function(estimate, error, n, 100)


@pytest.mark.parametrize("alpha", [0, 1, -0.1, 1.5, np.nan, "0.05", None, True])
def test_alpha_out_of_range(alpha):
    for asked in (mixture_variance, lambda a: asymptotic_sequence([0.1], [1], [1], 100, a), lambda a: always_valid_p([0.1], [1], [1], 100, a), lambda a: AlwaysValid(100, a), lambda a: always_valid_inflation(0.8, a)):
        with pytest.raises(ParameterError, match="alpha .*: needs a number from 1e-100 to 0.99"):
            asked(alpha)


def test_other_numbers_out_of_range():
    for said, asked in {"planned_n 0": lambda: AlwaysValid(0), "first 0": lambda: AlwaysValid(100, first=0), "planned_n nan": lambda: asymptotic_sequence([0.1], [1], [1], np.nan),
                        "planned_n 0.5": lambda: always_valid_p([0.1], [1], [1], 0.5), "power 0.4": lambda: always_valid_inflation(0.4), "power 1": lambda: always_valid_inflation(1)}.items():
        with pytest.raises(ParameterError, match=f"{said}.*: needs a number"):
            asked()


@pytest.mark.parametrize(("history", "said"), [
    ([], "at least one look"), ([1, 2], "history: .*needs a sequence of Peek"), (3, "history: .*needs a sequence of Peek"), ([Peek(10, 0.1, 1), Peek(10, 0.1, 1)], "n 10 at look 2"),
    ([Peek(10, None, 1)], "estimate .*needs a finite number"), ([Peek(10, 0.1, 0.0), Peek(300, 0.1, 1)], "standard_error 0 at look 1"),
])
def test_histories_that_are_none(history, said):
    with pytest.raises(ParameterError, match=said):
        AlwaysValid(100).monitor(history)
