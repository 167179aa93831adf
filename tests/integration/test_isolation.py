"""A tenant's query reads its own tables and nothing else: hostile ways, each tried, refused, recorded and without a trace."""

import base64
import json
import os
import pickle
import re

import duckdb
import pandas as pd
import pytest

from tenant_lab import Lab
from tenant_lab.core.errors import ParameterError, TenantAccessError
from tenant_lab.tenancy.keys import derive, read_key_file, unwrap

ROWS = pd.DataFrame({"customer_id": ["ada", "bob", "ada"], "purchased_at": ["2024-01-01", "2024-01-02", "2024-01-03"],
                     "amount": [1.0, 2.0, 4.0]})
PEOPLE = pd.DataFrame({"customer_id": ["ada", "bob"], "joined_at": ["2024-01-01"] * 2, "name": ["Planted Lovelace", "Planted Kahn"],
                       "email": ["planted.lovelace@example.org", None]})


class World:
    """Two tenants and what lies around them."""

    def __init__(self, folder):
        self.folder = folder
        self.lab = Lab.open()
        self.mine, self.other = (self.lab.create_tenant(name) for name in ("mine", "other"))
        for tenant in (self.mine, self.other):
            tenant.ingest("purchases", ROWS)
            tenant.ingest("customers", PEOPLE)
        self.lake, self.others_lake = self.mine.lake.folder, self.other.lake.folder
        (folder / "outside").mkdir()
        (folder / "outside" / "link").symlink_to(self.others_lake)
        (folder / "outside" / "secret.csv").write_text("a\n1\n")
        duckdb.connect(str(folder / "outside" / "base.duckdb")).execute("CREATE TABLE t AS SELECT 1 AS a")
        self.places = {"lake": self.lake, "other": self.others_lake, "file": self.other.lake.at("purchases").files[0],
                       "outside": folder / "outside", "home": self.lab.home, "key": folder / "master.key",
                       "log": self.lake / "purchases" / "_delta_log" / "00000000000000000001.json"}

    def sql(self, text):
        return re.sub(r"<(\w+)>", lambda m: str(self.places[m[1]]), text)

    def listing(self):
        """Every file with its size and time, but the audit log; and what stands in the working folder."""
        files = [p for p in self.folder.rglob("*") if p.is_file() and p.name != "audit.jsonl"]
        return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in files} | {n: None for n in os.listdir()}


