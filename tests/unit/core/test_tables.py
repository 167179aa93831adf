"""The contracts hold together: what ingest, as_of and the domains take for granted."""

import duckdb
import pytest

from tenant_lab.core.errors import SchemaError
from tenant_lab.core.tables import SQL_TYPES, TABLES, Column, contract


@pytest.mark.parametrize("name", TABLES)
def test_a_contract_names_only_its_own_columns(name):
    table = contract(name)
    assert table.name == name
    assert len(set(table.names)) == len(table.names)
    assert set(table.key) <= set(table.names)
    assert all(table[k].required for k in table.key)  # SQL's joins never match null keys
    assert all(c.type in SQL_TYPES for c in table.columns)
    assert {c.known_at for c in table.columns} - {""} <= {c.name for c in table.columns if c.type == "timestamp"}
    assert all(c.type == "string" for c in table.columns if c.personal or c.pseudonym)
    assert sum(c.pseudonym for c in table.columns) <= 1
    if table.time:
        assert (table[table.time].type, table[table.time].required) == ("timestamp", True)


@pytest.mark.parametrize("name", TABLES)
def test_defaults_and_rules_are_valid_sql_over_the_columns(name):
    table, connection = contract(name), duckdb.connect()
    columns = ", ".join(f'"{c.name}" {c.sql_type}' for c in table.columns)
    connection.execute(f"CREATE TABLE t ({columns})")
    for column in table.columns:
        if column.default:
            connection.execute(f"SELECT ({column.default})::{column.sql_type} FROM t")
    for condition, advice in table.rules.values():
        assert advice
        assert connection.execute(f"SELECT NOT ({condition}) FROM t").description[0][1] == "BOOLEAN"


def test_only_the_catalogue_of_tracks_is_static():
    assert [t.name for t in TABLES.values() if not t.time] == ["tracks"]


def test_cells_that_become_known_later():
    late = {(t.name, c.name): c.known_at for t in TABLES.values() for c in t.columns if c.known_at}
    assert late == {("subscriptions", "ended_at"): "ended_at", ("subscriptions", "end_reason"): "ended_at",
                    ("experiments", "end"): "end"}


def test_what_is_personal():
    personal = {(t.name, c.name) for t in TABLES.values() for c in t.columns if c.personal}
    assert personal == {("customers", "name"), ("customers", "email")}
    ids = {t.name for t in TABLES.values() for c in t.columns if c.pseudonym}
    assert ids == {t.name for t in TABLES.values() if "customer_id" in t.names}


def test_unknown_names_list_what_there_is():
    with pytest.raises(SchemaError, match="no column 'price'.*purchased_at, amount") as caught:
        contract("purchases")["price"]
    assert (caught.value.table, caught.value.column) == ("purchases", "price")
    with pytest.raises(SchemaError, match="no contract knows the table 'orders'.*customers.*labels.*CONTRIBUTING"):
        contract("orders")


def test_sql_type():
    assert Column("x", "number").sql_type == "DOUBLE"
    assert contract("purchases")["purchased_at"].sql_type == "TIMESTAMP WITH TIME ZONE"
