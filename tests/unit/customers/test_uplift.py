import json

import numpy as np
import pandas as pd
import polars as pl
import pytest

from tenant_lab.core.errors import NotFittedError, ParameterError, SchemaError
from tenant_lab.core.frames import arrow
from tenant_lab.customers.qini import qini, targets
from tenant_lab.customers.uplift import Uplift, arms_effect, exposed_outcomes, read_arms, restore_uplift, uplift_state


def trial(n, seed, effect=lambda x: 0.8 * (x["a"] > 0), share=0.5):
    """Features, arm, outcome and true effect."""
    rng = np.random.default_rng(seed)
    x = pd.DataFrame(rng.normal(size=(n, 3)), columns=["a", "b", "c"]).assign(plan=rng.choice(["free", "single", "family"], n))
    arm, tau = (rng.random(n) < share).astype(int), np.asarray(effect(x), float)
    return x, arm, x["b"].to_numpy() + arm * tau + rng.normal(size=n), tau


# the experiment as tables

PLAN = pd.DataFrame({"experiment": ["offer"] * 3 + ["other"] * 2, "variant": ["none", "ten", "twenty", "off", "on"], "unit": "customer", "planned_share": [0.5, 0.25, 0.25, 0.5, 0.5],
                     "is_control": [True, False, False, True, False]})


def tables(n=400):
    who = [f"c{i:04d}" for i in range(n)]
    shown = pd.DataFrame({"experiment": "offer", "variant": np.resize(["none", "none", "ten", "twenty"], n), "customer_id": who, "exposed_at": pd.Timestamp("2024-05-01", tz="UTC")})
    known = pd.DataFrame({"customer_id": who[::-1], "x": np.arange(n, dtype=float)[::-1]})
    return shown, known, pd.DataFrame({"customer_id": who, "outcome": np.arange(n) % 7.0})


@pytest.mark.parametrize("kind", [lambda t: t, pl.from_pandas, arrow, lambda t: pl.from_pandas(t).lazy()])
def test_an_experiment_is_joined_to_one_row_a_customer(kind):
    shown, known, came = tables()
    again = pd.concat([shown, shown.iloc[:5]])   # a second sight of the same variant
    found = exposed_outcomes(kind(again), kind(PLAN), "offer", kind(known), kind(came), "ten")
    assert len(found.treated) == 300 and found.treated.sum() == 100 and found.share == pytest.approx(1 / 3) and found.notes == ()
    number = found.features["customer_id"].str[1:].astype(int)
    assert (found.features["x"] == number).all() and (found.outcome == number % 7).all() and (found.treated == (number % 4 == 2)).all()
    assert list(found.frame()) == ["customer_id", "treated", "x", "outcome"] and "changes the outcome by" in found.plot().layout.title.text


def test_who_is_left_out_is_counted():
    shown, known, came = tables()
    both = shown.iloc[:6].assign(variant="twenty")   # c0003 has seen it already
    found = exposed_outcomes(pd.concat([shown, both]), PLAN, "offer", known[known["x"] != 9], came.iloc[8:], "ten")
    assert len(found.treated) == 300 - 5 - 2 and found.notes[0].startswith("5 customers saw more than one variant")
    assert found.notes[1].startswith("0 treated customers and 1 of the control have no row in features") and found.notes[2].startswith("1 treated customers and 0 of the control have no row in outcomes")


@pytest.mark.parametrize(("n", "noted"), [(1100, False), (1200, True)])
def test_a_broken_split_is_noted(n, noted):
    """1,000 against 1,100: chi-square 4.8, p = .03; against 1,200: 18.2, p = 2e-5."""
    who = [f"c{i}" for i in range(1000 + n)]
    shown = pd.DataFrame({"experiment": "other", "variant": ["off"] * 1000 + ["on"] * n, "customer_id": who})
    rest = pd.DataFrame({"customer_id": who, "x": 1.0, "outcome": 0.0})
    found = exposed_outcomes(shown, PLAN, "other", rest[["customer_id", "x"]], rest[["customer_id", "outcome"]])
    assert any("split is broken" in note for note in found.notes) == noted


