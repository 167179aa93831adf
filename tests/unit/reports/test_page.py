"""An executed notebook as a page: escaped, self-contained, with its code folded away; and the index page."""
import base64
import gzip
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tenant_lab.core.errors import ReportError
from tenant_lab.core.results import figure
from tenant_lab.reports import page as page_module
from tenant_lab.reports.page import (
    PLOTLY_TYPE,
    mend,
    overview,
    page,
    recorded_figures,
    recorded_tables,
    recorded_values,
    sparkline,
)
from tenant_lab.reports.record import TABLE_TYPE, VALUE_TYPE, headline_html, value_record

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
MANIFEST = {"title": "Sales", "tenant": "shop", "as_of": "2024-06-30", "run_id": "0a1b", "finished": "2024-07-01T06:00:00+00:00",
            "error": None, "library": {"version": "0.1.0"}, "snapshot": {"purchases": 3, "tracks": 0},
            "parameters": {"top": 0.1, "period": "month"}}


def shows(**data) -> nbformat.NotebookNode:
    return new_output("display_data", data)


def recorded(name, value, **details) -> nbformat.NotebookNode:
    record = value_record(name, value, **details)
    return shows(**{VALUE_TYPE: record, "text/html": headline_html(record)})


def picture(title=HOSTILE) -> nbformat.NotebookNode:
    return shows(**{PLOTLY_TYPE: json.loads(figure(title).add_bar(x=[HOSTILE], y=[1], name=HOSTILE).to_json()), "text/plain": "f"})


def notebook(*outputs, source="x = 1") -> nbformat.NotebookNode:
    return new_notebook(cells=[new_code_cell(source, outputs=list(outputs))])


def test_recorded_values_come_in_order_and_the_last_of_a_name_counts():
    cells = [new_code_cell(outputs=[recorded("a", 1), recorded("b", 2), new_output("stream", text="x")]),
             new_markdown_cell("text"), new_code_cell(outputs=[recorded("a", 3), shows(**{"text/plain": "x"})])]
    assert [(v["name"], v["value"]) for v in recorded_values(new_notebook(cells=cells))] == [("a", 3), ("b", 2)]
    assert recorded_values(new_notebook()) == []


def table(frame, name="t", **more) -> nbformat.NotebookNode:
    content = base64.b64encode(frame.to_parquet(compression="zstd")).decode()
    return shows(**{TABLE_TYPE: {"name": name, "parquet": content, **more}, "text/html": "<p>shown</p>"})


def test_recorded_tables_keep_their_types_and_units():
    frame = pd.DataFrame({"day": pd.to_datetime(["2024-06-30"]).tz_localize("Europe/Paris"), "n": pd.array([None], dtype="Int64"), "text": ["=1"]})
    found = recorded_tables(notebook(table(frame, units={"n": "people"}), table(frame[["n"]]), table(frame[["day"]]), table(frame, "other")))
    assert list(found) == ["t", "t (2)", "t (3)", "other"] and found["t"].attrs["units"] == {"n": "people"} and found["t (2)"].attrs["units"] == {}
    pd.testing.assert_frame_equal(found["t"], frame)
    assert list(found["t (2)"].columns) == ["n"] and recorded_tables(notebook(recorded("a", 1))) == {}


@pytest.mark.parametrize("content", [{}, [], "x", {"name": "t"}, {"name": "t", "parquet": "AAAA"}, {"name": "t", "parquet": "é"}, {"name": "t", "parquet": 1}])
def test_what_is_no_table_is_refused(content):
    with pytest.raises(ReportError, match="a table that cannot be read"):
        recorded_tables(notebook(shows(**{TABLE_TYPE: content})))


def test_recorded_figures_come_in_order_with_their_titles():
    made = notebook(picture("First"), recorded("a", 1), picture("Second"))
    page(made, MANIFEST)
    assert [f["layout"]["title"]["text"] for f in recorded_figures(made)] == ["First", "Second"]


