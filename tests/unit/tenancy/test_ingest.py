"""Ingest with real files and frames: what is read, what is refused and in which words, and what is stored."""

import datetime as dt
import decimal
import gzip
import json
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tenant_lab import Lab
from tenant_lab.core.errors import ParameterError, SchemaError, StoreError

HEAD = "customer_id,purchased_at,amount"
PARIS = ZoneInfo("Europe/Paris")


@pytest.fixture
def tenant():
    return Lab.open().create_tenant("aurora", time_zone="Europe/Paris")


@pytest.fixture
def file(tmp_path):
    def write(name, *lines, encoding="utf-8", data=None, end="\n"):
        path = tmp_path / "sources" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = (end.join(lines) + end).encode(encoding) if data is None else data
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path
    return write


def frame(**columns):
    base = {"customer_id": ["a", "b"], "purchased_at": ["2024-01-01", "2024-01-02"], "amount": [1.0, 2.0]}
    return pd.DataFrame(base | columns)


def rows(tenant, what="*", table="purchases", order="ALL"):
    return tenant.sql(f"SELECT {what} FROM {table} ORDER BY {order}").fetchall()


def refused(tenant, source, *words, table="purchases", rule=None, column=None, **options):
    """The `SchemaError` of this ingest, which names all of `words` and leaves everything as it was."""
    before = tenant.snapshot()
    with pytest.raises(SchemaError) as caught:
        tenant.ingest(table, source, **options)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert rule is None or caught.value.rule == rule
    assert column is None or caught.value.column == column
    assert tenant.snapshot() == before
    staging = tenant.folder / "staging"
    assert [p for p in staging.glob("*/*") if p.parent.name != "spill"] == []
    return caught.value


# ---- CSV ----
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["a.csv", "a.CSV", "a.tsv", "a.txt", "a.csv.gz"])
def test_csv_of_any_make(tenant, file, separator, end, name):
    lines = [HEAD + ",shop", 'a,2024-01-01,1.5,"Rue ""X"""', "b,2024-01-02,2,Nice"]
    result = tenant.ingest("purchases", file(name, *(line.replace(",", separator) for line in lines), end=end))
    assert (result.rows, result.duplicates, result.rejected, result.version) == (2, 0, 0, 0)
    assert rows(tenant, "amount, shop", order="amount") == [(1.5, 'Rue "X"'), (2.0, "Nice")]
    assert {r[0] for r in rows(tenant, "customer_id")} == {tenant.pseudonym("a"), tenant.pseudonym("b")}


def test_quoted_separators_and_line_ends(tenant, file):
    tenant.ingest("purchases", file("a.csv", HEAD + ",shop", 'a,2024-01-01,1,"x, y\nz"', "b,2024-01-01,2,\"\""))
    assert rows(tenant, "shop", order="amount") == [("x, y\nz",), (None,)]


def test_the_first_quote_may_come_late(tenant, file):
    lines = [f"{i},2024-01-01,1,Nice" for i in range(25_000)]
    tenant.ingest("purchases", file("a.csv", HEAD + ",shop", *lines, 'z,2024-01-01,2,"a, ""b"""'))
    assert rows(tenant, "count(*), max(shop) FILTER (WHERE amount = 2)") == [(25_001, 'a, "b"')]


@pytest.mark.parametrize("lines", [["#1,2024-01-01,1", "2,2024-01-01,2", "#3,2024-01-02,3"], ["1,2024-01-01,1", "2,2024-01-01,2", "#3,2024-01-02,3"],
                                   ["#1,2024-01-01,1", "#2,2024-01-01,2", "#3,2024-01-02,3"]])
def test_a_hash_begins_an_id_and_no_comment(tenant, file, lines):
    tenant.ingest("purchases", file("a.csv", HEAD, *lines))
    assert {r[0] for r in rows(tenant, "customer_id")} == {tenant.pseudonym(line.split(",")[0]) for line in lines}


def test_an_apostrophe_is_no_quote(tenant, file):
    tenant.ingest("purchases", file("a.csv", HEAD + ",shop", *(f"{i},2024-01-01,1,'Chez Léa'" for i in range(30))))
    assert set(rows(tenant, "shop")) == {("'Chez Léa'",)}


def test_byte_order_mark_and_blank_lines(tenant, file):
    tenant.ingest("purchases", file("a.csv", HEAD, "a,2024-01-01,1", "", "b,2024-01-01,2", "", encoding="utf-8-sig"))
    assert rows(tenant, "amount") == [(1.0,), (2.0,)]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16", "utf-8-sig", "UTF_8"])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_encoding_is_said(tenant, file, encoding, name):
    path = file(name, HEAD + ",shop", "a,2024-01-01,1,Café Zoë", encoding=encoding)
    tenant.ingest("purchases", path, encoding=encoding)
    assert rows(tenant, "shop") == [("Café Zoë",)]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16"])
