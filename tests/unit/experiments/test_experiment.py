"""An experiment from exposures to the readout: planted effects, hand-made looks, and words that claim what intervals hold."""

import datetime as dt
import re
from functools import lru_cache

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tenant_lab.core.errors import ParameterError, SchemaError
from tenant_lab.core.results import format_number
from tenant_lab.demo.aurora import simulate
from tenant_lab.experiments.always import AlwaysValid, Peek
from tenant_lab.experiments.experiment import Experiment, looks_at
from tenant_lab.experiments.fixed import effects
from tenant_lab.experiments.measures import Measure
from tenant_lab.experiments.metrics import Mean, Proportion, Quantile
from tenant_lab.experiments.moments import moments
from tenant_lab.experiments.multiplicity import dunnett
from tenant_lab.experiments.plan import Plan, read_plan
from tenant_lab.experiments.readout import Readout, effect_words
from tenant_lab.experiments.sequential import GroupSequential, Look

START, END = pd.Timestamp("2024-05-01"), pd.Timestamp("2024-05-15")
PLAN = Plan({"old": 0.5, "new": 0.5}, "old", START, END)
LATE = "2024-05-31"


def shop(n=2000, seed=1, lifts=(0.0, 0.1), names=("old", "new"), shares=None, back=0.2):
    """Exposures over two weeks, one order of each customer within a week, and returns of a share `back` of customers (by arm)."""
    rng = np.random.default_rng(seed)
    who, arm = np.array([f"c{i:05d}" for i in range(n)]), rng.choice(len(names), n, p=shares)
    at = START + pd.to_timedelta(rng.uniform(0, 14 * 86_400e6, n).astype("int64"), unit="us")
    later = at + pd.to_timedelta(rng.uniform(0, 7 * 86_400e6, n).astype("int64"), unit="us")
    bought = pd.DataFrame({"customer_id": who, "at": later, "amount": rng.normal(20, 6, n) * (1 + np.array(lifts)[arm])})
    gone = rng.random(n) < np.broadcast_to(back, len(names))[arm]
    return pd.DataFrame({"customer_id": who, "variant": np.array(names)[arm], "exposed_at": at}), bought, bought.loc[gone, ["customer_id", "at"]]


def page(tables, plan=PLAN, metrics=None, days=7, **options):
    exposures, bought, back = tables
    metrics = metrics or [Mean("revenue"), Proportion("returned", direction="decrease")]
    return Experiment(exposures, metrics, plan, [Measure("revenue", bought, "at", "amount", days=days), Measure("returned", back, "at", days=days, any=True)], **options)


@lru_cache
def usual() -> Readout:
    return page(shop(4000), guardrails={"returned": 0.4}, name="page").analyze(LATE)


# -- the plan ---------------------------------------------------------------------------------------------------------

PLANS = pd.DataFrame({"experiment": ["page", "page", "price", "price"], "variant": ["old", "new", "a", "b"], "planned_share": [1.0, 2.0, 0.5, 0.5], "is_control": [True, False, False, True]})


def test_a_plan_is_read():
    assert read_plan(PLANS, "page") == Plan({"old": 1.0, "new": 2.0}, "old")
    assert read_plan(PLANS, "price").control == "b"
    more = PLANS.assign(start=pd.Timestamp("2024-05-01", tz="Europe/Paris"), end=pd.NaT, primary_metric="plays", direction=None, unit="customer")
    assert read_plan(more, "page") == Plan({"old": 1.0, "new": 2.0}, "old", pd.Timestamp("2024-05-01", tz="Europe/Paris"), None, "plays", None)
    for frame in (pl.from_pandas(PLANS), pa.Table.from_pandas(PLANS), duckdb.from_df(PLANS), PLANS.assign(is_control=[1, 0, 0, 1])):
        assert read_plan(frame, "page").shares == {"old": 1.0, "new": 2.0}


@pytest.mark.parametrize(("plans", "name", "kind", "message"), [
    (PLANS.drop(columns="planned_share"), "page", SchemaError, "experiments lacks planned_share"), (PLANS, "prise", ParameterError, "experiment 'prise': there are page, price"), (PLANS.head(0), "page", ParameterError, "there are none"),
    (PLANS.assign(unit="session"), "page", ParameterError, "sessions were randomised"), (PLANS.assign(is_control=True), "page", SchemaError, "exactly one of them the control"), (PLANS.assign(is_control=False), "page", SchemaError, "exactly one of them the control"),
    (PLANS.assign(is_control=["yes", "no", "no", "no"]), "page", SchemaError, "exactly one of them the control"), (PLANS.assign(is_control=[True, None, False, False]), "page", SchemaError, "exactly one of them the control"),
    (PLANS.assign(variant="old"), "page", SchemaError, "each variant once"), (PLANS.assign(planned_share=0.0), "page", SchemaError, "planned shares above 0"), (PLANS.assign(planned_share=float("nan")), "page", SchemaError, "planned shares above 0"),
    (PLANS.assign(planned_share="half"), "page", SchemaError, "planned shares above 0"), (PLANS.head(1), "page", ParameterError, "needs two variants or more")])
def test_plans_that_cannot_be(plans, name, kind, message):
    with pytest.raises(kind) as error:
        read_plan(plans, name)
    assert message in str(error.value)


@pytest.mark.parametrize(("options", "message"), [
    ({"control": "c"}, "control 'c': the plan has a, b; needs the control among them"), ({"shares": {"a": 1}}, "needs two variants or more"), ({"shares": {}}, "needs two variants or more"), ({"shares": ["a", "b"]}, "needs the weight of each variant by its name"),
    ({"shares": None}, "needs the weight of each variant by its name"), ({"shares": {"a": 1, "b": 1, "c": 0}}, "needs weights above 0"), ({"shares": {"a": 1, "b": "half"}}, "planned['b'] 'half': needs a number"), ({"end": "2024-05-15"}, "end '2024-05-15': needs a date"),
    ({"start": pd.NaT}, "start NaT: needs a date"), ({"primary": 3}, "primary 3: needs the name of a metric"), ({"direction": "up"}, "direction 'up': allowed are increase, decrease"),
    ({"control": ["a"]}, "control ['a']: the plan has a, b"), ({"start": dt.date(2024, 5, 2), "end": dt.datetime(2024, 5, 1, 12)}, "needs an end after the start")])
