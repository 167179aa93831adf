"""Any frame, lazily: the same rows whatever library it came from, and days of the frame's own zone."""

import datetime as dt

import duckdb
import narwhals as nw
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tenant_lab.core.errors import ParameterError
from tenant_lab.core.frames import arrow, lazy

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
