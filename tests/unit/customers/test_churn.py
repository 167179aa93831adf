import json

import numpy as np
import pandas as pd
import polars as pl
import pytest

from tenant_lab.core.errors import NotFittedError, ParameterError, SchemaError
from tenant_lab.customers.churn import CANDIDATES, ChurnModel, model_state, restore_model, splits
from tenant_lab.customers.learners import fit_member, learn_columns, read_features

RNG = np.random.default_rng(0)
N = 1500
FEATURES = pd.DataFrame({"customer_id": [f"c{n}" for n in range(N)], "plays": RNG.gamma(2, 10, N), "failed": RNG.integers(0, 2, N), "plan": RNG.choice(["free", "pro", "family"], N), "noise": RNG.normal(size=N)})
FEATURES.loc[RNG.random(N) < 0.1, "plays"] = np.nan
TRUE = -0.5 - 0.05 * FEATURES["plays"].fillna(30) + 1.2 * FEATURES["failed"] + (FEATURES["plan"] == "free") * 0.8
LEFT = (RNG.random(N) < 1 / (1 + np.exp(-TRUE))).astype(int)


@pytest.fixture(scope="module")
def model():
    return ChurnModel().fit(FEATURES, LEFT)


# -- learners ---------------------------------------------------------------------------------------------------------
def test_bends_are_continuous_and_straight_between():
    known = learn_columns(read_features(FEATURES))
    x = pd.DataFrame({"plays": np.linspace(-50, 200, 2001), "failed": 0.0, "noise": 0.0, "plan": "pro"}).astype({"plan": object})
    curve = known.bent(x) @ np.arange(1, known.bent(x).shape[1] + 1)
    assert np.abs(np.diff(curve)).max() < 1.0
    assert (np.abs(np.diff(curve, 2)) > 1e-9).sum() <= 2 * len(known.numbers["plays"]["bends"])


def test_rare_and_new_categories_are_others():
    plan = ["free"] * 60 + ["pro"] * 60 + ["odd"] * 3
    known = learn_columns(read_features(pd.DataFrame({"plan": plan})))
    assert known.categories == {"plan": ["free", "pro"]}
    others = read_features(pd.DataFrame({"plan": ["odd", "new", "free"]}))
    assert known.bent(others).tolist() == [[0, 0], [0, 0], [1, 0]] and np.isnan(known.plain(others)[:2]).all()


def test_columns_of_one_value_are_passed_over():
    known = learn_columns(read_features(pd.DataFrame({"a": [1.0] * 30, "b": ["x"] * 30, "c": [None] * 30, "d": range(30)}).astype({"c": float})))
    assert known.names == ["d"]
    flat = read_features(pd.DataFrame({"a": [1.0] * 30}))
    for kind in ("linear",):
        assert fit_member(kind, flat, np.array([0, 1, 1] * 10), 0).logit(flat) == pytest.approx(np.log(2))


def test_missing_numbers_are_told_apart():
    """Those without plays leave as if they had 30; the regression must see it though their median is lower."""
    member = fit_member("linear", read_features(FEATURES), LEFT, 0)
    base = {"customer_id": ["x"] * 2, "failed": 0, "plan": "pro", "noise": 0.0}
    gone, median = member.logit(read_features(pd.DataFrame(base | {"plays": [np.nan, FEATURES["plays"].median()]})))
    assert gone < median - 0.2


@pytest.mark.parametrize("frame", [pl.from_pandas(FEATURES), FEATURES.astype({"plan": "category"}), FEATURES.astype({"failed": "boolean"}), FEATURES.convert_dtypes()])
def test_features_from_any_frame(frame):
    expected, found = read_features(FEATURES), read_features(frame)
    assert found["plan"].tolist() == expected["plan"].tolist() and found["failed"].tolist() == expected["failed"].tolist()
    assert np.array_equal(found["plays"], expected["plays"], equal_nan=True)


# -- validation -------------------------------------------------------------------------------------------------------
def test_days_are_foretold_from_earlier_ones_whose_outcome_was_known():
    time = np.repeat(np.array(["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"], "datetime64[us]"), 4)
    y = np.tile([0, 1], 8)
    parts = splits(y, time, 30, 5, 0)
    days = [(sorted(str(day)[5:10] for day in set(time[learn].tolist())), str(time[tell][0])[5:10]) for learn, tell in parts]
    assert days == [(["01-31", "02-29"], "03-31"), (["01-31", "02-29", "03-31"], "04-30")]   # what January said was known on 1 March
    assert len(splits(y, time, 29, 1, 0)) == 1 and len(splits(y, time, 29, 5, 0)) == 3


