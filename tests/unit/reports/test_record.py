"""What a report's notebook shows: figures as records and cards, tables with a download, pictures."""
import base64
import csv
import html
import io
import json
import re

import IPython.display
import numpy as np
import pandas as pd
import pytest

from tenant_lab.core.errors import ParameterError, StoreError
from tenant_lab.core.results import figure
from tenant_lab.reports.record import VALUE_TYPE, Report, headline_html, table_html, value_record

NAN = float("nan")
HOSTILE = "<img src=x onerror=alert(1)>"


def plain(markup: str) -> str:
    """The text that a reader sees, all spaces alike."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", markup))).strip()


def download(markup: str) -> list[list[str]]:
    """The downloaded file's cells."""
    data = re.search(r"href='data:text/csv;base64,([^']*)'", markup)[1]
    return list(csv.reader(io.StringIO(base64.b64decode(data).decode(), newline="")))


# -- value_record ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("value, stored", [
    (3, 3), (2.5, 2.5), ("text", "text"), (None, None), (np.int64(3), 3), (np.float32(0.5), 0.5), (NAN, None),
    (np.float64("nan"), None), (np.array(4), 4),
])
def test_a_value_is_stored_as_plain_python(value, stored):
    record = value_record("Sales", value, "EUR")
    assert record["value"] == stored and type(record["value"]) is type(stored)
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_a_record_holds_all_details():
    record = value_record("Sales", 3, "EUR", headline=True, change=np.float64(0.1), usual=(-0.2, np.float64(0.3)), low=1, high=np.int64(4), note="n")
    assert record == {"name": "Sales", "value": 3, "unit": "EUR", "headline": True, "change": 0.1, "usual": [-0.2, 0.3],
                      "low": 1, "high": 4, "note": "n"}


@pytest.mark.parametrize("details", [{"low": 1, "high": NAN}, {"low": 1}, {"high": np.float64("inf"), "low": 0}, {"usual": (NAN, 1)}, {"usual": np.array([NAN, 1.0])}])
def test_half_an_interval_is_none(details):
    record = value_record("Sales", 3, **details)
    assert (record["low"], record["high"], record["usual"]) == (None, None, None)
    assert plain(headline_html(record)) == "Sales 3"


@pytest.mark.parametrize("details, said", [
    ({"unit": 3}, "unit and note are texts"), ({"note": None}, "unit and note are texts"), ({"change": "up"}, "change is a number, not 'up'"),
    ({"usual": 1}, "usual is a pair of numbers, not 1"), ({"usual": "ab"}, "usual is a pair"), ({"usual": (1, 2, 3)}, "usual is a pair"),
    ({"low": "1", "high": "2"}, "low, high is a number, not '1'"), ({"change": np.array([1, 2])}, "an array cannot be recorded")])
def test_details_of_another_kind_are_refused(details, said):
    with pytest.raises(ParameterError, match=said):
        value_record("Sales", 3, **details)


@pytest.mark.parametrize("value", [float("inf"), np.float64("-inf")])
def test_an_infinite_value_leaves_valid_json(value):
    """values.json is read by others; `Infinity` is no JSON."""
    json.dumps(value_record("Sales", value, change=value), allow_nan=False)


@pytest.mark.parametrize("value", [[1], {"a": 1}, pd.NaT, pd.Timestamp("2024-01-01"), np.array([1, 2]), pd.Series([1, 2])])
def test_what_is_no_figure_is_refused(value):
    with pytest.raises(ParameterError, match="Sales: .* cannot be recorded"):
        value_record("Sales", value)


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_figure_needs_a_name(name):
    with pytest.raises(ParameterError, match="needs a name"):
        value_record(name, 1)


# -- headline_html -----------------------------------------------------------------------------------------------------

def test_a_card_says_value_unit_interval_change_and_note():
    card = headline_html(value_record("Sales", 81234.5, "EUR", low=80_000, high=82_000.5, change=0.123, usual=(-0.1, 0.2), note="so"))
    assert plain(card) == "Sales 81 234 EUR 80 000 EUR to 82 000 EUR +12.3%, usually −10.0% to 20.0% so"
    assert "81\u202f234" in card  # thousands are kept together
    assert "tl-outside" not in card


