"""Labs and tenants: how they open, what they say, pinned snapshots, and tables as they were known at an instant."""

import datetime as dt
import json
import os
import stat
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pandas as pd
import pytest

from tenant_lab import Lab
from tenant_lab.core.errors import ParameterError, SchemaError, StoreError, TenantAccessError
from tenant_lab.tenancy.keys import create_key_file
from tenant_lab.tenancy.lab import Reader, Tenant

PARIS = ZoneInfo("Europe/Paris")


@pytest.fixture
def lab():
    return Lab.open()


@pytest.fixture
def tenant(lab):
    return lab.create_tenant("aurora", time_zone="Europe/Paris", currency="USD", language="fr")


def purchases(times, amounts=None, ids=None):
    n = len(times)
    return pd.DataFrame({"customer_id": ids or ["a"] * n, "purchased_at": times, "amount": amounts if amounts is not None else range(n)})


def actions(lab, name="aurora"):
    return [line["action"] for line in lab.audit.read(name)]


# ---- labs ----
def test_a_new_lab_is_empty_and_the_owners_alone(lab, tmp_path):
    assert lab.tenants() == [] and repr(lab) == f"Lab('{tmp_path / 'home'}', tenants=[])"
    assert stat.S_IMODE(lab.home.stat().st_mode) == 0o700
    assert not (tmp_path / "master.key").exists()  # made with the first tenant
    lab.create_tenant("b-2")
    lab.create_tenant("a_1")
    assert Lab.open().tenants() == ["a_1", "b-2"]
    (lab.home / "tenants" / "half").mkdir()
    (lab.home / "tenants" / ".a_1-draft").mkdir()
    assert Lab.open().tenants() == ["a_1", "b-2"]


def test_a_lab_elsewhere(tmp_path):
    lab = Lab.open(tmp_path / "else where")
    assert lab.home == tmp_path / "else where" and lab.settings.source["home"] == "Lab.open"
    assert Lab.open().home == tmp_path / "home"


@pytest.mark.parametrize("name", ["with space", "é 日本", "a#b", "it's", "env=prod", "kind=x"])
def test_a_lab_may_lie_in_any_folder(tmp_path, name):
    tenant = Lab.open(tmp_path / name).create_tenant("aurora")
    tenant.ingest("purchases", purchases(["2024-01-01"] * 2))
    tenant.ingest("purchases", purchases(["2024-01-01"] * 2))
    assert tenant.sql("SELECT count(*), min(kind) FROM purchases").fetchall() == [(4, "sale")]
    assert tenant.table("purchases").shape == (4, 8)


