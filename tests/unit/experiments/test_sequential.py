"""Group sequential tests: plans, what looks say, mirror images, and every refusal."""

import dataclasses

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from tenant_lab.core.errors import ParameterError
from tenant_lab.experiments.boundaries import classical_boundary, crossing_probabilities, spending, spent_boundary
from tenant_lab.experiments.sequential import GroupSequential, Look, Monitoring, stage_wise

PLAN = GroupSequential()
EVERY = [{"boundary": "obrien-fleming-spending"}, {"boundary": "pocock-spending"}, {"boundary": "power-spending", "parameter": 2}, {"boundary": "hwang-shih-decani-spending", "parameter": -4},
         {"boundary": "obrien-fleming"}, {"boundary": "pocock"}, {"boundary": "wang-tsiatis", "parameter": 0.25}]
SIDES = ("two-sided", "greater", "less")


def looks(*rows, se=1.0):
    """Looks at (fraction, z) whose full data have that standard error."""
    return [Look(fraction, z * se / fraction**0.5, se / fraction**0.5) for fraction, z in rows]


def one_of(z_first, z_second=None, **options):
    """Two looks of four, or one."""
    rows = [(0.25, z_first)] if z_second is None else [(0.25, z_first), (0.5, z_second)]
    return GroupSequential(looks=4, **options).monitor(looks(*rows))


@pytest.mark.parametrize("options, said", [
    ({"looks": 0}, "looks 0"), ({"looks": [0.5, 0.9]}, "last planned fraction needs to be 1"), ({"looks": [1, 2]}, "needs to be 1"), ({"looks": []}, "needs 1 to 500"), ({"looks": [0.9, 0.5, 1]}, "each larger"),
    ({"alpha": 0}, "alpha 0"), ({"alpha": 0.51}, "alpha 0.51"), ({"alpha": float("nan")}, "alpha nan"), ({"alpha": True}, "alpha True"),
    ({"boundary": "obf"}, "boundary 'obf': allowed are obrien-fleming-spending"), ({"alternative": "two"}, "alternative 'two': allowed are two-sided, greater, less"),
    ({"boundary": "power-spending"}, "parameter of power None"), ({"parameter": 1}, "obrien-fleming has none"), ({"boundary": "wang-tsiatis", "parameter": 0.6}, "from 0.0 to 0.5"), ({"boundary": "pocock", "parameter": 0.5}, "pocock has none"),
    ({"futility": 0.02}, "needs a power above the chance of error, 0.025"), ({"futility": 1.0}, "futility 1.0"), ({"futility": "0.8"}, "futility '0.8'"),
    ({"futility_spending": "pocock"}, "and that a futility"), ({"futility_parameter": 2}, "needs a futility_spending"), ({"futility": 0.8, "futility_spending": "x"}, "kind 'x'"), ({"futility": 0.8, "futility_parameter": 3}, "needs a futility_spending that it is of"),
    ({"futility": 0.8, "futility_spending": "power"}, "parameter of power None"), ({"futility": 0.8, "boundary": "wang-tsiatis", "parameter": 0.2}, "wang-tsiatis boundary has no spending"),
])
def test_plans_that_are_refused(options, said):
    with pytest.raises(ParameterError, match=said):
        GroupSequential(**options)


@pytest.mark.parametrize("options", EVERY)
@pytest.mark.parametrize("alternative", SIDES)
def test_every_plan_spends_alpha_and_answers_its_own_power(options, alternative):
    plan = GroupSequential(looks=[0.3, 0.6, 1], alpha=0.04, alternative=alternative, **options)
    table = plan.boundaries()
    assert table.columns.tolist() == ["look", "fraction", "spent", "critical", "nominal_p", "futility"] and table["futility"].isna().all()
    assert table["spent"].iloc[-1] == pytest.approx(0.04, abs=1e-8) and (table["spent"].diff().dropna() > 0).all()
    assert ((table["critical"] < 0) == (alternative == "less")).all()
    assert table["nominal_p"].iloc[0] == pytest.approx(table["spent"].iloc[0], rel=1e-6)   # at the first look nothing is adjusted
    drift = plan.drift(0.8)
    assert (drift < 0) == (alternative == "less") and plan.power(drift) == pytest.approx(0.8, abs=1e-8)
    assert plan.power(0) == pytest.approx(plan.side, abs=1e-8) and 1 < plan.inflation(0.8) < 1.4
    assert plan.expected_information(0) > plan.expected_information(drift) > 0.3
    assert plan.side == (0.02 if alternative == "two-sided" else 0.04)


