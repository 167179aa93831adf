"""Two runs compared: each figure, and the reasons, as one sentence."""
import json
from pathlib import Path

import pytest

from tenant_lab.core.errors import ParameterError, ReportError
from tenant_lab.reports.diff import RunDiff, diff, diff_text, reasons

INFO = {"name": "shop", "time_zone": "UTC", "currency": "EUR", "language": "en"}
FIRST = {"report": "sales", "tenant": "shop", "as_of": "2024-06-30", "run_id": "aaaaaa01", "status": "ok", "snapshot": {"purchases": 3, "plays": 1},
         "parameters": {"top": 0.1}, "notebook": "n1", "description": "d1", "tenant_info": INFO, "past": ["x"], "previous": "x",
         "library": {"version": "0.1.0", "content": "c1", "dependencies": {"numpy": "2.4.6", "pandas": "3.1.1"}}}


def value(name, number, unit="EUR") -> dict:
    return {"name": name, "value": number, "unit": unit}


@pytest.fixture
def run(tmp_path):
    def make(*values, **more) -> Path:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        (folder / "manifest.json").write_text(json.dumps(FIRST | more))
        (folder / "values.json").write_text(json.dumps(values))
        return folder
    return make


LIBRARY = FIRST["library"]


@pytest.mark.parametrize("more, found, summary", [
    ({}, {}, "nothing differs in what the two runs were made from"),
    ({"snapshot": {"purchases": 4, "plays": 1}}, {"data": ("purchases version 3 -> 4",)}, "only the data differs: purchases version 3 -> 4"),
    ({"as_of": "2024-07-31", "past": ["y"], "previous": "y"}, {"data": ("as_of 2024-06-30 -> 2024-07-31",)},
     "only the data differs: as_of 2024-06-30 -> 2024-07-31"),
    ({"snapshot": {"purchases": 3, "tracks": 0}}, {"data": ("plays only before", "tracks only after")},
     "only the data differs: plays only before; tracks only after"),
    ({"parameters": {"top": 0.2}}, {"parameters": ("top 0.1 -> 0.2",)}, "only the parameters differ: top 0.1 -> 0.2"),
    ({"parameters": {}}, {"parameters": ("top only before",)}, "only the parameters differ: top only before"),
    ({"notebook": "n2"}, {"code": ("the notebook",)}, "only the code differs: the notebook"),
    ({"description": "d2"}, {"code": ("report.toml",)}, "only the code differs: report.toml"),
    ({"library": LIBRARY | {"version": "0.2.0", "content": "c2"}}, {"code": ("tenant-lab 0.1.0 -> 0.2.0",)}, "only the code differs: tenant-lab 0.1.0 -> 0.2.0"),
    ({"library": LIBRARY | {"content": "c2"}}, {"code": ("the code of tenant-lab 0.1.0",)}, "only the code differs: the code of tenant-lab 0.1.0"),
    ({"library": LIBRARY | {"dependencies": {"numpy": "2.5.0", "pandas": "3.1.1"}}}, {"dependencies": ("numpy 2.4.6 -> 2.5.0",)},
     "only the dependencies differ: numpy 2.4.6 -> 2.5.0"),
    ({"tenant_info": INFO | {"currency": "USD"}}, {"settings": ("currency EUR -> USD",)}, "only the settings differ: currency EUR -> USD"),
    ({"tenant": "other", "tenant_info": INFO | {"name": "other"}}, {"tenant": ("tenant shop -> other",)}, "only the tenant differs: tenant shop -> other"),
    ({"past": ["y"]}, {"earlier runs": ("compared with others",)}, "only the earlier runs differ: compared with others"),
    ({"notebook": "n2", "parameters": {"top": 1}}, {"parameters": ("top 0.1 -> 1",), "code": ("the notebook",)},
     "the parameters and the code differ: top 0.1 -> 1; the notebook"),
    ({"notebook": "n2", "parameters": {"top": 1}, "snapshot": {}},
     {"data": ("plays only before", "purchases only before"), "parameters": ("top 0.1 -> 1",), "code": ("the notebook",)},
     "the data, the parameters and the code differ: plays only before; purchases only before; top 0.1 -> 1; the notebook")])
def test_the_reasons_are_named(run, more, found, summary):
    assert reasons(FIRST, FIRST | more) == found
    compared = diff(run(), run(**more))
    assert compared.reasons == found and compared.summary == summary and compared.untold == ()


