"""What an ingest leaves behind when it is killed, when the disk is full, and when two come at once; and its memory."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pandas as pd
import pytest

from tenant_lab import Lab
from tenant_lab.core.errors import StoreError

SMALL = pd.DataFrame({"customer_id": ["a", "b"], "purchased_at": "2024-01-01", "amount": [1.0, 2.0]})
BEFORE, BIG = (2, 3.0), 600_000  # rows and sum of SMALL; rows of a large file


def child(code: str, **values) -> subprocess.Popen:
    """A process that imports the library, prints `ready`, and runs `code`."""
    text = "import json, os, sys\nfrom tenant_lab import Lab\nargs = json.loads(sys.argv[1])\n" + textwrap.dedent(code)
    return subprocess.Popen([sys.executable, "-c", text, json.dumps(values)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def read(tenant):
    return tenant.sql("SELECT count(*), sum(amount) FROM purchases").fetchall()[0]


def left_over(tenant):
    """Files under the tenant's folder that belong to no version of a table."""
    known = {f for t in tenant.tables() for v in range(tenant.snapshot()[t] + 1) for f in tenant.lake.at(t, v).files}
    data = {str(p) for p in tenant.folder.rglob("*") if p.is_file() and p.suffix not in (".json", ".lock") and "_delta_log" not in p.parts}
    return data - known


@pytest.fixture(scope="module")
def big_csv(tmp_path_factory):
    path = tmp_path_factory.mktemp("big") / "big.csv"
    n = BIG
    pd.DataFrame({"customer_id": np.arange(n) % 200_000, "purchased_at": "2024-01-01 10:00:00", "amount": 1,
                  "phone": [f"planted-{i}" for i in range(n)]}).to_csv(path, index=False)
    return path


@pytest.fixture
def tenant():
    made = Lab.open().create_tenant("aurora")
    made.ingest("purchases", SMALL)
    return made


# ---- killed ----
@pytest.mark.parametrize("seed", range(10))
def test_killed_in_mid_ingest_the_table_reads_as_before_or_whole(tenant, big_csv, seed, record_property):
    """kill -9 at a seeded moment of a running ingest; the moments around its commit are tested one by one below."""
    delay = 0.02 + 0.2 * seed + 0.2 * np.random.default_rng(seed).random()
    process = child("""
        tenant = Lab.open().tenant("aurora")
        print("ready", flush=True)
        tenant.ingest("purchases", args["path"], personal=("phone",))
        print("done", flush=True)
    """, path=str(big_csv))
    assert process.stdout.readline() == "ready\n"
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    out, _ = process.communicate()
    whole = (BEFORE[0] + BIG, BEFORE[1] + BIG)
    found = read(Lab.open().tenant("aurora"))
    record_property("read", str(found))
    assert found in (BEFORE, whole)
    if "done" in out:
        assert found == whole
    again = Lab.open().tenant("aurora")
    again.ingest("purchases", SMALL)
    assert read(again) == (found[0] + 2, found[1] + 3.0)
    assert [p.name for p in (again.folder / "staging").glob("*/*") if p.parent.name != "spill"] == []
    assert not (again.folder / "staging" / "purchases").exists()


CRASH = """
    import tenant_lab.tenancy.{module} as module
    name = "{name}"
    owner, attribute = (getattr(module, name.split(".")[0]), name.split(".")[1]) if "." in name else (module, name)
    real = getattr(owner, attribute)
    def crash(*given, **options):
        if "{when}" == "after":
            real(*given, **options)
        os.kill(os.getpid(), 9)
    setattr(owner, attribute, crash)
    import pandas as pd
    Lab.open().tenant("aurora").ingest("purchases", pd.DataFrame(args["rows"]), personal=("phone",))
"""


@pytest.mark.parametrize(("module", "name", "when", "stored"), [
    ("store", "Lake.commit", "before", False), ("store", "Lake.commit", "after", True),
    ("store", "DeltaTable.create_write_transaction", "before", False), ("store", "DeltaTable.create_write_transaction", "after", True),
    ("store", "json.dumps", "before", False)])