def test_a_side_does_not_matter_to_its_mirror_image():
    greater, less = (GroupSequential(looks=3, alternative=side, futility=0.8) for side in ("greater", "less"))
    assert greater.boundaries()["critical"].tolist() == (-less.boundaries()["critical"]).tolist() and greater.boundaries()["futility"].tolist() == (-less.boundaries()["futility"]).tolist()
    assert greater.power(2.0) == less.power(-2.0) and greater.expected_information(-1.0) == less.expected_information(1.0) and PLAN.power(-2.0) == PLAN.power(2.0)
    up, down = greater.monitor(looks((0.3, 1.0), (0.7, 2.9))), less.monitor(looks((0.3, -1.0), (0.7, -2.9)))
    assert (up.decision, up.look, up.p_value) == (down.decision, down.look, down.p_value) and (up.low, up.high) == pytest.approx((-down.high, -down.low))
    assert up.frame()["p_value"].tolist() == down.frame()["p_value"].tolist() and up.frame()["low"].to_numpy() == pytest.approx(-down.frame()["high"].to_numpy())


def test_one_look_is_the_plain_test():
    one = GroupSequential(looks=1)
    assert one.boundaries()["critical"].tolist() == pytest.approx([-ndtri(0.025)]) and one.inflation(0.8) == pytest.approx(1) and one.expected_information(1) == 1
    found = one.monitor([Look(1, 0.3, 0.1)])
    assert (found.decision, found.estimate, found.low, found.high) == ("efficacy", pytest.approx(0.3), pytest.approx(0.3 - 0.1959964), pytest.approx(0.3 + 0.1959964))
    assert found.p_value == pytest.approx(2 * ndtr(-3)) == pytest.approx(found.frame()["p_value"].iloc[0], rel=1e-6)


def test_plans_are_values():
    plan = GroupSequential(looks=np.array([0.5, 1.0]))
    assert plan == GroupSequential(looks=(0.5, 1)) and hash(plan) == hash(GroupSequential(looks=[0.5, 1])) and plan.fractions.tolist() == [0.5, 1]
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.alpha = 0.1


@pytest.mark.parametrize("power, said", [(0.02, "needs more than the chance of a finding where there is no effect, 0.025"), (1.0, "power 1.0"), (None, "power None")])
def test_powers_that_are_refused(power, said):
    with pytest.raises(ParameterError, match=said):
        PLAN.drift(power)


def test_drifts_that_are_refused():
    for call in (PLAN.power, PLAN.expected_information):
        with pytest.raises(ParameterError, match="drift inf"):
            call(float("inf"))


@pytest.mark.parametrize("alternative", SIDES)
@pytest.mark.parametrize("options", [{}, {"boundary": "pocock"}, {"boundary": "wang-tsiatis", "parameter": 0.2, "futility_spending": "power", "futility_parameter": 2}, {"futility_spending": "hwang-shih-decani", "futility_parameter": -2}])
def test_futility_keeps_its_power_and_saves_where_there_is_no_effect(alternative, options):
    plan = GroupSequential(looks=4, alternative=alternative, futility=0.85, **options)
    sign = -1 if alternative == "less" else 1
    table = plan.boundaries()
    assert table["futility"].iloc[-1] == table["critical"].iloc[-1] and (sign * table["futility"].diff().dropna() > 0).all()
    without = dataclasses.replace(plan, futility=None, futility_spending=None, futility_parameter=None)
    assert table["critical"].tolist() == without.boundaries()["critical"].tolist()   # not binding
    assert plan.drift(0.85) == pytest.approx(sign * plan._plan.drift, abs=1e-6) and abs(plan.drift(0.85)) > abs(without.drift(0.85))
    assert plan.expected_information(0) < without.expected_information(0) and plan.power(0) < plan.side