def test_a_plan_by_hand_that_cannot_be(options, message):
    with pytest.raises(ParameterError) as error:
        Plan(**{"shares": {"a": 1, "b": 1}, "control": "a", **options})
    assert message in str(error.value)


# -- words ------------------------------------------------------------------------------------------------------------

def row(**given):
    usual = {"metric": "orders", "relative": 0.1, "relative_low": 0.05, "relative_high": 0.15, "effect": 2.0, "low": 1.0, "high": 3.0, "better": True}
    return pd.Series({**usual, **given}, dtype=object)


def test_words_of_effects():
    assert effect_words(row()) == "orders rose by 10.0% (between 5.0% and 15.0%)"
    assert effect_words(row(relative=-0.1, relative_low=-0.15, relative_high=-0.05, better=False)) == "orders fell by 10.0% (between −15.0% and −5.0%)"
    for nothing in (None, float("nan")):
        assert effect_words(row(relative_low=-0.02, better=nothing)) == "no change of orders is shown (it lies between −2.0% and 15.0%)"
    assert effect_words(row(relative_low=float("nan"), relative_high=float("nan"))) == "orders rose by 2.00 (between 1.00 and 3.00)"
    assert effect_words(row(relative_high=float("inf"), better=None, low=-1.0)) == "no change of orders is shown (it lies between −1.00 and 3.00)"


CLAIM = re.compile(r"(\w+) (rose|fell) by \S+ \(between (\S+) and (\S+?)\)")


@pytest.mark.parametrize("seed", range(6))
def test_the_text_claims_what_the_interval_holds(seed):
    """Whatever is said to have risen or fallen has its whole interval on that side; whatever has not, is not said to have."""
    lift = (0.0, 0.02, 0.04)[seed % 3]
    found = page(shop(1500, seed, (0.0, lift), back=(0.2, 0.25))).analyze(LATE)
    said = {name: (word, *(float(one.rstrip("%").replace("−", "-")) for one in ends)) for name, word, *ends in CLAIM.findall(found.text())}
    for one in found.effects.table.itertuples():
        if one.metric in said:
            word, low, high = said[one.metric]
            assert (low > 0 and one.relative_low > 0) if word == "rose" else (high < 0 and one.relative_high < 0)
        else:
            assert one.better is None and one.relative_low < 0 < one.relative_high


def test_a_share_is_not_said_to_have_risen_where_its_interval_holds_0():
    """28 and 43 of 200: the test says p = 0.0497, the interval of the ratio begins at -0.07 %."""
    hits = np.r_[np.arange(200) < 28, np.arange(200) < 43].astype(int)
    exposures = pd.DataFrame({"customer_id": np.arange(400), "variant": ["old"] * 200 + ["new"] * 200, "exposed_at": START})
    found = Experiment(exposures, [Proportion("hit")], PLAN, traits=pd.DataFrame({"customer_id": np.arange(400), "hit": hits})).analyze(LATE)
    low = found.effects.row("hit").relative_low
    assert ("rose" in found.text()) == (low > 0)


# -- a test of fixed size ---------------------------------------------------------------------------------------------

def test_a_planted_effect_is_found():
    found = usual()
    own, back = found.effects.row("revenue"), found.effects.row("returned")
    assert own.low < 2 < own.high and 0 < own.relative_low < 0.1 < own.relative_high and own.better is True
    assert back.relative_low < 0 < back.relative_high and back.better is None
    decision = found.decisions["new"]
    assert [(one.question, one.state) for one in decision.reasons] == [("split", "right"), ("guardrail returned", "right"), ("primary revenue", "right")] and decision.decision == "ship"
    assert found.text().startswith("page: 4\u202f000 customers saw a variant until 31 May 2024. Under new revenue rose by ") and "Decision for new: ship. Why: the arms have the sizes that were planned; returned: worse by less than 40.0% (at worst " in found.text()
    assert found.frame()[["metric", "role"]].to_numpy().tolist() == [["revenue", "primary"], ["returned", "guardrail"]]
    assert "Better: revenue" in found.plot().layout.title.text and found.history == {} and found.name == "page" and found.primary == "revenue"
    assert repr(found).startswith("Readout(name='page'") and found.as_of == dt.datetime(2024, 6, 1)


def test_effects_are_those_of_the_moments():
    found = usual()
    whole = effects(moments(found.units.table, [Mean("revenue"), Proportion("returned", direction="decrease")]), "old")
    for name in ("revenue", "returned"):
        for column in ("effect", "low", "high", "p", "relative_low", "relative_high"):
            assert found.effects.row(name)[column] == pytest.approx(whole.row(name)[column], rel=1e-9)


def test_other_metrics_are_corrected_for_their_number():
    tables = shop(1500, 3)
    traits = pd.DataFrame(np.random.default_rng(3).normal(5, 1, (1500, 4)), columns=list("uvwx")).assign(customer_id=tables[0]["customer_id"])
    metrics = [Mean("revenue"), *(Mean(one) for one in "uvwx")]
    for correction in ("holm", "bonferroni", "none"):
        found = page(tables, metrics=metrics, traits=traits, correction=correction, guardrails={"u": 0.1}).analyze(LATE).effects
        whole = effects(moments(page(tables, traits=traits).units(LATE).table, metrics), "old", list("vwx"), correction=correction)
        assert found.table.set_index("metric").loc[list("vwx"), "p_adjusted"].tolist() == pytest.approx(whole.table["p_adjusted"].tolist())
        assert found.row("revenue").p_adjusted == found.row("revenue").p and found.row("u").p_adjusted == found.row("u").p
    assert page(tables, metrics=metrics, traits=traits, guardrails={"u": 0.1}).analyze(LATE).frame()["role"].tolist() == ["primary", "guardrail", "other", "other", "other"]


