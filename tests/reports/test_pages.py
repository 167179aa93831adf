"""Pages in a real browser: offline, complete, nothing cut off, readable in light and dark, and safe."""
import csv
import json
import os
import re
from pathlib import Path
from urllib.parse import unquote, urlparse

import pandas as pd
import pytest
from report_kit import OPEN, REVENUE, shop, write_report

from tenant_lab.core.settings import shipped
from tenant_lab.reports.fleet import run_report
from tenant_lab.reports.page import overview
from tenant_lab.reports.record import value_record
from tenant_lab.reports.runner import home
from tenant_lab.tenancy.lab import Lab

pytestmark = pytest.mark.browser
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
IMAGE = "<img src=x onerror=\"document.title='run'\">"
SCRIPT = "</script><script>document.title='run'</script>"
WIDTHS = (380, 768, 1280)


@pytest.fixture(scope="module")
def browser(chromium):
    from playwright.sync_api import sync_playwright
    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=chromium, args=OPTIONS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def visit(browser):
    """Opens a file in an offline window; the page has `seen`: errors of the console, and requests.

    A page is opened once and looked at by several tests; those that change it ask for a `fresh` one.
    """
    opened: dict = {}

    def open_(path: Path, width: int = 1280, scheme: str = "light", drawn: bool = True, fresh: bool = False):
        key = path.resolve(), width, scheme
        if fresh or key not in opened:
            context = browser.new_context(offline=True, viewport={"width": width, "height": 900}, color_scheme=scheme)
            page = context.new_page()
            page.set_default_timeout(30_000)
            page.seen = {"errors": [], "requests": []}
            page.on("console", lambda m: page.seen["errors"].append(m.text) if m.type in ("error", "warning") else None)
            page.on("pageerror", lambda e: page.seen["errors"].append(str(e)))
            page.on("request", lambda r: page.seen["requests"].append(r.url))
            page.goto(path.resolve().as_uri())
            if drawn:
                page.wait_for_function("document.documentElement.dataset.drawn !== undefined")
            if fresh:
                return page
            opened[key] = page
        return opened[key]
    return open_


@pytest.fixture(scope="module")
def cdnow_page(cdnow_lab) -> Path:
    return run_report(cdnow_lab, "customer_value", "cdnow").page


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> dict[str, Path]:
    """Pages of reports on a tenant whose products have markup for names."""
    root = tmp_path_factory.mktemp("hostile")
    lab = Lab.open(root / "home")
    shop(lab, product_id=[IMAGE, SCRIPT, f"[x](javascript:alert(1)) {IMAGE}"])
    look = """frame = report.table("purchases").df()
names = list(frame["product_id"])
from tenant_lab.core.results import figure"""
    show = """for name in names:
    report.headline(name, name, note=name, unit=name)
    report.value(name + " quietly", name)
report.show_table(frame, names[0])
report.show_table(frame.set_axis([*names, *list(frame)[3:]], axis=1), names[1])
fig = figure(names[1], xaxis_title=names[0], yaxis_title=names[1])
for name in names:
    fig.add_bar(x=names, y=[1, 2, 3], name=name, text=names, hovertext=names, hovertemplate=name)
report.show(fig.add_annotation(text=names[0], x=0, y=1))
print(names)
frame"""
    folder = write_report(root / "reports", "hostile", OPEN, look, show)
    write_report(folder, "says", OPEN, look, 'report.say(f"Best was {names[0]}.", f"Then {names[1]}, then {names[2]}.")\nreport.show(figure("x"))')
    write_report(folder, "fails", OPEN, look, REVENUE, "raise ValueError(names[0] + names[1])", "never = 1")
    results = {name: run_report(lab, name, "shop", folder=folder) for name in ("hostile", "says", "fails")}
    assert {name: r.status for name, r in results.items()} == {"hostile": "ok", "says": "ok", "fails": "failed"}
    return {name: r.page for name, r in results.items()} | {"index": home(lab) / "index.html"}


# -- complete and offline ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_opens_offline_with_all_its_pictures_and_nothing_wider_than_the_window(visit, cdnow_page, width):
    page = visit(cdnow_page, width)
    assert page.seen == {"errors": [], "requests": [cdnow_page.resolve().as_uri()]}
    plots = page.locator(".tl-plot")
    assert plots.count() == int(page.evaluate("document.documentElement.dataset.drawn")) >= 5
    for i in range(plots.count()):
        box = plots.nth(i).locator("svg.main-svg").first.bounding_box()
        assert box["width"] > 0.85 * min(width - 32, 928) and box["height"] >= 120
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
    sizes = page.evaluate("[document.documentElement.scrollWidth, document.body.scrollWidth, window.innerWidth]")
    assert sizes[0] <= sizes[2] and sizes[1] <= sizes[2]
    assert "23\u202f570" in page.inner_text(".tl-cards")