def test_bad_experiments():
    shown, known, came = tables()
    for change, error, said in (
        ({"experiment": "price"}, ParameterError, "there are offer, other"),
        ({"variant": None}, ParameterError, "2 treatments"),
        ({"variant": "none"}, ParameterError, "allowed are ten, twenty"),
        ({"exposures": shown.drop(columns="variant")}, SchemaError, "exposures lacks variant"),
        ({"exposures": shown.assign(variant="thirty")}, SchemaError, "thirty"),
        ({"exposures": shown.iloc[:20]}, ParameterError, "at least 20"),
        ({"exposures": shown.iloc[:0]}, ParameterError, "at least 20"),
        ({"experiments": PLAN.drop(columns="is_control")}, SchemaError, "is_control"),
        ({"experiments": PLAN.assign(is_control=True)}, SchemaError, "exactly one"),
        ({"experiments": PLAN.assign(planned_share=50.0)}, SchemaError, "0 to 1"),
        ({"experiments": PLAN.assign(planned_share="half")}, SchemaError, "planned_share: offer needs a number"),
        ({"experiments": PLAN.assign(is_control=[True, None, False, True, False])}, SchemaError, "is_control: offer needs a yes or no"),
        ({"experiments": PLAN.assign(planned_share=[1.0, 0, 0, 1, 0])}, ParameterError, "share of 0"),
        ({"experiments": PLAN.assign(unit="session")}, ParameterError, "sessions"),
        ({"features": pd.concat([known, known.iloc[:3]])}, SchemaError, "3 rows repeat"),
        ({"outcomes": pd.concat([came, came.iloc[:1]])}, SchemaError, "1 rows repeat"),
        ({"outcomes": came.rename(columns={"outcome": "y"})}, SchemaError, "outcomes lacks outcome"),
        ({"outcomes": came.assign(outcome=np.nan)}, ParameterError, "missing or infinite"),
        ({"outcomes": came.assign(outcome="yes")}, ParameterError, "need numbers"),
    ):
        given = {"exposures": shown, "experiments": PLAN, "experiment": "offer", "features": known, "outcomes": came, "variant": "ten"} | change
        with pytest.raises(error, match=said):
            exposed_outcomes(**given)


# the learners

@pytest.mark.parametrize("learner", ["x", "t"])
@pytest.mark.parametrize("base", ["linear", "boosting"])
def test_an_effect_is_found(learner, base):
    x, arm, y, _ = trial(2000, 0)
    model = Uplift(learner, base).fit(x, arm, y, share=0.5)
    others, *_, tau = trial(3000, 1)
    told = model.predict(others)["uplift"]
    assert np.corrcoef(told, tau)[0, 1] > 0.75 and 0.5 < model.shrunk_ <= 1
    assert np.corrcoef(model.foretold_, trial(2000, 0)[3])[0, 1] > 0.7
    assert model.predict(x)["uplift"].mean() == pytest.approx(model.ate_) and model.ate_low_ < 0.4 < model.ate_high_


@pytest.mark.parametrize("base", ["linear", "boosting"])
def test_one_effect_for_all_is_called_so(base):
    """In four worlds the mean error stays near that of the average effect alone, 2 / sqrt(1500) = .05; unshrunk learners err four times as much."""
    errors = []
    for seed in range(4):
        x, arm, y, tau = trial(1500, seed, lambda x: 0.5 + 0 * x["a"])
        errors.append(np.sqrt(((Uplift(base=base).fit(x, arm, y, 0.5).predict(x)["uplift"] - tau) ** 2).mean()))
    assert np.mean(errors) < 0.08