@pytest.mark.parametrize(("plan", "as_of", "why"), [
    (PLAN, "2024-05-13", "a test of fixed size is read once, at its end (15 May 2024)"), (Plan(PLAN.shares, "old"), LATE, "a test of fixed size is read once, at its end, and none is planned"), (PLAN, "2024-05-18", "customers are not whole yet")])
def test_before_the_end_it_waits(plan, as_of, why):
    found = page(shop(), plan=plan, guardrails={"returned": 0.4}).analyze(as_of)
    decision = found.decisions["new"]
    assert decision.decision == "hold" and [one.question for one in decision.reasons] == ["split", "time"] and why in decision.why()
    assert "rose" not in found.text() and "fell" not in found.text() and "no change" not in found.text()


def test_customers_count_when_their_window_is_over():
    tables = shop()
    found = page(tables).analyze("2024-05-18")
    seen = tables[0]
    whole = seen["exposed_at"] + pd.Timedelta(days=7) <= pd.Timestamp("2024-05-19")
    assert found.effects.row("revenue").n_control + found.effects.row("revenue").n == whole.sum() < len(seen)
    assert f"{(~whole).sum()} customers were exposed less than 7 days ago: their outcomes are not whole, and do not count yet" in found.notes
    assert len(found.units.table) == len(seen)   # the split is checked with all
    with pytest.raises(ParameterError, match="a variant has no customer yet who was seen for 7 days; look again later, or shorten the measures"):
        page(tables).analyze("2024-05-05")


def test_a_broken_split_holds_all():
    found = page(shop(shares=(0.56, 0.44)), guardrails={"returned": 0.4}, design=AlwaysValid(2000)).analyze(LATE)
    assert found.split.broken and found.effects is None and found.margins == {} and found.history == {} and found.made is None
    assert [(one.decision, one.why()) for one in found.decisions.values()] == [("hold", found.split.verdict)]
    assert found.frame().equals(found.split.frame()) and found.plot().layout.title.text == found.split.verdict
    assert "no effect is read until it is known why" in found.text() and "rose" not in found.text() and found.split.verdict in found.text()


@pytest.mark.parametrize(("lift", "direction", "decision"), [(0.1, "increase", "ship"), (0.1, "decrease", "stop"), (-0.1, "increase", "stop"), (-0.1, "decrease", "ship"), (0.0, "increase", "hold"), (0.0, "decrease", "hold")])
def test_which_way_is_better(lift, direction, decision):
    found = page(shop(4000, 2, (0.0, lift)), metrics=[Mean("revenue", direction=direction)]).analyze(LATE)
    assert found.decisions["new"].decision == decision
    assert ("rose" if lift > 0 else "fell" if lift < 0 else "no change of") in found.text()


@pytest.mark.parametrize(("direction", "back", "margin", "state", "words"), [
    ("decrease", (0.2, 0.2), 0.4, "right", "returned: worse by less than 40.0% (at worst "), ("decrease", (0.2, 0.21), 0.05, "open", "returned: not shown to be worse by less than 5.0% (at worst "), ("decrease", (0.2, 0.4), 0.2, "wrong", "returned: worse by more than 20.0% (at worst "),
    ("increase", (0.4, 0.2), 0.1, "wrong", "returned: worse by more than 10.0% (at worst "), ("increase", (0.2, 0.4), 0.1, "right", "returned: worse by less than 10.0% (at worst ")])
def test_guardrails(direction, back, margin, state, words):
    found = page(shop(4000, 5, back=back), metrics=[Mean("revenue"), Proportion("returned", direction=direction)], guardrails={"returned": margin}).analyze(LATE)
    reason = found.decisions["new"].reasons[1]
    assert (reason.question, reason.state) == ("guardrail returned", state) and reason.finding.startswith(words)
    assert found.decisions["new"].decision == {"right": "ship", "open": "hold", "wrong": "stop"}[state]
    t = found.margins["returned"].table.iloc[0]
    assert found.margins["returned"].alpha == 0.025
    worst = -t["high"] if direction == "decrease" else t["low"]
    assert f"(at worst {format_number(abs(worst), '%')} {'worse' if worst < 0 else 'better'})" in reason.finding


def test_what_is_not_worth_it_stops():
    for lift, direction, state in ((0.0, "increase", "wrong"), (0.0, "decrease", "wrong"), (0.1, "increase", "right")):
        found = page(shop(6000, 4, (0.0, lift)), metrics=[Mean("revenue", direction=direction)], worthwhile=0.05).analyze(LATE)
        reason = found.decisions["new"].reasons[-1]
        assert reason.state == state and ("less than the 5.0% that would be worth it" in reason.finding) == (state == "wrong")
    assert page(shop(100, 4, (0.0, 0.0)), metrics=[Mean("revenue")], worthwhile=0.01).analyze(LATE).decisions["new"].decision == "hold"


def test_a_sure_effect_that_is_not_worth_it_stops_too():
    """An effect between 1 % and 3 % excludes the 20 % that would be worth it."""
    found = page(shop(20_000, 4, (0.0, 0.02)), metrics=[Mean("revenue")], worthwhile=0.2).analyze(LATE)
    assert found.effects.row("revenue").relative_high < 0.2 and found.decisions["new"].decision == "stop"


FOUR = Plan({"old": 2, "a": 1, "b": 1, "c": 1}, "old", START, END)


def four(**options):
    return page(shop(4000, 6, (0.0, 0.0, 0.1, -0.1), ("old", "a", "b", "c"), (0.4, 0.2, 0.2, 0.2)), plan=FOUR, **options)


