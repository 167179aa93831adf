"""Boundaries: the integral beside SciPy's multivariate normal, its own error, and every refusal."""

import numpy as np
import pytest
from scipy.special import ndtr, ndtri
from scipy.stats import multivariate_normal

from tenant_lab.core.errors import ParameterError
from tenant_lab.experiments import boundaries
from tenant_lab.experiments.boundaries import (
    classical_boundary,
    crossing_probabilities,
    inner_boundary,
    read_information,
    spending,
    spent_boundary,
)

NONE = -np.inf


def test_information_is_read_as_looks_or_numbers():
    assert read_information(4).tolist() == [0.25, 0.5, 0.75, 1] and read_information(np.int64(1)).tolist() == [1]
    assert read_information((3, 10.0)).tolist() == [3, 10]


@pytest.mark.parametrize("given, said", [
    (0, "looks 0: needs a whole number from 1 to 500"), (501, "from 1 to 500"), (True, "needs a whole number"), (2.5, "needs a whole number"), ("5", "needs a whole number"), (None, "needs a whole number"),
    ([], "needs 1 to 500 finite"), ([[0.5, 1]], "needs 1 to 500 finite"), ([0, 1], "from above 0"), ([-1, 1], "from above 0"), ([0.5, 0.5], "each larger than the one before"), ([0.6, 0.5], "each larger"),
    ([0.9995, 1.0], "by at least a thousandth"), ([0.5, np.nan], "finite"), ([0.5, np.inf], "finite"), (["a", "b"], "needs a number for each look"), ([None, 1], "needs"), (np.arange(1, 502), "1 to 500"),
])
def test_information_that_is_refused(given, said):
    with pytest.raises(ParameterError, match=said):
        read_information(given)


@pytest.mark.parametrize("drift", [0.0, 2.0, -1.3])
def test_three_looks_beside_the_trivariate_normal(drift):
    t, lower, upper = np.array([0.2, 0.55, 1.0]), np.array([-1.5, -1.0, -0.5]), np.array([2.5, 2.2, 1.9])
    up, down, reached = crossing_probabilities(lower, upper, t, drift)
    joint = multivariate_normal(drift * np.sqrt(t), np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t)), abseps=1e-7, maxpts=2_000_000)
    far = np.array([lower[0], lower[1], 12.0])
    assert up[0] == pytest.approx(ndtr(drift * t[0]**0.5 - 2.5), abs=1e-12) and down[0] == pytest.approx(ndtr(-1.5 - drift * t[0]**0.5), abs=1e-12)
    # SciPy's own error in three dimensions is some 1e-6
    assert up[2] == pytest.approx(joint.cdf([upper[0], upper[1], far[2]], lower_limit=[lower[0], lower[1], upper[2]], rng=np.random.default_rng(0)), abs=1e-5)
    assert down[2] == pytest.approx(joint.cdf([upper[0], upper[1], lower[2]], lower_limit=[lower[0], lower[1], -12], rng=np.random.default_rng(0)), abs=1e-5)
    assert reached == pytest.approx(1 - np.r_[0, (up + down).cumsum()[:-1]], abs=1e-8)


def test_information_has_no_unit_but_the_drifts():
    bounds = [-1.0, -1.0], [2.0, 2.0]
    assert np.allclose(crossing_probabilities(*bounds, [100, 400], 0.1), crossing_probabilities(*bounds, [0.25, 1.0], 2.0), atol=1e-12)


def test_up_is_down_in_the_mirror():
    up, down, _ = crossing_probabilities([-1.0, 0.2], [2.0, 1.5], [0.4, 1.0], 0.7)
    mirrored = crossing_probabilities([-2.0, -1.5], [1.0, -0.2], [0.4, 1.0], -0.7)
    assert np.allclose(up, mirrored.down, atol=1e-12) and np.allclose(down, mirrored.up, atol=1e-12)


def test_no_bounds_and_far_drifts_stay_chances():
    free = crossing_probabilities([NONE] * 3, [np.inf] * 3, 3)
    assert free.up.sum() == free.down.sum() == 0 and free.reached == pytest.approx(1, abs=1e-9)
    for drift in (-100.0, 100.0):
        far = crossing_probabilities([-2.0] * 4, [2.0] * 4, [0.001, 0.01, 0.5, 1.0], drift)
        assert np.isfinite(far).all() and (far.up + far.down).sum() == pytest.approx(1, abs=1e-9)
    one_sided = crossing_probabilities([NONE] * 2, [2.0] * 2, 2, -60.0)
    assert np.isfinite(one_sided).all() and one_sided.up.sum() == pytest.approx(0, abs=1e-12)
    assert np.isfinite(crossing_probabilities([2.0] * 2, [np.inf] * 2, 2, -60.0)).all()


