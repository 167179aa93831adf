"""Arguments from outside: what is let through, and what the message says otherwise."""

import datetime as dt
import math
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenant_lab.core.checks import (
    check_choice,
    check_columns,
    check_instant,
    check_name,
    check_names,
    check_number,
    check_time_zone,
)
from tenant_lab.core.errors import ParameterError, SchemaError


@pytest.mark.parametrize("name", ["a", "7", "aurora", "a-b_c", "0x", "a" * 63])
def test_good_names(name):
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "A", "a b", "-a", "a-", "_a", "a_", "a" * 64, "../b", "a/b", "a.b", "a\n", "é", "ａ", "a\0",
                                  ".", "..", None, 5, b"a", ["a"], "x" * 10_000])
def test_bad_names(name):
    with pytest.raises(ParameterError, match="tenant name .*allowed are 1 to 63 of a-z") as caught:
        check_name(name, "tenant name")
    assert len(str(caught.value)) < 250


@given(st.text(max_size=70))
def test_a_name_is_always_safe_as_one_part_of_a_path(text):
    try:
        check_name(text)
    except ParameterError:
        return
    assert text.isascii() and text == text.lower() and not set(text) & set("/\\.~ %'\"\n\0")


def test_choice():
    assert check_choice("a", ("a", "b"), "mode") == "a"
    assert check_choice(None, (None, 1), "x") is None
    for wrong in ("A", None, 2, ["a"], {"a"}, object()):
        with pytest.raises(ParameterError, match="mode .*: allowed are a, b"):
            check_choice(wrong, ("a", "b"), "mode")


@pytest.mark.parametrize(("value", "options"), [(1, {}), (-2.5, {}), (0, {"minimum": 0}), (1, {"maximum": 1}),
                                                (5, {"integer": True, "minimum": 5, "maximum": 5}), (10**400, {"integer": True}),
                                                (np.int64(3), {"integer": True}), (np.float32(0.5), {}), (np.uint8(7), {})])
def test_good_numbers(value, options):
    found = check_number(value, "x", **options)
    assert found == value and type(found) in (int, float)


@pytest.mark.parametrize(("value", "options", "message"), [
    (True, {}, "a number"), ("1", {}, "a number"), (None, {}, "a number"), (math.nan, {}, "a number"), (math.inf, {}, "a number"),
    (-math.inf, {}, "a number"), (-1, {"minimum": 0}, "from 0"), (2, {"maximum": 1}, "to 1"), (1.0, {"integer": True}, "whole"),
    (math.nan, {"minimum": 0, "maximum": 1}, "a number from 0 to 1")])
def test_bad_numbers(value, options, message):
    with pytest.raises(ParameterError, match=f"share .*: needs .*{message}"):
        check_number(value, "share", **options)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris", "America/Argentina/Buenos_Aires", "Etc/GMT+5"])
def test_good_zones(zone):
    assert check_time_zone(zone) == zone


@pytest.mark.parametrize("zone", ["", "Paris", "Europe", "../../etc/passwd", "/etc/localtime", "Europe/Paris\0", None, 5, "GMT+25"])
def test_bad_zones(zone):
    with pytest.raises(ParameterError, match="needs a name of the IANA data base"):
        check_time_zone(zone)


def test_a_day_means_its_end_in_the_zone():
    paris = ZoneInfo("Europe/Paris")
    for day in ("2024-06-30", " 2024-06-30 ", dt.date(2024, 6, 30), "20240630"):
        assert check_instant(day, "Europe/Paris") == dt.datetime(2024, 7, 1, tzinfo=paris)
    # the day of the change to summer time has 23 hours, that of the change back 25
    for day, hours in ((dt.date(2024, 3, 31), 23), (dt.date(2024, 10, 27), 25), (dt.date(2024, 6, 1), 24)):
        start = check_instant(day - dt.timedelta(days=1), "Europe/Paris")
        length = check_instant(day, "Europe/Paris").astimezone(dt.UTC) - start.astimezone(dt.UTC)
        assert length == dt.timedelta(hours=hours)


def test_an_instant_stays_one():
    assert check_instant("2024-06-30T12:00", "Asia/Tokyo") == dt.datetime(2024, 6, 30, 3, tzinfo=dt.UTC)
    assert check_instant("2024-06-30T12:00+02:00", "Asia/Tokyo") == dt.datetime(2024, 6, 30, 10, tzinfo=dt.UTC)
    assert check_instant(pd.Timestamp("2024-06-30 12:00")) == dt.datetime(2024, 6, 30, 12, tzinfo=dt.UTC)
    given_ = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    assert check_instant(given_, "Asia/Tokyo") is given_


@pytest.mark.parametrize("value", ["", "yesterday", "2024-02-30", "2024", "30/06/2024", None, 5, pd.NaT, dt.date.max, dt.time(1), [1]])
def test_no_instant(value):
    with pytest.raises(ParameterError, match="as_of .*needs a day"):
        check_instant(value)


def test_an_instant_in_an_unknown_zone():
    with pytest.raises(ParameterError, match="IANA"):
        check_instant("2024-01-01", "Mars/Olympus")


def test_columns():
    check_columns(["a", "b"], ["b"], "the frame")
    with pytest.raises(SchemaError, match="the frame lacks c, d; it has a, b") as caught:
        check_columns(iter(["a", "b"]), ["c", "b", "d"], "the frame")
    assert caught.value.column == "c"
    with pytest.raises(SchemaError, match="it has no columns"):
        check_columns([], ["c"], "the frame")


@pytest.mark.parametrize("names", [None, 5, "", [None], ["a", 5], [["a"]]])
def test_bad_lists_of_names(names):
    with pytest.raises(ParameterError, match="needs a name, or a list of names"):
        check_names(names, "by")