def test_with_few_treated_x_errs_less_than_t():
    """Künzel et al. 2019, simulation 1: a simple effect, 5 % treated. By chance all five have a probability of .03. The view of the few treated is the better one, and has the weight."""
    better, mixes = 0, []
    for seed in range(5):
        x, arm, y, _ = trial(1000, seed, share=0.05)
        others, *_, tau = trial(1000, 100 + seed)
        states = [uplift_state(Uplift(learner).fit(x, arm, y, 0.05)) | {"shrunk_": 1.0} for learner in ("x", "t")]   # not shrunk, as in the paper
        (light, control), (heavy, treated) = states[0]["parts"]
        assert (light, heavy) == (0.05, 0.95)
        x_error, t_error, swapped = (((restore_uplift(state).predict(others)["uplift"] - tau) ** 2).mean() for state in (*states, states[0] | {"parts": [[heavy, control], [light, treated]]}))
        better += x_error < t_error
        mixes.append(swapped - x_error)
    assert better == 5 and np.mean(mixes) > 0


@pytest.mark.parametrize(("share", "kind"), [(0.5, "number"), (0.2, "0/1")])
def test_the_interval_of_the_average_holds(share, kind):
    """100 worlds: the binomial's 99.9 % range around .95 is .878 to 1."""
    inside = 0
    for seed in range(100):
        x, arm, y, _ = trial(300, seed, share=share)
        if kind == "0/1":   # P(y > 0) of a normal of mean .8 [a > 0] and variance 2
            y = (y > 0).astype(float)
        true = 0.4 if kind == "number" else (0.7142 - 0.5) / 2
        model = Uplift("t", "linear").fit(x[["a", "b"]], arm, y, share)
        inside += model.ate_low_ <= true <= model.ate_high_
    assert 0.878 <= inside / 100 <= 1


def test_adjustment_narrows_the_interval():
    """Half of the outcome's variance without treatment is b's, so the standard error falls by sqrt(2) but for what is to be learnt."""
    x, arm, y, _ = trial(4000, 0)
    model = Uplift(base="linear").fit(x, arm, y, 0.5)
    assert (model.ate_high_ - model.ate_low_) / 3.92 < 0.8 * arms_effect(arm == 1, y)[1]


def test_same_seed_same_model_whatever_the_frame():
    x, arm, y, _ = trial(400, 0)
    one, other = Uplift(seed=3).fit(x, arm, y), Uplift(seed=3).fit(pl.from_pandas(x), pl.Series(arm), pl.Series(y))
    assert (one.predict(x)["uplift"] == other.predict(arrow(x))["uplift"]).all() and (one.foretold_ == other.foretold_).all()


def test_an_effect_on_some_words_is_found():
    x, arm, y, _ = trial(3000, 0, lambda x: 1.0 * (x["plan"] == "free"))
    for base in ("linear", "boosting"):
        told = Uplift(base=base).fit(x, arm, y).predict(x)["uplift"].groupby(x["plan"]).mean()
        assert told["free"] > 0.7 and abs(told["single"]) < 0.3 and abs(told["family"]) < 0.3


def test_words_have_no_order():
    """Every other of eight letters has an effect."""
    rng = np.random.default_rng(0)
    x, arm = pd.DataFrame({"letter": rng.choice(list("abcdefgh"), 4000)}), rng.integers(0, 2, 4000)
    gains = x["letter"].isin(list("aceg"))
    told = Uplift().fit(x, arm, arm * gains + rng.normal(size=4000), 0.5).predict(x)["uplift"]
    assert told[gains].min() > told[~gains].max() + 0.5


def test_customers_keep_their_names():
    x, arm, y, _ = trial(200, 0)
    model = Uplift().fit(x.assign(customer_id=[f"c{i}" for i in range(200)]), arm, y)
    assert model.features_ == ["a", "b", "c", "plan"]
    assert model.predict(x.assign(customer_id="z").iloc[:2])["customer_id"].tolist() == ["z", "z"] and list(model.predict(x)) == ["uplift"]


