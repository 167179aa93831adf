"""Recency, frequency, monetary value: cases small enough to be worked out by hand."""

import datetime as dt

import duckdb
import numpy as np
import pandas as pd
import pandas.testing as pdt
import polars as pl
import pyarrow as pa
import pytest

from tenant_lab.core.errors import ParameterError, SchemaError
from tenant_lab.customers.rfm import (
    RFM,
    SEGMENT_GRID,
    SEGMENTS,
    known_purchases,
    quintile_scores,
    rfm,
    rfm_table,
    segment_names,
)

# a: two orders on one day and a refund a day later; b: one sale of nothing; c: a refund only; d: after the cut
ROWS = pd.DataFrame([
    ("a", "2024-01-01 09:00", 10.0), ("a", "2024-01-01 18:00", 5.0), ("a", "2024-01-10 12:00", 20.0),
    ("a", "2024-01-11 12:00", -8.0), ("b", "2024-01-20 23:59", 0.0), ("c", "2024-01-05 00:00", -3.0),
    ("d", "2024-02-01 00:00", 99.0)], columns=["customer_id", "purchased_at", "amount"]).astype(
        {"purchased_at": "datetime64[us]"})
AS_OF = dt.date(2024, 1, 31)
BY_HAND = pd.DataFrame({
    "customer_id": ["a", "b"], "first_purchase": pd.to_datetime(["2024-01-01", "2024-01-20"]),
    "last_purchase": pd.to_datetime(["2024-01-10", "2024-01-20"]), "recency": [21, 11], "frequency": [2, 1],
    "monetary": [27.0, 0.0]})
MAKERS = {"pandas": lambda f: f.copy(), "polars": pl.from_pandas, "polars lazy": lambda f: pl.from_pandas(f).lazy(),
          "arrow": pa.Table.from_pandas, "duckdb": lambda f: duckdb.connect().from_arrow(pa.Table.from_pandas(f))}


def table(purchases, as_of=AS_OF):
    native = rfm_table(purchases, as_of).sort("customer_id").collect("pyarrow").to_native()
    return native.to_pandas(date_as_object=False)


@pytest.mark.parametrize("kind", MAKERS)
def test_every_kind_of_frame_gives_the_table_worked_out_by_hand(kind):
    pdt.assert_frame_equal(table(MAKERS[kind](ROWS)), BY_HAND, check_dtype=False)


@pytest.mark.parametrize("kind", MAKERS)
def test_every_kind_of_frame_gives_the_same_scores(kind):
    pdt.assert_frame_equal(rfm(MAKERS[kind](ROWS), AS_OF).scores, rfm(ROWS, AS_OF).scores)


def test_input_is_unchanged():
    before = ROWS.copy(deep=True)
    rfm(ROWS, AS_OF)
    pdt.assert_frame_equal(ROWS, before)


def test_a_lazy_table_stays_in_its_engine():
    assert isinstance(rfm_table(MAKERS["duckdb"](ROWS), AS_OF).to_native(), duckdb.DuckDBPyRelation)


def test_nothing_after_the_cut_can_be_seen():
    later = pd.DataFrame({"customer_id": ["a", "e"], "purchased_at": pd.to_datetime(["2024-02-01", "2024-03-01"]),
                          "amount": [1e6, 1.0]})
    pdt.assert_frame_equal(table(pd.concat([ROWS, later])), table(ROWS))


def test_a_day_means_its_end_and_an_instant_excludes_itself():
    assert table(ROWS, "2024-02-01")["customer_id"].tolist() == ["a", "b", "d"]
    assert table(ROWS, dt.datetime(2024, 2, 1))["customer_id"].tolist() == ["a", "b"]
    assert table(ROWS, dt.datetime(2024, 2, 1, 0, 0, 1))["customer_id"].tolist() == ["a", "b", "d"]
    # recency counts from the last day of which something is known
    assert table(ROWS, dt.datetime(2024, 2, 1))["recency"].tolist() == [21, 11]


