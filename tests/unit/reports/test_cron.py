"""Cron expressions: what is refused and why, and every instant against a minute-by-minute enumeration around clock changes."""
import datetime as dt
import pickle
from functools import lru_cache
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.cron import CronTrigger
from hypothesis import given, settings
from hypothesis import strategies as st

from tenant_lab.core.errors import ParameterError
from tenant_lab.reports.cron import due, instants, local, next_instant, parse_cron, previous_instant

MINUTE, DAY = dt.timedelta(minutes=1), dt.timedelta(days=1)


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def following(text: str, zone: str, after: str, n: int) -> list[str]:
    found = [at(after)]
    for _ in range(n):
        found.append(next_instant(parse_cron(text), zone, found[-1]))
    return [i.isoformat(timespec="minutes") for i in found[1:]]


# ---- the expression ----
@pytest.mark.parametrize("text, field, allowed", [
    ("0 6 * * 1", "weekdays", (1,)), ("0 6 * * 0", "weekdays", (0,)), ("0 6 * * 7", "weekdays", (0,)),
    ("0 6 * * SUN,mon", "weekdays", (0, 1)), ("0 6 * * FRI-SUN", "weekdays", (0, 5, 6)), ("0 6 * * 5-7", "weekdays", (0, 5, 6)),
    ("0 6 * * *", "weekdays", tuple(range(7))), ("0 6 * * */2", "weekdays", (0, 2, 4, 6)), ("0 6 * * 0-7", "weekdays", tuple(range(7))),
    ("0 6 * JAN,mar-May *", "months", (1, 3, 4, 5)), ("0 6 * */5 *", "months", (1, 6, 11)),
    ("*/25 6 * * *", "minutes", (0, 25, 50)), ("10-20/5,59 6 * * *", "minutes", (10, 15, 20, 59)), ("05 6 * * *", "minutes", (5,)),
    ("0 */6 * * *", "hours", (0, 6, 12, 18)), ("0 6 1,15,31 * *", "days", (1, 15, 31))])
def test_fields_are_read(text, field, allowed):
    assert getattr(parse_cron(text), field) == allowed


@pytest.mark.parametrize("text, said", [
    ("0 24 * * *", "hour: '24' is out of its limits; allowed are 0 to 23"), ("60 6 * * *", "minute: '60' is out"),
    ("0 6 0 * *", "day of month: '0' is out of its limits; allowed are 1 to 31"), ("0 6 * 13 *", "month: '13' is out"),
    ("0 6 * * 8", "day of week: '8' is out of its limits; allowed are 0 to 7, or SUN to SAT"), ("0 6 * * XYZ", "'XYZ' has a name"),
    ("0 MON * * *", "hour: 'MON' has a name that is not known here"), ("0 22-2 * * *", "hour: '22-2' is out of order"),
    ("0 6 * * 5-1", "day of week: '5-1' is out of order"), ("*/0 6 * * *", "minute: the step of '*/0'"), ("*/90 * * * *", "1 to 59"),
    ("5/15 6 * * *", "needs * or a range before it"), ("1,,2 6 * * *", "minute: '' is none of"), ("-1 6 * * *", "minute: '-1' is none of"),
    ("\u0663 6 * * *", "minute:"), ("** 6 * * *", "is none of"), ("1-2-3 6 * * *", "is none of"), ("0 6 L * *", "day of month: 'L'"),
    ("0 6 * *", "five fields"), ("0 0 6 * * *", "five fields"), ("@daily", "five fields"), ("", "five fields"), (None, "five fields"),
    (600, "five fields"), ("0 6 30 2 *", "never comes, no month of '2' has a day 30"), ("0 6 31 APR,jun *", "has a day 31"),
    ("0 6 31 2 MON", "has a day 31")])
def test_mistakes_name_the_field_and_what_is_allowed(text, said):
    with pytest.raises(ParameterError) as error:
        parse_cron(text)
    assert said in str(error.value) and str(error.value).startswith("schedule ")


def test_a_mistake_is_said_in_one_line_however_long_the_text_is():
    with pytest.raises(ParameterError) as error:
        parse_cron("1" * 5000 + "\n * * * *")
    assert len(str(error.value)) < 400 and "\n" not in str(error.value)