def test_futility_in_the_middle_by_simulation():
    plan = GroupSequential(looks=3, futility=0.8)
    critical, futility = plan.boundaries()[["critical", "futility"]].to_numpy().T
    rng, n = np.random.default_rng(4), 200_000
    z = rng.normal(plan.drift(0.8) / 3, 3**-0.5, (n, 3)).cumsum(axis=1) / np.sqrt([1 / 3, 2 / 3, 1])
    going, won, seen = np.ones(n, bool), 0, 0
    for k in range(3):
        seen += going.sum() / 3
        won += (going & (z[:, k] >= critical[k])).sum()
        going &= (np.abs(z[:, k]) < critical[k]) & (np.abs(z[:, k]) >= futility[k])
    assert won / n == pytest.approx(0.8, abs=3.3 * (0.16 / n) ** 0.5)   # 99.9 % of simulations
    assert seen / n == pytest.approx(plan.expected_information(plan.drift(0.8)), abs=3.3 * 0.5 / n**0.5)


@pytest.mark.parametrize("arguments, said", [
    ((0, 0.1, 0.1), "fraction 0: needs a number above 0"), ((2.1, 0.1, 0.1), "fraction 2.1"), ((-0.1, 0.1, 0.1), "fraction -0.1"), ((0.5, np.nan, 0.1), "estimate nan"), ((0.5, np.inf, 0.1), "estimate inf"), ((0.5, "1", 0.1), "estimate '1'"),
    ((0.5, 0.1, 0.0), "standard_error 0: needs a number above 0"), ((0.5, 0.1, -1), "standard_error -1"), ((0.5, 0.1, np.inf), "standard_error inf"), ((0.5, 0.1, 0.1, "yes"), "last 'yes'"),
])
def test_looks_that_are_refused(arguments, said):
    with pytest.raises(ParameterError, match=said):
        Look(*arguments)


@pytest.mark.parametrize("history, said", [
    ([], "history is empty"), ([(0.5, 0.1, 0.1)], "look 1 of the history is a tuple"), (looks((0.5, 1), (0.5, 1)), "look 2 at fraction 0.5 follows one at 0.5"), (looks((0.5, 1), (0.4, 1)), "looks in order"),
    (looks((1.0, 1), (1.2, 1)), "look 2 follows the last"), ([Look(0.5, 0.1, 0.1, last=True), Look(0.6, 0.1, 0.1)], "look 2 follows the last"),
])
def test_histories_that_are_refused(history, said):
    with pytest.raises(ParameterError, match=said):
        PLAN.monitor(history)


def test_more_looks_than_a_classical_boundary_has():
    with pytest.raises(ParameterError, match="3 looks, and the pocock boundary was planned for 2: needs a spending boundary"):
        GroupSequential(looks=2, boundary="pocock").monitor(looks((0.3, 0), (0.5, 0), (0.7, 0)))
    with pytest.raises(ParameterError, match="null nan"):
        PLAN.monitor(looks((0.3, 0)), null=float("nan"))


def test_a_history_becomes_rows():
    so_far = PLAN.monitor(looks((0.2, 1.0), (0.4, 2.0), (0.6, 3.0), se=0.1))
    table = so_far.frame()
    assert isinstance(so_far, Monitoring) and table.columns.tolist() == ["look", "fraction", "estimate", "standard_error", "z", "spent", "critical", "futility", "decision", "low", "high", "p_value"]
    planned = PLAN.boundaries().iloc[:3]
    assert table["critical"].to_numpy() == pytest.approx(planned["critical"], abs=1e-9) and table["spent"].to_numpy() == pytest.approx(planned["spent"], abs=1e-12)
    assert table["decision"].tolist() == ["continue", "continue", "efficacy"] and (so_far.decision, so_far.look, so_far.notes, so_far.level) == ("efficacy", 3, (), pytest.approx(0.95))
    assert (table["high"] - table["estimate"]).to_numpy() == pytest.approx(table["critical"] * table["standard_error"]) and table["z"].to_numpy() == pytest.approx([1, 2, 3])
    end = (3.0, planned["critical"].to_numpy(), planned["fraction"].to_numpy())
    assert so_far.p_value == pytest.approx(2 * stage_wise(*end))
    for value, chance in ((so_far.low, 0.025), (so_far.estimate, 0.5), (so_far.high, 0.975)):
        assert stage_wise(*end, drift=value / 0.1) == pytest.approx(chance, abs=1e-7)
    table.loc[:, "z"] = 0
    assert so_far.frame()["z"].iloc[0] == pytest.approx(1)   # a copy
    assert "Monitoring" in so_far._repr_html_()


