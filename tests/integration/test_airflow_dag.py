"""A real Airflow, in an environment of its own, reads and runs the file of `tenant-lab airflow-dag`."""
import datetime as dt
import json
import os
import random
import subprocess
import sys
import venv
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from report_kit import manifest, shop

from tenant_lab.core.errors import ParameterError
from tenant_lab.reports.airflow import airflow_cron, dag_file, planned
from tenant_lab.reports.cron import next_instant, parse_cron
from tenant_lab.reports.schedule import Schedule, set_schedule
from tenant_lab.reports.spec import ReportSpec
from tenant_lab.tenancy.lab import Lab

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
INSTANT = "2024-04-01T04:00:00+00:00"  # six in Berlin


@pytest.fixture(scope="module")
def environment() -> Path:
    """The folder of Airflow's programs, installed from its lock where that has changed."""
    lock, folder = ROOT / "requirements/airflow.txt", ROOT / ".envs/airflow"
    stamp, programs = folder / ".installed", folder / "bin"
    if not stamp.exists() or stamp.stat().st_mtime < lock.stat().st_mtime:
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([programs / "python", "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps", "--require-hashes",
                        "-r", lock], check=True)
        stamp.touch()
    return programs


@pytest.fixture(scope="module")
def migrated(environment, tmp_path_factory) -> Path:
    """A home of Airflow with its data base."""
    home = tmp_path_factory.mktemp("airflow")
    (home / "dags").mkdir()
    subprocess.run([environment / "airflow", "db", "migrate"], env=settings(environment, home), check=True, capture_output=True, timeout=300)
    return home


def settings(environment: Path, home: Path) -> dict[str, str]:
    own = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "PYTHON", "COV", "VIRTUAL_ENV"))}
    return own | {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
                  "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1", "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
                  "PATH": f"{environment}:{os.environ['PATH']}", "NO_COLOR": "1"}


@pytest.fixture
def airflow(environment, migrated):
    """Runs `airflow` on one DAG file; gives the finished process."""
    file = migrated / "dags/reports.py"

    def run(text, *arguments):
        file.write_text(text)
        return subprocess.run([environment / "airflow", *arguments], env=settings(environment, migrated), capture_output=True, text=True, timeout=300)
    yield run
    file.unlink(missing_ok=True)


@pytest.fixture
def asked(environment, migrated, tmp_path):
    """Runs a program in Airflow's Python, with JSON in and JSON out."""
    def ask(program, given):
        (tmp_path / "ask.py").write_text(f"import json, sys\ngiven = json.load(sys.stdin)\n{program}\nprint(); print(json.dumps(answer))\n")
        done = subprocess.run([environment / "python", tmp_path / "ask.py"], env=settings(environment, migrated), input=json.dumps(given),
                              capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])
    return ask


def planned_one(tenant: str, cron: str | None = "0 6 * * 1", retries: int = 1, missed: str = "catch up", timeout: int = 90) -> Schedule:
    spec = ReportSpec("sales", Path("/nowhere"), "Sales", "", (), retries=retries, timeout=timeout)
    return Schedule(spec, tenant, parse_cron(cron) if cron else None, "Europe/Berlin", missed)


def test_airflow_runs_the_reports_and_they_are_published(airflow, tmp_path):
    lab = Lab.open(tmp_path / "home")
    for name in ("bakery", "shop"):
        shop(lab, name)
        set_schedule(lab, "customer_value", name, "0 6 * * *", "Europe/Berlin")
    program = Path(sys.executable).with_name("tenant-lab")
    found, problems = planned(lab)
    done = airflow(dag_file(found, lab.home, str(program)), "dags", "test", "tenant_lab_0_6_x_x_x_Europe.Berlin", INSTANT)
    assert (done.returncode, problems) == (0, {}), done.stdout + done.stderr
    for name in ("bakery", "shop"):
        said = manifest(lab.home / "reports/customer_value" / name / "latest")
        assert (said["status"], said["tenant"], said["as_of"]) == ("ok", name, "2024-04-01T04:00:00+00:00")


def test_a_failure_is_tried_again_and_wrong_use_is_not(airflow, tmp_path):
    program, calls = tmp_path / "it's {{ a }} $(tenant lab)", tmp_path / "calls"
    program.write_text(f'#!/bin/sh\necho "$4 $6 $7 $TENANT_LAB_HOME" >> "{calls}"\ncase "$4" in poor) exit 1;; wrong) exit 2;; esac\n')
    program.chmod(0o755)
    home = tmp_path / "ho'me {% b %}"
    text = dag_file([planned_one("good"), planned_one("poor", retries=2), planned_one("wrong")], home, str(program))
    done = airflow(text, "dags", "test", "tenant_lab_0_6_x_x_1_Europe.Berlin", INSTANT)
    assert done.returncode != 0
    lines = calls.read_text().splitlines()
    assert {line.partition(" ")[2] for line in lines} == {f"{INSTANT} --json {home}"}
    assert {name: sum(line.startswith(name) for line in lines) for name in ("good", "poor", "wrong")} == {"good": 1, "poor": 3, "wrong": 1}


def test_a_program_that_is_not_there_is_not_tried_again(airflow, tmp_path):
    done = airflow(dag_file([planned_one("shop", retries=3)], tmp_path, "no-such-program"), "dags", "test",
                   "tenant_lab_0_6_x_x_1_Europe.Berlin", INSTANT)
    said = done.stdout + done.stderr
    assert done.returncode != 0 and said.count("[DAG TEST] running task") == 1 and "not found" in said and "is not there" in said


