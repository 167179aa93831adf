"""Sounds on a page: a picture that is a PNG, a player that plays what was given."""
import base64
import io
import re

import numpy as np
import pytest
import soundfile
from PIL import Image

from tenant_lab.core.errors import ParameterError
from tenant_lab.reports.sounds import Sound, opus, png, sounds_html


def image(levels) -> np.ndarray:
    found = Image.open(io.BytesIO(png(np.asarray(levels, float))))
    found.verify()
    return np.asarray(Image.open(io.BytesIO(png(np.asarray(levels, float)))).convert("RGB")).astype(int)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (96, 1), (128, 240)])
def test_the_picture_has_the_shape_of_the_numbers(shape):
    assert image(np.random.default_rng(0).random(shape)).shape == (*shape, 3)


def test_low_rows_are_below_and_large_numbers_bright():
    rows = image([[0, 0.5, 1], [1, 1, 1]])
    light = rows.sum(axis=2)
    assert (light[0] == light[0, 0]).all() and light[1, 0] < light[1, 1] < light[1, 2] == light[0, 0]


def test_what_lies_outside_is_drawn_as_the_nearest_and_no_number_as_the_darkest():
    assert (image([[-5, 7, np.nan, np.inf, -np.inf]]) == image([[0, 1, 0, 1, 0]])).all()


@pytest.mark.parametrize("levels", [np.zeros(3), np.zeros((0, 4)), np.zeros((2, 2, 2))])
def test_a_picture_needs_rows_and_columns(levels):
    with pytest.raises(ParameterError, match="needs rows and columns"):
        png(levels)


@pytest.mark.parametrize("rate", [8000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_player_plays_what_was_given(rate, channels):
    """Opus is lossy: the loudest frequency and the level are what has to come through."""
    t = np.arange(3 * rate) / rate
    y = np.stack([0.4 * np.sin(2 * np.pi * f * t) for f in (440.0, 1000.0)[:channels]], axis=1)
    played, heard = soundfile.read(io.BytesIO(opus(y if channels == 2 else y[:, 0], rate)), always_2d=True)
    assert heard == 24_000 and played.shape[1] == channels and abs(len(played) / heard - 3) < 0.05
    for n, f in enumerate((440.0, 1000.0)[:channels]):
        middle = played[heard // 2: heard // 2 + heard, n]  # one second: a bin is 1 Hz
        assert np.abs(np.fft.rfft(middle)).argmax() == f and abs(np.sqrt((middle**2).mean()) / (0.4 / np.sqrt(2)) - 1) < 0.1


@pytest.mark.parametrize("size, most", [(0.9, 1.0), (3, 1.3)])
def test_neither_full_scale_nor_a_hard_edge_makes_it_louder(size, most):
    """A square wave without its upper partials overshoots by 9 % (Gibbs) and Opus by some more; without the silence after it the end rings to 1.7."""
    wave = np.sin(2 * np.pi * 200 * np.arange(24_000) / 24_000)
    played, _ = soundfile.read(io.BytesIO(opus(size * wave, 24_000)))
    assert np.abs(played).max() < most and np.abs(played[[0, -1]]).max() < 0.1
    assert np.corrcoef(played[2000:20_000], wave[2000:20_000])[0, 1] > 0.9


@pytest.mark.parametrize("n", [1, 2, 30, 900])
def test_a_sound_shorter_than_its_fades(n):
    played, _ = soundfile.read(io.BytesIO(opus(np.full(n, 0.5), 24_000)))
    assert len(played) == n + 960 and np.abs(played).max() < 1


def test_a_card_is_safe_and_works_offline():
    sound = Sound("<script>'\"&", np.zeros(2400), 24_000, np.eye(4), ["a < b"])
    made = sounds_html([sound, Sound("plain", np.zeros(2400), 24_000)])
    assert "<script>" not in made and "a &lt; b" in made and "&lt;script&gt;&#x27;&quot;&amp;" in made
    assert (made.count("<audio"), made.count("<img")) == (2, 1) and "http" not in made
    for kind, content in re.findall(r"data:([a-z/]+);base64,([A-Za-z0-9+/=]+)'", made):
        assert base64.b64decode(content)[:4] == {"image/png": b"\x89PNG", "audio/ogg": b"OggS"}[kind]


def test_no_sounds_are_no_cards():
    assert sounds_html([]).count("tl-sound'") == 0
