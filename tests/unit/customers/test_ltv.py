"""Values are purchases times amounts, futures are those of the models, and a hold-out report counts what happened."""
import datetime as dt

import numpy as np
import pandas as pd
import pytest

from tenant_lab.core.errors import ConvergenceError, NotFittedError, ParameterError
from tenant_lab.customers.bgnbd import BGNBD, MBGNBD
from tenant_lab.customers.gammagamma import GammaGamma
from tenant_lab.customers.ltv import customer_lifetime_value, holdout_report
from tenant_lab.customers.paretonbd import ParetoNBD
from tenant_lab.customers.summary import summary


def shop(n=1500, seed=0, days=728, alike=False):
    """Purchases by day of customers who join in the first twelve weeks, buy at their own rate and leave after each purchase with a chance of their own."""
    rng, rows = np.random.default_rng(seed), []
    for who in range(n):
        p = 0.12 if alike else rng.beta(0.8, 5)
        at, rate, mean = float(rng.integers(84)), rng.gamma(1.2, 1 / 60), 10 * rng.gamma(3, size=1)[0] + 5
        while at < days:
            rows.append((f"c{who}", dt.date(2022, 1, 3) + dt.timedelta(int(at)), round(mean * rng.gamma(6, 1 / 6) + 0.01, 2)))
            if rng.random() < p:
                break
            at += rng.exponential(1 / rate)
    return pd.DataFrame(rows, columns=["customer_id", "purchased_at", "amount"]).astype({"purchased_at": "datetime64[us]"})


END, SPLIT = "2023-12-31", "2023-01-01"


@pytest.fixture(scope="module")
def bought():
    return shop()


@pytest.fixture(scope="module")
def models(bought):
    seen = summary(bought, END, "week", SPLIT).customers
    return BGNBD().fit(seen), GammaGamma().fit(seen), seen


@pytest.fixture(scope="module")
def told(bought):
    return holdout_report(bought, END, SPLIT)


def test_a_value_is_purchases_times_amount(models):
    purchases, spend, seen = models
    value = customer_lifetime_value(purchases, spend, seen[:300], 52, draws=50)
    assert value["value"].to_numpy() == pytest.approx(purchases.expected_purchases(seen[:300], 52) * spend.expected_amount(seen[:300]))
    assert ((value["expected_low"] < value["value"]) & (value["value"] < value["expected_high"]) & (value["predicted_low"] <= value["predicted_high"])).all()
    assert value.index.tolist() == list(range(300))


def test_a_discount_is_that_of_each_purchase(models):
    """Purchases of a customer who surely stays come evenly: the mean discount is then an integral."""
    purchases, spend, seen = models
    steady = pd.DataFrame({"frequency": [400], "recency": [100.0], "T": [100.0], "monetary_value": [20.0]})
    plain, discounted = (customer_lifetime_value(purchases, spend, steady, 2.0, rate, draws=20)["value"][0] for rate in (0.0, 0.5))
    assert discounted / plain == pytest.approx((1 - 1.5**-2) / (2 * np.log(1.5)), rel=0.01)
    values = [customer_lifetime_value(purchases, spend, seen[:50], 52, rate, draws=20)["value"] for rate in (0.0, 0.002, 0.02)]
    assert (values[0] > values[1]).all() and (values[1] > values[2]).all()


def test_what_was_spent_lies_in_the_interval(models):
    purchases, spend, seen = models
    value = customer_lifetime_value(purchases, spend, seen, 52, draws=400)
    spent = seen["frequency_holdout"] * seen["monetary_value_holdout"]
    assert 0.88 <= ((value["predicted_low"] <= spent) & (spent <= value["predicted_high"])).mean() <= 0.98
    assert value["value"].sum() == pytest.approx(spent.sum(), rel=0.15)


def test_rows_keep_their_order_and_the_seed_its_future(models):
    purchases, spend, seen = models
    twice = pd.concat([seen[:40], seen[:40][::-1]])
    value = customer_lifetime_value(purchases, spend, twice, 52, draws=200)
    assert value["value"][:40].tolist() == value["value"][:39:-1].tolist()
    assert value.equals(customer_lifetime_value(purchases, spend, twice, 52, draws=200))
    assert not value["predicted_high"].equals(customer_lifetime_value(purchases, spend, twice, 52, draws=200, random_state=1)["predicted_high"])
    assert (customer_lifetime_value(purchases, spend, twice, 0.0, draws=20)[["value", "predicted_high"]] == 0).all(axis=None)


def test_bad_values(models):
    purchases, spend, seen = models
    for changed, said in (({"t": -1}, "t -1"), ({"discount_rate": 2}, "discount_rate 2"), ({"level": 1}, "level 1"), ({"draws": 1}, "draws 1")):
        with pytest.raises(ParameterError, match=said):
            customer_lifetime_value(purchases, spend, seen, **({"t": 5} | changed))
    with pytest.raises(ParameterError, match="GammaGamma and BGNBD: needs a model of purchases"):
        customer_lifetime_value(spend, purchases, seen, 5)
    with pytest.raises(NotFittedError, match="GammaGamma was not fitted"):
        customer_lifetime_value(purchases, GammaGamma(), seen, 5)