def test_several_treatments():
    found = four(metrics=[Mean("revenue")]).analyze(LATE)
    t = found.effects.table
    joint = dunnett(t["effect"].to_numpy(), t["control_variance"].iloc[0], t["variance"].to_numpy(), t["df"].min(), 0.05)
    assert t["variant"].tolist() == ["a", "b", "c"] and t["p_adjusted"].tolist() == pytest.approx(joint.frame()["p"].tolist(), abs=1e-4)
    assert (t["high"] - t["effect"]).tolist() == pytest.approx((joint.critical * t["standard_error"]).tolist(), rel=1e-3) and (t["p_adjusted"] >= t["p"]).all()
    assert {name: one.decision for name, one in found.decisions.items()} == {"a": "hold", "b": "ship", "c": "stop"}
    assert re.findall(r"Decision for (\w): (\w+)", found.text()) == [("a", "hold"), ("b", "ship"), ("c", "stop")]


def test_quantiles_of_several_treatments_are_corrected_by_holm():
    t = four(metrics=[Quantile("revenue"), Mean("returned")], guardrails={"returned": 0.5}).analyze(LATE).effects.table.query("metric == 'revenue q0.5'")
    order = np.argsort(t["p"].to_numpy())
    assert t["p_adjusted"].to_numpy()[order] == pytest.approx(np.minimum(np.maximum.accumulate(t["p"].to_numpy()[order] * [3, 2, 1]), 1))


def test_a_quantile_may_be_all_that_is_asked():
    assert page(shop(1000), metrics=[Quantile("revenue")]).analyze(LATE).effects.row("revenue q0.5").n_control > 400


# -- designs with looks -----------------------------------------------------------------------------------------------

def look_by_hand(tables, until, variant="new", control="old"):
    """Customers of both arms, effect and standard error of those exposed a week before the end of the day `until`."""
    exposures, bought, _ = tables
    rows = exposures.merge(bought, on="customer_id")
    rows = rows[rows["exposed_at"] + pd.Timedelta(days=7) <= pd.Timestamp(until) + pd.Timedelta(days=1)]
    a, b = (rows.loc[rows["variant"] == arm, "amount"] for arm in (control, variant))
    return len(a) + len(b), b.mean() - a.mean(), np.sqrt(a.var() / len(a) + b.var() / len(b))


def test_a_group_sequential_history_is_that_of_looks_by_hand():
    tables, design = shop(2000, 7, (0.0, 0.03)), GroupSequential(looks=[0.4, 0.7, 1])
    days = ["2024-05-13", "2024-05-16", "2024-05-20"]
    for n in (1, 2, 3):
        found = page(tables, design=design, planned_n=2000).analyze(days[n - 1], looked=days[:n - 1])
        hand = design.monitor([Look(size / 2000, effect, error) for size, effect, error in (look_by_hand(tables, day) for day in days[:n])])
        pd.testing.assert_frame_equal(found.history["new"].frame(), hand.frame(), rtol=1e-6)
        own, last = found.effects.row("revenue"), hand.frame().iloc[hand.look - 1]
        if hand.look == n:
            assert (own.low, own.high, own.p_adjusted) == tuple(pytest.approx(last[one], rel=1e-6) for one in ("low", "high", "p_value"))
        assert [one.question for one in found.decisions["new"].reasons] == ["split", "primary revenue"]   # no waiting


def test_an_always_valid_history_is_that_of_days_by_hand():
    tables, design = shop(2000, 8), AlwaysValid(2000, first=100)
    found = page(tables, design=design).analyze("2024-05-18")
    days = pd.date_range("2024-05-08", "2024-05-18").strftime("%Y-%m-%d")
    looks = [look_by_hand(tables, day) for day in days]
    hand = design.monitor([Peek(*one) for one in looks if one[0] > 3]).frame()
    pd.testing.assert_frame_equal(found.history["new"].frame().tail(len(hand)).reset_index(drop=True), hand, rtol=1e-6, check_dtype=False)
    own, last = found.effects.row("revenue"), hand.iloc[-1]
    assert (own.low, own.high, own.p_adjusted) == tuple(pytest.approx(last[one], rel=1e-6) for one in ("running_low", "running_high", "p"))
    fixed = page(tables).analyze(LATE).effects.row("revenue")
    assert own.high - own.low > fixed.high - fixed.low and own.relative_low < 0.1 < own.relative_high


def test_looks_are_blind_to_what_came_later():
    """A look that is told again later is the look of then."""
    tables = shop(2000, 9)
    options = {"design": GroupSequential(looks=[0.5, 1]), "planned_n": 2000}
    then = page(tables, **options).analyze("2024-05-14").history["new"].frame().iloc[0]
    again = page(tables, **options).analyze(LATE, looked=["2024-05-14"]).history["new"].frame().iloc[0]
    assert again[["fraction", "estimate", "standard_error", "critical"]].tolist() == pytest.approx(then[["fraction", "estimate", "standard_error", "critical"]].tolist())
    days = [page(tables, design=AlwaysValid(2000)).analyze(day).history["new"].frame() for day in ("2024-05-16", LATE)]
    pd.testing.assert_frame_equal(days[0].head(8), days[1].head(8), rtol=1e-9)


def test_too_early_to_have_seen_anything():
    with pytest.raises(ParameterError, match="looked 2024-05-03: at one of these days an arm had no two customers whose window was over"):
        page(shop(500), design=GroupSequential(looks=[0.5, 1]), planned_n=500).analyze(LATE, looked=["2024-05-03"])


def test_a_history_without_a_design_is_always_valid():
    experiment = page(shop(800))
    found = experiment.analyze(LATE)
    history = looks_at(experiment, found.made, "new")
    assert history.frame()["n"].iloc[-1] == 800 and len(history.frame()) == 14
    hand = AlwaysValid(800).monitor([Peek(*look_by_hand(shop(800), day)) for day in pd.date_range("2024-05-08", "2024-05-21").strftime("%Y-%m-%d")])
    pd.testing.assert_frame_equal(history.frame(), hand.frame(), rtol=1e-6, check_dtype=False)


