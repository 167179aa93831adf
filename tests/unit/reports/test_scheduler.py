"""The service with a clock of its own: what is due, caught up, skipped and remembered. Real processes: tests/integration."""
import datetime as dt
import pickle
import shutil
import sqlite3
import sys
import threading

import pandas as pd
import pytest
from report_kit import PURCHASES, write_report

import tenant_lab.reports.scheduler as scheduler
from tenant_lab.core.errors import ParameterError, StoreError
from tenant_lab.reports.cron import next_instant, parse_cron
from tenant_lab.reports.runner import RunResult
from tenant_lab.reports.schedule import set_schedule, unset_schedule
from tenant_lab.reports.scheduler import Service, remembered, serve, trigger

HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
NOON = dt.datetime(2024, 7, 1, 12, tzinfo=dt.UTC)


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


class Bench:
    """A lab's service, started, stopped and killed at will on a clock that the test sets; runs are only noted."""

    def __init__(self, lab, folder):
        self.lab, self.folder, self.now, self.lines, self.runs, self.service = lab, folder, NOON, [], [], None
        self.status = "ok"

    def execute(self, lab, waiting, done):
        for one in waiting:
            self.runs.append((one.schedule.id, one.as_of))
            done(one, RunResult(one.schedule.spec.name, one.schedule.tenant, one.as_of, "", self.status, "", 0.0))

    def start(self, execute=None, grace=dt.timedelta()):
        self.stop()
        self.service = Service(self.lab, self.folder, execute or self.execute, lambda line: self.lines.append(line), lambda: self.now, grace)

    def stop(self):
        if self.service:
            self.service.scheduler.shutdown()
            self.service = None

    def tick(self, now=None) -> list:
        """What is run at `now`; the service is started where it is not."""
        self.now, self.runs, self.lines = now or self.now, [], []
        if self.service is None:
            self.start()
        self.service.tick()
        return self.runs


@pytest.fixture
def bench(lab, tmp_path):
    made = Bench(lab, write_report(tmp_path / "scheduled", "sales", toml='schedule = "0 6 * * *"\n'))
    yield made
    made.stop()


# ---- running, restarting ----
def test_a_run_is_made_at_its_instant_and_once(bench):
    assert bench.tick(NOON) == []                                # first seen at noon: six o'clock was before its time
    assert bench.tick(NOON + 18 * HOUR - dt.timedelta(seconds=1)) == []
    assert bench.tick(NOON + 18 * HOUR) == [("sales/shop", "2024-07-02T06:00:00+00:00")]
    assert bench.tick(NOON + 18 * HOUR) == bench.tick(NOON + DAY) == []
    assert remembered(bench.lab)["sales/shop"] == {"handled": at("2024-07-02T06:00+00:00"), "last": at("2024-07-02T06:00+00:00"),
                                                   "begun": at("2024-07-02T06:00+00:00")}


def test_what_was_missed_is_caught_up_once_as_of_its_last_instant(bench):
    bench.tick(NOON)
    bench.stop()
    assert bench.tick(NOON + 5 * DAY) == [("sales/shop", "2024-07-06T06:00:00+00:00")]
    bench.stop()
    assert bench.tick(NOON + 5 * DAY) == []


def test_what_was_missed_is_skipped_where_that_is_wanted(bench):
    write_report(bench.folder, "sales", toml='schedule = "0 6 * * *"\nmissed = "skip"\n')
    bench.tick(NOON)
    bench.stop()
    assert bench.tick(NOON + 5 * DAY) == [] and "2024-07-06T06:00+00:00 was missed, and is skipped" in bench.lines[0]
    assert bench.tick(NOON + 5 * DAY) == bench.lines == []       # said once
    assert bench.tick(NOON + 6 * DAY) == [("sales/shop", "2024-07-07T06:00:00+00:00")]     # running since before it
    assert remembered(bench.lab)["sales/shop"]["last"] == at("2024-07-07T06:00+00:00")


def test_a_timers_call_that_is_a_little_late_has_missed_nothing(bench):
    write_report(bench.folder, "sales", toml='schedule = "0 6 * * *"\nmissed = "skip"\n')
    bench.tick(NOON)
    for now, expected in [(at("2024-07-02T06:59+00:00"), ["2024-07-02T06:00:00+00:00"]), (at("2024-07-03T07:01+00:00"), [])]:
        bench.now = now
        bench.start(grace=scheduler.JUMP)
        assert [as_of for _, as_of in bench.tick(now)] == expected


def test_a_run_that_takes_long_is_followed_by_one_run(bench):
    set_schedule(bench.lab, "sales", "shop", "* * * * *", folder=bench.folder, now=NOON)

    def slow(lab, waiting, done):
        bench.now += HOUR
        Bench.execute(bench, lab, waiting, done)
    bench.start(slow)
    assert bench.tick(NOON + dt.timedelta(minutes=1)) == [("sales/shop", "2024-07-01T12:01:00+00:00")]
    assert bench.tick(bench.now) == [("sales/shop", "2024-07-01T13:01:00+00:00")]