def test_expressions_are_equal_by_what_they_say_and_survive_pickling():
    assert parse_cron(" 0\t6 * *  1") == parse_cron("0 6 * * 1") != parse_cron("0 6 * * 2")
    assert pickle.loads(pickle.dumps(parse_cron("0 6 * * 1"))) == parse_cron("0 6 * * 1")


# ---- plain days ----
@pytest.mark.parametrize("text, after, expected", [
    ("0 6 * * 1", "2024-07-01T06:00+00:00", ["2024-07-08T06:00+00:00"]),                   # a Monday; strictly later
    ("0 6 1,15 * MON", "2024-07-01T00:00+00:00", ["2024-07-01T06:00+00:00", "2024-07-08T06:00+00:00", "2024-07-15T06:00+00:00",
                                                  "2024-07-22T06:00+00:00", "2024-07-29T06:00+00:00", "2024-08-01T06:00+00:00"]),
    ("0 6 */2 * MON", "2024-07-01T07:00+00:00", ["2024-07-15T06:00+00:00", "2024-07-29T06:00+00:00"]),  # begins with *: both must match
    ("0 6 29 2 *", "2096-02-29T06:00+00:00", ["2104-02-29T06:00+00:00"]),                  # 2100 is no leap year
    ("0 6 31 * *", "2024-03-31T06:00+00:00", ["2024-05-31T06:00+00:00"]),
    ("59 23 31 12 *", "2024-12-31T23:58+00:00", ["2024-12-31T23:59+00:00", "2025-12-31T23:59+00:00"]),
    ("*/20 9-10 * * *", "2024-07-01T09:30:59+00:00", ["2024-07-01T09:40+00:00", "2024-07-01T10:00+00:00"])])
def test_what_comes_next(text, after, expected):
    assert following(text, "UTC", after, len(expected)) == expected


NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@settings(max_examples=150, deadline=None)
@given(minute=st.integers(0, 59), hours=st.sampled_from(["*", "6", "*/5", "3-20/4", "0,23"]), data=st.data(),
       months=st.sampled_from(["*", "2", "1,7", "*/5"]), after=st.datetimes(dt.datetime(1999, 1, 1), dt.datetime(2040, 1, 1)))
def test_apscheduler_agrees_where_it_follows_cron(minute, hours, months, data, after):
    """Oracle: APScheduler's trigger, for names of weekdays, one of the two day fields, and a zone whose clocks do not change."""
    days = data.draw(st.sampled_from(["*", "1", "15", "1-28/9", "29"]))
    week = data.draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True).map(",".join)) if days == "*" else "*"
    text = f"{minute} {hours} {days} {months} {week}"
    theirs, ours, now = CronTrigger.from_crontab(text, dt.UTC), parse_cron(text), after.replace(tzinfo=dt.UTC)
    for _ in range(5):
        expected = theirs.get_next_fire_time(None, now + dt.timedelta(microseconds=1))
        found = next_instant(ours, "UTC", now)
        assert found == expected and previous_instant(ours, "UTC", found) == found
        assert previous_instant(ours, "UTC", found - MINUTE) <= now
        now = found


# ---- clock changes ----
def test_a_daily_run_takes_place_once_in_the_nights_when_clocks_change():
    assert following("30 2 * * *", "Europe/Berlin", "2024-03-30T02:30+01:00", 2) == ["2024-03-31T03:00+02:00", "2024-04-01T02:30+02:00"]
    assert following("30 2 * * *", "Europe/Berlin", "2024-10-26T02:30+02:00", 2) == ["2024-10-27T02:30+02:00", "2024-10-28T02:30+01:00"]
    assert following("30 1 * * *", "America/New_York", "2024-11-02T12:00-04:00", 2) == ["2024-11-03T01:30-04:00", "2024-11-04T01:30-05:00"]
    assert following("15 2 * * *", "Australia/Lord_Howe", "2024-10-05T12:00+10:30", 2) == ["2024-10-06T02:30+11:00", "2024-10-07T02:15+11:00"]
    assert following("0 6 * * *", "Pacific/Apia", "2011-12-29T06:00-10:00", 2) == ["2011-12-31T00:00+14:00", "2011-12-31T06:00+14:00"]