def test_encoding_is_asked_for(tenant, file, encoding):
    refused(tenant, file("a.csv", HEAD + ",shop", "a,2024-01-01,1,Café", encoding=encoding), "a.csv", "encoding='cp1252'")


def test_a_wrong_or_unknown_encoding(tenant, file):
    path = file("a.csv", HEAD + ",shop", "a,2024-01-01,1,Café")
    refused(tenant, path, "a.csv is not ascii text", "0xc3", encoding="ascii")
    refused(tenant, path, "'klingon' is unknown", "cp1252", encoding="klingon")


@pytest.mark.parametrize("line", ["b,2024-01-02", "b,2024-01-02,2,extra", 'b,2024-01-02,"2'])
def test_ragged_rows(tenant, file, line):
    many = [f"a{i},2024-01-01,1" for i in range(50)]
    refused(tenant, file("a.csv", HEAD, *many, line), "a.csv cannot be read as csv")


def test_a_broken_line_shows_no_personal_value(tenant, file):
    lines = [f"a{i},2024-01-01,person{i}@example.org" for i in range(50)]
    error = refused(tenant, file("a.csv", "customer_id,joined_at,email", *lines, "b,2024-01-01,secret@example.org,x"), table="customers")
    assert "example.org" not in str(error)


def test_header_only(tenant, file):
    refused(tenant, file("a.csv", HEAD), "purchases: the source has no rows", rule="empty")


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.jsonl"])
def test_zero_bytes(tenant, file, name):
    refused(tenant, file(name, data=b""), f"{name} is empty (0 bytes)")


def test_a_missing_file_or_folder(tenant, tmp_path):
    refused(tenant, tmp_path / "nowhere.csv", "there is no file", "nowhere.csv")
    refused(tenant, str(tmp_path), "there is no file")


@pytest.mark.parametrize("name", ["a.xlsx", "a", "a.gz", "a.csv.zip"])
def test_unknown_kind_of_file(tenant, file, name):
    refused(tenant, file(name, HEAD), "unknown kind of file", ".csv, .tsv", ".parquet")


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.jsonl", "a.csv.gz"])
def test_binary_noise(tenant, file, tmp_path, name):
    path = file("x.csv", data=np.random.default_rng(0).bytes(5000)).rename(tmp_path / "sources" / name)
    refused(tenant, path, name)


def test_noise_named_gz_in_another_encoding(tenant, tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(b"no gzip at all")
    refused(tenant, path, "a.csv.gz", encoding="latin-1")


@pytest.mark.parametrize("name", ["sales [1].csv", "sales*.csv", "sales?.csv", "it's.csv", "a{b,c}.csv", "é 日.csv", "sales%20x.csv"])
def test_any_file_name(tenant, file, name):
    if name == "sales*.csv":
        file("sales decoy.csv", HEAD, "z,2024-01-01,99")
    tenant.ingest("purchases", file(name, HEAD, "a,2024-01-01,1"))
    assert rows(tenant, "amount") == [(1.0,)]


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_a_folder_named_like_a_partition_adds_nothing(tenant, file, kind):
    path = file(f"year=2024/kind=refund/a.{kind}", HEAD, "a,2024-01-01,1")
    if kind == "parquet":
        pq.write_table(pa.Table.from_pandas(frame()), path)
    if kind == "jsonl":
        path.write_text('{"customer_id": "a", "purchased_at": "2024-01-01", "amount": 1}\n')
    tenant.ingest("purchases", path)
    assert "year" not in tenant.lake.at("purchases").columns
    assert set(rows(tenant, "kind")) == {("sale",)}


# ---- Parquet and JSON ----
def test_parquet(tenant, file):
    path = file("a.parquet", data=b"x")
    pq.write_table(pa.Table.from_pandas(frame(shop=["x", None])), path)
    tenant.ingest("purchases", path)
    assert rows(tenant, "amount, shop") == [(1.0, "x"), (2.0, None)]


def test_parquet_cut_short_or_corrupt(tenant, file):
    path = file("a.parquet", data=b"x")
    rng = np.random.default_rng(1)
    pq.write_table(pa.Table.from_pandas(pd.DataFrame({"customer_id": [f"c{i}" for i in range(20_000)], "purchased_at": "2024-01-01",
                                                      "amount": rng.random(20_000)})), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:3000])
    refused(tenant, path, "a.parquet cannot be read as parquet")
    path.write_bytes(whole[:1000] + b"\xff" * 50_000 + whole[51_000:])
    refused(tenant, path, "a.parquet")


