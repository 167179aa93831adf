import numpy as np
import pandas as pd
import pytest

from tenant_lab.core.errors import ConvergenceError, NotFittedError, ParameterError, SchemaError
from tenant_lab.customers.cox import CoxPH
from tenant_lab.customers.hazard import DiscreteHazard, person_periods
from tenant_lab.customers.survival import kaplan_meier

sm = pytest.importorskip("statsmodels.api")


def stays(n=400, seed=0):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=n), rng.integers(0, 2, n)
    until, seen = rng.exponential(8 * np.exp(-0.7 * x + 0.4 * y)), rng.uniform(2, 14, n)
    return pd.DataFrame({"duration": np.minimum(until, seen), "event": (until <= seen).astype(int), "x": x, "y": y})


STAYS = stays()
LINES = person_periods(STAYS)


# -- lines ------------------------------------------------------------------------------------------------------------
def test_lines_of_a_stay():
    frame = pd.DataFrame({"duration": [3.0, 3.0, 2.5, 2.5, 0.5, 4.0], "event": [1, 0, 1, 0, 0, 1], "entry": [0, 0, 0, 0, 0, 1.5], "plan": list("abcdef")})
    found = person_periods(frame).groupby("plan")[["period", "event", "weight"]].agg(list)
    assert found["period"].to_dict() == {"a": [1, 2, 3], "b": [1, 2, 3], "c": [1, 2, 3], "d": [1, 2, 3], "e": [1], "f": [3, 4]}
    assert found["event"].to_dict() == {"a": [0, 0, 1], "b": [0, 0, 0], "c": [0, 0, 1], "d": [0, 0, 0], "e": [0], "f": [0, 1]}
    assert found["weight"].to_dict() == {"a": [1, 1, 1], "b": [1, 1, 1], "c": [1, 1, 1], "d": [1, 1, 0.5], "e": [0.5], "f": [1, 1]}


def test_periods_of_another_length():
    assert person_periods(STAYS.assign(duration=STAYS["duration"] * 7), 7.0)["period"].tolist() == LINES["period"].tolist()
    assert person_periods(pd.DataFrame({"duration": [0.0], "event": [1]}))["period"].tolist() == [1]
    with pytest.raises(ParameterError, match="choose a longer"):
        person_periods(STAYS, 1e-9)
    with pytest.raises(ParameterError, match="choose a shorter"):
        person_periods(STAYS.assign(entry=STAYS["duration"] * 0.9), 100.0)


def test_what_was_seen_of_the_last_period_keeps_the_hazard_right():
    """Stays cut off anywhere in a period: the weekly hazard of a constant rate .2 is 1 - exp(-.2), within three standard errors."""
    rng = np.random.default_rng(3)
    until, seen = rng.exponential(5.0, 20_000), rng.uniform(0, 4, 20_000)
    found = DiscreteHazard().fit(person_periods(pd.DataFrame({"duration": np.minimum(until, seen), "event": until <= seen}))).periods_
    error = np.sqrt(found["hazard"] * (1 - found["hazard"]) / found["at_risk"])
    assert (np.abs(found["hazard"] - (1 - np.exp(-0.2))) < 3 * error).all(), found


# -- estimates --------------------------------------------------------------------------------------------------------
def test_the_regression_is_that_of_all_lines():
    model = DiscreteHazard(["x", "y"], baseline="log").fit(LINES)
    design = np.column_stack([np.ones(len(LINES)), np.log(LINES["period"]), LINES["x"], LINES["y"]])
    expected = sm.GLM(LINES["event"], design, family=sm.families.Binomial(), freq_weights=LINES["weight"]).fit()
    assert list(model.params_.values()) == pytest.approx(expected.params[2:].to_numpy(), rel=1e-6)
    assert list(model.standard_errors_.values()) == pytest.approx(expected.bse[2:].to_numpy(), rel=1e-6)
    assert model.log_likelihood_ == pytest.approx(expected.llf)


