"""Cohorts: cases small enough to be worked out by hand."""

import datetime as dt

import duckdb
import narwhals as nw
import pandas as pd
import pandas.testing as pdt
import polars as pl
import pyarrow as pa
import pytest

from tenant_lab.core.errors import ParameterError, SchemaError
from tenant_lab.customers.cohorts import (
    PERIODS,
    Cohorts,
    _period_expr,
    cohort_table,
    cohorts,
    period_label,
    period_number,
    period_start,
)

# a and b are won in January, c in March; nobody buys in February; a sends something back in March
ROWS = pd.DataFrame([
    ("a", "2024-01-05", 10.0), ("a", "2024-01-05", 1.0), ("a", "2024-01-31", 2.0), ("b", "2024-01-31", 4.0),
    ("a", "2024-03-01", -3.0), ("b", "2024-03-02", 5.0), ("c", "2024-03-03", 7.0), ("a", "2024-04-02", 6.0),
    ("c", "2024-05-01", 50.0)], columns=["customer_id", "purchased_at", "amount"]).astype(
        {"purchased_at": "datetime64[us]"})
AS_OF = dt.date(2024, 4, 15)
MAKERS = {"pandas": lambda f: f.copy(), "polars": pl.from_pandas, "polars lazy": lambda f: pl.from_pandas(f).lazy(),
          "arrow": pa.Table.from_pandas, "duckdb": lambda f: duckdb.connect().from_arrow(pa.Table.from_pandas(f))}


