"""musicnn's forward pass against a plain one in 64 bits, windows and their edges, and what the scores are gathered to."""
import dataclasses

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from network_kit import MUSICNN_TERMS, drawn_musicnn, plain_musicnn, rounding
from sound_kit import made, music

from tenant_lab.audio.tags import (
    FRAMES,
    GROUPS,
    HOP,
    RATE,
    TAGS_OF,
    VOICES,
    Tagger,
    Tags,
    musicnn,
    network_input,
    windows,
)
from tenant_lab.core.errors import AudioError, ModelMissingError, ParameterError, TenantLabError
from tenant_lab.core.models import weights as stored

WEIGHTS = drawn_musicnn()
BOUND = rounding(*MUSICNN_TERMS)  # 1.1e-5 of the largest value


@pytest.fixture(scope="module")
def tagger():
    return Tagger(WEIGHTS, "MSD")


def noise(samples, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype("f4")


def close(found, expected, bound=BOUND):
    assert found.shape == expected.shape and found.dtype == np.float32
    assert np.abs(found - expected).max() <= bound * max(1, np.abs(expected).max())


# -- the forward pass --------------------------------------------------------------------------------------------------

def test_the_weights_that_were_drawn_ask_every_question():
    for n in range(1, 11):
        gamma = WEIGHTS[f"batch_normalization_{n}/gamma"]
        assert 0.3 < (gamma < 0).mean() < 0.7  # a maximum before the normalisation is right only where the sign is minded
    scores, embeddings = plain_musicnn(WEIGHTS, np.abs(np.random.default_rng(0).normal(size=(1, 187, 96))))
    assert 0.1 < scores.std() < 0.45 and embeddings.std() > 0.5  # nothing is saturated


@pytest.mark.parametrize("seed", [1, 2])
def test_the_forward_pass_is_musicnns(tagger, seed):
    x = np.abs(np.random.default_rng(seed).normal(0, 1, (2, 187, 96))).astype("f4")
    x[1, 100:] = 0  # the end of a song
    for found, expected in zip(tagger._run(x), plain_musicnn(WEIGHTS, x), strict=True):
        close(found, expected)


def test_what_stands_at_the_edges_of_a_window_is_seen(tagger):
    """One loud band in the first or last frame, or lowest or highest band: filters reach over each edge as far as the paper's."""
    x = np.zeros((4, 187, 96), "f4")
    x[0, 0], x[1, -1], x[2, :, 0], x[3, :, -1] = 3, 3, 3, 3
    for found, expected in zip(tagger._run(x), plain_musicnn(WEIGHTS, x), strict=True):
        close(found, expected)
        assert all(np.abs(found[n] - found[m]).max() > 0.01 for n in range(4) for m in range(n))


def test_a_scale_of_nought_and_filters_that_find_nothing():
    """gamma 0 leaves beta alone, whichever sign; a bias far below zero leaves the ReLU closed."""
    weights = {name: array.copy() for name, array in WEIGHTS.items()}
    weights["batch_normalization_1/gamma"][:50], weights["batch_normalization_4/gamma"][:10] = 0, -0.0
    weights["conv2d_1/bias"][:] = -1000
    x = np.abs(np.random.default_rng(3).normal(0, 1, (1, 187, 96))).astype("f4")
    for found, expected in zip(musicnn(weights)(x), plain_musicnn(weights, x), strict=True):
        close(found, expected)


def test_a_window_does_not_know_its_neighbours(tagger):
    x = np.abs(np.random.default_rng(4).normal(0, 1, (11, 187, 96))).astype("f4")
    whole = tagger._run(x)
    for n in (0, 5, 10):
        for found, expected in zip(tagger._run(x[n: n + 1]), whole, strict=True):
            close(found[0], expected[n])


# -- what the network sees ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", [0, 20, *made()])
def test_the_input_is_that_of_the_authors_but_for_half_precision(name):
    """musicnn/extractor.py takes librosa's mel spectrogram; `log10(1 + 10 000 S)` turns a share e of S into at most e / ln 10."""
    y = music(name, 8) if isinstance(name, int) else made()[name]
    found, theirs = network_input(y, RATE), np.log10(1 + 1e4 * librosa.feature.melspectrogram(y=y, sr=RATE, n_fft=512, hop_length=HOP, n_mels=96).T.astype(float))
    assert found.shape == (max(FRAMES, 1 + y.size // HOP), 96) and found.dtype == np.float32
    assert not found[len(theirs):].any()  # silence follows
    # a float32 transform of 512 points is off by about 9 u of its loudest bin; so is what a band near silence holds
    loudest = 10 ** theirs.max() / 1e4
    assert np.abs((10.0 ** found[: len(theirs)] - 10**theirs) / 1e4).max() <= 1e-5 * loudest
    assert np.median(np.abs(found[: len(theirs)] - theirs)) <= 1e-5


@pytest.mark.parametrize("sr", [8000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000])
def test_every_rate_is_heard_as_at_16_kHz(sr):
    """Tones below 3 kHz sampled at another rate are the same tones: soxr's HQ is good for 20 bits, and a magnitude is off by no more than that of the loudest."""
    def tones(rate):
        t = np.arange(4 * rate) / rate
        return sum(0.2 * np.sin(2 * np.pi * f * t + f) for f in (110, 440, 1250, 3000)).astype("f4")
    ours, expected = (np.sqrt((10.0 ** network_input(tones(rate), rate)[8:240] - 1) / 1e4) for rate in (sr, RATE))  # magnitudes; at the ends the cut rings
    assert np.abs(ours - expected).max() <= 4 * 2**-20 * expected.max()  # four tones; a logarithm in float32 adds less than half of one
    assert ours.max(axis=0).argmax() == expected.max(axis=0).argmax()


def test_half_of_a_low_rate_is_silent_above():
    shown = network_input(noise(4 * 8000), 8000)[20:-20]
    above = librosa.mel_frequencies(98, fmin=0, fmax=8000)[:-2] > 4300
    # soxr's HQ lets through less than -100 dB of full scale above the band; noise of 0.1 has some 0.7 in a band of S: 1e4 · 0.7 · 1e-10 shows as 3e-7
    assert shown[:, above].max() < 1e-4 and shown[:, ~above].mean() > 1


# -- windows -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("count, step, starts", [(187, 187, [0]), (188, 187, [0]), (373, 187, [0]), (374, 187, [0, 187]), (375, 187, [0, 187]), (187, 1, [0]), (190, 1, [0, 1, 2, 3]),
                                                 (186 + 25, 12, [0, 12, 24]), (561, 300, [0, 300]), (400, 5000, [0])])
def test_windows_are_whole_and_what_is_left_is_left_out(count, step, starts):
    shown = np.arange(count * 96, dtype="f4").reshape(count, 96)
    found = windows(shown, step)
    assert found.shape == (len(starts), FRAMES, 96)
    for window, start in zip(found, starts, strict=True):
        assert np.array_equal(window, shown[start: start + FRAMES])


@pytest.mark.parametrize("samples, count", [(2, 1), (100, 1), (186 * HOP - 1, 1), (186 * HOP, 1), (373 * HOP - 1, 1), (373 * HOP, 2), (374 * HOP, 2), (560 * HOP - 1, 2), (560 * HOP, 3)])
def test_how_many_windows_a_sound_has(tagger, samples, count):
    """1 + n // 256 frames stand in a sound at 16 kHz, and 187 are a window."""
    y = noise(samples)
    found = tagger(y, RATE)
    assert found.windows.shape == (count, 50) and found.embeddings.shape == (count, 200)
    assert found.times == pytest.approx(np.arange(count) * FRAMES * HOP / RATE)
    assert np.isfinite(found.windows).all() and 0 <= found.windows.min() <= found.windows.max() <= 1
    assert bool(found.notes) == (samples < (FRAMES - 1) * HOP)
    if found.notes:
        assert found.notes == (f"the sound has {samples / RATE:.2f} s, the network needs 3: silence was added",)


@pytest.mark.parametrize("hop, step", [(0.016, 1), (0.5, 31), (1, 62), (2.992, 187), (3.0, 188), (3600, 225_000)])
def test_hops_are_whole_frames(tagger, hop, step):
    y = noise(200 * HOP if step == 1 else 700 * HOP)
    found = tagger(y, RATE, hop=hop)
    assert len(found.windows) == 1 + (len(network_input(y, RATE)) - FRAMES) // step
    assert found.times == pytest.approx(np.arange(len(found.windows)) * step * HOP / RATE)


def test_tens_of_windows_are_what_each_of_them_is(tagger):
    """23 windows are worked on as 10, 10 and 3."""
    y = noise(23 * FRAMES * HOP)
    found, cut = tagger(y, RATE), windows(network_input(y, RATE), FRAMES)
    assert len(cut) == 23 == len(found.windows)
    for n in (0, 9, 10, 19, 20, 22):
        scores, embedding = tagger._run(cut[n: n + 1].copy())
        close(found.windows[n], scores[0])
        close(found.embeddings[n], embedding[0])


def test_the_same_sound_gives_the_same_answer(tagger):
    y = noise(7 * 22_050)
    before = y.copy()
    one, two = tagger(y, 22_050), tagger(y, 22_050)
    assert np.array_equal(one.windows, two.windows) and np.array_equal(one.embeddings, two.embeddings) and np.array_equal(y, before)
    other = Tagger(WEIGHTS, "MSD")(y, 22_050)
    close(other.windows, one.windows)
    assert tagger(list(y.astype(float)), 22_050).windows.tolist() == one.windows.tolist()


def test_silence_is_an_answer(tagger):
    found = tagger(np.zeros(7 * RATE, "f4"), RATE)
    expected, _ = plain_musicnn(WEIGHTS, np.zeros((1, FRAMES, 96)))
    assert len(found.windows) == 2
    for scores in found.windows:
        close(scores, expected[0])


# -- wrong use ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("y, said", [
    (np.zeros((2, 50_000)), "needs one dimension"), (np.zeros((50_000, 1)), "needs one dimension"), (np.float32(1), "needs one dimension"), ([], "0 samples"),
    ([0.5], "1 samples"),
    (np.zeros(50_000, int), "needs floats"), (np.r_[np.zeros(50_000), np.nan], "1 samples are not finite"),
    (np.full(50_000, np.inf), "50,000 samples are not finite"),
    (np.full(50_000, 1e300), "not finite"), (np.zeros(50_000, complex), "needs floats"), (["a", "b"], "needs floats")])
