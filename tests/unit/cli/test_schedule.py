"""`tenant-lab schedule` in a shell."""
import datetime as dt
import json
import subprocess
import sys

import pytest
from report_kit import write_report

import tenant_lab.reports.fleet as fleet
import tenant_lab.reports.schedule as schedule
from tenant_lab.cli import main as cli
from tenant_lab.reports.runner import RunResult
from tenant_lab.reports.scheduler import Service, remembered

DAY = dt.timedelta(days=1)


@pytest.fixture
def folder(tmp_path, monkeypatch, lab):
    """The shell's reports: `sales`, daily at six, and `manual`."""
    root = write_report(tmp_path / "scheduled", "sales", toml='schedule = "0 6 * * *"\n')
    monkeypatch.setattr(schedule, "shipped", lambda name: write_report(root, "manual"))
    return root


@pytest.fixture
def call(capsys, folder):
    """Runs a command; gives its exit status, stdout and stderr."""
    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as status:
            cli.main(["schedule", *map(str, arguments)])
        out, err = capsys.readouterr()
        return status.value.code or 0, out, err
    return run


def listed(call) -> dict:
    status, out, _ = call("list", "--json")
    return {f"{row['report']}/{row['tenant']}": row for row in json.loads(out)}


def test_set_list_unset(call, lab):
    assert listed(call)["sales/shop"] | {"next": ""} == {"report": "sales", "tenant": "shop", "cron": "0 6 * * *", "time_zone": "UTC",
                                                         "missed": "catch up", "set_by": "report", "last": None, "next": ""}
    status, out, err = call("set", "sales", "shop", "0 7 * * MON", "--time-zone", "Europe/Paris", "--missed", "skip")
    assert (status, err) == (0, "") and out.startswith("sales for shop: 0 7 * * MON in Europe/Paris, missed runs: skip; next ")
    row = listed(call)["sales/shop"]
    assert (row["cron"], row["time_zone"], row["missed"], row["set_by"]) == ("0 7 * * MON", "Europe/Paris", "skip", "tenant")
    coming = dt.datetime.fromisoformat(row["next"])
    assert (coming.hour, coming.weekday()) == (7, 0) and coming.utcoffset() in (dt.timedelta(hours=1), dt.timedelta(hours=2))
    assert call("set", "sales", "shop", "off")[1] == "sales for shop: off\n"
    row = listed(call)["sales/shop"]
    assert (row["cron"], row["next"]) == ("off", None)
    assert call("unset", "sales", "shop")[:2] == (0, "sales for shop: as the report has it\n")
    assert listed(call)["sales/shop"]["cron"] == "0 6 * * *"
    assert "0 6 * * *" in call("list")[1]


def test_a_schedule_that_waits_for_a_table_says_so(call, lab):
    lab.create_tenant("empty")
    assert "waits for the table purchases, which empty does not have" in call("set", "manual", "empty", "0 7 * * *")[1]
    assert "manual/empty" not in listed(call)


def test_next(call):
    call("set", "manual", "shop", "0 7 * * *", "--time-zone", "Asia/Tokyo")
    rows = json.loads(call("next", "4", "--json")[1])
    instants = [dt.datetime.fromisoformat(row["at"]) for row in rows]
    assert instants == sorted(instants) and [row["report"] for row in rows[:2]] != [row["report"] for row in rows[1:3]]
    assert {row["at"][10:] for row in rows} == {"T06:00+00:00", "T07:00+09:00"}
    assert len(call("next")[1].splitlines()) == 11               # ten, and the heading


@pytest.mark.parametrize("arguments, status, said", [
    (["set", "sales", "shop", "0 25 * * *"], 2, "hour: '25' is out of its limits; allowed are 0 to 23"),
    (["set", "sales", "shpo", "0 6 * * *"], 2, "there is no tenant 'shpo'"), (["set", "sale", "shop", "off"], 2, "allowed are manual, sales"),
    (["set", "sales", "shop", "0 6 * * *", "--time-zone", "Mars"], 2, "IANA"), (["unset", "sales", "shop"], 2, "no schedule was set"),
    (["set", "sales", "shop", "0 6 * * *", "--missed", "never"], 2, "allowed are catch up, skip"), (["next", "0"], 2, "number of runs 0")])
