"""A fleet as a process of its own: killed, stopped, started twice."""
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from report_kit import OPEN, REVENUE, shop, write_report

from tenant_lab.reports.fleet import run_all
from tenant_lab.reports.runner import home
from tenant_lab.reports.zygote import close_zygotes
from tenant_lab.tenancy.lab import Lab

FLEET = """
import sys
from pathlib import Path
from tenant_lab.reports.fleet import run_all
from tenant_lab.reports.queue import Interrupted
from tenant_lab.tenancy.lab import Lab
try:
    results = run_all(Lab.open(sys.argv[1]), sys.argv[3], folder=Path(sys.argv[2]), workers=2)
except Interrupted as stopped:
    sys.exit(f"stopped after {len(stopped.results)}")
print(*(f"{r.report}/{r.tenant} {r.status} {r.error or ''}" for r in results), sep="\\n")
"""


@pytest.fixture
def shops(tmp_path) -> Lab:
    """Ten tenants."""
    lab = Lab.open(tmp_path / "home")
    for n in range(10):
        shop(lab, f"shop{n}")
    return lab


@pytest.fixture
def folder(tmp_path) -> Path:
    """Four reports."""
    for name in ("one", "two", "three", "four"):
        write_report(tmp_path / "reports", name, OPEN, REVENUE, "open('note.txt', 'w').write('x' * 1000)")
    return tmp_path / "reports"


def start(lab: Lab, folder: Path, as_of: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", FLEET, str(lab.home), str(folder), as_of], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, start_new_session=True)


def published(lab: Lab, as_of: str) -> dict[Path, dict]:
    """Folder -> manifest of each published run; fails where one is not whole."""
    found = {}
    for path in home(lab).glob(f"*/*/{as_of}/*"):
        manifest = json.loads((path / "manifest.json").read_text())
        assert manifest["status"] == "ok", manifest["error"]
        names = {p.name for p in path.iterdir()}
        assert names == {"report.html", "report.ipynb", "values.json", "manifest.json", "files"}, (path, names)
        assert (path / "report.html").read_text().rstrip().endswith("</html>") and json.loads((path / "report.ipynb").read_text())
        assert (path / "files/note.txt").stat().st_size == 1000
        found[path] = manifest
    return found


def tree(process: subprocess.Popen) -> list[psutil.Process]:
    """The zygote, supervisors, keepers and kernels below a fleet's process."""
    return psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []


def all_gone(processes: list[psutil.Process]) -> bool:
    return not psutil.wait_procs(processes, timeout=10)[1]


def kill_at_random_moments(lab: Lab, folder: Path, kills: int, seed: int) -> None:
    """After each kill the next call goes on with the same 40 runs; when they are done, another day's begin."""
    rng, day, before = random.Random(seed), 10, {}
    for _ in range(kills):
        process = start(lab, folder, f"2024-03-{day}")
        try:
            process.wait(timeout=rng.uniform(0.5, 8))
        except subprocess.TimeoutExpired:
            below = tree(process)
            process.kill()
            assert all_gone(below)
        process.communicate()
        now = published(lab, f"2024-03-{day}")
        assert {path: now.get(path) for path in before} == before  # what was published stands, and was not made again
        before = now
        if len(now) == 40:
            day, before = day + 1, {}
    done = start(lab, folder, f"2024-03-{day}")
    out, err = done.communicate(timeout=300)
    assert done.returncode == 0, err
    assert len(published(lab, f"2024-03-{day}")) == 40
    said = Counter(line.split(maxsplit=1)[1].strip() for line in out.splitlines())
    assert said == Counter({"up to date": len(before)}) + Counter({"ok": 40 - len(before)})
    assert not list((home(lab) / ".running").iterdir())


def test_a_parent_killed_at_random_moments_leaves_whole_runs_or_none(shops, folder):
    kill_at_random_moments(shops, folder, 2, 1)


@pytest.mark.slow
def test_a_parent_killed_at_fifty_random_moments(shops, folder, record_property):
    record_property("seed", 2)
    record_property("kills", 50)
    kill_at_random_moments(shops, folder, 50, 2)


def test_ctrl_c_stops_cleanly_and_the_next_call_goes_on(shops, folder):
    process = start(shops, folder, "2024-03-09")
    limit = time.monotonic() + 60
    while len(list(home(shops).glob("*/*/2024-03-09/*/manifest.json"))) < 3 and time.monotonic() < limit:
        time.sleep(0.02)
    below = tree(process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1 and "stopped after" in err.splitlines()[-1], err
    assert "Traceback" not in err
    before = published(shops, "2024-03-09")
    assert 3 <= len(before) < 40 and not list((home(shops) / ".running").iterdir()) and all_gone(below)
    results = run_all(shops, "2024-03-09", folder=folder, workers=2)
    assert Counter(r.status for r in results) == {"up to date": len(before), "ok": 40 - len(before)}


def _each(pattern, change):
    def damage(tenant: Path) -> None:
        found = list(tenant.glob(pattern))
        assert found, pattern
        for path in found:
            change(path)
    return damage


DAMAGE = {"shop0": _each("lake/purchases/**/*.parquet", lambda p: p.write_bytes(b"PAR1 nonsense PAR1")),
          "shop1": _each("lake/purchases/**/*.parquet", lambda p: os.truncate(p, p.stat().st_size // 2)),
          "shop2": _each("lake/purchases/**/*.parquet", Path.unlink),
          "shop3": _each("lake/purchases/_delta_log/*.json", lambda p: p.write_text("{nonsense")),
          "shop4": _each("tenant.json", lambda p: p.write_text("{")),
          "shop5": _each("lake/purchases/**/*.parquet", lambda p: p.write_bytes(p.read_bytes()[:200] + b"\xff" * 200 + p.read_bytes()[400:]))}


@pytest.mark.parametrize("as_of", [None, "2024-03-09"])
def test_a_tenant_whose_data_is_corrupt_stops_no_other(shops, folder, as_of):
    for name, damage in DAMAGE.items():
        damage(shops.home / "tenants" / name)
    results = run_all(Lab.open(shops.home), as_of, folder=folder, workers=2)
    assert len(results) == 40
    for result in results:
        if result.tenant in DAMAGE:
            assert result.status in ("failed", "refused") and result.error, result
        else:
            assert result.status == "ok", result.error
    assert not list((home(shops) / ".running").iterdir())


def test_two_fleets_on_one_home_make_each_run_once(shops, folder):
    both = [start(shops, folder, "2024-03-09") for _ in range(2)]
    said = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert len(published(shops, "2024-03-09")) == 40
    made = Counter(line["run_id"] for line in shops.audit.read() if line["action"] == "report")
    assert len(made) == 40 and set(made.values()) == {1}
    lines = [line.split(maxsplit=1)[1].strip() for out, _ in said for line in out.splitlines()]
    assert Counter(lines) == {"ok": 40, "up to date": 40}


@pytest.fixture(autouse=True)
def _zygotes():
    yield
    close_zygotes()
