"""Typed parameters: the same check for text, Python values, TOML and forms; what is nearly of the type is refused."""
import datetime as dt
import json
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenant_lab.core.errors import ParameterError, ReportError, TenantLabError
from tenant_lab.reports.parameters import (
    BASE_TYPES,
    STANDARD,
    TYPES,
    Parameter,
    cell_mistakes,
    parameters_cell,
    read_parameter,
    shown,
)

HUGE = 10**5000
ALLOWED = {"enum": ("a", "b", "é")}


def parameter(type_: str, **options) -> Parameter:
    return Parameter("x", type_, None, allowed=ALLOWED["enum"] if "enum" in type_ else (), **options)


# ---- types ----
@pytest.mark.parametrize(("type_", "value", "plain"), [
    ("int", 3, 3), ("int", -(2**63) + 1, -(2**63) + 1), ("int", 2**63 - 1, 2**63 - 1), ("float", 3, 3.0), ("float", 10**30, 1e30),
    ("float", np.float64(0.5), 0.5), ("bool", False, False), ("str", "a b", "a b"), ("str", "", ""), ("str", "日本\n€", "日本\n€"),
    ("str", np.str_("a"), "a"), ("date", "2024-06-30", "2024-06-30"), ("date", dt.date(2024, 6, 30), "2024-06-30"),
    ("date", "20240630", "2024-06-30"), ("date", dt.date(1, 1, 1), "0001-01-01"), ("enum", "é", "é"),
])
def test_a_good_value_reaches_the_notebook_as_a_plain_one(type_, value, plain):
    for checked, expected in ((parameter(type_).check(value), plain), (parameter(f"list[{type_}]").check([value])[0], plain)):
        assert checked == expected and type(checked) is type(expected)
        json.dumps(checked, allow_nan=False)  # what the run's identity and the manifest are made of


NEARLY = [
    ("int", 2.0), ("int", True), ("int", "3"), ("int", None), ("int", float("nan")), ("int", 2**63), ("int", HUGE), ("int", -HUGE),
    ("int", np.int64(3)), ("int", 1j), ("int", [1]),
    ("float", True), ("float", float("nan")), ("float", float("inf")), ("float", -float("inf")), ("float", 1e400), ("float", HUGE),
    ("float", "0.1"), ("float", None), ("float", np.float64("nan")),
    ("bool", 1), ("bool", 0), ("bool", "true"), ("bool", None), ("bool", np.bool_(True)),
    ("str", 3), ("str", None), ("str", b"a"), ("str", ["a"]), ("str", "\udcff"), ("str", "a\ud800b"), ("str", Path("a")),
    ("date", dt.datetime(2024, 6, 30)), ("date", dt.datetime(2024, 6, 30, 12, tzinfo=dt.UTC)), ("date", pd.Timestamp("2024-06-30")),
    ("date", pd.NaT), ("date", "2024-06-31"), ("date", "30/06/2024"), ("date", "2024-06-30T12:00"), ("date", "٢٠٢٤-٠٦-٣٠"), ("date", ""),
    ("date", 20240630), ("date", None), ("date", dt.time(12)),
    ("enum", "c"), ("enum", "A"), ("enum", "e\u0301"), ("enum", 1), ("enum", None), ("enum", ["a"]),
]


@pytest.mark.parametrize(("type_", "value"), NEARLY, ids=lambda v: shown(v)[:30])
def test_what_is_only_nearly_of_the_type_is_refused(type_, value):
    with pytest.raises(ParameterError, match="^parameter x") as error:
        parameter(type_).check(value)
    assert len(str(error.value)) < 200
    with pytest.raises(ParameterError, match="^parameter x, item 2"):
        good = {"int": 1, "float": 1.0, "bool": True, "str": "a", "date": "2024-01-01", "enum": "a"}[type_]
        parameter(f"list[{type_}]").check([good, value])


@pytest.mark.parametrize("value", ["7,30", {7, 30}, {7: 30}, np.array([7, 30]), 7, None, range(3), (i for i in (1, 2))])
@pytest.mark.parametrize("base", BASE_TYPES)
def test_a_list_is_a_list(base, value):
    with pytest.raises(ParameterError, match=rf"needs a value of type list\[{base}\]"):
        parameter(f"list[{base}]").check(value)


def test_lengths_are_allowed_themselves_and_an_empty_list_is_one():
    assert parameter("list[int]").check([]) == []
    some = parameter("list[int]", min_length=1, max_length=2)
    assert [some.check(v) for v in ([1], (1, 2))] == [[1], [1, 2]]
    for wrong in ([], [1, 2, 3]):
        with pytest.raises(ParameterError, match=f"parameter x: has {len(wrong)} items; allowed are from 1 to 2"):
            some.check(wrong)
    assert parameter("list[int]", max_length=0).check([]) == []


