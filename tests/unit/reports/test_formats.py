"""A finished run in other formats: typed cells that are never formulas, a PDF with pages, and pictures."""
import asyncio
import base64
import contextlib
import datetime as dt
import json
import os
import re
import signal
import struct
import sys
import threading
import time
import urllib.request
import xml.etree.ElementTree as ET
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import nbformat
import numpy as np
import openpyxl
import pandas as pd
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tenant_lab.core.errors import ParameterError, ReportError
from tenant_lab.core.results import figure
from tenant_lab.reports import formats
from tenant_lab.reports.formats import (
    FORMATS,
    browser,
    cell_value,
    export,
    number_format,
    sheet_names,
    slug,
    write_xlsx,
)
from tenant_lab.reports.page import PLOTLY_TYPE, page
from tenant_lab.reports.record import TABLE_TYPE, VALUE_TYPE, value_record

MANIFEST = {"report": "sales", "title": "Sales", "tenant": "shop", "as_of": "2024-06-30", "run_id": "0a1b", "finished": "2024-07-01T06:00:00+00:00",
            "status": "ok", "error": None, "library": {"version": "0.1.0"}, "snapshot": {"purchases": 3}, "parameters": {"top": 0.1}}
HOSTILE = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "#N/A", "=cmd|' /C calc'!A0"]


def shows(**data):
    return new_output("display_data", data)


def table(frame, name, units=None):
    content = base64.b64encode(frame.to_parquet(compression="zstd")).decode()
    return shows(**{TABLE_TYPE: {"name": name, "units": units or {}, "parquet": content}, "text/html": "<p>a table</p>"})


def picture(title, fig=None):
    fig = (fig or figure(title).add_bar(x=["a", "b"], y=[1, 2])).update_layout(title_text=title)
    return shows(**{PLOTLY_TYPE: json.loads(fig.to_json())})


@pytest.fixture
def run(tmp_path):
    """Makes a run's folder from the outputs of its notebook."""
    def make(*outputs, html=None, **more) -> Path:
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        notebook = new_notebook(cells=[new_code_cell("report = 1", outputs=list(outputs))])
        nbformat.write(notebook, folder / "report.ipynb")
        (folder / "manifest.json").write_text(json.dumps(MANIFEST | more))
        (folder / "report.html").write_text(html or page(notebook, MANIFEST | more))
        return folder
    return make


@pytest.fixture
def book(tmp_path):
    """Writes a workbook of tables and reads it again."""
    def make(values=(), about=None, **tables):
        write_xlsx(tmp_path / "a.xlsx", list(values), tables, about)
        return openpyxl.load_workbook(tmp_path / "a.xlsx")
    return make


def column(sheet, letter="A"):
    return [c.value for c in sheet[letter][1:]]


# -- cells -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("value, cell", [
    (None, None), (float("nan"), None), (pd.NA, None), (pd.NaT, None), (np.float64("nan"), None), (np.datetime64("NaT"), None), (1, 1), (1.5, 1.5), (True, True),
    (np.int64(3), 3), (np.bool_(True), True), (np.float32(0.5), 0.5), (Decimal("12.50"), 12.5), (Decimal("NaN"), None), (float("inf"), "infinity"),
    (-np.inf, "-infinity"),
    (999_999_999_999_999, 999_999_999_999_999), (10**15, "1000000000000000"), (-(10**15), "-1000000000000000"), ("a\x00b\ud800", "a\ufffdb\ufffd"), ("", ""),
    (dt.date(2024, 6, 30), dt.date(2024, 6, 30)), (dt.date(1900, 2, 28), "1900-02-28"), (dt.date(1900, 3, 1), dt.date(1900, 3, 1)),
    (dt.datetime(1899, 1, 1), "1899-01-01T00:00:00"), (dt.datetime(2024, 6, 30, 12, tzinfo=dt.UTC), "2024-06-30T12:00:00+00:00"),
    (pd.Timestamp("2024-06-30 01:02"), dt.datetime(2024, 6, 30, 1, 2)), (pd.Timedelta(hours=30), dt.timedelta(hours=30)), (dt.time(9, 30), dt.time(9, 30)),
    ([1, "é"], '[1, "é"]'), (np.array([1, 2]), "[1, 2]"), ({"a": dt.date(2024, 1, 2)}, '{"a": "2024-01-02"}'), (b"\x01", "b'\\x01'"),
    ("x" * 40_000, "x" * 32_767), ("😀" * 20_000, "😀" * 16_383)])
