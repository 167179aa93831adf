"""BG/BB and sBG: derivatives, parameters that come back, simple facts, and what is refused."""
import numpy as np
import pandas as pd
import pytest
from scipy.special import betaln

from tenant_lab.core.errors import NotFittedError, ParameterError, SchemaError
from tenant_lab.customers.btyd import customers
from tenant_lab.customers.likelihood import parameters, summed
from tenant_lab.customers.renewals import BGBB, SBG, bgbb_stories, steps_there

TRUE = {"alpha": 1.2, "beta": 0.8, "gamma": 0.7, "delta": 2.8}


def world(n, seed, ahead=0, alpha=1.2, beta=0.8, gamma=0.7, delta=2.8):
    """Opportunities that n customers took of 4 to 8, and how many they take of the next `ahead`."""
    rng = np.random.default_rng(seed)
    p, T = rng.beta(alpha, beta, n), rng.integers(4, 9, n)
    there = rng.geometric(np.maximum(rng.beta(gamma, delta, n), 1e-9)) - 1
    steps = np.arange(1, 9 + ahead)
    taken = (rng.random((n, steps.size)) < p[:, None]) & (steps <= there[:, None])
    before, after = taken & (steps <= T[:, None]), taken & (steps > T[:, None]) & (steps <= T[:, None] + ahead)
    return pd.DataFrame({"frequency": before.sum(axis=1), "recency": (before * steps).max(axis=1), "T": T}), after.sum(axis=1)


@pytest.fixture(scope="module")
def fitted():
    frame, later = world(20_000, 1, ahead=5)
    return BGBB().fit(frame), frame, later


@pytest.mark.parametrize("c", [(0.2, -0.3, -0.4, 1.0), (1.5, 2.0, 0.5, -1.0)])
@pytest.mark.parametrize("covariate", [False, True])
def test_derivatives_are_those_of_the_value(c, covariate):
    rows = customers(pd.DataFrame({"frequency": [0, 1, 3, 6, 2], "recency": [0, 1, 5, 6, 2], "T": [6, 6, 7, 6, 2]}))
    z = np.linspace(-1, 1, len(rows.x))
    moved = [[(i, 1.0)] for i in range(4)] + ([[(0, z)], [(2, z)]] if covariate else [])
    c, steps = np.r_[c, [0.3, -0.2] if covariate else []], 1e-5 * np.eye(4 + 2 * covariate)

    def at(c):
        return summed(bgbb_stories(theta := parameters(c, moved, 4), rows), theta, moved, rows.weight)
    assert at(c)[1] == pytest.approx([(at(c + h)[0] - at(c - h)[0]) / 2e-5 for h in steps], rel=1e-6, abs=1e-7)
    assert at(c)[2] == pytest.approx(np.array([(at(c + h)[1] - at(c - h)[1]) / 2e-5 for h in steps]), rel=1e-5, abs=1e-6)


def test_likelihoods_of_all_histories_sum_to_one():
    """Of 2^n equally long histories with x taken, the last at t_x, there are as many as ways to place the others before it."""
    from math import comb

    n, theta = 6, list(TRUE.values())
    frame = pd.DataFrame([(0, 0, n)] + [(x, last, n) for last in range(1, n + 1) for x in range(1, last + 1)], columns=["frequency", "recency", "T"])
    rows = customers(frame)
    told = bgbb_stories(theta, rows)
    likelihood = np.exp(told.value) * (1 + np.exp(told.m).sum(axis=0))
    ways = [comb(int(last) - 1, int(x) - 1) if x else 1 for x, last in zip(rows.x, rows.t_x, strict=True)]
    assert likelihood @ ways == pytest.approx(1.0, abs=1e-12)


def test_parameters_come_back(fitted):
    model = fitted[0]
    assert max(abs(model.params_[name] - true) / model.standard_errors_[name] for name, true in TRUE.items()) < 4


def test_what_will_be_taken(fitted):
    model, frame, later = fitted
    told = model.predict(frame, 5)
    assert told["expected"].mean() == pytest.approx(later.mean(), abs=5 * later.std() / np.sqrt(len(later)))
    inside = ((told["predicted_low"] <= later) & (later <= told["predicted_high"])).mean()
    assert inside >= 0.9 and told["predicted_high"].max() <= 5
    frame, _ = world(100_000, 5, **model.params_)
    ours = frame.groupby("T")["frequency"].agg(["mean", "sem"])
    assert (np.abs(model.expected_from_start(ours.index.to_numpy()) - ours["mean"]) < 4 * ours["sem"]).all()