def make_world(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TENANT_LAB_HOME", str(folder / "home"))
        patch.setenv("TENANT_LAB_KEY_FILE", str(folder / "master.key"))
        world = World(folder)
    world.mine.sql("FROM purchases")
    world.untouched = world.listing()
    return world


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    return [make_world(tmp_path_factory.mktemp("world"))]


@pytest.fixture
def world(worlds, tmp_path_factory):
    """One world for all tests, as long as none leaves a trace in it."""
    yield worlds[-1]
    if worlds[-1].listing() != worlds[-1].untouched:
        worlds.append(make_world(tmp_path_factory.mktemp("world")))


def reads_as_before(world):
    for tenant in (world.mine, world.lab.tenant("mine"), world.other):
        assert tenant.sql("SELECT count(*), sum(amount) FROM purchases").fetchall() == [(3, 7.0)]
        assert tenant.table("customers").shape == (2, 9)


# where a reason is given, it is why the query is no valid SQL at all: nothing was there to refuse
READS = {
    "other's file": "FROM '<file>'",
    "other's file by read_parquet": "FROM read_parquet('<file>')",
    "other's file by parquet_scan": "FROM parquet_scan(['<file>'])",
    "other's file up and down": "FROM read_parquet('<lake>/../../other/lake/purchases/*/*.parquet')",
    "other's file up from a table": "FROM read_parquet('<lake>/purchases/../../../other/lake/purchases/*/*.parquet')",
    "all tenants by glob": "FROM read_parquet('<home>/tenants/*/lake/purchases/*/*.parquet')",
    "names by glob": "FROM glob('<home>/**')",
    "a sibling of which the name begins alike": "FROM glob('<lake>2/*')",
    "through a symbolic link": "FROM read_parquet('<outside>/link/purchases/*/*.parquet')",
    "the other's log": "FROM read_json('<other>/purchases/_delta_log/00000000000000000000.json')",
    "passwd by read_text": "FROM read_text('/etc/passwd')",
    "passwd by read_csv": "FROM read_csv('/etc/passwd', header = false)",
    "passwd by read_blob": "FROM read_blob('/etc/passwd')",
    "passwd by read_json": "FROM read_json('/etc/passwd')",
    "passwd by read_ndjson_objects": "FROM read_ndjson_objects('/etc/passwd')",
    "passwd by parquet_scan": "FROM parquet_scan('/etc/passwd')",
    "passwd by sniff_csv": "FROM sniff_csv('/etc/passwd')",
    "passwd as a file address": "FROM read_text('file:///etc/passwd')",
    "passwd in a subquery": "SELECT * FROM purchases WHERE amount = (SELECT count(*) FROM read_text('/etc/passwd'))",
    "passwd in a CTE": "WITH x AS MATERIALIZED (FROM read_text('/etc/passwd')) SELECT 1 FROM x",
    "passwd in a join": "SELECT * FROM purchases, read_text('/etc/passwd')",
    "the environment": "FROM read_text('/proc/self/environ')",
    "the memory map": "FROM read_text('/proc/self/maps')",
    "standard input": "FROM read_csv('/dev/stdin')",
    "the master key": "FROM read_text('<key>')",
    "the wrapped key": "FROM read_text('<home>/tenants/mine/key.json')",
    "the audit log": "FROM read_text('<home>/audit.jsonl')",
    "metadata of the other's file": "FROM parquet_metadata('<file>')",
    "schema of the other's file": "FROM parquet_schema('<file>')",
    "keys of the other's file": "FROM parquet_kv_metadata('<file>')",
    "a data base file": "FROM '<outside>/base.duckdb'",
    "read_duckdb": "FROM read_duckdb('<outside>/base.duckdb')",
    "sqlite scanner": "FROM sqlite_scan('/etc/passwd', 't')",
    "delta scanner": "FROM delta_scan('<other>/purchases')",
    "iceberg scanner": "FROM iceberg_scan('<other>/purchases')",
    "query()": "FROM query('FROM read_text(''/etc/passwd'')')",
    "query_table()": "FROM query_table('/etc/passwd.csv')",
    "serialised SQL": "FROM json_execute_serialized_sql(json_serialize_sql('FROM read_text(''/etc/passwd'')'))",
    "http": "FROM read_csv('http://127.0.0.1:9/x.csv')",
    "https": "FROM 'https://127.0.0.1:9/x.parquet'",
    "s3": "FROM read_parquet('s3://bucket/x.parquet')",
    "a logging switch": "FROM enable_logging()",
    "installed extensions": "SELECT * FROM duckdb_extensions()",
}
INVALID = {
    "COPY TO in a CTE of a subquery": "SELECT * FROM (WITH x AS (COPY (SELECT 1 AS a) TO '<lake>/evil.csv') FROM x)",
    "getenv": "SELECT getenv('HOME')",
    "postgres scanner": "FROM postgres_scan('host=127.0.0.1', 'public', 't')",
    "a Python variable": "FROM ROWS",
    "a Python variable by query()": "FROM query('FROM ROWS')",
    "a path as a column": "SELECT content FROM (VALUES ('/etc/passwd')) t(p), read_text(p)",
    "a pointer": "FROM arrow_scan(1, 2, 3)",
    "import as a function": "FROM import_database('<outside>')",
}
STATEMENTS = {
    "ATTACH": "ATTACH '<outside>/base.duckdb'",
    "ATTACH inside": "ATTACH '<lake>/new.duckdb'",
    "INSTALL": "INSTALL httpfs",
    "LOAD": "LOAD '<outside>/evil.duckdb_extension'",
    "COPY TO outside": "COPY (FROM customers) TO '<outside>/stolen.csv'",
    "COPY TO inside": "COPY (FROM customers) TO '<lake>/purchases/evil.parquet'",
    "COPY TO in a CTE, outside": "WITH x AS (COPY (SELECT 1 AS a) TO '<outside>/stolen.csv') FROM x",
    "COPY TO in a CTE, inside": "WITH x AS (COPY (SELECT 1 AS a) TO '<lake>/purchases/evil.parquet') FROM x",
    "COPY TO in a CTE, over the log": "WITH x AS (COPY (SELECT 'no json' AS a) TO '<log>' (FORMAT csv)) FROM x",
    "COPY FROM": "COPY purchases FROM '/etc/passwd'",
    "EXPORT": "EXPORT DATABASE '<lake>/export'",
    "IMPORT": "IMPORT DATABASE '<outside>'",
    "SET": "SET enable_external_access = true",
    "SET directories": "SET allowed_directories = ['/']",
    "RESET": "RESET lock_configuration",
    "PRAGMA": "PRAGMA enable_external_access = true",
    "PRAGMA of a list": "PRAGMA database_list",
    "SECRET": "CREATE SECRET s (TYPE s3, KEY_ID 'a', SECRET 'b')",
    "two statements": "SELECT 1; COPY (SELECT 1) TO '<outside>/stolen.csv'",
    "a statement behind a comment": "SELECT 1 -- ;\n; ATTACH '<outside>/base.duckdb'",
    "EXPLAIN ANALYZE": "EXPLAIN ANALYZE COPY (SELECT 1) TO '<outside>/stolen.csv'",
    "PREPARE": "PREPARE p AS COPY (SELECT 1) TO '<outside>/stolen.csv'",
    "EXECUTE": "EXECUTE p",
    "CALL": "CALL enable_logging()",
    "a macro": "CREATE MACRO count(x) AS 42",
    "a view": "CREATE VIEW spy AS FROM '<file>'",
    "a table": "CREATE TABLE t AS FROM purchases",
    "INSERT": "INSERT INTO purchases FROM purchases",
    "DELETE": "DELETE FROM purchases",
    "DROP": "DROP VIEW purchases",
    "a variable": "SET VARIABLE x = 1",
    "CHECKPOINT": "CHECKPOINT",
    "VACUUM": "VACUUM",
    "USE": "USE memory",
    "nothing": " -- nothing",
}


def refusals(world):
    return [line for line in world.lab.audit.read("mine") if line["action"] == "refused"]


@pytest.mark.parametrize("way", [*READS, *STATEMENTS])
def test_a_hostile_query_is_refused_recorded_and_leaves_no_trace(world, way):
    query, before, lines = world.sql((READS | STATEMENTS)[way]), world.listing(), len(refusals(world))
    with pytest.raises(TenantAccessError):
        world.mine.sql(query).fetchall()
    assert world.listing() == before
    assert [line["query"] for line in refusals(world)[lines:]] == [query]
    reads_as_before(world)


@pytest.mark.parametrize("way", INVALID)
def test_what_is_no_query_at_all_is_no_way_either(world, way):
    before = world.listing()
    with pytest.raises((ParameterError, TenantAccessError)):
        world.mine.sql(world.sql(INVALID[way])).fetchall()
    assert world.listing() == before
    reads_as_before(world)


def test_a_bound_path_is_refused(world):
    with pytest.raises(TenantAccessError):
        world.mine.sql("FROM read_text($path)", path="/etc/passwd")


@pytest.mark.parametrize("query", [None, 5, b"SELECT 1", ["SELECT 1"]])
def test_a_query_is_a_text(world, query):
    with pytest.raises(ParameterError, match="a query is a text"):
        world.mine.sql(query)


def test_a_lone_surrogate_is_no_valid_query(world):
    with pytest.raises(ParameterError):
        world.mine.sql("SELECT '\ud800'")


@pytest.mark.parametrize("way", ["FROM read_parquet('<lake>/purchases/*/*.parquet')", "FROM glob('<lake>/**')"])
def test_the_past_cannot_be_read_around(world, way):
    """At an instant before everything, not even the tenant's own files give a row."""
    with pytest.raises(TenantAccessError):
        assert world.mine.as_of("2020-01-01").sql(world.sql(way)).fetchall() == []


# ---- the relation's own methods reach the connection: the walls are DuckDB's there, and stay up ----
RELATION = [w for w in READS if w not in ("a logging switch",)] + [
    "ATTACH", "LOAD", "INSTALL", "COPY TO outside", "COPY TO in a CTE, outside", "COPY FROM", "IMPORT", "SET", "SET directories",
    "RESET", "PRAGMA", "SECRET", "EXPLAIN ANALYZE"]


@pytest.mark.parametrize("way", RELATION)
def test_the_relations_connection_is_behind_the_same_walls(world, way):
    relation, before = world.mine.table("purchases"), world.listing()
    with pytest.raises(duckdb.Error):
        relation.query("mine", world.sql((READS | STATEMENTS)[way])).fetchall()
    assert world.listing() == before
    reads_as_before(world)


@pytest.mark.parametrize("method", ["to_parquet", "to_csv", "write_parquet", "write_csv"])
@pytest.mark.parametrize("place", ["<outside>/stolen", "<other>/purchases/evil.parquet", "<home>/evil"])
def test_a_relation_writes_nothing_outside(world, method, place):
    before = world.listing()
    with pytest.raises(duckdb.Error, match="file system operations are disabled"):
        getattr(world.mine.table("purchases"), method)(world.sql(place))
    assert world.listing() == before


@pytest.mark.parametrize("statement", [
    "CREATE TABLE purchases AS SELECT 1 AS amount", "CREATE TEMP VIEW purchases AS SELECT 1 AS amount",
    "CREATE TEMP TABLE purchases AS SELECT 1 AS amount", "CREATE MACRO sum(x) AS 42", "CREATE MACRO count(x) AS 42"])
def test_what_one_relation_makes_does_not_change_the_next_query(tmp_path, statement):
    world = World(tmp_path)
    world.mine.table("purchases").query("mine", statement)
    reads_as_before(world)


# ---- not vacuous: DuckDB itself would have allowed these ----
@pytest.mark.parametrize("way", ["other's file", "other's file up and down", "all tenants by glob", "names by glob", "through a symbolic link",
                                 "the other's log", "passwd by read_text", "passwd by read_csv", "passwd by sniff_csv", "the environment",
                                 "the master key", "metadata of the other's file", "query()", "serialised SQL", "a data base file",
                                 "COPY TO outside", "COPY TO in a CTE, outside", "ATTACH"])
def test_a_plain_duckdb_allows_it(world, way):
    connection = duckdb.connect()
    connection.execute("CREATE TABLE purchases AS SELECT 1.0 AS amount; CREATE TABLE customers AS SELECT 1 AS a")
    try:
        connection.execute(world.sql((READS | STATEMENTS)[way]))
    finally:
        (world.folder / "outside" / "stolen.csv").unlink(missing_ok=True)


# ---- secrets ----
def test_no_secret_lies_in_any_file(world):
    master = read_key_file(world.folder / "master.key")
    secrets = {b"Planted": "a personal value", b"planted.": "a personal value", b"example.org": "a personal value"}
    keys = {"master key": master, "derived wrapping key": derive(master, "wrapping")}
    for name in ("mine", "other"):
        wrapped = json.loads((world.lab.home / "tenants" / name / "key.json").read_text())["wrapped"]
        data = unwrap(master, wrapped)
        keys |= {f"data key of {name}": data, f"field key of {name}": derive(data, "fields"),
                 f"pseudonym key of {name}": derive(data, "pseudonyms")}
    for what, key in keys.items():
        secrets |= {key: what, base64.b64encode(key): what, base64.urlsafe_b64encode(key): what, key.hex().encode(): what}
    world.mine.reveal(world.mine.table("customers").df(), "customers")
    world.mine.pseudonym("ada")
    files = [p for p in world.lab.home.rglob("*") if p.is_file()]
    assert len(files) > 10 and world.lab.audit.path in files
    for path in files:
        data = path.read_bytes()
        assert [what for secret, what in secrets.items() if secret in data] == [], path


def test_raw_ids_lie_in_no_data_file(tmp_path):
    world = World(tmp_path)
    ids = [f"raw-id-{i}-planted" for i in range(50)]
    rows = pd.DataFrame({"customer_id": [*ids, "raw-id-bad-planted"], "purchased_at": "2024-01-01", "amount": ["1"] * 50 + ["x"]})
    world.mine.ingest("purchases", rows, bad_rows="quarantine")
    for path in (p for p in world.lab.home.rglob("*") if p.is_file()):
        assert b"planted" not in path.read_bytes(), path


def test_the_sealed_column_opens_for_its_tenant_only(world):
    frame = world.mine.table("customers").df()
    opened = world.mine.reveal(frame, "customers")
    assert sorted(opened["name"]) == ["Planted Kahn", "Planted Lovelace"]
    assert set(opened["email"].dropna()) == {"planted.lovelace@example.org"}
    assert all(isinstance(v, bytes | bytearray) for v in frame["name"])  # the given frame is unchanged
    with pytest.raises(TenantAccessError):
        world.other.reveal(frame, "customers")


def test_the_same_customer_has_another_name_at_every_tenant(world):
    mine, other = (set(t.table("purchases").df()["customer_id"]) for t in (world.mine, world.other))
    assert mine == {world.mine.pseudonym("ada"), world.mine.pseudonym("bob")}
    assert not mine & other


def test_nothing_printed_or_pickled_holds_a_key(world):
    master = read_key_file(world.folder / "master.key")
    tenant, keys = world.lab.tenant("mine"), world.lab.tenant("mine")._keys
    tenant.pseudonym("ada")  # its keys are loaded now
    texts = [repr(o) + str(o) + repr(vars(o)) for o in (world.lab, tenant, tenant.as_of("2024-01-01"))] + [repr(keys) + str(keys)]
    pickled = pickle.dumps(world.lab)
    for thing in (tenant, tenant.as_of("2024-01-01"), keys):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(thing)
    for secret in (master, derive(master, "wrapping")):
        for text in texts:
            assert base64.b64encode(secret).decode() not in text and secret.hex() not in text and repr(secret) not in text
        assert secret not in pickled and base64.b64encode(secret) not in pickled