def test_what_a_cell_can_hold(value, cell):
    """Excel: 15 digits, no day before 1 March 1900 that is right, 32 767 UTF-16 units of text."""
    found = cell_value(value)
    assert found == cell and type(found) is type(cell)


@pytest.mark.parametrize("values, unit, shape", [
    ([0.1], "%", "0.0%"), ([1, 2], "", "#,##0"), ([1, 2], "customers", '#,##0 "customers"'), ([1.5, 2], "EUR", '#,##0.00 "EUR"'), ([0.012, None], "", "0.0000"),
    ([], "", "#,##0"), (["a", True], "", "#,##0"), ([1.5], 'a"b\\c\x00', '#,##0.00 "abc"'), ([-0.5, -1200.5], "", "#,##0.00")])
def test_number_formats(values, unit, shape):
    assert number_format(values, unit) == shape


@pytest.mark.parametrize("names, sheets", [
    (["a", "A", "a"], ["a", "A (2)", "a (3)"]), (["values", "History", "about"], ["values (2)", "History (2)", "about (2)"]),
    (["[a]:b*c?d/e\\f"], ["a b c d e f"]), (["", "'", "//"], ["table", "table (2)", "table (3)"]), (["'quoted'"], ["quoted"]),
    (["x" * 31, "x" * 32], ["x" * 31, "x" * 27 + " (2)"]), (["😀" * 20], ["😀" * 15]), (["a\nb\x00c"], ["a b c"])])
def test_sheet_names_are_valid_and_unique(names, sheets):
    """31 UTF-16 units; none of []:*?/\\; no apostrophe at an end; unique when capitals do not count."""
    assert sheet_names(names) == sheets


# -- the workbook ------------------------------------------------------------------------------------------------------

def test_values_are_a_sheet_with_number_formats(book):
    values = [value_record("Revenue", 81234.5, "EUR", change=-0.02, low=80000, high=82000.5, note="net"), value_record("Share", 0.25, "%"),
              value_record("Customers", 12), value_record("Best", "=Socks"), value_record("None", None)]
    sheet = book(values)["values"]
    assert [[c.value for c in row] for row in sheet.rows] == [
        ["name", "value", "unit", "change", "low", "high", "note"], ["Revenue", 81234.5, "EUR", -0.02, 80000, 82000.5, "net"],
        ["Share", 0.25, "%", None, None, None, None], ["Customers", 12, None, None, None, None, None], ["Best", "=Socks", None, None, None, None, None],
        ["None", None, None, None, None, None, None]]
    assert [sheet.cell(r, 2).number_format for r in (2, 3, 4)] == ["#,##0.00", "0.0%", "#,##0"]
    assert sheet["D2"].number_format == "+0.0%;-0.0%;0.0%" and sheet["E2"].number_format == "#,##0" and sheet["B5"].data_type == "s"
    assert sheet.freeze_panes == "A2" and sheet.auto_filter.ref == "A1:G6" and sheet["A1"].font.bold