@pytest.mark.parametrize("change, outside", [(-0.11, True), (-0.1, False), (0.2, False), (0.21, True)])
def test_a_change_outside_the_usual_is_marked(change, outside):
    assert ("tl-outside" in headline_html(value_record("Sales", 1, change=change, usual=(-0.1, 0.2)))) is outside


def test_a_fall_has_its_sign_and_an_unknown_usual_is_not_said():
    assert plain(headline_html(value_record("Sales", 1, change=-0.05))) == "Sales 1 −5.0%"


def test_a_usual_range_that_is_not_known_yet_is_left_out():
    """`revenue(...)` gives NaN for it where there are too few periods."""
    assert "usually" not in headline_html(value_record("Sales", 1, change=0.1, usual=(NAN, NAN)))


def test_text_and_missing_values_have_cards():
    assert plain(headline_html(value_record("Best", "the blue one"))) == "Best the blue one"
    assert plain(headline_html(value_record("Best", None, "EUR"))) == "Best –"
    assert plain(headline_html(value_record("Share", 0.5, "%"))) == "Share 50.0%"


def test_a_card_shows_markup_as_text():
    card = headline_html(value_record(HOSTILE, HOSTILE, note=HOSTILE))
    assert "<img" not in card and plain(card) == " ".join([HOSTILE] * 3)
    assert "<img" not in headline_html(value_record("n", 1, HOSTILE, low=1, high=2))


# -- table_html --------------------------------------------------------------------------------------------------------

def test_a_table_shows_its_top_and_downloads_everything():
    frame = pd.DataFrame({"day": [f"d{i}" for i in range(30)], "n": range(30), "share": [0.123] * 30})
    markup = table_html(frame, "days", rows=20, columns=["n", "share"], units={"share": "%"})
    shown = [plain(row) for row in re.findall(r"<tr>.*?</tr>", markup)]
    assert shown[0] == "n share" and shown[1] == "0 12.3%" and len(shown) == 21
    assert "10 more rows in the download" in markup and "download='days.csv'" in markup
    cells = download(markup)
    assert cells[0] == ["day", "n", "share"] and len(cells) == 31 and cells[-1] == ["d29", "29", "0.123"]


def test_a_table_that_is_shown_whole_says_nothing_of_more():
    assert "more rows" not in table_html(pd.DataFrame({"n": range(20)}), "t")


def test_numbers_are_aligned_and_written_for_people():
    markup = table_html(pd.DataFrame({"name": ["a"], "n": [1234567], "x": [NAN], "flag": [True]}), "t")
    assert plain(markup).startswith("name n x flag a 1 234 567 – True")
    assert "<td>a</td>" in markup and "<td class=tl-number>1\u202f234\u202f567</td>" in markup


def test_missing_cells_are_not_pandas_words():
    frame = pd.DataFrame({"text": ["a", None], "day": pd.to_datetime(["2024-01-01", None]), "n": pd.array([1, None], "Int64")})
    text = plain(table_html(frame, "t"))
    assert not re.search(r"NaT|<NA>|nan|None", text), text


def test_a_table_shows_markup_as_text_and_hands_no_formula_to_a_spreadsheet():
    frame = pd.DataFrame({HOSTILE: [HOSTILE, "=1+1", "+1", "-1", "@x", "\tx", "ok"], "n": -1.0})
    markup = table_html(frame, HOSTILE)
    assert "<img" not in markup and HOSTILE in plain(markup)
    cells = download(markup)
    assert [row[0] for row in cells[1:]] == [HOSTILE, *("'" + t for t in ("=1+1", "+1", "-1", "@x", "\tx")), "ok"]
    assert {row[1] for row in cells[1:]} == {"-1.0"}  # a number is no formula


@pytest.mark.parametrize("text", ["Blue\r=1+1", "\r=1+1", "Blue\n=1+1", "a,b", 'say "x"'])
def test_a_line_break_inside_a_cell_starts_no_new_row(text):
    """A carriage return that is not quoted ends the row in a spreadsheet, and what follows it is a formula."""
    (_, row) = download(table_html(pd.DataFrame({"product": [text]}), "t"))
    assert row[0].lstrip("'") == text