@pytest.mark.parametrize("width", WIDTHS)
def test_no_text_of_a_card_is_cut_off(visit, cdnow_page, width):
    cut = visit(cdnow_page, width).evaluate("""[...document.querySelectorAll('.tl-card, .tl-card *')]
        .filter(e => e.scrollWidth > e.clientWidth && getComputedStyle(e).display !== 'inline').map(e => e.textContent)""")
    assert cut == []


@pytest.mark.parametrize("width", WIDTHS)
def test_no_label_of_a_picture_is_cut_off(visit, cdnow_page, width):
    """What lies outside its svg is not seen."""
    cut = visit(cdnow_page, width).evaluate("""[...document.querySelectorAll('.tl-plot')].flatMap(plot => {
        const frame = plot.getBoundingClientRect();
        return [...plot.querySelectorAll('text')].filter(t => t.textContent.trim() && getComputedStyle(t).visibility !== 'hidden').filter(t => {
            const box = t.getBoundingClientRect();
            return box.width && (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1);
        }).map(t => t.textContent)})""")
    assert cut == []


@pytest.mark.parametrize("width", WIDTHS)
def test_every_tick_has_its_label(visit, cdnow_page, width):
    """plotly leaves the last one out where it would stand over the edge; 100 % is the end of its axis."""
    labels = visit(cdnow_page, width).evaluate("""[...document.querySelectorAll('.tl-plot')].at(-1).querySelectorAll('.xtick text').length
        ? [...[...document.querySelectorAll('.tl-plot')].at(-1).querySelectorAll('.xtick text')]
            .filter(t => getComputedStyle(t).opacity !== '0' && getComputedStyle(t).display !== 'none' && t.getBoundingClientRect().width)
            .map(t => t.textContent) : []""")
    assert labels[0] == "0%" and labels[-1] == "100%"


def test_a_picture_that_cannot_be_drawn_costs_no_other(visit, cdnow_page, tmp_path):
    text = cdnow_page.read_text(encoding="utf-8")
    broken = re.sub(r'(<script type="application/json">)\{', r"\1!", text, count=1)
    (tmp_path / "page.html").write_text(broken, encoding="utf-8")
    page = visit(tmp_path / "page.html")
    assert page.locator(".tl-plot svg.main-svg").count() >= 8 and "This picture cannot be drawn" in page.inner_text(".tl-plot >> nth=0")


def test_a_window_that_changes_redraws_as_if_it_had_been_so(visit, cdnow_page):
    page, other = visit(cdnow_page, 380, fresh=True), visit(cdnow_page, 1280)
    page.set_viewport_size({"width": 1280, "height": 900})
    look = """[...document.querySelectorAll('.tl-plot')].slice(0, 2).map(p => [p.clientWidth, p.clientHeight, p.querySelectorAll('.xtick text').length])"""
    page.wait_for_function(f"JSON.stringify({look}) === '{json.dumps(other.evaluate(look), separators=(',', ':'))}'")


def test_a_printed_page_cuts_nothing_off(visit, cdnow_page):
    page = visit(cdnow_page, 680, fresh=True)  # A4 with these margins
    page.emulate_media(media="print")
    sizes = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert sizes[0] <= sizes[1]
    assert not page.locator(".tl-code").first.is_visible()
    wide = page.evaluate("[...document.querySelectorAll('table')].filter(t => t.getBoundingClientRect().right > window.innerWidth).length")
    assert wide == 0


# -- readable ----------------------------------------------------------------------------------------------------------