def test_a_checked_list_is_a_new_one():
    default = [7, 30]
    Parameter("x", "list[int]", default).check(default).append(1)
    assert default == [7, 30]


def test_bounds_are_allowed_themselves():
    for type_ in ("int", "float"):
        bounded = parameter(type_, minimum=1, maximum=9)
        assert (bounded.check(1), bounded.check(9)) == (1, 9)
        for outside in (0, 10):
            with pytest.raises(ParameterError, match="from 1 to 9"):
                bounded.check(outside)
    assert parameter("int", minimum=0).check(0) == 0  # a bound of zero is a bound
    with pytest.raises(ParameterError, match="from 0"):
        parameter("int", minimum=0).check(-1)


def test_days_have_bounds_too():
    since = parameter("date", minimum="2024-01-01", maximum="2024-12-31")
    assert [since.check(d) for d in ("2024-01-01", dt.date(2024, 12, 31))] == ["2024-01-01", "2024-12-31"]
    for outside in ("2023-12-31", "2025-01-01"):
        with pytest.raises(ParameterError, match=f"parameter x {outside}: needs a day from 2024-01-01 to 2024-12-31"):
            since.check(outside)
    assert parameter("date", minimum="2024-01-01").check("9999-12-31") == "9999-12-31"


def test_a_pattern_matches_the_whole_text():
    small = parameter("str", pattern="[a-z]+")
    assert small.check("abc") == "abc"
    for text in ("ab1", "1ab", "", "ab\n"):
        with pytest.raises(ParameterError, match=r"must match the pattern \[a-z\]\+"):
            small.check(text)


# ---- text ----
@pytest.mark.parametrize(("type_", "text", "value"), [
    ("int", "3", 3), ("int", "+3", 3), ("int", " -3 ", -3), ("int", "x", "x"), ("int", "1_000", "1_000"), ("int", "٣", "٣"), ("int", "3.0", "3.0"),
    ("int", "0x10", "0x10"), ("int", "9" * 4301, "9" * 4301), ("float", "0.25", 0.25), ("float", ".5", 0.5), ("float", "1e-3", 0.001),
    ("float", "nan", "nan"), ("float", "inf", "inf"), ("float", "1_0", "1_0"), ("float", "1e400", float("inf")), ("bool", "True", True),
    ("bool", "false", False), ("bool", "yes", "yes"), ("bool", "1", "1"), ("str", " 3 ", " 3 "), ("date", "2024-06-30", "2024-06-30"),
    ("enum", "week", "week"), ("list[int]", "7,30", [7, 30]), ("list[int]", " 7 , 30 ", [7, 30]), ("list[int]", "7", [7]),
    ("list[int]", "", []), ("list[int]", "[]", []), ("list[int]", "[7, 30]", [7, 30]), ("list[int]", "7,x", [7, "x"]),
    ("list[str]", '["a,b", ""]', ["a,b", ""]), ("list[str]", "a b,ü", ["a b", "ü"]), ("list[bool]", "true,False", [True, False]),
    ("list[float]", "1,2.5", [1.0, 2.5]), ("list[date]", "2024-01-01,2024-02-01", ["2024-01-01", "2024-02-01"]),
    ("list[enum]", "a,b", ["a", "b"]),
])
def test_text_is_read_into_the_type_and_else_left_for_the_check(type_, text, value):
    assert parameter(type_).parse(text) == value


@pytest.mark.parametrize("text", ["7,,30", ",7", "7,", ",", "[7", "[7,]", "[7] x", '["a"', "[" * 100_000, "[" + "9" * 5000 + "]"])
def test_a_list_that_cannot_be_taken_apart_is_said_so(text):
    with pytest.raises(ParameterError, match="parameter x ") as error:
        parameter("list[int]").parse(text)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(("type_", "text", "said"), [
    ("list[int]", "7,x", "parameter x, item 2 'x': needs a value of type int"), ("list[int]", "[7.0]", "item 1 7.0"),
    ("list[int]", '["7"]', "item 1 '7'"), ("list[float]", "[NaN]", "item 1 nan: needs a number"), ("list[float]", "[1e400]", "item 1 inf"),
    ("list[float]", "[Infinity]", "item 1 inf"), ("list[int]", "[[7]]", r"item 1 \[7\]"), ("list[int]", "[true]", "item 1 True"),
    ("list[str]", "[null]", "item 1 None"), ("int", "9" * 4000, "parameter x"), ("float", "1e400", "parameter x inf: needs a number"),
    ("int", "3.0", "'3.0': needs a value of type int"), ("bool", "yes", "'yes': needs a value of type bool")])
