"""The engine by itself: its settings, its walls, its errors in the library's words, and the SQL of a cut table."""

import datetime as dt

import duckdb
import pytest

from tenant_lab.core.errors import ParameterError, StoreError, TenantAccessError
from tenant_lab.tenancy.access import confine, connect, literal, quote, scan, tables_read, translated
from tenant_lab.tenancy.store import TableVersion


def test_connect_sets_zone_memory_and_no_extensions(tmp_path):
    connection = connect("Asia/Tokyo", tmp_path / "spill", "200MB", 1)
    settings = dict(connection.execute("SELECT name, value FROM duckdb_settings()").fetchall())
    assert settings["TimeZone"] == "Asia/Tokyo" and settings["threads"] == "1"
    assert settings["temp_directory"] == str(tmp_path / "spill") and (tmp_path / "spill").is_dir()
    for name in ("autoinstall_known_extensions", "autoload_known_extensions", "allow_community_extensions", "python_enable_replacements"):
        assert settings[name] == "false", name
    rows = [(1,)]  # noqa: F841  DuckDB looks for Python variables by default
    with pytest.raises(duckdb.Error):
        connection.sql("FROM rows")


def test_confine_cannot_be_undone(tmp_path):
    inside, outside, single = tmp_path / "in", tmp_path / "out", tmp_path / "one.csv"
    inside.mkdir(), outside.mkdir()
    for path in (inside / "a.csv", outside / "a.csv", single):
        path.write_text("x\n1\n")
    connection = connect("UTC", tmp_path / "spill")
    confine(connection, [inside], [single])
    for path in (inside / "a.csv", single):
        assert connection.sql(f"FROM '{path}'").fetchall() == [(1,)]
    for text in (f"FROM '{outside}/a.csv'", "SET enable_external_access = true", "SET lock_configuration = false",
                 f"SET allowed_paths = ['{outside}/a.csv']", "RESET allowed_directories"):
        with pytest.raises(duckdb.Error):
            connection.execute(text)


@pytest.mark.parametrize("error", [duckdb.PermissionException("x"), duckdb.InvalidInputException("the configuration has been locked"),
                                   duckdb.CatalogException("but it exists in the httpfs extension")])
def test_a_wall_is_an_access_error(error):
    with pytest.raises(TenantAccessError, match="its own tables and nothing else"), translated():
        raise error


@pytest.mark.parametrize(("error", "kind"), [(duckdb.IOException("disk"), StoreError), (duckdb.OutOfMemoryException("memory"), StoreError),
                                             (duckdb.BinderException("column"), ParameterError), (ValueError("other"), ValueError)])
def test_other_errors(error, kind):
    with pytest.raises(kind), translated():
        raise error


@pytest.mark.parametrize("query", ["SELECT 1", "FROM t", "VALUES (1)", "WITH x AS (SELECT 1) FROM x", "DESCRIBE t", "SELECT 1;", "SELECT 1 -- ;"])
def test_one_select(query):
    assert tables_read(duckdb.connect(), query, ["t"]) == (["t"] if " t" in query else [])


@pytest.mark.parametrize("query", ["", ";", "SELECT 1; SELECT 2", "DELETE FROM t", "CREATE TABLE t (a INT)", "SET x = 1", "EXPLAIN SELECT 1"])
def test_nothing_but_one_select(query):
    with pytest.raises(TenantAccessError, match="one SELECT is allowed"):
        tables_read(duckdb.connect(), query, ["t"])


def test_no_sql():
    with pytest.raises(ParameterError, match="not a valid query"):
        tables_read(duckdb.connect(), "SELEKT 1", [])


@pytest.mark.parametrize("text", ["a", "it's", 'say "x"', "a''b", '"', "'", "; DROP", "é"])
def test_quoting(text):
    connection = duckdb.connect()
    assert connection.execute(f"SELECT {literal(text)} AS {quote(text)}").fetchall() == [(text,)]
    assert connection.description[0][0] == text


def test_scan_cuts_rows_and_cells(tmp_path):
    path = tmp_path / "it's.parquet"
    duckdb.sql("SELECT * FROM (VALUES ('a', TIMESTAMPTZ '2024-01-01 00:00:00Z', TIMESTAMPTZ '2024-02-01 00:00:00Z', 'r'), "
               "('b', TIMESTAMPTZ '2024-01-10 00:00:00Z', TIMESTAMPTZ '2024-01-20 00:00:00Z', 's'), "
               "('c', TIMESTAMPTZ '2024-01-31 00:00:00Z', NULL, NULL)) t(customer_id, started_at, ended_at, end_reason)").write_parquet(str(path))
    columns = {"customer_id": "string", "started_at": "timestamp", "ended_at": "timestamp", "end_reason": "string"}
    version = TableVersion("subscriptions", 0, (str(path),), columns)
    assert len(duckdb.sql(scan(version))) == 3
    cut = dt.datetime(2024, 1, 31, tzinfo=dt.UTC)
    got = duckdb.sql(f"SELECT customer_id, ended_at IS NULL, end_reason FROM ({scan(version, cut)}) ORDER BY 1").fetchall()
    assert got == [("a", True, None), ("b", False, "s")]  # c starts at the cut: not before it
    micro = duckdb.sql(scan(version, cut + dt.timedelta(microseconds=1)))
    assert len(micro) == 3
    empty = duckdb.sql(scan(TableVersion("subscriptions", 0, (), columns)))
    assert empty.columns == list(columns) and empty.fetchall() == []
