"""Signals whose features are known from theory or from a standard."""
import numpy as np
import pyloudnorm
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sound_kit import SR, clicks, music

from tenant_lab.audio.features import FEATURES, FRAME_FEATURES, delta, extract
from tenant_lab.audio.loudness import LoudnessMeter, loudness
from tenant_lab.audio.rhythm import tempo
from tenant_lab.audio.spectrum import FrameSettings, blocks, product
from tenant_lab.audio.tonal import MAJOR, MINOR, PITCHES, key, tonnetz
from tenant_lab.core.errors import AudioError, ParameterError


def tone(hz, seconds=2.0, sr=SR, level=0.5):
    return (level * np.sin(2 * np.pi * hz * np.arange(int(seconds * sr)) / sr)).astype("f4")


@pytest.mark.parametrize("n", range(12))
@pytest.mark.parametrize("octave", [3, 4, 5])
def test_a_pure_tone_has_its_pitch_class(n, octave):
    hz = 440 * 2 ** ((n - 9) / 12 + octave - 4)
    said = extract(tone(hz), SR, ["chroma", "centroid"])
    inner = said.frames["chroma"][:, 4:-4]
    assert (inner.argmax(axis=0) == n).all()
    assert np.abs(said.frames["centroid"][4:-4] - hz).max() < SR / 2048  # within a bin


@pytest.mark.parametrize("tonic", range(12))
@pytest.mark.parametrize("mode, steps", [("major", (0, 4, 7, 5, 9, 0, 7, 11, 2, 0, 4, 7)), ("minor", (0, 3, 7, 5, 8, 0, 7, 10, 2, 0, 3, 7))])
def test_chords_of_a_key_have_that_key(tonic, mode, steps):
    """Tonic, subdominant, tonic-dominant, tonic as triads of three partials."""
    def chord(notes):
        hz = [261.63 * 2 ** ((tonic + note) % 12 / 12) for note in notes]
        return sum(tone(f * k, 1.0, level=0.1 / k) for f in hz for k in (1, 2, 3))
    y = np.concatenate([chord(steps[i: i + 3]) for i in (0, 3, 6, 9)])
    found = extract(y, SR, ["key"]).key
    assert found.name == f"{PITCHES[tonic]} {mode}", found


def test_each_profile_is_its_own_key():
    for profile, mode in ((MAJOR, "major"), (MINOR, "minor")):
        for tonic, pitch in enumerate(PITCHES):
            found = key(np.roll(profile, tonic)[None])
            assert found.name == f"{pitch} {mode}" and found.correlation == pytest.approx(1) and found.margin > 0


@pytest.mark.parametrize("bpm", range(60, 201, 10))
def test_clicks_have_their_tempo_or_its_octave(bpm):
    said = extract(clicks(bpm), SR, ["tempo"])
    assert min(abs(said.tempo / bpm / factor - 1) for factor in (0.5, 1, 2)) < 0.04  # lags are whole frames: 2 % at 120, 4 % at 200
    if abs(said.tempo / bpm - 1) < 0.04:
        gaps = np.diff(said.beats)[:-1] * 512 / SR  # the last beat may be drawn to the sound's end, librosa's too
        assert np.abs(gaps - 60 / bpm).max() < 2.5 * 512 / SR


@pytest.mark.parametrize("low, high", [(500, 1000), (1000, 4000), (4000, 8000), (200, 10_000)])
def test_a_band_of_noise_has_its_middle_as_centroid(low, high):
    """A flat magnitude from low to high: centroid (low + high) / 2, bandwidth (high - low) / sqrt 12, 85 % below low + 0.85 (high - low)."""
    rng, n = np.random.default_rng(0), 20 * SR
    spectrum = np.where((np.fft.rfftfreq(n, 1 / SR) >= low) & (np.fft.rfftfreq(n, 1 / SR) <= high), 1.0, 0.0)
    y = np.fft.irfft(spectrum * np.exp(2j * np.pi * rng.random(spectrum.size)), n)
    said = {k: v[4:-4].mean() for k, v in extract(0.5 * y / np.abs(y).max(), SR, ["centroid", "bandwidth", "rolloff"]).frames.items()}
    width = high - low
    assert said["centroid"] == pytest.approx((low + high) / 2, abs=0.03 * width)
    assert said["bandwidth"] == pytest.approx(width / np.sqrt(12), rel=0.1)
    assert said["rolloff"] == pytest.approx(low + 0.85 * width, abs=0.04 * width)