def test_the_page_says_what_it_was_made_from():
    body = page(notebook(), MANIFEST)
    assert "<title>Sales · shop · 2024-06-30</title>" in body and "made 2024-07-01 06:00" in body
    text = re.sub(r"\s+", " ", body)
    assert "Data: purchases version 3, tracks version 0. Parameters: top = 0.1, period = month. tenant-lab 0.1.0, run 0a1b." in text
    assert "Parameters: none." in re.sub(r"\s+", " ", page(notebook(), MANIFEST | {"parameters": {}}))
    assert "This run failed" not in body and "The code of this page" in body


def test_headlines_are_cards_on_top_once_and_other_figures_stay_out():
    body = page(notebook(recorded("Revenue", 12.5, headline=True), recorded("Quiet", 7)), MANIFEST)
    assert body.count('class="tl-card"') == 1 and body.index("Revenue") < body.index("<main>") and "Quiet" not in body


def test_markdown_streams_and_plain_results_are_shown_and_parameters_are_not():
    cells = [new_code_cell("secret = 1", metadata={"tags": ["parameters"]}),
             new_code_cell("secret = 2", metadata={"tags": ["injected-parameters"]}),
             new_markdown_cell("An error was found", metadata={"tags": ["papermill-error-cell-tag"]}), new_markdown_cell("## What came in"),
             new_code_cell("f()", outputs=[new_output("stream", name="stdout", text="\x1b[31mred <b>\x1b[0m"), new_output("stream", name="stderr", text="careful"),
                                           shows(**{"text/markdown": "*soft*"}), shows(**{"text/plain": "1 < 2"}),
                                           new_output("execute_result", {"text/html": "<table></table>"}),
                                           shows(**{"image/png": "AAAA", "text/plain": "<chart>"}), shows(**{"image/svg+xml": "<svg></svg>"})])]
    body = page(new_notebook(cells=cells), MANIFEST)
    assert "What came in" in body and "red &lt;b&gt;" in body and "\x1b" not in body and "careful" in body
    assert "<em>soft</em>" in body and "1 &lt; 2" in body and "<table></table>" in body
    assert 'src="data:image/png;base64,AAAA"' in body and "&lt;chart&gt;" in body and "<svg></svg>" in body
    assert "secret" not in body and "An error was found" not in body


def test_a_failure_stands_open_where_it_happened():
    error = new_output("error", ename="ValueError", evalue="x", traceback=["\x1b[31mValueError\x1b[0m: <img src=x>"])
    body = page(notebook(error, source="raise ValueError('<img>')"), MANIFEST | {"error": "ValueError: <img src=x>"})
    assert "This run failed: ValueError: &lt;img src=x&gt;" in body and "The code that failed" in body
    assert re.search(r"tl-traceback.*ValueError.*: &lt;img src=x&gt;", body, re.S) and "<img" not in body


def test_a_picture_is_data_and_the_library_is_inside_once():
    made = notebook(picture(), picture("Second"))
    before = json.dumps(made)
    body = page(made, MANIFEST)
    assert json.dumps(made) == before  # the notebook is not changed
    specs = [json.loads(s) for s in re.findall(r'<script type="application/json">(.*?)</script>', body)]
    assert len(specs) == 2 and specs[0]["data"][0]["x"] == [HOSTILE] and "title" not in specs[0]["layout"]
    assert "<figcaption>&lt;/script&gt;&lt;script&gt;" in body and "<figcaption>Second</figcaption>" in body
    (packed,) = re.findall(r'<script id="tl-plotly" type="text/plain">(.*?)</script>', body, re.S)
    assert b"Plotly" in gzip.decompress(base64.b64decode(packed))
    assert "<img" not in body.replace(packed, "") and "alert(1)</script>" not in body


def test_tables_for_other_formats_are_not_in_the_page():
    made = notebook(table(pd.DataFrame({"a": ["needle"] * 100})))
    before = json.dumps(made)
    body = page(made, MANIFEST)
    assert "<p>shown</p>" in body and made.cells[0].outputs[0].data[TABLE_TYPE]["parquet"][:40] not in body and json.dumps(made) == before


