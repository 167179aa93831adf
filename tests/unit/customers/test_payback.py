"""Payback: cases small enough to be worked out by hand, and intervals that hold as often as they say."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from tenant_lab.core.errors import ParameterError, SchemaError
from tenant_lab.customers.payback import mean_cumulative, payback

MONTH = pd.Timedelta(days=365.25 / 12)
START = pd.Timestamp("2024-01-01")
PEOPLE = pd.DataFrame({"customer_id": [*"abcd"], "joined_at": [START, START, START + 2 * MONTH, START + 9 * MONTH], "acquisition_cost": [6.0, 10.0, 8.0, np.nan], "channel": ["x", "x", "y", None]})
BOUGHT = pd.DataFrame({"customer_id": [*"aabcd"], "purchased_at": [START + MONTH / 2, START + 2.5 * MONTH, START + 1.5 * MONTH, START + 2.1 * MONTH, START + 9 * MONTH], "amount": [4.0, 6.0, 10.0, 20.0, 99.0]})


def test_the_mean_of_those_who_have_reached_an_age():
    three, reached = np.array([[1.0, 4.0], [2.0, 2.0], [3.0, 99.0]]), np.array([2, 2, 1])
    mean, error = mean_cumulative(np.repeat(three, 10, axis=0), np.repeat(reached, 10))
    assert mean == pytest.approx([2, 5]) and np.isnan(mean_cumulative(three, reached)[1]).all()
    assert np.sqrt(10) * error == pytest.approx([np.sqrt(2) / 3, np.sqrt((-1 / 3 + 1 / 2) ** 2 + (0 - 1 / 2) ** 2 + (1 / 3) ** 2)])
    assert np.isnan(mean_cumulative(np.ones((2, 3)), np.array([1, 2]))[0][2])


def test_purchases_by_hand():
    result = payback(PEOPLE, BOUGHT, START + 4 * MONTH, by="channel", horizon=3)
    table = result.frame().set_index("group")
    assert table.loc["x", ["customers", "cost", "margin", "ratio"]].tolist() == pytest.approx([2, 8, 10, 1.25])
    assert table.loc["x", "payback"] == pytest.approx(2 + 1 / 3)   # 2, 7, 10 after three months; 8 lies a third of the way
    assert table.loc["y", "payback"] == pytest.approx(8 / 20) and np.isnan(table.loc["y", "ratio"])   # c has lived through two months only
    assert result.notes == ("1 customers who had not come yet left out",)
    half = payback(PEOPLE, BOUGHT, START + 4 * MONTH, margin=0.5, by="channel", horizon=3).frame().set_index("group")
    assert half.loc["x", "margin"] == 5 and np.isnan(half.loc["x", "payback"])


def test_subscriptions_by_hand():
    lines = pd.DataFrame({"customer_id": [*"aab"], "started_at": [START, START + 2 * MONTH, START + MONTH], "ended_at": [START + 1.5 * MONTH, pd.NaT, pd.NaT], "monthly_price": [10.0, 4.0, 6.0]})
    result = payback(PEOPLE.head(2), lines, START + 3 * MONTH)
    assert result.curves["margin"].tolist() == pytest.approx([0, 5, 10.5, 15.5]) and result.horizon == 3   # 10 + 5 + 4 and 0 + 6 + 6, of two
    assert result.frame()["payback"].iloc[0] == pytest.approx(1 + 3 / 5.5)
    weeks = payback(PEOPLE.head(2), lines, START + 3 * MONTH, period="week", horizon=4)
    assert weeks.frame()["margin"].iloc[0] == pytest.approx(10 * 4 * 7 / (365.25 / 12) / 2)


def test_what_does_not_count_is_said():
    early = pd.concat([BOUGHT, BOUGHT.iloc[[0]].assign(purchased_at=START - MONTH), BOUGHT.iloc[[0]].assign(customer_id="z")])
    notes = payback(PEOPLE, early, START + 4 * MONTH).notes
    assert "1 lines of revenue of customers without a cost do not count" in notes and "1 lines of revenue from before the first contact do not count" in notes
    ended = pd.DataFrame({"customer_id": ["a"], "started_at": [START], "ended_at": [START - MONTH], "monthly_price": [1.0]})
    with pytest.raises(SchemaError, match="subscriptions.ended_at: 1 rows end before they start"):
        payback(PEOPLE, ended, START + 4 * MONTH)


def test_any_frame_and_any_zone():
    wanted = payback(PEOPLE, BOUGHT, START + 4 * MONTH, by="channel").frame()
    pd.testing.assert_frame_equal(payback(pl.from_pandas(PEOPLE), pl.from_pandas(BOUGHT).lazy(), START + 4 * MONTH, by="channel").frame(), wanted)
    zoned = PEOPLE.assign(joined_at=PEOPLE["joined_at"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")), BOUGHT.assign(purchased_at=BOUGHT["purchased_at"].dt.tz_localize("UTC"))
    pd.testing.assert_frame_equal(payback(*zoned, (START + 4 * MONTH).tz_localize("UTC"), by="channel").frame(), wanted)


def test_intervals_hold_in_95_of_100():
    """200 worlds of 300 customers of whom many are young; 95 % ± 3.3 standard errors of 1.54 %, and half a percent for the normal limit."""
    inside = crossed = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        age = rng.uniform(0, 14, 300)
        people = pd.DataFrame({"customer_id": np.arange(300), "joined_at": START - age * MONTH, "acquisition_cost": 20.0})
        rate = rng.gamma(0.8, 5, 300)   # a month; customers differ, so months of one hang together
        count = rng.poisson(rate * 14)
        who = np.repeat(np.arange(300), count)
        at = rng.uniform(0, 14, count.sum())
        rows = pd.DataFrame({"customer_id": who, "purchased_at": people["joined_at"].to_numpy()[who] + (at * MONTH.value).astype("timedelta64[ns]"), "amount": 1.0})
        row = payback(people, rows, START, horizon=10).frame().iloc[0]
        inside += row["ratio_low"] <= 2.0 <= row["ratio_high"]   # 4 a month for ten months, by 20
        crossed += row["payback_low"] <= 5.0 <= row["payback_high"]
    for found in (inside, crossed):
        assert found / 200 > 0.95 - 3.3 * 0.0154 - 0.005


def test_pictures_say_when():
    assert payback(PEOPLE, BOUGHT, START + 4 * MONTH, by="channel", horizon=3).plot("EUR").layout.title.text == "Cost is paid back after: y: 0.400 months, x: 2.33 months"
    assert payback(PEOPLE.assign(acquisition_cost=0.0), BOUGHT, START + 4 * MONTH).plot().layout.title.text == "Customers cost nothing"
    assert payback(PEOPLE.assign(acquisition_cost=99.0), BOUGHT, START + 4 * MONTH).plot().layout.title.text == "Cost is paid back after: all: more than 4 months"


@pytest.mark.parametrize(("people", "rows", "more", "error", "match"), [
    (lambda f: f.drop(columns="joined_at"), lambda f: f, {}, SchemaError, "customers lacks joined_at"),
    (lambda f: f.assign(joined_at="x"), lambda f: f, {}, SchemaError, "customers.joined_at is .*string; it must be a timestamp"),
    (lambda f: f.assign(customer_id="a"), lambda f: f, {}, SchemaError, "customers.customer_id: 3 rows are missing, negative, infinite or there twice"),
    (lambda f: f.assign(acquisition_cost=-1.0), lambda f: f, {}, SchemaError, "customers.acquisition_cost: 4 rows"),
    (lambda f: f.assign(acquisition_cost=np.nan), lambda f: f, {}, ParameterError, "no customer with a cost"),
    (lambda f: f.assign(acquisition_cost="12 EUR"), lambda f: f, {}, SchemaError, "customers.acquisition_cost is .*string; it must be a number"),
    (lambda f: f.assign(customer_id=[1, 2, 3, 4]), lambda f: f, {}, SchemaError, "make both text"),
    (lambda f: f, lambda f: f.assign(purchased_at=f["purchased_at"].where(f["amount"] > 5)), {}, SchemaError, "purchases.purchased_at: 1 rows have no value"),
    (lambda f: f, lambda f: f, {"by": ["channel"]}, ParameterError, "needs the name of a column"),
    (lambda f: f, lambda f: f.drop(columns="amount"), {}, SchemaError, "purchases lacks amount"),
    (lambda f: f, lambda f: f.assign(amount="x"), {}, SchemaError, "purchases.amount is .*string; it must be a number"),
    (lambda f: f, lambda f: f.assign(amount=np.inf), {}, SchemaError, "purchases.amount: 5 rows are missing or infinite"),
    (lambda f: f, lambda f: f.assign(purchased_at=f["purchased_at"].dt.tz_localize("UTC")), {}, SchemaError, "give both one"),
    (lambda f: f, lambda f: f, {"by": "country"}, SchemaError, "customers lacks country"),
    (lambda f: f, lambda f: f, {"margin": 0}, ParameterError, "margin 0"),
    (lambda f: f, lambda f: f, {"horizon": 0}, ParameterError, "horizon 0"),
    (lambda f: f, lambda f: f, {"period": "year"}, ParameterError, "period 'year'"),
    (lambda f: f, lambda f: f, {"as_of": START + MONTH / 2}, ParameterError, "lived through a month"),
])
def test_bad_input(people, rows, more, error, match):
    with pytest.raises(error, match=match):
        payback(people(PEOPLE), rows(BOUGHT), **{"as_of": START + 12 * MONTH, **more})