def test_a_column_of_days_is_known_once_its_day_is_over():
    days = ROWS.assign(purchased_at=ROWS["purchased_at"].dt.date)
    assert table(days, "2024-01-20")["customer_id"].tolist() == ["a", "b"]
    assert table(days, dt.datetime(2024, 1, 20, 12))["customer_id"].tolist() == ["a"]


def test_days_follow_the_time_zone_of_the_connection():
    engine = duckdb.connect()
    sql = "SELECT 'a' AS customer_id, TIMESTAMPTZ '2024-01-31 23:30:00+00' AS purchased_at, 1.0 AS amount"
    for zone, day in (("UTC", 31), ("Asia/Tokyo", 1), ("America/New_York", 31)):
        engine.execute(f"SET TimeZone = '{zone}'")
        assert table(engine.sql(sql), "2024-02-05")["last_purchase"].iloc[0].day == day
    engine.execute("SET TimeZone = 'Asia/Tokyo'")
    with pytest.raises(ParameterError, match="nothing is known before 2024-02-01 00:00:00"):
        rfm(engine.sql(sql), "2024-01-31")  # in Tokyo the purchase is of February


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_days_of_an_eager_frame_follow_its_own_time_zone(kind):
    rows = pd.DataFrame({"customer_id": ["a"], "amount": [1.0],
                         "purchased_at": pd.to_datetime(["2024-01-31 23:30:00+00:00"]).tz_convert("Asia/Tokyo")})
    frame = MAKERS[kind](rows)
    assert table(frame, "2024-02-01")["last_purchase"].tolist() == [pd.Timestamp("2024-02-01")]
    assert table(frame, "2024-01-31").empty
    assert len(table(frame, "2024-01-31T23:30:01+00:00")) == 1  # an instant with a zone is that instant


def test_kind_calls_a_free_return_a_refund():
    rows = pd.DataFrame({"customer_id": ["a", "a", "a"], "purchased_at": pd.to_datetime(["2024-01-01", "2024-01-02",
                         "2024-01-03"]), "amount": [5.0, 0.0, 0.0], "kind": ["sale", "refund", None]})
    assert table(rows)[["frequency", "recency"]].to_numpy().tolist() == [[2, 28]]


