"""Lifetime value and churn risk of tenants with hardly anything: a page with what can be said, and why not more."""
import numpy as np
import pandas as pd
import pytest
from report_kit import made

RNG = np.random.default_rng(0)


def shop(customers: int, purchases: int, amount: float = 20.0) -> pd.DataFrame:
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(RNG.integers(0, 360, customers * purchases), unit="D")
    return pd.DataFrame({"customer_id": np.tile([f"c{n}" for n in range(customers)], purchases), "purchased_at": days, "amount": amount})


@pytest.mark.parametrize(("table", "said"), [
    (shop(1, 1), "cannot be foretold"), (shop(3, 1), "nobody came back"), (shop(5, 2, -5.0), "no sale"), (shop(2, 3), ""), (shop(60, 1), "nobody came back"), (shop(300, 4), "are expected to buy")],
    ids=["one purchase", "each once", "refunds only", "two customers", "many once", "all alike"])
def test_lifetime_value_of_little(tmp_path, table, said):
    found, text = made(tmp_path / "home", "customer_lifetime_value", {"purchases": table})
    assert said in text and ("Customers" in found) is ("are expected to buy" in text)


def subscribers(customers: int, leave: float, seed: int = 1) -> dict[str, pd.DataFrame]:
    rng = np.random.default_rng(seed)
    ids = [f"c{n}" for n in range(customers)]
    start = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 60, customers), unit="D")
    end = (start + pd.to_timedelta(rng.exponential(100, customers).clip(1, 250 if leave == 1 else 800).round(), unit="D")).to_series(index=range(customers)).where(rng.random(customers) < leave)
    rows = customers * 30
    at = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 365 * 86_400, rows), unit="s")
    who = np.repeat(ids, 30)
    return {"subscriptions": pd.DataFrame({"customer_id": ids, "started_at": start, "ended_at": end, "plan": "basic", "monthly_price": 9.0}),
            "plays": pd.DataFrame({"customer_id": who, "track_id": "t", "at": at, "seconds": 60.0}), "events": pd.DataFrame({"customer_id": who, "at": at, "event": "login"})}


@pytest.mark.parametrize(("customers", "leave", "said"), [(1, 0.0, "Who will leave cannot be said"), (40, 0.0, "Who will leave cannot be said"), (40, 1.0, "no running subscription"), (6, 0.6, ""), (400, 0.7, "of today's will leave")],
                         ids=["one subscriber", "nobody leaves", "all have left", "six", "enough"])
def test_churn_risk_of_little(tmp_path, customers, leave, said):
    found, text = made(tmp_path / "home", "churn_risk", subscribers(customers, leave), history=6)
    assert said in text and found["Subscribers"] >= 0
    if said == "of today's will leave":
        assert 0 <= found["Will leave"] <= customers and 0.3 < found["Right order"] < 0.7   # whoever leaves does so at random here
