"""Files as they come: many kinds, many faults, each with a clear word."""
import os
import shutil
import struct

import numpy as np
import pytest
import soundfile as sf
from sound_kit import SR, tracks

from tenant_lab.audio.io import audio_blocks, audio_info, read_audio, resample, to_mono, to_stereo
from tenant_lab.core.errors import AudioError, ParameterError

TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * SR) / SR)).astype("f4")


def wav(path, y=TONE, sr=SR, **options):
    sf.write(path, y, sr, **options)
    return path


@pytest.mark.parametrize("ending, options, tolerance", [
    ("wav", {}, 1e-4), ("wav", {"subtype": "FLOAT"}, 1e-7), ("wav", {"subtype": "PCM_24"}, 1e-6), ("wav", {"subtype": "ULAW"}, 0.02),
    ("flac", {}, 1e-4), ("aiff", {}, 1e-4), ("au", {}, 1e-4), ("w64", {}, 1e-4), ("ogg", {}, 0.05), ("mp3", {}, 0.05),
    ("opus", {"format": "OGG", "subtype": "OPUS"}, 0.1)])
def test_each_format_gives_the_samples_back(tmp_path, ending, options, tolerance):
    sr = 48_000 if ending == "opus" else SR
    y = resample(TONE, SR, sr)
    found, rate = read_audio(wav(tmp_path / f"a.{ending}", y, sr, **options), None)
    assert rate == sr and found.dtype == np.float32
    n, pad = min(found.size, y.size), 2000
    shifts = [np.abs(found[pad + s: n - pad + s] - y[pad: n - pad]).max() for s in range(-1200, 1201)] if tolerance > 1e-3 else [np.abs(found - y).max()]
    assert min(shifts) < tolerance  # encoders delay


@pytest.mark.parametrize("name, content, said", [
    ("empty.wav", b"", "is empty"), ("text.mp3", b"this is no sound", "no sound that can be read"), ("zeros.flac", bytes(5000), "no sound that can be read"),
    ("page.ogg", b"OggS" + bytes(300), "its last page is missing"), ("head.wav", b"RIFF\x00\x00\x00\x00WAVE", "no sound that can be read"),
    ("picture.wav", b"\x89PNG\r\n\x1a\n" + bytes(100), "no sound that can be read")])
def test_what_is_no_sound_is_said(tmp_path, monkeypatch, name, content, said):
    monkeypatch.setenv("PATH", "")  # no ffmpeg
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AudioError, match=said) as caught:
        read_audio(tmp_path / name)
    assert name in str(caught.value)


@pytest.mark.parametrize("path, said", [("none.wav", "is not there"), (".", "is a folder")])
def test_no_file(tmp_path, path, said):
    with pytest.raises(AudioError, match=said):
        read_audio(tmp_path / path)


@pytest.mark.parametrize("ending", ["wav", "flac", "aiff", "au", "w64", "rf64", "caf", "ogg"])
@pytest.mark.parametrize("share", [0.999, 0.5, 0.1])
def test_a_truncated_file_is_said(tmp_path, ending, share):
    """Whether ffmpeg is there or not: it would read what is left."""
    path = wav(tmp_path / f"a.{ending}", np.random.default_rng(0).uniform(-0.5, 0.5, 5 * SR).astype("f4"))
    assert read_audio(path)[0].size == 5 * SR
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(AudioError, match="is cut off|cannot be read beyond"):
        read_audio(path)