@pytest.mark.parametrize("options, alternative, alpha", [(options, SIDES[n % 3], (0.05, 0.2)[n % 2]) for n, options in enumerate(EVERY)])
def test_the_sequential_p_is_at_most_alpha_from_the_crossing_on(options, alternative, alpha):
    sign, plan = -1 if alternative == "less" else 1, GroupSequential(looks=[0.3, 0.6, 1], alpha=alpha, alternative=alternative, **options)
    critical = plan.boundaries()["critical"].to_numpy()
    for nudge in (-1e-5, 1e-5):
        rows = plan.monitor(looks((0.3, 0.1 * sign), (0.6, critical[1] + sign * nudge))).frame()
        assert (rows["p_value"].iloc[1] <= alpha) == (nudge > 0) == (rows["decision"].iloc[1] == "efficacy")
        assert rows["p_value"].iloc[1] == pytest.approx(alpha, rel=1e-3) and rows["p_value"].iloc[0] > 0.2
    later = plan.monitor(looks((0.3, 0.1 * sign), (0.6, critical[1] + sign * 0.1), (0.9, 0.0)))
    assert later.frame()["p_value"].iloc[2] == later.frame()["p_value"].iloc[1] < alpha   # it never rises


def test_sequential_p_values_at_the_ends():
    assert PLAN.monitor(looks((0.5, 0.0))).frame()["p_value"].tolist() == [1.0]
    assert GroupSequential(alternative="greater").monitor(looks((0.5, -8.0))).frame()["p_value"].iloc[0] == 1.0
    assert 0 < PLAN.monitor(looks((1.0, 30.0))).frame()["p_value"].iloc[0] < 1e-14
    early = GroupSequential(looks=2, boundary="pocock").monitor(looks((0.5, 3.0))).frame()["p_value"].iloc[0]
    constant = crossing_probabilities([-3.0, -3.0], [3.0, 3.0], 2).up.sum()   # Pocock's with the constant 3
    assert early == pytest.approx(2 * constant, rel=1e-6)


def test_looks_at_other_times_spend_no_more():
    rows = [(0.15, 0.0), (0.5, 0.0), (0.55, 0.0), (0.7, 0.0), (0.9, 0.0), (0.95, 0.0), (1.1, 0.0)]   # more of them, and over-running
    table = PLAN.monitor(looks(*rows)).frame()
    t, critical = table["fraction"].to_numpy(), table["critical"].to_numpy()
    crossed = crossing_probabilities(-critical, critical, t)
    assert 2 * crossed.up.cumsum() == pytest.approx(2 * spending("obrien-fleming", t, 0.025), abs=1e-9) and table["spent"].iloc[-1] == pytest.approx(0.05)
    classical = GroupSequential(looks=4, boundary="pocock")
    table = classical.monitor(looks((0.2, 0.0), (0.6, 0.0), (0.7, 0.0))).frame()
    assert table["spent"].to_numpy() == pytest.approx(classical.boundaries()["spent"].iloc[:3]) and abs(table["critical"].iloc[1] - classical.boundaries()["critical"].iloc[1]) > 0.01
    short = classical.monitor(looks((0.2, 0.0), (1.0, 0.0))).frame()   # fewer looks than planned
    assert short["spent"].iloc[-1] == pytest.approx(0.05)


@pytest.mark.parametrize("options", EVERY[:2] + EVERY[4:])
def test_the_last_look_spends_all_whatever_its_fraction(options):
    plan = GroupSequential(looks=4, **options)
    history = [*looks((0.3, 0.5), (0.6, 0.8)), dataclasses.replace(looks((0.85, 1.0))[0], last=True)]
    end = plan.monitor(history)
    critical = end.frame()["critical"].to_numpy()
    assert crossing_probabilities(-critical, critical, [0.3, 0.6, 0.85]).up.sum() == pytest.approx(0.025, abs=1e-9)
    assert (end.decision, end.look) == ("end", 3) and end.p_value > 0.05 and end.low < 0 < end.estimate < end.high
    assert end.plot().layout.title.text.startswith("Ended at look 3 without a finding: ")
    just = plan.monitor([*history[:2], dataclasses.replace(looks((0.85, critical[-1] + 1e-5))[0], last=True)])
    assert just.decision == "efficacy" and just.frame()["p_value"].iloc[-1] == pytest.approx(0.05, rel=1e-3)