def test_what_is_no_sound(tagger, y, said):
    for ask in (tagger, tagger.window):
        with pytest.raises(AudioError, match=said):
            ask(y, RATE)


@pytest.mark.parametrize("change, said", [({"sr": 0}, "sr 0"), ({"sr": 999}, "sr 999"), ({"sr": 16_000.0}, "sr 16000.0"), ({"sr": "16000"}, "sr '16000'"), ({"sr": None}, "sr None"),
                                          ({"sr": True}, "sr True"), ({"hop": 0}, "hop 0"), ({"hop": 0.015}, "hop 0.015"), ({"hop": float("nan")}, "hop nan"),
                                              ({"hop": 3601}, "hop 3601")])
def test_wrong_parameters(tagger, change, said):
    with pytest.raises(ParameterError, match=said):
        tagger(noise(RATE), **{"sr": RATE, **change})


@pytest.mark.parametrize("sr", [999, 22_050.0, 22_050.5, "22050", None])
def test_wrong_rates_of_a_live_window(tagger, sr):
    with pytest.raises(ParameterError, match="sr "):
        tagger.window(noise(5 * 22_050), sr)


def test_the_last_three_seconds(tagger):
    y = noise(6 * 22_050)
    found = tagger.window(y, 22_050)
    assert found == tagger(y[-3 * 22_050:], 22_050).scores != tagger(y[: 3 * 22_050], 22_050).scores
    assert len(tagger.window(y[: 3 * 22_050], 22_050)) == 50
    with pytest.raises(AudioError, match=r"3\.00 s: one window needs 3 s"):
        tagger.window(y[: 3 * 22_050 - 1], 22_050)