@pytest.mark.parametrize("learner", ["x", "t"])
@pytest.mark.parametrize("base", ["linear", "boosting"])
@pytest.mark.parametrize("change", [lambda x: x.assign(a=1.0)[["a"]], lambda x: x.assign(a=np.nan), lambda x: x.mask(x == x.iloc[0, 0]), lambda x: x.assign(plan=None)])
def test_columns_that_say_nothing(learner, base, change):
    x, arm, y, _ = trial(60, 0)
    model = Uplift(learner, base).fit(change(x), arm, y)
    assert np.isfinite(model.predict(change(x))["uplift"]).all() and np.isfinite(model.foretold_).all()


@pytest.mark.parametrize("base", ["linear", "boosting"])
def test_outcomes_that_never_differ(base):
    x, arm, _, _ = trial(100, 0)
    model = Uplift(base=base).fit(x, arm, np.ones(100))
    assert model.ate_ == pytest.approx(0, abs=1e-12) and model.predict(x)["uplift"].abs().max() < 1e-12


def test_notes():
    x, arm, y, _ = trial(200, 0)
    assert any("at random" in note for note in Uplift().fit(x, arm, y).notes_)
    assert any("split is broken" in note for note in Uplift().fit(x, arm, y, 0.7).notes_) and not any("split" in note for note in Uplift().fit(x, arm, y, 0.5).notes_)
    assert any("beyond chance" in note for note in Uplift().fit(x[["c"]] * 0, arm, y).notes_)


def test_bad_input_of_the_learners():
    x, arm, y, _ = trial(100, 0)
    twice = x.assign(customer_id=["a", *map(str, range(98)), "a"])
    for given, error, said in (
        ((x, np.zeros(100), y), ParameterError, "0 of 100 were treated"), ((x, np.ones(100), y), ParameterError, "100 of 100 were treated"),
        ((x, np.r_[np.ones(19), np.zeros(81)], y), ParameterError, "at least 20"), ((x, arm + 1, y), ParameterError, "neither 0"), ((x, arm * np.nan, y), ParameterError, "neither 0"),
        ((x, arm[:-1], y), ParameterError, "treated of shape"), ((x.iloc[1:], arm, y), ParameterError, "features of 99"), ((x, arm, np.where(y > 0, np.nan, y)), ParameterError, "missing or infinite"),
        ((x, arm, y * np.inf), ParameterError, "missing or infinite"), ((x, arm, ["a"] * 100), ParameterError, "need numbers"), ((x, arm[:, None], y[:, None]), ParameterError, "shape"),
        ((twice, arm, y), SchemaError, "1 rows repeat a customer"), ((x[[]], arm, y), SchemaError, "no columns"), ((x.assign(a=np.inf), arm, y), SchemaError, "features.a"), (([1], arm, y), ParameterError, "no data frame"),
        *(((x, arm, y, share), ParameterError, "share") for share in (0, 1, 0.0, 1.0, -0.1, 1.5, np.nan, "half")),
    ):
        with pytest.raises(error, match=said):
            Uplift().fit(*given)
    for settings, said in (({"learner": "s"}, "allowed are x, t"), ({"base": "forest"}, "allowed are linear, boosting"), ({"seed": -1}, "seed")):
        with pytest.raises(ParameterError, match=said):
            Uplift(**settings).fit(x, arm, y)
    for call in (lambda: Uplift().predict(x), lambda: uplift_state(Uplift())):
        with pytest.raises(NotFittedError, match="call fit"):
            call()
    model = Uplift(base="linear").fit(x, arm, y)
    for changed, said in ((x.drop(columns="b"), "lacks b"), (x.assign(plan=1.0), "plan: is a number now"), (x.assign(a="x"), "a: is text now"), (x.iloc[:0], "no rows")):
        with pytest.raises(SchemaError, match=said):
            model.predict(changed)


