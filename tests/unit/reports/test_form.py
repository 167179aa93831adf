"""The form checks as the command line does: the same values, the same words, and no control that changes a value by itself."""
import datetime as dt
import html
import sys
from pathlib import Path
from types import SimpleNamespace

import ipywidgets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenant_lab.core.errors import ParameterError, ReportError
from tenant_lab.reports.form import control, form, value_text
from tenant_lab.reports.parameters import Parameter
from tenant_lab.reports.spec import ReportSpec

PARAMETERS = [
    Parameter("share", "float", 0.1, "a <b>share</b>", minimum=0.01, maximum=0.5), Parameter("top", "int", 5, minimum=1, maximum=9),
    Parameter("count", "int", 5, minimum=1), Parameter("grain", "enum", "month", allowed=("week", "month")), Parameter("all", "bool", False),
    Parameter("since", "date", dt.date(2024, 1, 31), minimum="2024-01-01"), Parameter("name", "str", "abc", pattern="[a-z]+"),
    Parameter("days", "list[int]", [7, 30], minimum=1, max_length=3), Parameter("tags", "list[str]", ["a, b", ""])]
DEFAULTS = {"share": 0.1, "top": 5, "count": 5, "grain": "month", "all": False, "since": "2024-01-31", "name": "abc", "days": [7, 30],
            "tags": ["a, b", ""]}


@pytest.fixture
def spec():
    return ReportSpec("sales", Path("sales"), "Sales & <i>more</i>", "", (), parameters={p.name: p for p in PARAMETERS})


def test_each_type_has_its_control(spec):
    kinds = {name: type(c).__name__ for name, c in form(spec).controls.items()}
    assert kinds == {"share": "Text", "top": "IntSlider", "count": "Text", "grain": "Dropdown", "all": "Checkbox", "since": "DatePicker",
                     "name": "Text", "days": "Text", "tags": "Text"}


def test_an_untouched_form_has_the_defaults(spec):
    shown = form(spec)
    assert shown.values == DEFAULTS == spec.check({})
    assert [type(v) for v in shown.values.values()] == [type(v) for v in DEFAULTS.values()]
    assert shown.message.value == "" and not shown.button.disabled


def test_what_is_entered_is_what_the_command_line_would_read(spec):
    shown = form(spec)
    entered = {"share": "0.123456789012345", "count": "9007199254740993", "name": "xyz", "days": "1,2", "tags": '["x"]'}
    for name, text in entered.items():
        shown.controls[name].value = text
    shown.controls["top"].value, shown.controls["all"].value = 9, True
    shown.controls["grain"].value, shown.controls["since"].value = "week", dt.date(2024, 2, 29)
    same = spec.check(spec.parse(entered | {"top": "9", "all": "true", "grain": "week", "since": "2024-02-29"}))
    assert shown.values == same and same["count"] == 2**53 + 1


@pytest.mark.parametrize(("name", "value"), [
    ("share", "0.9"), ("share", "a lot"), ("share", "nan"), ("share", "1e400"), ("share", ""), ("count", "0"), ("count", "1.5"), ("name", "ABC"),
    ("days", "7,x"), ("days", "1,2,3,4"), ("days", "7,,8"), ("tags", "[a"), ("since", None), ("since", dt.date(2023, 12, 31))])
def test_the_message_is_the_checks_own_and_the_button_is_off(spec, name, value):
    called = []
    shown = form(spec, on_run=called.append)
    before = shown.controls[name].value
    shown.controls[name].value = value
    with pytest.raises(ParameterError, match=f"parameter {name}") as error:
        _ = shown.values
    assert html.escape(str(error.value)) in shown.message.value and shown.button.disabled
    shown._run()
    assert called == []
    shown.controls[name].value = before
    assert shown.message.value == "" and not shown.button.disabled


def test_the_button_gives_the_checked_values(spec):
    called = []
    shown = form(spec, ["aurora", "cdnow"], called.append)
    shown.controls["tenant"].value = "cdnow"
    shown.button.click()
    assert called == [{"tenant": "cdnow"} | DEFAULTS] and "done" in shown.message.value and not shown.button.disabled


@pytest.mark.parametrize(("result", "said"), [("<b>made</b>", "&lt;b&gt;made"), (SimpleNamespace(status="failed"), "failed"), (None, "done")])
def test_the_outcome_is_said(spec, result, said):
    shown = form(spec, on_run=lambda values: result)
    shown.button.click()
    assert said in shown.message.value and shown.result == result


def test_an_error_that_the_library_foresees_is_said_and_a_bug_is_raised(spec):
    def refuse(values):
        raise ReportError("no table <purchases>")
    shown = form(spec, on_run=refuse)
    shown._run()
    assert "no table &lt;purchases&gt;" in shown.message.value and not shown.button.disabled
    shown = form(spec, on_run=lambda values: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        shown._run()
    assert not shown.button.disabled


def test_without_something_to_run_there_is_no_button(spec):
    assert form(spec).button.layout.display == "none"
    assert form(spec, on_run=print).button.layout.display is None


def test_tenants_are_chosen_from_those_given(spec):
    assert "tenant" not in form(spec).controls
    assert form(spec, ("b", "a")).values["tenant"] == "b"
    with pytest.raises(ParameterError, match="tenant-lab tenants create"):
        form(spec, [])


def test_nothing_of_a_description_is_taken_for_markup(spec):
    texts = [w.value for w in walk(form(spec).box) if isinstance(w, ipywidgets.HTML)]
    assert any("&lt;b&gt;share&lt;/b&gt;; from 0.01 to 0.5" in t for t in texts) and any("Sales &amp; &lt;i&gt;more" in t for t in texts)
    assert not any("<b>share" in t or "<i>more" in t for t in texts)


def walk(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


def test_a_notebook_shows_the_box(spec):
    shown = form(spec)
    assert "application/vnd.jupyter.widget-view+json" in shown._repr_mimebundle_()
    assert shown._repr_mimebundle_()["application/vnd.jupyter.widget-view+json"]["model_id"] == shown.box.model_id


@pytest.mark.parametrize(("low", "high", "kind"), [(0, 2**53 - 1, "IntSlider"), (-(2**53), 5, "Text"), (0, None, "Text"), (None, 9, "Text"),
                                                   (0, 0, "IntSlider")])
def test_a_slider_only_where_it_holds_every_value(low, high, kind):
    assert type(control(Parameter("x", "int", 0, minimum=low, maximum=high))).__name__ == kind


def test_a_text_of_several_lines_keeps_them():
    assert control(Parameter("x", "str", "a\nb")).value == "a\nb"
    assert type(control(Parameter("x", "str", "a\nb"))).__name__ == "Textarea"


@given(st.one_of(
    st.tuples(st.just("str"), st.lists(st.text(st.characters(exclude_categories=["Cs"])))), st.tuples(st.just("int"), st.lists(st.integers(-2**62, 2**62))),
    st.tuples(st.just("float"), st.lists(st.floats(allow_nan=False, allow_infinity=False))), st.tuples(st.just("bool"), st.lists(st.booleans()))))
def test_a_lists_text_means_the_list_again(case):
    parameter, value = Parameter("x", f"list[{case[0]}]", []), case[1]
    assert parameter.check(parameter.parse(value_text(parameter, value))) == value


def test_without_ipywidgets_the_command_is_named(spec, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ParameterError, match=r"pip install 'tenant-lab\[lab\]'"):
        form(spec)
