"""A fleet on a Dask cluster of two real worker processes that share the home folder."""
import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from report_kit import OPEN, REVENUE, manifest, shop, values, write_report

from tenant_lab.core.errors import ReportError
from tenant_lab.reports.fleet import run_all
from tenant_lab.tenancy.lab import Lab


@pytest.fixture
def cluster(tmp_path):
    """Address of a scheduler with two workers of two threads, and the workers' processes."""
    begun, said = [], tmp_path / "scheduler.json"

    def start(*words):
        with (tmp_path / f"dask-{len(begun)}.log").open("wb") as log:
            begun.append(subprocess.Popen([sys.executable, "-m", "dask", *words, "--host", "127.0.0.1", "--no-dashboard"],
                                          env=os.environ | {"DASK_TEMPORARY_DIRECTORY": str(tmp_path)}, stdout=log, stderr=log, cwd=tmp_path))
    try:
        start("scheduler", "--port", "0", "--scheduler-file", str(said))
        end = time.monotonic() + 60
        while not (said.exists() and said.read_text().endswith("}")):
            assert time.monotonic() < end and begun[0].poll() is None, (tmp_path / "dask-0.log").read_text()
            time.sleep(0.02)
        address = json.loads(said.read_text())["address"]
        for _ in range(2):
            start("worker", address, "--nthreads", "1", "--no-nanny")
        from distributed import Client
        with Client(address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield address, begun[1:]
    finally:
        below = [child for process in begun if process.poll() is None for child in psutil.Process(process.pid).children(recursive=True)]
        for process in reversed(begun):
            process.kill()
            process.wait()
        assert not psutil.wait_procs(below, timeout=10)[1]  # zygotes end with their owners


def test_a_fleet_on_two_workers_makes_each_run_once_in_confined_processes(tmp_path, cluster):
    address, workers = cluster
    lab = Lab.open(tmp_path / "home")
    for n in range(6):
        shop(lab, f"shop{n}", amount=[float(n), 1.0, 2.0])
    folder = write_report(tmp_path / "r", "sales", OPEN, REVENUE)
    write_report(tmp_path / "r", "broken", "1 / 0")
    results = run_all(lab, "2024-03-09", folder=folder, kind="dask", scheduler=address)
    assert Counter((r.report, r.status) for r in results) == {("sales", "ok"): 6, ("broken", "failed"): 6}
    good = {r.tenant: r.folder for r in results if r.status == "ok"}
    assert {name: values(path)["Revenue"] for name, path in good.items()} == {f"shop{n}": n + 3.0 for n in range(6)}
    assert {manifest(path)["engine"]["kernel"] for path in good.values()} == {"forked"}
    assert (lab.home / "reports/index.html").exists()
    zygotes = [psutil.Process(worker.pid).children() for worker in workers]
    assert all(any("zygote" in " ".join(child.cmdline()) for child in children) for children in zygotes)  # both have worked
    again = run_all(lab, "2024-03-09", folder=folder, kind="dask", scheduler=address)
    assert Counter((r.report, r.status) for r in again) == {("sales", "up to date"): 6, ("broken", "failed"): 6}
    made = Counter(line["run_id"] for line in lab.audit.read() if line["action"] == "report" and line["status"] == "ok")
    assert set(made.values()) == {1} and len(made) == 6


def test_a_scheduler_that_does_not_answer_is_one_clear_error(tmp_path):
    lab = Lab.open(tmp_path / "home")
    shop(lab)
    folder = write_report(tmp_path / "r", "sales", OPEN, REVENUE)
    with pytest.raises(ReportError, match="no Dask scheduler answers at tcp://127.0.0.1:1"):
        run_all(lab, folder=folder, kind="dask", scheduler="tcp://127.0.0.1:1")
    with pytest.raises(ReportError, match="--scheduler tcp://host:8786"):
        run_all(lab, folder=folder, kind="dask")
    assert not Path(lab.home / "reports").exists()
