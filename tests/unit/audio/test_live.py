"""A stream gives what the whole file gives, in whatever blocks it comes and however often it is saved."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sound_kit import SR, clicks, made, music

from tenant_lab.audio.features import FRAME_FEATURES, TRACK_FEATURES, delta, extract
from tenant_lab.audio.live import LiveDelta, LiveFeatures
from tenant_lab.audio.spectrum import FrameSettings
from tenant_lab.core.arrays import save_arrays, saved_arrays
from tenant_lab.core.errors import AudioError, ParameterError

ALL = FRAME_FEATURES + TRACK_FEATURES
PLAIN = FrameSettings(tuning=0.0, top_db=None)


def streamed(y, sizes, names=ALL, s=PLAIN, store=None):
    """The features of `y` in blocks of `sizes` over and over; saved and loaded after each block where there is a `store`."""
    live, parts, at, n = LiveFeatures(s.sr, names, s), [], 0, 0
    while at < y.size:
        size = sizes[n % len(sizes)]
        parts.append(live.push(y[at: at + size]))
        at, n = at + size, n + 1
        if store is not None:
            live.save(store)
            live = LiveFeatures.load(store)
    parts.append(live.finish())
    return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}, live


def same(found, whole):
    assert set(found) == set(whole.frames)
    for name, values in whole.frames.items():
        assert found[name].shape == values.shape, name
        # float32: products of one row and of many add in another order; deltas are differences of coefficients
        scale = np.abs(whole.frames["mfcc" if name.startswith("mfcc") else name]).max() + 1e-12
        np.testing.assert_allclose(found[name], values, atol=2e-5 * scale, err_msg=name)


@pytest.mark.parametrize("sizes", [[512], [1], [511, 513], [4096], [1_000_000], [0, 100, 5000, 3]], ids=str)
def test_blocks_of_any_size(sizes):
    y = music(5, 1 if sizes == [1] else 12)
    found, live = streamed(y, sizes)
    whole = extract(y, SR, ALL, PLAIN)
    same(found, whole)
    said = live.estimates()
    assert (live.samples, live.given, said.seconds) == (y.size, 1 + y.size // 512, y.size / SR)
    assert said.tempo == pytest.approx(whole.tempo) and said.key.name == whole.key.name
    assert said.loudness.integrated == pytest.approx(whole.loudness.integrated)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 30_000), st.lists(st.integers(1, 4000), min_size=1, max_size=5), st.sampled_from([(2048, 512), (512, 512), (256, 100), (1024, 700)]))
def test_any_length_in_any_blocks(n, sizes, shape):
    s = FrameSettings(n_fft=shape[0], hop_length=shape[1], n_mels=16, n_mfcc=5, tuning=0.1, top_db=None)
    y = (np.random.default_rng(n).standard_normal(n) * 0.1).astype("f4")
    names = [f for f in FRAME_FEATURES if f != "contrast"]
    same(streamed(y, sizes, names, s)[0], extract(y, SR, names, s))


@pytest.mark.parametrize("name", made())
def test_odd_sounds(name):
    y = made()[name]
    same(streamed(y, [777])[0], extract(y, SR, ALL, PLAIN))


def test_saved_and_loaded_after_every_block(tmp_path):
    y = music(6, 10)
    found, live = streamed(y, [3000, 17, 5000], store=tmp_path / "state.npz")
    same(found, extract(y, SR, ALL, PLAIN))
    assert live.estimates() == streamed(y, [y.size])[1].estimates() or live.estimates().tempo == pytest.approx(extract(y, SR, ["tempo"], PLAIN).tempo)
    assert not (tmp_path / "state.npz.new").exists()
    with pytest.raises(AudioError, match="finished"):
        LiveFeatures.load(_saved(live, tmp_path / "end.npz")).push(y)


def _saved(live, path):
    live.save(path)
    return path


def test_the_state_does_not_grow_with_what_was_heard(tmp_path):
    live, sizes = LiveFeatures(SR, [n for n in ALL if n != "loudness"], PLAIN, memory=8.0), []
    for _ in range(6):
        live.push(music(0, 20))
        sizes.append(_saved(live, tmp_path / "s.npz").stat().st_size)
    assert max(sizes) - min(sizes) < 30_000 and live._waiting.space.nbytes < 8 * 21 * SR * 2


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 cut off"])
def test_what_is_no_state_is_said(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ParameterError, match="is no saved stream"):
        LiveFeatures.load(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", a=np.zeros(3))
    with pytest.raises(ParameterError, match="is no saved stream"):
        LiveFeatures.load(tmp_path / "y.npz")
    with saved_arrays(_saved(LiveFeatures(SR, ["mfcc", "mfcc_delta", "loudness"]), tmp_path / "z.npz"), "stream") as (facts, arrays):
        pass
    for name in (*arrays, "features", "samples", "memory"):
        save_arrays(tmp_path / "z.npz", {k: v for k, v in facts.items() if k != name}, {k: v for k, v in arrays.items() if k != name})
        with pytest.raises(ParameterError, match="no saved stream|state of"):
            LiveFeatures.load(tmp_path / "z.npz")


def test_a_frame_is_given_half_a_window_after_its_middle():
    live = LiveFeatures(SR, ["rms", "mfcc_delta"])
    assert live.delay == 1024 / SR
    assert live.push(np.zeros(1023, "f4"))["rms"].shape == (0,)
    one = live.push(np.zeros(1, "f4"))  # now all of frame 0 is there
    assert one["rms"].shape == (1,) and one["mfcc_delta"].shape == (20, 0)
    later = [live.push(np.zeros(512, "f4"))["mfcc_delta"].shape[1] for _ in range(10)]
    assert later == [0] * 7 + [5, 1, 1]  # four frames late: with frame 8, those of 0 to 4


def test_the_tempo_follows_what_was_heard_lately():
    live = LiveFeatures(SR, ["tempo"], memory=10.0)
    for bpm in (90, 150):
        live.push(clicks(bpm, 20))
        assert min(abs(live.estimates().tempo / bpm / f - 1) for f in (0.5, 1, 2)) < 0.04
    assert live.estimates().key is None and live.estimates().loudness is None


@pytest.mark.parametrize("given, said", [
    ({"settings": FrameSettings()}, "top_db=None and a tuning"), ({"settings": FrameSettings(top_db=None)}, "tuning"),
    ({"settings": FrameSettings(sr=8000, tuning=0.0, top_db=None)}, "sr=22050"), ({"features": ["x"]}, "feature 'x'"), ({"features": "rms"}, "needs a list"),
    ({"features": []}, "needs a list"), ({"memory": 1}, "memory 1")])
def test_wrong_use(given, said):
    with pytest.raises(ParameterError, match=said):
        LiveFeatures(SR, **given)


@pytest.mark.parametrize("y, said", [(np.zeros((2, 5)), "one dimension"), (np.zeros(5, int), "whole numbers"), ([0.0, np.nan], "not finite")])
def test_a_bad_block_is_refused_and_the_stream_goes_on(y, said):
    live = LiveFeatures(SR, ["rms", "loudness", "zcr"])
    first = live.push(music(0, 1))["rms"]
    with pytest.raises(AudioError, match=said):
        live.push(y)
    rest = live.push(music(0, 2)[SR:])["rms"]
    np.testing.assert_allclose(np.concatenate([first, rest]), extract(music(0, 2), SR, ["rms"], PLAIN).frames["rms"][: first.size + rest.size], rtol=1e-5)


def test_a_stream_ends_once():
    live = LiveFeatures(SR, ["mfcc_delta"])
    live.push(music(0, 1))
    assert live.finish()["mfcc_delta"].shape[1] > 0
    with pytest.raises(AudioError, match="finished already"):
        live.finish()


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("n", [1, 5, 8, 9, 10, 40])
def test_deltas_of_few_and_many_rows(order, n):
    rows = np.random.default_rng(n).standard_normal((n, 4)).astype("f4")
    one = LiveDelta(order, 4)
    found = np.concatenate([*(one.push(rows[k: k + 3]) for k in range(0, n, 3)), one.finish()])
    np.testing.assert_allclose(found, delta(rows, order), atol=1e-5)
