"""Intervals of shares, against the published tables."""
import numpy as np
import pytest

from tenant_lab.core.errors import ParameterError
from tenant_lab.core.shares import newcombe_interval, wilson_interval


def test_wilson_against_newcombe():
    """Newcombe (1998), Statistics in Medicine 17, 857-872, Table I, method 3 (score, no continuity correction)."""
    low, high = wilson_interval([81, 15, 0, 1], [263, 148, 20, 29])
    assert low == pytest.approx([0.2553, 0.0624, 0.0, 0.0061], abs=5e-5)
    assert high == pytest.approx([0.3662, 0.1605, 0.1611, 0.1718], abs=5e-5)


def test_newcombe_against_his_table():
    """Newcombe (1998), Statistics in Medicine 17, 873-890, Table II, method 10."""
    low, high = newcombe_interval([56, 9, 6, 5, 0, 10], [70, 10, 7, 56, 10, 10], [48, 3, 2, 0, 0, 0], [80, 10, 7, 29, 20, 10])
    assert low == pytest.approx([0.0524, 0.1705, 0.0582, -0.0381, -0.1611, 0.6075], abs=5e-5)
    assert high == pytest.approx([0.3339, 0.8090, 0.8062, 0.1926, 0.2775, 1.0], abs=5e-5)


def test_a_level_is_kept():
    """A wider level is a wider interval; at the Wilson interval's ends the score test is just significant at that level."""
    low, high = wilson_interval(30, 100, level=0.9)
    for end in (low, high):
        assert abs(0.3 - end) / np.sqrt(end * (1 - end) / 100) == pytest.approx(1.6448536269514722, rel=1e-9)
    inner, outer = (np.ravel(newcombe_interval(30, 100, 40, 100, level)) for level in (0.9, 0.99))
    assert outer[0] < inner[0] < -0.1 < inner[1] < outer[1]
    with pytest.raises(ParameterError, match="level 1"):
        wilson_interval(1, 2, level=1)