CONTRAST = """() => {
  const parse = (c) => { const n = c.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const light = ([r, g, b]) => { const f = (v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c[3] === 1) return c; } return [255, 255, 255, 1]; };
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
  const found = [];
  for (const d of document.querySelectorAll('details')) d.open = true;
  for (const e of document.querySelectorAll('body *:not(script):not(style):not(svg *)')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (own && e.getBoundingClientRect().width) found.push([ratio(parse(getComputedStyle(e).color), behind(e)), e.tagName + '.' + e.className, e.textContent.trim().slice(0, 40)]);
  }
  for (const t of document.querySelectorAll('.tl-plot .xtick text, .tl-plot .ytick text, .tl-plot .legendtext'))
    found.push([ratio(parse(getComputedStyle(t).fill), behind(t.closest('.tl-plot'))), 'plot', t.textContent]);
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("what", ["cdnow", "fails", "index"])
def test_all_text_is_readable(visit, cdnow_page, hostile, scheme, what):
    """WCAG 2.2, success criterion 1.4.3: a contrast of 4.5 for text."""
    path = cdnow_page if what == "cdnow" else hostile[what]
    found = visit(path, 1280, scheme, drawn=what == "cdnow", fresh=True).evaluate(CONTRAST)
    kinds = {kind for _, kind, _ in found}
    assert len(found) > (50 if what == "cdnow" else 5)
    if what == "cdnow":
        assert {"P.tl-note", "P.", "DIV.tl-name", "plot"} <= kinds and any(k.startswith("A.") for k in kinds)
    assert not [(round(ratio, 2), kind, text) for ratio, kind, text in found if ratio < 4.5]


def test_dark_is_dark(visit, hostile):
    def paper(scheme):
        return visit(hostile["index"], 768, scheme, drawn=False).evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert paper("light") == "rgb(255, 255, 255)" and sum(map(int, re.findall(r"\d+", paper("dark")))) < 150


# -- safe --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("what", ["hostile", "says", "fails", "index"])
def test_names_with_markup_do_not_run(visit, hostile, what):
    page = visit(hostile[what], drawn=what in ("hostile", "says"), fresh=True)
    for plot in page.locator(".tl-plot").all():
        plot.hover()
    page.wait_for_timeout(300)  # time for an image to fail
    assert page.title() != "run"
    assert page.seen["requests"] == [hostile[what].resolve().as_uri()]
    assert page.locator("img").count() == 0 and page.locator("[onerror]").count() == 0
    assert [a for a in page.eval_on_selector_all("a", "all => all.map(a => a.getAttribute('href'))") if a and "javascript:" in a] == []


def test_names_with_markup_are_shown_as_they_are(visit, hostile):
    page = visit(hostile["hostile"])
    assert page.locator(".tl-name").all_inner_texts()[:2] == [IMAGE, SCRIPT]
    assert IMAGE in page.inner_text("table >> nth=0") and page.inner_text("figcaption") == SCRIPT
    assert page.seen["errors"] == []


# -- usable ------------------------------------------------------------------------------------------------------------

def test_the_tables_download_gives_all_of_it(visit, cdnow_page, tmp_path):
    page = visit(cdnow_page)
    with page.expect_download() as info:
        page.click("text=Download revenue by month.csv")
    assert info.value.suggested_filename == "revenue by month.csv"
    info.value.save_as(tmp_path / "file.csv")
    with (tmp_path / "file.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    raw = pd.read_parquet(shipped("data") / "cdnow/purchases.parquet")
    month = pd.to_datetime(raw["purchased_at"]).dt.to_period("M")
    expected = raw.groupby(month)["amount"].sum()[::-1]
    assert [row["period"] for row in rows] == [f"{m:%b %Y}" for m in expected.index] and len(rows) == 18
    assert [float(row["revenue, USD"]) for row in rows] == pytest.approx(list(expected), rel=1e-9)


def test_every_download_has_a_name_and_content(visit, cdnow_page):
    links = visit(cdnow_page).eval_on_selector_all("a[download]", "all => all.map(a => [a.download, a.href.length])")
    assert [name for name, _ in links] == ["revenue by month.csv", "segments.csv", "cohort retention.csv"]
    assert all(length > 100 for _, length in links)


def test_the_code_is_folded_and_opens(visit, cdnow_page):
    page = visit(cdnow_page, fresh=True)
    code = page.locator("details.tl-code .highlight").first
    assert not code.is_visible()
    page.click("text=The code of this page")
    assert code.is_visible() and "Report(tenant, as_of" in code.inner_text()


@pytest.mark.parametrize("width", [380, 1280])
def test_a_failed_page_shows_what_happened_where(visit, hostile, width):
    page = visit(hostile["fails"], width, drawn=False)
    assert "ValueError" in page.inner_text(".tl-failed") and IMAGE in page.inner_text(".tl-failed")
    assert "ValueError" in page.inner_text(".tl-traceback") and page.locator(".tl-traceback").is_visible()
    assert page.locator("details[open] >> text=names[0]").first.is_visible()
    assert "Revenue" in page.inner_text(".tl-cards")  # what was known before
    sizes = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert sizes[0] <= sizes[1]


@pytest.mark.parametrize("what", ["hostile", "cdnow"])
def test_all_links_of_the_index_and_of_its_pages_lead_somewhere(visit, hostile, cdnow_page, cdnow_lab, what):
    index = hostile["index"] if what == "hostile" else home(cdnow_lab) / "index.html"

    def targets(path):
        page = visit(path, drawn=False)
        links = page.eval_on_selector_all("a[href]", "all => all.map(a => a.href)")
        return [Path(unquote(urlparse(a).path)) for a in links if not a.startswith("data:")]
    found = targets(index)
    assert len(found) >= 3
    assert [str(t) for t in found if not t.exists()] == []
    for report in {t for t in found if t.name == "report.html"}:
        assert [os.path.realpath(t) for t in targets(report)] == [os.path.realpath(index)]
    for values in {t for t in found if t.name == "values.json"}:
        json.loads(values.read_text())


# -- the index: filters and small lines -----------------------------------------------------------------------------------

def entry(tenant: str, report: str, status: str, day: str, value: float = 7.0, past: tuple = ()) -> dict:
    card = value_record("Revenue", value, "EUR", headline=True, change=0.1, note="against the month before") | {"past": past}
    return {"report": report, "title": report.title(), "tenant": tenant, "as_of": day, "status": status, "error": "ValueError: no rows", "seconds": 2,
            "finished": "2024-07-01 06:00", "page": f"{report}.html", "notebook_file": "n.ipynb", "values_file": "v.json", "last_good": "", "cards": [card] * 3}


PAST = tuple((f"2024-{m:02d}-28", 100.0 + m * (-1) ** m) for m in range(1, 6))


@pytest.fixture(scope="module")
def filters(tmp_path_factory) -> Path:
    """An index of five entries."""
    rows = [entry("acme", "sales", "ok", "2024-05-31", past=PAST), entry("acme", "plays", "failed", "2024-06-30"), entry("Bolt", "sales", "ok", "2024-06-30"),
            entry("bolt-eu", "sales", "failed", "2024-06-15"), entry("acme", "texts", "ok", "2023-12-31")]
    path = tmp_path_factory.mktemp("index") / "index.html"
    path.write_text(overview(rows, "2024-07-01 06:00 UTC"), encoding="utf-8")
    return path


def shown(page) -> list[str]:
    return page.eval_on_selector_all(".tl-row:not([hidden])", "all => all.map(r => `${r.dataset.tenant} ${r.dataset.report}`)")


ALL = ["acme sales", "acme plays", "Bolt sales", "bolt-eu sales", "acme texts"]


@pytest.mark.parametrize("chosen, found, address", [
    ({"tenant": "bolt"}, ["Bolt sales", "bolt-eu sales"], "#tenant=bolt"), ({"report": "sales"}, ["acme sales", "Bolt sales", "bolt-eu sales"], "#report=sales"),
    ({"status": "failed"}, ["acme plays", "bolt-eu sales"], "#status=failed"), ({"from": "2024-06-15"}, ["acme plays", "Bolt sales", "bolt-eu sales"], "#from=2024-06-15"),
    ({"to": "2024-05-31"}, ["acme sales", "acme texts"], "#to=2024-05-31"), ({"from": "2024-01-01", "to": "2024-06-29"}, ["acme sales", "bolt-eu sales"],
                                                                              "#from=2024-01-01&to=2024-06-29"),
    ({"tenant": "ac", "report": "sales", "status": "ok"}, ["acme sales"], "#tenant=ac&report=sales&status=ok"), ({"tenant": "no&body=x"}, [], "#tenant=no%26body%3Dx")])
def test_entries_are_filtered_and_the_address_keeps_it(visit, filters, chosen, found, address):
    page = visit(filters, drawn=False, fresh=True)
    assert shown(page) == ALL and page.inner_text(".tl-found") == ""
    for name, value in chosen.items():
        field = page.locator(f"[name={name}]")
        field.select_option(value) if name in ("report", "status") else field.fill(value)
    said = f"Showing {len(found)} of 5." if found else "Nothing matches. Clear shows all again."
    assert shown(page) == found and page.inner_text(".tl-found") == said
    assert page.url == filters.resolve().as_uri() + address
    page.reload()
    assert shown(page) == found and {n: page.input_value(f"[name={n}]") for n in chosen} == chosen
    page.click("text=Clear")
    page.wait_for_function("!location.hash")
    assert shown(page) == ALL and page.seen["errors"] == []


def test_an_address_typed_later_counts_and_nonsense_in_it_does_not(visit, filters):
    page = visit(filters, drawn=False, fresh=True)
    page.evaluate("location.hash = '#status=failed&report=nothing&from=yesterday&what=ever'")
    page.wait_for_function("location.hash === '#status=failed'")
    assert shown(page) == ["acme plays", "bolt-eu sales"]
    assert page.locator("[name=report] option:checked").inner_text() == "all"
    assert page.locator("[name=report] option").all_inner_texts() == ["all", "Plays", "Sales", "Texts"]
    assert page.eval_on_selector_all("datalist option", "all => all.map(o => o.value)") == ["acme", "Bolt", "bolt-eu"]


def test_the_filters_work_by_keyboard(visit, filters):
    page = visit(filters, drawn=False, fresh=True)
    names = []
    for _ in range(12):
        page.keyboard.press("Tab")
        name = page.evaluate("document.activeElement.name || document.activeElement.textContent")
        names += [name] if name not in names[-1:] else []
        if name == "tenant":
            page.keyboard.type("bolt")
        if name == "status":
            page.keyboard.press("ArrowDown")
        if name == "Clear":
            break
    assert names == ["tenant", "report", "status", "from", "to", "Clear"] and shown(page) == ["bolt-eu sales"]
    page.keyboard.press("Enter")
    page.wait_for_function("!location.hash")
    assert shown(page) == ALL
    labels = page.eval_on_selector_all(".tl-filters :is(input, select)", "all => all.map(e => e.labels[0].firstChild.textContent.trim())")
    assert labels == ["Tenant", "Report", "Status", "As of, from", "to"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1000])
def test_the_filters_fit_and_are_readable(visit, filters, width, scheme):
    page = visit(filters, width, scheme, drawn=False, fresh=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    boxes = [page.locator(f".tl-filters [name={n}]").bounding_box() for n in ("tenant", "report", "status", "from", "to")]
    assert all(b["x"] >= 0 and b["x"] + b["width"] <= width and b["width"] >= 120 and b["height"] >= 24 for b in boxes)  # WCAG 2.2, 2.5.8: 24 pixels
    assert not [(round(ratio, 2), text) for ratio, _, text in page.evaluate(CONTRAST) if ratio < 4.5]


def test_a_small_line_is_drawn_and_named(visit, filters):
    page = visit(filters, drawn=False)
    lines = page.locator(".tl-line")
    assert lines.count() == 3 and lines.first.get_attribute("role") == "img"
    box = lines.first.bounding_box()
    card = page.locator(".tl-card").first.bounding_box()
    assert box["width"] > 100 and 15 <= box["height"] <= 40 and box["y"] + box["height"] <= card["y"] + card["height"]
    assert page.locator(".tl-line title").first.text_content() == "2024-01-28 to 2024-05-31: 99.0, 102, 97.0, 104, 95.0, 7.00 EUR"


def test_a_printed_index_shows_what_was_chosen_and_no_filters(visit, filters):
    page = visit(filters, 680, drawn=False, fresh=True)
    page.fill("[name=tenant]", "bolt")
    page.emulate_media(media="print")
    assert not page.locator(".tl-filters").is_visible() and page.inner_text(".tl-found") == "Showing 2 of 5."
    assert page.locator(".tl-row:visible").count() == 2
    assert page.eval_on_selector(".tl-row", "row => getComputedStyle(row).contentVisibility") == "visible"


def test_what_is_out_of_sight_is_not_laid_out(visit, tmp_path):
    """A thousand entries: those off the window have the height that was guessed for them."""
    (tmp_path / "index.html").write_text(overview([entry(f"tenant-{i}", "sales", "ok", "2024-06-30", past=PAST) for i in range(1000)], ""))
    page = visit(tmp_path / "index.html", drawn=False)
    heights = page.eval_on_selector_all(".tl-row", "all => all.map(r => r.getBoundingClientRect().height)")
    assert len(heights) == 1000 and heights[-1] == heights[500] == 14 * 16 != heights[0]
    page.fill("[name=tenant]", "tenant-999")
    assert shown(page) == ["tenant-999 sales"]
    box = page.locator(".tl-row:visible").bounding_box()
    assert box["y"] < 900 and page.inner_text(".tl-row:visible h2") == "Sales · tenant-999"


def test_the_index_fits_a_phone(visit, hostile):
    page = visit(hostile["index"], 380, drawn=False)
    sizes = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert sizes[0] <= sizes[1] and "1 failed" in page.inner_text("header")