def test_hourly_runs_follow_elapsed_time():
    assert following("0 * * * *", "Europe/Berlin", "2024-03-31T01:00+01:00", 2) == ["2024-03-31T03:00+02:00", "2024-03-31T04:00+02:00"]
    assert following("0 * * * *", "Europe/Berlin", "2024-10-27T01:00+02:00", 3) == [
        "2024-10-27T02:00+02:00", "2024-10-27T02:00+01:00", "2024-10-27T03:00+01:00"]
    for zone, start in [("Europe/Berlin", "2024-03-30T12:00+00:00"), ("America/New_York", "2024-11-02T12:00+00:00"),
                        ("Australia/Lord_Howe", "2024-04-06T00:00+00:00"), ("Australia/Lord_Howe", "2024-10-05T00:00+00:00")]:
        for text, step in [("*/15 * * * *", 15), ("*/15 0-23 * * *", 15), ("* * * * *", 1)]:
            found = [at(i) for i in following(text, zone, start, 100)]
            assert {b - a for a, b in zip(found, found[1:], strict=False)} == {step * MINUTE}


def test_every_second_hour_is_not_hourly_so_each_of_its_hours_comes_once():
    assert following("0 */2 * * *", "Europe/Berlin", "2024-03-31T00:00+01:00", 2) == ["2024-03-31T03:00+02:00", "2024-03-31T04:00+02:00"]
    assert following("0 */2 * * *", "Europe/Berlin", "2024-10-27T00:00+02:00", 2) == ["2024-10-27T02:00+02:00", "2024-10-27T04:00+01:00"]


def test_an_hour_that_comes_twice_over_midnight():
    """St. John's, 2006: at 00:01 on 29 October the clocks went back to 23:01 on the 28th."""
    hourly, last = parse_cron("0,30 * * * *"), at("2006-10-28T23:30-02:30")
    assert following("0,1 * * * *", "America/St_Johns", "2006-10-28T23:45-02:30", 3) == [
        "2006-10-29T00:00-02:30", "2006-10-28T23:01-03:30", "2006-10-29T00:00-03:30"]
    found = [previous_instant(hourly, "America/St_Johns", last + i * 15 * MINUTE).isoformat()[:22] for i in (0, 1, 2, 3, 4, 6)]
    assert [i[5:16] for i in found] == ["10-28T23:30", "10-28T23:30", "10-29T00:00", "10-29T00:00", "10-28T23:30", "10-29T00:00"]


CHANGES = [("Europe/Berlin", "2024-03-31"), ("Europe/Berlin", "2024-10-27"), ("America/New_York", "2024-03-10"),
           ("America/New_York", "2024-11-03"), ("Australia/Lord_Howe", "2024-04-07"), ("Australia/Lord_Howe", "2024-10-06"),
           ("Asia/Kolkata", "2024-03-31"), ("America/St_Johns", "2006-04-02"), ("America/St_Johns", "2006-10-29"),  # at 00:01
           ("Africa/Cairo", "2024-04-26"), ("America/Havana", "2024-11-03"), ("Pacific/Apia", "2011-12-30")]      # at 00:00; a day left out


@lru_cache
def clock(zone: str, day: str) -> list[tuple[dt.datetime, dt.datetime]]:
    """Every minute of the five days around `day`: the instant, and what the clock on the wall shows."""
    start = at(day).replace(tzinfo=dt.UTC) - 2 * DAY
    minutes = [start + i * MINUTE for i in range(5 * 24 * 60)]
    return [(m, m.astimezone(ZoneInfo(zone)).replace(tzinfo=None)) for m in minutes]