def test_what_an_older_run_does_not_hold_is_said_and_is_no_difference(run):
    old = run()
    manifest = {k: v for k, v in FIRST.items() if k not in ("description", "tenant_info", "past")}
    (old / "manifest.json").write_text(json.dumps(manifest))
    found = diff(old, run(description="d9", tenant_info=INFO | {"currency": "USD"}))
    assert found.reasons == {} and found.untold == ("report.toml", "settings") == diff(run(), old).untold
    assert diff(old, run(previous="y")).reasons == {"earlier runs": ("compared with others",)}
    assert "did not write it down: report.toml, settings." in diff_text(found)
    (old / "manifest.json").write_text(json.dumps({"report": "sales", "tenant": "shop", "as_of": "2024-06-30", "run_id": "0", "status": "ok"}))
    assert diff(old, old).summary.startswith("nothing differs")


def test_figures_are_compared_by_name(run):
    before = run(value("Up", 10.0), value("Down", -4), value("From nothing", 0), value("Same", 3), value("Text", "a"), value("Gone", 1), value("Unit", 1),
                 value("Lost", 5), value("Flag", True))
    after = run(value("Up", 12.5), value("Down", -5), value("From nothing", 2), value("Same", 3), value("Text", "b"), value("New", 2), value("Unit", 1, "USD"),
                value("Lost", None), value("Flag", False))
    found = {f["name"]: (f["before"], f["after"], f["change"], f["relative"], f["what"]) for f in diff(before, after).figures}
    assert found == {"Up": (10.0, 12.5, 2.5, 0.25, "changed"), "Down": (-4, -5, -1, -0.25, "changed"), "From nothing": (0, 2, 2, None, "changed"),
                     "Same": (3, 3, 0, 0, "same"), "Text": ("a", "b", None, None, "changed"), "New": (None, 2, None, None, "only after"),
                     "Unit": (1, 1, None, None, "changed"), "Gone": (1, None, None, None, "only before"), "Lost": (5, None, None, None, "changed"),
                     "Flag": (True, False, None, None, "changed")}


def test_a_report_that_gives_not_the_same_twice_is_told(run):
    assert diff(run(value("x", 1)), run(value("x", 2))).summary.endswith("and still figures differ: the report gives not the same twice")


def test_the_text_says_both_runs_the_reason_and_what_changed(run):
    found = diff(run(value("Revenue", 1000.0), value("Share", 0.485, "%"), value("Same", 1), value("Gone", 5, "%"), value("Zero", 0), value("Unit", 1.0),
                     value("Word", "a")),
                 run(value("Revenue", 1250.0), value("Share", 0.48, "%"), value("Same", 1), value("Zero", 2), value("Unit", 1.0, "USD"), value("Word", None),
                     snapshot={"purchases": 4, "plays": 1}))
    text = diff_text(found).replace("\u202f", " ").replace("\u00a0", " ").splitlines()
    assert text[0] == "before  sales · shop · as of 2024-06-30 · run aaaaaa01 (ok)"
    assert text[3:] == ["Only the data differs: purchases version 3 -> 4.", "  Revenue: 1 000 EUR -> 1 250 EUR (+250 EUR, +25.0%)",
                        "  Share: 48.5% -> 48.0% (−0.500 points, −1.0%)", "  Zero: 0 EUR -> 2 EUR (+2 EUR)", "  Unit: 1.00 -> 1.00, unit EUR -> USD",
                        "  Word: a -> –", "  Gone: only before, 500%", "6 of 7 figures differ."]


def test_a_diff_is_a_result_with_a_frame_and_a_picture(run):
    found = diff(run(value("a", 1.0), value("b", "x")), run(value("a", 3.0), value("b", "x")))
    assert isinstance(found, RunDiff)
    frame = found.frame()
    assert list(frame.columns) == ["name", "unit", "before", "after", "change", "relative", "what"] and list(frame["change"][:1]) == [2.0]
    assert list(found.plot().data[0].x) == [2.0] and found.plot().layout.title.text.startswith("Nothing differs")
    assert list(diff(run(), run()).frame().columns) == list(frame.columns)


@pytest.mark.parametrize("name, content", [("manifest.json", None), ("manifest.json", "{"), ("manifest.json", "[]"), ("values.json", None), ("values.json", "[1]"), ("values.json", "{")])
def test_a_folder_without_a_whole_run_is_refused(run, name, content):
    folder = run()
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content)
    with pytest.raises(ReportError, match="is no finished run"):
        diff(run(), folder)


def test_runs_of_different_reports_are_refused(run):
    with pytest.raises(ParameterError, match="different reports cannot be compared: sales and plays"):
        diff(run(), run(report="plays"))