def test_an_outcome_that_does_not_vary_yet_is_no_look():
    exposures, bought, back = shop(600, 3)
    day = exposures["exposed_at"].dt.date
    bought.loc[(day <= dt.date(2024, 5, 3)).to_numpy(), "amount"] = 5.0
    found = page((exposures, bought, back), design=AlwaysValid(600)).analyze(LATE).history["new"].frame()
    assert len(found) == 11


# -- customers --------------------------------------------------------------------------------------------------------

def test_who_came_before_the_start_or_after_the_end_is_left_out():
    exposures, bought, back = shop(1000)
    moved = exposures.assign(exposed_at=exposures["exposed_at"] + pd.Timedelta(days=2))
    found = page((moved, bought.assign(at=bought["at"] + pd.Timedelta(days=2)), back)).analyze(LATE)
    n = int((moved["exposed_at"] < END).sum())
    assert len(found.units.table) == n < 1000 and f"{1000 - n} exposures before the start or from the end on are left out" in found.notes
    early = page((exposures.assign(exposed_at=exposures["exposed_at"] - pd.Timedelta(days=2)), bought, back)).units(LATE)
    assert (early.table["exposed_at"] >= START).all() and len(early.table) < 1000
    assert len(page(shop(1000), plan=Plan(PLAN.shares, "old")).units(LATE).table) == 1000


def test_several_experiments_in_one_table():
    tables = shop(1000)
    other = tables[0].assign(variant=np.random.default_rng(1).choice(["old", "new", "newest"], 1000), exposed_at=tables[0]["exposed_at"] - pd.Timedelta(hours=5))
    both = pd.concat([tables[0].assign(experiment="page"), other.assign(experiment="price")], ignore_index=True)
    want = page(tables, name="page").units(LATE).frame()
    for frame in (both, pl.from_pandas(both), pl.from_pandas(both).lazy(), pa.Table.from_pandas(both), duckdb.from_df(both)):
        pd.testing.assert_frame_equal(page((frame, *tables[1:]), name="page").units(LATE).frame(), want, check_dtype=False)
    with pytest.raises(SchemaError, match="exposures.variant: newest of price are not in the plan, which has old, new"):
        page((both, *tables[1:]), name="price", plan=Plan(PLAN.shares, "old")).analyze(LATE)


@pytest.mark.parametrize("crossed", ["first", "exclude"])
def test_exposures_after_the_end_change_nothing(crossed):
    """After the experiment everybody sees the new page, and the log goes on: those exposures do not count."""
    exposures, bought, back = shop(1000)
    rollout = pd.concat([exposures, exposures.assign(variant="new", exposed_at=END + pd.Timedelta(days=3))], ignore_index=True)
    found, want = (page((seen, bought, back), crossed=crossed).units(LATE).frame() for seen in (rollout, exposures))
    pd.testing.assert_frame_equal(found, want)


@pytest.mark.parametrize("crossed", ["first", "exclude"])
def test_exposures_before_the_start_change_nothing(crossed):
    """Before it began, a tester saw the new page: that exposure does not count, the one in the experiment does."""
    exposures, bought, back = shop(1000)
    tested = pd.concat([exposures, exposures.head(50).assign(variant="new", exposed_at=START - pd.Timedelta(days=3))], ignore_index=True)
    found, want = (page((seen, bought, back), crossed=crossed).units(LATE).frame() for seen in (tested, exposures))
    pd.testing.assert_frame_equal(found, want)


def test_nothing_from_as_of_on_changes_the_readout():
    exposures, bought, back = shop(1500, 11)
    as_of = dt.datetime(2024, 5, 17, 13, 30)
    rng = np.random.default_rng(11)
    later = as_of + pd.to_timedelta(np.r_[0, rng.uniform(0, 20, 999)], unit="D")
    new = pd.DataFrame({"customer_id": rng.choice(exposures["customer_id"], 1000), "variant": "new", "exposed_at": later})
    did = pd.DataFrame({"customer_id": rng.choice(exposures["customer_id"], 1000), "at": later, "amount": 1e6})
    known = page((exposures[exposures["exposed_at"] < as_of], bought[bought["at"] < as_of], back[back["at"] < as_of]), design=AlwaysValid(1500)).analyze(as_of)
    found = page((pd.concat([exposures, new]), pd.concat([bought, did]), pd.concat([back, did])), design=AlwaysValid(1500)).analyze(as_of)
    assert found.text() == known.text() and found.notes == known.notes
    pd.testing.assert_frame_equal(found.effects.frame(), known.effects.frame())


@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris"])
def test_plans_with_a_zone(zone):
    exposures, bought, back = shop(800)
    zoned = exposures.assign(exposed_at=exposures["exposed_at"].dt.tz_localize(zone)), bought.assign(at=bought["at"].dt.tz_localize(zone)), back.assign(at=back["at"].dt.tz_localize(zone))
    plan = Plan(PLAN.shares, "old", START.tz_localize(zone), END.tz_localize(zone))
    found = page(zoned, plan=plan).analyze(LATE)
    assert found.text() == page((exposures, bought, back)).analyze(LATE).text()
    assert "(15 May 2024)" in page(zoned, plan=plan).analyze("2024-05-13").text()
    for tables, other in ((zoned, PLAN), ((exposures, bought, back), plan)):
        with pytest.raises(SchemaError, match="exposures.exposed_at and start must both have a zone, or both none"):
            page(tables, plan=other).analyze(LATE)


def test_windows_and_names():
    experiment = page(shop(50))
    assert experiment.window == 7 and experiment.primary == "revenue"
    bought = shop(50)[1]
    assert Experiment(None, [Mean("m")], PLAN, [Measure("m", bought, "at", first=3, days=4), Measure("n", bought, "at", days=5), Measure("o", bought, "at", first=90)]).window == 7
    assert Experiment(None, [Mean("m"), Mean("n")], Plan(PLAN.shares, "old", primary="n")).primary == "n" and Experiment(None, [Mean("m")], PLAN).window == 0