def test_what_changed_stands_below_the_headlines_as_text():
    body = page(notebook(recorded("Revenue", 1, headline=True)), MANIFEST | {"changes": ["Revenue rose.", HOSTILE]})
    (said,) = re.findall(r'<section class="tl-changes"><h2>Since the last run</h2><p>(.*?)</p></section>', body)
    assert said.startswith("Revenue rose. &lt;/script&gt;") and body.index("tl-card") < body.index("Since the last run") < body.index("<main>")
    for none in ({}, {"changes": []}, {"changes": None}):
        assert "Since the last run" not in page(notebook(), MANIFEST | none)


@pytest.mark.parametrize("engine, said", [("duckdb", "tenant-lab 0.1.0 on duckdb, run 0a1b."), (HOSTILE, "on &lt;/script&gt;"), ({"kernel": "fork"}, "tenant-lab 0.1.0, run"),
                                          (None, "tenant-lab 0.1.0, run")])
def test_the_engines_name_stands_in_the_footer(engine, said):
    body = re.sub(r"\s+", " ", page(notebook(), MANIFEST | {"engine": engine, "isolation": {"network": "none"}}))
    assert said in body and "network" not in body and "fork" not in body


GOOD = value_record("Sales", 1, "EUR", low=0, high=2)


@pytest.mark.parametrize("data", [
    {VALUE_TYPE: "x"}, {VALUE_TYPE: {}}, {VALUE_TYPE: GOOD | {"more": 1}}, {VALUE_TYPE: {"name": "Sales"}}, {VALUE_TYPE: GOOD | {"value": []}},
    {VALUE_TYPE: GOOD | {"high": None}}, {PLOTLY_TYPE: "x"}, {PLOTLY_TYPE: []}, {PLOTLY_TYPE: {"data": 3}}, {PLOTLY_TYPE: {"layout": {}}},
    {PLOTLY_TYPE: {"data": [], "layout": 3}}, {PLOTLY_TYPE: {"data": [], "layout": {"title": [1]}}}])
def test_an_output_that_is_not_what_its_type_says_becomes_an_error(data):
    shown = notebook(shows(**data, **{"text/plain": "x"}), recorded("b", 2))
    (said,) = mend(shown)
    wrong, right = shown.cells[0].outputs
    assert (wrong.output_type, wrong.ename, wrong.evalue) == ("error", "OutputError", said) and next(iter(data)) in said
    assert right == recorded("b", 2) and mend(shown) == []
    nbformat.validate(shown)
    assert "OutputError" in page(shown, MANIFEST | {"error": "OutputError"})


def test_outputs_that_are_sound_stay():
    shown = notebook(recorded("a", 1), recorded("b", None, usual=(0, 1)), picture(), shows(**{"text/plain": "x"}), new_output("stream", text="x"))
    before = json.dumps(shown)
    assert mend(shown) == [] and json.dumps(shown) == before


@pytest.mark.parametrize("layout", [{}, {"title": "Sold"}, {"title": {"text": "Sold"}}, {"title": {}}, None])
def test_a_figures_title_may_be_short_or_missing(layout):
    shown = notebook(shows(**{PLOTLY_TYPE: {"data": []} | ({} if layout is None else {"layout": layout})}))
    assert mend(shown) == []
    assert ("<figcaption>Sold</figcaption>" if "Sold" in str(layout) else "<figcaption></figcaption>") in page(shown, MANIFEST)


def test_pages_of_one_process_do_not_mix():
    """Templates, exporter and coloured code are kept between calls."""
    first = page(notebook(picture("One"), source="zebra_a = 1"), MANIFEST)
    other = page(notebook(recorded("Two", 2, headline=True), source="zebra_b = 2"), MANIFEST | {"title": "Other", "changes": ["x"]})
    assert "zebra_b" not in first and "zebra_a" not in other and "<figcaption>" not in other and 'id="tl-plotly"' not in other and "Other" in other
    assert page(notebook(picture("One"), source="zebra_a = 1"), MANIFEST) == first
    assert re.search(r'<summary>The code of this page</summary><div class="highlight hl-ipython3">.*zebra_a', first)