def test_a_tables_cells_keep_their_types(book):
    frame = pd.DataFrame({"text": ["a", None], "whole": [1, 2], "number": [1234.5, float("nan")], "share": [0.25, 0.5], "yes": [True, False],
                          "day": pd.to_datetime(["2024-06-30", None]), "at": pd.to_datetime(["2024-06-30 12:30", "2024-07-01 00:00"]),
                          "date": [dt.date(2024, 6, 30), None], "long": pd.to_timedelta(["30h", "1min"]), "maybe": pd.array([1, None], dtype="Int64"),
                          "kind": pd.Categorical(["x", "y"]), "mixed": [1, "a"], "list": [[1], [2]]})
    frame.attrs["units"] = {"number": "EUR", "share": "%"}
    sheet = book(t=frame)["t"]
    first, second = ([c.value for c in row] for row in list(sheet.rows)[1:])
    assert first == ["a", 1, 1234.5, 0.25, True, dt.datetime(2024, 6, 30), dt.datetime(2024, 6, 30, 12, 30), dt.datetime(2024, 6, 30), dt.timedelta(hours=30),
                     1, "x", 1, "[1]"]
    assert second == [None, 2, None, 0.5, False, None, dt.datetime(2024, 7, 1), None, dt.timedelta(minutes=1), None, "y", "a", "[2]"]
    assert [c.number_format for c in sheet[2]][1:9] == ["#,##0", '#,##0.00 "EUR"', "0.0%", "General", "yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss", "yyyy-mm-dd", "[h]:mm:ss"]
    assert sheet.freeze_panes == "A2" and sheet.auto_filter.ref == "A1:M3"


def test_a_time_zone_stands_in_the_heading_and_the_cell_shows_its_clock(book):
    at = pd.Series(pd.to_datetime(["2024-06-30T22:30Z", None, "2024-01-01T00:00Z"])).dt.tz_convert("Europe/Paris")
    sheet = book(t=pd.DataFrame({"at": at}))["t"]
    assert [c.value for c in sheet["A"]] == ["at (Europe/Paris)", dt.datetime(2024, 7, 1, 0, 30), None, dt.datetime(2024, 1, 1, 1)]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_is_never_a_formula(book, tmp_path, text):
    """OWASP, CSV Injection; openpyxl takes a text that begins with = for a formula, and #N/A for an error."""
    sheet = book([value_record(text, text, text, note=text)], about={text: text}, t=pd.DataFrame({text: [text]}))
    for name in ("t", "values", "about"):
        for row in sheet[name].rows:
            assert all(c.data_type == "s" or c.value is None for c in row if c.value is None or "=" in str(c.value) or c.value == text)
    assert sheet["t"]["A1"].value.strip() == text.strip() and sheet["t"]["A2"].value == text and sheet["t"]["A2"].quotePrefix
    with zipfile.ZipFile(tmp_path / "a.xlsx") as packed:
        assert all(b"<f>" not in packed.read(n) for n in packed.namelist() if "worksheets" in n)


def test_what_xml_cannot_say_does_not_break_the_file(book):
    sheet = book([value_record("a\x01", "b\ufffe")], **{"t\x02": pd.DataFrame({"c\x03": ["d\x0b\ufffe <&>\n"]})})
    assert sheet["t"]["A1"].value == "c\ufffd" and sheet["t"]["A2"].value == "d\ufffd\ufffd <&>\n"


def test_a_table_beyond_a_sheet_is_cut_with_a_note(book, monkeypatch):
    monkeypatch.setattr(formats, "SHEET_ROWS", 10)
    fits, more = pd.DataFrame({"n": range(9)}), pd.DataFrame({"n": range(10)})
    found = book(fits=fits, more=more)
    assert column(found["fits"]) == list(range(9)) and found["fits"].max_row == 10
    *numbers, note = column(found["more"])
    assert numbers == list(range(8)) and note.startswith("Cut to 8 of 10 rows") and found["more"].max_row == 10
    assert found["more"].auto_filter.ref == "A1:A9" and dict(zip(column(found["about"]), column(found["about"], "B"), strict=True))["sheet more"] == note
    monkeypatch.setattr(formats, "SHEET_COLUMNS", 2)
    wide = book(wide=pd.DataFrame(np.zeros((1, 3)), columns=list("abc")))["wide"]
    assert [c.value for c in wide[1]] == ["a", "b"] and "2 of 3 columns" in wide["A3"].value


def test_the_limits_are_excels():
    assert (formats.SHEET_ROWS, formats.SHEET_COLUMNS) == (2**20, 2**14)


