"""Why subscribers of the simulated tenant `aurora` leave, found again by this package's own models from its tables."""
import numpy as np
import pandas as pd
import pytest

from tenant_lab.customers.behaviour import behaviours
from tenant_lab.customers.campaign import evaluate
from tenant_lab.customers.churn import ChurnModel
from tenant_lab.customers.hazard import DiscreteHazard
from tenant_lab.customers.labels import contract_labels
from tenant_lab.demo.aurora import simulate

from .test_aurora_truths import PERSON_MONTHS, database

SEED, SIZE = 21, 6000
NAMES = ("price", "active", "payment_failed", "support", "age", "new")


@pytest.fixture(scope="module")
def world():
    return simulate(SIZE, SEED)


def test_drivers_come_out_in_the_right_order(world):
    """A discrete-time hazard of the person-months: each coefficient within 4 standard errors, and whichever two differ by more than 3 of their difference's are in the planted order."""
    calendar, truth = world.truth.calendar, world.truth.churn
    rows = database(world).execute(PERSON_MONTHS, {"start": calendar.start, "last": calendar.dates[calendar.month_days[-2]], "group": truth.group}).df()
    rows = rows.rename(columns={"y": "event"}).assign(period=1)
    drivers = [*NAMES, "search", "social", "referral", "partner", "group"]
    model = DiscreteHazard(drivers).fit(rows)
    found, error = np.array(list(model.params_.values())), np.array(list(model.standard_errors_.values()))
    planted = np.array([truth.coefficients[name] for name in drivers])
    assert np.abs((found - planted) / error).max() < 4
    V = model.covariance_[1:, 1:]
    spread = np.sqrt(np.maximum(error[:, None] ** 2 + error**2 - 2 * V, 0.0))
    clear = np.abs(planted[:, None] - planted) > 3 * np.maximum(spread, 1e-12)
    np.fill_diagonal(clear, False)
    assert clear.sum() >= 40 and (np.sign(found[:, None] - found) == np.sign(planted[:, None] - planted))[clear].all()


def test_the_model_knows_the_drivers(world):
    """Six months, each foretold from earlier ones: better than guessing by five standard errors, calibrated, and a failed payment raises the chance and much playing lowers it."""
    tables = {name: world.tables[name] for name in ("plays", "events", "subscriptions")}
    parts = []
    for day in pd.date_range("2024-08-31", periods=7, freq="ME").strftime("%Y-%m-%d"):
        seen = behaviours(tables, day, windows=(28, 90), events=["payment_failed", "support_contact"]).frame()
        parts.append(contract_labels(tables["subscriptions"], day, "2025-12-31", outcome=30).frame().merge(seen, on="customer_id").assign(day=day))
    rows = pd.concat(parts, ignore_index=True)
    features = rows.drop(columns=["customer_id", "churned", "day"])
    model = ChurnModel().fit(features, rows["churned"], time=rows["day"])
    found = evaluate(rows["churned"], model.foretold_)
    assert found.auc - 5 * found.auc_error > 0.5
    assert found.calibration_error < 0.02 and 0.75 < found.slope < 1.25   # 3 standard errors: some 400 left
    some = features.sample(2000, random_state=0).reset_index(drop=True)
    plays = [name for name in features if name.startswith("plays") and "trend" not in name]
    usual = model.probability(some).mean()
    assert model.probability(some.assign(payment_failed_28d=1.0, payment_failed_90d=1.0)).mean() > 1.5 * usual
    assert model.probability(some.assign(**features[plays].quantile(0.97))).mean() < usual / 1.2
