"""Schedules of a lab: the report's, the tenant's own, and what is said of those that cannot be read."""
import datetime as dt
import json
import multiprocessing
from pathlib import Path

import pandas as pd
import pytest
from report_kit import PURCHASES, write_report

from tenant_lab.core.errors import ParameterError, StoreError
from tenant_lab.reports.schedule import locked, schedules, set_schedule, unset_schedule, upcoming
from tenant_lab.tenancy.lab import Lab

NOW = dt.datetime(2024, 7, 1, 12, tzinfo=dt.UTC)


@pytest.fixture
def daily(tmp_path) -> Path:
    """Reports: `sales` at six, `weekly` on Mondays in New York, `manual` without a schedule."""
    root = write_report(tmp_path / "scheduled", "sales", toml='schedule = "0 6 * * *"\n')
    write_report(root, "weekly", toml='schedule = "30 7 * * MON"\ntime_zone = "America/New_York"\nmissed = "skip"\n')
    return write_report(root, "manual")


def by_name(lab, folder):
    found, problems = schedules(lab, folder)
    assert problems == {}
    return {s.id: s for s in found}


def entries(lab) -> dict:
    return json.loads((lab.home / "schedules.json").read_text())["schedules"]


def test_a_schedule_is_the_reports_and_its_zone_the_tenants(lab, daily):
    lab.create_tenant("empty")                                   # has no table
    lab.create_tenant("paris", "Europe/Paris").ingest("purchases", pd.DataFrame(PURCHASES))
    found = by_name(lab, daily)
    assert sorted(found) == ["sales/paris", "sales/shop", "weekly/paris", "weekly/shop"]
    assert [(s.time_zone, s.missed, s.origin) for s in (found["sales/paris"], found["weekly/paris"])] == [
        ("Europe/Paris", "catch up", "report"), ("America/New_York", "skip", "report")]
    assert found["sales/paris"].next(NOW).isoformat() == "2024-07-02T06:00:00+02:00"


def test_what_a_tenant_sets_goes_before_and_is_forgotten_again(lab, daily):
    made = set_schedule(lab, "weekly", "shop", " 0  7 * * * ", folder=daily, now=NOW)
    assert (made.cron.text, made.time_zone, made.missed, made.origin, made.since) == ("0 7 * * *", "America/New_York", "skip", "tenant", NOW)
    set_schedule(lab, "sales", "shop", "0 8 * * *", "Asia/Tokyo", "skip", daily)
    set_schedule(lab, "manual", "shop", "0 9 * * *", folder=daily)   # a report without a schedule of its own
    again = by_name(Lab.open(lab.home), daily)
    assert again["weekly/shop"] == made
    assert {n: (s.cron.text, s.time_zone, s.missed) for n, s in again.items()} == {
        "weekly/shop": ("0 7 * * *", "America/New_York", "skip"), "sales/shop": ("0 8 * * *", "Asia/Tokyo", "skip"),
        "manual/shop": ("0 9 * * *", "UTC", "catch up")}
    for report in ("weekly", "sales", "manual"):
        unset_schedule(lab, report, "shop")
    assert {n: s.cron.text for n, s in by_name(lab, daily).items()} == {"sales/shop": "0 6 * * *", "weekly/shop": "30 7 * * MON"}
    assert [line["cron"] for line in lab.audit.read("shop") if line["action"] == "schedule"][-1] == "as the report has it"


def test_off_is_a_schedule_that_never_comes(lab, daily):
    set_schedule(lab, "sales", "shop", "off", folder=daily)
    assert by_name(lab, daily)["sales/shop"].cron is None
    assert [s.id for _, s in upcoming(by_name(lab, daily).values(), 3, NOW)] == ["weekly/shop"] * 3


@pytest.mark.parametrize("arguments, said", [
    (("sale", "shop", "0 6 * * *"), "report 'sale': allowed are manual, sales, weekly"), (("../sales", "shop", "off"), "allowed are manual"),
    (("sales", "shpo", "0 6 * * *"), "there is no tenant 'shpo'"), (("sales", "../shop", "off"), "allowed are 1 to 63"),
    (("sales", "shop", "0 6 * *"), "needs five fields"), (("sales", "shop", ""), "needs five fields"), (("sales", "shop", "Off"), "five fields"),
    (("sales", "shop", "0 6 30 2 *"), "never comes"), (("sales", "shop", "0 6 * * *", "Europe/Bonn"), "IANA"),
    (("sales", "shop", "off", "Europe/Bonn"), "IANA"), (("sales", "shop", "0 6 * * *", "", "never"), "missed 'never': allowed are catch up, skip")])
def test_wrong_settings_change_nothing(lab, daily, arguments, said):
    set_schedule(lab, "weekly", "shop", "0 7 * * *", folder=daily)
    before = (lab.home / "schedules.json").read_bytes()
    with pytest.raises(ParameterError) as error:
        set_schedule(lab, *arguments, folder=daily)
    assert said in str(error.value)
    assert (lab.home / "schedules.json").read_bytes() == before