def test_widths_follow_what_is_shown(book):
    sheet = book(t=pd.DataFrame({"a": ["x"], "long": ["y" * 40], "longer": ["z" * 400], "number": [1234567.891]}))["t"]
    width = {c: sheet.column_dimensions[c].width for c in "ABCD"}
    assert width["A"] < 8 and 40 <= width["B"] <= 44 and width["C"] == 60 and width["D"] >= len("1,234,567.89")


@pytest.mark.parametrize("frame", [pd.DataFrame(), pd.DataFrame({"a": []}), pd.DataFrame(index=range(3))])
def test_an_empty_table_is_a_sheet(book, frame):
    assert book(t=frame)["t"].max_row == 1


# -- all formats -------------------------------------------------------------------------------------------------------

def test_a_workbook_needs_no_browser(run, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "browser", lambda: pytest.fail("started"))
    frame = pd.DataFrame({"day": [dt.date(2024, 6, 30)], "n": [1]})
    folder = run(shows(**{VALUE_TYPE: value_record("Revenue", 5.5, "EUR")}), table(frame, "days", {"n": "people"}), table(frame, "days"))
    (path,) = export(folder, ["xlsx", "xlsx"], tmp_path / "new/out")
    assert path == tmp_path / "new/out/report.xlsx" and os.listdir(path.parent) == ["report.xlsx"]
    found = openpyxl.load_workbook(path)
    assert found.sheetnames == ["values", "days", "days (2)", "about"] and found["days"]["B2"].number_format == '#,##0 "people"'
    about = dict(zip(column(found["about"]), column(found["about"], "B"), strict=True))
    assert about == {"report": "Sales", "tenant": "shop", "as of": "2024-06-30", "run": "0a1b", "made": "2024-07-01T06:00:00+00:00", "status": "ok",
                     "data": "purchases version 3", "library": "tenant-lab 0.1.0", "parameters": "top = 0.1"}
    assert export(run(), ["png", "svg"], tmp_path / "none") == []  # no pictures, no browser


@pytest.mark.parametrize("wanted, said", [(["docx"], "format 'docx': allowed are pdf, xlsx, png, svg"), ([], "none is given"), (["pdf", None], "format None")])
def test_an_unknown_format_is_refused(run, tmp_path, wanted, said):
    with pytest.raises(ParameterError, match=said):
        export(run(), wanted, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["manifest.json", "report.html", "report.ipynb"])
def test_a_folder_without_a_run_is_refused(run, tmp_path, name):
    folder = run()
    (folder / name).unlink()
    with pytest.raises(ReportError, match=f"no finished run: it has no {name}"):
        export(folder, ["xlsx"], tmp_path / "out")


