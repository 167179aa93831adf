"""The Pareto/NBD against its integral, against simulated customers whose parameters are known, and at its edges."""
import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import gammaln

from tenant_lab.core.errors import NotFittedError, ParameterError
from tenant_lab.customers.btyd import customers
from tenant_lab.customers.likelihood import parameters, summed
from tenant_lab.customers.paretonbd import ParetoNBD, pareto_stories, time_there

TRUE = {"r": 0.8, "alpha": 9.0, "s": 0.7, "beta": 12.0}


def world(n, seed, ahead=0.0, r=0.8, alpha=9.0, s=0.7, beta=12.0, z=None, purchase=0.0, dropout=0.0):
    """Summaries of customers who live by the model, and the purchases that they make in the time `ahead`."""
    rng = np.random.default_rng(seed)
    z = np.zeros(n) if z is None else z
    rate, T = rng.gamma(r, 1 / alpha, n) * np.exp(purchase * z), rng.integers(20, 105, n)
    life = rng.exponential(size=n) / (rng.gamma(s, 1 / beta, n) * np.exp(dropout * z))
    until = np.minimum(life, T)
    x = rng.poisson(rate * until)
    t_x = np.where(x > 0, until * rng.beta(np.maximum(x, 1), 1), 0.0)  # the last of x even moments
    later = rng.poisson(rate * np.clip(life - T, 0, ahead))
    return pd.DataFrame({"frequency": x, "recency": t_x, "T": T.astype(float)}), later


@pytest.fixture(scope="module")
def fitted():
    frame, later = world(8000, 1, ahead=52.0)
    return ParetoNBD().fit(frame), frame, later


ROWS = pd.DataFrame({"frequency": [0, 0, 1, 3, 40, 7], "recency": [0, 0, 2.5, 30, 38, 39], "T": [39.0, 5, 39, 39, 39, 39]})


@pytest.mark.parametrize("theta", [(0.55, 10.6, 0.61, 11.7), (3.0, 0.5, 4.0, 80.0), (0.1, 200.0, 0.05, 0.4)])
def test_likelihood_is_the_integral(theta):
    """Schmittlein, Morrison & Colombo (1987): there at T, or gone at u after the last purchase."""
    r, alpha, s, beta = theta
    direct = []
    for x, t_x, T in ROWS.to_numpy():
        gone = quad(lambda u, x=x: s / beta * (1 + u / beta) ** (-s - 1) * (1 + u / alpha) ** (-r - x), t_x, T, epsabs=0, epsrel=1e-11)[0] if t_x < T else 0.0
        direct.append(gammaln(r + x) - gammaln(r) - x * np.log(alpha) + np.log((1 + T / beta) ** -s * (1 + T / alpha) ** (-r - x) + gone))
    rows = customers(ROWS)
    with np.errstate(divide="ignore"):
        told = pareto_stories(list(theta), rows)
    assert (told.value + np.log1p(np.exp(told.m).sum(axis=0)))[rows.row] == pytest.approx(direct, rel=1e-8)


@pytest.mark.parametrize("c", [(-0.6, 2.4, -0.5, 2.5), (0.7, -0.5, 1.0, 4.0)])
@pytest.mark.parametrize("covariate", [False, True])
def test_derivatives_are_those_of_the_value(c, covariate):
    rows = customers(ROWS[:5])
    z = np.linspace(-1, 1, len(rows.x))
    moved = [[(i, 1.0)] for i in range(4)] + ([[(1, -z)], [(3, -z)]] if covariate else [])
    c = np.r_[c, [0.3, -0.2] if covariate else []]

    def at(c):
        theta = parameters(c, moved, 4)
        return summed(pareto_stories(theta, rows), theta, moved, rows.weight)
    _, gradient, hessian = at(c)
    steps = 1e-5 * np.eye(len(c))
    assert gradient == pytest.approx([(at(c + h)[0] - at(c - h)[0]) / 2e-5 for h in steps], rel=1e-6, abs=1e-7)
    assert hessian == pytest.approx(np.array([(at(c + h)[1] - at(c - h)[1]) / 2e-5 for h in steps]), rel=1e-5, abs=1e-6)