def test_a_network_of_another_name():
    for ask in (lambda: Tagger(WEIGHTS, "MTV"), lambda: Tagger.load("MTV")):
        with pytest.raises(ParameterError, match="network 'MTV': allowed are MTT, MSD"):
            ask()


@pytest.mark.parametrize("network", ["MTT", "MSD"])
def test_weights_that_are_not_here_name_the_command(tmp_path, network):
    with pytest.raises(ModelMissingError, match="tenant-lab models pull musicnn$"):
        Tagger.load(network, home=tmp_path)
    with pytest.raises(ModelMissingError, match="tenant-lab models pull musicnn$"):
        Tagger.load(network)  # the setting
    (tmp_path / "models/musicnn").mkdir(parents=True)
    with pytest.raises(ModelMissingError, match="cannot be used .*fetch them again with: tenant-lab models pull musicnn$"):
        Tagger.load(network, home=tmp_path)
    with pytest.raises(ModelMissingError):
        stored(tmp_path, "musicnn", network)


@pytest.mark.parametrize("name", ["conv2d/kernel", "conv2d_3/bias", "batch_normalization_9/gamma", "batch_normalization/moving_mean", "dense_1/bias"])
def test_a_variable_that_is_missing_is_named_before_anything_is_heard(name):
    with pytest.raises(TenantLabError, match=name):
        Tagger({n: array for n, array in WEIGHTS.items() if n != name}, "MSD")