def test_segments_are_kept():
    tables = shop(900)
    traits = pd.DataFrame({"customer_id": tables[0]["customer_id"], "country": np.resize(["FR", "DE", None], 900)})
    found = page(tables, traits=traits, segments=("country",), design=AlwaysValid(900)).analyze(LATE)
    assert found.made.by == ("country",) and set(found.made.groups["country"].dropna()) == {"FR", "DE"} and found.made.size.sum() == 900
    assert found.effects.row("revenue").effect == pytest.approx(page(tables).analyze(LATE).effects.row("revenue").effect)


@pytest.mark.parametrize(("options", "message"), [
    ({"plan": Plan(PLAN.shares, "old", primary="orders")}, "orders: no such metric; there are revenue, returned"), ({"guardrails": {"visits": 0.1, "clicks": 0.1}}, "clicks, visits: no such metric"), ({"guardrails": {"revenue": 0.1}}, "revenue decides, so it is no guardrail too"),
    ({"plan": Plan(PLAN.shares, "old", direction="decrease")}, "revenue: the plan wants it to decrease, the metric to increase; set direction= of the metric"), ({"design": GroupSequential()}, "planned_n: a group-sequential design needs to know"),
    ({"planned_n": 0}, "planned_n 0: needs a number above 0"), ({"worthwhile": 0}, "worthwhile 0: needs a number above 0"), ({"worthwhile": "5%"}, "worthwhile '5%': needs a number"), ({"planned_n": -5}, "planned_n -5: needs a number from 0"),
    ({"metrics": [Mean("revenue"), Mean("revenue")]}, "revenue stands there twice"), ({"plan": {"old": 1, "new": 1}}, "needs a Plan, by hand or of read_plan"), ({"design": "pocock"}, "design 'pocock': needs a GroupSequential, an AlwaysValid, or None"),
    ({"guardrails": ["returned"]}, "needs the margin of each metric by its name"), ({"correction": "tukey"}, "correction 'tukey': allowed are"), ({"crossed": "last"}, "crossed 'last': allowed are exclude, first"), ({"name": None}, "name None: needs text")])
def test_experiments_that_cannot_be(options, message):
    with pytest.raises(ParameterError) as error:
        page(shop(50), **options)
    assert message in str(error.value)


# -- odd plans and odd days ------------------------------------------------------------------------------------------

def test_days_instead_of_times():
    """Exposures, activity and plan may all be in days."""
    exposures, bought, back = shop(1000)
    dated = exposures.assign(exposed_at=exposures["exposed_at"].dt.date), bought.assign(at=bought["at"].dt.date), back.assign(at=back["at"].dt.date)
    plan = Plan(PLAN.shares, "old", START.date(), END.date())
    assert page(dated, plan=plan).analyze(LATE).decisions["new"].decision == "ship"
    assert page(dated, plan=plan).analyze("2024-05-13").decisions["new"].decision == "hold"


@pytest.mark.parametrize("days", [7, 7.5])
@pytest.mark.parametrize("kind", ["dates", "times"])
def test_looks_are_those_of_the_readouts_of_then(kind, days):
    exposures, bought, back = shop(1200)
    if kind == "dates":
        exposures, bought, back = exposures.assign(exposed_at=exposures["exposed_at"].dt.date), bought.assign(at=bought["at"].dt.date), back.assign(at=back["at"].dt.date)
    experiment = page((exposures, bought, back), plan=Plan(PLAN.shares, "old"), days=days, design=GroupSequential(looks=[0.5, 1]), planned_n=1200)
    then, again = experiment.analyze("2024-05-15").history["new"].frame(), experiment.analyze(LATE, looked=["2024-05-15"]).history["new"].frame()
    assert again["fraction"][0] == then["fraction"][0] and again["estimate"][0] == pytest.approx(then["estimate"][0])


def test_a_design_is_corrected_for_several_treatments_too():
    """One look at everybody is a test of fixed size: of three treatments its p-values are Dunnett's, not those of one."""
    rows = four(metrics=[Mean("revenue")]).analyze(LATE).effects.table
    looked = four(metrics=[Mean("revenue")], design=GroupSequential(looks=1), planned_n=2300).analyze(LATE).effects.table
    assert (looked["p_adjusted"] >= rows["p_adjusted"] * 0.99)[rows["p_adjusted"] > 1e-6].all()   # below, Student's t and the normal part


@pytest.mark.parametrize("design", [AlwaysValid(800, alpha=0.001), GroupSequential(looks=1, alpha=0.01)], ids=["always", "group"])
def test_a_design_of_another_level_claims_no_more_than_its_interval(design):
    for seed in range(3):
        try:
            found = page(shop(600, seed, (0.0, 0.06)), metrics=[Mean("revenue")], design=design, planned_n=600).analyze(LATE)
        except ParameterError as error:
            assert "alpha" in str(error)
            return
        own = found.effects.row("revenue")
        assert own.better is None or not own.low < 0 < own.high


def turned():
    """An effect that is large at first and turns later."""
    exposures, bought, back = shop(3000, 12, (0.0, 0.0))
    early = exposures["exposed_at"] < pd.Timestamp("2024-05-08")
    bought["amount"] += np.where(exposures["variant"] == "new", np.where(early, 4.0, -7.0), 0)
    return exposures, bought, back


def test_what_crossed_a_boundary_is_told_as_it_was_then():
    """It stopped for a rise at the first look; that later customers turned it around is no reason to say that it fell within an interval of the rise."""
    found = page(turned(), metrics=[Mean("revenue")], design=GroupSequential(looks=[0.5, 1]), planned_n=3000).analyze(LATE, looked=["2024-05-14"])
    own = found.effects.row("revenue")
    assert found.history["new"].decision == "efficacy" and found.history["new"].look == 1
    assert own.low <= own.effect <= own.high and own.better is True


