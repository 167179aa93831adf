"""Spleeter's U-nets against plain ones in 64 bits, segments that join without a seam, and parts whose sum is the sound."""
import itertools

import numpy as np
import pytest
import soundfile as sf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from network_kit import U, drawn_unets, in_one_piece, plain_mask, plain_unet, plain_wiener, rounding, unet_terms
from sound_kit import made

from tenant_lab.audio import separate
from tenant_lab.audio.separate import (
    BINS,
    FRAME,
    FRAMES,
    HOP,
    OVERLAP,
    RATE,
    Separator,
    Stems,
    harmonic_percussive,
    refined,
    spleeter,
    stems_of,
    vocal_mask,
    vocals_of,
)
from tenant_lab.core.errors import AudioError, ModelMissingError, ParameterError, TenantLabError

FILTERS = (3, 4, 5, 6, 7, 8)
WEIGHTS = drawn_unets(0, FILTERS)
FREQUENCY = (np.arange(BINS) * RATE / FRAME).astype("f4")


def noise(*shape, seed=0, level=0.1):
    return (level * np.random.default_rng(seed).standard_normal(shape)).astype("f4")


def tone(frequency, seconds, sr=RATE, level=0.3):
    return (level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * sr)) / sr)).astype("f4")


def pointwise(seen):
    """A stand-in for the network that looks at each point by itself: deep and loud is voice. Where a segment ends means nothing to it."""
    share = seen / (seen + 0.5) / (1 + (FREQUENCY / 1000) ** 2)[:, None]
    return np.stack([seen * share, seen * (1 - share)])


def low(seen):
    """A voice is what lies below 1000 Hz."""
    share = (FREQUENCY < 1000).astype("f4")[:, None]
    return np.stack([seen * share, seen * (1 - share)])


def stand_in(run, refine=True):
    found = Separator.__new__(Separator)
    found.refine, found._run = refine, run
    return found


def cut(y, sizes):
    """`y` in blocks of `sizes` over and over."""
    at, turn = 0, itertools.cycle(sizes)
    while at < len(y):
        size = next(turn)
        yield y[at: at + size]
        at += size


def parted(y, sr, sizes, run=pointwise, refine=False):
    return tuple(np.concatenate(parts) for parts in zip(*stems_of(cut(y, sizes), sr, run, refine), strict=True))


@pytest.fixture(scope="module")
def separator():
    return Separator(WEIGHTS)


@pytest.fixture
def short_segments(monkeypatch):
    """Segments of 24 frames that share 6: more seams a second."""
    monkeypatch.setattr(separate, "FRAMES", 24), monkeypatch.setattr(separate, "OVERLAP", 6)


# -- the network -------------------------------------------------------------------------------------------------------

def test_the_forward_pass_is_spleeters():
    assert any((array < 0).any() for name, array in WEIGHTS.items() if name.endswith("gamma"))
    x = np.abs(noise(1, FRAMES, BINS, 2, level=3))
    x[:, 300:] = 0  # the end of a sound
    found = spleeter(WEIGHTS)(x)
    assert found.shape == (2, 1, FRAMES, BINS, 2) and found.dtype == np.float32
    for which in (0, 1):
        expected = plain_unet(WEIGHTS, x, which)
        share = expected[0, :300] / x[0, :300]
        assert 0.05 < share.std() < 0.45 and not found[which][0, 300:].any()  # the mask says something
        # a mask is a sigmoid, whose slope is a quarter at most; what goes in is of the size of one
        assert np.abs(found[which] - expected).max() <= rounding(*unet_terms(FILTERS)) * x.max()


def test_both_networks_have_weights_of_their_own():
    """A stem changes with its own half of the weights and not with the other."""
    x = np.abs(noise(1, FRAMES, BINS, 2, level=3))
    before = spleeter(WEIGHTS)(x)
    for which, layers in ((0, ("conv2d_transpose_5", "batch_normalization_4")), (1, ("conv2d_13", "batch_normalization_12"))):
        for layer in layers:
            part = "beta" if layer.startswith("batch") else "bias"
            after = spleeter({**WEIGHTS, f"{layer}/{part}": WEIGHTS[f"{layer}/{part}"] + np.float32(1)})(x)
            assert np.abs(after[which] - before[which]).max() > 1e-3 and np.array_equal(after[1 - which], before[1 - which])


