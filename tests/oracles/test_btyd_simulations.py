"""Two hundred simulated shops for each model: estimates err as much as their standard errors say, and intervals hold what they promise.

Bounds: of 200 standardised errors that are normal, the standard deviation lies within 0.8 and 1.25 with more than 99.9 %
(chi-squared), some allowance made for estimates whose errors are skewed.
"""
import numpy as np
import pandas as pd
import pytest

from tenant_lab.customers.bgnbd import BGNBD, MBGNBD
from tenant_lab.customers.gammagamma import GammaGamma
from tenant_lab.customers.paretonbd import ParetoNBD
from tenant_lab.customers.renewals import BGBB

pytestmark = pytest.mark.slow
SHOPS, CUSTOMERS, AHEAD = 200, 4000, 26.0


def shop(kind, rng):
    """Summaries, true means of the time ahead given all that is true of a customer and a summary, and what happened."""
    n = CUSTOMERS
    T, rate = rng.integers(30, 105, n).astype(float), rng.gamma(TRUE[kind]["r"], 1 / TRUE[kind]["alpha"], n) if "r" in TRUE[kind] else None
    if kind is ParetoNBD:
        life = rng.exponential(size=n) / rng.gamma(TRUE[kind]["s"], 1 / TRUE[kind]["beta"], n)
        x = rng.poisson(rate * np.minimum(life, T))
        t_x = np.where(x > 0, np.minimum(life, T) * rng.beta(np.maximum(x, 1), 1), 0.0)
        return pd.DataFrame({"frequency": x, "recency": t_x, "T": T}), rng.poisson(rate * np.clip(life - T, 0, AHEAD))
    if kind is BGBB:
        p, theta, T = rng.beta(TRUE[kind]["alpha"], TRUE[kind]["beta"], n), rng.beta(TRUE[kind]["gamma"], TRUE[kind]["delta"], n), rng.integers(4, 9, n)
        steps, there = np.arange(1, 9 + int(AHEAD)), rng.geometric(np.maximum(theta, 1e-9)) - 1
        taken = (rng.random((n, steps.size)) < p[:, None]) & (steps <= there[:, None])
        before, after = taken & (steps <= T[:, None]), taken & (steps > T[:, None]) & (steps <= T[:, None] + AHEAD)
        return pd.DataFrame({"frequency": before.sum(axis=1), "recency": (before * steps).max(axis=1), "T": T}), after.sum(axis=1)
    stays = rng.geometric(np.maximum(rng.beta(TRUE[kind]["a"], TRUE[kind]["b"], n), 1e-12)) - (kind is MBGNBD)
    wanted, later = rng.poisson(rate * T), rng.poisson(rate * AHEAD)
    x = np.minimum(wanted, stays)
    t_x = np.where(x > 0, T * rng.beta(np.maximum(x, 1), wanted - x + 1), 0.0)
    return pd.DataFrame({"frequency": x, "recency": t_x, "T": T}), np.minimum(later, stays - x)


TRUE = {BGNBD: {"r": 1.5, "alpha": 6.0, "a": 0.8, "b": 9.0}, MBGNBD: {"r": 1.5, "alpha": 6.0, "a": 0.8, "b": 9.0}, ParetoNBD: {"r": 1.5, "alpha": 6.0, "s": 0.9, "beta": 80.0},
        BGBB: {"alpha": 1.2, "beta": 0.8, "gamma": 0.7, "delta": 2.8}}


@pytest.mark.parametrize("kind", TRUE, ids=lambda kind: kind.__name__)
def test_errors_and_intervals(kind, record_property):
    """The interval of the mean against the model's own mean at the true parameters, for one customer of each shop; that of the count for all of ten shops."""
    record_property("seed", 0), record_property("repetitions", SHOPS)
    off, mean_inside, count_inside = [], [], []
    true = kind()
    for n in range(SHOPS):
        frame, later = shop(kind, np.random.default_rng(n))
        model = kind().fit(frame)
        off.append([np.log(model.params_[name] / value) * model.params_[name] / model.standard_errors_[name] for name, value in TRUE[kind].items()])
        some = slice(0, 40) if n >= 10 else slice(None)
        told, rows = model.predict(frame[some], AHEAD, draws=20 if n >= 10 else 500), true._rows(frame[some])
        means = true._expected(list(TRUE[kind].values()), rows, AHEAD)[rows.row]
        mean_inside.append(((told["expected_low"] <= means) & (means <= told["expected_high"])).mean())
        if n < 10:
            count_inside.append(((told["predicted_low"] <= later) & (later <= told["predicted_high"])).mean())
    spread, mean, count = np.std(off, axis=0), np.mean(mean_inside), np.mean(count_inside)
    record_property("standard_deviations", np.round(spread, 3).tolist()), record_property("mean_inside", round(float(mean), 4)), record_property("count_inside", round(float(count), 4))
    print(kind.__name__, np.round(spread, 3), round(float(mean), 4), round(float(count), 4))
    assert ((spread > 0.8) & (spread < 1.25)).all()
    assert 0.85 <= mean <= 0.95
    assert 0.90 <= count <= 0.96


def test_gamma_gamma(record_property):
    record_property("seed", 0), record_property("repetitions", SHOPS)
    true, off, inside = {"p": 6.0, "q": 4.0, "v": 15.0}, [], []
    for n in range(SHOPS):
        rng = np.random.default_rng(n)
        x, rate = rng.geometric(0.4, CUSTOMERS), rng.gamma(4.0, 1 / 15.0, CUSTOMERS)
        frame = pd.DataFrame({"frequency": x, "monetary_value": rng.gamma(6.0 * x) / (rate * x)})
        model = GammaGamma().fit(frame)
        off.append([np.log(model.params_[name] / value) * model.params_[name] / model.standard_errors_[name] for name, value in true.items()])
        told, rows = model.predict(frame[:40], draws=20), model._rows(frame[:40])
        means = 6.0 * (15.0 + rows.x * rows.m) / (6.0 * rows.x + 3.0)
        inside.append(((told["expected_low"] <= means) & (means <= told["expected_high"])).mean())
    spread = np.std(off, axis=0)
    record_property("standard_deviations", np.round(spread, 3).tolist()), record_property("mean_inside", round(float(np.mean(inside)), 4))
    print("GammaGamma", np.round(spread, 3), np.mean(inside))
    assert ((spread > 0.8) & (spread < 1.25)).all() and 0.85 <= np.mean(inside) <= 0.95