def test_steps_there():
    assert steps_there(1.0, 1.0, 3) == pytest.approx(1 / 2 + 1 / 3 + 1 / 4)  # mean of (1 - theta)^j, uniform
    assert steps_there(np.array([1.0, 2.0]), 1.0, 0).tolist() == [0, 0]


def test_bad_opportunities(fitted):
    model, frame, _ = fitted
    for changed in ({"recency": 0.5}, {"T": 8.5}, {"frequency": 9, "recency": 8, "T": 9}):
        with pytest.raises(SchemaError, match="are no opportunities"):
            BGBB().fit(frame.assign(**({"frequency": 1} | changed)))
    with pytest.raises(ParameterError, match="a whole number of opportunities"):
        model.predict(frame, 1.5)


def test_sbg_parameters_come_back():
    rng = np.random.default_rng(0)
    ends = rng.geometric(np.maximum(rng.beta(0.7, 1.2, 20_000), 1e-9))
    left = [(ends > t).sum() for t in range(9)]
    model = SBG().fit(left)
    for name, true in {"alpha": 0.7, "beta": 1.2}.items():
        assert abs(model.params_[name] - true) < 4 * model.standard_errors_[name] < 0.3 * true
    told = model.predict(np.arange(9))
    assert told["left"].to_numpy() == pytest.approx(np.array(left) / 20_000, abs=4 * np.sqrt(0.25 / 20_000))
    assert ((told["left_low"] <= told["left"]) & (told["left"] <= told["left_high"])).all() and told["left"][0] == told["left_low"][0] == 1
    assert told["retention"][1:].to_numpy() == pytest.approx(told["left"][1:].to_numpy() / told["left"][:-1].to_numpy())


@pytest.mark.parametrize("left", [[10, 9], [10, 11, 9], [10, 10, 10], [10, float("nan"), 5], [10, 9, 8, float("nan")], [[10, float("nan"), 8]], [[10, 9, 8], [5, 6, 7]], [[[10, 9, 8]]],  ["a", "b", "c"], [], [10, 5, -1], None])
def test_bad_retention(left):
    with pytest.raises(ParameterError, match="left"):
        SBG().fit(left)


def test_sbg_of_cohorts_that_came_one_after_another():
    """The sum of the cohorts' own log-likelihoods (Fader & Hardie 2007, appendix) is highest at what is found."""
    left = np.array([[1000, 631, 468, 382], [800, 500, 390, np.nan], [500, 300, np.nan, np.nan], [90, np.nan, np.nan, np.nan]])
    model = SBG().fit(left)

    def log_likelihood(alpha, beta):
        s = np.exp([betaln(alpha, beta + t) - betaln(alpha, beta) for t in range(4)])
        return sum(-np.diff(row) @ np.log(-np.diff(s[:len(row)])) + row[-1] * np.log(s[len(row) - 1]) for row in (one[~np.isnan(one)] for one in left))
    a, b = model.params_.values()
    assert model.log_likelihood_ == pytest.approx(log_likelihood(a, b), rel=1e-12)
    assert all(log_likelihood(a * p, b * q) < model.log_likelihood_ for p, q in ((1.01, 1), (0.99, 1), (1, 1.01), (1, 0.99)))
    assert SBG().fit(left[:1]).params_ == SBG().fit(left[0]).params_
    assert SBG().fit(left[[0, 0]]).params_ == pytest.approx(SBG().fit(2 * left[0]).params_)


def test_sbg_edges():
    with pytest.raises(NotFittedError, match="this SBG was not fitted"):
        SBG().survival(1)
    with pytest.raises(ParameterError, match="t: needs numbers of renewals from 0"):
        SBG().fit([10, 8, 7]).survival([-1])
    with pytest.raises(ParameterError, match="t: could not convert"):
        SBG().fit([10, 8, 7]).predict("x")
    assert 0 < SBG().fit([10, 8, 7, 0]).survival(3) < 0.7
    alike = SBG().fit((10_000 * 0.8 ** np.arange(8)).round())  # all leave with the same chance
    assert "too much alike to tell" in alike.notes_[0] and alike.survival(10) == pytest.approx(0.8**10, rel=0.01)