@pytest.mark.parametrize("alternative", SIDES)
def test_the_adjusted_p_agrees_with_the_last_boundary(alternative):
    plan = GroupSequential(looks=3, alternative=alternative, boundary="pocock")
    sign = -1 if alternative == "less" else 1
    last = plan.boundaries()["critical"].iloc[-1]
    for nudge in (-1e-4, 1e-4):
        end = plan.monitor(looks((1 / 3, 0.0), (2 / 3, 1.0 * sign), (1.0, last + nudge * sign)))
        assert (end.p_value <= 0.05) == (nudge > 0) == (end.decision == "efficacy") and (end.low > 0 or end.high < 0) == (nudge > 0)


def test_a_crossing_downwards_is_a_finding_of_a_two_sided_test():
    down, up = one_of(-1.0, -4.0), one_of(1.0, 4.0)
    assert down.decision == "efficacy" and down.p_value == pytest.approx(up.p_value) and (down.low, down.estimate, down.high) == pytest.approx((-up.high, -up.estimate, -up.low))
    assert one_of(-1.0, -4.0, alternative="greater").decision == "continue"


def test_at_the_first_look_nothing_is_adjusted():
    first = one_of(6.0)
    assert (first.estimate, first.low, first.high) == pytest.approx((12.0, 12 - 2 * 1.959964, 12 + 2 * 1.959964)) and first.p_value == pytest.approx(2 * ndtr(-6.0))


def test_a_history_that_goes_on_after_a_finding():
    stopped, went_on = PLAN.monitor(looks((0.2, 1), (0.6, 3))), PLAN.monitor(looks((0.2, 1), (0.6, 3), (0.8, 0.5)))
    assert went_on.frame()["decision"].tolist() == ["continue", "efficacy", "after"] and "look 2 crossed the boundary" in went_on.notes[0]
    assert (went_on.decision, went_on.look, went_on.p_value, went_on.low) == (stopped.decision, stopped.look, stopped.p_value, stopped.low)
    assert np.isfinite(went_on.frame()["low"]).all()


def test_futility_stops_and_may_be_overruled():
    plan = GroupSequential(looks=4, alternative="greater", futility=0.8)
    stopped = plan.monitor(looks((0.25, 0.5), (0.5, -1.0)))
    assert (stopped.decision, stopped.notes) == ("futility", ()) and stopped.p_value > 0.5 and stopped.plot().layout.title.text.startswith("Stopped for futility at look 2: ")
    went_on = plan.monitor(looks((0.25, 0.5), (0.5, -1.0), (0.75, 3.0)))
    assert went_on.frame()["decision"].tolist() == ["continue", "futility", "efficacy"] and went_on.notes == ("look 2 was beyond the bound for futility, and the experiment went on; the level holds",)
    middle = GroupSequential(looks=4, futility=0.8)
    assert middle.monitor(looks((0.25, 0.5), (0.5, 0.1))).decision == "futility" and middle.monitor(looks((0.25, 0.5), (0.5, -1.5))).decision == "continue"
    last = middle.monitor(looks((0.25, 0.5), (1.0, 1.0)))
    assert last.decision == "end" and last.frame()["futility"].iloc[-1] == last.frame()["critical"].iloc[-1]


def test_while_it_goes_on_there_is_no_final_number():
    so_far = one_of(1.0, 1.5)
    assert so_far.decision == "continue" and np.isnan([so_far.p_value, so_far.estimate, so_far.low, so_far.high]).all()
    assert so_far._finding().startswith("No boundary crossed by look 2: the effect is between ")