def test_stopping_in_the_middle_is_stopping():
    lower, upper, inner = [-2.5, -2.0, -2.0], [2.5, 2.0, 2.0], [0.5, 0.0, 1.0]
    up, down, reached = crossing_probabilities(lower, upper, 3, 1.0, inner)
    middle = ndtr(0.5 - 3**-0.5) - ndtr(-0.5 - 3**-0.5)
    assert reached[1] == pytest.approx(1 - up[0] - down[0] - middle, abs=1e-8)
    assert reached[2] == pytest.approx(reached[1] - up[1] - down[1], abs=1e-8)   # 0 stops nowhere, and the last one no more


@pytest.mark.parametrize("arguments, said", [
    (([0.0], [1, 1], 2), "lower .*each of the 2 looks"), (([0, 0], [1, np.nan], 2), "upper .*each of the 2 looks"), (([0, 2], [1, 1], 2), "lower bounds of at most the upper ones"),
    (([0, 0], [1, 1], 2, np.inf), "drift inf"), (([0, 0], [1, 1], 2, 0.0, [0.1]), "inner .*each of the 2 looks"), (([0, 0], [1, 1], [1, 1]), "each larger"),
])
def test_crossings_that_are_refused(arguments, said):
    with pytest.raises(ParameterError, match=said):
        crossing_probabilities(*arguments)


@pytest.mark.parametrize("kind, parameter", [("obrien-fleming", None), ("pocock", None), ("power", 0.5), ("power", 3), ("hwang-shih-decani", -4), ("hwang-shih-decani", 0), ("hwang-shih-decani", 2.5)])
def test_spending_grows_from_nothing_to_alpha(kind, parameter):
    spent = spending(kind, np.linspace(0, 1, 50), 0.05, parameter)
    assert spent[0] == 0 and spent[-1] == pytest.approx(0.05, rel=1e-12) and (np.diff(spent) >= 0).all()
    assert spending(kind, 1.7, 0.05, parameter) == pytest.approx(0.05, rel=1e-12)
    assert spending(kind, [[0.5]], 0.05, parameter).shape == (1, 1)


def test_spending_by_hand():
    assert spending("power", 0.5, 0.04, 2) == pytest.approx(0.01) and spending("pocock", 0.5, 0.05) == pytest.approx(0.05 * np.log((np.e + 1) / 2))
    assert spending("hwang-shih-decani", 0.5, 0.05, 1) == pytest.approx(0.05 * (1 - np.exp(-0.5)) / (1 - np.exp(-1)))
    assert spending("obrien-fleming", 0.25, 0.05) == pytest.approx(2 * ndtr(-1.959964 * 2), rel=1e-5)


@pytest.mark.parametrize("arguments, said", [
    (("power", 0.5, 0.05), "parameter of power None: needs a number from 0.1 to 20"), (("power", 0.5, 0.05, 0), "from 0.1"), (("hwang-shih-decani", 0.5, 0.05, 41), "from -40.0 to 40"),
    (("pocock", 0.5, 0.05, 1), "pocock has none"), (("obf", 0.5, 0.05), "kind 'obf': allowed are"), (("pocock", -0.1, 0.05), "shares of the planned information from 0"),
    (("pocock", [0.5, np.nan], 0.05), "shares of the planned"), (("pocock", 0.5, 1.5), "alpha 1.5"),
])
def test_spendings_that_are_refused(arguments, said):
    with pytest.raises(ParameterError, match=said):
        spending(*arguments)


@pytest.mark.parametrize("t", [[1.0], [0.3, 1.0], [0.1, 0.11, 0.5, 0.99, 1.0], [0.02, 0.7, 0.75]])
@pytest.mark.parametrize("mirror", [True, False])
def test_a_boundary_spends_what_it_was_given(t, mirror):
    spent = spending("pocock", t, 0.03)
    upper = spent_boundary(spent, t, None if mirror else np.full(len(t), NONE))
    assert crossing_probabilities(-upper if mirror else np.full(len(t), NONE), upper, t).up.cumsum() == pytest.approx(spent, abs=1e-10)


def test_a_boundary_under_a_drift_and_above_a_bound():
    t, lower = np.array([0.4, 0.8, 1.0]), np.array([-2.0, -1.5, -1.0])
    upper = spent_boundary([0.1, 0.5, 0.7], t, lower, 2.0)
    assert crossing_probabilities(lower, upper, t, 2.0).up.cumsum() == pytest.approx([0.1, 0.5, 0.7], abs=1e-9)
    assert spent_boundary([0.0, 0.9], 2, [-2.0, 1.9], 0.0).tolist() == [np.inf, 1.9]   # nothing to spend, and more than there is


def test_half_of_the_error_on_each_side_leaves_nothing():
    upper = spent_boundary([0.25, 0.5 - 1e-6], 2)
    assert 0 <= upper[1] < 1e-5 < upper[0] == pytest.approx(-ndtri(0.25), abs=1e-9)


