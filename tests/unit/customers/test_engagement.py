"""Engagement: parts by hand, a reference that stays, weights that are known beforehand."""

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tenant_lab.core.errors import NotFittedError, ParameterError, SchemaError
from tenant_lab.customers.engagement import WEIGHTS, Engagement, _slopes, figures

ROWS = pd.DataFrame({"customer_id": [*"aaaaabcc"], "event": [*"xyzxxxxx"], "seconds": [10.0, 20.0, 30.0, 40.0, 50.0, 6.0, 1.0, 2.0], "at": pd.to_datetime([
    "2024-03-02", "2024-03-02 12:00", "2024-03-10", "2024-03-20", "2024-03-28", "2024-03-05", "2024-03-29", "2024-03-29 06:00"], format="ISO8601")})
MAKERS = {"polars": pl.from_pandas, "polars lazy": lambda f: pl.from_pandas(f).lazy(), "arrow": pa.Table.from_pandas,
          "duckdb": lambda f: duckdb.connect().from_arrow(pa.Table.from_pandas(f))}


def test_figures_by_hand():
    table, until = figures(ROWS, "2024-03-29", amount="seconds", kind="event")
    table = table.set_index("customer_id")
    assert until == pd.Timestamp("2024-03-30")
    assert table["days_since"].tolist() == [2, 25, 0.75] and table["days"].tolist() == [4, 1, 1] and table["kinds"].tolist() == [3, 1, 1]
    assert table["per_day"].tolist() == [37.5, 6, 3]
    assert table["change"].tolist() == pytest.approx([np.log(3 / 4), np.log(1 / 2), np.log(3)])
    assert figures(ROWS, "2024-03-29", window=4)[0]["customer_id"].tolist() == ["a", "c"]
    assert figures(ROWS.assign(event=[None, *ROWS["event"][1:]]), "2024-03-29", kind="event")[0]["kinds"].tolist() == [3, 1, 1]


def test_parts_and_score_by_hand():
    some = Engagement(kind="event").fit(ROWS, "2024-03-29").score(ROWS, "2024-03-29").frame().set_index("customer_id")
    parts = {"recency": [1.5, 0.5, 2.5], "frequency": [2.5, 1, 1], "depth": [1.5, 0.5, 2.5], "breadth": [2.5, 1, 1], "trend": [1.5, 0.5, 2.5]}
    for name, thirds in parts.items():
        assert some[name].to_numpy() == pytest.approx(np.array(thirds) / 3)
    assert some["score"].to_numpy() == pytest.approx(100 * some[list(WEIGHTS)].to_numpy() @ np.array(list(WEIGHTS.values())))


@pytest.mark.parametrize("kind", MAKERS)
def test_every_kind_of_frame_gives_the_same(kind):
    model = Engagement(amount="seconds", kind="event").fit(ROWS, "2024-03-29")
    pd.testing.assert_frame_equal(model.score(MAKERS[kind](ROWS), "2024-03-29").frame(), model.score(ROWS, "2024-03-29").frame())


def test_the_reference_stays():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"customer_id": rng.integers(0, 300, 4_000), "at": pd.Timestamp("2024-03-01") + pd.to_timedelta(rng.integers(0, 28 * 86_400, 4_000), unit="s")})
    model = Engagement().fit(rows, "2024-03-28")
    assert model.score(rows, "2024-03-28").frame()["score"].mean() == pytest.approx(50)   # ranks of the reference itself
    assert model.score(rows[::3], "2024-03-28").frame()["score"].mean() < 40
    moved = rows.assign(at=rows["at"] + pd.Timedelta(days=365))
    pd.testing.assert_frame_equal(model.score(moved, "2025-03-28").frame(), model.score(rows, "2024-03-28").frame())