def test_json_lines(tenant, file):
    lines = ['{"customer_id": "a", "purchased_at": "2024-01-01", "amount": 1.5, "tags": {"k": [1, null, "é"]}, "late": null}', "",
             '{"amount": "2", "customer_id": 7, "purchased_at": "2024-01-02T10:00:00Z"}',
             '{"customer_id": "007", "purchased_at": "2024-01-03", "amount": 3, "late": true}']
    for name in ("a.jsonl", "a.ndjson", "a.json", "a.jsonl.gz"):
        tenant.ingest("purchases", file(name, *lines), mode="replace")
        got = rows(tenant, "customer_id, amount, tags, late", order="amount")
        assert [g[0] for g in got] == [tenant.pseudonym(i) for i in ("a", 7, "007")]
        assert [g[1] for g in got] == [1.5, 2.0, 3.0]
        assert json.loads(got[0][2]) == {"k": [1, None, "é"]} and got[1][2] is None
        assert [g[3] for g in got] == [None, None, True]


def test_a_key_that_appears_late_is_not_lost(tenant, file):
    lines = [json.dumps({"customer_id": str(i), "purchased_at": "2024-01-01", "amount": 1}) for i in range(30_000)]
    lines.append(json.dumps({"customer_id": "z", "purchased_at": "2024-01-01", "amount": 1, "shop": "Nice"}))
    tenant.ingest("purchases", file("a.jsonl", *lines))
    assert rows(tenant, "count(shop), count(*)") == [(1, 30_001)]


@pytest.mark.parametrize("line", ['{"customer_id": "b", "email": "secret@example.org"', "{not json}", '{"customer_id": }'])
def test_a_broken_json_line(tenant, file, line):
    error = refused(tenant, file("a.jsonl", '{"customer_id": "a", "joined_at": "2024-01-01", "email": "secret@example.org"}', line),
                    "a.jsonl cannot be read as json", table="customers")
    assert "secret" not in str(error)


def test_a_json_array_is_no_json_lines(tenant, file):
    refused(tenant, file("a.json", '[{"customer_id": "a", "purchased_at": "2024-01-01", "amount": 1.5}]'), "customer_id is missing")


def test_latin_1_json(tenant, file):
    path = file("a.jsonl", '{"customer_id": "a", "purchased_at": "2024-01-01", "amount": 1, "shop": "Café"}', encoding="latin-1")
    tenant.ingest("purchases", path, encoding="latin-1")
    assert rows(tenant, "shop") == [("Café",)]


# ---- frames ----
MAKERS = {"pandas": lambda f: f, "polars": pl.from_pandas, "arrow": pa.Table.from_pandas,
          "duckdb": lambda f: duckdb.connect().from_arrow(pa.Table.from_pandas(f))}


@pytest.mark.parametrize("kind", MAKERS)
def test_every_kind_of_frame(tenant, kind):
    tenant.ingest("purchases", MAKERS[kind](frame(shop=["x", None])))
    assert rows(tenant, "amount, quantity, shop, kind") == [(1.0, 1, "x", "sale"), (2.0, 1, None, "sale")]


def test_a_pandas_index_is_left_out(tenant):
    tenant.ingest("purchases", frame().set_index(pd.Index([5, 6], name=None)).iloc[::-1])
    assert list(tenant.lake.at("purchases").columns) == [
        "customer_id", "purchased_at", "amount", "quantity", "order_id", "product_id", "currency", "kind"]


@pytest.mark.parametrize("source", [None, 5, ["a"], {"customer_id": ["a"]}])
def test_what_is_no_frame(tenant, source):
    refused(tenant, source, "is no data frame; give a pandas")


def test_a_mixed_column_and_a_column_twice(tenant):
    for ids in (["a", 1], [1, "a"]):
        refused(tenant, frame(customer_id=ids), "mixes types")
    twice = frame()
    twice.insert(3, "amount", [5.0, 6.0], allow_duplicates=True)
    refused(tenant, twice, "amount")


def test_decimals_categories_and_large_integers(tenant):
    table = pa.table({"customer_id": pa.array([2**63, 5], pa.uint64()), "purchased_at": ["2024-01-01"] * 2,
                      "amount": [decimal.Decimal("1.25"), decimal.Decimal("-2.50")],
                      "currency": pa.array(["EUR", "USD"]).dictionary_encode()})
    tenant.ingest("purchases", table)
    assert rows(tenant, "amount, currency, kind", order="amount") == [(-2.5, "USD", "refund"), (1.25, "EUR", "sale")]
    assert {r[0] for r in rows(tenant, "customer_id")} == {tenant.pseudonym(2**63), tenant.pseudonym(5)}


# ---- ids ----
def test_an_integer_id_is_its_text_and_leading_zeros_stay(tenant, file):
    tenant.ingest("purchases", frame(customer_id=[7, 8]))
    tenant.ingest("purchases", file("a.csv", HEAD, "7,2024-01-01,1", "007,2024-01-01,1"))
    tenant.ingest("purchases", frame(customer_id=["7", "007"]))
    counts = dict(tenant.sql("SELECT customer_id, count(*) FROM purchases GROUP BY 1").fetchall())
    assert counts == {tenant.pseudonym("7"): 3, tenant.pseudonym("007"): 2, tenant.pseudonym(8): 1}


