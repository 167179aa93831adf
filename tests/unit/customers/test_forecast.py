"""Forecasts of retention: the models' own formulas, simulated worlds, and the past that was kept from them."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import betaln

from tenant_lab.core.errors import ParameterError
from tenant_lab.customers.forecast import _left, _rows, forecast
from tenant_lab.customers.renewals import BGBB, SBG
from tenant_lab.customers.retention import retention, subscriber_retention

MONTHS = pd.to_datetime([f"{2020 + m // 12}-{m % 12 + 1:02d}-10" for m in range(36)])


def world(seed, n=1_000, months=24, unrest=0.0):
    """Activity of customers who come in six months, by the BG/BB."""
    rng = np.random.default_rng(seed)
    came, p, leaves = rng.integers(0, 6, n), rng.beta(1.2, 2, n), rng.geometric(np.maximum(rng.beta(0.8, 3, n), 1e-9))
    good = np.exp(unrest * rng.standard_normal(months))
    month = np.arange(months)
    there = (month == came[:, None]) | ((month > came[:, None]) & (month - came[:, None] < leaves[:, None]) & (rng.random((n, months)) < p[:, None] * good))
    who, when = np.nonzero(there)
    return pd.DataFrame({"customer_id": who, "at": MONTHS[when]})


def test_rows_by_hand():
    rows = pd.DataFrame({"customer_id": [*"aaabbc"], "at": MONTHS[[0, 1, 3, 0, 2, 4]]})
    found = _rows(retention(rows, "2020-05-20"))   # May is not over: c has no history yet
    assert found.to_numpy().tolist() == [[0, 1, 2, 3, 1, 1], [0, 2, 3, 3, 2, 1]]


@pytest.mark.parametrize(("unrest", "share"), [(0.0, 0.9), (0.15, 0.9)])
def test_what_happens_lies_inside_as_often_as_said(unrest, share):
    """10 worlds of 54 cells that hang together; months that differ, too: 80 to 97 % of the 90 %."""
    inside, strayed = [], []
    for seed in range(10):
        rows = world(seed, unrest=unrest)
        told = forecast(retention(rows, "2021-03-31"), 9, draws=200).frame()
        both = told.merge(retention(rows, "2021-12-31").frame()[["cohort", "age", "retention"]], on=["cohort", "age"])
        assert len(both) == 54
        inside.append(((both["predicted_low"] - 1e-9 <= both["retention"]) & (both["retention"] <= both["predicted_high"] + 1e-9)).mean())
        strayed.append(both["expected"].mean() / both["retention"].mean() - 1)
    assert share - 0.1 < np.mean(inside) < share + 0.07
    assert abs(np.mean(strayed)) < 4 * np.std(strayed) / np.sqrt(10) + 0.01


def test_the_bgbb_is_that_of_the_model():
    some = retention(world(0), "2021-03-31")
    told, rows = forecast(some, 3), _rows(some)
    model = BGBB().fit(rows)
    totals = np.stack([model.expected_purchases(rows, t) for t in range(4)], axis=1)   # of each kind of customer until then
    expected = (np.diff(totals) * rows["weight"].to_numpy()[:, None])
    for came, _name in enumerate(told.frame()["cohort"].unique()):
        mine = (rows["came"] == came).to_numpy()
        assert told.frame().query("cohort == @_name")["expected"].to_numpy() == pytest.approx(expected[mine].sum(axis=0) / rows["weight"][mine].sum())


def test_contracts_go_on_from_who_is_left():
    rng = np.random.default_rng(1)
    came, stay = rng.integers(0, 5, 4_000), rng.geometric(np.maximum(rng.beta(0.7, 2.5, 4_000), 1e-9))
    end = np.where(came + stay < 36, came + stay, 35)
    first = MONTHS - pd.Timedelta(days=9)
    lines = pd.DataFrame({"customer_id": np.arange(4_000), "started_at": first[came], "ended_at": pd.Series(first[end]).where(came + stay < 36)})
    known, whole = subscriber_retention(lines, "2021-02-28"), subscriber_retention(lines, "2021-12-31")
    told = forecast(known, 10)
    assert told.model == "SBG" and told.params == SBG().fit(_left(_rows(known))).params_
    a, b = told.params.values()
    one = told.frame().query("cohort == 'Jan 2020'")
    now = known.frame().query("cohort == 'Jan 2020'")["retention"].iloc[-1]
    assert one["expected"].to_numpy() == pytest.approx(now * np.exp(betaln(a, b + 13 + np.arange(1, 11)) - betaln(a, b + 13)))
    both = told.frame().merge(whole.frame()[["cohort", "age", "retention"]], on=["cohort", "age"])
    assert ((both["predicted_low"] <= both["retention"]) & (both["retention"] <= both["predicted_high"])).mean() > 0.8
    assert told.plot().layout.title.text.startswith("Of those won in Jan 2020, ") and "will still be subscribed in Dec 2021" in told.plot().layout.title.text


def test_order_and_seed():
    some = retention(world(0, n=300), "2021-03-31")
    first, again, other = (forecast(some, 4, draws=100, seed=seed).frame() for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert (first["expected"] == other["expected"]).all() and (first["predicted_low"] != other["predicted_low"]).any()
    for low, high in (("expected_low", "expected_high"), ("predicted_low", "predicted_high")):
        assert (first[low] <= first["expected"]).all() and (first["expected"] <= first[high]).all()
    assert first["period"].unique().tolist() == ["Apr 2021", "May 2021", "Jun 2021", "Jul 2021"]


def test_bad_input():
    some = retention(world(0, n=300), "2021-03-31")
    for bad, match in (({"periods": 0}, "periods 0"), ({"level": 1.0}, "level 1.0"), ({"draws": 3}, "draws 3"), ({"seed": -1}, "seed -1")):
        with pytest.raises(ParameterError, match=match):
            forecast(some, **bad)
    with pytest.raises(ParameterError, match="fewer than two whole months"):
        forecast(retention(world(0), "2020-02-10"))
    alone = pd.DataFrame({"customer_id": [*"abc"], "at": MONTHS[[0, 0, 1]]})
    with pytest.raises(ParameterError, match="nobody came back"):
        forecast(retention(alone, "2020-12-31"))
    lines = pd.DataFrame({"customer_id": [*"abc"], "started_at": MONTHS[[0, 0, 1]], "ended_at": pd.Series([pd.NaT] * 3, dtype="datetime64[us]")})
    with pytest.raises(ParameterError, match="nobody left"):
        forecast(subscriber_retention(lines, "2020-12-31"))
