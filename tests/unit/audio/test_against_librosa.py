"""Every feature beside librosa's own function with the same parameters, on 28 tracks of music and on made sounds.

|ours - librosa| is at most 1e-4 |librosa| + 1e-5 of the feature's range (ten times that for contrast and onset strength).
"""
import librosa
import numpy as np
import pytest
from sound_kit import SR, clicks, made, music, tracks

from tenant_lab.audio.features import delta, extract
from tenant_lab.audio.filters import chroma_filters, dct_matrix, mel_filters
from tenant_lab.audio.spectrum import FrameSettings, spectral_features

SOUNDS = {**{f"track {n}": n for n in range(0, 28, 4)}, **made()}


@pytest.fixture(params=SOUNDS)
def y(request):
    found = SOUNDS[request.param]
    return music(found) if isinstance(found, int) else found


def near(ours, theirs, scale=1.0, floor=1e-12):
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    assert ours.shape == theirs.shape
    wrong = np.abs(ours - theirs) / (scale * (1e-4 * np.abs(theirs) + 1e-5 * np.ptp(theirs)) + floor)
    assert wrong.max() <= 1, f"{wrong.max():.1f} times what is allowed, median {np.median(wrong):.1e}"


def test_every_feature_of_a_frame(y):
    said, power = extract(y, SR), np.abs(librosa.stft(y)) ** 2
    feature, ours = librosa.feature, said.frames
    near(ours["log_mel"], librosa.power_to_db(feature.melspectrogram(y=y, sr=SR)))
    mfcc = feature.mfcc(y=y, sr=SR)
    near(ours["mfcc"], mfcc)
    near(ours["chroma"], feature.chroma_stft(S=power, sr=SR, tuning=said.tuning))
    near(ours["tonnetz"], feature.tonnetz(chroma=ours["chroma"]))
    near(ours["centroid"], feature.spectral_centroid(y=y, sr=SR)[0])
    near(ours["bandwidth"], feature.spectral_bandwidth(y=y, sr=SR)[0])
    near(ours["rolloff"], feature.spectral_rolloff(y=y, sr=SR)[0])
    near(ours["flatness"], feature.spectral_flatness(y=y)[0])
    near(ours["contrast"], feature.spectral_contrast(y=y, sr=SR), 10, floor=1e-5)  # dB; in silence it has no range
    near(ours["zcr"], feature.zero_crossing_rate(y)[0])
    near(ours["rms"], feature.rms(y=y)[0])
    near(ours["onset_strength"], librosa.onset.onset_strength(y=y, sr=SR), 10)
    if mfcc.shape[1] >= 9:
        rounding = 1e-6 * np.abs(mfcc).max()  # of the float32 coefficients whose differences these are
        near(ours["mfcc_delta"], feature.delta(mfcc), floor=rounding)
        near(ours["mfcc_delta2"], feature.delta(mfcc, order=2), floor=rounding)


def test_the_mel_bands_in_power(y):
    raw, _ = spectral_features(y, FrameSettings(), ["mel"])
    near(raw["mel"].T, librosa.feature.melspectrogram(y=y, sr=SR))


@pytest.mark.filterwarnings("ignore:Trying to estimate tuning")
def test_the_tuning(y):
    power = np.abs(librosa.stft(y)) ** 2
    assert spectral_features(y, FrameSettings(), ["chroma"])[1] == librosa.estimate_tuning(S=power, sr=SR, bins_per_octave=12)


def test_tempo_and_beats_of_all_tracks_and_of_clicks():
    same = []
    for y in [music(n) for n in range(len(tracks()))] + [clicks(bpm) for bpm in range(60, 201, 10)]:
        said, (bpm, found) = extract(y, SR, ["tempo"]), librosa.beat.beat_track(y=y, sr=SR)
        same.append(abs(said.tempo - float(np.atleast_1d(bpm)[0])) < 1e-6 and np.array_equal(said.beats, found))
    assert len(same) == 43 and np.mean(same) >= 0.95


@pytest.mark.parametrize("options", [
    {"sr": 44_100}, {"sr": 16_000, "n_fft": 1024, "hop_length": 160, "n_mels": 64, "n_mfcc": 13}, {"n_fft": 4096, "hop_length": 1000},
    {"fmin": 50.0, "fmax": 8000.0, "top_db": None}, {"n_fft": 512, "hop_length": 512, "n_mels": 32, "roll_percent": 0.5}], ids=str)
def test_other_settings(options):
    s, y = FrameSettings(**options), music(1, 8)
    said = extract(y, s.sr, settings=s)
    shape, bank = {"n_fft": s.n_fft, "hop_length": s.hop_length}, {"n_mels": s.n_mels, "fmin": s.fmin, "fmax": s.fmax}
    mel = librosa.power_to_db(librosa.feature.melspectrogram(y=y, sr=s.sr, **shape, **bank), top_db=s.top_db)
    near(said.frames["log_mel"], mel)
    near(said.frames["mfcc"], librosa.feature.mfcc(S=mel, n_mfcc=s.n_mfcc))
    near(said.frames["chroma"], librosa.feature.chroma_stft(y=y, sr=s.sr, **shape))
    near(said.frames["rolloff"], librosa.feature.spectral_rolloff(y=y, sr=s.sr, roll_percent=s.roll_percent, **shape)[0])
    near(said.frames["contrast"], librosa.feature.spectral_contrast(y=y, sr=s.sr, **shape), 10)
    near(said.frames["zcr"], librosa.feature.zero_crossing_rate(y, frame_length=s.n_fft, hop_length=s.hop_length)[0])
    near(said.frames["rms"], librosa.feature.rms(y=y, frame_length=s.n_fft, hop_length=s.hop_length)[0])
    near(said.frames["onset_strength"], librosa.onset.onset_strength(y=y, sr=s.sr, **shape, S=mel), 10)


def test_long_sounds_whose_power_is_not_kept():
    y = np.concatenate([music(0), music(4), music(8), music(12)])
    said = extract(y, SR, ["chroma"])
    assert said.frames["chroma"].shape[1] > 4096
    near(said.frames["chroma"], librosa.feature.chroma_stft(y=y, sr=SR))


@pytest.mark.parametrize("sr, n_fft, n_mels", [(22_050, 2048, 128), (44_100, 2048, 96), (8_000, 512, 40)])
def test_filter_banks(sr, n_fft, n_mels):
    np.testing.assert_allclose(mel_filters(sr, n_fft, n_mels), librosa.filters.mel(sr=sr, n_fft=n_fft, n_mels=n_mels), rtol=1e-5, atol=1e-9)
    for tuning in (-0.5, -0.13, 0.0, 0.31):
        np.testing.assert_allclose(chroma_filters(sr, n_fft, tuning), librosa.filters.chroma(sr=sr, n_fft=n_fft, tuning=tuning), rtol=1e-5, atol=1e-7)


def test_delta_and_dct():
    from scipy.fft import dct
    x = np.random.default_rng(0).standard_normal((50, 7))
    np.testing.assert_allclose(delta(x, 2).T, librosa.feature.delta(x.T, order=2), atol=1e-12)
    np.testing.assert_allclose(dct_matrix(7, 7) @ x.T, dct(x, axis=1, norm="ortho").T, atol=1e-6)
