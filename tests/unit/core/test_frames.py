"""Any frame, lazily: the same rows whatever library it came from, and days of the frame's own zone."""

import datetime as dt

import duckdb
import narwhals as nw
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tenant_lab.core.errors import ParameterError, SchemaError
from tenant_lab.core.frames import arrow, instant_like, lazy, together

PANDAS = pd.DataFrame({"id": ["a", "b", "c"], "x": [1.5, None, -2.0]})
MAKERS = {
    "pandas": lambda: PANDAS.copy(), "polars": lambda: pl.from_pandas(PANDAS), "polars lazy": lambda: pl.from_pandas(PANDAS).lazy(),
    "arrow": lambda: pa.Table.from_pandas(PANDAS), "duckdb": lambda: duckdb.connect().from_arrow(pa.Table.from_pandas(PANDAS)),
    "narwhals": lambda: nw.from_native(PANDAS), "narwhals lazy": lambda: nw.from_native(pl.from_pandas(PANDAS).lazy())}


@pytest.mark.parametrize("kind", MAKERS)
def test_every_kind_gives_the_same_rows(kind):
    frame = lazy(MAKERS[kind]())
    assert isinstance(frame, nw.LazyFrame)
    got = frame.with_columns(y=nw.col("x") * 2).sort("id").collect("pyarrow").to_native().to_pylist()
    assert got == [{"id": "a", "x": 1.5, "y": 3.0}, {"id": "b", "x": None, "y": None}, {"id": "c", "x": -2.0, "y": -4.0}]


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow", "narwhals"])
def test_eager_frames_become_arrow(kind):
    assert arrow(MAKERS[kind]()).column("x").to_pylist() == [1.5, None, -2.0]


@pytest.mark.parametrize("frame", [None, [1, 2], {"a": [1]}, "text", 5])
def test_what_is_no_frame(frame):
    with pytest.raises(ParameterError, match="is no data frame; give a pandas"):
        lazy(frame)


@pytest.mark.parametrize("values", [["a", 1], [1, "a"]])
def test_mixed_types_are_named_as_such(values):
    with pytest.raises(ParameterError, match="a column mixes types"):
        arrow(pd.DataFrame({"id": values}))


def test_a_column_twice_is_named():
    with pytest.raises(ParameterError, match="amount"):
        arrow(pd.DataFrame([[1, 2]], columns=["amount", "amount"]))


@pytest.mark.parametrize(("zone", "day"), [("Asia/Tokyo", 2), ("America/Los_Angeles", 1), ("UTC", 1)])
def test_days_are_those_of_the_frames_zone(zone, day):
    at = pa.array([dt.datetime(2024, 1, 1, 20, tzinfo=dt.UTC)], pa.timestamp("us", zone))
    frame = lazy(pa.table({"at": at})).select(day=nw.col("at").dt.day())
    assert frame.collect("pyarrow").to_native()["day"].to_pylist() == [day]


def test_two_zones_are_read_in_utc():
    at = dt.datetime(2024, 1, 1, 20, tzinfo=dt.UTC)
    table = pa.table({"a": pa.array([at], pa.timestamp("us", "Asia/Tokyo")), "b": pa.array([at], pa.timestamp("us", "Europe/Paris"))})
    frame = lazy(table).select(a=nw.col("a").dt.hour(), b=nw.col("b").dt.hour())
    assert frame.collect("pyarrow").to_native().to_pylist() == [{"a": 20, "b": 20}]


def test_an_unexpected_error_is_passed_on(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("elsewhere")
    monkeypatch.setattr("narwhals.from_native", broken)
    with pytest.raises(RuntimeError, match="elsewhere"):
        arrow(PANDAS)


def test_an_index_is_no_column():
    mixed = PANDAS.sample(frac=1, random_state=0)
    assert arrow(mixed).column_names == ["id", "x"] and arrow(mixed)["id"].to_pylist() == mixed["id"].tolist()
    assert sorted(arrow(PANDAS.set_index("id")).column_names) == ["id", "x"]   # one with a name is
    assert arrow(nw.from_native(mixed)).column_names == ["id", "x"]


def test_frames_of_one_engine_stay_there():
    """Relations of one connection are joined there; of two, or of two libraries, copies are."""
    engine, x = duckdb.connect(), pa.table({"id": ["a", "b"], "x": [1, 2]})
    one, two, alien = (nw.from_native(con.from_arrow(x)) for con in (engine, engine, duckdb.connect()))
    assert together(one, two) == [one, two]
    polars = nw.from_native(pl.from_arrow(x).lazy())
    assert together(polars, polars) == [polars, polars]
    for other in (alien, polars):
        left, right = together(one, other)
        assert left.join(right, on="id").sort("id").collect("pyarrow")["x_right"].to_list() == [1, 2]


def test_an_instant_fits_its_column():
    schema = nw.from_native(pa.table({"at": pa.array([], pa.timestamp("us", "Europe/Paris")), "wall": pa.array([], pa.timestamp("us")), "n": pa.array([], pa.int64())})).schema
    assert instant_like("2024-01-01", schema, "wall", "events") == dt.datetime(2024, 1, 2)
    assert instant_like("2024-01-01", schema, "at", "events").utcoffset() == dt.timedelta(hours=1)
    with pytest.raises(SchemaError, match=r"events\.n is Int64; it must be a timestamp"):
        instant_like("2024-01-01", schema, "n", "events")
    with pytest.raises(SchemaError, match="events lacks when"):
        instant_like("2024-01-01", schema, "when", "events")