def test_ids_of_another_type_are_refused(tenant):
    for ids in ([1.0, 2.0], [True, False], [dt.date(2024, 1, 1)] * 2):
        refused(tenant, frame(customer_id=ids), "purchases.customer_id", "give one of integer, string", rule="type")


@pytest.mark.parametrize("missing", [None, ""])
def test_a_missing_id(tenant, missing):
    error = refused(tenant, frame(customer_id=["a", missing]), "1 of 2 rows", "must have a value", rule="required", column="customer_id")
    assert (error.count, error.rows[0]["row"]) == (1, 2)


def test_odd_ids_in_the_lake_are_pythons_pseudonyms(tenant):
    ids = ["é", "日本語", "🎵" * 30, "x" * 5000, "a\0b", "a'b\"c", " a ", "\n", "0"]
    tenant.ingest("purchases", pd.DataFrame({"customer_id": ids, "purchased_at": "2024-01-01", "amount": range(len(ids))}))
    assert [r[0] for r in rows(tenant, "customer_id", order="amount")] == [tenant.pseudonym(i) for i in ids]


# ---- time ----
def stored_times(tenant):
    return [r[0].astimezone(dt.UTC) for r in rows(tenant, "purchased_at", order="amount")]


@pytest.mark.parametrize("kind", ["text", "csv", "pandas", "polars", "s", "ms", "us", "ns"])
def test_naive_times_are_read_in_the_tenants_zone(tenant, file, kind):
    naive = [dt.datetime(2024, m, d, 12, 30) for m, d in ((1, 15), (3, 30), (3, 31), (7, 1), (10, 26), (10, 27), (12, 31))]
    texts = [t.isoformat(sep=" ") for t in naive]
    source = {"text": texts, "pandas": pd.to_datetime(texts)}.get(kind, naive)
    data = {"customer_id": "a", "purchased_at": source, "amount": range(7)}
    if kind == "csv":
        made = file("a.csv", HEAD, *(f"a,{t},{i}" for i, t in enumerate(texts)))
    elif kind == "polars":
        made = pl.DataFrame(data | {"customer_id": ["a"] * 7, "amount": list(range(7))})
    elif kind in ("text", "pandas"):
        made = pd.DataFrame(data)
    else:
        made = pa.table({"customer_id": ["a"] * 7, "purchased_at": pa.array(naive, pa.timestamp(kind)), "amount": range(7)})
    tenant.ingest("purchases", made)
    assert stored_times(tenant) == [t.replace(tzinfo=PARIS).astimezone(dt.UTC) for t in naive]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_zoned_times_keep_their_instant(tenant, unit):
    at = dt.datetime(2024, 7, 1, 12, tzinfo=ZoneInfo("America/New_York"))
    tenant.ingest("purchases", pa.table({"customer_id": ["a"], "amount": [1.0],
                                         "purchased_at": pa.array([at], pa.timestamp(unit, "America/New_York"))}))
    assert stored_times(tenant) == [at.astimezone(dt.UTC)]


def test_texts_with_an_offset_and_days(tenant, file):
    tenant.ingest("purchases", file("a.csv", HEAD, "a,2024-07-01T12:00:00Z,0", "a,2024-07-01 12:00:00+05:30,1", "a,2024-07-01,2", "a, 2024-07-01 ,3"))
    day = dt.datetime(2024, 7, 1, tzinfo=PARIS).astimezone(dt.UTC)
    assert stored_times(tenant) == [dt.datetime(2024, 7, 1, 12, tzinfo=dt.UTC), dt.datetime(2024, 7, 1, 6, 30, tzinfo=dt.UTC), day, day]


@pytest.mark.parametrize("make", [lambda: [dt.date(2024, 7, 1)], lambda: pa.array([dt.date(2024, 7, 1)], pa.date64())])
def test_a_date_is_the_start_of_the_tenants_day(tenant, make):
    tenant.ingest("purchases", pa.table({"customer_id": ["a"], "purchased_at": make(), "amount": [1.0]}))
    assert stored_times(tenant) == [dt.datetime(2024, 7, 1, tzinfo=PARIS).astimezone(dt.UTC)]


def test_an_hour_that_does_not_exist_moves_on(tenant, file):
    """02:30 on the day of the change to summer time, read with the offset before it (PEP 495, fold = 0)."""
    tenant.ingest("purchases", file("a.csv", HEAD, "a,2024-03-31 02:30,1"))
    assert stored_times(tenant) == [dt.datetime(2024, 3, 31, 2, 30, tzinfo=PARIS).astimezone(dt.UTC)]


@pytest.mark.parametrize("text", ["01/02/2024", "2024-02-30", "yesterday", "infinity", "20240101", "2024-01-01 25:00"])
def test_what_is_no_time(tenant, file, text):
    error = refused(tenant, file("a.csv", HEAD, "a,2024-01-01,1", f"b,{text},2"), "purchases.purchased_at", text, "1 of 2", column="purchased_at")
    assert error.rule in ("type", "finite")
    assert error.rows == [{"row": 2, "purchased_at": text}]