def test_parameters_come_back(fitted):
    model = fitted[0]
    assert max(abs(np.log(model.params_[name] / true)) * model.params_[name] / model.standard_errors_[name] for name, true in TRUE.items()) < 4


def test_covariates_come_back():
    z = np.random.default_rng(3).integers(0, 2, 8000) * 40_000.0
    frame, _ = world(8000, 4, z=z / 40_000, purchase=0.5, dropout=-0.6)
    model = ParetoNBD(["income"], ["income"]).fit(frame.assign(income=z))
    for name, true in {"purchase income": 0.5 / 40_000, "dropout income": -0.6 / 40_000}.items():
        assert abs(model.params_[name] - true) < 4 * model.standard_errors_[name] < 2 * abs(true)


def test_what_will_happen(fitted):
    model, frame, later = fitted
    told = model.predict(frame, 52.0)
    error = np.sqrt(later.var() / len(later))
    assert told["expected"].mean() == pytest.approx(later.mean(), abs=4 * error + 0.03 * later.mean())
    inside = ((told["predicted_low"] <= later) & (later <= told["predicted_high"])).mean()
    assert 0.90 <= inside <= 0.98  # 90 % and more, since counts are whole
    assert ((told["expected_low"] <= told["expected"]) & (told["expected"] <= told["expected_high"])).all()


def test_time_there_is_an_integral():
    for s, age, t in ((0.6, 12.0, 52.0), (1.0, 12.0, 52.0), (1 + 1e-12, 3.0, 1e6), (4.0, 0.01, 10.0), (0.3, 5.0, 0.0)):
        assert time_there(s, age, t) == pytest.approx(quad(lambda v, s=s, age=age: (age / (age + v)) ** s, 0, t, limit=500)[0], rel=1e-6)


def test_from_the_start(fitted):
    model, frame, _ = fitted
    frame, _ = world(200_000, 9, **model.params_)
    found = frame.groupby("T")["frequency"].agg(["mean", "sem"]).iloc[::20]
    assert (np.abs(model.expected_from_start(found.index.to_numpy()) - found["mean"]) < 4.5 * found["sem"]).all()


def test_extreme_customers(fitted):
    odd = pd.DataFrame({"frequency": [5000, 5000, 1, 0, 3, 0], "recency": [7299.0, 1.0, 0.0, 0.0, 39.0, 0.0], "T": [7300.0, 7300.0, 7300.0, 1e-9, 39.0, 7300.0]})
    told = fitted[0].predict(odd, 365.0)
    assert np.isfinite(told.to_numpy()).all() and told["alive"].between(0, 1).all()
    assert told["alive"][4] == 1 and told["alive"][1] < 1e-12 < told["alive"][0]
    heavy = fitted[1].assign(weight=1e7)
    assert ParetoNBD().fit(heavy).params_ == pytest.approx(fitted[0].params_, rel=1e-4)


def test_order_and_repetition_do_not_matter(fitted):
    model, frame, _ = fitted
    mixed = frame.sample(frac=1, random_state=0)
    assert ParetoNBD().fit(mixed).params_ == pytest.approx(model.params_, rel=1e-5)
    assert model.probability_alive(mixed) == pytest.approx(model.probability_alive(frame)[mixed.index])


def test_bad_input():
    frame, _ = world(50, 0)
    with pytest.raises(NotFittedError, match="this ParetoNBD was not fitted"):
        ParetoNBD().probability_alive(frame)
    with pytest.raises(ParameterError, match="nobody came back"):
        ParetoNBD().fit(frame.assign(frequency=0, recency=0.0))
    alone = ParetoNBD().fit(frame[frame["frequency"] > 0][:1])
    assert "too much alike to tell" in alone.notes_[0] and np.isnan(list(alone.standard_errors_.values())).all()
    told = alone.predict(frame, 10.0)
    assert np.isfinite(told[["alive", "expected", "predicted_high"]].to_numpy()).all() and told["expected_low"].isna().all()