def test_the_report_counts_what_happened(bought, told):
    seen = summary(bought, END, "week", SPLIT).customers
    table, duration = told.frame().set_index("model"), seen["duration_holdout"].iloc[0]
    assert (table["happened"] == seen["frequency_holdout"].sum()).all()
    rules = {"all alike": np.full(len(seen), seen["frequency"].sum() / seen["T"].sum() * duration), "as before": seen["frequency"] / seen["T"] * duration}
    for rule, expected in rules.items():
        off = expected - seen["frequency_holdout"]
        assert table.loc[rule, ["expected", "mae", "rmse"]].tolist() == pytest.approx([expected.sum(), off.abs().mean(), np.sqrt((off**2).mean())])
    assert table.loc["as before", "correlation"] == pytest.approx(np.corrcoef(rules["as before"], seen["frequency_holdout"])[0, 1])
    assert np.isnan(table.loc["all alike", "correlation"])
    assert (table.loc[["BGNBD", "MBGNBD", "ParetoNBD"], "rmse"] < table.loc[["all alike", "as before"], "rmse"].min()).all() and told.notes == ()


def test_the_tracking_ends_at_all_purchases(bought, told):
    seen, line = summary(bought, END, "week", SPLIT).customers, told.tracking
    assert line["happened"].iloc[-1] == (seen["frequency"] + seen["frequency_holdout"]).sum() and line["happened"].is_monotonic_increasing
    assert str(line["end"].iloc[-1].date()) == END and (line["end"].diff().dropna() == pd.Timedelta(days=7)).all()
    assert line.loc[line["end"] == SPLIT, "happened"].item() == seen["frequency"].sum()
    assert line["BGNBD"].iloc[-1] == pytest.approx(line["happened"].iloc[-1], rel=0.1)
    assert line["BGNBD"].iloc[-1] == pytest.approx(told.models["BGNBD"].expected_from_start((seen["T"] + seen["duration_holdout"]).to_numpy()).sum())


def test_the_picture_says_how_far_off(told):
    fig = told.plot()
    assert [trace.name for trace in fig.data] == ["happened", "BGNBD", "MBGNBD", "ParetoNBD"]
    assert "purchases than happened" in fig.layout.title.text


def test_nobody_came_back(bought):
    report = holdout_report(bought[bought["purchased_at"] <= SPLIT], END, SPLIT)
    assert report.plot().layout.title.text == "Nobody came back after the models were made" and report.frame()["off"].isna().all()


def test_a_model_that_loses_is_named(bought):
    """All buy in the second year as nobody could know, at one and the same rate: who was lively before tells nothing."""
    first = bought[bought["purchased_at"] <= SPLIT]
    rng = np.random.default_rng(1)
    later = pd.DataFrame([(who, pd.Timestamp("2023-01-02") + pd.Timedelta(days=int(day)), 10.0) for who in first["customer_id"].unique() for day in rng.integers(0, 360, 3)],
                         columns=first.columns)
    report = holdout_report(pd.concat([first, later]), END, SPLIT, models=[BGNBD()])
    assert any("BGNBD loses to the rule “all alike” by RMSE" in note for note in report.notes)


def test_customers_too_much_alike_are_noted():
    """Where all leave with the same chance, the beta distribution of the BG/NBD narrows without end; the means stay right."""
    report = holdout_report(shop(alike=True), END, SPLIT)
    assert [note.partition(" =")[0] for note in report.notes] == ["BGNBD: a", "MBGNBD: a", "ParetoNBD: s"] and all("too much alike to tell" in note for note in report.notes)
    assert (report.frame()["off"][:3].abs() < 0.1).all()


def test_a_model_without_an_estimate_is_left_out(bought, monkeypatch):
    def lost(*_):
        raise ConvergenceError("no top")
    monkeypatch.setattr(MBGNBD, "fit", lost)
    report = holdout_report(bought, END, SPLIT)
    assert list(report.models) == ["BGNBD", "ParetoNBD"] and report.notes == ("MBGNBD is left out: no top",)
    with pytest.raises(ConvergenceError, match="MBGNBD is left out"):
        holdout_report(bought, END, SPLIT, models=[MBGNBD()])


def test_units_and_models_of_ones_choice(bought):
    by_day, by_week = (holdout_report(bought, END, SPLIT, unit, [MBGNBD(), ParetoNBD()]) for unit in ("day", "week"))
    assert list(by_day.models) == ["MBGNBD", "ParetoNBD"]
    assert by_day.frame()["expected"].to_numpy() == pytest.approx(by_week.frame()["expected"].to_numpy(), rel=1e-3)
    for bad in ([], [BGNBD(), BGNBD()], [BGNBD(["amount"])], ["BGNBD"]):
        with pytest.raises(ParameterError, match="models: needs one or more of different kinds"):
            holdout_report(bought, END, SPLIT, models=bad)