def test_white_noise_is_flat_and_a_tone_is_not():
    noise = np.random.default_rng(0).standard_normal(5 * SR) * 0.1
    # |X|² of noise is exponential: geometric over arithmetic mean = exp(-Euler's constant) = 0.561
    assert extract(noise, SR, ["flatness"]).frames["flatness"].mean() == pytest.approx(0.561, abs=0.01)
    assert extract(tone(1000), SR, ["flatness"]).frames["flatness"][4:-4].max() < 1e-3
    assert extract(noise, SR, ["zcr"]).frames["zcr"].mean() == pytest.approx(0.5, abs=0.01)


def test_flux_is_the_rise_of_the_magnitudes():
    y = music(3, 3)
    frames = np.concatenate(list(blocks(y, FrameSettings())))
    magnitude = np.abs(np.fft.rfft(frames * np.hanning(2049)[:-1], axis=1))
    expected = np.r_[0, np.maximum(np.diff(magnitude, axis=0), 0).sum(axis=1)]
    np.testing.assert_allclose(extract(y, SR, ["flux"]).frames["flux"], expected, rtol=1e-4, atol=1e-4)


# -- loudness ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("sr", [22_050, 48_000])
@pytest.mark.parametrize("levels, integrated", [
    ([(-23, 20)], -23.0), ([(-33, 20)], -33.0),                                   # EBU Tech 3341, cases 1 and 2
    ([(-36, 10), (-23, 60), (-36, 10)], -23.0),                                   # case 3: the relative gate
    ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23.0),             # case 4: the absolute gate
    ([(-26, 20), (-20, 20.1), (-26, 20)], -23.0)])                                # case 5
def test_ebu_tech_3341(sr, levels, integrated):
    y = np.concatenate([tone(1000, seconds, sr, 10 ** (level / 20)) for level, seconds in levels])
    assert loudness(np.stack([y, y], axis=1), sr).integrated == pytest.approx(integrated, abs=0.1)


@pytest.mark.parametrize("levels, span", [([-20, -30], 10), ([-20, -15], 5), ([-40, -20], 20), ([-50, -35, -20, -35, -50], 15)])
def test_ebu_tech_3342(levels, span):
    y = np.concatenate([tone(1000, 20, 48_000, 10 ** (level / 20)) for level in levels])
    assert loudness(np.stack([y, y], axis=1), 48_000).range == pytest.approx(span, abs=1)


@pytest.mark.parametrize("n", range(0, 28, 5))
def test_music_measures_as_by_pyloudnorm(n):
    y = music(n).astype(float)
    theirs = pyloudnorm.Meter(SR, filter_class="DeMan").integrated_loudness(y)
    assert loudness(y, SR).integrated == pytest.approx(theirs, abs=0.01)  # it rounds the blocks' places, we the 100 ms


@pytest.mark.parametrize("phase, level", [(45, 0.5), (60, 0.5), (67.5, 0.5), (0, 0.5)])
def test_true_peak_of_a_sine_beside_its_crests(phase, level):
    """EBU Tech 3341, cases 15 to 18: within +0.2 and -0.4 dB of the crest."""
    y = level * np.sin(2 * np.pi * np.arange(48_000) / 4 + np.deg2rad(phase))
    y *= np.minimum(1, np.minimum(np.arange(48_000), np.arange(48_000)[::-1]) / 2000)  # faded: a cut has overshoots of its own
    assert -0.4 <= loudness(y, 48_000).true_peak - 20 * np.log10(level) <= 0.2


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 30_000), min_size=1, max_size=12))
def test_blocks_of_any_size_measure_the_same(sizes):
    y = music(2, 8)
    meter, at = LoudnessMeter(SR), 0
    for size in sizes:
        meter.update(y[at: at + size])
        at += size
    whole = loudness(y[:at], SR) if at < y.size else loudness(y, SR)
    for ours, theirs in zip(vars(meter.result()).values(), vars(whole).values(), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-9, nan_ok=True)


