"""Revenue and its concentration: cases small enough to be worked out by hand."""

import datetime as dt
import math

import duckdb
import numpy as np
import pandas as pd
import pandas.testing as pdt
import polars as pl
import pyarrow as pa
import pytest

from tenant_lab.core.errors import ParameterError, SchemaError
from tenant_lab.customers.revenue import concentration, revenue, top_share, usual_range

# a is won in January; nothing in February; a refund to x, who bought before the table begins, in January
ROWS = pd.DataFrame([
    ("a", "2024-01-05", 10.0), ("a", "2024-01-05", 2.0), ("x", "2024-01-09", -4.0), ("a", "2024-03-01", 3.0),
    ("b", "2024-03-01", 7.0), ("b", "2024-03-31", -1.0), ("a", "2024-04-01", 18.0), ("b", "2024-05-01", 5.0),
    ("c", "2024-06-01", 500.0)], columns=["customer_id", "purchased_at", "amount"]).astype(
        {"purchased_at": "datetime64[us]"})
AS_OF = dt.date(2024, 5, 15)
MAKERS = {"pandas": lambda f: f.copy(), "polars": pl.from_pandas, "polars lazy": lambda f: pl.from_pandas(f).lazy(),
          "arrow": pa.Table.from_pandas, "duckdb": lambda f: duckdb.connect().from_arrow(pa.Table.from_pandas(f))}


def test_months_by_hand():
    result = revenue(ROWS, AS_OF)
    frame = result.frame()
    assert frame["period"].tolist() == ["Jan 2024", "Feb 2024", "Mar 2024", "Apr 2024", "May 2024"]
    assert frame["start"].iloc[-1] == pd.Timestamp("2024-05-01")
    assert frame["revenue"].tolist() == [8.0, 0.0, 9.0, 18.0, 5.0]
    assert frame["purchases"].tolist() == [1, 0, 2, 1, 1]
    assert frame["customers"].tolist() == [1, 0, 2, 1, 1]
    assert frame["new_customers"].tolist() == [1, 0, 1, 0, 0]
    assert frame["returning_customers"].tolist() == [0, 0, 1, 1, 1]
    assert frame["new_revenue"].tolist() == [12.0, 0.0, 6.0, 0.0, 0.0]
    assert frame["returning_revenue"].tolist() == [-4.0, 0.0, 3.0, 18.0, 5.0]
    assert frame["partial"].tolist() == [False] * 4 + [True]
    # February against January; March has nothing to be compared with, May is not over
    np.testing.assert_equal(frame["change"].to_numpy(), [np.nan, -1.0, np.nan, 1.0, np.nan])
    assert result.notes == ("1 rows at or after 2024-05-16 00:00:00 left out",)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("period", ["week", "month", "quarter"])
def test_every_kind_of_frame_gives_the_same(kind, period):
    pdt.assert_frame_equal(revenue(MAKERS[kind](ROWS), AS_OF, period).frame(), revenue(ROWS, AS_OF, period).frame())
    assert concentration(MAKERS[kind](ROWS), AS_OF).frame().equals(concentration(ROWS, AS_OF).frame())


def test_input_is_unchanged():
    before = ROWS.copy(deep=True)
    revenue(ROWS, AS_OF), concentration(ROWS, AS_OF)
    pdt.assert_frame_equal(ROWS, before)


def test_nothing_after_the_cut_can_be_seen():
    later = pd.concat([ROWS, ROWS[-1:].assign(amount=1e9, customer_id="a")])
    pdt.assert_frame_equal(revenue(later, AS_OF).frame(), revenue(ROWS, AS_OF).frame())
    assert concentration(later, AS_OF).share == concentration(ROWS, AS_OF).share


def test_months_follow_the_time_zone_of_the_connection():
    engine = duckdb.connect()
    sql = "SELECT 'a' AS customer_id, TIMESTAMPTZ '2024-01-31 23:30:00+00' AS purchased_at, 1.0 AS amount"
    for zone, month in (("UTC", "Jan 2024"), ("Asia/Tokyo", "Feb 2024")):
        engine.execute(f"SET TimeZone = '{zone}'")
        assert revenue(engine.sql(sql), "2024-02-29").frame()["period"].iloc[0] == month


def test_usual_range_knows_only_the_past():
    x = [0.1, np.nan, -0.1, 0.3, 0.0, 0.2, 9.0]
    low, high = usual_range(x, least=3)
    assert np.isnan(low[:4]).all() and np.isnan(high[:4]).all()
    # before the fifth change: -0.1, 0.1, 0.3; positions 0.1 * 2 and 0.9 * 2 between the order statistics
    assert (low[4], high[4]) == pytest.approx((-0.06, 0.26))
    assert low[6] == usual_range([*x[:6], -99.0], least=3)[0][6]
    with pytest.raises(ParameterError, match="least 0: needs a whole number from 2"):
        usual_range(x, least=0)


def monthly(*amounts):
    return pd.DataFrame({"customer_id": "a", "amount": [float(a) for a in amounts],
                         "purchased_at": pd.date_range("2023-01-15", periods=len(amounts), freq="MS")})


@pytest.mark.parametrize(("last", "said"), [(105, "105, 5.0% more than the month before; a usual change"),
                                            (50, "50.0, 50.0% less than the month before; an unusual change")])
def test_the_title_says_whether_a_change_is_usual(last, said):
    rows = monthly(100, 110, 100, 110, 100, 110, 100, 110, 100, last)  # changes of +10 % and -9 % in turn
    result = revenue(rows, "2023-11-30")
    assert result.plot().layout.title.text == f"Nov 2023 brought {said}"
    frame = result.frame()
    assert frame["usual_low"].isna().tolist() == [True] * 7 + [False] * 3
    assert frame["usual_low"].iloc[-1] < 0 < frame["usual_high"].iloc[-1]


