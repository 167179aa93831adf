"""Value from behaviour: spending of known mean, intervals that hold, and states that are whole."""

import json

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest

from tenant_lab.core.errors import NotFittedError, ParameterError, SchemaError
from tenant_lab.core.settings import shipped
from tenant_lab.customers.value import ValueModel, restore_value, spent, value_features, value_report, value_state


def world(seed, n=3_000, sure=0.8):
    """Features, what was spent, and its mean: a chance that grows with `a` up to 0.2 + `sure`, and gamma-distributed amounts."""
    rng = np.random.default_rng(seed)
    x = pd.DataFrame({"a": rng.random(n), "b": rng.random(n), "c": rng.choice([*"xyz"], n)})
    chance, mean = 0.2 + sure * x["a"], 20 * np.exp(x["b"] + (x["c"] == "x"))
    return x, np.where(rng.random(n) < chance, rng.gamma(2, mean / 2), 0.0), (chance * mean).to_numpy(), chance.to_numpy()


X, Y, MEAN, CHANCE = world(0)
MODEL = ValueModel().fit(X, Y)
PURCHASES = pd.DataFrame({"customer_id": [*"aaabbc"], "purchased_at": pd.to_datetime(["2024-01-01", "2024-02-01", "2024-05-01", "2024-01-10", "2024-05-20", "2024-05-25"]), "amount": [5.0, 7.0, 11.0, 2.0, 3.0, 9.0]})


def test_the_mean_is_found():
    x, _, mean, chance = world(1)
    told = MODEL.predict(x)
    assert np.corrcoef(told["value"], mean)[0, 1] > 0.93
    assert told["value"].sum() == pytest.approx(mean.sum(), rel=4 * Y.std() / Y.mean() / np.sqrt(len(Y)))   # of what it learnt from
    assert np.corrcoef(told["chance"], chance)[0, 1] > 0.95


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_the_interval_holds_as_often_as_it_says(level):
    """Four worlds of 3,000: the level, within 3.3 standard errors of what is learnt and what is counted."""
    held = []
    for seed in range(4):
        x, y, *_ = world(10 + seed)
        told = ValueModel(level).fit(x[:2000], y[:2000]).predict(x[2000:])
        held.append(((told["predicted_low"] <= y[2000:]) & (y[2000:] <= told["predicted_high"])).mean())
    assert np.mean(held) == pytest.approx(level, abs=3.3 * np.sqrt(level * (1 - level) * (1 / 2000 + 1 / 1000) / 4) + 0.01)


def test_who_may_spend_nothing_has_a_low_end_of_nothing():
    x, _, _, chance = world(2, sure=0.5)
    told = ValueModel().fit(*world(3, sure=0.5)[:2]).predict(x)
    assert (told["predicted_low"][chance < 0.6] == 0).all() and (told["predicted_low"] <= told["predicted_high"]).all()


def test_any_frame_and_the_same_again():
    pd.testing.assert_frame_equal(MODEL.predict(pl.from_pandas(X)), MODEL.predict(X))
    pd.testing.assert_frame_equal(ValueModel().fit(X, Y).predict(X), MODEL.predict(X))
    assert not np.array_equal(ValueModel(random_state=1).fit(X, Y).predict(X)["value"], MODEL.predict(X)["value"])


def test_features_and_spending_by_hand():
    x = value_features({"purchases": PURCHASES}, "2024-03-01").set_index("customer_id")
    assert x.index.tolist() == ["a", "b"] and x["frequency"].tolist() == [1, 0] and x["since_last"].tolist() == [29, 51]
    assert x["purchases_30d"].tolist() == [1, 0] and x["purchases_amount_90d"].tolist() == [12, 2]
    assert spent(PURCHASES, "2024-03-01", "2024-05-31").to_dict() == {"a": 11, "b": 3, "c": 9}
    back = pd.concat([PURCHASES, pd.DataFrame({"customer_id": ["b", "d"], "purchased_at": pd.to_datetime(["2024-05-22", "2024-05-01"]), "amount": [-5.0, -1.0]})])
    assert spent(back, "2024-03-01", "2024-05-31").to_dict() == {"a": 11, "b": -2, "c": 9, "d": -1}   # net of what was paid back
    assert spent(PURCHASES, "2024-05-20T10:00", "2024-05-31").to_dict() == {"c": 9}   # of an instant its day
    far = value_features({"purchases": PURCHASES}, "2025-05-10").set_index("customer_id")
    assert far["purchases_365d"].tolist() == [0, 1, 1]   # who bought in no window is here all the same
    plans = pd.DataFrame({"customer_id": ["a"], "started_at": pd.to_datetime(["2024-01-01"]), "ended_at": pd.to_datetime([pd.NaT]).astype("datetime64[us]"), "plan": ["solo"], "monthly_price": [5.0]})
    more = value_features({"purchases": PURCHASES, "subscriptions": plans}, "2024-03-01").set_index("customer_id")
    assert more["plan"].tolist()[0] == "solo" and more["tenure"].isna().tolist() == [False, True]