def test_what_is_no_lab(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be opened as a lab"):
        Lab.open(tmp_path / "file")
    for text in ("{", "[]", '{"format": 2}'):
        (tmp_path / "other").mkdir(exist_ok=True)
        (tmp_path / "other" / "lab.json").write_text(text)
        with pytest.raises(StoreError):
            Lab.open(tmp_path / "other")
    with pytest.raises(StoreError, match="of format 2; this version reads format 1"):
        Lab.open(tmp_path / "other")


def test_another_labs_master_key_is_recognised(tenant, tmp_path):
    tenant.ingest("purchases", purchases(["2024-01-01"]))
    (tmp_path / "master.key").unlink()
    lab = Lab.open()
    for act in (lambda: lab.tenant("aurora").pseudonym("a"), lambda: lab.create_tenant("new"),
                lambda: lab.tenant("aurora").ingest("purchases", purchases(["2024-01-01"]))):
        with pytest.raises(TenantAccessError, match="no master key in .*master.key"):
            act()
    assert not (tmp_path / "master.key").exists()  # a new one would be of no use
    create_key_file(tmp_path / "master.key")
    with pytest.raises(TenantAccessError, match="is not the one of the lab"):
        lab.tenant("aurora").pseudonym("a")
    assert lab.tenants() == ["aurora"]
    assert lab.tenant("aurora").table("purchases").shape == (1, 8)  # what is not personal needs no key


def test_a_data_key_that_is_gone(lab, tenant):
    key = lab.home / "tenants" / "aurora" / "key.json"
    state = json.loads(key.read_text())
    key.write_text(json.dumps(state | {"wrapped": state["wrapped"][:-8] + "AAAAAAA="}))
    with pytest.raises(TenantAccessError, match="does not open the tenant's data key"):
        lab.tenant("aurora").pseudonym("a")
    key.unlink()
    with pytest.raises(TenantAccessError, match="data key of tenant 'aurora' is gone"):
        lab.tenant("aurora").pseudonym("a")


# ---- tenants ----
def test_a_tenant_keeps_what_it_was_made_with(lab, tenant):
    info = lab.tenant("aurora").info
    assert (info.name, info.time_zone, info.currency, info.language) == ("aurora", "Europe/Paris", "USD", "fr")
    assert repr(tenant) == "Tenant('aurora')" and tenant.name == "aurora"
    assert actions(lab) == ["create tenant"]


@pytest.mark.parametrize(("options", "message"), [
    ({"name": "A"}, "tenant name"), ({"name": "../x"}, "tenant name"), ({"time_zone": "Paris"}, "IANA"), ({"currency": "eur"}, "ISO 4217"),
    ({"currency": "€"}, "ISO 4217"), ({"currency": None}, "ISO 4217"), ({"currency": "ÉUR"}, "ISO 4217"), ({"language": "de"}, "en, fr")])
def test_a_tenants_values_are_checked(lab, options, message):
    with pytest.raises(ParameterError, match=message):
        lab.create_tenant(**({"name": "new"} | options))
    assert lab.tenants() == []


@pytest.mark.parametrize("zone", ["localtime", "posixrules", "posix/Europe/Paris", "right/UTC"])
def test_every_zone_that_is_taken_can_be_used(lab, zone):
    try:
        tenant = lab.create_tenant("zone", time_zone=zone)
    except ParameterError:
        return
    tenant.ingest("purchases", purchases(["2024-01-01"]))


def test_a_name_is_given_once(lab, tenant, monkeypatch):
    with pytest.raises(ParameterError, match="tenant 'aurora' exists already"):
        lab.create_tenant("aurora")
    monkeypatch.setattr(Lab, "tenants", lambda self: [])  # another process made it meanwhile
    with pytest.raises(StoreError, match="could not be made"):
        lab.create_tenant("aurora")
    assert sorted(os.listdir(lab.home / "tenants")) == ["aurora"]


def test_an_unknown_tenant_lists_those_that_there_are(lab, tenant):
    with pytest.raises(ParameterError, match="no tenant 'boreal'; there are aurora. Make one"):
        lab.tenant("boreal")
    with pytest.raises(ParameterError, match="tenant name"):
        lab.tenant("../aurora")


def test_a_damaged_description_is_a_store_error(lab, tenant):
    (lab.home / "tenants" / "aurora" / "tenant.json").write_text("{")
    with pytest.raises(StoreError, match="aurora"):
        lab.tenant("aurora")


# ---- reading ----
def test_tables_and_versions(lab, tenant):
    with pytest.raises(StoreError, match="there is no table purchases yet; there are none"):
        tenant.table("purchases")
    tenant.ingest("purchases", purchases(["2024-01-01"]))
    first = tenant.table("purchases")
    tenant.ingest("purchases", purchases(["2024-01-02"] * 2))
    assert tenant.tables() == ["purchases"] and tenant.snapshot() == {"purchases": 1}
    assert [len(tenant.table("purchases", v)) for v in (0, 1, None)] == [1, 3, 3]
    assert len(first) == 1
    with pytest.raises(StoreError, match="no version 2; there are 0 to 1"):
        tenant.table("purchases", 2)
    with pytest.raises(SchemaError, match="no contract knows"):
        tenant.table("orders")
    assert [line for line in lab.audit.read("aurora") if line["action"] == "read"][-1]["version"] == 1


def test_a_query_is_pinned_too(tenant):
    """What a lazy result reads does not change with what comes into the table before it is fetched."""
    tenant.ingest("purchases", purchases(["2024-01-01"]))
    result = tenant.sql("SELECT count(*) FROM purchases")
    tenant.ingest("purchases", purchases(["2024-01-02"] * 2))
    assert tenant.sql("SELECT count(*) FROM purchases").fetchall() == [(3,)]
    assert result.fetchall() == [(1,)]


def test_queries_with_parameters(lab, tenant):
    tenant.ingest("purchases", purchases(["2024-01-01"] * 3))
    assert tenant.sql("SELECT count(*) FROM purchases WHERE amount >= $low", low=1).fetchall() == [(2,)]
    assert tenant.sql("SELECT $x", x="'; DROP").fetchall() == [("'; DROP",)]
    with pytest.raises(ParameterError, match="not a valid query"):
        tenant.sql("SELECT $low")
    with pytest.raises(ParameterError, match="not a valid query.*amounts"):
        tenant.sql("SELECT amounts FROM purchases")
    tenant.sql("SELECT count(*) FROM PURCHASES")
    last = [line for line in lab.audit.read("aurora") if line["action"] == "query"][-1]
    assert last["versions"] == {"purchases": 0}


@pytest.mark.parametrize("query", ["FROM query_table('pur' || 'chases')", "FROM query('FROM pur' || 'chases')", "FROM U&\"purch\\0061ses\""])
def test_a_table_named_in_disguise_is_no_way_round_the_audit_log(lab, tenant, query):
    tenant.ingest("purchases", purchases(["2024-01-01"] * 3))
    tenant.sql("FROM purchases")
    tenant.ingest("purchases", purchases(["2024-01-01"] * 3))
    try:
        rows = tenant.sql(query).fetchall()
    except (ParameterError, TenantAccessError):
        return
    last = [line for line in lab.audit.read("aurora") if line["action"] == "query"][-1]
    assert (len(rows), last["versions"]) == (6, {"purchases": 1})


def test_days_are_those_of_the_tenant(lab):
    for name, zone, day in (("tokyo", "Asia/Tokyo", 2), ("lima", "America/Lima", 1)):
        tenant = lab.create_tenant(name, time_zone=zone)
        tenant.ingest("purchases", purchases(["2024-01-01T20:00:00Z"]))
        assert tenant.sql("SELECT day(purchased_at) FROM purchases").fetchall() == [(day,)]


def test_reveal_opens_missing_values_too(tenant):
    people = pd.DataFrame({"customer_id": ["a", "b", "c"], "joined_at": "2024-01-01", "name": ["Ada", None, "Cy"], "email": [None] * 3})
    tenant.ingest("customers", people)
    for frame in (tenant.table("customers").df(), tenant.table("customers").to_arrow_table().to_pandas()):
        opened = tenant.reveal(frame.assign(raw=1), "customers").set_index("customer_id")
        assert opened.loc[[tenant.pseudonym(i) for i in "ac"], "name"].tolist() == ["Ada", "Cy"]
        assert opened["name"].isna().sum() == 1 and opened["email"].isna().all()
    line = [line for line in tenant._lab.audit.read() if line["action"] == "reveal"][-1]
    assert (line["columns"], line["rows"]) == (["name", "email"], 3) and "Ada" not in str(line)
    with pytest.raises(SchemaError, match="no sealed column of customers"):
        tenant.reveal(frame[["country"]], "customers")


def test_pseudonyms_are_recorded_without_the_id(lab, tenant):
    tenant.pseudonym("raw-id-7")
    assert actions(lab)[-1] == "pseudonym"
    assert "raw-id-7" not in lab.audit.path.read_text()


# ---- as of ----
def test_a_plain_day_is_included_whole_in_the_tenants_zone(tenant):
    times = ["2024-06-29T23:59:59.999999", "2024-06-30T00:00", "2024-06-30T23:59:59.999999", "2024-07-01T00:00"]
    tenant.ingest("purchases", purchases(times))
    for t in ("2024-06-30", dt.date(2024, 6, 30), "2024-07-01T00:00", dt.datetime(2024, 6, 30, 22, tzinfo=dt.UTC)):
        assert [r[0] for r in tenant.as_of(t).table("purchases").project("amount").order("amount").fetchall()] == [0, 1, 2]
    assert len(tenant.as_of("2024-06-30T23:59:59.999999").table("purchases")) == 2  # not before itself
    assert len(tenant.as_of("2024-06-29").table("purchases")) == 1
    assert len(tenant.as_of("0001-01-01").table("purchases")) == 0
    reader = tenant.as_of("2024-06-30")
    assert reader.sql("SELECT count(*) FROM purchases").fetchall() == [(3,)]
    assert repr(reader) == "Reader('aurora', as_of='2024-07-01T00:00:00+02:00')" and not isinstance(reader, Tenant)


def test_cells_that_became_known_later_are_null(tenant):
    tenant.ingest("subscriptions", pd.DataFrame({
        "customer_id": ["a", "b", "c", "d"], "started_at": ["2024-01-01", "2024-01-02", "2024-01-03", "2024-03-01"],
        "ended_at": ["2024-01-31", "2024-02-01", None, None], "end_reason": ["price", "moved", None, None], "plan": "p", "monthly_price": 5.0}))
    at = tenant.as_of("2024-01-31").sql("SELECT ended_at IS NOT NULL, end_reason FROM subscriptions ORDER BY started_at")
    assert at.fetchall() == [(True, "price"), (False, None), (False, None)]
    tenant.ingest("experiments", pd.DataFrame({
        "experiment": ["e", "f"], "start": "2024-01-01", "end": ["2024-02-01", "2024-01-15"], "unit": "customer", "variant": "a",
        "planned_share": 1.0, "is_control": True, "primary_metric": "m", "direction": "increase"}))
    at = tenant.as_of("2024-01-31").sql('SELECT experiment, "end" IS NOT NULL FROM experiments ORDER BY 1')
    assert at.fetchall() == [("e", False), ("f", True)]


def test_static_tables_stay_whole(tenant):
    tenant.ingest("tracks", pd.DataFrame({"track_id": ["t1", "t2"], "artist_id": "x"}))
    assert len(tenant.as_of("1990-01-01").table("tracks")) == 2


def test_a_snapshot_pins_what_is_read(lab, tenant):
    tenant.ingest("purchases", purchases(["2024-01-01"]))
    reader, snapshot = tenant.as_of("2024-12-31"), tenant.snapshot()
    tenant.ingest("purchases", purchases(["2024-01-02"]))
    tenant.ingest("plays", pd.DataFrame({"customer_id": ["a"], "track_id": "t", "at": "2024-01-01", "seconds": 1}))
    for pinned in (reader, tenant.as_of("2024-12-31", snapshot), Lab.open().tenant("aurora").as_of("2024-12-31", snapshot)):
        assert pinned.snapshot() == {"purchases": 0} and pinned.tables() == ["purchases"]
        assert len(pinned.table("purchases")) == 1
        assert pinned.sql("SELECT count(*) FROM purchases").fetchall() == [(1,)]
        with pytest.raises(StoreError, match="the snapshot has no table plays; it has purchases"):
            pinned.table("plays")
        with pytest.raises(ParameterError, match="plays"):
            pinned.sql("FROM plays")
    assert len(tenant.as_of("2024-12-31").table("purchases")) == 2
    assert len(reader.table("purchases", 1)) == 2  # a version that is asked for by number
    line = [line for line in lab.audit.read("aurora") if line["action"] == "read"][-1]
    assert line["as_of"] == "2025-01-01T00:00:00+01:00"


@pytest.mark.parametrize("value", ["someday", None, dt.date.max])
def test_as_of_needs_an_instant(tenant, value):
    with pytest.raises(ParameterError, match="as_of"):
        tenant.as_of(value)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_after_t_can_be_seen_at_t(lab, seed):
    """Two tenants' worth of tables that agree before t and are random after it are bit-identical at t."""
    rng = np.random.default_rng(seed)
    cut = dt.datetime(2024, 3, 31, 12, 30, tzinfo=dt.UTC) + dt.timedelta(microseconds=int(rng.integers(0, 10**12)))

    def instants(n, after):
        step = pd.to_timedelta(rng.integers(0 if after else 1, 10**13, n), unit="us")
        start = pd.Timestamp(cut)
        times = start + step if after else start - step
        times = times.to_list()
        times[0] = start if after else start - pd.Timedelta(1, "us")  # the boundary itself
        return pd.to_datetime(times)

    def some(n, after):
        ids = [f"{'late' if after else 'early'}{i}" for i in range(n)]
        bought = pd.DataFrame({"customer_id": rng.choice(ids, n), "purchased_at": instants(n, after), "amount": rng.normal(size=n)})
        people = pd.DataFrame({"customer_id": ids, "joined_at": instants(n, after), "country": rng.choice(["FR", "DE"], n)})
        started = instants(n, after)
        runs = pd.DataFrame({"customer_id": ids, "started_at": started, "ended_at": started + pd.to_timedelta(rng.integers(0, 10**6, n), unit="s"),
                             "end_reason": rng.choice(["price", "moved"], n), "plan": "p", "monthly_price": rng.random(n)})
        runs.loc[runs.index % 3 == 0, ["ended_at", "end_reason"]] = None
        return {"purchases": bought, "customers": people, "subscriptions": runs}

    early, seen = some(200, after=False), []
    for version in range(2):
        tenant = lab.create_tenant(f"v{version}")
        tenant._keys  # noqa: B018
        for name, table in early.items():
            table = table.copy()
            if name == "subscriptions":  # what ended after t was to end at another time, for another reason
                later = table["ended_at"] >= pd.Timestamp(cut)
                table.loc[later, "ended_at"] = pd.Timestamp(cut) + pd.to_timedelta(rng.integers(0, 10**6, int(later.sum())), unit="s")
                table.loc[later, "end_reason"] = f"reason {version}"
                assert later.any()
            late = some(int(rng.integers(1, 300)), after=True)[name]
            tenant.ingest(name, pd.concat([table, late]).sample(frac=1, random_state=int(rng.integers(2**31))))
        reader = tenant.as_of(cut)
        names = {tenant.pseudonym(f"early{i}"): f"early{i}" for i in range(200)}
        read = {}
        for name in early:
            frame = reader.table(name).df()
            frame["customer_id"] = frame["customer_id"].map(names)
            read[name] = frame.sort_values(list(frame.columns)).reset_index(drop=True)
            assert len(frame) == 200 and frame["customer_id"].notna().all()
        seen.append(read)
    for name in early:
        pd.testing.assert_frame_equal(seen[0][name], seen[1][name], check_exact=True)
    assert seen[0]["subscriptions"]["ended_at"].notna().any()


def test_a_reader_has_no_way_to_write_or_to_keys():
    assert not {"ingest", "reveal", "pseudonym", "_keys"} & set(dir(Reader))


def test_the_engine_setting_is_checked(tenant, monkeypatch):
    tenant.ingest("purchases", purchases(["2024-01-01"]))
    monkeypatch.setenv("TENANT_LAB_ENGINE", "pyspark")
    with pytest.raises(ParameterError, match="engine = pyspark"):
        Lab.open().tenant("aurora").table("purchases")


def test_narwhals_takes_a_table(tenant):
    from tenant_lab.core.frames import lazy
    tenant.ingest("purchases", purchases(["2024-01-01"] * 3))
    relation = tenant.table("purchases")
    assert isinstance(relation, duckdb.DuckDBPyRelation)
    assert lazy(relation).select("amount").collect("pyarrow").to_native()["amount"].to_pylist() == [0.0, 1.0, 2.0]