def test_a_free_baseline_without_covariates_is_kaplan_meier():
    whole = STAYS.assign(duration=np.ceil(STAYS["duration"]))
    plain = DiscreteHazard().fit(person_periods(whole))
    curve = kaplan_meier(whole).at(np.arange(1, 14))["survival"]
    assert plain.staying(pd.DataFrame({"period": [1]}), 13)[0] == pytest.approx(curve.to_numpy(), abs=1e-8)
    assert plain.periods_["hazard"].to_numpy() == pytest.approx((plain.periods_["events"] / plain.periods_["at_risk"]).to_numpy(), abs=1e-8)


def test_cloglog_finds_the_hazard_ratios_of_cox():
    """Both estimate the same coefficients; grouping into periods costs little (Prentice & Gloeckler 1978): within a third of a standard error."""
    frame = stays(4000, 1)
    cox, discrete = CoxPH(["x", "y"]).fit(frame), DiscreteHazard(["x", "y"], link="cloglog").fit(person_periods(frame))
    for name in ("x", "y"):
        assert discrete.params_[name] == pytest.approx(cox.params_[name], abs=cox.standard_errors_[name] / 3)
        assert discrete.standard_errors_[name] == pytest.approx(cox.standard_errors_[name], rel=0.1)


def test_errors_are_those_of_repeated_worlds():
    """Standardised errors of 200 worlds: standard deviation 1 within 99.9 % bounds of chi (.838, 1.167)."""
    z = []
    for seed in range(200):
        model = DiscreteHazard(["x", "y"], link="cloglog").fit(person_periods(stays(200, 100 + seed)))
        z.append((np.array(list(model.params_.values())) - [0.7, -0.4]) / list(model.standard_errors_.values()))
    assert all(0.838 <= spread <= 1.167 for spread in np.std(z, axis=0))


def test_weights_and_clusters():
    rng = np.random.default_rng(2)
    weight = rng.integers(1, 4, len(LINES))
    many = LINES.drop(columns="weight").loc[LINES.index.repeat(weight)]
    one, other = DiscreteHazard(["x"]).fit(LINES.assign(weight=weight)), DiscreteHazard(["x"]).fit(many)
    assert one.params_ == pytest.approx(other.params_) and one.standard_errors_ == pytest.approx(other.standard_errors_)
    twice = pd.concat([LINES, LINES])   # the same customers twice are no more customers
    plain, clustered = DiscreteHazard(["x"]).fit(twice), DiscreteHazard(["x"], cluster="row").fit(twice)
    robust = DiscreteHazard(["x"], cluster="row").fit(LINES)
    assert clustered.params_ == pytest.approx(plain.params_)
    assert clustered.standard_errors_["x"] == pytest.approx(robust.standard_errors_["x"], rel=1e-6)
    assert plain.standard_errors_["x"] < 0.75 * clustered.standard_errors_["x"]


def test_a_period_in_which_nobody_left():
    gap = LINES[~((LINES["period"] == 3) & (LINES["event"] == 1))]
    model = DiscreteHazard(["x"]).fit(gap)
    assert model.hazard(pd.DataFrame({"period": [2], "x": [0.0]}), 3)[0, 1] == 0.0
    assert model.params_["x"] == pytest.approx(DiscreteHazard(["x"]).fit(gap[gap["period"] != 3]).params_["x"])


def test_what_nobody_has_reached():
    free, line = DiscreteHazard(["x"]).fit(LINES), DiscreteHazard(["x"], baseline="log").fit(LINES)
    who = pd.DataFrame({"period": [14], "x": [0.0]})
    assert np.isnan(free.hazard(who, 3)[0, 1:]).all() and np.isfinite(line.hazard(who, 3)).all()
    table = free.frame().set_index("covariate")
    assert table.loc["x", "ratio"] == pytest.approx(np.exp(free.params_["x"])) and table.loc["x", "p"] < 1e-10


def test_units_do_not_matter():
    one, other = DiscreteHazard(["x", "y"]).fit(LINES), DiscreteHazard(["x", "y"]).fit(LINES.assign(x=LINES["x"] * 1e9 + 1e11))
    assert other.params_["x"] * 1e9 == pytest.approx(one.params_["x"], rel=1e-5)