def test_fifty_looks_from_the_far_tail():
    t = read_information(50)
    upper = spent_boundary(spending("obrien-fleming", t, 0.025), t)
    assert np.isfinite(upper).all() and (np.diff(upper) < 0).all()
    assert upper[0] == pytest.approx(2.2414027 / 0.02**0.5, abs=0.1)   # the tail of twice the normal is the normal a little further out
    assert 2.031 < upper[-1] < 2.2414   # between that of 5 looks and of a look at any moment, where the spending function is exact (Lan and DeMets 1983)
    assert np.isinf(spent_boundary(spending("obrien-fleming", [0.001, 1.0], 0.025), [0.001, 1.0])[0])   # less than the smallest float


@pytest.mark.parametrize("t", [np.arange(1, 51) / 50, np.array([0.13, 0.4, 0.69, 0.9, 0.98, 1.0]), np.array([0.05, 0.9, 0.905, 0.91, 2.0])])
@pytest.mark.parametrize("kind", ["obrien-fleming", "pocock"])
@pytest.mark.parametrize("mirror", [True, False])
def test_finer_panels_change_nothing(t, kind, mirror, monkeypatch):
    """The error of the quadrature in the critical value stays below 1e-6, the digits that are promised."""
    spent, lower = spending(kind, t, 0.025), None if mirror else np.full(len(t), NONE)
    found = spent_boundary(spent, t, lower)
    points, weights = np.polynomial.legendre.leggauss(20)
    monkeypatch.setattr(boundaries, "_POINTS", points), monkeypatch.setattr(boundaries, "_WEIGHTS", weights)
    assert found == pytest.approx(spent_boundary(spent, t, lower), abs=1e-7)


@pytest.mark.parametrize("arguments, said", [
    (([0.01, 0.005], 2), "that do not fall"), (([0.1, 0.5], 2), "below 0.5"), (([0.1, 1.0], 2, [NONE, NONE]), "below 1 "), (([-0.1, 0.1], 2), "from 0"), (([0.1], 2), "spent .*each of the 2 looks"),
    (([0.1, 0.2], 2, [0.0]), "lower .*each of the 2 looks"), (([0.1, 0.2], 2, None, np.nan), "drift nan"),
])
def test_boundaries_that_are_refused(arguments, said):
    with pytest.raises(ParameterError, match=said):
        spent_boundary(*arguments)


def test_the_middle_spends_what_it_was_given():
    t, upper, spent = np.array([0.3, 0.6, 1.0]), np.array([3.5, 2.7, 2.0]), np.array([0.01, 0.08, 0.2])
    inner = inner_boundary(spent, t, upper, 2.8)
    up, down, reached = crossing_probabilities(-upper, upper, t, 2.8, inner)
    stopped = reached[:-1] - reached[1:] - up[:-1] - down[:-1]
    assert stopped.cumsum() == pytest.approx(spent[:-1], abs=1e-7) and (np.diff(inner) > 0).all()
    assert inner_boundary([0.0, 0.99], 2, [np.inf, 2.0], 0.0) == pytest.approx([0.0, 2.0], abs=1e-9)
    assert inner_boundary([0.9, 0.99], 2, [np.inf, 2.0], 0.0)[0] == pytest.approx(-ndtri(0.05), abs=1e-9)
    with pytest.raises(ParameterError, match="below 1"):
        inner_boundary([0.5, 1.0], 2, [2.0, 2.0], 1.0)


@pytest.mark.parametrize("two_sided", [True, False])
def test_classical_boundaries_have_their_shape_and_level(two_sided):
    for kind, parameter, delta in (("pocock", None, 0.5), ("obrien-fleming", None, 0), ("wang-tsiatis", 0.3, 0.3)):
        t = np.array([2.0, 5.0, 8.0])   # in any unit
        upper = classical_boundary(kind, t, 0.03, parameter, two_sided)
        assert upper == pytest.approx(upper[-1] * (t / 8) ** (delta - 0.5))
        assert crossing_probabilities(-upper if two_sided else np.full(3, NONE), upper, t).up.sum() == pytest.approx(0.03, abs=1e-9)
        assert classical_boundary(kind, 1, 0.03, parameter, two_sided) == pytest.approx([-ndtri(0.03)], abs=1e-9)


@pytest.mark.parametrize("arguments, said", [
    (("haybittle", 3, 0.025), "kind 'haybittle': allowed"), (("wang-tsiatis", 3, 0.025), "parameter of wang-tsiatis None"), (("pocock", 3, 0.025, 0.1), "pocock has none"),
    (("pocock", 3, 0.6), "alpha 0.6"), (("pocock", 3, 0.0), "alpha 0.0"), (("pocock", 0, 0.025), "looks 0"),
])
def test_classical_boundaries_that_are_refused(arguments, said):
    with pytest.raises(ParameterError, match=said):
        classical_boundary(*arguments)