def test_titles_without_a_comparison():
    assert revenue(monthly(5), "2023-02-28").plot().layout.title.text == "Feb 2023 brought 5.00"
    assert revenue(monthly(5), "2023-02-10").plot().layout.title.text == "No complete month is known yet"
    title = revenue(monthly(5, 10), "2023-03-31").plot().layout.title.text
    assert title == "Mar 2023 brought 10.0, 100% more than the month before"
    assert revenue(monthly(5, 10), "2023-03-10").plot().data[0].marker.opacity.tolist() == [1.0, 0.4]


def test_refunds_only_are_a_result():
    result = revenue(ROWS.assign(amount=-1.0)[:1], AS_OF).frame()
    assert result["revenue"].tolist() == [-1.0, 0.0, 0.0, 0.0, 0.0]
    assert result[["customers", "purchases", "new_customers"]].to_numpy().sum() == 0


def test_top_share_by_hand():
    assert top_share([1, 2, 3, 4], 0.5)[0] == pytest.approx(0.7)
    assert top_share([1, 2, 3, 4], 0.51)[0] == pytest.approx(0.9)  # ceil(2.04) = 3
    assert top_share(range(1, 101), 0.07)[0] == pytest.approx(679 / 5050)  # seven, though 0.07 * 100 > 7
    assert top_share([3, 1], 1e-12)[0] == pytest.approx(0.75)  # at least one
    assert top_share([5, 5, 5, 5, 1], 0.4)[0] == pytest.approx(10 / 21)  # ties at the boundary
    assert top_share([10, -2], 0.5)[0] == pytest.approx(1.25)


def test_standard_error_against_the_bootstrap():
    """The bound: 4 000 bootstrap repetitions know a standard deviation to 1.1 %; the rest is the approximation's."""
    rng = np.random.default_rng(11)
    x = rng.gamma(1.0, 10.0, 3000)
    again = [top_share(rng.choice(x, x.size))[0] for _ in range(4000)]
    assert top_share(x)[1] == pytest.approx(np.std(again), rel=0.06)


def test_concentration_by_hand():
    result = concentration(ROWS, "2024-06-30", top=0.4)  # a 33, b 11, c 500; x has only a refund and is left out
    assert (result.top_customers, result.customers) == (2, 3)
    assert (result.top_revenue, result.revenue) == (533.0, 544.0)
    assert result.share == pytest.approx(533 / 544)
    assert math.isnan(result.low) and result.notes == ("no interval: 3 customers are fewer than 30",)
    assert result.lorenz["customers"].tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    assert result.lorenz["revenue"].tolist() == pytest.approx([0, 500 / 544, 533 / 544, 1])
    assert result.frame()["share"].tolist() == [result.share]
    assert result.plot().layout.title.text == (
        "The best 66.7% of the customers bring 98.0% of the revenue")


def test_concentration_has_an_interval_and_a_light_curve():
    rng = np.random.default_rng(5)
    rows = pd.DataFrame({"customer_id": [f"{n}" for n in range(1000)], "amount": rng.gamma(1, 10, 1000),
                         "purchased_at": pd.Timestamp("2024-01-01")})
    result = concentration(rows, AS_OF)
    share, error = top_share(rows["amount"])
    assert (result.low, result.high) == pytest.approx((share - 1.96 * error, share + 1.96 * error))
    assert len(result.lorenz) == 101 and result.lorenz["revenue"].is_monotonic_increasing
    assert not result.notes and result.top_customers == 100


def test_one_customer_is_the_whole():
    result = concentration(ROWS[:2], AS_OF)
    assert (result.share, result.top_customers, result.customers) == (1.0, 1, 1)


def test_shares_above_one_are_explained():
    rows = pd.concat([ROWS[:1], ROWS[4:5], ROWS[4:5].assign(amount=-9.0)])  # b bought for 7 and got 9 back
    result = concentration(rows, AS_OF, top=0.5)
    assert result.share == pytest.approx(10 / 8)
    assert "1 customers got back more than they paid here" in result.notes[-1]


@pytest.mark.parametrize("top", [0, 1, -0.1, 10, "0.1", None, True, float("nan")])
def test_bad_top(top):
    with pytest.raises(ParameterError, match="top .*: needs a number"):
        concentration(ROWS, AS_OF, top=top)


@pytest.mark.parametrize("function", [revenue, concentration])
@pytest.mark.parametrize(("change", "as_of", "error", "match"), [
    (lambda f: f.drop(columns="amount"), AS_OF, SchemaError, "purchases lacks amount"),
    (lambda f: f.assign(purchased_at=1), AS_OF, SchemaError, "purchases.purchased_at is Int64; it must be a timestamp"),
    (lambda f: f[:0], AS_OF, SchemaError, "no rows"),
    (lambda f: f, "2023-12-31", ParameterError, "the first row is of 2024-01-05"),
    (lambda f: f, 3, ParameterError, "needs a day"),
])
def test_bad_input(function, change, as_of, error, match):
    with pytest.raises(error, match=match):
        function(change(ROWS), as_of)


def test_bad_period_and_no_revenue():
    with pytest.raises(ParameterError, match="period 'hour': allowed are day, week, month, quarter, year"):
        revenue(ROWS, AS_OF, "hour")
    with pytest.raises(SchemaError, match="is not positive; a share needs one that is"):
        concentration(ROWS.assign(amount=-1.0), AS_OF)
    with pytest.raises(ParameterError, match="positive sum"):
        top_share([])