def test_equal_sums_stay_equal_whatever_the_order_of_addition():
    paid = [0.1, 0.2, 0.3]
    rows = pd.DataFrame({"customer_id": ["a"] * 3 + ["b"] * 3, "amount": paid + paid[::-1],
                         "purchased_at": pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03"] * 2)})
    assert table(rows)["monetary"].nunique() == 1


def test_quintiles_by_hand():
    assert quintile_scores([10, 20, 30, 40, 50]).tolist() == [1, 2, 3, 4, 5]
    assert quintile_scores([3, 1, 2]).tolist() == [4, 1, 2]  # strictly worse: 2/3, 0, 1/3
    assert quintile_scores([4, 4, 4]).tolist() == [1, 1, 1]


def test_scores_keep_the_rule_that_defines_them():
    rng = np.random.default_rng(3)
    for n in (1, 4, 5, 6, 11, 99, 100):
        x = rng.integers(0, 8, n)
        worse = np.array([(x < v).sum() for v in x])
        assert quintile_scores(x).tolist() == [1 + sum(5 * w >= k * n for k in (1, 2, 3, 4)) for w in worse]


@pytest.mark.parametrize("bad", [[], [1.0, np.nan], [np.inf], [[1.0]]])
def test_scores_refuse_what_has_no_rank(bad):
    with pytest.raises(ParameterError, match="all of them finite"):
        quintile_scores(bad)


def test_every_pair_of_scores_has_exactly_one_segment():
    assert [len(row) for row in SEGMENT_GRID] == [5] * 5
    assert {name for row in SEGMENT_GRID for name in row} == set(SEGMENTS) and len(set(SEGMENTS)) == len(SEGMENTS)
    r, f = np.repeat(range(1, 6), 5), np.tile(range(1, 6), 5)
    assert segment_names(r, f).tolist() == [SEGMENT_GRID[i - 1][j - 1] for i, j in zip(r, f, strict=True)]
    with pytest.raises(ParameterError, match="1 to 5"):
        segment_names([6], [1])


def test_segments_add_up_and_the_notes_say_what_is_missing():
    result = rfm(ROWS, AS_OF)
    frame = result.frame()
    assert frame["customers"].sum() == 2 and frame["share"].sum() == pytest.approx(1)
    assert frame["revenue"].sum() == 27.0 and frame["revenue_share"].sum() == pytest.approx(1)
    assert result.last_day == AS_OF
    assert result.notes == ("1 rows at or after 2024-02-01 00:00:00 left out",
                            "1 customers with refunds only (−3.00) left out")
    assert all(note in result._repr_html_() for note in result.notes)


def test_the_picture_says_the_finding():
    # b bought last (recency 2 of 2 scores), a pays everything
    result = rfm(ROWS, AS_OF)
    name = result.scores.set_index("customer_id").loc["a", "segment"]
    assert result.plot().layout.title.text == (
        f"{name.capitalize()}, 50.0% of the customers, bring 100% of the revenue")


def test_one_customer():
    result = rfm(ROWS[:3], AS_OF)
    assert result.scores[["r", "f", "m"]].to_numpy().tolist() == [[1, 1, 1]]
    assert result.frame()["revenue_share"].tolist() == [1.0]


def test_revenue_that_is_not_positive_has_no_shares_and_says_so():
    result = rfm(pd.concat([ROWS[:1], ROWS[:1].assign(amount=-50.0)]), AS_OF)
    assert result.frame()["revenue"].tolist() == [-40.0] and result.frame()["revenue_share"].isna().all()
    assert result.notes == ("revenue after refunds is not positive: it has no shares",)
    assert "not positive" in result.plot().layout.title.text


@pytest.mark.parametrize(("change", "error", "match"), [
    (lambda f: f.drop(columns="amount"), SchemaError, "purchases lacks amount"),
    (lambda f: f.drop(columns="customer_id"), SchemaError, "purchases lacks customer_id"),
    (lambda f: f.assign(amount="9"), SchemaError, "purchases.amount is String; it must be a number"),
    (lambda f: f.assign(purchased_at="2024-01-01"), SchemaError, "purchases.purchased_at is String; it must be"),
    (lambda f: f[:0], SchemaError, "no rows"),
    (lambda f: pd.DataFrame(columns=f.columns), SchemaError, "no rows"),
    (lambda f: MAKERS["duckdb"](f[:0]), SchemaError, "no rows"),
    (lambda f: f.assign(amount=f["amount"].where(f["amount"] > 0)), SchemaError, "amount: 3 rows have no usable value"),
    (lambda f: pl.from_pandas(f).with_columns(amount=pl.lit(float("nan"))), SchemaError, "amount: 7 rows"),
    (lambda f: f.assign(customer_id=[None, *f["customer_id"][1:]]), SchemaError, "customer_id: 1 rows"),
    (lambda f: f.assign(purchased_at=f["purchased_at"].where(f.index > 1)), SchemaError, "purchased_at: 2 rows"),
    (lambda f: f.assign(amount=-1.0), SchemaError, "refunds only"),
    (lambda f: [1, 2], ParameterError, "is no data frame"),
])
def test_bad_tables(change, error, match):
    with pytest.raises(error, match=match) as caught:
        rfm(change(ROWS), AS_OF)
    if "lacks" in match or "must be" in match:
        assert caught.value.column in match


@pytest.mark.parametrize("bad", [20240131, None, "31/01/2024", 3.5, pd.NaT, ["2024-01-31"]])
def test_as_of_of_a_wrong_type(bad):
    with pytest.raises(ParameterError, match="needs a day"):
        rfm_table(ROWS, bad)


def test_as_of_before_the_first_purchase():
    with pytest.raises(ParameterError, match="nothing is known before 2024-01-01 00:00:00; the first row is of 2024"):
        rfm(ROWS, "2023-12-31")


def test_known_purchases_can_be_handed_narwhals_frames():
    import narwhals as nw
    for frame in (nw.from_native(ROWS), nw.from_native(MAKERS["duckdb"](ROWS))):
        assert known_purchases(frame, AS_OF).last_day == AS_OF
        assert isinstance(rfm(frame, AS_OF), RFM)