def test_killed_around_the_commit(tenant, module, name, when, stored):
    rows = SMALL.assign(phone="planted").to_dict("list")
    process = child(CRASH.format(module=module, name=name, when=when), rows=rows)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert read(tenant) == ((4, 6.0) if stored else BEFORE)
    tenant.ingest("purchases", SMALL)
    assert read(tenant) == ((6, 9.0) if stored else (4, 6.0))
    assert left_over(tenant) == set()


def test_a_killed_ingest_leaves_no_plain_personal_value_when_the_tenant_is_opened_again(tenant, big_csv):
    process = child("""
        import tenant_lab.tenancy.ingest as module
        def crash(*_):
            os.kill(os.getpid(), 9)
        module.separate = crash
        Lab.open().tenant("aurora").ingest("purchases", args["path"], personal=("phone",))
    """, path=str(big_csv))
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    again = Lab.open().tenant("aurora")
    again.table("purchases").fetchall()
    for path in (p for p in again.folder.rglob("*") if p.is_file()):
        assert b"planted-" not in path.read_bytes(), path


def test_an_interrupt_leaves_nothing(tenant, monkeypatch):
    import tenant_lab.tenancy.store as store

    def interrupted(*_, **__):
        raise KeyboardInterrupt
    monkeypatch.setattr(store.DeltaTable, "create_write_transaction", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tenant.ingest("purchases", SMALL)
    assert read(tenant) == BEFORE and left_over(tenant) == set()


# ---- no room ----
@pytest.mark.parametrize("limit", [200_000, 2_000_000, 6_000_000])
def test_a_file_that_may_not_grow_is_a_store_error(tenant, big_csv, limit):
    """RLIMIT_FSIZE stands for the full disk: a write beyond it fails with EFBIG (setrlimit(2))."""
    process = child("""
        import resource, signal
        from tenant_lab.core.errors import StoreError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        tenant = Lab.open().tenant("aurora")
        resource.setrlimit(resource.RLIMIT_FSIZE, (args["limit"], resource.RLIM_INFINITY))
        try:
            tenant.ingest("purchases", args["path"])
        except StoreError as error:
            print("StoreError", "nothing was stored" in str(error))
    """, path=str(big_csv), limit=limit)
    out, err = process.communicate()
    assert out == "StoreError True\n", err[-2000:]
    assert read(tenant) == BEFORE and left_over(tenant) == set()
    tenant.ingest("purchases", SMALL)
    assert read(tenant) == (4, 6.0)


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True).returncode == 0
    if not mounted:
        pytest.skip("mounting is not permitted here; RLIMIT_FSIZE stands for it above")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_a_store_error(small_disk, big_csv, tmp_path):
    tenant = Lab.open(small_disk / "home").create_tenant("aurora")
    tenant.ingest("purchases", SMALL)
    with pytest.raises(StoreError, match="nothing was stored.*Is the disk full"):
        tenant.ingest("purchases", big_csv)
    assert read(tenant) == BEFORE and left_over(tenant) == set()
    tenant.ingest("purchases", SMALL)
    assert read(tenant) == (4, 6.0)


# ---- two at once ----
def test_two_processes_ingest_at_once_and_both_land(tenant):
    code = """
        import pandas as pd
        tenant = Lab.open().tenant("aurora")
        print("ready", flush=True)
        sys.stdin.readline()
        for i in range(5):
            tenant.ingest("purchases", pd.DataFrame({"customer_id": [args["who"]] * 100, "purchased_at": "2024-01-01", "amount": 1.0}))
    """
    processes = [subprocess.Popen([sys.executable, "-c", "import json, os, sys\nfrom tenant_lab import Lab\nargs = json.loads(sys.argv[1])\n"
                                   + textwrap.dedent(code), json.dumps({"who": who})], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                 for who in ("left", "right")]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.wait() for process in processes] == [0, 0]
    for who in ("left", "right"):
        found = tenant.sql("SELECT count(*) FROM purchases WHERE customer_id = $id", id=tenant.pseudonym(who)).fetchall()
        assert found == [(500,)]
    assert tenant.snapshot() == {"purchases": 10}


