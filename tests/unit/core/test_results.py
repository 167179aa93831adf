"""Numbers as people read them, and what every result shows."""

import math
from dataclasses import dataclass

import pandas as pd
import pytest

from tenant_lab.core.results import ACCENT, OKABE_ITO, NotedResult, Result, figure, format_number

THIN, HARD, MINUS = "\u202f", "\u00a0", "−"


@pytest.mark.parametrize(("value", "unit", "text"), [
    (None, "", "–"), (math.nan, "USD", "–"), (math.inf, "%", "–"), (0, "", "0"), (0.0, "", "0.00"), (1234567, "", f"1{THIN}234{THIN}567"),
    (0.123, "%", "12.3%"), (4.567, "USD", f"4.57{HARD}USD"), (-4.567, "", f"{MINUS}4.57"), (0.9996, "%", "100%"),
    (0.0004, "%", "0.04%"), (0.0, "%", "0.0%"), (12345.678, "EUR", f"12{THIN}346{HARD}EUR"), (0.012345, "", "0.0123"),
    (123.456, "", "123"), (12.3456, "", "12.3"), (1e-9, "", "0.000000"), (-1500.4, "", f"{MINUS}1{THIN}500"), (1, "%", "100%")])
def test_format_number(value, unit, text):
    assert format_number(value, unit) == text


def test_colours_are_those_of_okabe_and_ito():
    # Okabe and Ito (2008), "Color Universal Design": the palette's eight colours
    published = {"#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#000000"}
    assert set(OKABE_ITO) == published
    assert ACCENT == "#0072B2"


def test_figure_has_the_house_style_and_takes_a_layout():
    fig = figure("Half of January's buyers never came back", height=220)
    assert fig.layout.title.text == "Half of January's buyers never came back"
    assert tuple(fig.layout.colorway) == OKABE_ITO
    assert fig.layout.height == 220
    assert fig.layout.paper_bgcolor == "rgba(0,0,0,0)"
    assert figure().layout.margin.t < fig.layout.margin.t


@dataclass(frozen=True)
class Rows(NotedResult):
    n: int
    notes: tuple[str, ...] = ()

    def frame(self):
        return pd.DataFrame({"row": range(self.n), "x": [float("nan")] * self.n, "t": ["<script>alert(1)</script>"] * self.n})

    def plot(self):
        return figure("rows")


def test_the_display_is_short_and_escaped():
    page = Rows(100, ("left out: <b>3</b>",))._repr_html_()
    assert page.count("<tr") == 21  # heading and twenty rows
    assert "<b>Rows</b>" in page and "–" in page
    assert "<script>" not in page
    assert "left out: &lt;b&gt;3&lt;/b&gt;" in page


def test_a_result_has_to_say_frame_and_plot():
    with pytest.raises(TypeError, match="abstract"):
        Result()