def test_months_by_hand():
    frame = cohorts(ROWS, AS_OF).frame()
    assert frame["cohort"].tolist() == ["Jan 2024"] * 4 + ["Mar 2024"] * 2
    assert frame["period"].tolist() == ["Jan 2024", "Feb 2024", "Mar 2024", "Apr 2024", "Mar 2024", "Apr 2024"]
    assert frame["start"].tolist()[:2] == [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-02-01")]
    assert frame["age"].tolist() == [0, 1, 2, 3, 0, 1]
    assert frame["customers"].tolist() == [2, 2, 2, 2, 1, 1]
    assert frame["active"].tolist() == [2, 0, 1, 1, 1, 0]
    assert frame["retention"].tolist() == [1.0, 0.0, 0.5, 0.5, 1.0, 0.0]
    assert frame["purchases"].tolist() == [3, 0, 1, 1, 1, 0]
    assert frame["revenue"].tolist() == [17.0, 0.0, 2.0, 6.0, 7.0, 0.0]
    assert frame["partial"].tolist() == [False, False, False, True, False, True]
    assert not frame.isna().any().any()


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("period", PERIODS)
def test_every_kind_of_frame_gives_the_same(kind, period):
    pdt.assert_frame_equal(cohorts(MAKERS[kind](ROWS), AS_OF, period).frame(), cohorts(ROWS, AS_OF, period).frame())


def test_input_and_result_are_not_changed_from_outside():
    before = ROWS.copy(deep=True)
    result = cohorts(ROWS, AS_OF)
    taken = result.frame()
    taken["active"] = -1
    assert (result.frame()["active"] >= 0).all()
    pdt.assert_frame_equal(ROWS, before)


def test_a_lazy_table_stays_in_its_engine():
    assert isinstance(cohort_table(MAKERS["duckdb"](ROWS), AS_OF).to_native(), duckdb.DuckDBPyRelation)


def test_the_last_period_is_partial_only_when_it_is_cut():
    assert not cohorts(ROWS, "2024-04-30").frame()["partial"].any()
    assert cohorts(ROWS, "2024-04-29").frame()["partial"].any()
    assert cohorts(ROWS, dt.datetime(2024, 4, 30, 23)).frame().query("partial")["period"].unique() == ["Apr 2024"]
    # a period without any purchase is a period
    assert cohorts(ROWS, "2024-07-31").frame()["age"].max() == 6


def test_matrix_has_holes_only_in_the_future():
    result = cohorts(ROWS, AS_OF)
    wide = result.matrix("active")
    assert wide.index.tolist() == ["Jan 2024", "Mar 2024"] and wide.columns.tolist() == [0, 1, 2, 3]
    assert wide.isna().to_numpy().tolist() == [[False] * 4, [False, False, True, True]]
    assert result.matrix().loc["Jan 2024"].tolist() == [1.0, 0.0, 0.5, 0.5]
    with pytest.raises(ParameterError, match="values 'share': allowed are retention"):
        result.matrix("share")


def test_weeks_and_quarters_by_hand():
    weeks = cohorts(ROWS[:4], "2024-02-04", "week").frame()  # 5 January is in ISO week 1, 31 January in week 5
    assert weeks["cohort"].unique().tolist() == ["2024-W01", "2024-W05"]
    assert weeks["active"].tolist() == [1, 0, 0, 0, 1, 1] and not weeks["partial"].any()
    quarters = cohorts(ROWS, "2024-05-31", "quarter").frame()
    assert quarters["cohort"].tolist() == ["Q1 2024", "Q1 2024"]
    assert quarters["active"].tolist() == [3, 2] and quarters["partial"].tolist() == [False, True]


def test_months_follow_the_time_zone_of_the_connection():
    engine = duckdb.connect()
    sql = "SELECT 'a' AS customer_id, TIMESTAMPTZ '2024-01-31 23:30:00+00' AS purchased_at, 1.0 AS amount"
    for zone, month in (("UTC", "Jan 2024"), ("Asia/Tokyo", "Feb 2024"), ("America/New_York", "Jan 2024")):
        engine.execute(f"SET TimeZone = '{zone}'")
        assert cohorts(engine.sql(sql), "2024-02-29").frame()["cohort"].iloc[0] == month


@pytest.mark.parametrize("period", PERIODS)
def test_numbers_of_periods_count_on_and_turn_back(period):
    days = [dt.date(2019, 12, 20) + dt.timedelta(days=n) for n in range(3000)]
    numbers = [period_number(day, period) for day in days]
    assert {b - a for a, b in zip(numbers, numbers[1:], strict=False)} == ({1} if period == "day" else {0, 1})
    for day, n in zip(days, numbers, strict=True):
        assert period_start(n, period) <= day < period_start(n + 1, period)
    frame = nw.from_native(duckdb.connect().from_arrow(pa.table({"day": days})))
    table = frame.select("day", n=_period_expr(nw.col("day"), period)).sort("day").collect("pyarrow")
    assert table["n"].to_list() == numbers


def test_labels():
    day = dt.date(2021, 1, 1)  # a Friday of ISO week 53 of 2020
    assert [period_label(period_number(day, p), p) for p in PERIODS] == ["2021-01-01", "2020-W53", "Jan 2021", "Q1 2021", "2021"]
    assert period_label(period_number(dt.date(2021, 11, 1), "quarter"), "quarter") == "Q4 2021"


def test_titles_say_what_is_known():
    assert cohorts(ROWS, AS_OF).plot().layout.title.text == (
        "Of the 2 customers won in Jan 2024, 50.0% bought in Mar 2024")
    assert cohorts(ROWS, "2024-01-31").plot().layout.title.text == (
        "Of the 2 customers won in Jan 2024 no complete later month is known yet")


def test_the_picture_marks_partial_cells_and_stays_readable():
    text = cohorts(ROWS, AS_OF).plot().data[0].text
    assert text.tolist() == [["0%", "50%", "50%*"], ["0%*", "", ""]]
    rows = pd.DataFrame({"customer_id": [str(n) for n in range(30)], "amount": 1.0,
                         "purchased_at": pd.date_range("2024-01-01", periods=30, freq="7D")})
    many = cohorts(rows, "2024-07-23", "week").plot().data[0]  # 30 cohorts, 29 ages: no figures, only the marks
    assert {cell for line in many.text for cell in line} == {"", "*"}


def test_what_comes_before_the_first_sale_is_left_out_and_said():
    early = pd.DataFrame({"customer_id": ["c", "e"], "amount": [-5.0, -2.0],
                          "purchased_at": pd.to_datetime(["2024-01-02", "2024-01-02"])})
    result = cohorts(pd.concat([ROWS, early]), AS_OF)
    pdt.assert_frame_equal(result.frame(), cohorts(ROWS, AS_OF).frame())
    assert result.notes[-1] == "refunds before a customer's first sale left out: -7.00"
    assert "-7.00" in result._repr_html_()
    assert isinstance(result, Cohorts)


def test_one_customer():
    frame = cohorts(ROWS[:3], "2024-01-31").frame()
    assert frame[["customers", "active", "retention"]].to_numpy().tolist() == [[1, 1, 1.0]]


@pytest.mark.parametrize(("change", "as_of", "period", "error", "match"), [
    (lambda f: f.drop(columns="purchased_at"), AS_OF, "month", SchemaError, "purchases lacks purchased_at"),
    (lambda f: f.assign(amount=True), AS_OF, "month", SchemaError, "purchases.amount is Boolean"),
    (lambda f: f[:0], AS_OF, "month", SchemaError, "no rows"),
    (lambda f: f.assign(amount=-1.0), AS_OF, "month", SchemaError, "a cohort needs at least one sale"),
    (lambda f: f, "2023-12-31", "month", ParameterError, "the first row is of 2024-01-05"),
    (lambda f: f, 20240415, "month", ParameterError, "needs a day"),
    (lambda f: f, AS_OF, "hour", ParameterError, "period 'hour': allowed are day, week, month, quarter, year"),
    (lambda f: f, AS_OF, ["month"], ParameterError, "allowed are day, week, month, quarter, year"),
])
def test_bad_input(change, as_of, period, error, match):
    with pytest.raises(error, match=match):
        cohorts(change(ROWS), as_of, period)
