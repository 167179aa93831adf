import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest

from tenant_lab.core.errors import ParameterError, SchemaError
from tenant_lab.customers.behaviour import behaviours

day = pd.Timestamp
PURCHASES = pd.DataFrame({"customer_id": ["a", "a", "a", "b", "c"], "purchased_at": [day(t) for t in ("2024-06-30 12:00", "2024-06-30 13:00", "2024-05-01", "2024-03-01", "2024-07-02")], "amount": [10.0, 5.0, 1.0, 7.0, 99.0]})
EVENTS = pd.DataFrame({"customer_id": ["a", "a", "d"], "at": [day(t) for t in ("2024-06-29", "2024-06-20", "2024-06-25")], "event": ["login", "support", "support"]})
SUBSCRIPTIONS = pd.DataFrame({"customer_id": ["a", "a", "b", "d"], "started_at": [day(t) for t in ("2024-01-01", "2024-06-11", "2024-01-01", "2024-06-21")],
                              "ended_at": [day("2024-06-11"), pd.NaT, day("2024-06-01"), day("2024-07-15")], "plan": ["basic", "pro", "basic", "pro"], "monthly_price": [5.0, 10.0, 5.0, 10.0]})


def test_figures_by_hand():
    found = behaviours({"purchases": PURCHASES, "events": EVENTS, "subscriptions": SUBSCRIPTIONS}, "2024-06-30", windows=(7, 90), events=["support"]).frame().set_index("customer_id")
    assert list(found.index) == ["a", "d"]   # c came later, and b was not seen for 90 days
    a = found.loc["a"]
    assert a[["purchases_7d", "purchases_90d", "purchases_days_7d", "purchases_days_90d", "purchases_amount_7d", "purchases_amount_90d"]].tolist() == [2, 3, 1, 2, 15, 16]
    assert a["days_since_purchases"] == pytest.approx(11 / 24) and a[["events_7d", "support_7d", "support_90d"]].tolist() == [1, 0, 1]
    assert a["purchases_trend"] == pytest.approx(np.log(3 / (3 * 7 / 90 + 1)))
    assert a[["tenure", "plan", "monthly_price", "price_changed_7d", "price_changed_90d"]].tolist() == [182, "pro", 10, 0, 1]
    d = found.loc["d"]
    assert d[["purchases_90d", "purchases_days_90d", "support_90d"]].tolist() == [0, 0, 1]
    b = behaviours({"purchases": PURCHASES, "subscriptions": SUBSCRIPTIONS}, "2024-06-30", windows=(7, 180)).frame().set_index("customer_id").loc["b"]
    assert b["purchases_180d"] == 1 and b["days_since_purchases"] == 122 and np.isnan(b["tenure"]) and pd.isna(b["plan"])   # left in June
    assert d["tenure"] == 10 and d["plan"] == "pro" and np.isnan(d["days_since_purchases"])   # that d would leave was not known


def test_the_same_from_any_frame():
    expected = behaviours({"purchases": PURCHASES}, "2024-06-30").frame()
    connection = duckdb.connect()
    for frame in (pl.from_pandas(PURCHASES), pl.from_pandas(PURCHASES).lazy(), connection.from_df(PURCHASES)):
        pd.testing.assert_frame_equal(behaviours({"purchases": frame}, "2024-06-30").frame(), expected)


def test_one_window_has_no_trend():
    found = behaviours({"purchases": PURCHASES}, "2024-06-30", windows=[30])
    assert "purchases_trend" not in found.frame() and "Half of the customers" in found.plot().layout.title.text


def test_bad_input():
    for windows in ([], [7, 7], [30, 7], [0], ["week"]):
        with pytest.raises(ParameterError, match="windows"):
            behaviours({"purchases": PURCHASES}, "2024-06-30", windows=windows)
    with pytest.raises(SchemaError, match="'touches' says nothing of behaviour"):
        behaviours({"touches": PURCHASES}, "2024-06-30")
    for tables in ({}, {"purchases": PURCHASES}):
        with pytest.raises(ParameterError, match="no rows before it"):
            behaviours(tables, "2020-06-30")
    with pytest.raises(SchemaError, match="purchased_at"):
        behaviours({"purchases": PURCHASES.drop(columns="purchased_at")}, "2024-06-30")
    with pytest.raises(SchemaError, match="amount is .*must be a number"):
        behaviours({"purchases": PURCHASES.assign(amount="ten")}, "2024-06-30")
    with pytest.raises(SchemaError, match="subscriptions lacks plan"):
        behaviours({"subscriptions": SUBSCRIPTIONS.drop(columns="plan")}, "2024-06-30")
    for events, words in (("login", "needs a list"), (["events"], "two columns"), (["login", "login"], "two columns"), (["purchases"], "two columns")):
        with pytest.raises(ParameterError, match=words):
            behaviours({"events": EVENTS, "purchases": PURCHASES}, "2024-06-30", events=events)
    with pytest.raises(ParameterError, match="no table events"):
        behaviours({"purchases": PURCHASES}, "2024-06-30", events=["login"])
    with pytest.raises(SchemaError, match="customer_id is text in one"):
        behaviours({"purchases": PURCHASES, "events": EVENTS.assign(customer_id=1)}, "2024-06-30")
    with pytest.raises(SchemaError, match="purchased_at is String; it must be a timestamp"):
        behaviours({"purchases": PURCHASES.assign(purchased_at="June")}, "2024-06-30")


def test_prices_that_did_not_change():
    """A second subscription beside the first, and a return after years, are no change of price; the newest line has the word."""
    both = pd.DataFrame({"customer_id": ["a", "a", "b", "b"], "started_at": [day(t) for t in ("2024-01-01", "2024-06-20", "2020-01-01", "2024-06-20")], "ended_at": [pd.NaT, pd.NaT, day("2020-02-01"), pd.NaT],
                         "plan": ["music", None, "x", "y"], "monthly_price": [10.0, 5.0, 5.0, 9.0]})
    found = behaviours({"subscriptions": both}, "2024-06-30").frame().set_index("customer_id")
    assert found["price_changed_30d"].tolist() == [0, 0] and found["monthly_price"].tolist() == [5, 9] and pd.isna(found.loc["a", "plan"])
