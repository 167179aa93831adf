"""Retention: cases small enough to be worked out by hand, plain pandas beside ours, and published intervals."""

import datetime as dt

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tenant_lab.core.errors import ParameterError, SchemaError
from tenant_lab.customers.cohorts import PERIODS, cohorts
from tenant_lab.customers.retention import compare, retention, subscriber_retention

ROWS = pd.DataFrame({"customer_id": [*"aaabbcddd"], "at": pd.to_datetime([
    "2024-01-05", "2024-02-10", "2024-04-01", "2024-01-31", "2024-03-01", "2024-02-29", "2024-03-01", "2024-03-31", "2024-04-15"])})
LINES = pd.DataFrame({"customer_id": [*"aabcd"], "started_at": pd.to_datetime(["2024-01-10", "2024-03-05", "2024-01-20", "2024-02-01", "2024-02-15"]),
                      "ended_at": pd.to_datetime(["2024-02-01", None, "2024-03-10", "2024-02-01", None])})
MAKERS = {"pandas": lambda f: f.copy(), "polars": pl.from_pandas, "polars lazy": lambda f: pl.from_pandas(f).lazy(),
          "arrow": pa.Table.from_pandas, "duckdb": lambda f: duckdb.connect().from_arrow(pa.Table.from_pandas(f))}


def drawn(seed=0, n=400, rows=5_000, days=500):
    rng = np.random.default_rng(seed)
    at = pd.Timestamp("2022-03-05") + pd.to_timedelta(rng.integers(0, days * 86_400, rows), unit="s")
    return pd.DataFrame({"customer_id": rng.integers(0, n, rows), "at": at.astype("datetime64[us]"), "amount": 1.0})


@pytest.mark.parametrize("kind", MAKERS)
def test_months_by_hand(kind):
    some = retention(MAKERS[kind](ROWS), "2024-04-15")
    assert some.matrix("active").fillna(-1).astype(int).to_numpy().tolist() == [[2, 1, 1, 1], [1, 0, 0, -1], [1, 1, -1, -1]]
    assert (some.width, some.whole, some.contract) == (4, 3, False)
    assert some.frame()["partial"].sum() == 3 and some.notes == ()
    assert {("".join(map(str, row)), n) for row, n in zip(some.seen().astype(int), some.count.tolist(), strict=True)} == {("0011", 1), ("0100", 1), ("1010", 1), ("1101", 1)}
    assert some.plot().layout.title.text == "Of the 2 customers won in Jan 2024, 50.0% were there in Mar 2024"


@pytest.mark.parametrize("period", PERIODS)
def test_the_same_as_cohorts_of_purchases_at_any_grain(period):
    rows = drawn()
    theirs = cohorts(rows.rename(columns={"at": "purchased_at"}), "2023-05-10", period).frame()
    ours = retention(rows, "2023-05-10", period)
    pd.testing.assert_frame_equal(ours.frame(), theirs[list(ours.frame())])
    assert ours.notes[0].endswith("rows at or after 2023-05-11 00:00:00 left out")


def test_more_histories_than_a_batch_holds():
    rows = drawn(n=150_000, rows=400_000)
    some = retention(rows, "2023-12-31", "week")
    weeks = (rows["at"] - pd.Timestamp("2022-02-28")).dt.days // 7
    first = weeks.groupby(rows["customer_id"]).transform("min")
    plain = rows.groupby([first, weeks - first])["customer_id"].nunique()
    cells = some.frame()
    assert len(some.count) > 65_536 and some.count.sum() == rows["customer_id"].nunique()
    assert cells.loc[cells["active"] > 0, "active"].tolist() == plain.tolist()


def test_days_begin_where_the_zone_says():
    engine = duckdb.connect()
    for zone, month in (("UTC", "Jan 2024"), ("Asia/Tokyo", "Feb 2024"), ("America/New_York", "Jan 2024")):
        engine.execute(f"SET TimeZone = '{zone}'")
        some = retention(engine.sql("SELECT 'a' AS customer_id, TIMESTAMPTZ '2024-01-31 23:30:00+00' AS seen_at"), "2024-02-29", at="seen_at")
        assert some.frame()["cohort"].iloc[0] == month and some.whole == some.width


def test_dates_and_refunds():
    days = ROWS.assign(at=ROWS["at"].dt.date, kind=["sale"] * 8 + ["refund"])
    assert retention(days, "2024-04-15").matrix("active").iloc[2].tolist()[:2] == [1, 0]
    assert retention(days, dt.datetime(2024, 4, 1, 12)).matrix("active").iloc[0].tolist() == [2, 1, 1, 0]   # a day that is not over is not known


