"""Tests against a margin beside published numbers."""

import numpy as np
import pytest
from scipy import stats

from tenant_lab.experiments.margins import score_z

# Newcombe 1998, Statistics in Medicine 17, table II, method of Mee (the score interval with the variance of Farrington & Manning): successes and sizes of both groups, ends of the 95 % interval of p1 - p2
MEE = [((56, 70, 48, 80), (0.0533, 0.3377)), ((9, 10, 3, 10), (0.1821, 0.8370)), ((6, 7, 2, 7), (0.0544, 0.8478)), ((5, 56, 0, 29), (-0.0313, 0.1926)), ((0, 10, 0, 20), (-0.1611, 0.2775)), ((0, 10, 0, 10), (-0.2775, 0.2775))]


@pytest.mark.parametrize(("counts", "ends"), MEE)
def test_newcombe_1998(counts, ends):
    k1, n1, k0, n0 = counts
    low, high = (float(score_z(k0, n0, k1, n1, 1, end)) for end in ends)
    assert (low, high) == (pytest.approx(1.96, abs=2e-3), pytest.approx(-1.96, abs=2e-3))


@pytest.mark.parametrize(("counts", "low"), [((10, 10, 0, 20), 0.7225), ((10, 10, 0, 10), 0.6777)])
def test_newcombe_1998_where_all_differ(counts, low):
    k1, n1, k0, n0 = counts
    assert score_z(k0, n0, k1, n1, 1, low) == pytest.approx(1.96, abs=2e-3)


def test_koopman_1984():
    """Biometrics 40: 36 of 40 against 16 of 80, the 95 % interval of the ratio is 2.94 to 7.15."""
    low, high = (float(score_z(16, 80, 36, 40, ratio)) for ratio in (2.94, 7.15))
    assert (low, high) == (pytest.approx(1.96, abs=5e-3), pytest.approx(-1.96, abs=5e-3))


def test_miettinen_and_nurminen_1985():
    """Statistics in Medicine 4, examples 4 and 6; as in the tests of R's gsDesign. Their variance is N / (N - 1) times that of Farrington & Manning."""
    less = np.sqrt(29 / 30)
    assert [less * float(score_z(0, 20, 0, 10, 1, end)) for end in (-0.1658, 0.28436)] == pytest.approx([1.96, -1.96], abs=1e-3)
    assert [less * float(score_z(20, 20, 10, 10, end)) for end in (0.715615, 1.198703)] == pytest.approx([1.96, -1.96], abs=1e-3)


@pytest.mark.parametrize(("p1", "p0", "n1", "n0", "factor", "shift", "power"), [
    (0.4, 0.05, 80, 80, 1, 0.2, 0.813), (0.1, 0.1, 63, 42, 1, -0.2, 0.916), (0.25, 0.05, 173, 260, 1, 0.1, 0.906), (0.25, 0.05, 134, 201, 2, 0, 0.9078)])
def test_farrington_and_manning_1990(p1, p0, n1, n0, factor, shift, power):
    """Statistics in Medicine 9, page 1451 and table 1: sizes for a power of 80 % and 90 % at a one-sided 5 %. The power here is exact, a sum over all outcomes; R's gsDesign simulates it in its tests, with a tolerance of 0.01."""
    k1, k0 = np.arange(n1 + 1)[:, None], np.arange(n0 + 1)[None]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = score_z(k0, n0, k1, n1, factor, shift) > stats.norm.ppf(0.95)
    assert (stats.binom.pmf(k1, n1, p1) * stats.binom.pmf(k0, n0, p0))[found].sum() == pytest.approx(power, abs=0.01)