@pytest.mark.parametrize("learner", ["x", "t"])
@pytest.mark.parametrize("base", ["linear", "boosting"])
def test_a_model_is_kept_as_plain_values(learner, base):
    x, arm, y, _ = trial(600, 0)
    model = Uplift(learner, base).fit(x, arm, y)
    state = json.loads(json.dumps(uplift_state(model)))
    again = restore_uplift(state)
    assert (again.predict(x)["uplift"] == model.predict(x)["uplift"]).all() and again.notes_ == model.notes_
    for broken in ({}, {"kind": "churn"}, state | {"ate_": None}, state | {"parts": state["parts"][:1]}, state | {"parts": [[1.0, {}]] * 2}, state | {"features_": ["a"]} if base == "linear" else {}, {"kind": "uplift"}):
        with pytest.raises(SchemaError, match="uplift model"):
            restore_uplift(broken)


def test_arms():
    assert arms_effect(np.array([True] * 2 + [False] * 3), np.array([1.0, 3, 0, 1, 2])) == (1.0, pytest.approx(np.sqrt(2 / 2 + 1 / 3)))
    assert np.isnan(arms_effect(np.array([True, False, False]), np.zeros(3))).all()
    assert read_arms([True, False] * 20, range(40))[0].dtype == bool


# Qini

def by_hand():
    """Eight customers thirty times; Q ends at .25, .25, .5, .25 of all treated, at each quarter of the list."""
    one = pd.DataFrame({"uplift": [4, 4, 3, 3, 2, 2, 1, 1], "treated": [1, 0, 1, 0, 1, 0, 1, 0], "outcome": [1, 0, 0, 0, 1, 0, 0, 1]})
    return pd.concat([one] * 30)


def test_qini_by_hand():
    t = by_hand()
    found = qini(t["uplift"], t["treated"], t["outcome"], repeats=50)
    assert found.curve["share"].tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1]) and found.curve["effect"].tolist() == pytest.approx([0, 0.25, 0.25, 0.5, 0.25])
    area = 0.25 * (0.25 / 2 + 0.25 + (0.25 + 0.5) / 2 + (0.5 + 0.25) / 2)
    assert found.auuc == pytest.approx(area) and found.coefficient == pytest.approx(area - 0.125) and found.ate == pytest.approx(0.25)
    assert found.relative == pytest.approx((area - 0.125) / 0.25)   # causalml: the curve by its end, less the line from 0 to 1
    assert found.table["observed"].tolist() == pytest.approx([1, 0, 1, -1]) and found.table["predicted"].tolist() == [4, 3, 2, 1]
    # scikit-uplift's perfect order: treated who came, then all who tell nothing, then the control who came; Q = 60, 60, 30 of 120 treated at 60, 210, 240 customers
    perfect = np.trapezoid([0, 60, 60, 30], [0, 60, 210, 240]) - 30 * 240 / 2
    assert found.coefficient * 120 * 240 / perfect == pytest.approx((np.trapezoid([0, 30, 30, 60, 30], [0, 60, 120, 180, 240]) - 3600) / perfect)


def slow_curve(uplift, arm, y):
    """By definition, one point a distinct value."""
    points = [(0.0, 0.0)]
    for v in sorted(set(uplift), reverse=True):
        first = uplift >= v
        t, c = first & (arm == 1), first & (arm == 0)
        if c.any():
            points.append((first.mean(), (y[t].sum() - y[c].sum() * t.sum() / c.sum()) / arm.sum()))
    return np.array(points).T