def test_subscribers_by_hand():
    some = subscriber_retention(LINES, "2024-04-30")
    assert some.matrix("active").fillna(-1).astype(int).to_numpy().tolist() == [[2, 1, 2, 1], [2, 1, 1, -1]]
    assert some.contract and some.whole == some.width == 4
    assert "were subscribed in" in some.plot().layout.title.text
    zoned = LINES.assign(**{name: LINES[name].dt.tz_localize("Europe/Paris") for name in ("started_at", "ended_at")})
    pd.testing.assert_frame_equal(subscriber_retention(zoned, "2024-04-30").frame(), some.frame())
    assert subscriber_retention(LINES, "2024-02-10", "day").frame()["active"].iloc[0] == 1


def test_some_cohorts_alone():
    some = retention(drawn(), "2023-05-10")
    names = some.frame()["cohort"].unique().tolist()
    alone = some.of(names[1])
    assert alone.count.sum() == alone.frame()["customers"].iloc[0] and set(alone.frame()["cohort"]) == {names[1]}
    assert (alone.first() == 1).all() and alone.width == some.width
    assert sum(some.of(name).count.sum() for name in names) == some.count.sum()
    with pytest.raises(ParameterError, match="there are Mar 2022 to"):
        some.of("Mar 1922")
    with pytest.raises(ParameterError, match="cohorts"):
        some.of([])


def test_a_comparison_by_hand():
    some = retention(ROWS, "2024-04-30")
    both = compare(some.of("Jan 2024"), some.of("Feb 2024"), ("January", "February"))
    assert both.frame()["first"].tolist() == [1.0, 0.5, 0.5] and both.frame()["second"].tolist() == [1.0, 0.0, 0.0]
    assert both.mean == (1.0, 0.0) and both.difference == -1.0
    assert both.notes[1] == "February: of 1 customers 0 came back, too few (or too nearly all) for the interval of the mean"
    assert len(both.plot().data) == 2


def test_comparisons_of_equals_cover_nothing_in_95_of_100():
    """Customers of two groups with the same chances, whose months hang together; 120 worlds: 95 % ± 3.3 standard errors of 2 %."""
    inside = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        there = rng.random((400, 6)) < rng.beta(0.5, 0.8, (400, 1))
        who, month = np.nonzero(np.hstack([np.ones((400, 1), bool), there]))
        rows = pd.DataFrame({"customer_id": who, "at": pd.to_datetime([f"2024-{m + 1:02d}-03" for m in range(7)]).to_numpy()[month]})
        both = compare(*(retention(rows[(rows["customer_id"] < 150) == part], "2024-07-31") for part in (True, False)))
        inside += both.low <= 0 <= both.high
    assert inside / 120 > 0.95 - 3.3 * 0.02


@pytest.mark.parametrize(("change", "as_of", "period", "error", "match"), [
    (lambda f: f.drop(columns="at"), "2024-04-15", "month", SchemaError, "activity lacks at"),
    (lambda f: f.drop(columns="customer_id"), "2024-04-15", "month", SchemaError, "activity lacks customer_id"),
    (lambda f: f.assign(at="x"), "2024-04-15", "month", SchemaError, "activity.at is String; it must be a timestamp"),
    (lambda f: f.assign(customer_id=[None, *f["customer_id"][1:]]), "2024-04-15", "month", SchemaError, "activity.customer_id: 1 rows have no value"),
    (lambda f: f.assign(at=f["at"].where(f["customer_id"] != "c")), "2024-04-15", "month", SchemaError, "activity.at: 1 rows have no value"),
    (lambda f: f[:0], "2024-04-15", "month", SchemaError, "no rows"),
    (lambda f: f, "2023-12-31", "month", ParameterError, "nothing is known before 2024-01-01"),
    (lambda f: f, "tomorrow", "month", ParameterError, "needs a day"),
    (lambda f: f, "2024-04-15", "hour", ParameterError, "period 'hour': allowed are day"),
    (lambda f: f.assign(at=f["at"].where(f["customer_id"] != "c", pd.Timestamp("1900-01-01"))), "2024-04-15", "day", ParameterError, "makes 45396 periods since the first row, of 1900-01-01"),
])
def test_bad_input(change, as_of, period, error, match):
    with pytest.raises(error, match=match):
        retention(change(ROWS), as_of, period)


def test_bad_comparisons():
    some = retention(ROWS, "2024-04-15")
    with pytest.raises(ParameterError, match="week of activity beside month"):
        compare(retention(ROWS, "2024-04-15", "week"), some)
    with pytest.raises(ParameterError, match="no whole month after its first one"):
        compare(some, some)
