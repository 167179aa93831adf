"""A report's description is checked before anything runs, and each mistake is one clear error."""
import datetime as dt
import json
from pathlib import Path

import pytest
from report_kit import write_report

from tenant_lab.core.errors import ParameterError, ReportError
from tenant_lab.reports.spec import STANDARD, Parameter, read_spec, reports

GOOD = """title = "Sales"
description = "What came in."
tables = ["purchases", "customers"]
schedule = "0 6 1 * *"
timeout = 30
previous = true
[parameters.top]
type = "float"
default = 0.1
minimum = 0.01
maximum = 0.5
note = "share"
[parameters.period]
type = "enum"
default = "month"
allowed = ["week", "month"]
[parameters.since]
type = "date"
default = 2024-01-31
"""


def folder(root: Path, text: str, name: str = "sales") -> Path:
    path = root / name
    path.mkdir()
    (path / "report.ipynb").write_text(json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    (path / "report.toml").write_text(text)
    return path


def test_everything_that_report_toml_says_is_read(tmp_path):
    spec = read_spec(folder(tmp_path, GOOD))
    assert (spec.name, spec.title, spec.description) == ("sales", "Sales", "What came in.")
    assert (spec.tables, spec.schedule, spec.timeout, spec.previous) == (("purchases", "customers"), "0 6 1 * *", 30, True)
    assert spec.notebook == tmp_path / "sales" / "report.ipynb"
    assert spec.parameters["top"] == Parameter("top", "float", 0.1, "share", 0.01, 0.5)
    assert spec.parameters["period"].allowed == ("week", "month")
    assert spec.check({}) == {"top": 0.1, "period": "month", "since": "2024-01-31"}


def test_only_a_title_is_needed(tmp_path):
    spec = read_spec(folder(tmp_path, 'title = "Sales"'))
    assert (spec.tables, spec.schedule, spec.timeout, spec.previous, spec.check({})) == ((), "", 600, False, {})


@pytest.mark.parametrize("text, said", [
    ("", "title"),
    ('title = "a"\ntable = ["purchases"]', "unknown key 'table'"),
    ('title = "a"\ntables = ["sales"]', "no contract knows the table 'sales'"),
    ('title = "a"\ntables = 5', "report.toml"),
    ('title = "a"\nschedule = "0 6 1 *"', "five fields"),
    ('title = "a"\ntimeout = 0', "timeout 0"),
    ('title = "a"\ntimeout = true', "timeout True"),
    ('title = "a"\n[parameters.x]\ntype = "int"', "default"),
    ('title = "a"\n[parameters.x]\ntype = "number"\ndefault = 1', "type of parameter x 'number'"),
    ('title = "a"\n[parameters.x]\ntype = "int"\ndefault = 10\nmaximum = 9', "parameter x 10"),
    ('title = "a"\n[parameters.x]\ntype = "int"\ndefault = "1"', "needs a value of type int"),
    ('title = "a"\n[parameters.x]\ntype = "int"\ndefault = 1\nlargest = 2', "largest"),
    ('title = "a"\n[parameters.x]\ntype = "int"\ndefault = 1\nminimum = "a"', "report.toml"),
    ('title = "a"\n[parameters.x]\ntype = "enum"\ndefault = "a"\nallowed = []', "parameter x 'a'"),
    ('title = "a"\n[parameters.x-y]\ntype = "int"\ndefault = 1', "needs a Python name"),
    ('title = "a', "report.toml"),
    # each of these is a person's slip in a TOML file, and must be the same kind of error
    ('title = "a"\nparameters = 3', "parameters"),
    ('title = "a"\n[parameters]\ntop = 0.1', "top"),
    ('title = "a"\nschedule = 5', "schedule"),
    ('title = "a"\n[parameters.x]\ntype = "str"\ndefault = "a"\npattern = "("', "pattern"),
])
def test_a_mistake_in_the_description_is_one_error_that_names_the_file(tmp_path, text, said):
    with pytest.raises(ReportError, match="sales.report.toml") as error:
        read_spec(folder(tmp_path, text))
    assert said in str(error.value)


@pytest.mark.parametrize("name", STANDARD)
def test_a_standard_parameter_cannot_be_declared(tmp_path, name):
    with pytest.raises(ReportError, match=f"parameter name '{name}'"):
        read_spec(folder(tmp_path, f'title = "a"\n[parameters.{name}]\ntype = "str"\ndefault = "a"'))


def test_bytes_that_are_no_utf8_are_an_error(tmp_path):
    path = folder(tmp_path, "")
    (path / "report.toml").write_bytes(b'title = "\xff"')
    with pytest.raises(ReportError, match="utf-8"):
        read_spec(path)


@pytest.mark.parametrize("missing", ["report.toml", "report.ipynb"])
def test_both_files_are_needed(tmp_path, missing):
    path = folder(tmp_path, GOOD)
    (path / missing).unlink()
    with pytest.raises(ReportError, match="needs report.ipynb and report.toml"):
        read_spec(path)


def test_the_folders_name_is_a_report_name(tmp_path):
    with pytest.raises(ReportError, match="report name 'Sales of 2024'"):
        read_spec(folder(tmp_path, GOOD, "Sales of 2024"))


@pytest.mark.parametrize("type_, value, given", [
    ("int", 3, 3), ("float", 3, 3.0), ("bool", False, False), ("str", "a b", "a b"),
    ("date", "2024-06-30", "2024-06-30"), ("date", dt.date(2024, 6, 30), "2024-06-30"),
])
def test_a_good_value_reaches_the_notebook_in_its_type(type_, value, given):
    checked = Parameter("x", type_, value).check(value)
    assert checked == given and type(checked) is type(given)


@pytest.mark.parametrize("type_, value", [
    ("int", True), ("int", 3.0), ("int", "3"), ("int", None), ("float", "3"), ("float", float("nan")), ("float", float("inf")),
    ("float", True), ("bool", 1), ("bool", "true"), ("str", 3), ("date", "30.6.2024"), ("date", "2024-02-30"), ("date", 20240630),
    ("date", dt.datetime(2024, 6, 30, 12)), ("enum", "b"), ("enum", 1),
])
def test_a_wrong_value_is_refused_by_name(type_, value):
    with pytest.raises(ParameterError, match="parameter x"):
        Parameter("x", type_, None, allowed=("a",) if type_ == "enum" else ()).check(value)


def test_bounds_are_allowed_themselves():
    parameter = Parameter("x", "int", 1, minimum=1, maximum=9)
    assert (parameter.check(1), parameter.check(9)) == (1, 9)
    for outside in (0, 10):
        with pytest.raises(ParameterError, match="from 1 to 9"):
            parameter.check(outside)


def test_a_pattern_matches_the_whole_text():
    parameter = Parameter("x", "str", "ab", pattern="[a-z]+")
    assert parameter.check("abc") == "abc"
    for text in ("ab1", "1ab", "", "ab\n"):
        with pytest.raises(ParameterError, match=r"must match the pattern \[a-z\]\+"):
            parameter.check(text)


@pytest.mark.parametrize("type_, text, value", [
    ("int", "3", 3), ("int", "x", "x"), ("float", "0.25", 0.25), ("bool", "True", True), ("bool", "false", False),
    ("bool", "yes", "yes"), ("str", "3", "3"), ("date", "2024-06-30", "2024-06-30"), ("enum", "week", "week"),
])
def test_text_is_read_into_the_type_and_else_left_for_the_check(type_, text, value):
    assert Parameter("x", type_, None).parse(text) == value


def test_given_parameters_replace_defaults_and_unknown_ones_are_refused(tmp_path):
    spec = read_spec(folder(tmp_path, GOOD))
    assert spec.check({"top": 0.2}) == {"top": 0.2, "period": "month", "since": "2024-01-31"}
    assert spec.parse({"top": "0.2", "botom": "1"}) == {"top": 0.2, "botom": "1"}
    with pytest.raises(ParameterError, match="report sales has no parameter 'botom'; it has top, period, since"):
        spec.check({"botom": 1})
    with pytest.raises(ParameterError, match="it has none"):
        read_spec(folder(tmp_path, 'title = "a"', "other")).check({"top": 1})


def test_reports_of_a_folder_and_those_that_travel_with_the_library(tmp_path):
    write_report(write_report(tmp_path, "b"), "a")
    (tmp_path / "_page").mkdir()
    assert list(reports(tmp_path)) == ["a", "b"]
    assert reports(tmp_path / "_page") == {}
    assert reports()["customer_value"].tables == ("purchases",)
    (tmp_path / "a" / "report.toml").write_text("?")
    with pytest.raises(ReportError):
        reports(tmp_path)