def test_text_that_means_no_value_of_the_type_is_refused_by_the_check(type_, text, said):
    with pytest.raises(ParameterError, match=said):
        parameter(type_).check(parameter(type_).parse(text))


@given(st.sampled_from(TYPES), st.text())
def test_any_text_is_a_checked_value_or_one_clear_error(type_, text):
    try:
        value = parameter(type_).check(parameter(type_).parse(text))
    except ParameterError as error:
        assert "parameter x" in str(error)
    else:
        assert parameter(type_).check(value) == value


@given(st.sampled_from(TYPES), st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates()
                                            | st.datetimes() | st.complex_numbers(), lambda inner: st.lists(inner, max_size=3), max_leaves=5))
def test_any_value_is_a_checked_value_or_one_clear_error(type_, value):
    try:
        checked = parameter(type_).check(value)
    except ParameterError:
        return
    assert json.loads(json.dumps(checked, allow_nan=False)) == checked
    json.dumps(checked, ensure_ascii=False).encode()


# ---- report.toml ----
@pytest.mark.parametrize(("text", "said"), [
    ('type = "list[list[int]]"\ndefault = []', "type of parameter x 'list[list[int]]'"), ('type = "list"\ndefault = []', "type of parameter x 'list'"),
    ("default = 1", "type of parameter x None"), ('type = "int"', "parameter x: default is missing"),
    ('type = "str"\ndefault = "a"\nminimum = 1', "of type str has no option 'minimum'"),
    ('type = "int"\ndefault = 1\nallowed = [1]', "has no option 'allowed'"), ('type = "int"\ndefault = 1\nmin_length = 1', "has no option 'min_length'"),
    ('type = "enum"\ndefault = "a"\nallowed = ["a"]\npattern = "a"', "has no option 'pattern'"),
    ('type = "enum"\ndefault = "a"', "allowed of parameter x None: needs a list of different texts"),
    ('type = "enum"\ndefault = "a"\nallowed = "abc"', "needs a list of different texts"),
    ('type = "enum"\ndefault = "a"\nallowed = ["a", "a"]', "needs a list of different texts"),
    ('type = "enum"\ndefault = "1"\nallowed = ["1", 2]', "allowed of parameter x 2: needs a value of type str"),
    ('type = "int"\ndefault = 1\nminimum = 0.5', "minimum of parameter x 0.5: needs a value of type int"),
    ('type = "int"\ndefault = 1\nminimum = true', "minimum of parameter x True"), ('type = "float"\ndefault = 1\nmaximum = nan', "maximum of parameter x nan"),
    ('type = "float"\ndefault = 1\nmaximum = inf', "maximum of parameter x inf"), ('type = "float"\ndefault = 1e400', "parameter x inf"),
    ('type = "int"\ndefault = 5\nminimum = 9\nmaximum = 1', "minimum 9 is above maximum 1"),
    ('type = "date"\ndefault = 2024-01-01\nminimum = 2025-01-01', "parameter x 2024-01-01: needs a day from 2025-01-01"),
    ('type = "date"\ndefault = 2024-01-01T00:00:00', "needs a day such as"), ('type = "date"\ndefault = 12:00:00', "needs a value of type date"),
    ('type = "list[int]"\ndefault = []\nmin_length = 1', "has 0 items; allowed are from 1"),
    ('type = "list[int]"\ndefault = []\nmin_length = -1', "min_length of parameter x -1"),
    ('type = "list[int]"\ndefault = []\nmax_length = 1.5', "max_length of parameter x 1.5"),
    ('type = "list[int]"\ndefault = []\nmin_length = 3\nmax_length = 1', "min_length 3 is above max_length 1"),
    ('type = "list[int]"\ndefault = [1, true]', "item 2 True"), ('type = "list[str]"\ndefault = "a"', "needs a value of type list[str]"),
    ('type = "list[str]"\ndefault = ["ab"]\npattern = "a"', "parameter x, item 1 'ab': must match the pattern a"),
    ('type = "str"\ndefault = "a"\npattern = "("', "pattern of parameter x '(': is no regular expression"),
    ('type = "str"\ndefault = "a"\npattern = 3', "pattern of parameter x 3"), ('type = "int"\ndefault = 9223372036854775808', "at most 63 bits"),
])
def test_a_mistake_in_an_entry_is_said(text, said):
    with pytest.raises(ParameterError) as error:
        read_parameter("x", tomllib.loads(text))
    assert said in str(error.value)


@pytest.mark.parametrize("text", [
    'type = "list[enum]"\ndefault = ["a"]\nallowed = ["a", "b"]\nmin_length = 1', 'type = "list[date]"\ndefault = [2024-01-31]\nminimum = 2020-01-01',
    'type = "float"\ndefault = 1\nminimum = 0\nmaximum = 2', 'type = "list[str]"\ndefault = []\npattern = "a+"\nmax_length = 3\nnote = "b"'])