def test_the_exporter_sees_one_notebook_at_a_time(monkeypatch):
    """nbconvert does not promise more: an exporter registers filters for the notebook it is at."""
    inside, seen = [], []

    class Slow:
        def from_notebook_node(self, *_, **__):
            inside.append(1)
            time.sleep(0.01)
            seen.append(len(inside))
            inside.pop()
            return "", {}
    kept = Slow()
    monkeypatch.setattr(page_module, "_exporter", lambda: kept)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: page(notebook(), MANIFEST), range(8)))
    assert seen == [1] * 8


def test_threads_may_make_pages_together():
    made = [(notebook(recorded(f"Figure {i}", i, headline=True), source=f"x = {i}"), MANIFEST | {"title": f"Page {i}"}) for i in range(12)]
    alone = [page(*one) for one in made]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda one: page(*one), made)) == alone


def test_markup_of_a_report_that_looks_like_the_pages_own_changes_nothing():
    own = "<details><summary>The code of this page</summary></details><script id=\"tl-plotly\" type=\"text/plain\"></script>"
    body = page(notebook(shows(**{"text/html": own}), picture("x"), source="needle = 1"), MANIFEST)
    assert own in body and body.index("needle") > body.index("</main>")
    assert len(re.findall(r'<script id="tl-plotly" type="text/plain">\w', body)) == 1


def test_a_page_without_pictures_is_small(monkeypatch):
    monkeypatch.setattr(page_module, "_plotly", lambda: pytest.fail("the library was packed"))
    body = page(notebook(recorded("Revenue", 1, headline=True)), MANIFEST)
    assert 'id="tl-plotly"' not in body and len(body) < 30_000


def test_a_picture_without_a_title_has_an_empty_caption():
    assert "<figcaption></figcaption>" in page(notebook(picture("")), MANIFEST)


def test_the_page_fetches_nothing():
    body = page(notebook(recorded("a", 1, headline=True)), MANIFEST)
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", body)


@pytest.mark.parametrize("key", ["title", "tenant", "as_of", "run_id", "error"])
def test_what_the_manifest_says_is_text(key):
    body = page(notebook(), MANIFEST | {key: HOSTILE})
    assert "<img" not in body and "alert(1)</script>" not in body and "&lt;img" in body


def test_parameters_are_text():
    assert "<img" not in page(notebook(), MANIFEST | {"parameters": {"x": HOSTILE}})


# -- the index page ----------------------------------------------------------------------------------------------------

ROW = {"title": "Sales", "tenant": "shop", "as_of": "2024-06-30", "status": "ok", "error": None, "seconds": 2.4, "finished": "2024-07-01 06:00",
       "page": "sales/shop/2024-06-30/0a/report.html", "notebook_file": "n.ipynb", "values_file": "v.json", "last_good": "", "cards": []}


def test_the_index_counts_and_links():
    cards = [value_record("Revenue", 81234.5, "EUR", headline=True)]
    body = overview([ROW | {"cards": cards}, ROW | {"tenant": "other"}, ROW | {"title": "Plays"}], "2024-07-01 06:00 UTC")
    assert "3 reports for 2 tenants" in body and ">failed" not in body and "2024-07-01 06:00 UTC" in body
    assert "81\u202f234" in body and "made 2024-07-01 06:00 in 2.4 s" in body
    assert set(re.findall(r'href="([^"]*)"', body)) == {ROW["page"], "n.ipynb", "v.json"}


def test_the_index_shows_failures_and_the_last_good_run():
    body = overview([ROW | {"status": "failed", "error": HOSTILE, "tenant": HOSTILE, "last_good": "sales/shop/latest.html"}], "")
    assert "1 failed" in body and "where it happened" in body and 'href="sales/shop/latest.html"' in body
    assert "<img" not in body and body.count("<script") == 1 and "alert(1)</script>" not in body and "1 report for 1 tenant," in body