def test_what_is_foretold_comes_from_models_that_had_not_seen_it(model):
    """Noise outcomes: whatever looks at its own answer beats one half; the area of 1,500 pairs has the standard error .015."""
    noise = RNG.integers(0, 2, N)
    foretold = ChurnModel().fit(FEATURES, noise).foretold_
    order = np.argsort(np.argsort(foretold))
    auc = (order[noise == 1].sum() - noise.sum() * (noise.sum() - 1) / 2) / (noise.sum() * (N - noise.sum()))
    assert abs(auc - 0.5) < 3.3 * 0.015
    assert np.isfinite(model.foretold_).all()


def test_the_chosen_one_has_the_least_loss(model):
    table = model.validation_.set_index("candidate")
    assert tuple(table.index) == CANDIDATES and model.chosen_ == table["log_loss"].idxmin()
    truth = -np.mean(np.where(LEFT == 1, TRUE - np.log1p(np.exp(TRUE)), -np.log1p(np.exp(TRUE))))
    assert truth < table["log_loss"].min() < truth + 0.02


def test_days_that_nothing_came_before_are_not_foretold():
    time = np.repeat(["2024-01-31", "2024-02-29", "2024-03-31"], N // 3)
    found = ChurnModel().fit(FEATURES, LEFT, time=time, known_after=29)
    assert np.isnan(found.foretold_[: N // 3]).all() and np.isfinite(found.foretold_[N // 3:]).all()
    two = ChurnModel().fit(FEATURES[: 2 * N // 3], LEFT[: 2 * N // 3], time=time[: 2 * N // 3], known_after=29)   # one day to foretell: nothing to stack or calibrate on
    assert two.validation_["candidate"].tolist() == list(CANDIDATES[:-1])


# -- the model --------------------------------------------------------------------------------------------------------
def test_same_data_same_model(model):
    assert ChurnModel().fit(FEATURES, LEFT).probability(FEATURES).tolist() == model.probability(FEATURES).tolist()
    assert model.probability(FEATURES[:1]) == pytest.approx(model.probability(FEATURES)[:1], rel=1e-12)
    assert model.probability(FEATURES[::-1]) == pytest.approx(model.probability(FEATURES)[::-1], rel=1e-12)


def test_kept_and_read_again(model):
    again = restore_model(json.loads(json.dumps(model_state(model))))
    assert again.probability(FEATURES).tolist() == model.probability(FEATURES).tolist()
    pd.testing.assert_frame_equal(again.reasons(FEATURES[:5]), model.reasons(FEATURES[:5]))
    assert again.validation_.equals(model.validation_) and not hasattr(again, "foretold_")
    for damage in ({"kind": "ltv"}, {"line": None}, {"members": {"linear": {}}}, {"typical": 3}):
        with pytest.raises(SchemaError):
            restore_model(model_state(model) | damage)
    with pytest.raises(SchemaError, match="damaged"):
        restore_model({"kind": "churn"})


def test_reasons_name_what_was_planted(model):
    who = pd.DataFrame({"plays": [0.5, 60.0], "failed": [1, 0], "plan": ["free", "pro"], "noise": [0.0, 0.0]})
    found = model.reasons(who, top=4)
    first = found[found["row"] == 0].set_index("feature")["effect"]
    assert set(first.index[:3]) == {"plays", "failed", "plan"} and (first.iloc[:3] > 0.2).all() and abs(first["noise"]) < 0.2
    second = found[found["row"] == 1].iloc[0]
    assert second["feature"] == "plays" and second["effect"] < -1 and second["value"] == "60"


def test_bad_input(model):
    with pytest.raises(NotFittedError):
        ChurnModel().probability(FEATURES)
    with pytest.raises(NotFittedError):
        model_state(ChurnModel())
    with pytest.raises(ParameterError, match=r"churned of shape \(3,\)"):
        ChurnModel().fit(FEATURES, [0, 1, 0])
    with pytest.raises(ParameterError, match="needs 0 .stayed. and 1 .left."):
        ChurnModel().fit(FEATURES, LEFT * 2)
    with pytest.raises(ParameterError, match="churned"):
        ChurnModel().fit(FEATURES, ["no"] * N)
    with pytest.raises(ParameterError, match="0 of 1500 left"):
        ChurnModel().fit(FEATURES, LEFT * 0)
    with pytest.raises(ParameterError, match="folds"):
        ChurnModel(folds=1).fit(FEATURES, LEFT)
    with pytest.raises(ParameterError, match="time: 1500 rows have none"):
        ChurnModel().fit(FEATURES, LEFT, time=[None] * N)
    with pytest.raises(ParameterError, match="time"):
        ChurnModel().fit(FEATURES, LEFT, time=["soon"] * N)
    with pytest.raises(ParameterError, match="no day lies"):
        ChurnModel().fit(FEATURES, LEFT, time=["2024-01-31"] * N)
    with pytest.raises(SchemaError, match="take the days before"):
        ChurnModel().fit(FEATURES.assign(at=pd.Timestamp("2024-01-01")), LEFT)
    with pytest.raises(SchemaError, match="1500 rows are infinite"):
        ChurnModel().fit(FEATURES.assign(noise=np.inf), LEFT)
    with pytest.raises(SchemaError, match="no rows"):
        ChurnModel().fit(FEATURES[:0], [])
    with pytest.raises(SchemaError, match="plays"):
        model.probability(FEATURES.drop(columns="plays"))
    with pytest.raises(SchemaError, match="plan: is a number now"):
        model.probability(FEATURES.assign(plan=1.0))
    with pytest.raises(ParameterError, match="up to 1,000"):
        model.reasons(FEATURES)


def test_very_few_customers():
    few = FEATURES[:12]
    found = ChurnModel().fit(few, [0, 1] * 6)
    assert ((found.probability(few) > 0) & (found.probability(few) < 1)).all()
    flat = ChurnModel().fit(few[["customer_id"]].assign(x=1.0), [0, 1] * 6)
    assert flat.probability(few.assign(x=2.0)) == pytest.approx(0.5, abs=0.2)


def test_a_column_without_any_value(model):
    """Such a column has no type: it is missing, whatever it was when the model learnt."""
    gone = model.probability(FEATURES[:5].assign(plan=None, plays=None))
    assert gone.tolist() == model.probability(FEATURES[:5].assign(plan="missing", plays=np.nan)).tolist()
    assert "empty" not in learn_columns(read_features(FEATURES.assign(empty=None))).names
    with pytest.raises(SchemaError, match="too far from 0"):
        ChurnModel().fit(FEATURES.assign(noise=1e200), LEFT)


def test_lines_know_what_was_known_then():
    """What came of the fourth month is known after the fifth began: it changes nothing of what is said of the fifth."""
    days, known_after = np.repeat(pd.date_range("2024-01-01", periods=5, freq="30D").values, N // 5), 60
    other = LEFT.copy()
    other[3 * N // 5: 4 * N // 5] = 1 - other[3 * N // 5: 4 * N // 5]
    one, two = (ChurnModel().fit(FEATURES, y, days, known_after).foretold_ for y in (LEFT, other))
    last = slice(4 * N // 5, None)
    assert np.isfinite(one[last]).all() and one[last].tolist() == two[last].tolist()
    assert ChurnModel().fit(FEATURES, other, days, 30).foretold_[last].tolist() != ChurnModel().fit(FEATURES, LEFT, days, 30).foretold_[last].tolist()


def test_lines_of_one_customer_stay_together():
    """Noise that is repeated six times: whoever has seen a line of the customer knows the answer."""
    rng = np.random.default_rng(0)
    noise, y = rng.normal(size=(300, 6)), rng.integers(0, 2, 300)
    frame = pd.DataFrame(noise).add_prefix("x").assign(customer_id=np.arange(300))
    found = ChurnModel().fit(pd.concat([frame] * 6), np.tile(y, 6)).validation_
    assert found["auc"].between(0.4, 0.6).all()
    assert (ChurnModel().fit(pd.concat([frame] * 6).drop(columns="customer_id"), np.tile(y, 6)).validation_["auc"] > 0.9).any()
    with pytest.raises(ParameterError, match="hold 5 of 400 rows"):
        ChurnModel().fit(FEATURES[:400], LEFT[:400], pd.date_range("2024-01-01", periods=400, freq="7h"))


@pytest.mark.parametrize("kind", ["voting", "boosting", "linear"])
def test_a_damaged_state_is_refused_before_it_is_used(model, kind):
    """LightGBM ends the process when it reads a text that was cut off."""
    good = json.loads(json.dumps(model_state(model), allow_nan=False))
    good["chosen"], good["line"] = kind, [0.0, 1.0]
    good["members"] = {name: one for name, one in good["members"].items() if kind in ("voting", name)}
    assert np.isfinite(restore_model(good).probability(FEATURES)).all()

    def damaged(change):
        state = json.loads(json.dumps(good))
        change(state)
        return state
    name = "boosting" if kind == "voting" else kind
    changes = [lambda s: s["members"].pop(name), lambda s: s.update(chosen="forest"), lambda s: s.update(line=[None, 1.0]), lambda s: s.update(features=["plays"]), lambda s: s["typical"].pop("plays"),
               lambda s: s["members"][name]["columns"]["numbers"].pop("plays")]
    text = good["members"][name]["trees"]
    changes += [lambda s, n=n: s["members"][name].update(trees=text[:n]) for n in (10, 500, len(text) // 2)] if text else [lambda s: s["members"][name]["coefficients"].pop(), lambda s: s["members"][name]["columns"]["numbers"].update(plays={})]
    for change in changes:
        with pytest.raises(SchemaError):
            restore_model(damaged(change))