@pytest.mark.parametrize("digits", [0, 1, 6])
def test_the_curve_is_the_definition_and_ties_have_no_order(digits):
    rng = np.random.default_rng(digits)
    uplift, arm, y = rng.normal(size=150).round(digits), rng.integers(0, 2, 150), rng.normal(size=150)
    found = qini(uplift, arm, y, repeats=50)
    share, q = slow_curve(uplift, arm, y)
    assert found.curve["share"].tolist() == pytest.approx(share) and found.curve["effect"].tolist() == pytest.approx(q)
    assert found.coefficient == pytest.approx(np.trapezoid(q, share) - q[-1] / 2) and found.ate == pytest.approx(arms_effect(arm == 1, y)[0])
    mixed = rng.permutation(150)
    again = qini(uplift[mixed], arm[mixed], y[mixed], repeats=50)
    assert again.coefficient == pytest.approx(found.coefficient, abs=1e-12) and again.error == pytest.approx(found.error) and again.curve.equals(found.curve) or np.allclose(again.curve, found.curve)
    shifted = qini(uplift, arm, y + 1000, repeats=50)
    assert shifted.coefficient == pytest.approx(found.coefficient) and shifted.error == pytest.approx(found.error)


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_orders_by_chance_are_called_so(share):
    """150 worlds: the binomial's 99.9 % range around .95 is .891 to 1."""
    inside = 0
    for seed in range(150):
        _, arm, y, _ = trial(500, seed, share=share)
        found = qini(np.random.default_rng(seed + 1000).random(500), arm, y, repeats=50)
        inside += found.low <= 0 <= found.high
    assert 0.891 <= inside / 150 <= 1


def test_the_interval_holds_the_area_of_the_true_order():
    """The effect is .8 for the first half: the curve rises to .4 at one half, and the area is .4 × .5 / 2 + .4 × .5 - .4 / 2 = .1; range as above."""
    inside = 0
    for seed in range(150):
        _, arm, y, tau = trial(500, seed)
        found = qini(tau, arm, y, repeats=50)
        inside += found.low <= 0.1 <= found.high
    assert 0.891 <= inside / 150 <= 1


def test_truth_beats_the_model_beats_chance():
    """On average of ten worlds; the true order's area is .1."""
    areas = []
    for seed in range(10):
        x, arm, y, tau = trial(800, seed)
        told = Uplift(base="linear").fit(x, arm, y, 0.5).foretold_
        areas.append([qini(one, arm, y, repeats=50).coefficient for one in (tau, told, np.random.default_rng(seed).random(800))])
    truth, learnt, chance = np.mean(areas, axis=0)
    assert 0.12 > truth > learnt > 0.05 > 0.02 > abs(chance)


def test_pictures_and_parts():
    x, arm, y, tau = trial(4000, 0)
    model = Uplift().fit(x, arm, y, 0.5)
    learnt, chance = (qini(one, arm, y, repeats=200) for one in (model.foretold_, np.random.default_rng(0).random(4000)))
    assert "The best 30% of customers hold" in learnt.plot().layout.title.text and "no better than chance" in chance.plot().layout.title.text
    assert "worse than chance" in qini(-tau, arm, y).plot().layout.title.text
    none = qini(tau, arm, y - 0.4 * arm, repeats=200)   # half gain what the others lose
    assert "Treating the best 30% brings" in none.plot().layout.title.text
    assert "parts of the list hold the predicted effect" in learnt.plot("calibration").layout.title.text
    held = learnt.frame()
    assert held["customers"].sum() == 4000 and held["treated"].sum() == arm.sum() and held["predicted"].is_monotonic_decreasing and len(learnt.curve) == 201
    assert held["predicted"].between(held["low"], held["high"]).sum() >= 7   # of ten, each with .95: fewer have a probability of .001


def test_one_uplift_for_all_is_no_order():
    _, arm, y, _ = trial(400, 0)
    found = qini(np.full(400, 0.3), arm, y)
    assert found.coefficient == pytest.approx(0, abs=1e-15) and found.error == pytest.approx(0, abs=1e-15) and len(found.table) == 1 and "399 customers" in found.notes[0]
    assert "no better than chance" in found.plot().layout.title.text and found.plot("calibration").data