def test_a_track_of_real_music_and_one_that_lost_its_end(tmp_path):
    y, rate = read_audio(tracks()[0])
    assert rate == SR and 25 < y.size / SR < 40 and 0.1 < np.abs(y).max() <= 1.1
    cut = tmp_path / "cut.opus"
    cut.write_bytes(tracks()[0].read_bytes()[: tracks()[0].stat().st_size // 2])
    with pytest.raises(AudioError, match="its last page is missing"):
        read_audio(cut)


def test_one_sample_is_no_sound_and_two_are(tmp_path):
    with pytest.raises(AudioError, match="has 1 samples, which is no sound"):
        read_audio(wav(tmp_path / "one.wav", TONE[:1]))
    with pytest.raises(AudioError, match="has 0 samples"):
        read_audio(wav(tmp_path / "none.wav", TONE[:0]))
    assert read_audio(wav(tmp_path / "two.wav", TONE[:2]))[0].size == 2


def test_silence_is_a_sound(tmp_path):
    assert not read_audio(wav(tmp_path / "a.wav", np.zeros(SR)))[0].any()


def test_eight_hours_are_refused_before_they_are_read(tmp_path):
    path = tmp_path / "long.wav"
    size = 8 * 3600 * 8000
    with path.open("wb") as file:
        file.write(b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8) + b"data" + struct.pack("<I", size))
        file.truncate(size + 44)  # sparse: no disk is used
    with pytest.raises(AudioError, match=r"claims 8\.0 hours; allowed are 4\.0"):
        read_audio(path)
    assert audio_info(path).seconds == 8 * 3600


@pytest.mark.parametrize("sr, channels", [(384_000, 1), (192_000, 2), (8_000, 1), (44_100, 12), (22_050, 6)])
def test_any_rate_and_any_number_of_channels(tmp_path, sr, channels):
    y = 0.5 * np.sin(2 * np.pi * 440 * np.arange(sr) / sr)
    path = wav(tmp_path / "a.wav", np.tile(y[:, None], (1, channels)), sr, subtype="FLOAT")
    found, rate = read_audio(path)
    assert (rate, found.size) == (SR, SR)
    np.testing.assert_allclose(found[2000:-2000], TONE[2000: SR - 2000], atol=2e-3)
    assert read_audio(path, None, mono=False)[0].shape == (sr, channels)


def test_channels_that_cancel_one_another_are_silent_in_mono(tmp_path):
    assert np.abs(read_audio(wav(tmp_path / "a.wav", np.stack([TONE, -TONE], axis=1)))[0]).max() < 1e-4


def test_samples_that_are_not_finite_are_refused(tmp_path):
    y = TONE.copy()
    y[[5, 9]] = [np.nan, np.inf]
    with pytest.raises(AudioError, match="has 2 samples that are not finite"):
        read_audio(wav(tmp_path / "a.wav", y, subtype="FLOAT"))


def test_other_formats_go_through_ffmpeg(tmp_path, monkeypatch):
    """A stand-in for ffmpeg: what is tested is how it is asked and what is done with its answer."""
    program = tmp_path / "bin/ffmpeg"
    program.parent.mkdir()
    wav(tmp_path / "answer.wav", TONE, subtype="FLOAT")
    program.write_text(f'#!/bin/sh\nfor last; do :; done\ncase "$*" in *good.m4a*) {shutil.which("cp")} {tmp_path}/answer.wav "$last";;\n'
                       '*) echo "first line" >&2; echo "moov atom not found" >&2; exit 1;; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    for name in ("good.m4a", "bad.m4a"):
        (tmp_path / name).write_bytes(b"\x00\x00\x00\x18ftypM4A nothing that libsndfile knows")
    np.testing.assert_allclose(read_audio(tmp_path / "good.m4a")[0], TONE, atol=1e-6)
    with pytest.raises(AudioError, match="bad.m4a is no sound that ffmpeg can read: moov atom not found"):
        read_audio(tmp_path / "bad.m4a")


@pytest.mark.parametrize("rate", [0, -1, 10, 22_050.5, "44100", 10**9])
def test_a_wrong_rate_is_refused(tmp_path, rate):
    with pytest.raises(ParameterError, match="rate"):
        read_audio(wav(tmp_path / "a.wav"), rate)


@pytest.mark.parametrize("sr, target", [(44_100, 22_050), (48_000, 22_050), (22_050, 48_000), (22_050, 16_000), (8_000, 22_050)])
def test_resampling_equals_soxr_through_librosa(sr, target):
    import librosa
    y = np.random.default_rng(0).standard_normal(sr).astype("f4")
    theirs = librosa.resample(y, orig_sr=sr, target_sr=target)[:target]  # of 48 000 samples it makes 48 001, by the rounding of its quotient
    np.testing.assert_allclose(resample(y, sr, target), theirs, atol=1e-6)


def test_mixing_down():
    assert to_mono([[0.0, 1.0, 0.5]]).tolist() == [0.5]
    with pytest.raises(ParameterError, match="shape"):
        to_mono(1.0)


@pytest.mark.parametrize("change", [lambda y: to_mono(y), lambda y: resample(y, 22_050, 8_000), lambda y: resample(y, 8_000, 8_000)])
def test_whole_numbers_have_no_full_scale(change):
    with pytest.raises(AudioError, match="int16: needs floats .* full scale"):
        change(np.ones(3000, np.int16))


@pytest.mark.parametrize("sr, target, y", [(0, 8000, TONE), (8000.0, 16_000, TONE), (8000, "16000", TONE), (8000, 10**9, TONE), (8000, 16_000, TONE.reshape(-1, 1, 1)), (8000, 16_000, 1.0)])
def test_what_cannot_be_resampled(sr, target, y):
    with pytest.raises(ParameterError, match="rate|target|shape"):
        resample(y, sr, target)


def test_surround_in_two_channels():
    """ITU-R BS.775-4: the centre and a side's surround with 3 dB less, low effects not at all; by half."""
    y = np.eye(6)
    assert np.allclose(to_stereo(y), 0.5 * np.array([[1, 0], [0, 1], [2**-0.5] * 2, [0, 0], [2**-0.5, 0], [0, 2**-0.5]]))
    for channels, wanted in ((1, 1), (2, 2), (3, 1), (5, 1), (8, 1)):
        assert to_stereo(np.ones((7, channels))).shape == (7, wanted) and np.allclose(to_stereo(np.ones((7, channels))), 1)
    assert to_stereo(np.ones(7)).shape == (7, 1)


def test_pieces_of_a_cut_off_file_are_refused_too(tmp_path):
    path = wav(tmp_path / "a.wav")
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(AudioError, match="is cut off"):
        list(audio_blocks(path))


@pytest.mark.parametrize("longest", [float("nan"), "1", -1])
def test_a_guard_that_is_none(tmp_path, longest):
    with pytest.raises(ParameterError, match="longest"):
        read_audio(wav(tmp_path / "a.wav"), longest=longest)