def test_an_empty_index_says_what_to_do():
    assert "tenant-lab report all" in overview([], "")
    assert "<script" not in overview([], "") and "tl-filters" not in overview([], "").split("</style>")[1]


def test_an_entry_says_what_it_is_filtered_by():
    body = overview([ROW | {"report": "sales", "as_of": "2024-06-30T12:00:00+02:00", "tenant": HOSTILE}, ROW], "")
    first, second = re.findall(r'<section class="tl-row" ([^>]*)>', body)
    assert 'data-report="sales" data-title="Sales" data-status="ok" data-day="2024-06-30"' in first and 'data-tenant="&lt;/script&gt;' in first
    assert 'data-report="Sales"' in second


def test_a_headline_figures_past_is_a_small_line():
    past = [("2024-03-31", 3), ("2024-04-30", 5)]
    cards = [value_record("Revenue", 4, "EUR", headline=True) | {"past": past}, value_record("New", 1, headline=True)]
    body = overview([ROW | {"cards": cards}], "")
    assert body.count("<svg") == 1 and "<title>2024-03-31 to 2024-06-30: 3, 5, 4 EUR</title>" in body
    assert re.search(r"<div class='tl-card'>.*?Revenue.*?</svg></div>\s*<div class='tl-card'>", body, re.S)


PAST = [("2024-01-01", 10), ("2024-01-31", 20)]


@pytest.mark.parametrize("past, value", [([], 1), (PAST[:1], 1), (PAST, None), (PAST, "text"), (PAST, True), ([("2024-01-01", None), ("2024-01-31", 20)], 1),
                                         ([("2024-01-01", "a"), ("2024-01-31", True)], 1)])
def test_no_line_without_two_past_numbers_and_one_now(past, value):
    assert sparkline(past, "2024-02-29", value) == ""


@pytest.mark.parametrize("past, as_of, value, path", [
    (PAST, "2024-04-10", 15, "M0,22 30,2 100,12"),          # 30 and 100 days after the first; 15 is half way
    (PAST, "2024-01-31T12:00:00+00:00", 30, "M0,22 100,12 100,2"),
    ([("2024-01-01", 5), ("2024-01-02", 5)], "2024-01-03", 5, "M0,12 50,12 100,12"),          # no change: in the middle
    ([("2024-01-01", 1), ("2024-01-01T12:00", 2)], "2024-01-01T13:00", 3, "M0,22 50,12 100,2"),  # one day: by order
    ([("2024-02-01", -1.5), ("2024-01-01", 0)], "2024-03-01", 1.5, "M0,22 50,12 100,2")])      # out of order: by order
def test_time_runs_to_the_right_and_extremes_touch_the_edges(past, as_of, value, path):
    line = sparkline(past, as_of, value)
    assert f'd="{path}"' in line and f'class="tl-end" d="M{path.split()[-1]}h0"' in line


def test_the_lines_title_says_the_values_in_their_unit():
    assert "<title>2024-01-01 to 2024-02-29: 1 000.0%, 2 000.0%, 25.0%</title>".replace(" 000.0%", "\u202f000%") in sparkline(PAST, "2024-02-29", 0.25, "%")
    assert "&lt;img" in sparkline(PAST, "2024-02-29", 1, HOSTILE) and "<img" not in sparkline(PAST, "2024-02-29", 1, HOSTILE)


def test_a_thousand_entries_stay_light():
    """200 tenants with five reports of six figures, each with a year of months: 5 KB an entry."""
    past = [(f"2024-{m:02d}-28", 1234567.8 + m) for m in range(1, 13)]
    cards = [value_record(f"Figure {i}", 1234567.8, "EUR", headline=True, change=0.1, usual=(-0.2, 0.2), note="against the month before") | {"past": past}
             for i in range(6)]
    assert len(overview([ROW | {"cards": cards}] * 1000, "").encode()) < 5_000_000