def test_bad_input_of_qini():
    _, arm, y, tau = trial(100, 0)
    for given, said in (((tau[:-1], arm, y), "uplift of shape"), ((tau * np.nan, arm, y), "100 are none"), ((["a"] * 100, arm, y), "uplift"), ((tau, arm * 2, y), "neither 0"), ((tau, arm * 0, y), "at least 20"),
                        ((tau, arm, y * np.nan), "missing or infinite"), ((tau, arm, y[1:]), "shape"), ((tau, arm, y, 10), "repeats"), ((tau, arm, y, 100, -1), "seed")):
        with pytest.raises(ParameterError, match=said):
            qini(*given)
    with pytest.raises(ParameterError, match="what"):
        qini(tau, arm, y).plot("gain")


# targets

def test_targets_by_hand():
    arm, y = np.resize([1, 0], 80), np.r_[np.resize([3.0, 1.0, 5.0, 1.0], 40), np.resize([1.0, 1.0], 40)]
    plan = targets(np.r_[np.full(40, 2.0), np.zeros(40)], 10.0, np.r_[np.full(40, 4.0), np.full(40, 1.0)], arm, y)
    assert plan.called.tolist() == [True] * 40 + [False] * 40 and plan.worth.tolist() == [16.0] * 40 + [-1.0] * 40
    assert plan.profit == pytest.approx(40 * 10 * 3 - 160) and plan.frame()["predicted"].tolist() == [640, -40, 600]
    error = 40 * 10 * np.sqrt(np.resize([3.0, 5.0], 20).var(ddof=1) / 20)
    assert plan.profit_high - plan.profit == pytest.approx(1.959964 * error)
    assert plan.frame()["profit"].tolist() == pytest.approx([1040, -40, 80 * 10 * 1.5 - 200]) and plan.frame()["customers"].tolist() == [40, 40, 80]
    assert "Treating 50.0% of customers brings 1\u202f040" in plan.plot("EUR").layout.title.text


def test_values_of_their_own():
    arm, y = np.resize([1, 0], 80), np.resize([2.0, 1.0], 80)
    value = np.r_[np.full(40, 10.0), np.full(40, 1.0)]
    plan = targets(np.ones(80), value, 5.0, arm, y)
    assert plan.called.sum() == 40 and plan.profit == pytest.approx(40 * (10 - 5))


def test_without_an_experiment_the_profit_is_predicted():
    plan = targets([0.5, 0.1, 0.3], 10.0, 2.0)
    assert plan.called.tolist() == [True, False, True] and plan.profit == pytest.approx(3 + 1) and np.isnan(plan.profit_low) and plan.frame()["profit"].isna().all()
    assert "Treating 66.7%" in plan.plot().layout.title.text
    nobody = targets([0.1], 1.0, 2.0)
    assert nobody.profit == 0 and "nobody" in nobody.plot().layout.title.text


def test_the_profit_lies_in_its_interval():
    """200 worlds and poor predictions: the binomial's 99.9 % range around .95 is .895 to .99; the truth is that of customers like these."""
    inside = 0
    for seed in range(200):
        _, arm, y, tau = trial(600, seed)
        plan = targets(tau + np.random.default_rng(seed).normal(0, 0.5, 600), 10.0, 4.0, arm, y)
        inside += plan.profit_low <= (10 * tau - 4)[plan.called].sum() <= plan.profit_high
    assert 0.895 <= inside / 200 <= 0.99


def test_bad_input_of_targets():
    _, arm, y, tau = trial(100, 0)
    for given, said in (((tau, [1.0], 1.0), "value of shape"), ((tau, 1.0, -1.0), "below 0"), ((tau, 1.0, np.nan), "cost of shape"), ((tau, "a", 1.0), "value"), ((tau, 1.0, 1.0, arm), "give both"), ((tau, 1.0, 1.0, arm[:50], y[:50]), "50 rows"),
                        (([], 1.0, 1.0), "at least one customer"), ((tau + np.inf, 1.0, 1.0), "uplift of shape"), ((tau, 1.0, 1.0, arm * 0, y), "at least 20")):
        with pytest.raises(ParameterError, match=said):
            targets(*given)