def test_the_mask_is_spleeters():
    voice, rest = 0.1 + np.abs(noise(2, 40, BINS, 2, level=2))
    rest[3], voice[4], voice[5], rest[5] = 0, 0, 0, 0  # all voice, no voice, silence
    found, expected = vocal_mask(np.stack([voice, rest])), plain_mask(voice, rest)
    assert found.shape == (40, FRAME // 2 + 1, 2) and found.dtype == np.float32 and 0 <= found.min() <= found.max() <= 1 + U
    assert np.abs(found - expected).max() <= 16 * U  # squares, a sum, a quotient; the mean of 256 shares in numpy's pairs
    assert found[3, :BINS].min() > 1 - 1e-6 and found[4, :BINS].max() < 1e-6
    assert np.abs(found[5] - 0.5).max() <= 4 * U
    both = found + vocal_mask(np.stack([rest, voice]))
    assert np.abs(both - 1).max() <= 16 * U  # above 11 kHz too


# -- the filter of two channels ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("level", [1e-6, 1e-3, 1, 1000])
def test_the_filter_is_that_of_the_paper(level):
    rng = np.random.default_rng(0)
    mixture, voice = (level * (rng.standard_normal((2, 12, 9, 2)) + 1j * rng.standard_normal((2, 12, 9, 2)))).astype("c8")
    found, expected = refined(mixture, voice), plain_wiener(mixture, voice)
    assert found.shape == mixture.shape
    # two spread sources have a covariance of condition below 100 in all 108 points; an inverse loses u times that, and ten steps are made
    assert np.abs(found - expected).max() <= 1000 * U * np.abs(expected).max()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.floats(0.3, 1.0), st.floats(0.0, 0.4))
def test_directions_that_differ_are_told_apart(seed, frames, right, wrong):
    """A middle and a side source; the estimate is a mix of both. As the covariances have rank two the filter cannot be perfect, but it is no worse than the estimate."""
    rng = np.random.default_rng(seed)
    middle, side = ((rng.standard_normal((frames, 5, 1)) + 1j * rng.standard_normal((frames, 5, 1))) * np.array(d) for d in ([1, 1], [1, -1]))
    estimate = (right * middle + wrong * side).astype("c8")
    found = refined((middle + side).astype("c8"), estimate)
    assert np.isfinite(found).all()
    if wrong == 0 and right == 1:
        assert np.abs(found - middle).max() <= 1e-3 * np.abs(middle).max()


def test_sources_of_pure_directions_come_back():
    """The true parts as the first estimate: both covariances have rank one, and only the floor of 1e-4 of the power is lost, at most 2e-4 where one is as loud as the other."""
    rng = np.random.default_rng(0)
    middle, side = (np.exp(2j * np.pi * rng.random((50, 20, 1))) * np.array(d) for d in ([1, 1], [1, -1]))
    found = refined((middle + side).astype("c8"), middle.astype("c8"))
    assert np.abs(found - middle).max() <= 4e-4
    swapped = refined((middle + side).astype("c8"), side.astype("c8"))
    assert np.abs(swapped - side).max() <= 4e-4


def test_channels_changed_over_give_results_changed_over():
    mixture, voice = noise(30, 40, 2) + 1j * noise(30, 40, 2, seed=1), noise(30, 40, 2, seed=2) + 1j * noise(30, 40, 2, seed=3)
    found = refined(mixture, voice)
    assert np.abs(refined(mixture[..., ::-1], voice[..., ::-1])[..., ::-1] - found).max() <= 1000 * U * np.abs(found).max()


@pytest.mark.parametrize("level", [1e-9, 1e-4, 1.0, 1e4])
def test_equal_channels_have_no_inverse_and_are_finite_all_the_same(level):
    """Equal in, equal out. The covariance is all ones but for a floor of 1e-4: condition 2e4, of which float32 loses 2e4 u."""
    one, share = level * (noise(40, 60, 1) + 1j * noise(40, 60, 1, seed=1)), np.random.default_rng(2).random((40, 60, 1)).astype("f4")
    mixture = np.repeat(one, 2, axis=2).astype("c8")
    found = refined(mixture, mixture * share)
    assert np.isfinite(found).all()
    assert np.abs(found[..., 0] - found[..., 1]).max() <= 4 * 2e4 * U * np.abs(mixture).max()
    if level >= 1:  # far above the least of 1e-10 shares of power on the line of both remain
        expected = one * share**2 / (share**2 + (1 - share) ** 2)
        assert np.abs(found[..., :1] - expected).max() <= (1e-4 + 4 * 2e4 * U) * np.abs(mixture).max()


