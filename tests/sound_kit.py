"""Sounds that tests listen to: 28 tracks of real music, and made ones, all seeded."""
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tenant_lab.audio.io import read_audio

SR = 22_050


def tracks() -> list[Path]:
    """Files of the package immich-memories-music (MIT), which is not imported."""
    return sorted(Path(find_spec("immich_memories_music").origin).parent.glob("tracks/*/*.opus"))


@lru_cache(maxsize=64)
def music(n: int, seconds: float = 30.0) -> np.ndarray:
    return read_audio(tracks()[n])[0][: int(seconds * SR)]


def clicks(bpm: float, seconds: float = 20.0, noise: float = 1e-3) -> np.ndarray:
    rng = np.random.default_rng(int(bpm))
    y = noise * rng.standard_normal(int(seconds * SR))
    for start in np.arange(0.3, seconds - 0.1, 60 / bpm):
        y[int(start * SR): int(start * SR) + 200] += 0.8 * rng.standard_normal(200)
    return y.astype(np.float32)


def made() -> dict[str, np.ndarray]:
    rng, t = np.random.default_rng(7), np.arange(5 * SR) / SR
    tone = 0.5 * np.sin(2 * np.pi * 440 * t)
    found = {"noise": 0.1 * rng.standard_normal(5 * SR), "tone": tone, "chirp": 0.5 * np.sin(2 * np.pi * (100 * t + 900 * t**2)),
             "silence then noise": np.r_[np.zeros(2 * SR), 0.2 * rng.standard_normal(2 * SR)],
             "very quiet": 1e-6 * rng.standard_normal(3 * SR), "clipped": np.clip(3 * tone, -1, 1), "offset": 0.3 + 0.1 * tone,
             "one click": np.r_[np.zeros(SR), 1.0, np.zeros(SR)], "shorter than a frame": rng.standard_normal(700), "clicks": clicks(100, 6)}
    return {name: y.astype(np.float32) for name, y in found.items()}