# -- what goes in, what comes out --------------------------------------------------------------------------------------

@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9000), st.sampled_from([(2048, 512), (512, 512), (256, 100), (64, 16)]))
def test_any_length_has_finite_features_and_the_right_number_of_frames(n, shape):
    s = FrameSettings(n_fft=shape[0], hop_length=shape[1], n_mels=16, n_mfcc=5)
    names = [f for f in FRAME_FEATURES if f != "contrast"]
    y = np.random.default_rng(n).standard_normal(n) * 0.1
    before = y.copy()
    found = extract(y, SR, [*names, "tempo", "key"], s)
    assert np.array_equal(y, before)
    assert all(v.shape[-1] == 1 + n // shape[1] and np.isfinite(v).all() for v in found.frames.values())
    assert all(np.isfinite(v) for v in found.row().values() if isinstance(v, float))


def test_whole_numbers_have_no_loudness():
    with pytest.raises(AudioError, match="divide whole numbers"):
        loudness((tone(1000) * 32767).astype("i2"), SR)


def test_silence_and_constants_are_finite():
    for y in (np.zeros(SR), np.full(SR, 0.5), np.r_[np.zeros(SR), 1e-30, np.zeros(SR)]):
        found = extract(y, SR)
        assert all(np.isfinite(v).all() for v in found.frames.values()) and found.tempo >= 0


@pytest.mark.parametrize("y, error, said", [
    (np.zeros((2, SR)), AudioError, "one dimension; mix down"), (np.zeros(SR, "i2"), AudioError, "divide whole numbers"), ([0.5], AudioError, "1 samples"),
    ([0.0, np.nan], AudioError, "1 samples are not finite"), ([0.0, 1e300], AudioError, "not finite"), ("sound", AudioError, "needs floats")])
def test_what_is_no_sound(y, error, said):
    with pytest.raises(error, match=said):
        extract(y, SR)


@pytest.mark.parametrize("options, said", [
    ({"sr": 0}, "sr 0"), ({"n_fft": 2047}, "even"), ({"hop_length": 4096}, "hop_length"), ({"n_mels": 0}, "n_mels"), ({"n_mfcc": 200}, "n_mfcc"),
    ({"roll_percent": 1.5}, "roll_percent"), ({"tuning": 3.0}, "tuning"), ({"sr": "44100"}, "sr")])
def test_wrong_settings(options, said):
    with pytest.raises(ParameterError, match=said):
        FrameSettings(**options)


@pytest.mark.parametrize("features, said", [("mfcc", "needs a list"), ([], "needs a list"), (["mffc"], "allowed are"), ([3], "allowed are")])
def test_wrong_features(features, said):
    with pytest.raises(ParameterError, match=said):
        extract(np.zeros(SR), SR, features)


def test_a_low_rate_leaves_contrast_out_and_says_so_unless_it_was_asked_for():
    y = tone(300, 1, 8000)
    found = extract(y, 8000)
    assert "contrast" not in found.frames and "contrast left out" in found.notes[0] and set(found.frames) == set(FRAME_FEATURES) - {"contrast"}
    with pytest.raises(ParameterError, match="contrast needs more than"):
        extract(y, 8000, ["contrast"])
    with pytest.raises(ParameterError, match="fmax"):
        extract(y, 8000, settings=FrameSettings(sr=8000, fmax=5000.0))


def test_only_what_was_asked_for_is_there():
    for name in FEATURES:
        found = extract(music(0, 3), SR, [name])
        assert set(found.frames) == {name} & set(FRAME_FEATURES)
        assert (found.key is not None, found.loudness is not None, not np.isnan(found.tempo)) == (name == "key", name == "loudness", name == "tempo")


def test_a_product_in_pieces_is_the_product():
    rng = np.random.default_rng(0)
    for n, k, m in ((1, 5, 3), (128, 1025, 12), (130, 1025, 128), (7, 100_000, 3)):
        a, b = rng.random((n, k)), rng.random((k, m))
        np.testing.assert_allclose(product(a, b), a @ b, rtol=1e-12)


def test_the_picture_and_the_table():
    found = extract(music(0), SR)
    fig = found.plot()
    assert fig.data[0].z.shape[1] <= 600 and len(fig.layout.shapes) == found.beats.size
    assert list(found.frame()) == ["feature", "mean", "std", "p10", "p90"] and "mfcc_20" in set(found.frame().feature)
    assert "TrackFeatures" in found._repr_html_()
    with pytest.raises(ParameterError, match="log_mel"):
        extract(music(0, 3), SR, ["rms"]).plot()


@pytest.mark.parametrize("given, said", [
    ({"top_db": -1.0}, "top_db"), ({"top_db": float("nan")}, "top_db"), ({"top_db": "80"}, "top_db"), ({"fmin": "0"}, "fmin"), ({"fmin": -1.0}, "fmin"),
    ({"fmax": float("inf")}, "fmax"), ({"fmin": 4000.0, "fmax": 3000.0}, "fmin 4000.0 and fmax 3000.0")])
def test_settings_that_mean_nothing(given, said):
    with pytest.raises(ParameterError, match=said):
        extract(tone(440, 1), SR, ["log_mel"], FrameSettings(**given))


def test_frames_too_short_for_contrast_leave_it_out_unless_it_was_asked_for():
    short = FrameSettings(n_fft=64, hop_length=16, n_mels=16, n_mfcc=10)
    found = extract(tone(440, 1), SR, settings=short)
    assert set(FRAME_FEATURES) - set(found.frames) == {"contrast"} and "bins of 200 Hz" in found.notes[0]
    assert all(np.isfinite(rows).all() for rows in found.frames.values())
    with pytest.raises(ParameterError, match="n_fft 64: contrast needs bins of 200 Hz or less"):
        extract(tone(440, 1), SR, ["contrast"], short)


def test_loudness_below_its_rate_is_left_out_with_a_note_or_refused():
    y = tone(440, 1, 4000)
    found = extract(y, 4000)
    assert found.loudness is None and any("loudness left out" in note for note in found.notes)
    with pytest.raises(ParameterError, match="sr 4000"):
        extract(y, 4000, ["loudness"])


def test_names_of_features_may_come_from_anything_once():
    y = tone(440, 1)
    assert extract(y, SR, (name for name in ["rms", "zcr"])).frames.keys() == extract(y, SR, {"rms": 1, "zcr": 2}).frames.keys() == {"rms", "zcr"}


@pytest.mark.parametrize("size", [1.1e6, 1e30, -1e20])
def test_samples_beyond_any_scale_are_refused(size):
    """Their power is no float32, and every figure after it none either."""
    with pytest.raises(AudioError, match="samples as large as"):
        extract(np.array([0.0, size, 0.1] * 1000), SR)
    assert all(np.isfinite(rows).all() for rows in extract(1e6 * tone(440, 1), SR).frames.values())


def test_rows_of_whole_numbers_and_of_no_numbers():
    rows = np.arange(40).reshape(20, 2)
    assert np.allclose(delta(rows), delta(rows.astype(float))) and np.allclose(delta(rows), 2)
    chroma = np.eye(12, dtype=int)
    assert np.allclose(tonnetz(chroma), tonnetz(chroma.astype(float))) and np.abs(tonnetz(chroma)).max() > 0.4
    with pytest.raises(ParameterError, match="needs finite numbers"):
        key(np.full((3, 12), np.nan))
    with pytest.raises(ParameterError, match="needs finite numbers"):
        tempo(np.array([0.0, np.nan] * 500), SR, 512)


def test_loudness_of_six_channels_leaves_low_effects_out():
    """BS.1770: left, right and centre count once, the surrounds 1.41 times, low effects not at all."""
    one = tone(1000, 5, 48_000)
    alone = [loudness(np.eye(6)[n] * one[:, None], 48_000).integrated for n in range(6)]
    assert alone[0] == pytest.approx(alone[1]) == pytest.approx(alone[2]) == pytest.approx(loudness(one, 48_000).integrated)
    assert alone[3] == -np.inf and alone[4] == pytest.approx(alone[5]) == pytest.approx(alone[0] + 10 * np.log10(1.41))
    assert loudness(np.repeat(one[:, None], 8, axis=1), 48_000).integrated == pytest.approx(alone[0])
