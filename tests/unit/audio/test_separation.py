"""Measures of separation against their definitions, and harmonic-percussive separation against librosa's."""
import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sound_kit import made, music

from tenant_lab.audio.metrics import sdr, si_sdr
from tenant_lab.audio.percussion import harmonic_mask, hpss
from tenant_lab.core.errors import AudioError, ParameterError


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(-30, 60), st.floats(1e-3, 1e3))
def test_si_sdr_is_the_level_of_what_was_added(seed, level, scale):
    rng = np.random.default_rng(seed)
    s, e = rng.standard_normal((2, 4000))
    s, e = s - s.mean(), e - e.mean()
    e -= (e @ s) / (s @ s) * s
    e *= np.linalg.norm(s) / np.linalg.norm(e) * 10 ** (-level / 20)
    assert si_sdr(s, scale * (s + e)) == pytest.approx(level, abs=1e-6)
    assert si_sdr(s, -scale * (s + e) + 5) == pytest.approx(level, abs=1e-6)  # neither sign nor offset counts


def test_the_ends_of_the_scale():
    rng = np.random.default_rng(0)
    s = rng.standard_normal(1000)
    assert si_sdr(s, np.zeros(1000)) == -np.inf and si_sdr(s, s) > 250
    assert sdr(s, s, 1000).tolist() == [np.inf]
    for bad in ((s, s[:-1]), (s, np.full(1000, np.nan)), (np.zeros(1000), s), (np.zeros((2, 2, 2)),) * 2, ([], [])):
        with pytest.raises(ParameterError):
            si_sdr(*bad)


def test_sdr_window_by_window():
    rng = np.random.default_rng(0)
    s = rng.standard_normal((4 * 1000 + 300, 2))
    e = rng.standard_normal(s.shape) * np.repeat([0.1, 0.01, 1.0, 0.5, 9.0], [1000] * 4 + [300])[:, None]
    s[3000:4000] = 0
    found = sdr(s, s + e, 1000)
    expected = [10 * np.log10((s[k: k + 1000] ** 2).sum() / (e[k: k + 1000] ** 2).sum()) for k in (0, 1000, 2000)]
    assert found[:3] == pytest.approx(expected) and np.isnan(found[3]) and found.size == 4
    assert sdr(s[:500], s[:500] + e[:500], 1000).size == 1


@pytest.mark.parametrize("name", [0, 9, 20, *made()])
def test_hpss_equals_librosas(name):
    y = music(name, 20) if isinstance(name, int) else made()[name]
    tones, beats = hpss(y)
    scale = np.abs(y).max()
    assert tones.dtype == beats.dtype == np.float32 and np.abs(tones + beats - y).max() <= 1e-6 * scale
    if name == "shorter than a frame":
        return  # librosa's are not numbers there
    theirs = librosa.effects.hpss(y)
    np.testing.assert_allclose(tones, theirs[0], atol=1e-4 * scale)
    np.testing.assert_allclose(beats, theirs[1], atol=1e-4 * scale)


def test_a_long_sound_in_stretches_is_as_in_one(monkeypatch):
    from tenant_lab.audio import percussion
    y = music(3, 30)
    whole = hpss(y)
    monkeypatch.setattr(percussion, "_STRETCH", 100)
    for ours, theirs in zip(hpss(y), whole, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_wrong_sounds():
    for y, error in ((np.zeros((2, 9)), AudioError), ([0.0, np.inf], AudioError)):
        with pytest.raises(error):
            hpss(y)
    for width in (0, 30):
        with pytest.raises(ParameterError, match=f"width {width}"):
            hpss(np.zeros(5000), width=width)


@pytest.mark.parametrize("level", [0.0, 0.1, 1e6, 1e-6])
def test_of_a_constant_nothing_can_be_said(level):
    """Rounding leaves something of 0.1 when its mean is taken away; that is no signal."""
    with pytest.raises(ParameterError, match="the reference is silent"):
        si_sdr(np.full(1001, level), np.arange(1001.0))
    assert si_sdr(level + np.sin(np.arange(1001.0)), np.sin(np.arange(1001.0))) > 100


@pytest.mark.parametrize("width", [0, 2, 30, -1, 3.0, "31"])
def test_a_median_needs_a_middle(width):
    with pytest.raises(ParameterError, match="width"):
        harmonic_mask(np.ones((40, 50), "f4"), width)