def test_silence_stays_silence():
    for shape in ((1, 2049, 2), (512, 10, 2)):
        assert not refined(np.zeros(shape, "c8"), np.zeros(shape, "c8")).any()
    mixture = noise(20, 10, 2).astype("c8")
    assert not refined(mixture, np.zeros_like(mixture)).any()  # no voice in it


# -- segments and blocks -----------------------------------------------------------------------------------------------

def test_the_stream_is_the_whole_at_once():
    """Thirty seconds are three segments; a network that looks at points by themselves cannot tell. Bound: a transform of 4096 points in float32 (12 steps), there and back."""
    y = noise(30 * RATE, 2) + tone(330, 30)[:, None]
    expected = in_one_piece(y, pointwise)
    found = np.concatenate(list(vocals_of(cut(y, [100_000]), pointwise, False)))
    assert found.shape == y.shape and np.abs(found - expected).max() <= 64 * U * np.abs(y).max()
    error = np.diff(found - expected, n=2, axis=0)  # no clicks where segments meet
    assert np.abs(error).max() <= 4 * 64 * U * np.abs(y).max()
    other = np.concatenate(list(vocals_of(cut(y, [44_101, 7, 300_000]), pointwise, False)))
    assert np.array_equal(found, other)  # how it comes in changes nothing


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 120_000), st.lists(st.integers(0, 40_000).filter(lambda n: n != 1), min_size=1, max_size=4).filter(any),
    st.sampled_from([(24, 6), (9, 3), (16, 1), (40, 20)]))
@example(1, [1], (24, 6))
@example(24 * HOP - FRAME, [5000], (24, 6))  # one segment to the brim, and a sample more
@example(24 * HOP - FRAME + 1, [5000], (24, 6))
@example((24 + 18) * HOP - FRAME, [HOP], (24, 6))
@example((24 + 18) * HOP - FRAME + 1, [HOP], (24, 6))
@example(25 * HOP, [25 * HOP], (24, 6))
def test_any_length_in_any_blocks_is_the_whole_at_once(n, sizes, segment):
    y = noise(n, 2, seed=n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(separate, "FRAMES", segment[0]), patch.setattr(separate, "OVERLAP", segment[1])
        found = np.concatenate(list(vocals_of(cut(y, sizes), pointwise, False)))
    assert found.shape == y.shape
    expected = in_one_piece(y, pointwise)
    assert np.abs(found - expected).max() <= 64 * U * np.abs(y).max()


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 60_000), st.sampled_from([1000, 8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000]), st.integers(1, 2),
       st.lists(st.integers(1, 30_000), min_size=1, max_size=4), st.booleans())