def test_a_file_is_no_folder(run, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ParameterError, match="is a file"):
        export(run(), ["xlsx"], tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_table_that_cannot_be_read_is_refused_and_leaves_nothing(run, tmp_path):
    folder = run(shows(**{TABLE_TYPE: {"name": "x", "parquet": "AAAA"}, "text/html": ""}))
    with pytest.raises(ReportError, match="a table that cannot be read"):
        export(folder, ["xlsx"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_cannot_be_finished_leaves_the_old_one(run, tmp_path, monkeypatch):
    folder = run()
    (path,) = export(folder, ["xlsx"], tmp_path)
    before = path.read_bytes()

    def full(path, *_):
        path.write_bytes(b"half of it")
        raise OSError(28, "no space left")
    monkeypatch.setattr(formats, "write_xlsx", full)
    with pytest.raises(OSError, match="no space"):
        export(folder, ["xlsx"], tmp_path)
    assert path.read_bytes() == before and {p.name for p in tmp_path.iterdir() if p.is_file()} == {"report.xlsx"}


def test_what_is_missing_is_named_with_how_to_get_it(run, tmp_path, monkeypatch):
    folder = run(picture("a"))
    monkeypatch.setattr(formats.shutil, "which", lambda name: None)
    with pytest.raises(ReportError, match="need Chromium .*apt-get install chromium"):
        export(folder, ["pdf"], tmp_path)
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    with pytest.raises(ReportError, match=r"need Playwright; get it with: pip install 'tenant-lab\[export\]'"):
        export(folder, ["png"], tmp_path)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ReportError, match=r"need openpyxl; get it with: pip install 'tenant-lab\[export\]'"):
        export(folder, ["xlsx"], tmp_path)


@pytest.mark.parametrize("title, name", [("Revenue by month", "07-revenue-by-month"), ("Umsätze: +12 % ↑", "07-umsatze-12"), ("", "07-figure"), ("売上", "07-figure"),
                                         ("../../etc/passwd", "07-etc-passwd"), ("x" * 99, "07-" + "x" * 60), ("word " * 30, "07" + "-word" * 12)])
def test_file_names_are_plain(title, name):
    assert slug(title, 7) == name and len(name) <= 63


# -- in Chromium -------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def opened(chromium):
    with browser() as found:
        yield found


def pdf_pages(path: Path) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", path.read_bytes()))


def pdf_text(path: Path) -> list[str]:
    """The text of each page, from the fonts' own tables (PDF 32000-1, 9.10); enough for what Chromium writes."""
    objects = {int(n): body for n, body in re.findall(rb"(?:^|\n)(\d+) 0 obj\s(.*?)\nendobj", path.read_bytes(), re.S)}

    def stream(number: int) -> bytes:
        return zlib.decompress(re.search(rb"stream\r?\n(.*)\r?\nendstream", objects[number], re.S)[1])

    def letters(font: int) -> dict[int, str]:
        found = {}
        text = stream(int(re.search(rb"/ToUnicode (\d+)", objects[font])[1])).decode()
        for block in re.findall(r"beginbfchar(.*?)endbfchar", text, re.S):
            found |= {int(a, 16): bytes.fromhex(b).decode("utf-16-be") for a, b in re.findall(r"<(\w+)> <(\w+)>", block)}
        for block in re.findall(r"beginbfrange(.*?)endbfrange", text, re.S):
            for a, b, c in re.findall(r"<(\w+)> <(\w+)> <(\w+)>", block):
                found |= {code: chr(int(c, 16) + i) for i, code in enumerate(range(int(a, 16), int(b, 16) + 1))}
        return found
    pages = []
    for body in objects.values():
        if not re.search(rb"/Type\s*/Page\b", body):
            continue
        fonts = {name: letters(int(n)) for name, n in re.findall(rb"/(F\d+) (\d+) 0 R", body)}
        said, font = "", {}
        for name, word in re.findall(rb"/(F\d+) [\d.]+ Tf|<([0-9A-Fa-f]+)> Tj|(?:ET)", stream(int(re.search(rb"/Contents (\d+)", body)[1]))):
            font = fonts[name] if name else font
            said += "".join(font.get(code, "") for (code,) in struct.iter_unpack(">H", bytes.fromhex(word.decode()))) if word else ""
        pages.append(said)
    return pages


@pytest.mark.browser
def test_a_run_in_all_formats(run, tmp_path, opened):
    scatter = figure("x").add_scatter(x=[1, 2], y=[3, 4], name="one").add_scatter(x=[1, 2], y=[4, 3], name="two")
    folder = run(picture("Sales <b>doubled</b> & more " * 6), picture("売上", scatter), picture(""), table(pd.DataFrame({"a": [1]}), "t"))
    files = export(folder, [*reversed(FORMATS), "png"], tmp_path / "out", using=opened)
    names = [str(f.relative_to(tmp_path / "out")) for f in files]
    first = "figures/01-sales-b-doubled-b-more-sales-b-doubled-b-more-sales-b"
    assert names == ["report.xlsx", "report.pdf", *(f"{stem}.{kind}" for stem in (first, "figures/02-figure", "figures/03-figure") for kind in ("svg", "png"))]
    assert sorted(p for p in (tmp_path / "out").rglob("*") if p.is_file()) == sorted(files)
    for stem, lines, legend in ((first, 2, 0), ("figures/02-figure", 1, 26), ("figures/03-figure", 0, 0)):
        png, svg = (tmp_path / f"out/{stem}.png").read_bytes(), ET.fromstring((tmp_path / f"out/{stem}.svg").read_text())
        height = 340 - 44 + 16 + 20 * lines + 8 * bool(lines) + legend
        assert png[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", png[16:24]) == (1800, 2 * height)
        assert (svg.get("width"), svg.get("height")) == ("900", str(height))
    text = "".join(ET.fromstring((tmp_path / f"out/{first}.svg").read_text()).itertext())
    assert "Sales <b>doubled</b> & more" in text  # shown, not obeyed
    assert "売上" in "".join(ET.fromstring((tmp_path / "out/figures/02-figure.svg").read_text()).itertext())


@pytest.mark.browser
def test_the_pdf_is_a4_with_numbered_pages_and_a_footer_and_without_the_code(run, tmp_path, opened):
    rows = "".join(f"<tr><td>row {i}</td></tr>" for i in range(150))
    folder = run(shows(**{"text/html": f"<table><thead><tr><th>heading</th></tr></thead><tbody>{rows}</tbody></table>"}), picture("A picture"),
                 title="Sales <i>", tenant="shop")
    (path,) = export(folder, ["pdf"], tmp_path, using=opened)
    assert set(re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", path.read_bytes())) == {(b"595.91998", b"842.88")}  # 210 mm x 297 mm, to 1/96 inch
    pages = pdf_text(path)
    assert len(pages) == pdf_pages(path) >= 4
    for number, text in enumerate(pages, 1):
        assert f"{number} / {len(pages)}" in text and "Sales <i> · shop · as of 2024-06-30" in text
    whole = "".join(pages)
    assert all(whole.count(f"row {i}") for i in range(150)) and whole.count("heading") >= 3 and "report = 1" not in whole and "All reports" not in whole
    assert "A picture" in whole and "/StructTreeRoot" in path.read_bytes().decode("latin-1")


@pytest.mark.browser
def test_a_picture_is_on_one_page_with_its_title(run, tmp_path, opened):
    """Wherever it falls: of twelve pictures at twelve heights, the axis is on the page of the title."""
    outputs = []
    for i in range(12):
        words = shows(**{"text/html": "<p>line</p>" * (2 + i)})
        outputs += [words, picture(f"Title {i:02d}.", figure("x", height=200).add_bar(x=[f"Axis {i:02d}."], y=[1]))]
    (path,) = export(run(*outputs), ["pdf"], tmp_path, using=opened)
    pages = pdf_text(path)
    assert len(pages) > 4

    def page_of(words):
        return [number for number, text in enumerate(pages) if words in text]
    assert [page_of(f"Title {i:02d}.") for i in range(12)] == [page_of(f"Axis {i:02d}.") for i in range(12)]


@pytest.mark.browser
def test_a_page_reaches_no_other_file_and_runs_no_other_script(run, tmp_path, opened):
    leak = "<script>document.title = 'leaked'</script>"
    (tmp_path / "other.js").write_text("document.title = 'leaked'")
    (tmp_path / "other.html").write_text("<script>parent.postMessage('leaked', '*')</script>secret")
    html = (f"<html><body><script>addEventListener('message', (e) => document.title = e.data); document.title = 'own'</script><script src='../other.js'></script>"
            f"<iframe src='../other.html'></iframe><img src='../other.png'>{leak.replace('leaked', 'own')}<h1>Page</h1></body></html>")
    folder = run(html=html)

    def look(chromium):
        with formats._window(chromium, folder / "report.html") as found:
            found.wait_for_timeout(300)
            return found.title()
    assert opened.do(look) == "own"


@pytest.mark.browser
def test_pictures_are_drawn_for_paper(run, opened):
    """A4 without margins of 14 mm: 182 mm, at 96 pixels an inch."""
    folder = run(picture("x"))

    def look(chromium):
        with formats._window(chromium, folder / "report.html") as found:
            return found.evaluate("[matchMedia('print').matches, matchMedia('(prefers-color-scheme: light)').matches, document.querySelector('svg').clientWidth]")
    assert opened.do(look) == [True, True, int(182 / 25.4 * 96 + 0.5)]


@pytest.mark.browser
def test_a_window_is_offline_and_shares_no_storage(run, opened):
    """A server stands on this machine and nothing of the page reaches it; what `navigator.onLine` says depends on the version of Chromium."""
    reached = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            reached.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *what):
            pass
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        folder = run(html=f"<img src='{address}/picture'><script>document.title = `${{localStorage.length}}`; localStorage.setItem('a', 'b')</script>")

        def look(chromium):
            with formats._window(chromium, folder / "report.html") as found:
                return found.title(), found.evaluate("url => fetch(url, {mode: 'no-cors'}).then(() => 'reached', () => 'refused')", f"{address}/fetch")
        assert [opened.do(look), opened.do(look)] == [("0", "refused")] * 2
        assert reached == []
        urllib.request.urlopen(f"{address}/plain").close()
        assert reached == ["/plain"]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.browser
def test_one_browser_serves_threads_and_event_loops(run, tmp_path, opened, monkeypatch):
    folder = run()
    monkeypatch.setattr(formats, "browser", lambda: pytest.fail("another one was started"))

    async def inside():
        return export(folder, ["pdf"], tmp_path / "loop", using=opened)
    assert pdf_pages(asyncio.run(inside())[0]) == 1
    with ThreadPoolExecutor(3) as threads:
        made = threads.map(lambda i: export(folder, ["pdf"], tmp_path / str(i), using=opened)[0], range(3))
        assert [pdf_pages(path) for path in made] == [1, 1, 1]


@pytest.mark.browser
def test_a_page_that_is_never_drawn_is_said(run, tmp_path, opened, monkeypatch):
    monkeypatch.setattr(formats, "_PATIENCE", 700)
    folder = run(html="<script id='tl-plotly' type='text/plain'></script>")
    with pytest.raises(ReportError, match="did not draw the page"):
        export(folder, ["pdf"], tmp_path, using=opened)
    assert export(run(), ["pdf"], tmp_path, using=opened)  # the browser goes on


@pytest.mark.browser
def test_a_picture_that_cannot_be_drawn_is_said(run, tmp_path, opened):
    folder = run(picture("a"), html="<p>a page without the plotting library</p>")
    with pytest.raises(ReportError, match=r"report\.html: .*Plotly is not defined"):
        export(folder, ["svg"], tmp_path, using=opened)
    assert not list(tmp_path.glob("figures/*"))


def children() -> dict[int, str]:
    """Names of this process's children, and of theirs."""
    found = {}
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended meanwhile
            found[process.pid] = process.name()
    return found


def chromes() -> set[int]:
    return {pid for pid, name in children().items() if "chrom" in name}


@pytest.mark.browser
def test_a_browser_that_dies_is_said_and_none_is_left_behind(chromium, run, tmp_path):
    folder, before = run(picture("a")), chromes()
    with browser() as found:
        started = chromes() - before
        assert started
        for pid in started:
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(ReportError):
            export(folder, ["pdf"], tmp_path, using=found)
    with pytest.raises(ZeroDivisionError), browser():
        1 / 0  # noqa: B018
    limit = time.monotonic() + 10
    while chromes() - before and time.monotonic() < limit:
        time.sleep(0.05)
    assert not chromes() - before


@pytest.mark.browser
def test_a_chromium_that_does_not_start_is_said(chromium, run, tmp_path, monkeypatch):
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setattr(formats.shutil, "which", lambda name: str(broken))
    before = set(children())
    with pytest.raises(ReportError, match="does not start"):
        export(run(), ["pdf"], tmp_path)
    assert not set(children()) - before  # Playwright's driver is gone as well


@pytest.mark.browser
@pytest.mark.parametrize("user, expected", [(0, True), (1000, False)])
def test_only_root_goes_without_the_sandbox(chromium, monkeypatch, user, expected):
    from playwright.sync_api import BrowserType
    given = []

    def launch(self, executable_path, args):
        given.extend(args)
        raise ReportError("enough")
    monkeypatch.setattr(BrowserType, "launch", launch)
    monkeypatch.setattr(formats.os, "geteuid", lambda: user)
    with pytest.raises(ReportError, match="enough"), browser():
        pass
    assert ("--no-sandbox" in given) == expected
    assert {"--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"} <= set(given)
