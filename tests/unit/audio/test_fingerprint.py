"""The same recording is found whatever was done to it, and nothing else is."""
import io

import numpy as np
import pytest
import soundfile as sf
from sound_kit import SR, music

from tenant_lab.audio.fingerprint import fingerprint, near_duplicates
from tenant_lab.core.errors import AudioError, ParameterError


def through(y, **options):
    file = io.BytesIO()
    sf.write(file, y, SR, **options)
    file.seek(0)
    return sf.read(file, dtype="float32")[0]


CHANGES = {
    "quieter": lambda y: 0.05 * y, "noisier": lambda y: y + 0.01 * np.random.default_rng(0).standard_normal(y.size),
    "as MP3": lambda y: through(y, format="MP3", compression_level=0.9), "as Ogg": lambda y: through(y, format="OGG", compression_level=1.0),
    "in 8 bits": lambda y: through(y, format="WAV", subtype="PCM_U8"), "cut elsewhere": lambda y: y[3 * SR + 137:], "a part": lambda y: y[8 * SR: 14 * SR],
    "with another beginning": lambda y: np.r_[0.1 * np.random.default_rng(0).standard_normal(2 * SR), y[: 12 * SR]], "clipped": lambda y: np.clip(1.5 * y, -0.5, 0.5),
    "duller": lambda y: np.convolve(y, np.ones(4) / 4, mode="same"), "upside down": lambda y: -y}


@pytest.fixture(scope="module")
def prints():
    return [fingerprint(music(n, 20)) for n in range(28)]


def test_different_tracks_share_nothing(prints):
    assert near_duplicates(prints) == []


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("n", [1, 12, 26])
def test_a_changed_copy_is_found_and_only_with_its_original(prints, n, change):
    found = near_duplicates([*prints, fingerprint(CHANGES[change](music(n, 20)))])
    assert [(d.first, d.second) for d in found] == [(n, 28)] and found[0].error < 0.35
    if change == "cut elsewhere":
        assert found[0].shift == pytest.approx(-3, abs=0.05)


def test_silence_hum_and_noise_are_no_duplicates():
    rng, t = np.random.default_rng(0), np.arange(6 * SR) / SR
    sounds = [np.zeros(6 * SR), np.zeros(5 * SR), *(0.1 * rng.standard_normal(6 * SR) for _ in range(3)), 1e-9 * rng.standard_normal(6 * SR)]
    assert near_duplicates([fingerprint(y) for y in sounds]) == []
    assert not fingerprint(sounds[0]).any() and fingerprint(np.sin(2 * np.pi * 50 * t)).dtype == np.uint32


def test_bits_of_unrelated_tracks_are_half_equal(prints):
    error = [np.bitwise_count(a[:700] ^ b[:700]).mean() / 32 for a, b in zip(prints[:-1], prints[1:], strict=True)]
    assert np.mean(error) == pytest.approx(0.5, abs=0.03) and min(error) > 0.42


def test_a_recording_that_stands_very_often_is_still_found():
    one, other = fingerprint(music(0, 6)), fingerprint(music(1, 6))
    found = near_duplicates([one] * 70 + [other])
    assert {d.second for d in found if d.first == 0} == set(range(1, 70)) and not any(70 in (d.first, d.second) for d in found)


def test_short_and_wrong_input():
    assert fingerprint(np.zeros(5000)).size == 0 and near_duplicates([fingerprint(np.zeros(5000))] * 2) == []
    with pytest.raises(AudioError):
        fingerprint(np.zeros((2, 5000)))
    with pytest.raises(ParameterError, match="uint32"):
        near_duplicates([np.zeros(4, int)])
    with pytest.raises(ParameterError, match="threshold"):
        near_duplicates([], threshold=0.5)
