import numpy as np
import pytest

from tenant_lab.core.errors import ParameterError
from tenant_lab.customers.campaign import campaign, evaluate

RNG = np.random.default_rng(0)
CHANCE = RNG.beta(1, 5, 4000)
LEFT = (RNG.random(4000) < CHANCE).astype(int)


def test_evaluation_by_hand():
    y, p = np.array([1, 0, 1, 0, 0, 0, 1, 0, 0, 0]), np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.4, 0.2, 0.1, 0.05])
    found = evaluate(y, p)
    pairs = [(a > b) + (a == b) / 2 for a in p[y == 1] for b in p[y == 0]]
    assert found.auc == pytest.approx(np.mean(pairs)) and found.brier == pytest.approx(((p - y) ** 2).mean())
    shared = np.array([1, 0, 1, 0, 0, 0.5, 0.5, 0, 0, 0])   # two have equal chances
    assert found.calibration_error == pytest.approx(np.abs(p - shared).mean())   # a customer a part
    assert found.frame()["gain"].iloc[[0, 2, 9]].tolist() == pytest.approx([1 / 3, 2 / 3, 1]) and found.frame()["lift"].iloc[0] == pytest.approx(1 / 0.3)


def test_true_chances_are_calibrated():
    """Slope and intercept within 3.3 standard errors; the regression's are .05 and .1 here."""
    found = evaluate(LEFT, CHANCE)
    assert found.slope == pytest.approx(1, abs=0.16) and found.intercept == pytest.approx(0, abs=0.33) and found.calibration_error < 0.03
    assert evaluate(LEFT, CHANCE**2).slope < 0.75 and evaluate(LEFT, np.full(4000, 0.2)).auc == 0.5


def test_the_error_of_the_area_is_that_of_repeated_worlds():
    """Standardised areas of 300 worlds; Hanley & McNeil's error is an approximation, so the bounds are those of the deviation (.87, 1.14) a tenth wider."""
    rng, found = np.random.default_rng(1), []
    for _ in range(300):
        x = rng.normal(size=300)
        y = rng.random(300) < 1 / (1 + np.exp(1 - x))
        one = evaluate(y, 1 / (1 + np.exp(1 - x)))
        found.append((one.auc, one.auc_error))
    area, error = np.array(found).T
    assert 0.78 <= ((area - area.mean()) / error).std() <= 1.26


def test_customers_without_a_chance_are_passed_over():
    some = CHANCE.copy()
    some[:1000] = np.nan
    assert evaluate(LEFT, some).brier == evaluate(LEFT[1000:], CHANCE[1000:]).brier


def test_pictures():
    found = evaluate(LEFT, CHANCE)
    assert "Said and done differ" in found.plot().layout.title.text
    assert "first fifth" in found.plot("gain").layout.title.text and "first tenth" in found.plot("lift").layout.title.text
    with pytest.raises(ParameterError, match="what"):
        found.plot("roc")


def test_the_cut_off_is_where_a_call_is_worth_nothing():
    plan = campaign(CHANCE, 100.0, contact=2.0, offer=10.0, saved=0.25, takes=0.5)
    stop = (2 + 5) / (0.25 * 90 + 5)
    called = [p > stop for p in CHANCE.tolist()]
    assert plan.called.tolist() == called and plan.cut_off == CHANCE[called].min()
    assert plan.profit == pytest.approx(sum(p * 0.25 * 90 - (1 - p) * 5 - 2 for p in CHANCE if p > stop))
    assert plan.profit == pytest.approx(plan.frame()["profit"].max(), rel=0.01)
    assert "Calling" in plan.plot("EUR").layout.title.text


def test_with_values_of_their_own_the_dear_come_first():
    plan = campaign([0.2, 0.2, 0.5], [1000.0, 10.0, 10.0], contact=1.0, offer=5.0, saved=0.5)
    assert plan.called.tolist() == [True, False, False]


def test_nobody_to_call():
    plan = campaign(CHANCE, 5.0, contact=10.0, offer=1.0, saved=0.5)
    assert not plan.called.any() and np.isnan(plan.cut_off) and plan.profit == plan.profit_low == plan.profit_high == 0
    assert "does not pay" in plan.plot().layout.title.text


def test_bad_input():
    for churned, p in (([0, 1], [0.1]), ([0, 1] * 5, [1.5] * 10), ([0, 2] * 5, [0.5] * 10), ([0] * 10, [0.5] * 10), ([0, 1], [0.1, 0.2]), (["a"] * 10, [0.5] * 10)):
        with pytest.raises(ParameterError, match="churned"):
            evaluate(churned, p)
    good = {"value": 1.0, "contact": 1.0, "offer": 1.0, "saved": 0.5}
    for change, name in (({"contact": -1.0}, "contact"), ({"offer": np.nan}, "offer"), ({"saved": 30}, "saved"), ({"takes": 2}, "takes"), ({"value": [1.0, 2.0]}, "value"), ({"value": np.inf}, "value")):
        with pytest.raises(ParameterError, match=name):
            campaign([0.1, 0.2, 0.3], **(good | change))
    with pytest.raises(ParameterError, match="probability"):
        campaign([0.1, 7], **good)


def test_chances_that_part_all():
    found = evaluate(LEFT, LEFT * 0.9)
    assert found.auc == 1 and found.auc_error == 0 and np.isnan(found.slope)


def test_equal_chances_are_not_ranked():
    for y in ([1] * 10 + [0] * 90, [0] * 90 + [1] * 10):
        found = evaluate(y, [0.1] * 100)
        assert found.frame()["lift"].tolist() == pytest.approx([1.0] * 10) and found.calibration_error == pytest.approx(0.0) and np.isnan(found.slope)