@pytest.mark.parametrize("missed", ["catch up", "skip"])
def test_what_was_killed_halfway_is_made_again_also_where_missed_runs_are_skipped(bench, missed):
    write_report(bench.folder, "sales", toml=f'schedule = "0 6 * * *"\nmissed = "{missed}"\n')

    def killed(lab, waiting, done):
        raise SystemExit(137)
    bench.tick(NOON)
    bench.start(killed)
    with pytest.raises(SystemExit):
        bench.tick(NOON + DAY)
    assert remembered(bench.lab)["sales/shop"]["last"] is None
    bench.stop()
    assert bench.tick(NOON + DAY + HOUR) == [("sales/shop", "2024-07-02T06:00:00+00:00")]


@pytest.mark.parametrize("status", ["failed", "refused", "up to date"])
def test_whatever_a_run_came_to_its_next_chance_is_the_next_instant(bench, status):
    bench.status = status
    bench.tick(NOON)
    assert len(bench.tick(NOON + DAY)) == 1 and bench.tick(NOON + DAY + HOUR) == []
    assert len(bench.tick(NOON + 2 * DAY)) == 1


def test_what_was_given_up_when_the_service_ended_is_made_at_the_next_start(bench):
    for name in ("second", "third", "fourth"):
        write_report(bench.folder, name, toml='schedule = "0 6 * * *"\nmissed = "skip"\n')

    def interrupted(lab, waiting, done):                         # one done, one given up, one good in spite of it, one never begun
        Bench.execute(bench, lab, waiting[:1], done)
        bench.service.stop()
        bench.status = "refused"
        Bench.execute(bench, lab, waiting[1:2], done)
        bench.status = "ok"
        Bench.execute(bench, lab, waiting[2:3], done)
        raise KeyboardInterrupt
    bench.tick(NOON)
    bench.start(interrupted)
    made = [name for name, _ in bench.tick(NOON + DAY)]
    assert len(made) == 3 and f"{made[1]}: as of 2024-07-02T06:00:00+00:00 was given up; the next start makes it" in bench.lines
    assert bench.tick(NOON + DAY) == []                          # it has stopped
    bench.stop()
    again = [name for name, _ in bench.tick(NOON + DAY + HOUR)]
    assert len(again) == 2 and made[1] in again and not {made[0], made[2]} & set(again)