@lru_cache
def times(zone: str, day: str) -> list[tuple[dt.datetime, dt.datetime]]:
    """Every time of these days, whether a clock shows it or not, and the first minute at which the clock shows it or a later one."""
    shown, first = clock(zone, day), {}
    for instant, wall in shown:
        first.setdefault(wall, instant)
    every = [shown[0][1] + i * MINUTE for i in range((shown[-1][1] - shown[0][1]) // MINUTE)]
    return [(wall, first[wall] if wall in first else next(i for i, later in shown if later > wall)) for wall in every]


def enumerated(zone: str, day: str, names, hourly: bool) -> list[dt.datetime]:
    """The instants of all times on the wall for which `names` is true, by looking at every minute."""
    if hourly:
        return [instant for instant, wall in clock(zone, day) if names(wall)]
    return sorted({instant for wall, instant in times(zone, day) if names(wall)})


@st.composite
def expressions(draw):
    """An expression, and what it names, said without the parser."""
    def field(low, high, texts):
        some = st.lists(st.integers(low, high), min_size=1, max_size=3).map(lambda v: (",".join(map(str, v)), set(v)))
        return draw(st.one_of(some, st.sampled_from([(text, set(range(low, high + 1)[::step])) for text, step in texts])))
    minutes = field(0, 59, [("*", 1), ("*/15", 15), ("0-59/7", 7)])
    hours = draw(st.sampled_from([("*", set(range(24))), ("0-23", set(range(24))), ("0-3", {0, 1, 2, 3}), ("2", {2}), ("1,23", {1, 23}),
                                  ("0", {0}), ("*/2", set(range(0, 24, 2))), ("*/5", {0, 5, 10, 15, 20})]))
    days, week = draw(st.sampled_from([("*", "*"), ("*", "0"), ("*", "7"), ("1-31/2", "*"), ("1-31/2", "6-7"), ("3,27,31", "SUN")]))
    by_month = {"*": set(range(1, 32)), "1-31/2": set(range(1, 32, 2)), "3,27,31": {3, 27, 31}}[days]
    by_week = {"*": set(range(7)), "0": {6}, "7": {6}, "6-7": {5, 6}, "SUN": {6}}[week]    # of datetime.weekday

    def names(wall):
        in_month, in_week = wall.day in by_month, wall.weekday() in by_week
        day = in_month or in_week if days != "*" and week != "*" else in_month and in_week
        return day and wall.hour in hours[1] and wall.minute in minutes[1]
    return f"{minutes[0]} {hours[0]} {days} * {week}", names, len(hours[1]) == 24


@settings(max_examples=250, deadline=None)
@given(change=st.sampled_from(CHANGES), expression=expressions(), offset=st.integers(0, 2 * 24 * 60 * 60))
def test_every_instant_is_the_one_found_by_looking_at_every_minute(change, expression, offset):
    (zone, day), (text, names, hourly) = change, expression
    cron, start = parse_cron(text), clock(zone, day)[0][0]
    expected = [i for i in enumerated(zone, day, names, hourly) if start + DAY < i < start + 4 * DAY]  # the edges are cut off
    found, instant = [], start + DAY
    while (instant := next_instant(cron, zone, instant)) < start + 4 * DAY:
        found.append(instant)
    assert found == expected
    assert all(a.isoformat() == local(a, zone).isoformat() for a in found)
    now = start + DAY + dt.timedelta(seconds=offset)
    past, coming = [i for i in expected if i <= now], [i for i in expected if i > now]
    if coming:
        assert next_instant(cron, zone, now) == coming[0]
    if past:
        assert previous_instant(cron, zone, now) == past[-1]
        assert due(cron, zone, past[-1] - MINUTE, now) == past[-1] and due(cron, zone, past[-1], now) is None


def test_instants_of_a_day_are_in_order_and_have_no_double():
    for zone, day in CHANGES:
        found = instants(parse_cron("*/5 * * * *"), zone, dt.date.fromisoformat(day))
        assert list(found) == sorted(set(found))


# ---- what is due ----
def test_however_much_was_missed_the_last_instant_is_due():
    cron, handled = parse_cron("* * * * *"), at("2014-07-01T06:00+00:00")
    assert due(cron, "UTC", handled, at("2024-07-01T06:00:59+00:00")) == at("2024-07-01T06:00+00:00")
    assert due(parse_cron("0 6 * * *"), "Europe/Berlin", handled, at("2014-07-02T03:59+00:00")) is None
    assert due(parse_cron("0 6 * * *"), "Europe/Berlin", handled, at("2014-07-02T04:00+00:00")).isoformat() == "2014-07-02T06:00:00+02:00"


@pytest.mark.parametrize("function", [next_instant, previous_instant])
def test_instants_need_a_zone_and_zones_must_exist(function):
    with pytest.raises(ParameterError, match="needs a datetime with a time zone"):
        function(parse_cron("0 6 * * *"), "UTC", dt.datetime(2024, 1, 1))
    with pytest.raises(ParameterError, match="IANA"):
        function(parse_cron("0 6 * * *"), "../etc", at("2024-01-01T00:00+00:00"))