def test_weights_are_scaled_and_breadth_needs_kinds():
    assert sum(WEIGHTS.values()) == pytest.approx(1)
    assert Engagement(kind="event").fit(ROWS, "2024-03-29").weights_ == pytest.approx(WEIGHTS)
    without = Engagement().fit(ROWS, "2024-03-29")
    assert without.weights_ == pytest.approx({name: weight / 0.85 * (name != "breadth") for name, weight in WEIGHTS.items()})
    assert without.score(ROWS, "2024-03-29").notes == ("no column of kinds was given: breadth does not count",)
    assert Engagement(weights={"recency": 2, "trend": 2}).fit(ROWS, "2024-03-29").weights_["trend"] == 0.5


def test_slopes_are_those_of_the_truth_and_never_below_nothing():
    rng = np.random.default_rng(0)
    x = rng.random((60_000, 4))

    def drawn(truth):
        return (rng.random(60_000) < 1 / (1 + np.exp(-(x @ truth)))).astype(float)
    assert _slopes(x, drawn([3.0, 1.0, 0.0, 0.5])) == pytest.approx([3, 1, 0, 0.5], abs=0.15)   # four standard errors, and the ridge
    assert _slopes(x, drawn([3.0, 1.0, 0.0, -2.0]))[3] == 0


def test_learnt_weights_find_what_brings_customers_back():
    """Customers come each day with a chance of their own, in both months: days of the first tell who comes in the second, sizes do not."""
    rng = np.random.default_rng(1)
    chance = rng.beta(0.4, 6, 3_000)
    who, day = np.nonzero(rng.random((3_000, 56)) < chance[:, None])
    rows = pd.DataFrame({"customer_id": who, "at": pd.Timestamp("2024-01-01 12:00") + pd.to_timedelta(day, unit="D"), "seconds": rng.gamma(2, 100, len(who))})
    model = Engagement(amount="seconds").learn(rows, "2024-01-28", known_until="2024-02-25")
    assert model.weights_["frequency"] > 0.75 and model.weights_["depth"] < 0.2 and model.weights_["breadth"] == 0
    assert sum(model.weights_.values()) == pytest.approx(1) and 0.7 < model.auc_ < 0.95


@pytest.mark.parametrize(("change", "more", "as_of", "error", "match"), [
    (lambda f: f.drop(columns="at"), {}, "2024-03-29", SchemaError, "activity lacks at"),
    (lambda f: f.assign(at="x"), {}, "2024-03-29", SchemaError, "activity.at is String; it must be a timestamp"),
    (lambda f: f, {"kind": "screen"}, "2024-03-29", SchemaError, "activity lacks screen"),
    (lambda f: f, {"amount": "event"}, "2024-03-29", SchemaError, "activity.event is String; it must be a number"),
    (lambda f: f.assign(seconds=np.inf), {"amount": "seconds"}, "2024-03-29", SchemaError, "rows of 3 customers are missing or infinite"),
    (lambda f: f, {}, "2023-03-29", ParameterError, "nobody had a row in the 28 days before"),
    (lambda f: f, {"window": 1}, "2024-03-29", ParameterError, "window 1"),
    (lambda f: f, {"weights": {"recency": -1}}, "2024-03-29", ParameterError, "weights recency -1"),
    (lambda f: f, {"weights": {"luck": 1}}, "2024-03-29", ParameterError, "needs numbers of recency"),
    (lambda f: f, {"weights": {"breadth": 1}}, "2024-03-29", ParameterError, "at least one must be above 0"),
])
def test_bad_input(change, more, as_of, error, match):
    with pytest.raises(error, match=match):
        Engagement(**more).fit(change(ROWS), as_of)


def test_bad_learning():
    with pytest.raises(NotFittedError, match="call fit"):
        Engagement().score(ROWS, "2024-03-29")
    with pytest.raises(ParameterError, match="none of 3 customers came again"):
        Engagement().learn(ROWS, "2024-03-29", known_until="2024-05-29")
    with pytest.raises(ParameterError, match="not known yet"):
        Engagement().learn(ROWS, "2024-03-29", known_until="2024-03-30")
