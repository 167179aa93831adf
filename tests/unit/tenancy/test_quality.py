"""The contract as SQL: kinds, conversions, and the narrowest type of text."""

import duckdb
import pytest

from tenant_lab.core.errors import SchemaError
from tenant_lab.core.tables import CUSTOMERS, PURCHASES, Column
from tenant_lab.tenancy.quality import broken, column_rules, converted, kind_of, match_columns, narrowest

KINDS = {"VARCHAR": "string", "UUID": "string", "ENUM('a')": "string", "BIGINT": "integer", "UTINYINT": "integer", "INTEGER": "integer",
         "HUGEINT": "number", "DOUBLE": "number", "FLOAT": "number", "DECIMAL(18,3)": "number", "BOOLEAN": "boolean", "DATE": "date",
         "TIMESTAMP": "timestamp", "TIMESTAMP WITH TIME ZONE": "timestamp", "TIMESTAMP_NS": "timestamp", "BLOB": "binary", "JSON": "nested",
         "STRUCT(a INTEGER)": "nested", "INTEGER[]": "nested", "MAP(VARCHAR, INTEGER)": "nested", '"NULL"': "null", "TIME": "other",
         "INTERVAL": "other", "BIT": "other"}


@pytest.mark.parametrize("sql_type", KINDS)
def test_kind_of(sql_type):
    assert kind_of(sql_type) == KINDS[sql_type]


@pytest.mark.parametrize("sql_type", [t for t in KINDS if t not in ('"NULL"', "ENUM('a')")])
def test_kinds_are_those_that_duckdb_names(sql_type):
    assert kind_of(duckdb.sql(f"DESCRIBE SELECT NULL::{sql_type} AS x").fetchall()[0][1]) == KINDS[sql_type]


@pytest.mark.parametrize(("values", "kind"), [
    (["1", " -2 ", None, ""], "integer"), (["1", "2.5"], "number"), (["1.0", "2.0"], "number"), (["true", "false", "TRUE"], "boolean"),
    (["2024-01-01", "2024-01-01 10:00"], "timestamp"), (["a", "1"], "string"), ([None, ""], "string"), (["01", "2"], "string"),
    (["-007"], "string"), (["t", "f"], "string"), (["9223372036854775808"], "number"), (["0", "-0", "10"], "integer"),
    (["0.5", "-1.25"], "number"), ([".5"], "string"), (["+33612"], "string"), (["12E3"], "string"), (["1_000"], "string")])
def test_narrowest(values, kind):
    connection = duckdb.connect()
    connection.execute("CREATE TABLE t (x VARCHAR)")
    connection.executemany("INSERT INTO t VALUES (?)", [[v] for v in values])
    assert narrowest(connection, "t", ["x"]) == {"x": kind}
    assert narrowest(connection, "t", []) == {}


def check(column, sql_value, kind):
    """Converted value and broken rules of one value."""
    connection = duckdb.connect()
    connection.execute(f'CREATE VIEW v AS SELECT *, {converted(column, "raw", kind)} AS "{column.name}" FROM (SELECT {sql_value} AS raw)')
    rules = column_rules(column, "raw", kind)
    rows, duplicates, bad = broken(connection, "v", rules, ["raw"])
    assert (rows, duplicates) == (1, 0)
    return connection.sql(f'SELECT "{column.name}" FROM v').fetchall()[0][0], {rule.name for rule in bad}


@pytest.mark.parametrize(("type_", "kind", "value", "want"), [
    ("number", "string", "'1.5'", (1.5, set())), ("number", "string", "' 1.5 '", (1.5, set())), ("number", "string", "''", (None, set())),
    ("number", "string", "'x'", (None, {"type"})), ("number", "string", "'inf'", (float("inf"), {"finite"})),
    ("number", "number", "'nan'::DOUBLE", (pytest.approx(float("nan"), nan_ok=True), {"finite"})), ("number", "integer", "5", (5.0, set())),
    ("integer", "number", "5.0", (5, set())), ("integer", "number", "5.5", (6, {"whole"})), ("integer", "string", "'5.5'", (6, {"whole"})),
    ("integer", "number", "1e30", (None, {"type"})), ("boolean", "string", "'true'", (True, set())),
    ("boolean", "string", "'perhaps'", (None, {"type"})), ("string", "integer", "7", ("7", set())), ("string", "string", "''", (None, set())),
    ("string", "nested", "[1, 2]", ("[1,2]", set())), ("date", "string", "'2024-02-30'", (None, {"type"})),
    ("timestamp", "date", "DATE '0001-01-01'", (pytest.approx, set())), ("timestamp", "date", "DATE '500000-01-01'", (None, {"type"}))])
def test_conversions(type_, kind, value, want):
    got, bad = check(Column("x", type_), value, kind)
    assert bad == want[1]
    if want[0] is not pytest.approx:
        assert got == want[0]


@pytest.mark.parametrize("kind", ["string", "number", "null"])
def test_required(kind):
    value = {"string": "''", "number": "NULL::DOUBLE", "null": "NULL"}[kind]
    assert check(Column("x", "number", required=True), value, kind)[1] == {"required"}
    assert check(Column("x", "number"), value, kind)[1] == set()


def test_a_column_without_a_source():
    assert column_rules(Column("x", "number", minimum=0), None, "null") == []
    (rule,) = column_rules(Column("x", "string", required=True), None, "null")
    assert rule.name == "required"


def test_bounds_and_choices():
    column = Column("x", "number", minimum=0, maximum=1)
    assert [check(column, v, "number")[1] for v in ("0.0", "1.0", "-0.1", "1.1", "NULL::DOUBLE")] == [
        set(), set(), {"at_least"}, {"at_most"}, set()]
    assert check(Column("x", "string", allowed=("a", "it's")), "'b'", "string")[1] == {"allowed"}
    assert check(Column("x", "string", allowed=("a", "it's")), "'it''s'", "string")[1] == set()


def test_duplicates_are_counted_by_all_columns():
    connection = duckdb.connect()
    connection.execute("CREATE TABLE t AS SELECT * FROM (VALUES (1, 'a'), (1, 'a'), (1, 'b'), (NULL, 'a'), (NULL, 'a')) v(x, y)")
    assert broken(connection, "t", [], ["x", "y"]) == (5, 2, {})


def test_match_columns():
    match_columns(PURCHASES, {"customer_id": "integer", "purchased_at": "date", "amount": "null", "shop": "string"})
    with pytest.raises(SchemaError, match="did you mean 'e_mail'|joined_at is missing"):
        match_columns(CUSTOMERS, {"customer_id": "string", "e_mail": "string"})
    with pytest.raises(SchemaError, match="did you mean 'Purchased at'"):
        match_columns(PURCHASES, {"customer_id": "string", "Purchased at": "string", "amount": "number"})
    with pytest.raises(SchemaError, match="of kind number cannot be read as string id"):
        match_columns(PURCHASES, {"customer_id": "number", "purchased_at": "date", "amount": "number"})
