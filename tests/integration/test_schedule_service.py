"""The service as a process: killed, stopped, started again and started twice; runs are real."""
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from report_kit import OPEN, REVENUE, manifest, shop, values, write_report

from tenant_lab.reports.cron import parse_cron, previous_instant
from tenant_lab.reports.fleet import scheduled
from tenant_lab.reports.schedule import schedules, set_schedule
from tenant_lab.reports.scheduler import Service, remembered
from tenant_lab.tenancy.lab import Lab

CODE = """
import sys
from pathlib import Path
from tenant_lab.reports.scheduler import serve
from tenant_lab.tenancy.lab import Lab
results = serve(Lab.open(sys.argv[1]), Path(sys.argv[2]), once=sys.argv[3] == "once", say=lambda text: print(text, flush=True), pause=0.2)
print(len(results), "results")
"""
SLOW = "import time\ntime.sleep(1.5)"
NOW = dt.datetime.now(dt.UTC)
DAILY = f"{NOW.minute} {(NOW - dt.timedelta(hours=2)).hour} * * *"       # two hours ago, and not again before tomorrow
MISSED = previous_instant(parse_cron(DAILY), "UTC", NOW)


@pytest.fixture
def lab(tmp_path) -> Lab:
    made = Lab.open(tmp_path / "home")
    shop(made)
    return made


@pytest.fixture
def folder(lab, tmp_path) -> Path:
    """A slow report that is caught up and one that is skipped; their service last ran four days ago."""
    root = write_report(tmp_path / "reports", "sales", OPEN, REVENUE, SLOW, toml=f'schedule = "{DAILY}"\n')
    write_report(root, "skipped", OPEN, REVENUE, toml=f'schedule = "{DAILY}"\nmissed = "skip"\n')
    service = Service(lab, root, scheduled, print, lambda: NOW - dt.timedelta(days=4))
    assert service.tick() == []
    service.scheduler.shutdown()
    return root


@pytest.fixture
def start(lab, folder):
    """Starts the service; what is still there at the end is killed."""
    started = []

    def process(how="for ever"):
        started.append(subprocess.Popen([sys.executable, "-c", CODE, str(lab.home), str(folder), how], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, start_new_session=True))
        return started[-1]
    yield process
    for one in started:
        if one.poll() is None:
            one.kill()
        one.communicate()


def until_it_runs(lab, process) -> None:
    """Waits until the notebook of `sales` is being made."""
    for _ in range(2000):
        if [p for p in (lab.home / "reports" / ".running").glob("*/*") if "sales" not in p.name]:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    pytest.fail("nothing runs")


def published(lab) -> list[dict]:
    return [manifest(p.parent) for p in sorted((lab.home / "reports").glob("*/*/*/*/manifest.json")) if not p.parent.is_symlink()]


def next_line(process) -> str:
    return process.stdout.readline().strip()


def test_killed_in_mid_run_nothing_is_lost_and_what_was_missed_is_caught_up_once(lab, folder, start):
    set_schedule(lab, "skipped", "shop", DAILY, "Asia/Kolkata", folder=folder, now=NOW - dt.timedelta(days=4))
    before = [(s.id, s.cron, s.time_zone, s.missed) for s in schedules(lab, folder)[0]]
    first = start()
    until_it_runs(lab, first)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert published(lab) == []
    assert remembered(lab)["sales/shop"] == {"handled": NOW - dt.timedelta(days=4), "last": None, "begun": MISSED}
    assert [(s.id, s.cron, s.time_zone, s.missed) for s in schedules(lab, folder)[0]] == before
    second = start()
    assert next_line(second).startswith(f"sales/shop: as of {MISSED.isoformat()} ok")
    assert next_line(second).startswith("2 schedules; next is ")
    second.send_signal(signal.SIGTERM)
    out, err = second.communicate(timeout=20)
    assert (second.returncode, err) == (0, ""), err
    assert out == "0 results\n"
    (run,) = published(lab)
    assert (run["report"], run["as_of"], run["status"]) == ("sales", MISSED.isoformat(), "ok")
    third = start("once")
    assert third.communicate(timeout=20)[0] == "0 results\n"
    assert published(lab) == [run]
    assert json.loads((lab.home / "schedules.json").read_text())["schedules"].keys() == {"skipped/shop"}


@pytest.mark.parametrize("how", ["for ever", "once"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_gives_the_run_up_and_the_next_start_makes_it(lab, folder, start, how, number):
    write_report(folder, "sales", OPEN, REVENUE, "import time\ntime.sleep(50)", toml=f'schedule = "{DAILY}"\n')
    service = start(how)
    until_it_runs(lab, service)
    os.killpg(service.pid, number)                               # as Ctrl-C in a terminal does: to all processes of the group
    out, err = service.communicate(timeout=20)
    assert (service.returncode, published(lab)) == (0, []) and "Traceback" not in err, err
    assert f"sales/shop: as of {MISSED.isoformat()} was given up" in out
    assert not list((lab.home / "reports" / ".running").iterdir())
    write_report(folder, "sales", OPEN, REVENUE, toml=f'schedule = "{DAILY}"\nmissed = "skip"\n')
    out, err = start("once").communicate(timeout=20)
    assert out.endswith("1 results\n") and f"sales/shop: as of {MISSED.isoformat()} ok" in out, err
    assert [run["as_of"] for run in published(lab)] == [MISSED.isoformat()]
    assert values(lab.home / "reports" / "sales" / "shop" / "latest") == {"Revenue": 22.5}


def test_a_second_service_is_told(lab, folder, start):
    first = start()
    until_it_runs(lab, first)
    second = start("once")
    _, err = second.communicate(timeout=20)
    assert second.returncode == 1 and "another process runs the schedules of" in err
    assert next_line(first).startswith("skipped/shop") and next_line(first).startswith("sales/shop: as of")
    assert len(published(lab)) == 1