def test_a_look_too_early_to_spend_anything():
    early = PLAN.monitor(looks((0.001, 5.0)))
    assert np.isinf(early.frame()[["critical", "low", "high"]]).all(axis=None) and early.decision == "continue" and "look 1 came too early" in early.notes[0]
    assert early.plot().layout.title.text == "Look 1 came too early to say anything" and early.frame()["p_value"].iloc[0] == 1
    later = PLAN.monitor(looks((0.001, 5.0), (0.5, 4.0)))
    assert later.decision == "efficacy" and 0 < later.low < later.estimate < later.high


def test_estimates_of_single_weeks_are_noticed():
    assert "all data up to each look" in PLAN.monitor([Look(0.2, 0.1, 0.1), Look(0.4, 0.1, 0.1)]).notes[0]
    assert PLAN.monitor([Look(0.2, 0.1, 0.1), Look(0.4, 0.1, 0.078)]).notes == ()


def test_a_null_other_than_nothing_moves_everything_with_it():
    plan = GroupSequential(looks=3, alternative="greater")
    plain = plan.monitor(looks((0.4, 1.0), (0.8, 2.6)))
    moved = plan.monitor([dataclasses.replace(look, estimate=look.estimate - 0.5) for look in looks((0.4, 1.0), (0.8, 2.6))], null=-0.5)
    assert moved.p_value == pytest.approx(plain.p_value) and (moved.low, moved.estimate, moved.high) == pytest.approx((plain.low - 0.5, plain.estimate - 0.5, plain.high - 0.5))
    assert moved.frame()["z"].to_numpy() == pytest.approx(plain.frame()["z"]) and moved.level == pytest.approx(0.9)


def test_the_stage_wise_order():
    critical, t = classical_boundary("pocock", 3, 0.025), np.array([1, 2, 3]) / 3
    assert stage_wise(critical[2], critical, t) == pytest.approx(0.025, abs=1e-9)
    earlier, later = stage_wise(critical[0], critical[:1], t[:1]), stage_wise(9.0, critical[:2], t[:2])
    assert earlier == pytest.approx(later, abs=1e-9) and earlier < stage_wise(3.0, critical[:2], t[:2])   # crossing at the first look is more extreme than any z at the second
    assert stage_wise(-9.0, critical[:2], t[:2]) == pytest.approx(1 - earlier, abs=1e-9)      # and below at the first less than any
    assert stage_wise(-9.0, critical[:2], t[:2], two_sided=False) == pytest.approx(1, abs=1e-9)
    chances = [stage_wise(2.0, critical, t, drift) for drift in (-4, -1, 0, 2, 5)]
    assert (np.diff(chances) > 0).all()


@pytest.mark.parametrize("alternative", SIDES)
def test_pictures_show_the_boundaries(alternative):
    plan = GroupSequential(looks=3, alternative=alternative, futility=0.8)
    picture = plan.monitor(looks((0.3, 0.9), (0.6, 1.1))).plot()
    names = [trace.name for trace in picture.data]
    each = 2 if alternative == "two-sided" else 1
    assert [names.count(name) for name in ("boundary, planned", "boundary", "futility", "z")] == [each, each, each, 1]
    assert len(PLAN.monitor(looks((0.6, 4.0))).plot().data) == 5 and PLAN.monitor(looks((0.6, 4.0))).plot().layout.title.text.startswith("Stopped at look 1 with a finding: ")


def test_the_same_numbers_as_the_boundary_functions():
    t = np.array([0.2, 0.7, 1.0])
    plan = GroupSequential(looks=t, boundary="hwang-shih-decani-spending", parameter=-3.0, alternative="greater", alpha=0.025)
    assert plan.boundaries()["critical"].to_numpy() == pytest.approx(spent_boundary(spending("hwang-shih-decani", t, 0.025, -3.0), t, np.full(3, -np.inf)))


@pytest.mark.parametrize("history", [None, 5, [None], [(0.2, 0.1, 0.1)]])
def test_histories_that_cannot_be(history):
    with pytest.raises(ParameterError, match=r"look 1 of the history is a \w+: needs Look"):
        GroupSequential(3).monitor(history)


def test_one_look_needs_no_list():
    assert GroupSequential(3).monitor(Look(0.4, 0.1, 0.1)).frame().equals(GroupSequential(3).monitor([Look(0.4, 0.1, 0.1)]).frame())