@pytest.mark.parametrize("name, array", [
    ("dense_1/bias", np.zeros(1, "f4")), ("conv2d_2/bias", np.zeros(1, "f4")), ("batch_normalization_10/gamma", np.ones(1, "f4")),
    ("conv2d/kernel", np.zeros((7, 38, 1, 203), "f4")),
    ("conv2d/kernel", np.zeros((7, 30, 1, 204), "f4")), ("dense/kernel", np.zeros((1505, 200), "f4")), ("dense_1/kernel", np.zeros((200, 1), "f4"))])
def test_a_variable_of_another_shape_is_no_answer(name, array):
    """Shapes that numpy's rules would stretch are the worst: they give fifty scores of nothing."""
    with pytest.raises(TenantLabError, match=name):
        Tagger({**WEIGHTS, name: array}, "MSD")(noise(4 * RATE), RATE)


# -- what comes out ----------------------------------------------------------------------------------------------------

def answer(seed=0, count=5, network="MSD"):
    rng = np.random.default_rng(seed)
    return Tags(network, TAGS_OF[network], np.arange(count) * 2.992, rng.random((count, 50)), rng.standard_normal((count, 200)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from(["MTT", "MSD"]))
def test_scores_and_groups_are_of_the_windows(seed, count, network):
    found = answer(seed, count, network)
    scores = found.scores
    assert list(scores) == sorted(scores, key=lambda name: -scores[name]) and sorted(scores) == sorted(TAGS_OF[network])
    for n, name in enumerate(found.names):
        assert scores[name] == pytest.approx(found.windows[:, n].mean())
    assert found.embedding.shape == (200,) and found.embedding == pytest.approx(found.embeddings.mean(axis=0))
    groups = found.groups
    assert list(groups.values()) == sorted(groups.values(), reverse=True)
    for name, score in groups.items():
        assert score == max(scores[word] for word in GROUPS[name] if word in scores)
    assert found.voice == max(scores[word] for word in VOICES if word in scores)
    table = found.frame()
    assert table["tag"].tolist() == list(scores) and table["score"].is_monotonic_decreasing
    assert (table["lowest"] <= table["score"] + 1e-12).all() and (table["score"] <= table["highest"] + 1e-12).all()
    for row in table.head(5).itertuples():
        column = found.windows[:, found.names.index(row.tag)]
        assert (row.lowest, row.highest) == (column.min(), column.max())


def test_equal_scores_keep_the_networks_order():
    found = dataclasses.replace(answer(), windows=np.full((3, 50), 0.25))
    assert tuple(found.scores) == TAGS_OF["MSD"] and set(found.groups.values()) == {0.25} == {found.voice}


@pytest.mark.parametrize("network, missing", [("MTT", {"hip-hop and soul", "jazz and blues"}), ("MSD", {"classical", "indian"})])
def test_a_group_without_words_in_the_network_is_left_out(network, missing):
    assert set(GROUPS) - set(answer(network=network).groups) == missing


def test_the_words():
    known = set(TAGS_OF["MTT"]) | set(TAGS_OF["MSD"])
    grouped = [word for words in GROUPS.values() for word in words]
    assert len(grouped) == len(set(grouped)) and set(grouped) <= known and set(VOICES) <= known
    assert not any(word.startswith("no ") or word == "instrumental" for word in (*VOICES, *grouped))  # words that say there is no voice
    sung = {word for word in known if any(part in ("vocal", "vocals", "vocalist", "vocalists", "voice", "singing", "male", "female", "man",
        "woman") for part in word.split())}
    assert {word for word in sung if not word.startswith("no ")} <= set(VOICES)


def test_the_picture(tagger):
    found = answer()
    shown = found.plot(4)
    assert list(shown.data[0].y) == list(found.scores)[:4] and np.shape(shown.data[0].z) == (4, 5) and list(found.scores)[0] in shown.layout.title.text
    row = found.windows[:, found.names.index(list(found.scores)[0])]
    assert np.abs(np.array(shown.data[0].z)[0] - row).max() <= 0.005 + 1e-9  # two digits
    note = tagger(noise(RATE), RATE)
    assert note.notes[0] in note._repr_html_()
