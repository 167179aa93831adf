"""The lake: versions, schema, atomic commits, and messages that say what there is."""

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError

from tenant_lab.core.errors import ParameterError, SchemaError, StoreError
from tenant_lab.tenancy.store import ARROW_TYPES, DataFile, Lake, writing

TYPES = {"customer_id": "string", "at": "timestamp", "event": "string"}


@pytest.fixture
def lake(tmp_path):
    (tmp_path / "lake").mkdir()
    return Lake(tmp_path / "lake")


def data_file(lake, name, n=2, types=TYPES, file="a"):
    folder = lake.folder / name / "part"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{file}.parquet"
    pq.write_table(pa.table({c: pa.nulls(n, ARROW_TYPES[t]) for c, t in types.items()}), path)
    return DataFile(path, n, path.stat().st_size)


def test_versions_follow_one_another(lake):
    assert lake.tables() == []
    assert [lake.commit("events", [data_file(lake, "events", file=f)], TYPES) for f in "abc"] == [0, 1, 2]
    latest = lake.at("events")
    assert (latest.name, latest.version, len(latest.files)) == ("events", 2, 3)
    assert latest.columns == TYPES
    assert all(os.path.isabs(f) and os.path.exists(f) for f in latest.files)
    assert [len(lake.at("events", v).files) for v in (0, 1, 2)] == [1, 2, 3]


def test_tables_come_in_the_order_of_the_contracts(lake):
    for name in ("plays", "customers", "events"):
        lake.commit(name, [data_file(lake, name)], TYPES)
    (lake.folder / "texts" / "_delta_log").mkdir(parents=True)  # a crash before the first commit
    (lake.folder / "not_a_contract").mkdir()
    assert lake.tables() == ["customers", "events", "plays"]


def test_added_columns_and_replacing(lake):
    lake.commit("events", [data_file(lake, "events")], TYPES)
    more = TYPES | {"n": "integer", "secret": "binary", "day": "date", "x": "number", "ok": "boolean"}
    lake.commit("events", [data_file(lake, "events", types=more, file="b")], more)
    latest = lake.at("events")
    assert latest.columns == more and len(latest.files) == 2
    version = lake.commit("events", [data_file(lake, "events", file="c")], TYPES, replace=True)
    assert lake.at("events").columns == TYPES and len(lake.at("events").files) == 1
    assert lake.at("events", latest.version).columns == more
    assert version == latest.version + 1


def test_what_is_not_there_is_named(lake):
    with pytest.raises(SchemaError, match="no contract knows the table 'orders'"):
        lake.at("orders")
    with pytest.raises(StoreError, match="no table events yet; there are none.*ingest\\('events'"):
        lake.at("events")
    lake.commit("events", [data_file(lake, "events")], TYPES)
    with pytest.raises(StoreError, match="no table plays yet; there are events"):
        lake.at("plays")
    with pytest.raises(StoreError, match="events has no version 7; there are 0 to 0"):
        lake.at("events", 7)


@pytest.mark.parametrize("version", [-1, True, "0", 1.0])
def test_a_version_is_a_whole_number(lake, version):
    lake.commit("events", [data_file(lake, "events")], TYPES)
    with pytest.raises(ParameterError, match="needs a whole number from 0"):
        lake.at("events", version)


def test_a_broken_log_is_named(lake):
    lake.commit("events", [data_file(lake, "events")], TYPES)
    (lake.folder / "events" / "_delta_log" / "00000000000000000001.json").write_text("no json")
    with pytest.raises(StoreError, match="the log of table events cannot be read"):
        lake.at("events")


def test_a_conflict_says_that_nothing_was_written(lake, monkeypatch):
    lake.commit("events", [data_file(lake, "events")], TYPES)

    def conflict(*_, **__):
        raise CommitFailedError("somebody was first")
    monkeypatch.setattr(DeltaTable, "create_write_transaction", conflict)
    with pytest.raises(StoreError, match="changed by another process meanwhile; nothing was written"):
        lake.commit("events", [data_file(lake, "events", file="b")], TYPES)
    assert lake.at("events").version == 0


@pytest.mark.parametrize("name", ["with space", "é 日本", "a#b", "it's", "a&b=c", "a+b"])
def test_the_lake_may_lie_in_any_folder(tmp_path, name):
    lake = Lake(tmp_path / name / "lake")
    lake.folder.mkdir(parents=True)
    lake.commit("events", [data_file(lake, "events")], TYPES)
    lake.commit("events", [data_file(lake, "events", file="b")], TYPES)
    assert lake.tables() == ["events"]
    assert set(lake.at("events").files) == {str(p) for p in lake.folder.rglob("*.parquet")}


def test_staging_is_empty_and_goes_away(tmp_path):
    with writing(tmp_path, "events") as staging:
        assert os.listdir(staging) == []
        (staging / "x").write_text("x")
    assert not staging.exists()
    staging.mkdir()
    (staging / "left by a crash").write_text("x")
    with pytest.raises(RuntimeError), writing(tmp_path, "events") as staging:
        assert os.listdir(staging) == []
        raise RuntimeError
    assert not staging.exists()


def test_the_lock_is_held_and_let_go(tmp_path):
    import fcntl
    with writing(tmp_path, "events"):
        descriptor = os.open(tmp_path / "staging" / "events.lock", os.O_RDWR)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with writing(tmp_path, "plays"):
            pass  # another table waits for nobody
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)