def test_a_date_beyond_the_calendar_is_not_silently_lost(tenant):
    days = pa.array([200_000_000], pa.int32()).cast(pa.date32())  # in the year 549 554
    refused(tenant, pa.table({"customer_id": ["a"], "purchased_at": days, "amount": [1.0]}), "purchased_at")


# ---- values ----
def test_wrong_types_are_named(tenant, file):
    refused(tenant, frame(amount=["1", "x"]), "purchases.amount", "1 of 2 rows", "must be a number", "row 2: amount = 'x'", rule="type")
    refused(tenant, frame(amount=[True, False]), "of kind boolean cannot be read as number", rule="type")
    refused(tenant, frame(quantity=["1", "1.5"]), "must be a whole number", rule="whole")
    refused(tenant, frame(quantity=[1.0, 1.5]), "must be a whole number", rule="whole")
    refused(tenant, frame(quantity=[1, -1]), "must be at least 0", rule="at_least")
    refused(tenant, frame(kind=["sale", "gift"]), "must be one of sale, refund", "gift", rule="allowed")
    refused(tenant, frame(birth_year=[2000, 2101], joined_at=["2024-01-01"] * 2), "must be at most 2100", table="customers", rule="at_most")
    refused(tenant, file("a.csv", "customer_id;purchased_at;amount", "a;2024-01-01;1,5"), "'1,5'", rule="type")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_amounts_are_finite(tenant, file, value):
    data = {"customer_id": ["a"], "purchased_at": ["2024-01-01"], "amount": [value]}
    for source in (pl.DataFrame(data), pa.table(data), file("a.csv", HEAD, f"a,2024-01-01,{value}")):
        refused(tenant, source, "purchases.amount", column="amount", rule="finite")
    refused(tenant, pd.DataFrame(data), column="amount")  # pandas' NaN is a missing value


def test_a_missing_amount(tenant):
    refused(tenant, frame(amount=[1.0, None]), "must have a value", rule="required", column="amount")


@pytest.mark.parametrize("quantity", [["y", "1"], [True, False], ["1", "9" * 30]])
def test_a_default_takes_the_place_of_missing_values_only(tenant, quantity):
    """`quantity` has a default of 1: a value that cannot be read is not a missing one."""
    refused(tenant, frame(quantity=quantity), "quantity", column="quantity", rule="type")
    tenant.ingest("purchases", frame(quantity=[None, "3"]))
    assert rows(tenant, "quantity", order="amount") == [(1,), (3,)]


def test_zero_stays_and_negative_is_a_refund(tenant):
    tenant.ingest("purchases", frame(amount=[0.0, -5.0]))
    tenant.ingest("purchases", frame(amount=[0.0, -5.0], kind=["refund", "refund"]))
    assert rows(tenant, "amount, kind") == [(-5.0, "refund"), (-5.0, "refund"), (0.0, "refund"), (0.0, "sale")]


def test_a_kind_against_its_amount(tenant):
    refused(tenant, frame(amount=[-1.0, 2.0], kind=["sale"] * 2), "a negative amount is a refund", "1 of 2", rule="sale_not_negative")
    refused(tenant, frame(amount=[-1.0, 2.0], kind=["refund"] * 2), "a refund's amount is negative", rule="refund_not_positive")


def test_a_subscription_ends_after_its_start(tenant):
    table = pd.DataFrame({"customer_id": ["a", "b"], "started_at": "2024-02-01", "ended_at": [None, "2024-01-01"], "plan": "p", "monthly_price": 5})
    refused(tenant, table, "cannot end before it starts", "1 of 2", table="subscriptions", rule="ends_after_start")


def test_text_codes_are_not_mangled(tenant, file):
    """A column beyond the contract becomes a number only where its text says no more than the number."""
    tenant.ingest("purchases", file("a.csv", HEAD + ",phone,sku,zip,under,n,x,flag", "a,2024-01-01,1,+33612,12E3,01000,1_000,12,1.5,true",
                                    "b,2024-01-01,2,+33613,13E3,75001,2_000,-7,2,false"))
    got = rows(tenant, "phone, sku, zip, under, n, x, flag", order="amount")
    assert got == [("+33612", "12E3", "01000", "1_000", 12, 1.5, True), ("+33613", "13E3", "75001", "2_000", -7, 2.0, False)]


# ---- columns ----
def test_a_missing_column_and_its_near_match(tenant):
    refused(tenant, frame().rename(columns={"customer_id": "Customer_ID"}), "column customer_id is missing", "did you mean 'Customer_ID'",
            "rename={'Customer_ID': 'customer_id'}", rule="missing", column="customer_id")
    error = refused(tenant, frame().drop(columns="amount"), "column amount is missing; the source has customer_id, purchased_at")
    assert "did you mean" not in str(error)


def test_a_table_that_no_contract_knows(tenant):
    refused(tenant, frame(), "no contract knows the table 'orders'", "purchases", table="orders")