def test_unset_of_what_was_not_set(lab, daily):
    with pytest.raises(ParameterError, match="no schedule was set for sales and shop; there are none"):
        unset_schedule(lab, "sales", "shop")
    set_schedule(lab, "weekly", "shop", "0 7 * * *", folder=daily)
    with pytest.raises(ParameterError, match="there are weekly/shop"):
        unset_schedule(lab, "sales", "shop")
    assert list(entries(lab)) == ["weekly/shop"]


# ---- what cannot be read ----
@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 2, "schedules": {}}', '{"format": 1}', '{"format": 1, "schedules": []}', b"\xff"])
def test_an_unreadable_file_is_said_and_never_overwritten(lab, daily, content):
    path = lab.home / "schedules.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for use in (lambda: schedules(lab, daily), lambda: set_schedule(lab, "sales", "shop", "off", folder=daily),
                lambda: unset_schedule(lab, "sales", "shop")):
        with pytest.raises(StoreError, match="schedules.json"):
            use()
    assert path.read_bytes() == (content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("entry", [{"cron": "0 25 * * *", "since": NOW.isoformat()}, {"cron": 5, "since": NOW.isoformat()}, {"cron": "off"}, 7, [],
                                   {"cron": "off", "since": "yesterday"}, {"cron": "off", "since": NOW.isoformat(), "time_zone": 5},
                                   {"cron": "off", "since": NOW.isoformat(), "missed": [1]}, {"since": NOW.isoformat()}])
def test_a_damaged_entry_stops_no_other(lab, daily, entry):
    (lab.home / "schedules.json").write_text(json.dumps({"format": 1, "schedules": {"sales/shop": entry, "gone/shop": 1, "sales/gone": 1}}))
    found, problems = schedules(lab, daily)
    assert [s.id for s in found] == ["weekly/shop"] and list(problems) == ["sales/shop"]
    assert "sales/shop" in problems["sales/shop"]
    set_schedule(lab, "sales", "shop", "0 7 * * *", folder=daily)
    assert sorted(by_name(lab, daily)) == ["sales/shop", "weekly/shop"]


def test_a_broken_report_or_tenant_stops_no_other(lab, daily):
    lab.create_tenant("bad").ingest("purchases", pd.DataFrame(PURCHASES))
    (lab.home / "tenants" / "bad" / "tenant.json").write_text("{")
    (daily / "sales" / "report.toml").write_text("title = ")
    write_report(daily, "odd", toml='schedule = "0 6 * * 9"\n')
    found, problems = schedules(lab, daily)
    assert [s.id for s in found] == ["weekly/shop"]
    assert {"sales/", "/bad"} < set(problems) and all(word in " ".join(problems.values()) for word in ("report.toml", "tenant.json", "'9'"))


# ---- what comes next ----
def test_the_next_runs_over_all_schedules_are_in_order(lab, daily):
    coming = [(at.isoformat(timespec="minutes"), s.id) for at, s in upcoming(by_name(lab, daily).values(), 9, NOW - dt.timedelta(hours=6))]
    assert coming[:2] == [("2024-07-01T07:30-04:00", "weekly/shop"), ("2024-07-02T06:00+00:00", "sales/shop")]
    assert coming == sorted(coming, key=lambda c: dt.datetime.fromisoformat(c[0])) and len(coming) == 9
    assert upcoming([], 5, NOW) == []
    for n in (0, -1, 1.5, 10**9):
        with pytest.raises(ParameterError, match="number of runs"):
            upcoming([], n, NOW)


# ---- two at once ----
def _set_many(home, folder, reports):
    for report in reports:
        set_schedule(Lab.open(home), report, "shop", "0 7 * * *", folder=folder)


def test_settings_of_two_processes_are_both_kept(lab, daily):
    names = [f"r{i}" for i in range(16)]
    for name in names:
        write_report(daily, name)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_set_many, args=(lab.home, daily, names[i::2])) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(entries(lab)) == sorted(f"{name}/shop" for name in names)


def _try(path, answers):
    with locked(path, wait=False) as free:
        answers.put(free)


def test_a_lock_is_held_between_processes_and_not_by_forked_ones(tmp_path):
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    with locked(tmp_path / "lock") as free:
        assert free
        other = context.Process(target=_try, args=(tmp_path / "lock", answers))
        other.start()
        other.join()
        assert answers.get() is False
        reader, writer = context.Pipe()
        child = context.Process(target=reader.recv)              # inherits all descriptors and outlives the lock
        child.start()
    third = context.Process(target=_try, args=(tmp_path / "lock", answers))
    third.start()
    third.join()
    assert answers.get() is True
    writer.send("end")
    child.join()