def test_an_interrupt_that_nobody_asked_for_is_not_swallowed(bench):
    def interrupted(lab, waiting, done):
        raise KeyboardInterrupt
    bench.tick(NOON)
    bench.start(interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench.tick(NOON + DAY)


# ---- instants ----
def test_as_of_is_the_instant_in_the_tenants_zone(bench, lab):
    lab.create_tenant("paris", "Europe/Paris").ingest("purchases", pd.DataFrame(PURCHASES))
    set_schedule(lab, "sales", "shop", "0 6 * * *", "Asia/Tokyo", folder=bench.folder, now=NOON)
    bench.tick(NOON)
    assert sorted(bench.tick(NOON + DAY)) == [("sales/paris", "2024-07-02T06:00:00+02:00"), ("sales/shop", "2024-07-01T21:00:00+00:00")]
    set_schedule(lab, "sales", "paris", "0 0 * * *", folder=bench.folder, now=NOON + DAY)
    bench.tick(NOON + DAY)
    assert dict(bench.tick(NOON + 2 * DAY))["sales/paris"] == "2024-07-02"     # midnight is the end of the day before


def test_what_is_due_runs_in_the_order_of_its_instants(bench):
    write_report(bench.folder, "early", toml='schedule = "0 3 * * *"\n')
    write_report(bench.folder, "tardy", toml='schedule = "0 9 * * *"\n')
    bench.tick(NOON)
    assert [name for name, _ in bench.tick(NOON + DAY)] == ["early/shop", "sales/shop", "tardy/shop"]


# ---- changes while it runs ----
def test_a_new_schedule_begins_when_it_was_set_and_not_before(bench, lab):
    bench.tick(NOON)
    set_schedule(lab, "sales", "shop", "30 * * * *", folder=bench.folder, now=NOON + HOUR)
    assert bench.tick(NOON + HOUR) == []                         # 12:30 was before it was set
    bench.stop()
    set_schedule(lab, "sales", "shop", "45 * * * *", folder=bench.folder, now=NOON + 2 * HOUR)
    assert bench.tick(NOON + 3 * HOUR) == [("sales/shop", "2024-07-01T14:45:00+00:00")]     # set before, missed since
    unset_schedule(lab, "sales", "shop")
    assert bench.tick(NOON + 20 * HOUR) == []                    # six o'clock went by while it did not hold
    assert bench.tick(NOON + 43 * HOUR) == [("sales/shop", "2024-07-03T06:00:00+00:00")]


def test_a_zone_that_the_report_changes_makes_up_for_nothing(bench, lab):
    set_schedule(lab, "sales", "shop", "0 9 * * *", folder=bench.folder, now=NOON)
    bench.tick(NOON)
    assert len(bench.tick(NOON + 2 * DAY)) == 1
    write_report(bench.folder, "sales", toml='schedule = "0 6 * * *"\ntime_zone = "America/New_York"\n')
    assert bench.tick(NOON + 2 * DAY + 2 * HOUR) == []           # nine o'clock in New York was an hour ago
    assert bench.tick(NOON + 3 * DAY + 2 * HOUR) == [("sales/shop", "2024-07-04T13:00:00+00:00")]


def test_switched_off_and_on_again(bench, lab):
    bench.tick(NOON)
    set_schedule(lab, "sales", "shop", "off", folder=bench.folder)
    assert bench.tick(NOON + DAY) == [] and remembered(lab) == {}
    unset_schedule(lab, "sales", "shop")
    assert bench.tick(NOON + DAY) == [] and len(bench.tick(NOON + 2 * DAY)) == 1


def test_a_broken_description_is_said_once_stops_no_other_and_loses_nothing(bench):
    write_report(bench.folder, "weekly", toml='schedule = "0 6 * * *"\n')
    bench.tick(NOON)
    good = (bench.folder / "sales" / "report.toml").read_text()
    (bench.folder / "sales" / "report.toml").write_text("title =")
    assert bench.tick(NOON + DAY) == [("weekly/shop", "2024-07-02T06:00:00+00:00")]
    assert [line for line in bench.lines if "problem" in line] != [] and "report.toml" in bench.lines[0]
    assert bench.tick(NOON + DAY + HOUR) == bench.lines == []
    (bench.folder / "sales" / "report.toml").write_text(good)
    assert bench.tick(NOON + DAY + HOUR) == [("sales/shop", "2024-07-02T06:00:00+00:00")]


def test_a_tenant_or_a_report_that_is_gone_is_forgotten(bench, lab):
    lab.create_tenant("other").ingest("purchases", pd.DataFrame(PURCHASES))
    bench.tick(NOON)
    assert sorted(remembered(lab)) == ["sales/other", "sales/shop"]
    shutil.rmtree(lab.home / "tenants" / "other")
    assert [name for name, _ in bench.tick(NOON + DAY)] == ["sales/shop"] and sorted(remembered(lab)) == ["sales/shop"]
    shutil.rmtree(bench.folder / "sales")
    assert bench.tick(NOON + 2 * DAY) == [] and remembered(lab) == {}


# ---- clocks that are set ----
def test_a_clock_that_goes_back_a_little_runs_nothing_again(bench, lab):
    set_schedule(lab, "sales", "shop", "*/10 * * * *", missed="skip", folder=bench.folder, now=NOON)
    bench.tick(NOON)
    assert len(bench.tick(NOON + HOUR)) == 1
    for minutes in range(10, 60, 10):                            # 12:10 to 12:50 for the second time
        assert bench.tick(NOON + dt.timedelta(minutes=minutes)) == []
    assert bench.tick(NOON + HOUR + dt.timedelta(minutes=10)) == [("sales/shop", "2024-07-01T13:10:00+00:00")]


@pytest.mark.parametrize("missed", ["catch up", "skip"])
@pytest.mark.parametrize("restart", [True, False])
def test_a_clock_that_was_a_year_ahead_does_not_silence_a_schedule_for_a_year(bench, lab, missed, restart):
    write_report(bench.folder, "sales", toml=f'schedule = "0 6 * * *"\nmissed = "{missed}"\n')
    bench.tick(NOON)
    bench.stop()                                                 # the service too began in that future
    assert len(bench.tick(NOON + 365 * DAY)) == (missed == "catch up")
    if restart:
        bench.stop()
    assert bench.tick(NOON) == []
    assert bench.tick(NOON + DAY) == [("sales/shop", "2024-07-02T06:00:00+00:00")]
    job = bench.service.scheduler.get_job("sales/shop")
    assert job.next_run_time == at("2024-07-03T06:00+00:00")


# ---- the store ----
def test_the_trigger_survives_pickling_and_never_looks_back():
    made = pickle.loads(pickle.dumps(trigger("30 2 * * *", "Europe/Berlin")))
    assert (made.cron, made.zone) == (parse_cron("30 2 * * *"), "Europe/Berlin")
    for previous in (None, NOON - 900 * DAY, NOON + 900 * DAY):
        assert made.get_next_fire_time(previous, NOON) == next_instant(made.cron, made.zone, max(previous or NOON, NOON))


def test_alarms_are_set_to_the_next_instant(bench):
    bench.tick(NOON)
    for now in (NOON, NOON + 3 * DAY, NOON - DAY):
        bench.tick(now)
        assert bench.service.scheduler.get_job("sales/shop").next_run_time == next_instant(parse_cron("0 6 * * *"), "UTC", now)


@pytest.mark.parametrize("damage", ["text", "row", "table"])
def test_an_unreadable_store_is_said_and_left_alone(bench, lab, damage):
    bench.tick(NOON)
    bench.stop()
    path = lab.home / "schedules.sqlite"
    if damage == "text":
        path.write_text("no data base at all")
    else:
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE apscheduler_jobs SET job_state = x'00'" if damage == "row" else "DROP TABLE apscheduler_jobs")
        connection.close()
    before = path.read_bytes()
    for use in (bench.start, lambda: remembered(lab), lambda: serve(lab, bench.folder, once=True)):
        with pytest.raises(StoreError, match="schedules.sqlite cannot be read.*move it away"):
            use()
    assert path.read_bytes() == before


def test_a_store_that_was_killed_when_it_was_made_is_made_again(bench, lab):
    (lab.home / "schedules.sqlite").touch()
    assert remembered(lab) == {} and bench.tick(NOON) == [] and len(bench.tick(NOON + DAY)) == 1


@pytest.mark.parametrize("module", ["apscheduler.triggers.base", "sqlalchemy"])
def test_a_missing_extra_is_named(bench, lab, monkeypatch, module):
    bench.tick(NOON)                                             # there is a store from before
    bench.stop()
    scheduler._trigger_class.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    for use in (lambda: serve(lab, bench.folder, once=True), lambda: remembered(lab)):
        with pytest.raises(ParameterError, match=r"pip install 'tenant-lab\[schedule\]'"):
            use()
    scheduler._trigger_class.cache_clear()


# ---- the loop ----
def served(bench, execute, until: threading.Event, clock=scheduler._utc_now, **options):
    """Runs the service in a thread until `until` is set, or an error ends it; gives what it raised."""
    services, raised = [], []

    class Known(Service):
        def __post_init__(self):
            self.now = clock
            super().__post_init__()
            services.append(self)

    def work():
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(scheduler, "Service", Known)
                serve(bench.lab, bench.folder, execute=execute, **{"say": bench.lines.append} | options)
        except Exception as error:
            raised.append(error)
            until.set()
    thread = threading.Thread(target=work)
    thread.start()
    assert until.wait(20)
    if services:
        services[0].stop()
    thread.join(20)
    assert not thread.is_alive()
    return raised


def test_an_alarm_wakes_the_service_without_its_pause(bench, lab, monkeypatch):
    """On a clock that begins two seconds before the instant; the service's own pause is ten minutes."""
    ran = threading.Event()
    started = dt.datetime.now(dt.UTC)

    def clock(zone=None):                                        # begins two seconds before a full minute
        return NOON + 58 * dt.timedelta(seconds=1) + (dt.datetime.now(dt.UTC) - started)
    monkeypatch.setattr("apscheduler.schedulers.base.datetime", type("Clock", (), {"now": staticmethod(clock)}))
    set_schedule(lab, "sales", "shop", "* * * * *", folder=bench.folder, now=NOON)
    bench.tick(NOON)
    bench.stop()
    assert served(bench, lambda *given: (bench.execute(*given), ran.set()), ran, clock, pause=600) == []
    assert bench.runs == [("sales/shop", "2024-07-01T12:01:00+00:00")]


def test_an_error_while_it_runs_is_said_once_and_it_goes_on(bench, lab):
    told, again, path = threading.Event(), threading.Event(), lab.home / "schedules.json"
    bench.tick(dt.datetime.now(dt.UTC) - 3 * DAY)
    bench.stop()

    def execute(*given):
        bench.execute(*given)
        path.write_text("{")                                     # from now on the settings cannot be read
        threading.Thread(target=mend).start()

    def mend():
        told.wait(20)
        threading.Event().wait(0.3)                              # several ticks
        path.unlink()
        write_report(bench.folder, "odd", toml='schedule = "0 6 * * 9"\n')

    def say(line):
        bench.lines.append(line)
        told.set() if "schedules.json" in line else again.set() if "odd" in line else None
    assert served(bench, execute, again, say=say, pause=0.05) == []
    assert ["schedules.json" in line for line in bench.lines if "problem" in line] == [True, False]


def test_an_error_at_its_start_ends_it(bench):
    def execute(*given):
        raise OSError("disk full")
    bench.tick(dt.datetime.now(dt.UTC) - 3 * DAY)
    bench.stop()
    assert [str(error) for error in served(bench, execute, threading.Event())] == ["disk full"]