def test_rename(tenant):
    source = frame(shop=["x", "y"], Rubbish=["r", "s"]).rename(columns={"amount": "Total (EUR)"})
    refused(tenant, source, "column amount is missing")
    result = tenant.ingest("purchases", source, rename={"Total (EUR)": "amount", "Rubbish": None})
    assert result.added == ()
    assert "Rubbish" not in tenant.lake.at("purchases").columns
    assert rows(tenant, "amount, shop") == [(1.0, "x"), (2.0, "y")]
    refused(tenant, source, "rename: the source has no column 'total'; it has customer_id", rename={"total": "amount"})


def test_rename_never_lets_one_column_hide_another(tenant):
    refused(tenant, frame(net=[10.0, 20.0]), "amount", "net", rename={"net": "amount"})
    tenant.ingest("purchases", frame(net=[10.0, 20.0]), rename={"net": "amount", "amount": None})
    assert rows(tenant, "amount") == [(10.0,), (20.0,)]


def test_additional_columns(tenant):
    tenant.ingest("purchases", frame())
    result = tenant.ingest("purchases", frame(shop=["x", None], n=[1, 2], ok=[True, False], when=[dt.date(2024, 1, 1)] * 2))
    assert result.added == ("shop", "n", "ok", "when")
    types = tenant.lake.at("purchases").columns
    assert [types[c] for c in result.added] == ["string", "integer", "boolean", "date"]
    tenant.ingest("purchases", frame(n=[None, None]))
    assert rows(tenant, "count(*), count(shop), count(n), count(ok)") == [(6, 1, 2, 2)]
    assert tenant.sql("SELECT count(*) FROM purchases").fetchall() == [(6,)]
    refused(tenant, frame(n=["1", "2"]), "purchases.n is stored as integer and comes as string", "rename={'n': …}", rule="type", column="n")
    refused(tenant, frame(n=[1.5, 2.0]), "stored as integer and comes as number", rule="type")


def test_every_version_can_be_read_also_the_one_that_only_adds_a_column(tenant):
    tenant.ingest("purchases", frame())
    tenant.ingest("purchases", frame(shop=["x", "y"]))
    for version in range(tenant.snapshot()["purchases"] + 1):
        assert len(tenant.table("purchases", version)) in (2, 4)


def test_a_stored_column_from_text(tenant, file):
    tenant.ingest("purchases", file("a.csv", HEAD + ",n", "a,2024-01-01,1,5"))
    tenant.ingest("purchases", file("a.csv", HEAD + ",n", "a,2024-01-01,1,"))
    refused(tenant, file("a.csv", HEAD + ",n", "a,2024-01-01,1,A5"), "purchases.n", "must be an integer", rule="type")
    assert rows(tenant, "n") == [(5,), (None,)]


@pytest.mark.parametrize("name", ["Shop", "a shop", "é", "x" * 64, "1a", "a-b"])
def test_names_of_additional_columns(tenant, name):
    refused(tenant, frame(**{name: [1, 2]}), "needs a name of a-z, 0-9 and _", "None} to leave it out", rule="name")


@pytest.mark.parametrize("name", ["row", "broken", "bad", "id", "source", "ids", "pseudonym", "good", "select", "raw", "file_row_number", "filename"])
def test_no_name_collides_with_our_own(tenant, file, name):
    lines = [f"{HEAD},{name}", "a,2024-01-01,1,7", "b,2024-01-01,-1,8", "c,2024-01-01,x,9"]
    result = tenant.ingest("purchases", file("a.csv", *lines), bad_rows="quarantine")
    assert rows(tenant, f'"{name}"') == [(7,), (8,)]
    kept = pd.read_parquet(result.quarantine)
    assert len(kept) == 1 and "must be a number" in str(kept.iloc[0].tolist()) and "9" in [str(v) for v in kept.iloc[0]]
    refused(tenant, file("a.csv", f"{HEAD},{name},kind", "a,2024-01-01,-1,7,sale"), "a negative amount is a refund")


def test_types_that_the_lake_does_not_store(tenant):
    refused(tenant, pa.Table.from_pandas(frame()).append_column("t", pa.array([dt.time(1)] * 2)), "column t has a type that the lake does not store")


def test_nested_and_empty_additional_columns(tenant):
    table = pa.Table.from_pandas(frame()).append_column("tags", pa.array([["x"], None])).append_column("nothing", pa.nulls(2))
    tenant.ingest("purchases", table)
    assert rows(tenant, "tags, nothing", order="amount") == [('["x"]', None), (None, None)]


def test_additional_personal_columns_are_sealed(tenant):
    tenant.ingest("purchases", frame(phone=["0612secret", None]), personal=("phone",))
    assert tenant.lake.at("purchases").columns["phone"] == "binary"
    data = tenant.table("purchases").order("amount").df()
    assert b"0612secret" not in bytes(data["phone"][0])
    assert tenant.reveal(data[:1], "purchases")["phone"].tolist() == ["0612secret"]
    refused(tenant, frame(phone=["1", "2"]), "purchases.phone is stored sealed; pass personal=('phone',)")
    refused(tenant, frame(), "personal: the source has no column 'phone'", personal=("phone",))
    tenant.ingest("purchases", frame(phone=["1", "2"]), personal=["phone"])
    tenant.ingest("purchases", frame())
    assert rows(tenant, "count(*), count(phone)") == [(6, 3)]


