"""A report's description is checked before anything runs, and each mistake is one clear error."""
import json
from pathlib import Path

import pytest
from report_kit import write_report

from tenant_lab.core.errors import ParameterError, ReportError
from tenant_lab.reports.parameters import STANDARD, Parameter
from tenant_lab.reports.spec import Limits, check_parameters_cell, read_size, read_spec, reports

GOOD = """title = "Sales"
description = "What came in."
tables = ["purchases", "customers"]
schedule = "0 6 1 * *"
timeout = 30
previous = true
files = true
models = ["musicnn"]
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
    assert (spec.files, spec.models, spec.needs) == (True, ("musicnn",), {"purchases", "customers", "files"})
    assert spec.notebook == tmp_path / "sales" / "report.ipynb"
    assert spec.parameters["top"] == Parameter("top", "float", 0.1, "share", 0.01, 0.5)
    assert spec.parameters["period"].allowed == ("week", "month")
    assert spec.check({}) == {"top": 0.1, "period": "month", "since": "2024-01-31"}


def test_only_a_title_is_needed(tmp_path):
    spec = read_spec(folder(tmp_path, 'title = "Sales"'))
    assert (spec.tables, spec.schedule, spec.timeout, spec.previous, spec.check({})) == ((), "", 600, False, {})
    assert (spec.files, spec.models, spec.needs) == (False, (), frozenset())


@pytest.mark.parametrize("text, said", [
    ("", "title"),
    ('title = "a"\ntable = ["purchases"]', "unknown key 'table'"),
    ('title = "a"\ntables = ["sales"]', "no contract knows the table 'sales'"),
    ('title = "a"\ntables = 5', "report.toml"),
    ('title = "a"\nfiles = "yes"', "report.toml"),
    ('title = "a"\nmodels = ["openl3"]', "one of musicnn, spleeter-2stems"),
    ('title = "a"\nschedule = "0 6 1 *"', "five fields"),
    ('title = "a"\ntimeout = 0', "timeout 0"),
    ('title = "a"\ntimeout = true', "timeout True"),
    ('title = "a"\n[parameters.x]\ntype = "int"', "default"),
    ('title = "a"\n[parameters.x]\ntype = "number"\ndefault = 1', "type of parameter x 'number'"),
    ('title = "a"\n[parameters.x]\ntype = "int"\ndefault = 10\nmaximum = 9', "parameter x 10"),
    ('title = "a"\n[parameters.x]\ntype = "int"\ndefault = "1"', "needs a value of type int"),
    ('title = "a"\n[parameters.x]\ntype = "int"\ndefault = 1\nlargest = 2', "largest"),
    ('title = "a"\n[parameters.x]\ntype = "int"\ndefault = 1\nminimum = "a"', "report.toml"),
    ('title = "a"\n[parameters.x]\ntype = "enum"\ndefault = "a"\nallowed = []', "allowed of parameter x []: needs a list of different texts"),
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


EVERYTHING = """title = "Sales"
time_zone = "Europe/Paris"
missed = "skip"
secrets = ["crm_token", "s3"]
environment = ["LANG", "_x1"]
sockets = ["tcp:443", "tcp", "udp", "udp:65535", "unix", "tcp:1"]
fresh = true
retries = 10
transient = ["TimeoutError"]
formats = ["pdf", "xlsx", "png", "svg"]
[limits]
memory = "1.5GB"
cpu = 90
written = "500 MB"
output = "20kB"
"""


def test_every_key_that_says_how_a_report_runs_is_read(tmp_path):
    spec = read_spec(folder(tmp_path, EVERYTHING))
    assert (spec.time_zone, spec.missed, spec.fresh, spec.retries) == ("Europe/Paris", "skip", True, 10)
    assert (spec.secrets, spec.environment) == (("crm_token", "s3"), ("LANG", "_x1"))
    assert spec.sockets == ("tcp:443", "tcp", "udp", "udp:65535", "unix", "tcp:1")
    assert (spec.transient, spec.formats) == (("TimeoutError",), ("pdf", "xlsx", "png", "svg"))
    assert spec.limits == Limits(memory=1_500_000_000, cpu=90, written=500_000_000, output=20_000)


def test_what_is_not_said_is_not_allowed(tmp_path):
    spec = read_spec(folder(tmp_path, 'title = "Sales"'))
    assert (spec.time_zone, spec.missed, spec.fresh, spec.retries) == ("", "catch up", False, 0)
    assert spec.secrets == spec.environment == spec.sockets == spec.formats == ()
    assert spec.transient == ("TransientError", "ConnectionError")
    assert spec.limits == Limits(4 * 10**9, 0, 10**9, 20 * 10**6)
    assert read_spec(folder(tmp_path, 'title = "a"\ntransient = []\n[limits]\ncpu = 5', "other")).transient == ()


@pytest.mark.parametrize("text, said", [
    ('time_zone = "Paris"', "time zone 'Paris': needs a name of the IANA data base"),
    ("time_zone = 2", "time_zone 2: needs a text"),
    ('missed = "later"', "missed 'later': allowed are catch up, skip"),
    ('secrets = "crm_token"', "secrets 'crm_token': needs a list"),
    ('secrets = ["crm token"]', "secrets 'crm token': needs a name of a-z"),
    ('secrets = ["a__b"]', "secrets 'a__b'"), ('secrets = ["../key"]', "secrets '../key'"), ("secrets = [1]", "secrets 1"),
    ('secrets = ["token\\n"]', "secrets 'token"), ('secrets = ["tökén"]', "secrets 'tökén'"),
    ('environment = ["TENANT_LAB_MASTER_KEY"]', "environment 'TENANT_LAB_MASTER_KEY'"),
    ('environment = ["A=B"]', "environment 'A=B'"), ('environment = [""]', "environment ''"),
    ('sockets = ["tcp:0"]', "sockets 'tcp:0'"), ('sockets = ["tcp:65536"]', "sockets 'tcp:65536'"), ('sockets = ["tcp:080"]', "sockets 'tcp:080'"),
    ('sockets = ["tcp:"]', "sockets 'tcp:'"), ('sockets = ["unix:1"]', "sockets 'unix:1'"), ('sockets = ["http"]', "sockets 'http'"),
    ('sockets = ["tcp:٤٤٣"]', "sockets 'tcp:"), ("sockets = true", "sockets True: needs a list"), ("sockets = [443]", "sockets 443"),
    ("fresh = 1", "fresh 1: needs true or false"), ('fresh = "no"', "fresh 'no'"),
    ("retries = -1", "retries -1: needs a whole number from 0 to 10"), ("retries = 11", "retries 11"), ("retries = true", "retries True"),
    ("retries = 1.0", "retries 1.0: needs a whole number"),
    ('transient = ["requests.Timeout"]', "transient 'requests.Timeout': needs the name of an exception's class"),
    ('formats = ["docx"]', "formats 'docx': needs pdf, xlsx, png or svg"), ('formats = ["PDF"]', "formats 'PDF'"),
    ("limits = 3", "limits 3: needs a table"), ('limits = {disk = "1GB"}', "limit 'disk': allowed are memory, cpu, written, output"),
    ("limits = {memory = 4000000000}", 'limits.memory 4000000000: needs a number with a unit, kB, MB or GB, such as "4GB"'),
    ('limits = {memory = "4 Gigabyte"}', "limits.memory '4 Gigabyte'"), ('limits = {memory = "0GB"}', "limits.memory '0GB'"),
    ('limits = {memory = "-1GB"}', "limits.memory '-1GB'"), ('limits = {memory = "1e9GB"}', "limits.memory '1e9GB'"),
    ('limits = {memory = "nanGB"}', "limits.memory 'nanGB'"), ('limits = {memory = "4GB\\n"}', "limits.memory"),
    ('limits = {memory = "99999999999GB"}', "limits.memory"), ('limits = {output = ""}', "limits.output ''"),
    ('limits = {cpu = "60s"}', "limits.cpu '60s': needs a whole number from 0"), ("limits = {cpu = -1}", "limits.cpu -1"),
    ("limits = {cpu = true}", "limits.cpu True"),
    ('title = ""', "title"), ("timeout = 1" + "0" * 5000, "report.toml"), ("[parameters.x]\ntype = 3\ndefault = 1", "type of parameter x 3"),
    ('[parameters.x]\ntype = "int"\ndefault = 1\nnote = 3', "note of parameter x: needs a text"),
])
def test_a_mistake_in_how_it_runs_names_file_key_and_what_is_allowed(tmp_path, text, said):
    text = text if text.startswith("title") else f'title = "a"\n{text}'
    with pytest.raises(ReportError, match="sales.report.toml: ") as error:
        read_spec(folder(tmp_path, text))
    assert said in str(error.value) and len(str(error.value)) < 1000


def test_sizes_are_powers_of_ten():
    assert [read_size(t, "x") for t in ("1kB", "1 MB", "0.5GB", "20MB")] == [1000, 1_000_000, 500_000_000, 20_000_000]


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


# ---- the notebook's parameters cell ----
def test_cell_and_description_agree_in_the_tests_own_reports(tmp_path):
    toml = '[parameters.days]\ntype = "list[int]"\ndefault = [7, 30]\n[parameters.since]\ntype = "date"\ndefault = 2024-01-31\n'
    write_report(tmp_path, "sales", toml=toml, parameters='days = (7, 30)\nsince = "2024-01-31"\n')
    check_parameters_cell(read_spec(tmp_path / "sales"))


@pytest.mark.parametrize("parameters, said", [
    ("", "the parameters cell lacks top"), ("tpo = 0.1\n", "the parameters cell lacks top; report.toml lacks [parameters.tpo]"),
    ("top = 0.2\n", "top is 0.2 in the parameters cell and 0.1 in report.toml"),
    ('top = "0.1"\n', "in the parameters cell parameter top '0.1': needs a value of type float"),
    ("top = 0.9\n", "in the parameters cell parameter top 0.9: needs a number to 0.5"),
    ("top = 0.1\nother = 1\n", "report.toml lacks [parameters.other]")])
def test_a_difference_names_the_report_and_both_sides(tmp_path, parameters, said):
    write_report(tmp_path, "sales", toml='[parameters.top]\ntype = "float"\ndefault = 0.1\nmaximum = 0.5\n', parameters=parameters)
    with pytest.raises(ReportError, match="/sales: ") as error:
        check_parameters_cell(read_spec(tmp_path / "sales"))
    assert said in str(error.value)


@pytest.mark.parametrize("previous, missing", [("true", "tenant, as_of, snapshot, previous"), ("false", "tenant, as_of, snapshot")])
def test_the_standard_parameters_are_needed_too(tmp_path, previous, missing):
    path = folder(tmp_path, f'title = "a"\nprevious = {previous}\n')
    (path / "report.ipynb").write_text(json.dumps({"cells": [{"cell_type": "code", "source": "", "metadata": {"tags": ["parameters"]}}]}))
    with pytest.raises(ReportError) as error:
        check_parameters_cell(read_spec(path))
    assert str(error.value).split(": ")[1] == "; ".join(f"the parameters cell lacks {name}" for name in missing.split(", "))