def test_the_report_on_published_purchases():
    cdnow = duckdb.connect().read_parquet(str(shipped("data") / "cdnow" / "purchases.parquet"))
    sample = cdnow.filter("hash(customer_id) % 6 = 0")
    result = value_report({"purchases": sample}, "1998-06-30", "1997-12-31")
    table = result.frame().set_index("model")
    assert list(table.index) == ["trees", "BGNBD with gamma-gamma", "as before"] or "gamma-gamma" in table.index[1]
    came = result.customers["happened"].sum()
    assert table["happened"].unique() == pytest.approx([came])
    rows = sample.df()
    first = rows.groupby("customer_id")["purchased_at"].transform("min")
    late = rows[(rows["purchased_at"] > "1997-12-31 23:59:59") & (first <= "1997-12-31 23:59:59")]
    assert came == pytest.approx(late["amount"].sum())
    assert (table.loc[table.index[:2], "held"] > 0.9).all() and np.isnan(table.loc["as before", "held"])
    order = result.customers.sort_values("trees", ascending=False, kind="stable")
    assert table.loc["trees", "best_tenth"] == pytest.approx(order["happened"].head(-(-len(order) // 10)).sum() / came)
    assert "put first brought" in result.plot().layout.title.text and len(result.plot().data) == 3


def test_what_cannot_be_learnt_is_left_out_and_said():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"customer_id": rng.integers(0, 60, 300), "purchased_at": pd.Timestamp("2024-03-20") + pd.to_timedelta(rng.integers(0, 100, 300), unit="D"), "amount": rng.gamma(2, 5, 300)})
    result = value_report({"purchases": rows}, "2024-06-27", "2024-04-30")   # before the time to learn from nobody had bought
    assert "trees" not in result.frame()["model"].tolist() and result.notes[0].startswith("trees are left out: ")
    with pytest.raises(ParameterError, match="nothing was spent until"):
        value_report({"purchases": rows}, "2024-08-27", "2024-07-30")
    with pytest.raises(SchemaError, match="needs purchases; there are plays"):
        value_features({"plays": rows}, "2024-06-27")


def test_a_state_makes_the_model_again():
    state = json.loads(json.dumps(value_state(MODEL)))
    pd.testing.assert_frame_equal(restore_value(state).predict(X), MODEL.predict(X))
    with pytest.raises(NotFittedError, match="was not fitted"):
        value_state(ValueModel())
    with pytest.raises(SchemaError, match="is no model of value"):
        restore_value({"kind": "churn"})
    for name in state:
        if name not in ("kind", "random_state", "folds"):
            with pytest.raises(SchemaError, match="damaged"):
                restore_value({key: value for key, value in state.items() if key != name})
    cut = {**state, "parts": {**state["parts"], "low": {**state["parts"]["low"], "trees": state["parts"]["low"]["trees"][:9000]}}}
    for damaged in (cut, {**state, "moved": [0.0]}, {**state, "factor": float("nan")}, {**state, "features": ["a"]}, {**state, "scale": -1.0}, {**state, "factor": 10**400}, {**state, "level": 5}, {**state, "folds": "x"}):
        with pytest.raises(SchemaError, match="damaged"):
            restore_value(damaged)


@pytest.mark.parametrize(("x", "y", "more", "error", "match"), [
    (X, ["a"] * len(X), {}, SchemaError, "spend: .*needs numbers"),
    (X, Y[:10], {}, SchemaError, "needs a finite number for each of 3000 customers"),
    (X, np.where(Y > 0, np.nan, Y), {}, SchemaError, "needs a finite number"),
    (X[:40], Y[:40], {}, ParameterError, "too few to learn from"),
    (X, np.zeros(len(X)), {}, ParameterError, "3000 customers of whom 0 spent"),
    (X[["a"]] * 0, Y, {}, ParameterError, "there is nothing to learn"),
    (X.assign(a=np.inf), Y, {}, SchemaError, "features.a: 3000 rows are infinite"),
    (X, Y, {"level": 1.0}, ParameterError, "level 1.0"),
    (X, Y, {"folds": 1}, ParameterError, "folds 1"),
    (X, Y, {"random_state": -1}, ParameterError, "random_state -1"),
])
def test_bad_input(x, y, more, error, match):
    with pytest.raises(error, match=match):
        ValueModel(**more).fit(x, y)


def test_the_order_of_named_rows_does_not_matter():
    named, order = X.assign(customer_id=np.arange(len(X))), np.random.default_rng(0).permutation(len(X))
    again = ValueModel().fit(named.iloc[order], Y[order])
    pd.testing.assert_frame_equal(again.predict(X), ValueModel().fit(named, Y).predict(X))


def test_few_who_are_sure_to_spend_have_no_interval_of_their_own():
    """At a level of .8 in worlds of 110 customers of whom 15 are sure to spend: all are held as often as said, and these few not much less."""
    held, every = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        sure = rng.random(1_110) < 0.14
        x, y = pd.DataFrame({"sure": sure.astype(float), "noise": rng.random(1_110)}), np.where(sure | (rng.random(1_110) < 0.3), rng.gamma(4, 5, 1_110), 0.0)
        told = ValueModel(0.8).fit(x[:110], y[:110]).predict(x[110:])
        inside = (told["predicted_low"] <= y[110:]) & (y[110:] <= told["predicted_high"])
        held.append(inside[sure[110:]].mean()), every.append(inside.mean())
    assert np.mean(held) > 0.65 and np.mean(every) > 0.8 - 3.3 * np.sqrt(0.16 / 110 / 20)


def test_bad_prediction():
    with pytest.raises(NotFittedError, match="was not fitted"):
        ValueModel().predict(X)
    with pytest.raises(SchemaError, match="features lacks b"):
        MODEL.predict(X.drop(columns="b"))
    with pytest.raises(SchemaError, match="features.a: is text now"):
        MODEL.predict(X.assign(a="u"))
    with pytest.raises(SchemaError, match="features.c: is a number now"):
        MODEL.predict(X.assign(c=1.0))