def test_two_processes_make_the_first_version_at_once():
    Lab.open().create_tenant("boreal")
    code = """
        import pandas as pd
        Lab.open().tenant("boreal").ingest("plays", pd.DataFrame({"customer_id": ["a"], "track_id": "t", "at": "2024-01-01", "seconds": 1}))
    """
    processes = [child(code) for _ in range(2)]
    assert [(p.communicate(), p.returncode)[1] for p in processes] == [0, 0]
    assert len(Lab.open().tenant("boreal").table("plays")) == 2


def test_a_reader_beside_a_writer_sees_whole_versions_only(tenant):
    writer = child("""
        import pandas as pd
        tenant = Lab.open().tenant("aurora")
        for i in range(8):
            tenant.ingest("purchases", pd.DataFrame({"customer_id": ["a"] * 1000, "purchased_at": "2024-01-01", "amount": 0.0}), mode="replace")
    """)
    seen = set()
    while writer.poll() is None:
        seen.add(read(Lab.open().tenant("aurora"))[0])
    assert writer.communicate() and writer.returncode == 0
    assert seen <= {2, 1000}


# ---- memory ----

MEASURED = """
    from pathlib import Path
    tenant = Lab.open().tenant("aurora")
    result = tenant.ingest("purchases", args["path"])
    peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]  # getrusage counts what the parent held, too
    print("\\nmeasured", result.rows, int(peak) // 1024)
"""


def write_csv(path, megabytes):
    """A CSV of purchases, about `megabytes` large: many customers, a long order id; returns the number of rows."""
    rng = np.random.default_rng(7)
    n, block = 0, 200_000
    with path.open("w") as file:
        file.write("customer_id,purchased_at,amount,order_id\n")
        while file.tell() < megabytes * 1_000_000:
            ids, cents = rng.integers(0, 3_000_000, block), rng.integers(1, 9999, block)
            file.write("".join(f"customer-{i},2024-01-01 10:00:00,{c}.5,order-{n + k:012d}-of-the-web-shop\n"
                               for k, (i, c) in enumerate(zip(ids, cents, strict=True))))
            n += block
    return n


def peak_of_ingest(path, rows, limit, monkeypatch):
    """Peak resident megabytes of a fresh process that ingests the file, for a new tenant."""
    monkeypatch.setenv("TENANT_LAB_MEMORY_LIMIT", f"{limit}MB")
    name = path.stem
    Lab.open().create_tenant(name)
    out, err = (process := child(MEASURED.replace("aurora", name), path=str(path))).communicate()
    assert process.returncode == 0, err[-2000:]
    *noise, line = out.split("\n")[:-1]
    stored, peak = map(int, line.split()[1:])
    assert stored == rows
    assert noise == [""]  # no progress bar where nobody watches
    return peak


def ingest_in_bounded_memory(tmp_path, megabytes, limit, monkeypatch, record_property):
    """What a file needs beyond a tiny one is the engine's: its limit, and at most as much again outside its accounts."""
    tiny, large = tmp_path / "tiny.csv", tmp_path / "large.csv"
    base = peak_of_ingest(tiny, write_csv(tiny, 1), limit, monkeypatch)
    rows = write_csv(large, megabytes)
    peak = peak_of_ingest(large, rows, limit, monkeypatch)
    record_property("rows", rows)
    record_property("peak_mb", peak)
    assert peak - base <= 2 * limit < megabytes * 4  # in memory, the rows would take several times the file's size
    return large


def test_a_file_larger_than_the_memory_limit(tmp_path, monkeypatch, record_property):
    ingest_in_bounded_memory(tmp_path, 300, 200, monkeypatch, record_property)


@pytest.mark.slow
def test_five_gigabytes(tmp_path, monkeypatch, record_property):
    large = ingest_in_bounded_memory(tmp_path, 5000, 1000, monkeypatch, record_property)
    assert os.path.getsize(large) >= 5_000_000_000