@example(2, 768_000, 2, [1], True)
@example(5, 1000, 1, [2], False)
def test_parts_add_up_to_the_sound(n, sr, channels, sizes, refine):
    """As many samples as came in, at every rate; the rest is the input less the voice, so a sum is off by the rounding of one subtraction and one addition."""
    y = noise(min(n, 3 * sr), channels, seed=n)
    sizes = [max(size, len(y) // 50) for size in sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(separate, "FRAMES", 24), patch.setattr(separate, "OVERLAP", 6)
        voice, rest = parted(y, sr, sizes, refine=refine and channels == 2)
    assert voice.shape == rest.shape == y.shape and voice.dtype == rest.dtype == np.float32
    assert np.abs(voice + rest - y).max() <= 2 * U * max(np.abs(voice).max(), np.abs(rest).max(), np.abs(y).max()) and np.isfinite(voice).all()


@pytest.mark.parametrize("sr", [22_050, 48_000])
def test_another_rate_is_the_same_sound_later_brought_back(sr):
    """Tones well inside the band: a voice below 1000 Hz is found at any rate, in its place; soxr's HQ is good for 20 bits, and a mask's edge is ten bins away."""
    voice, band = tone(440, 3, sr), tone(3000, 3, sr)
    found, rest = parted((voice + band)[:, None], sr, [10_000], low)
    inside = slice(sr // 4, -sr // 4)  # where the sound begins and ends its spectrum is wide
    # a Hann window's side lobes fall with the cube of the distance: 52 bins from 440 Hz to the edge leave below 1e-5 of the tone
    assert np.abs(found[inside, 0] - voice[inside]).max() <= 1e-4 and np.abs(rest[inside, 0] - band[inside]).max() <= 1e-4


def test_segments_that_disagree_fade_into_one_another():
    """A network that calls a fifth of one segment voice and four fifths of the next: the voice's level moves by the difference over 63 hops, never faster."""
    turn = itertools.cycle([0.2, 0.8])

    def moody(seen):
        share = np.float32(next(turn))
        return np.stack([seen * np.sqrt(share), seen * np.sqrt(1 - share)])
    y = tone(430.6640625, 36, level=1)  # bin 40: ten periods fill a hop
    found = parted(y[:, None], RATE, [50_000], moody)[0][:, 0].astype(float)
    count = len(found) // HOP
    wave = np.exp(-2j * np.pi * 430.6640625 * np.arange(count * HOP) / RATE)
    level = 2 * np.abs((found[: count * HOP] * wave).reshape(count, HOP).mean(axis=1))[4:-4]
    assert level.min() == pytest.approx(0.2, abs=1e-3) and level.max() == pytest.approx(0.8, abs=1e-3)
    step = 0.6 / (OVERLAP - 1)
    assert np.abs(np.diff(level)).max() <= 1.05 * step  # a twentieth for the ten periods, whose level is measured as if it stood still
    # second differences of a·sin: a ω², and what the moving level adds, 2 a' ω + a''
    omega, slope = 2 * np.pi * 430.6640625 / RATE, 1.5 * step / HOP
    assert np.abs(np.diff(found[5 * HOP: -5 * HOP], n=2)).max() <= 0.8 * omega**2 + 2 * slope * omega + slope * 2 * np.pi / HOP


def test_no_more_is_held_than_a_segment():
    """Each piece is given away before much more is taken: a segment, a frame and the block that just came."""
    block, taken, given_back = 30_000, 0, 0

    def blocks():
        nonlocal taken
        for _ in range(60):
            taken += block
            yield np.zeros((block, 2), "f4")
    most = 0
    for voice, _ in stems_of(blocks(), RATE, low, False):
        given_back += len(voice)
        most = max(most, taken - given_back)
    assert given_back == taken == 60 * block and most <= OVERLAP * HOP + 2 * FRAME + block


def test_the_sound_that_is_given_stays_as_it_was(short_segments):
    y = noise(60_000, 2)
    before = y.copy()
    stand_in(low)(y, RATE)
    list(stems_of([y[:30_000], y[30_000:]], 22_050, pointwise, True))
    assert np.array_equal(y, before)


def test_blocks_of_nothing(short_segments):
    y, none = noise(5000, 1), np.zeros((0, 1), "f4")
    for sr in (RATE, 22_050):
        parts = list(stems_of([none, y[:100], none, none, y[100:], none], sr, pointwise, False))
        assert np.array_equal(np.concatenate([voice for voice, _ in parts]), parted(y, sr, [5000])[0])
        assert sum(len(voice) for voice, _ in stems_of([none], sr, pointwise, False)) == 0
        assert sum(len(voice) for voice, _ in stems_of([], sr, pointwise, False)) == 0


# -- asking it ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("shape", [(20_000,), (20_000, 1), (20_000, 2), (2,), (2, 1), (2, 2), (FRAME,), (HOP + 1, 2)])
def test_parts_have_the_shape_of_the_sound(separator, shape):
    y = noise(*shape)
    found = separator(y, 22_050)
    assert list(found.parts) == ["vocals", "accompaniment"] and found.sr == 22_050 and found.notes == ()
    for part in found.parts.values():
        assert part.shape == shape and part.dtype == np.float32 and np.isfinite(part).all()
    assert np.abs(sum(found.parts.values()) - y).max() <= 4 * U
    again = separator(y, 22_050)
    assert np.array_equal(again.parts["vocals"], found.parts["vocals"])
    assert np.array_equal(separator(y.astype(float), 22_050).parts["vocals"], found.parts["vocals"])


def test_one_channel_is_two_that_are_equal(separator):
    y = noise(40_000)
    plain = Separator(WEIGHTS, refine=False)
    one, two = plain(y, RATE).parts["vocals"], plain(np.stack([y, y], axis=1), RATE).parts["vocals"]
    # the drawn last layer has masks of its own for each channel; one channel takes the first
    assert np.array_equal(one, two[:, 0]) and np.array_equal(separator(y, RATE).parts["vocals"], one)


def test_only_two_channels_are_refined():
    y = np.stack([tone(300, 0.3) + tone(5000, 0.3), tone(300, 0.3) - tone(5000, 0.3)], axis=1)
    asked = []

    def run(seen):
        asked.append(seen.shape)
        return pointwise(seen)
    with_filter, without = stand_in(run)(y, RATE), stand_in(run, refine=False)(y, RATE)
    assert asked == [(1, FRAMES, BINS, 2)] * 2
    assert np.abs(with_filter.parts["vocals"] - without.parts["vocals"]).max() > 1e-3
    assert np.abs(without.parts["vocals"] - in_one_piece(y, pointwise)).max() <= 64 * U
    # the filter's covariances are those of a segment, and here it is the only one; float32 through a condition of 1e4
    assert np.abs(with_filter.parts["vocals"] - in_one_piece(y, pointwise, refine=True)).max() <= 1e4 * U


@pytest.mark.parametrize("refine", [False, True])
def test_a_voice_below_and_a_band_above(refine):
    voice, band = tone(440, 4), tone(3000, 4)
    found = stand_in(low, refine)(np.stack([voice + band, voice - band], axis=1), RATE).parts
    inside = slice(RATE // 4, -RATE // 4)
    # without the filter what leaks is the windows' side lobes; the filter's floor is 1e-4 of the power
    bound = 1e-3 if refine else 1e-4
    assert np.abs(found["vocals"][inside] - voice[inside, None]).max() <= bound
    assert np.abs(found["accompaniment"][inside] - np.stack([band, -band], axis=1)[inside]).max() <= bound


@pytest.mark.parametrize("channels", [0, 1, 2])
def test_silence_has_no_share(separator, channels):
    found = separator(np.zeros((30_000, channels) if channels else 30_000, "f4"), 48_000)
    assert not any(part.any() for part in found.parts.values()) and all(np.isnan(found.share(name)) for name in found.parts)
    assert found.frame()["loudest"].tolist() == [-100, -100] and found.plot().layout.title.text.startswith("–")


@pytest.mark.parametrize("name", ["silence then noise", "very quiet", "clipped", "offset", "one click", "shorter than a frame"])
def test_odd_sounds(separator, name):
    y = made()[name]
    for given_in in (y, np.stack([y, 0 * y], axis=1)):
        found = separator(given_in, 22_050)
        assert all(np.isfinite(part).all() for part in found.parts.values())
        assert np.abs(sum(found.parts.values()) - given_in).max() <= 4 * U * np.abs(np.stack(list(found.parts.values()))).max()
        assert not given_in.any(axis=0).all() or 0 <= found.share("vocals") <= 1


def test_a_channel_of_silence_stays_silent():
    """No estimate leads from one channel to another when the other has nothing."""
    y = np.stack([noise(30_000), np.zeros(30_000, "f4")], axis=1)
    for refine in (False, True):
        assert not stand_in(pointwise, refine)(y, RATE).parts["vocals"][:, 1].any()


@pytest.mark.parametrize("y, said", [
    (np.zeros((2, 5000)), "needs one dimension"), (np.zeros((5000, 3)), "needs one dimension"), (np.zeros((50, 2, 1)), "needs one dimension"),
    (0.5, "needs one dimension"),
    (np.zeros((5000, 0)), "needs one dimension"), ([], "0 samples"), ([0.1], "1 samples"), (np.zeros((1, 2)), "1 samples"), (np.zeros((0, 2)), "0 samples"),
    (np.zeros(5000, "i2"), "needs floats"), (np.zeros((5000, 2), int), "needs floats"), (np.r_[np.zeros(5000), np.nan], "not finite"),
    (np.array([[0, 0], [0, np.inf], [0, 0.0]]), "not finite")])
def test_what_is_no_sound(separator, y, said):
    with pytest.raises(AudioError, match=said):
        separator(y, RATE)


@pytest.mark.parametrize("sr", [0, 999, 768_001, 44_100.0, "44100", None, True])
def test_wrong_rates(separator, sr):
    with pytest.raises(ParameterError, match="sr "):
        separator(np.zeros(5000), sr)


def test_weights_that_are_not_here_name_the_command(tmp_path):
    for home in (tmp_path, None):
        with pytest.raises(ModelMissingError, match="tenant-lab models pull spleeter-2stems$"):
            Separator.load(home)
    (tmp_path / "models/spleeter-2stems").mkdir(parents=True)
    with pytest.raises(ModelMissingError, match="fetch them again with: tenant-lab models pull spleeter-2stems$"):
        Separator.load(tmp_path)


@pytest.mark.parametrize("name", ["conv2d_13/kernel", "conv2d_transpose/bias", "batch_normalization_22/moving_variance"])
def test_a_variable_that_is_missing_is_named_before_anything_is_heard(name):
    with pytest.raises(TenantLabError, match=name):
        Separator({n: array for n, array in WEIGHTS.items() if n != name})


@pytest.mark.parametrize("name, array", [("conv2d_13/kernel", WEIGHTS["conv2d_13/kernel"][..., :1]), ("conv2d_2/bias", np.zeros(1, "f4")), ("conv2d_transpose_4/kernel", np.zeros((5, 5, 2, 8), "f4"))])
def test_a_variable_of_another_shape_is_no_answer(name, array):
    with pytest.raises(TenantLabError, match=name):
        Separator({**WEIGHTS, name: array})(noise(5000), RATE)


# -- files -------------------------------------------------------------------------------------------------------------

def wav(path, y, sr=RATE, **options):
    sf.write(path, y, sr, **options)
    return path


def names(folder):
    return sorted(path.name for path in folder.iterdir())


STEP = {"wav": U, "flac": 2**-24}  # floats, and 24 bits rounded to the nearest


@pytest.mark.parametrize("channels, sr, kind", [(1, 22_050, "wav"), (2, 44_100, "flac"), (2, 48_000, "wav")])
def test_a_file_becomes_two_that_add_up_to_it(tmp_path, channels, sr, kind):
    y = noise(2 * sr, channels)
    assert np.abs(y).max() < 1  # nothing is clipped
    source = wav(tmp_path / "song.wav", y, sr)
    vocals, rest = tmp_path / f"vocals.{kind}", tmp_path / f"rest.{kind}"
    vocals.write_bytes(b"was here before")
    share = stand_in(low).file(source, str(vocals), rest)
    assert names(tmp_path) == sorted(["song.wav", vocals.name, rest.name])
    parts = [sf.read(path, dtype="float32", always_2d=True) for path in (vocals, rest)]
    assert all(rate == sr and part.shape == y.shape for part, rate in parts)
    assert np.abs(parts[0][0] + parts[1][0] - sf.read(source, always_2d=True)[0]).max() <= 2 * STEP[kind] + 4 * U
    direct = stand_in(low)(sf.read(source, dtype="float32", always_2d=True)[0], sr)
    assert np.abs(parts[0][0] - direct.parts["vocals"]).max() <= STEP[kind] + 4 * U
    assert share == pytest.approx(direct.share("vocals"), rel=1e-6) and 0 < share < 1


def test_a_long_file_comes_in_pieces(tmp_path, monkeypatch, short_segments):
    from tenant_lab.audio import io
    monkeypatch.setattr(io, "PIECE", 7000)
    y = noise(90_001, 2)
    stand_in(pointwise, refine=False).file(wav(tmp_path / "a.wav", y, subtype="FLOAT"), tmp_path / "v.wav", tmp_path / "r.wav")
    assert np.abs(sf.read(tmp_path / "v.wav")[0] - in_one_piece(y, pointwise)).max() <= STEP["wav"] + 64 * U


def test_a_file_of_silence(tmp_path):
    assert np.isnan(stand_in(low).file(wav(tmp_path / "a.wav", np.zeros(3000)), tmp_path / "v.wav", tmp_path / "r.wav"))
    assert not sf.read(tmp_path / "v.wav")[0].any() and len(sf.read(tmp_path / "r.wav")[0]) == 3000


def spoiled(folder, kind):
    """A file with a fault."""
    path = folder / "song.wav"
    if kind == "missing":
        return path
    if kind == "text":
        path.write_bytes(b"this is no sound")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "cut":
        path = folder / "song.flac"
        sf.write(path, noise(400_000, 2), RATE)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "three channels":
        wav(path, noise(5000, 3))
    elif kind == "no samples":
        wav(path, np.zeros((0, 2)))
    else:
        y = noise(5000, 2)
        y[777, 1] = np.nan
        wav(path, y, subtype="FLOAT")
    return path


@pytest.mark.parametrize("kind, said", [("missing", "is not there"), ("text", "no sound that can be read"), ("empty", "is empty"), ("cut", "cannot be read beyond|cut off"),
                                        ("three channels", "has 3 channels: needs one or two"), ("no samples", "0 samples"), ("not a number", "not finite")])
def test_a_file_with_a_fault_leaves_nothing(tmp_path, kind, said):
    source, out = spoiled(tmp_path, kind), tmp_path / "out"
    out.mkdir()
    (out / "v.wav").write_bytes(b"was here before")
    with pytest.raises(AudioError, match=said):
        stand_in(low).file(source, out / "v.wav", out / "r.wav")
    assert names(out) == ["v.wav"] and (out / "v.wav").read_bytes() == b"was here before"


@pytest.mark.parametrize("vocals, rest", [("v", "r.wav"), ("v.wav", "r.xyz"), ("none/v.wav", "r.wav"), ("v.wav", "none/r.wav"), ("v.raw", "r.wav")])
def test_what_cannot_be_written_is_said(tmp_path, vocals, rest):
    source = wav(tmp_path / "song.wav", noise(3000))
    with pytest.raises(AudioError, match=r"cannot be written: .*name files that end in \.wav or \.flac"):
        stand_in(low).file(source, tmp_path / vocals, tmp_path / rest)
    assert names(tmp_path) == ["song.wav"]


# -- the result, and the way without weights ---------------------------------------------------------------------------

def test_shares_and_levels():
    y = np.concatenate([np.full(500, 0.1), np.full(500, 1.0), np.full(250, 0.01)])
    found = Stems({"a": y, "b": np.zeros((1250, 2)), "c": np.stack([y, y], axis=1)}, 1000)
    assert [found.share(name) for name in "abc"] == pytest.approx([1 / 3, 0, 2 / 3]) and sum(found.share(name) for name in "abc") == pytest.approx(1)
    levels = found.levels()
    assert levels["a"][:2] == pytest.approx([-20, 0], abs=1e-6) and levels["b"].tolist() == [-100] * 3 and np.array_equal(levels["a"], levels["c"])
    assert found.levels(1250 / 1000)["a"].shape == (1,) and found.frame()["loudest"].tolist() == pytest.approx([0, -100, 0], abs=1e-6)
    for seconds in (0, -1, float("nan"), "1"):
        with pytest.raises(ParameterError, match="seconds"):
            found.levels(seconds)
    shown = found.plot()
    assert [trace.name for trace in shown.data] == ["a", "b", "c"] and "33.3% of the energy is a" in shown.layout.title.text


def test_the_last_part_of_a_second_is_as_loud_as_it_is():
    """The level of a steady sound does not fall because the last piece is shorter."""
    found = Stems({"a": np.full(1250, 0.1)}, 1000).levels()["a"]
    assert found == pytest.approx([-20, -20, -20], abs=1e-6)


@pytest.mark.parametrize("sr", [22_050, 44_100])
def test_tones_and_beats(sr):
    steady, beats = tone(440, 3, sr), np.zeros(3 * sr, "f4")
    beats[sr // 4:: sr // 2] = 0.9
    found = harmonic_percussive(steady + beats, sr)
    assert list(found.parts) == ["harmonic", "percussive"] and "not voice and accompaniment" in found.notes[0] and found.notes[0] in found._repr_html_()
    assert np.abs(sum(found.parts.values()) - steady - beats).max() <= 4 * U
    assert harmonic_percussive(steady, sr).share("harmonic") > 0.99 and harmonic_percussive(beats, sr).share("percussive") > 0.99
    assert np.isnan(harmonic_percussive(np.zeros(5000), sr).share("harmonic"))


@pytest.mark.parametrize("y, error", [(np.zeros((2, 5000)), AudioError), ([0.1], AudioError), ([0.1, np.nan], AudioError), (np.zeros(500, int), AudioError)])
def test_tones_and_beats_of_no_sound(y, error):
    with pytest.raises(error):
        harmonic_percussive(y, RATE)


@pytest.mark.parametrize("source, subtype, made, wanted", [
    ("a.wav", "PCM_24", "v.wav", "FLOAT"), ("a.wav", "FLOAT", "v.flac", "PCM_24"), ("a.flac", "PCM_16", "v.aiff", "FLOAT"), ("a.ogg", "VORBIS", "v.ogg", "VORBIS")])
def test_parts_are_finely_encoded(tmp_path, source, subtype, made, wanted):
    wav(tmp_path / source, 0.3 * noise(5000), subtype=subtype)
    stand_in(low).file(tmp_path / source, tmp_path / made, tmp_path / f"r{made[1:]}")
    assert sf.info(str(tmp_path / made)).subtype == sf.info(str(tmp_path / f"r{made[1:]}")).subtype == wanted


def test_the_loudest_sound_that_is_one_has_parts(separator):
    """The product of two powers is the largest number on the way."""
    found = separator(np.clip(4e6 * noise(50_000, 2), -1e6, 1e6).astype("f4"), RATE)
    assert all(np.isfinite(part).all() for part in found.parts.values())


def test_parts_louder_than_full_scale_are_whole_or_refused(tmp_path):
    """Where one part cancels the other it is louder than both together."""
    y = np.sign(np.sin(2 * np.pi * 100 * (np.arange(30_000) + 0.5) / RATE))  # its lower partials reach beyond it
    wav(tmp_path / "a.wav", y)
    source = sf.read(tmp_path / "a.wav")[0]
    one = stand_in(low)
    one.file(tmp_path / "a.wav", tmp_path / "v.wav", tmp_path / "r.wav")
    parts = [sf.read(tmp_path / name)[0] for name in ("v.wav", "r.wav")]
    assert max(np.abs(part).max() for part in parts) > 1.01 and np.abs(parts[0] + parts[1] - source).max() < 1e-6
    with pytest.raises(AudioError, match="of full scale, which a FLAC file cannot hold"):
        one.file(tmp_path / "a.wav", tmp_path / "v.flac", tmp_path / "r.flac")
    assert names(tmp_path) == ["a.wav", "r.wav", "v.wav"]


def test_a_sound_is_never_overwritten_by_its_part(tmp_path):
    wav(tmp_path / "a.wav", noise(3000))
    (tmp_path / "link.wav").symlink_to("a.wav")
    before = (tmp_path / "a.wav").read_bytes()
    for vocals, rest in (("a.wav", "r.wav"), ("v.wav", "a.wav"), ("v.wav", "link.wav"), ("v.wav", "./v.wav")):
        with pytest.raises(ParameterError, match="need a file each"):
            stand_in(low).file(tmp_path / "a.wav", tmp_path / vocals, tmp_path / rest)
    assert names(tmp_path) == ["a.wav", "link.wav"] and (tmp_path / "a.wav").read_bytes() == before


def test_a_cut_off_wav_has_no_parts(tmp_path):
    wav(tmp_path / "a.wav", noise(30_000))
    content = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match="is cut off"):
        stand_in(low).file(tmp_path / "a.wav", tmp_path / "v.wav", tmp_path / "r.wav")
    assert names(tmp_path) == ["a.wav"]


def test_a_part_that_is_not_there():
    with pytest.raises(ParameterError, match="part 'bass': allowed are a"):
        Stems({"a": np.ones(10)}, 1000).share("bass")
