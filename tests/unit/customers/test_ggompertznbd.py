"""The Gamma-Gompertz/NBD against its integral and simulated customers; the Pareto/NBD is its limit."""
import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import gammaln

from tenant_lab.customers.btyd import customers
from tenant_lab.customers.ggompertznbd import GGompertzNBD, gompertz, gompertz_stories, gompertz_time_there
from tenant_lab.customers.likelihood import parameters, summed
from tenant_lab.customers.paretonbd import ParetoNBD, pareto_stories

TRUE = {"r": 1.5, "alpha": 6.0, "b": 0.04, "s": 2.0, "beta": 4.0}
ROWS = pd.DataFrame({"frequency": [0, 0, 1, 3, 40, 7], "recency": [0, 0, 2.5, 30, 38, 39], "T": [39.0, 5, 39, 300, 39, 39]})


def world(n, seed, ahead=0.0):
    """Summaries of customers who live by the model, and the purchases that they make in the time `ahead`."""
    rng = np.random.default_rng(seed)
    rate, level, T = rng.gamma(1.5, 1 / 6, n), rng.gamma(2.0, 1 / 4, n), rng.integers(26, 105, n).astype(float)
    life = np.log1p(rng.exponential(size=n) / level) / 0.04
    x = rng.poisson(rate * np.minimum(life, T))
    t_x = np.where(x > 0, np.minimum(life, T) * rng.beta(np.maximum(x, 1), 1), 0.0)
    return pd.DataFrame({"frequency": x, "recency": t_x, "T": T}), rng.poisson(rate * np.clip(life - T, 0, ahead))


@pytest.fixture(scope="module")
def fitted():
    frame, later = world(12_000, 3, ahead=20.0)
    return GGompertzNBD().fit(frame), frame, later


@pytest.mark.parametrize("theta", [(0.55, 10.6, 0.02, 0.61, 1.7), (3.0, 0.5, 0.3, 2.0, 80.0), (0.5, 20.0, 0.004, 0.3, 0.05)])
def test_likelihood_is_the_integral(theta):
    """Bemmaor & Glady (2012): there at T, or gone at u after the last purchase."""
    r, alpha, b, s, beta = theta

    def there(u):
        return (beta / (beta + np.expm1(b * u))) ** s

    direct = []
    for x, t_x, T in ROWS.to_numpy():
        gone = quad(lambda u, x=x: s * b * np.exp(b * u) / (beta + np.expm1(b * u)) * there(u) * (1 + u / alpha) ** (-r - x), t_x, T, epsabs=0, epsrel=1e-11, limit=200)[0] if t_x < T else 0.0
        direct.append(gammaln(r + x) - gammaln(r) - x * np.log(alpha) + np.log(there(T) * (1 + T / alpha) ** (-r - x) + gone))
    rows = customers(ROWS)
    with np.errstate(divide="ignore"):
        told = gompertz_stories(list(theta), rows)
    assert (told.value + np.log1p(np.exp(told.m).sum(axis=0)))[rows.row] == pytest.approx(direct, rel=1e-7)


@pytest.mark.parametrize("c", [(-0.6, 2.4, -3.5, -0.5, 0.5), (0.7, -0.5, -1.5, 0.7, 4.0)])
@pytest.mark.parametrize("covariate", [False, True])
def test_derivatives_are_those_of_the_value(c, covariate):
    rows = customers(ROWS[:5])
    z = np.linspace(-1, 1, len(rows.x))
    moved = [[(i, 1.0)] for i in range(5)] + ([[(1, -z)], [(4, -z)]] if covariate else [])
    c = np.r_[c, [0.3, -0.2] if covariate else []]

    def at(c):
        return summed(gompertz_stories(theta := parameters(c, moved, 5), rows), theta, moved, rows.weight)
    steps = 1e-5 * np.eye(len(c))
    assert at(c)[1] == pytest.approx([(at(c + h)[0] - at(c - h)[0]) / 2e-5 for h in steps], rel=1e-6, abs=1e-6)
    assert at(c)[2] == pytest.approx(np.array([(at(c + h)[1] - at(c - h)[1]) / 2e-5 for h in steps]), rel=1e-4, abs=1e-5)


def test_small_growth_is_the_pareto_nbd():
    rows, b = customers(ROWS[:5]), 1e-9
    gamma, pareto = gompertz_stories([0.6, 10.0, b, 0.7, 12 * b], rows), pareto_stories([0.6, 10.0, 0.7, 12.0], rows)
    assert gamma.value + np.log1p(np.exp(gamma.m).sum(axis=0)) == pytest.approx(pareto.value + np.log1p(np.exp(pareto.m).sum(axis=0)), rel=1e-6)


def test_parameters_come_back(fitted):
    model = fitted[0]
    assert model.notes_ == ()
    for name, true in TRUE.items():
        assert abs(np.log(model.params_[name] / true)) < 4 * model.standard_errors_[name] / model.params_[name]


def test_what_will_happen(fitted):
    model, frame, later = fitted
    told = model.predict(frame[:3000], 20.0, draws=300)
    assert model.expected_purchases(frame, 20.0).mean() == pytest.approx(later.mean(), abs=4 * np.sqrt(later.var() / len(later)) + 0.05 * later.mean())
    assert 0.90 <= ((told["predicted_low"] <= later[:3000]) & (later[:3000] <= told["predicted_high"])).mean() <= 0.99


def test_time_there_is_an_integral():
    for b, s, beta, T, t in ((0.04, 2.0, 4.0, 30.0, 52.0), (2.0, 0.3, 0.01, 100.0, 500.0), (1e-6, 0.6, 1e-5, 5.0, 52.0), (0.1, 1.0, 50.0, 0.0, 0.0)):
        now = gompertz(b, beta, T)[0]
        assert gompertz_time_there(b, s, beta, T, t) == pytest.approx(quad(lambda v, b=b, s=s, beta=beta, T=T, now=now: np.exp(s * (now - gompertz(b, beta, T + v)[0])), 0, t, limit=500)[0], rel=1e-6)


def test_lifetimes_are_those_of_the_model(fitted):
    """Drawn lifetimes exceed v as often as the model says; bounds of four standard errors."""
    model, rows = fitted[0], customers(pd.DataFrame({"frequency": [1], "recency": [1.0], "T": [40.0]}))
    many = rows.of(np.zeros(40_000, int))
    left = model._left(list(model.params_.values()), many, np.random.default_rng(0))
    b, s, beta = (model.params_[name] for name in ("b", "s", "beta"))
    for v in (1.0, 10.0, 40.0):
        share = np.exp(s * (gompertz(b, beta, 40.0)[0] - gompertz(b, beta, 40.0 + v)[0]))
        assert np.mean(left > v) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 40_000))


def test_constant_chances_are_noted():
    rng = np.random.default_rng(0)
    rate, T = rng.gamma(0.8, 1 / 9, 4000), rng.integers(20, 105, 4000).astype(float)
    life = rng.exponential(size=4000) / rng.gamma(0.7, 1 / 12, 4000)
    x = rng.poisson(rate * np.minimum(life, T))
    frame = pd.DataFrame({"frequency": x, "recency": np.where(x > 0, np.minimum(life, T) * rng.beta(np.maximum(x, 1), 1), 0.0), "T": T})
    model, pareto = GGompertzNBD().fit(frame), ParetoNBD().fit(frame)
    assert pareto.log_likelihood_ - 0.1 < model.log_likelihood_ < pareto.log_likelihood_ + 5
    assert model.expected_purchases(frame, 30.0).sum() == pytest.approx(pareto.expected_purchases(frame, 30.0).sum(), rel=0.05)