def test_replace_does_not_open_a_sealed_column(tenant):
    tenant.ingest("purchases", frame(phone=["0612secret", None]), personal=("phone",))
    refused(tenant, frame(phone=["0613secret", "x"]), "phone", mode="replace")


# ---- rows that break a rule ----
def test_personal_values_are_masked_in_messages(tenant):
    source = pd.DataFrame({"customer_id": ["a", "b"], "joined_at": ["2024-01-01", "never"], "name": ["Ada Secret", "Bob Secret"]})
    error = refused(tenant, source, "never", table="customers")
    assert "Secret" not in str(error) + str(error.rows)
    phones = frame(amount=[-1.0, 2.0], kind=["sale"] * 2, phone=["0612secret"] * 2)
    error = refused(tenant, phones, "a negative amount", personal=("phone",))
    assert "0612secret" not in str(error) + str(error.rows)


def test_quarantine(tenant, file):
    source = pd.DataFrame({"customer_id": ["raw-a", "raw-b", "raw-c"], "joined_at": ["2024-01-01", "never", "2024-01-03"],
                           "birth_year": ["1990", "1991", "1700"], "country": ["FR"] * 3, "name": ["Ada Secret", "Bob Secret", "Cy Secret"],
                           "phone": ["061secret"] * 3})
    result = tenant.ingest("customers", source, bad_rows="quarantine", personal=("phone",))
    assert (result.rows, result.rejected) == (1, 2)
    kept = pd.read_parquet(result.quarantine).sort_values("row number")
    assert kept["row number"].tolist() == [2, 3]
    assert kept["broken rules"].tolist() == ["joined_at: must be a timestamp", "birth_year: must be at least 1900"]
    assert list(kept.columns) == ["row number", "broken rules", "joined_at", "birth_year", "country"]
    data = (tenant.folder / "quarantine").glob("*")
    assert all(b"secret" not in p.read_bytes().lower() and b"raw-" not in p.read_bytes() for p in data)
    again = tenant.ingest("customers", source.assign(customer_id=["raw-d", "raw-e", "raw-f"]), bad_rows="quarantine", personal=("phone",))
    assert again.quarantine != result.quarantine
    assert tenant.ingest("purchases", frame(), bad_rows="quarantine").quarantine == ""


def test_several_rules_at_once_and_all_rows_bad(tenant):
    result = tenant.ingest("purchases", frame(amount=["x", "2"], quantity=["y", "1"]), bad_rows="quarantine")
    assert pd.read_parquet(result.quarantine)["broken rules"].tolist() == ["amount: must be a number; quantity: must be an integer"]
    refused(tenant, frame(amount=["x", "y"]), "all 2 rows break a rule", "must be a number", bad_rows="quarantine")


def test_only_the_first_bad_rows_are_shown(tenant):
    source = pd.DataFrame({"customer_id": "a", "purchased_at": "2024-01-01", "amount": ["1"] * 10 + [f"bad{i}" for i in range(1200)]})
    error = refused(tenant, source, "1,200 of 1,210 rows")
    assert error.count == 1200
    assert [r["row"] for r in error.rows] == [11, 12, 13, 14, 15]


def test_a_refused_batch_stores_nothing_and_is_recorded(tenant):
    refused(tenant, frame(amount=["x", "1"]), "must be a number")
    assert tenant.tables() == []
    last = list(tenant._lab.audit.read("aurora"))[-1]
    assert (last["action"], last["table"], last["error"], last["rule"]) == ("ingest refused", "purchases", "SchemaError", "type")
    assert "x" not in last


# ---- duplicates, keys and modes ----
def people(ids, **columns):
    return pd.DataFrame({"customer_id": list(ids), "joined_at": "2024-01-01", **columns})


def test_equal_purchases_are_counted_and_kept(tenant):
    source = pd.concat([frame(), frame(), frame()])
    result = tenant.ingest("purchases", source)
    assert (result.rows, result.duplicates) == (6, 4)
    assert rows(tenant, "count(*)") == [(6,)]


def test_equal_customers_are_counted_and_dropped(tenant):
    result = tenant.ingest("customers", people("aabb", country=["FR", "FR", "DE", "DE"], name=["Ada", "Ada", None, None]))
    assert (result.rows, result.duplicates) == (2, 2)


def test_a_key_with_two_values_is_refused(tenant):
    error = refused(tenant, people("aab", country=["FR", "DE", "DE"]), "1 keys", "different values", table="customers", rule="key")
    assert error.count == 1
    refused(tenant, people("aa", name=["Ada", "Eda"]), "different values", table="customers", rule="key")