def test_nullable_counts_are_whole_numbers():
    assert plain(table_html(pd.DataFrame({"n": pd.array([1234, 5], "Int64")}), "t")).startswith("n 1 234 5 Download")


def test_a_quote_in_a_name_stays_inside_its_attribute():
    assert "download='a&#x27; onclick=&#x27;x.csv'" in table_html(pd.DataFrame({"n": [1]}), "a' onclick='x")


def test_an_empty_frame_is_a_table_with_a_header():
    markup = table_html(pd.DataFrame({"n": [], "x": []}), "t")
    assert plain(markup).startswith("n x") and download(markup) == [["n", "x"]]


# -- Report ------------------------------------------------------------------------------------------------------------

@pytest.fixture
def displayed(monkeypatch) -> list[dict]:
    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda bundle, raw: shown.append(bundle))
    return shown


@pytest.fixture
def report(lab):
    return Report("shop", "2024-03-05", {"purchases": 0}, {"Revenue": 3})


def test_a_report_reads_only_what_was_known_in_its_versions(report, lab):
    assert report.table("purchases").sum("amount").fetchall() == [(12.5,)]
    lab.tenant("shop").ingest("purchases", pd.DataFrame({"customer_id": ["c"], "purchased_at": ["2024-03-02"], "amount": [100.0]}))
    assert Report("shop", "2024-03-05", {"purchases": 0}).table("purchases").sum("amount").fetchall() == [(12.5,)]
    assert Report("shop", "2024-03-05").table("purchases").sum("amount").fetchall() == [(112.5,)]
    with pytest.raises(StoreError, match="snapshot has no table"):
        Report("shop", "2024-03-05", {}).table("purchases")


def test_a_report_knows_its_tenant_currency_and_previous_figures(report):
    assert (report.currency, report.as_of, report.previous, report.tenant.name) == ("EUR", "2024-03-05", {"Revenue": 3}, "shop")
    assert Report("shop", "2024-03-05").previous == {}
    assert repr(report).startswith("Report(Reader('shop', as_of='2024-03-06")


def test_an_unknown_tenant_is_refused(lab):
    with pytest.raises(ParameterError, match="there is no tenant 'shpo'"):
        Report("shpo", "2024-03-05")


def test_value_records_and_shows_nothing(report, displayed):
    report.value("Sales", 3, "EUR", note="n")
    assert displayed == [{VALUE_TYPE: value_record("Sales", 3, "EUR", note="n"), "text/plain": ""}]


def test_headline_records_and_shows_a_card(report, displayed):
    report.headline("Sales", np.int64(1234), "EUR")
    report.headline("Best", "blue")
    record = value_record("Sales", 1234, "EUR", headline=True)
    assert displayed[0] == {VALUE_TYPE: record, "text/html": headline_html(record), "text/plain": "Sales: 1\u202f234\xa0EUR"}
    assert displayed[1]["text/plain"] == "Best: blue" and displayed[1][VALUE_TYPE]["headline"]


def test_say_passes_over_empty_sentences(report, displayed):
    report.say("One.", "", "Two.")
    assert displayed[0]["text/markdown"] == "One. Two."


def test_show_gives_the_figure_as_plain_json(report, displayed):
    report.show(figure("Up").add_scatter(x=np.array(["2024-01-01"], dtype="datetime64[D]"), y=np.array([NAN])))
    picture = json.loads(json.dumps(displayed[0]["application/vnd.plotly.v1+json"], allow_nan=False))
    assert picture["config"] == {"displaylogo": False} and picture["layout"]["title"]["text"] == "Up"
    assert displayed[0]["text/plain"] == "Up"
    report.show(figure().add_bar(y=[1]))
    assert displayed[1]["text/plain"] == "figure"


def test_show_table_shows_the_table(report, displayed):
    frame = pd.DataFrame({"n": [1, 2]})
    report.show_table(frame, "t", rows=1)
    assert displayed[0]["text/html"] == table_html(frame, "t", rows=1) and "n" in displayed[0]["text/plain"]