def test_wrong_use_is_one_line_and_status_2(call, arguments, status, said):
    found, out, err = call(*arguments)
    assert (found, out) == (status, "") and said in err and err.startswith("error: ") and err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["set", "sales", "shop", "*/15", "*", "*", "*", "*"], ["next", "many"], ["set", "sales"], []])
def test_wrong_usage_is_status_2(call, arguments):
    status, _, err = call(*arguments)
    assert status == 2 and "Traceback" not in err


def test_what_is_broken_is_said_beside_the_rest(call, folder):
    write_report(folder, "odd", toml='schedule = "0 6 * * 9"\n')
    for command in ("list", "next"):
        status, out, err = call(command, "--json")
        assert status == 1 and {row["report"] for row in json.loads(out)} == {"sales"}
        assert err.startswith("error: ") and "odd" in err and "'9'" in err and err.count("\n") == 1


def test_unreadable_files_are_one_line_and_status_1(call, lab):
    (lab.home / "schedules.sqlite").write_text("no data base")
    for command in (["list"], ["run", "--once"]):
        status, _, err = call(*command)
        assert status == 1 and "schedules.sqlite cannot be read" in err and err.count("\n") == 1
    (lab.home / "schedules.json").write_text("{")
    for command in (["list"], ["next"], ["set", "sales", "shop", "off"], ["unset", "sales", "shop"]):
        status, _, err = call(*command)
        assert status == 1 and "schedules.json cannot be read" in err and err.count("\n") == 1


@pytest.mark.parametrize("state, expected", [("ok", 0), ("up to date", 0), ("failed", 1), ("refused", 1)])
def test_run_once_makes_what_is_due_and_its_status_says_how_it_went(call, lab, folder, monkeypatch, state, expected):
    service = Service(lab, folder, None, print, lambda: dt.datetime.now(dt.UTC) - 3 * DAY)
    service.tick()
    service.scheduler.shutdown()
    monkeypatch.setattr(fleet, "run", lambda lab, plan, force, wait: RunResult("sales", "shop", plan.as_of, "", state, "", 1.0, None))
    status, out, err = call("run", "--once")
    last = remembered(lab)["sales/shop"]["last"]
    assert (status, err) == (expected, "") and out == f"sales/shop: as of {last.isoformat()} {state}, 1.0 s\n"
    assert call("run", "--once") == (0, "", "")
    assert listed(call)["sales/shop"]["last"] == last.isoformat(timespec="minutes")


@pytest.mark.parametrize("minutes, made", [(30, True), (90, False)])
def test_a_timer_may_be_up_to_an_hour_late_where_missed_runs_are_skipped(call, lab, folder, monkeypatch, minutes, made):
    instant = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=minutes)
    write_report(folder, "sales", toml=f'schedule = "{instant.minute} {instant.hour} * * *"\nmissed = "skip"\n')
    service = Service(lab, folder, None, print, lambda: instant - DAY / 2)
    service.tick()
    service.scheduler.shutdown()
    monkeypatch.setattr(fleet, "run", lambda lab, plan, force, wait: RunResult("sales", "shop", plan.as_of, "", "ok", "", 1.0, None))
    status, out, _ = call("run", "--once")
    assert (status, "ok, 1.0 s" in out, "was missed, and is skipped" in out) == (0, made, not made)


def test_help_loads_neither_engine_nor_apscheduler():
    code = "import sys\nfrom tenant_lab.cli.schedule import schedule_app\nprint(sorted({m.partition('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "'typer'" in loaded and not {word for word in ("pandas", "duckdb", "apscheduler", "sqlalchemy", "papermill") if f"'{word}'" in loaded}