FACTS = """
import datetime as dt
from types import SimpleNamespace
from airflow.dag_processing.dagbag import DagBag
bag = DagBag(given)
answer = {"errors": list(bag.import_errors.values()), "dags": {}}
for name, dag in bag.dags.items():
    answer["dags"][name] = [dag.max_active_runs, dag.catchup, sorted(dag.tags), {
        t.task_id: [t.task_group.group_id, t.retries, t.execution_timeout.total_seconds(), list(t.template_fields)] for t in dag.tasks}]
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk.exceptions import AirflowSkipException
BashOperator.execute = lambda self, context: "ran"
due = dt.datetime(2024, 4, 1, 4, tzinfo=dt.timezone.utc)
task = {t.task_id: t for t in bag.dags["tenant_lab_0_6_x_x_1_Europe.Berlin"].tasks}
def became(name, minutes, run_type="scheduled", clear_number=0):
    run = SimpleNamespace(run_type=run_type, clear_number=clear_number, data_interval_end=due, start_date=due + dt.timedelta(minutes=minutes))
    try:
        return type(task[name]).execute.__wrapped__(task[name], {"dag_run": run})
    except AirflowSkipException:
        return "skipped"
answer["became"] = [became("skips.sales", 59), became("skips.sales", 61), became("skips.sales", 61, "manual"), became("skips.sales", 61, "backfill"),
                    became("skips.sales", 61, clear_number=1), became("catches.sales", 9999)]
"""


def test_airflow_reads_what_was_meant(asked, tmp_path):
    (tmp_path / "dags").mkdir()
    found = [planned_one("catches", retries=0), planned_one("skips", missed="skip"), planned_one("late", "0 7 * * 1"), planned_one("manual", None)]
    (tmp_path / "dags/reports.py").write_text(dag_file(found, "/srv/lab"))
    answer = asked(FACTS, str(tmp_path / "dags"))
    assert answer["errors"] == []

    def dag(*tasks):
        return [1, False, ["tenant_lab"], {f"{t}.sales": [t, retries, 90 + 300, ["bash_command"]] for t, retries in tasks}]
    assert answer["dags"] == {"tenant_lab_0_6_x_x_1_Europe.Berlin": dag(("catches", 0), ("skips", 1)),
                              "tenant_lab_0_7_x_x_1_Europe.Berlin": dag(("late", 1)), "tenant_lab_on_demand": dag(("manual", 1))}
    assert answer["became"] == ["ran", "skipped", "ran", "ran", "ran", "ran"]


NEXT = """
import datetime as dt, pendulum
from airflow.timetables.base import DataInterval, TimeRestriction
from airflow.timetables.trigger import CronTriggerTimetable
answer = []
for cron, zone, after in given:
    table, times = CronTriggerTimetable(cron, timezone=zone), []
    at = pendulum.instance(dt.datetime.fromisoformat(after))
    for _ in range(4):
        at = table.next_dagrun_info(last_automated_data_interval=DataInterval.exact(at), restriction=TimeRestriction(None, None, True)).data_interval.end
        times.append(at.isoformat())
    answer.append(times)
"""


def test_airflow_runs_at_the_instants_of_the_schedule(asked, record_property):
    """Oracle: Airflow's own timetable. Around a change of clocks it differs, as the notebook says under limits."""
    seed = 20240331
    record_property("seed", seed)
    rng, asked_for, crons = random.Random(seed), [], []
    while len(crons) < 300:
        dom, dow = rng.choice(["*", "*", "1", "1,15", "*/9", "1-31", "28-31"]), rng.choice(["*", "*", "1", "SUN", "FRI-SUN", "*/3", "0-7", "7"])
        minute, hour = rng.choice(["0", "*/20", "5-50/15", "*", "59"]), rng.choice(["6", "*", "*/5", "8-18", "1,2,4", "0"])
        cron = parse_cron(f"{minute} {hour} {dom} {rng.choice(['*', '2', 'JAN-MAR', '*/5'])} {dow}")
        after = dt.datetime(2024, rng.randint(1, 12), rng.randint(1, 28), rng.randint(0, 23), rng.randint(0, 59), tzinfo=dt.UTC)
        try:
            asked_for.append((airflow_cron(cron), rng.choice(["UTC", "Asia/Tokyo", "Asia/Kolkata", "Europe/Berlin"]), after.isoformat()))
            crons.append(cron)
        except ParameterError:
            pass
    changes, compared = {dt.date(year, month, day) for year, month, day in ((2024, 3, 31), (2024, 10, 27), (2025, 3, 30), (2025, 10, 26))}, 0
    for cron, (_, zone, after), times in zip(crons, asked_for, asked(NEXT, asked_for), strict=True):
        at = dt.datetime.fromisoformat(after)
        for theirs in times:
            before, at = at.astimezone(ZoneInfo(zone)), next_instant(cron, zone, at)
            if (zone == "Europe/Berlin" and at.date() in changes) or (cron.hourly and before.utcoffset() != at.utcoffset()):
                break
            assert at == dt.datetime.fromisoformat(theirs), (cron.text, zone, after)
            compared += 1
    assert compared > 1000


def test_airflows_own_ways_around_a_change_of_clocks(asked):
    """What the notebook says under limits: 02:30 is left out on 31 March 2024 and doubled on 27 October in Berlin."""
    given = [["30 2 * * *", "Europe/Berlin", "2024-03-30T12:00:00+00:00"], ["30 2 * * *", "Europe/Berlin", "2024-10-26T12:00:00+00:00"],
             ["59 * 1 * *", "Europe/Berlin", "2024-10-02T12:00:00+00:00"]]
    theirs = [dt.datetime.fromisoformat(times[0]) for times in asked(NEXT, given)]
    ours = [next_instant(parse_cron(cron), zone, dt.datetime.fromisoformat(after)) for cron, zone, after in given]
    assert [(a - b) / dt.timedelta(minutes=1) for a, b in zip(theirs, ours, strict=True)] == [30, 60, -60]