def test_a_good_entry_has_a_good_default(text):
    entry = tomllib.loads(text)
    found = read_parameter("x", entry)
    plain = [v.isoformat() if isinstance(v, dt.date) else v for v in entry["default"]] if found.many else entry["default"]
    assert found.check(found.default) == plain


@pytest.mark.parametrize("name", [*STANDARD, "class", "a-b", "", "1a", "None"])
def test_a_name_that_the_notebook_cannot_assign_is_refused(name):
    with pytest.raises(ParameterError, match="parameter name"):
        read_parameter(name, {"type": "int", "default": 1})


# ---- the notebook's cell ----
def notebook(folder: Path, *sources, **cell) -> Path:
    path = folder / "report.ipynb"
    cells = [{"cell_type": "code", "metadata": {"tags": ["other", "parameters"]}, "source": s} | cell for s in sources]
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown", "metadata": {}, "source": "x = 1"}, *cells]}))
    return path


def test_the_cell_is_read_and_not_run(tmp_path):
    source = ['"""What may be changed."""\n', "tenant = 'shop'  # whose\n", "days: list[int] = [7, -30]\n", "a = b = None\n",
              "share = 1e-3\n", "raise_ = {'x': (1, True)}"]
    assert parameters_cell(notebook(tmp_path, source)) == {
        "tenant": "shop", "days": [7, -30], "a": None, "b": None, "share": 0.001, "raise_": {"x": (1, True)}}
    assert parameters_cell(notebook(tmp_path, "")) == {}


@pytest.mark.parametrize("source", [
    "import os", "x = float('nan')", "x = y", "x: int", "x += 1", "a, b = 1, 2", "x[0] = 1", "x.y = 1", "def f(): pass", "if True:\n    x = 1",
    "print(1)", "%matplotlib inline", "x = ", "x = 1\0", "x = f'{1}'", "x = " + "(" * 5000, "x = " + "9" * 5000, "x = -" + "-" * 5000 + "1",
    "(x := 1)", "x = {}[1]", "\udcff = 1", "x = {[]: 1}"])
def test_a_cell_that_does_more_than_assign_values_is_refused(tmp_path, source):
    (tmp_path / "a").mkdir()
    with pytest.raises(ReportError, match="report.ipynb: the parameters cell needs assignments of written-out values"):
        parameters_cell(notebook(tmp_path / "a", source))


@pytest.mark.parametrize("sources", [(), ("x = 1", "x = 1")])
def test_there_is_one_parameters_cell(tmp_path, sources):
    with pytest.raises(ReportError, match=f"has {len(sources)} cells tagged parameters; needs one"):
        parameters_cell(notebook(tmp_path, *sources))


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"null", b"\xff", b'{"cells": 3}', b'{"cells": [3]}', b'{"cells": [{"metadata": 3}]}',
                                     b'{"cells": [{"metadata": {"tags": ["parameters"]}}]}', b"[" * 100_000])
def test_a_file_that_is_no_notebook_is_named(tmp_path, content):
    (tmp_path / "report.ipynb").write_bytes(content)
    with pytest.raises(ReportError, match="report.ipynb is not a readable notebook"):
        parameters_cell(tmp_path / "report.ipynb")
    with pytest.raises(TenantLabError, match="none.ipynb is not a readable notebook"):
        parameters_cell(tmp_path / "none.ipynb")


@pytest.mark.parametrize(("type_", "cell", "default"), [
    ("date", "2024-01-31", dt.date(2024, 1, 31)), ("list[int]", (7, 30), [7, 30]), ("float", 1, 1.0), ("list[date]", [], [])])
def test_two_spellings_of_one_value_do_not_differ(type_, cell, default):
    assert cell_mistakes({"x": cell}, {"x": Parameter("x", type_, default)}) == []


@pytest.mark.parametrize(("type_", "cell", "default"), [
    ("bool", 1, True), ("int", True, 1), ("int", 1.0, 1), ("list[int]", [30, 7], [7, 30]), ("str", "a ", "a"), ("float", float("inf"), 1.0)])
def test_nearly_the_same_value_differs(type_, cell, default):
    assert len(cell_mistakes({"x": cell}, {"x": Parameter("x", type_, default)})) == 1


def test_all_mistakes_are_said_at_once():
    said = cell_mistakes({"a": 2, "other": 1}, {"a": Parameter("a", "int", 1), "b": Parameter("b", "int", 1)}, ("tenant",))
    assert said == ["the parameters cell lacks tenant", "the parameters cell lacks b", "report.toml lacks [parameters.other]",
                    "a is 2 in the parameters cell and 1 in report.toml"]
    assert cell_mistakes(dict.fromkeys(STANDARD), {}, STANDARD) == []
