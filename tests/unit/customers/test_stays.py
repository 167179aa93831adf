import datetime as dt

import duckdb
import pandas as pd
import polars as pl
import pytest

from tenant_lab.core.errors import ParameterError, SchemaError
from tenant_lab.customers.stays import stays


def line(customer, start, end=None, **more):
    return {"customer_id": customer, "started_at": pd.Timestamp(start), "ended_at": pd.Timestamp(end) if end else pd.NaT, **more}


def test_lines_that_follow_or_overlap_are_one_stay():
    lines = pd.DataFrame([line("a", "2024-03-01", "2024-04-01", plan="c"), line("a", "2024-01-01", "2024-02-01", plan="a"), line("a", "2024-01-15", "2024-02-29 12:00", plan="b")])
    found = stays(lines, "2024-12-31")
    assert found["duration"].tolist() == [91.0] and found["event"].tolist() == [1] and found["plan"].tolist() == ["a"]
    assert stays(lines, "2024-12-31", gap=0.25)["duration"].tolist() == [59.5, 31.0]


def test_a_long_line_hides_the_gaps_of_short_ones():
    lines = pd.DataFrame([line("a", "2024-01-01", "2024-12-01", end_reason="x"), line("a", "2024-02-01", "2024-02-02", end_reason="y"), line("a", "2024-06-01", "2024-06-02", end_reason="y")])
    found = stays(lines, "2024-12-31")
    assert found["duration"].tolist() == [335.0] and found["end_reason"].tolist() == ["x"]


def test_what_ends_or_starts_later_is_not_known():
    lines = pd.DataFrame([line("a", "2024-01-01", "2024-02-01", end_reason="cancelled"), line("b", "2024-03-01")])
    found = stays(lines, "2024-01-31")
    assert found["customer_id"].tolist() == ["a"] and found["event"].tolist() == [0] and found["end_reason"].isna().all()
    assert found["duration"].tolist() == [31.0]
    assert stays(lines, "2024-02-01")["event"].tolist() == [1]


def test_stays_do_not_depend_on_who_holds_the_table():
    lines = pd.DataFrame([line("a", "2024-01-01", "2024-02-01", plan="p"), line("a", "2024-02-01", plan="q"), line("b", "2024-01-05", "2024-01-06", plan="q")])
    lines["started_at"], lines["ended_at"] = (lines[c].dt.tz_localize("Europe/Paris") for c in ("started_at", "ended_at"))
    expected = stays(lines, "2024-03-31", unit="month")
    assert expected["duration"].tolist() == pytest.approx([(91 - 1 / 24) / 30.4375, 1 / 30.4375])   # the last day of March has 23 hours
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'Europe/Paris'")
    for frame in (pl.from_pandas(lines), pl.from_pandas(lines).lazy(), connection.from_df(lines)):
        assert stays(frame, "2024-03-31", unit="month")["duration"].tolist() == pytest.approx(expected["duration"].tolist())


@pytest.mark.parametrize(("change", "message"), [
    ({"started_at": "2024-01-01"}, "must be a timestamp"), ({"customer_id": None}, "customer_id: 1 rows have no value"),
    ({"started_at": pd.NaT}, "started_at: 1 rows have no value"), ({"ended_at": pd.Timestamp("2023-01-01")}, "end before they start")])
def test_bad_lines(change, message):
    with pytest.raises(SchemaError, match=message):
        stays(pd.DataFrame([line("a", "2024-01-01") | change]).astype({"ended_at": "datetime64[us]"}), "2024-06-30")


def test_bad_arguments_of_stays():
    lines = pd.DataFrame([line("a", "2024-01-01", "2024-02-01")])
    with pytest.raises(ParameterError, match="unit"):
        stays(lines, "2024-06-30", unit="year")
    with pytest.raises(ParameterError, match="gap"):
        stays(lines, "2024-06-30", gap=-1)
    with pytest.raises(ParameterError, match="no subscription had started"):
        stays(lines, dt.date(2023, 12, 31))


def test_ends_of_no_type_and_of_another_zone():
    lines = pd.DataFrame([line("a", "2024-01-01"), line("b", "2024-02-01")])
    assert stays(lines.assign(ended_at=None), "2024-06-30")["event"].tolist() == [0, 0]
    with pytest.raises(SchemaError, match="give both one"):
        stays(lines.assign(started_at=lines["started_at"].dt.tz_localize("UTC")), "2024-06-30")


def test_what_the_first_line_does_not_say_is_missing():
    lines = pd.DataFrame([line("a", "2024-01-01", "2024-02-01", plan=None), line("a", "2024-02-01", plan="later")])
    assert stays(lines, "2024-06-30")["plan"].isna().all()


def test_a_customer_that_is_no_number():
    frame = pl.DataFrame({"customer_id": [1.0, float("nan")], "started_at": [dt.datetime(2024, 1, 1)] * 2, "ended_at": [dt.datetime(2024, 2, 1)] * 2})
    with pytest.raises(SchemaError, match="customer_id: 1 rows have no value"):
        stays(frame, "2024-06-30")


def test_columns_of_any_name_beside_those_needed():
    lines = pd.DataFrame({"customer_id": ["a", "b"], "started_at": pd.to_datetime(["2024-01-01", "2024-02-01"]), "ended_at": pd.to_datetime(["2024-03-01", None])})
    named = lines.assign(END=1, Stay=2, Before=3, period=4)
    pd.testing.assert_frame_equal(stays(named, "2024-06-30"), stays(lines, "2024-06-30"))
