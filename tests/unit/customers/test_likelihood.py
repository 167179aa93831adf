"""Derivatives of mixtures against differences, tops that are known in closed form, ridges, and searches without an end."""
from dataclasses import dataclass

import numpy as np
import pytest

from tenant_lab.core.errors import ConvergenceError
from tenant_lab.customers.likelihood import Stories, maximise, parameters, summed


@dataclass
class Rows:
    y: np.ndarray
    weight: np.ndarray


def two_rates(theta, rows):
    """Waiting times of rate a, or of rate b a third as often."""
    a, b = theta
    y = rows.y
    return Stories(np.log(a) - a * y, [1 / a - y, 0.0 * y], {(0, 0): -1 / a**2 + 0 * y}, np.stack([np.log(b / a / 3) - (b - a) * y] * 2),
                   [y - 1 / a, 1 / b - y], {(0, 0): 1 / a**2, (1, 1): -1 / b**2})


@pytest.mark.parametrize("moved", [[[(0, 1.0)], [(1, 1.0)]], [[(0, 1.0)], [(1, 1.0)], [(0, "z"), (1, "-z")]], [[(0, 1.0), (1, 1.0)], [(1, "z")]]])
def test_derivatives_are_those_of_the_value(moved):
    rng = np.random.default_rng(0)
    rows, z = Rows(rng.exponential(size=7), rng.uniform(1, 3, 7)), np.linspace(-1, 1, 7)
    moved = [[(i, {"z": z, "-z": -z}.get(u, u)) for i, u in one] for one in moved]
    c, steps = np.array([0.3, -0.4, 0.2])[: len(moved)], 1e-5 * np.eye(len(moved))

    def at(c):
        return summed(two_rates(theta := parameters(c, moved, 2), rows), theta, moved, rows.weight)
    value, gradient, hessian = at(c)
    a, b = parameters(c, moved, 2)
    assert value == pytest.approx(rows.weight @ np.log(a * np.exp(-a * rows.y) + 2 / 3 * b * np.exp(-b * rows.y)))
    assert gradient == pytest.approx([(at(c + h)[0] - at(c - h)[0]) / 2e-5 for h in steps], rel=1e-7, abs=1e-8)
    assert hessian == pytest.approx(np.array([(at(c + h)[1] - at(c - h)[1]) / 2e-5 for h in steps]), rel=1e-6, abs=1e-7)
    assert (hessian == hessian.T).all()


def normal(theta, rows):
    """Of mean `m` and variance `v`; one story only."""
    m, v = theta
    off = rows.y - m
    return Stories(-0.5 * (np.log(2 * np.pi * v) + off**2 / v), [off / v, 0.5 * (off**2 / v - 1) / v],
                   {(0, 0): -1 / v, (0, 1): -off / v**2, (1, 1): 0.5 / v**2 - off**2 / v**3}, np.zeros((0, len(off))), [0.0, 0.0], {})


@pytest.mark.parametrize("parts", [1, 3, 100])
def test_mean_and_variance_and_their_errors(parts):
    """In any number of parts, with the steps on some of them that many parts bring."""
    y = np.random.default_rng(1).normal(5, 2, 3000)
    found = maximise(normal, {"m": 1.0, "v": 1.0}, [Rows(y[n::parts], np.ones(len(y[n::parts]))) for n in range(parts)])
    assert np.exp(found.coefficients) == pytest.approx([y.mean(), y.var()], rel=1e-6)
    errors = np.exp(found.coefficients) * np.sqrt(np.diag(found.covariance))
    assert errors == pytest.approx([np.sqrt(y.var() / 3000), y.var() * np.sqrt(2 / 3000)], rel=1e-5)
    assert found.log_likelihood == pytest.approx(-1500 * (np.log(2 * np.pi * y.var()) + 1)) and found.notes == ()


def test_weights_are_rows():
    y = np.array([1.0, 2.0, 4.0])
    twice = maximise(normal, {"m": 1.0, "v": 1.0}, [Rows(np.repeat(y, [1, 5, 2]), np.ones(8))])
    weighted = maximise(normal, {"m": 1.0, "v": 1.0}, [Rows(y, np.array([1.0, 5.0, 2.0]))])
    assert weighted.coefficients == pytest.approx(twice.coefficients) and weighted.covariance == pytest.approx(twice.covariance)


def test_what_cannot_be_told_apart():
    def product(theta, rows):
        a, b = theta
        return Stories(np.log(a * b) - a * b * rows.y, [1 / a - b * rows.y, 1 / b - a * rows.y], {(0, 0): -1 / a**2, (0, 1): -rows.y, (1, 1): -1 / b**2}, np.zeros((0, 3)), [0.0, 0.0], {})
    found = maximise(product, {"a": 1.0, "b": 2.0}, [Rows(np.array([1.0, 2.0, 3.0]), np.ones(3))])
    assert np.exp(found.coefficients.sum()) == pytest.approx(0.5) and np.isnan(found.covariance).all()
    assert found.notes == ("the data cannot tell all parameters apart: no standard errors",)


def test_a_ridge_is_left_where_it_is_level():
    def saturated(theta, rows):  # rises to its limit like 1 - 1 / a
        a = theta[0]
        return Stories(-1 / a + 0 * rows.y, [1 / a**2], {(0, 0): -2 / a**3}, np.zeros((0, 3)), [0.0], {})
    found = maximise(saturated, {"a": 1.0}, [Rows(np.ones(3), np.ones(3))])
    assert "a = " in found.notes[0] and "too much alike to tell" in found.notes[0]
    assert found.log_likelihood == pytest.approx(0, abs=5e-3) and np.isnan(found.covariance).all()


def test_no_top_is_an_error():
    def rising(theta, rows):
        return Stories(np.log(theta[0]) * rows.y, [rows.y / theta[0]], {(0, 0): -rows.y / theta[0] ** 2}, np.zeros((0, 3)), [0.0], {})
    with pytest.raises(ConvergenceError, match=r"no top that could be found: speed = .*, and further still\. The data may be too few"):
        maximise(rising, {"speed": 1.0}, [Rows(np.ones(3), np.ones(3))])

    def nowhere(theta, rows):
        return Stories(np.nan * rows.y, [np.nan], {(0, 0): np.nan}, np.zeros((0, 3)), [0.0], {})
    with pytest.raises(ConvergenceError, match="no top that could be found"):
        maximise(nowhere, {"speed": 1.0}, [Rows(np.ones(3), np.ones(3))])