def test_stored_keys_are_not_appended_twice(tenant):
    tenant.ingest("customers", people("ab"))
    error = refused(tenant, people("bc"), "1 keys", "stored already", "mode='upsert'", table="customers", rule="key")
    assert error.count == 1
    tenant.ingest("customers", people("cd"))
    assert rows(tenant, "count(*), count(DISTINCT customer_id)", table="customers") == [(4, 4)]


def test_upsert(tenant):
    tenant.ingest("customers", people("ab", country=["FR", "DE"], name=["Ada", "Bob"], tier=["x", "y"]))
    result = tenant.ingest("customers", people("bc", country=["IT", "ES"], name=["Bea", None]), mode="upsert")
    assert result.version == 1
    got = {r[0]: r[1:] for r in rows(tenant, "customer_id, country, tier", table="customers")}
    assert got == {tenant.pseudonym("a"): ("FR", "x"), tenant.pseudonym("b"): ("IT", None), tenant.pseudonym("c"): ("ES", None)}
    opened = tenant.reveal(tenant.sql("FROM customers WHERE name IS NOT NULL").df(), "customers")
    assert sorted(opened["name"]) == ["Ada", "Bea"]
    assert tenant.table("customers", version=0).shape[0] == 2


def test_upsert_by_two_columns_and_without_a_key(tenant):
    variants = pd.DataFrame({"experiment": "e", "start": "2024-01-01", "unit": "customer", "variant": ["a", "b"], "planned_share": 0.5,
                             "is_control": [True, False], "primary_metric": "m", "direction": "increase"})
    tenant.ingest("experiments", variants)
    tenant.ingest("experiments", variants[1:].assign(planned_share=0.25), mode="upsert")
    assert rows(tenant, "variant, planned_share", table="experiments") == [("a", 0.5), ("b", 0.25)]
    with pytest.raises(ParameterError, match="purchases has no key; use append or replace"):
        tenant.ingest("purchases", frame(), mode="upsert")


def test_replace(tenant):
    tenant.ingest("purchases", frame(shop=["x", "y"]))
    result = tenant.ingest("purchases", frame(amount=[5.0, 6.0], n=[1, 2]), mode="replace")
    assert rows(tenant, "amount, n") == [(5.0, 1), (6.0, 2)]
    assert "shop" not in tenant.lake.at("purchases").columns
    assert tenant.table("purchases", version=0).columns[-1] == "shop"
    assert result.version == 1
    tenant.ingest("purchases", frame(n=["a", "b"]), mode="replace")
    assert rows(tenant, "n") == [("a",), ("b",)]
    assert [r[0] for r in tenant.table("purchases", version=1).project("n").order("n").fetchall()] == [1, 2]


@pytest.mark.parametrize(("option", "value"), [("mode", "overwrite"), ("mode", None), ("bad_rows", "drop")])
def test_options_are_checked(tenant, option, value):
    with pytest.raises(ParameterError, match=f"{option} {value!r}: allowed are"):
        tenant.ingest("purchases", frame(), **{option: value})
    assert tenant.tables() == []


def test_the_result_can_be_shown(tenant):
    result = tenant.ingest("purchases", frame())
    assert result.frame().loc[0, ["table", "version", "rows"]].tolist() == ["purchases", 0, 2]
    assert "2 rows stored in purchases, version 0" in result.plot().layout.title.text
    assert result.bytes == sum(p.stat().st_size for p in tenant.lake.folder.rglob("*.parquet"))
    assert "IngestResult" in result._repr_html_()


def test_an_impossible_memory_limit_says_so(tenant, monkeypatch):
    monkeypatch.setenv("TENANT_LAB_MEMORY_LIMIT", "a lot")
    with pytest.raises(ParameterError, match="memory_limit = 'a lot'"):
        Lab.open().tenant("aurora").ingest("purchases", frame())


def test_too_little_memory_stores_nothing(tenant, monkeypatch):
    monkeypatch.setenv("TENANT_LAB_MEMORY_LIMIT", "1MB")
    with pytest.raises(StoreError, match="nothing was stored"):
        Lab.open().tenant("aurora").ingest("purchases", pd.DataFrame({"customer_id": np.arange(200_000), "purchased_at": "2024-01-01", "amount": 1.0}))
    assert tenant.tables() == []


def test_a_source_with_columns_called_row_and_broken_can_be_set_aside(tenant):
    source = pd.DataFrame({"customer_id": ["a", "b"], "purchased_at": ["2024-01-01", "never"], "amount": [1, 2], "row": [7, 8], "broken": ["x", "y"]})
    result = tenant.ingest("purchases", source, bad_rows="quarantine")
    kept = pd.read_parquet(result.quarantine)
    assert kept[["row number", "row", "broken"]].values.tolist() == [[2, "8", "y"]]
    assert tenant.sql("SELECT row, broken FROM purchases").fetchall() == [(7, "x")]