# -- bad input --------------------------------------------------------------------------------------------------------
def test_bad_input():
    with pytest.raises(NotFittedError):
        DiscreteHazard().hazard(LINES)
    for event, words in ((0, "nobody left"), (1, "everybody left")):
        with pytest.raises(ParameterError, match=words):
            DiscreteHazard(["x"]).fit(LINES.assign(event=event))
    with pytest.raises(ParameterError, match="covariate x is the same"):
        DiscreteHazard(["x"]).fit(LINES.assign(x=1.0))
    with pytest.raises(ParameterError, match="x, z depend on one another"):
        DiscreteHazard(["x", "z"]).fit(LINES.assign(z=-LINES["x"]))
    model = DiscreteHazard(["x", "z"])
    for z in (LINES["event"], (LINES["x"] > 2.2) & (LINES["event"] == 0)):
        with pytest.raises(ConvergenceError, match="z grows without end"):
            model.fit(LINES.assign(z=z.astype(int)))
    assert not hasattr(model, "params_")
    with pytest.raises(SchemaError, match="period: .* whole numbers from 1"):
        DiscreteHazard().fit(LINES.assign(period=LINES["period"] - 0.5))
    with pytest.raises(SchemaError, match="event: .* 0 or 1"):
        DiscreteHazard().fit(LINES.assign(event=2))
    with pytest.raises(ParameterError, match="covariates"):
        DiscreteHazard("x").fit(LINES)
    with pytest.raises(ParameterError, match="link"):
        DiscreteHazard(link="probit").fit(LINES)
    with pytest.raises(ParameterError, match="periods"):
        DiscreteHazard().fit(LINES).hazard(LINES, 0)


def test_periods_in_which_all_or_none_left():
    one = DiscreteHazard().fit(person_periods(pd.DataFrame({"duration": [3.0], "event": [1]})))
    assert one.hazard(pd.DataFrame({"period": [1]}), 4)[0].tolist()[:3] == [0, 0, 1]
    with pytest.raises(ParameterError, match="covariates have nothing to tell"):
        DiscreteHazard(["x"]).fit(person_periods(pd.DataFrame({"duration": [3.0, 3.0], "event": 1, "x": [1.0, 2.0]})))
    with pytest.raises(SchemaError, match="beyond 1e100"):
        DiscreteHazard(["x"]).fit(LINES.assign(x=LINES["x"] * 1e200))


def test_a_period_that_was_never_seen_is_missing():
    model = DiscreteHazard(["x"]).fit(LINES[LINES["period"] != 3])
    found = model.hazard(pd.DataFrame({"period": [2], "x": [0.0]}), 3)[0]
    assert np.isnan(found[1]) and np.isfinite(found[[0, 2]]).all()


def test_a_fit_that_fails_leaves_the_one_before():
    model = DiscreteHazard(["x"]).fit(LINES)
    before = model.hazard(LINES[:5], 3).tolist()
    few = LINES[LINES["period"] <= 3]
    with pytest.raises(ConvergenceError):
        model.fit(few.assign(x=few["event"] * 1.0))
    assert model.hazard(LINES[:5], 3).tolist() == before


def test_periods_are_not_lengthened_by_rounding():
    for length in (0.05, 0.1, 0.2, 0.3, 0.7, 1 / 3):
        ages = np.arange(1, 60) * length
        found = person_periods(pd.DataFrame({"duration": ages, "event": 1}), length)
        assert found.groupby("row")["period"].max().tolist() == list(range(1, 60))


def test_the_unit_of_weights_does_not_matter():
    one = DiscreteHazard(["x", "y"]).fit(LINES)
    for unit in (1e-9, 1e7):
        other = DiscreteHazard(["x", "y"]).fit(LINES.assign(weight=LINES["weight"] * unit))
        assert other.params_ == pytest.approx(one.params_, rel=1e-9) and other.standard_errors_["x"] * unit**0.5 == pytest.approx(one.standard_errors_["x"], rel=1e-6)
        assert other.log_likelihood_ == pytest.approx(one.log_likelihood_ * unit, rel=1e-9)


def test_too_little_to_tell():
    with pytest.raises(ParameterError, match="1 of them tell nothing"):
        DiscreteHazard(["x"], baseline="log", cluster="c").fit(LINES.assign(c=1))
    with pytest.raises(ParameterError, match="there is one only"):
        DiscreteHazard(["x"], baseline="log").fit(LINES[LINES["period"] == 1])
