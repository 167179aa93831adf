"""An executed notebook as a page: escaped, self-contained, with its code folded away; and the index page."""
import base64
import gzip
import json
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tenant_lab.core.results import figure
from tenant_lab.reports.page import PLOTLY_TYPE, overview, page, recorded_values
from tenant_lab.reports.record import VALUE_TYPE, headline_html, value_record

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


def test_a_page_without_pictures_is_small():
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
    assert "<img" not in body and "<script" not in body and "1 report for 1 tenant," in body


def test_an_empty_index_says_what_to_do():
    assert "tenant-lab report all" in overview([], "")