def test_where_no_effect_lies_in_all_intervals_none_is_claimed():
    found = page(turned(), metrics=[Mean("revenue")], design=AlwaysValid(3000)).analyze(LATE)
    assert np.isnan(found.history["new"].frame()["running_low"].iloc[-1])
    assert "between – and –" not in found.text() and found.decisions["new"].decision == "hold"


def test_a_day_on_which_only_another_treatment_was_shown():
    exposures, bought, back = shop(1500, 13, (0.0, 0.1, 0.1), ("old", "a", "b"))
    late = exposures["exposed_at"] >= pd.Timestamp("2024-05-14")
    kept = exposures[~late | (exposures["variant"] == "b")]
    found = page((kept, bought, back), plan=Plan({"old": 1, "a": 1, "b": 1}, "old", START, END), metrics=[Mean("revenue")], design=AlwaysValid(1000)).analyze(LATE)
    assert len(found.history["a"].frame()) == 13


def test_days_on_which_nobody_was_added_who_counts():
    exposures, bought, back = shop(800)
    traits = pd.DataFrame({"customer_id": exposures["customer_id"], "vip": exposures["exposed_at"] < pd.Timestamp("2024-05-10")})
    found = page((exposures, bought, back), metrics=[Mean("revenue", filter="vip")], traits=traits, design=AlwaysValid(800)).analyze(LATE)
    assert len(found.history["new"].frame()) == 9


# -- aurora -----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def aurora():
    return simulate(4000, seed=7)


def of_aurora(world, name):
    t = world.tables
    orders = t["purchases"].to_pandas().query("kind == 'sale'").groupby(["customer_id", "order_id"], as_index=False)["purchased_at"].min()
    subscriptions = t["subscriptions"].to_pandas()
    measures = {"autoplay": Measure("plays", t["plays"], "at", days=28), "checkout": Measure("orders", orders, "purchased_at", days=28), "paywall": Measure("upgrade", subscriptions[subscriptions["end_reason"] == "upgrade"], "ended_at", days=28, any=True)}
    metric = Proportion("upgrade") if name == "paywall" else Mean(measures[name].name)
    return Experiment(t["exposures"], [metric], read_plan(t["experiments"], name), [measures[name]], name=name)


def test_aurora(aurora):
    end = "2025-06-30"
    truths = {one.experiment: one for one in aurora.truth.experiments}
    for name in ("autoplay", "checkout", "paywall"):
        experiment = of_aurora(aurora, name)
        assert experiment.plan.shares == {"control": 0.5, "treatment": 0.5} and experiment.plan.control == "control" and str(experiment.plan.start.tz) == "UTC"
        found = experiment.analyze(end)
        assert len(found.units.table) == aurora.tables["exposures"].to_pandas().query("experiment == @name")["customer_id"].nunique()
        if not found.split.broken:
            row = found.effects.row(experiment.primary)
            error = (row.relative_high - row.relative_low) / 3.92
            assert name == "paywall" or abs(row.relative - truths[name].lift) < 4.5 * error
        early = experiment.analyze(experiment.plan.end - pd.Timedelta(days=10))
        assert {one.decision for one in early.decisions.values()} == {"hold"}


@pytest.mark.parametrize("measures", [None, "orders", ["orders"], [None]])
def test_measures_that_cannot_be(measures):
    with pytest.raises(ParameterError, match="needs a Measure, or several"):
        Experiment(shop(10)[0], Mean("revenue"), PLAN, measures)


def test_one_metric_measure_and_segment_need_no_list():
    exposures, bought, _ = shop(400)
    traits, measure = exposures[["customer_id"]].assign(country=np.where(np.arange(400) % 2, "DE", "FR")), Measure("revenue", bought, "at", "amount", days=7)
    one, listed = (Experiment(exposures, *parts, traits=traits, segments=segments).analyze(LATE) for parts, segments in (((Mean("revenue"), PLAN, measure), "country"), (([Mean("revenue")], PLAN, [measure]), ["country"])))
    assert one.text() == listed.text() and one.made.by == ("country",)


@pytest.mark.parametrize("looked", ["2024-05-10", dt.date(2024, 5, 10), None])
def test_looks_are_a_list_of_days(looked):
    with pytest.raises(ParameterError, match="needs a list of days"):
        page(shop(400), design=GroupSequential(2), planned_n=400).analyze(LATE, looked)


# -- what may be claimed when ------------------------------------------------------------------------------------------

def test_before_its_end_a_test_of_fixed_size_claims_nothing():
    early = page(shop(3000, 3, (0.0, 0.5))).analyze("2024-05-12")
    assert early.waits and early.frame()["better"].isna().all() and early.plot().layout.title.text == "Too early to be read" and "revenue rose" not in early.text()
    late = page(shop(3000, 3, (0.0, 0.5))).analyze(LATE)
    assert not late.waits and late.plot().layout.title.text.startswith("Better: revenue")


def test_a_test_of_fixed_size_has_no_looks():
    with pytest.raises(ParameterError, match="looked: a test of fixed size is read once"):
        page(shop(400)).analyze(LATE, ["2024-05-12"])


def test_segments_change_no_decision():
    tables = shop(3000, 5, (0.0, 0.1))
    traits = tables[0][["customer_id"]].assign(country=np.array(["DE", "FR", "IT"])[np.arange(3000) % 3])
    for design in (AlwaysValid(3000), GroupSequential(looks=[0.5, 1])):
        plain, cut = (page(tables, design=design, planned_n=3000, worthwhile=0.5, traits=traits, segments=segments).analyze(LATE) for segments in ((), ["country"]))
        assert plain.text() == cut.text() and plain.decisions["new"].decision == "stop" and "less than the 50.0% that would be worth it" in plain.text()


def test_the_look_that_decided_speaks_with_its_own_figures():
    tables = shop(2000, 7, (0.0, 0.3))
    found = page(tables, design=GroupSequential(looks=[0.4, 1], boundary="pocock-spending"), planned_n=2000).analyze(LATE, ["2024-05-14"])
    own, (n, effect, error) = found.effects.row("revenue"), look_by_hand(tables, "2024-05-14")
    assert found.history["new"].look == 1 and (own.n_control + own.n, own.effect, own.standard_error) == (n, pytest.approx(effect), pytest.approx(error))
    assert own.effect == pytest.approx(own.value - own.control_value) and own.relative == pytest.approx(own.effect / own.control_value)
    assert own.relative_low < own.relative < own.relative_high and (own.relative_low > 0) == (own.low > 0)


def test_fewer_came_than_planned_and_many_more():
    tables = shop(1200, 2, (0.0, 0.035))
    found = page(tables, design=GroupSequential(3), planned_n=2000).analyze(LATE)
    (_, effect, error), looks = look_by_hand(tables, LATE), found.history["new"]
    assert looks.decision in ("efficacy", "end") and looks.frame()["critical"].iloc[0] == pytest.approx(1.96, abs=1e-3) and looks.frame()["z"].iloc[0] == pytest.approx(effect / error)
    assert page(tables, design=GroupSequential(3), planned_n=2000).analyze("2024-05-18").history["new"].decision == "continue"   # the last windows are open
    with pytest.raises(ParameterError, match="planned_n 500: 1\u202f200 customers count already, more than twice as many"):
        page(tables, design=GroupSequential(3), planned_n=500).analyze(LATE)


@pytest.mark.parametrize("design", [AlwaysValid(400), GroupSequential(2), None], ids=str)
def test_nothing_varies_yet(design):
    exposures, bought, back = shop(400)
    found = page((exposures, bought.assign(amount=1.0), back), design=design, planned_n=400, worthwhile=0.05 if design else None)
    readout = found.analyze(LATE)
    assert readout.decisions["new"].decision == "hold" and readout.history == {} and looks_at(found, readout.made, "new") is None
    assert ("revenue under new does not vary yet, so there are no looks" in readout.notes) == (design is not None)


def test_a_share_of_a_loss_is_not_known():
    exposures, bought, back = shop(2000, 4)
    new = exposures.set_index("customer_id")["variant"].reindex(bought["customer_id"]).to_numpy() == "new"
    found = page((exposures, bought.assign(amount=bought["amount"] - 40 + 8 * new), back), worthwhile=0.01).analyze(LATE)
    assert found.decisions["new"].decision == "hold" and "Under new revenue rose by" in found.text() and "what share of the control's value that is is not known" in found.text()


def test_a_guardrail_of_nothing_is_one_all_the_same():
    exposures, bought, back = shop(600)
    found = page((exposures, bought, back.head(0)), guardrails={"returned": 0.1}).analyze(LATE)
    assert found.frame().set_index("metric")["role"].to_dict() == {"revenue": "primary", "returned": "guardrail"} and found.decisions["new"].decision == "hold"


def test_variants_of_another_kind_than_the_plans():
    exposures, bought, back = shop(100)
    with pytest.raises(SchemaError, match="exposures.variant: 0, 1 of experiment are not in the plan, which has 0, 1: text in one of them, and numbers in the other"):
        page((exposures.assign(variant=(exposures["variant"] == "new").astype(int)), bought, back), plan=Plan({"0": 1, "1": 1}, "0")).analyze(LATE)


def test_a_plan_of_decimals_and_of_rows_that_differ():
    relation = duckdb.sql("select * from (values ('x', 'a', 0.5, true), ('x', 'b', 0.5, false)) t(experiment, variant, planned_share, is_control)")
    assert read_plan(relation, "x").shares == {"a": 0.5, "b": 0.5}
    for column in ("start", "end", "primary_metric", "direction"):
        with pytest.raises(SchemaError, match=f"experiments: rows of page differ in {column}; a plan has one"):
            read_plan(PLANS.assign(**{column: ["x", None, "y", "y"]}), "page")


def test_looks_after_which_nobody_came():
    """Read again, or at the end, when nobody has come since: the same look, and the last one where the plan is over."""
    tables = shop(1200, 2, (0.0, 0.035))
    ask = lambda *looked, day=LATE: page(tables, design=GroupSequential(3), planned_n=2000).analyze(day, list(looked))   # noqa: E731
    assert ask("2024-05-27").text() == ask("2024-05-25", "2024-05-27").text() == ask().text() and len(ask("2024-05-27").history["new"].frame()) == 1
    assert len(ask("2024-05-14", "2024-05-27").history["new"].frame()) == 2
    with pytest.raises(ParameterError, match="looked 2024-05-29: lies after as_of"):
        ask("2024-05-29", day="2024-05-28")


def test_one_treatment_that_does_not_vary_holds_up_no_other():
    exposures, bought, back = shop(900, 3, (0.0, 0.0, 0.3), ("old", "none", "new"))
    arm = exposures.set_index("customer_id")["variant"].reindex(bought["customer_id"]).to_numpy()
    still = bought.assign(amount=np.where(arm == "new", bought["amount"], 1.0))
    plan = Plan({"old": 1, "none": 1, "new": 1}, "old", START, END)
    for design, looked in ((AlwaysValid(600), []), (GroupSequential(2), []), (GroupSequential(2), ["2024-05-16"])):
        found = page((exposures, still, back), plan=plan, metrics=[Mean("revenue")], design=design, planned_n=600, worthwhile=0.05).analyze(LATE, looked)
        assert list(found.history) == ["new"] and found.decisions["none"].decision == "hold" and "Why: revenue does not vary yet" in found.text()
        assert "revenue under none does not vary yet, so there are no looks" in found.notes


def test_a_correction_of_dunnett_is_one():
    assert page(shop(400), correction="dunnett").analyze(LATE).effects is not None
