"""musicnn, Spleeter's U-Net and its way from sound to sound once more: plain numpy, 64 bits, as their authors describe them; and weights that were drawn."""
import hashlib
import json
from pathlib import Path

import numpy as np

from tenant_lab.core.models import PRETRAINED

U = 2.0**-24  # what rounding to float32 changes at most, as a share


def rounding(*terms: int) -> float:
    """What a chain of layers may lose in float32, as a share of its largest value; `terms`: how many products each layer sums.

    A float32 sum of n terms that go either way is off by less than u √n of its size (Higham & Mary 2020, Sharper probabilistic backward error analysis);
    normalised layers hand an error on as it is, so at worst errors add up.
    """
    return U * float(np.sqrt(terms).sum())


def named(layer: str, n: int) -> str:
    """TensorFlow counts layers of one kind: the first has no number."""
    return layer if n == 0 else f"{layer}_{n}"


def drawn(rng: np.random.Generator, kernels: dict[str, tuple[int, ...]], norms: dict[str, int], outputs: dict[str, int] | None = None) -> dict[str, np.ndarray]:
    """Weights that keep a layer's values near one; gammas are negative as often as not, as in musicnn's own."""
    found = {}
    for name, shape in kernels.items():
        size = (outputs or {}).get(name, shape[-1])
        found[f"{name}/kernel"] = rng.normal(0, (np.prod(shape) / size) ** -0.5, shape)
        found[f"{name}/bias"] = rng.normal(0, 0.2, size)
    for name, size in norms.items():
        found[f"{name}/gamma"] = rng.uniform(0.5, 1.5, size) * rng.choice([-1, 1], size)
        found[f"{name}/beta"], found[f"{name}/moving_mean"] = rng.normal(0, 0.3, (2, size))
        found[f"{name}/moving_variance"] = rng.uniform(0.3, 2, size)
    return {name: array.astype("f4") for name, array in found.items()}


def normalised(x: np.ndarray, weights: dict[str, np.ndarray], n: int) -> np.ndarray:
    """Batch normalisation when nothing is learnt; both authors leave TensorFlow's epsilon of 0.001."""
    gamma, beta, mean, variance = (weights[f"{named('batch_normalization', n)}/{part}"].astype(float) for part in ("gamma", "beta", "moving_mean",
        "moving_variance"))
    return gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta


def convolved(x: np.ndarray, kernel: np.ndarray, height: tuple[int, int], width: tuple[int, int], stride: int = 1, dilation: int = 1) -> np.ndarray:
    """What a network calls a convolution; x: (n, rows, columns, channels), kernel: (rows, columns, channels, filters), zeros around."""
    x = np.pad(x, ((0, 0), height, width, (0, 0)))
    size = [(k - 1) * dilation + 1 for k in kernel.shape[:2]]
    seen = np.lib.stride_tricks.sliding_window_view(x, size, axis=(1, 2))[:, ::stride, ::stride, :, ::dilation, ::dilation]
    return np.tensordot(seen, kernel.astype(float), axes=([3, 4, 5], [2, 0, 1]))


# -- musicnn (Pons & Serra 2019; musicnn/models.py of its package) -----------------------------------------------------

MUSICNN_TERMS = (7 * 67, 7 * 561, 7 * 64, 7 * 64, 187, 1506, 200)


def drawn_musicnn(seed: int = 0) -> dict[str, np.ndarray]:
    kernels = {"conv2d": (7, 38, 1, 204), "conv2d_1": (7, 67, 1, 204), "conv2d_2": (128, 1, 1, 51), "conv2d_3": (64, 1, 1, 51), "conv2d_4": (32, 1, 1, 51),
               "conv2d_5": (7, 561, 1, 64), "conv2d_6": (7, 64, 1, 64), "conv2d_7": (7, 64, 1, 64), "dense": (1506, 200), "dense_1": (200, 50)}
    norms = {named("batch_normalization", n): size for n, size in enumerate((1, 204, 204, 51, 51, 51, 64, 64, 64, 1506, 200))}
    return drawn(np.random.default_rng(seed), kernels, norms)


def plain_musicnn(weights: dict[str, np.ndarray], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores and embeddings of windows, shape (n, 187, 96); in the order of the paper: convolution, ReLU, normalisation, then the maximum."""
    x = normalised(x.astype(float)[..., None], weights, 0)

    def layer(x: np.ndarray, n: int, height: tuple[int, int]) -> np.ndarray:
        name = named("conv2d", n)
        return normalised(np.maximum(convolved(x, weights[f"{name}/kernel"], height, (0, 0)) + weights[f"{name}/bias"], 0), weights, n + 1)

    # timbral filters: three zeros on either side; temporal ones: TensorFlow's "same", which puts the odd zero at the end
    front = [layer(x, 0, (3, 3)), layer(x, 1, (3, 3)), layer(x, 2, (63, 64)), layer(x, 3, (31, 32)), layer(x, 4, (15, 16))]
    first = np.concatenate([found.max(axis=2) for found in front], axis=2)
    second = layer(first[..., None], 5, (3, 3))[:, :, 0]
    third = layer(second[..., None], 6, (3, 3))[:, :, 0] + second
    fourth = layer(third[..., None], 7, (3, 3))[:, :, 0] + third
    every = np.concatenate([first, second, third, fourth], axis=2)
    pooled = np.stack([every.max(axis=1), every.mean(axis=1)], axis=2).reshape(len(x), -1)  # in turns, as the authors flatten it
    embedding = normalised(np.maximum(normalised(pooled, weights, 9) @ weights["dense/kernel"].astype(float) + weights["dense/bias"], 0), weights, 10)
    return 1 / (1 + np.exp(-(embedding @ weights["dense_1/kernel"].astype(float) + weights["dense_1/bias"]))), embedding


# -- Spleeter (Hennequin et al. 2020; Jansson et al. 2017; spleeter/model/functions/unet.py of its package) ------------

def unet_terms(filters: tuple[int, ...]) -> tuple[int, ...]:
    down = [25 * size for size in (2, *filters[:-1])]
    up = [7 * filters[5], *[14 * size for size in filters[:5]]]  # of 25 taps a doubled place sees 4 to 9
    return (*down, *up, 16)


def drawn_unets(seed: int = 0, filters: tuple[int, ...] = (3, 4, 5, 6, 7, 8)) -> dict[str, np.ndarray]:
    """Both U-nets; the authors' have 16, 32 … 512 filters."""
    kernels, norms, outputs = {}, {}, {}
    for which in (0, 1):
        for n, (before, after) in enumerate(zip((2, *filters[:-1]), filters, strict=True)):
            kernels[named("conv2d", 7 * which + n)] = (5, 5, before, after)
        kernels[named("conv2d", 7 * which + 6)] = (4, 4, 1, 2)
        for n, (before, after) in enumerate(zip((filters[5], *[2 * size for size in filters[4::-1]]), (*filters[4::-1], 1), strict=True)):
            name = named("conv2d_transpose", 6 * which + n)
            kernels[name], outputs[name] = (5, 5, after, before), after
        for n, size in enumerate((*filters, *filters[4::-1], 1)):
            norms[named("batch_normalization", 12 * which + n)] = size
    found = drawn(np.random.default_rng(seed), kernels, norms, outputs)
    return {name: array * np.float32(2) if "transpose" in name and name.endswith("kernel") else array for name,
        array in found.items()}  # a quarter of the taps meet


def plain_unet(weights: dict[str, np.ndarray], x: np.ndarray, which: int) -> np.ndarray:
    """Estimate of instrument `which` from magnitudes, shape (n, rows, columns, 2)."""
    x = x.astype(float)

    def down(x: np.ndarray, n: int) -> np.ndarray:  # "same" with 5 taps and steps of two on an even length: one zero before, two after
        name = named("conv2d", 7 * which + n)
        return convolved(x, weights[f"{name}/kernel"], (1, 2), (1, 2), stride=2) + weights[f"{name}/bias"]

    def up(x: np.ndarray, n: int) -> np.ndarray:  # each value lays its kernel down, every second place
        name = named("conv2d_transpose", 6 * which + n)
        kernel, (count, rows, columns, _) = weights[f"{name}/kernel"].astype(float), x.shape
        laid = np.zeros((count, 2 * rows + 3, 2 * columns + 3, kernel.shape[2]))
        for row in range(5):
            for column in range(5):
                laid[:, row: row + 2 * rows: 2, column: column + 2 * columns: 2] += x @ kernel[row, column].T
        found = laid[:, 1: 1 + 2 * rows, 1: 1 + 2 * columns] + weights[f"{name}/bias"]
        return normalised(np.maximum(found, 0), weights, 12 * which + 6 + n)

    conv = [down(x, 0)]
    for n in range(1, 6):
        found = normalised(conv[-1], weights, 12 * which + n - 1)
        conv.append(down(np.where(found > 0, found, 0.2 * found), n))
    y = up(conv[5], 0)
    for n in range(1, 6):
        y = up(np.concatenate([conv[5 - n], y], axis=3), n)
    last = named("conv2d", 7 * which + 6)
    return x / (1 + np.exp(-convolved(y, weights[f"{last}/kernel"], (3, 3), (3, 3), dilation=2) - weights[f"{last}/bias"]))


# -- from sound to sound (spleeter/model/__init__.py; norbert) ---------------------------------------------------------

def plain_mask(voice: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Share of the voice, shape (frames, 2049, channels), from magnitudes of 1024 bins; above them the mean of the topmost quarter."""
    share = (voice.astype(float) ** 2 + 0.5e-10) / (voice.astype(float) ** 2 + rest.astype(float) ** 2 + 1e-10)
    return np.concatenate([share, np.broadcast_to(share[:, 768:].mean(axis=1, keepdims=True), (len(share), 1025, share.shape[2]))], axis=1)


def plain_wiener(mixture: np.ndarray, voice: np.ndarray, share: float = 1e-4, least: float = 1e-10) -> np.ndarray:
    """Multichannel Wiener filter (Nugraha, Liutkus & Vincent 2016), point by point; the mixture's covariance gets `share` of its power, and `least`, on the diagonal."""
    found = np.zeros(mixture.shape, complex)
    parts = voice.astype(complex), mixture.astype(complex) - voice
    power = [(np.abs(part) ** 2).mean(axis=2) for part in parts]
    for f in range(mixture.shape[1]):
        space = [np.einsum("ti,tj->ij", part[:, f], part[:, f].conj()) / (p[:, f].sum() + least) for part, p in zip(parts, power, strict=True)]
        for t in range(len(mixture)):
            p, q = power[0][t, f], power[1][t, f]
            both = p * space[0] + q * space[1] + (least + share * (p + q)) * np.eye(2)
            found[t, f] = p * space[0] @ np.linalg.solve(both, mixture[t, f].astype(complex))
    return found


def in_one_piece(y: np.ndarray, run, refine: bool = False) -> np.ndarray:
    """The voice in samples at 44.1 kHz, shape (n, channels), with all of its spectrum at once; `run` must look at each point by itself."""
    padded = np.concatenate([np.zeros((4096, y.shape[1])), y.astype(float), np.zeros((4096, y.shape[1]))])
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(4096) / 4096)
    starts = range(0, 4096 + len(y), 1024)
    spectrum = np.stack([np.fft.rfft(padded[n: n + 4096] * window[:, None], axis=0) for n in starts])
    voice = plain_mask(*run(np.abs(spectrum[None, :, :1024]).astype("f4"))[:, 0]) * spectrum
    voice = plain_wiener(spectrum, voice) if refine else voice
    made = np.zeros(padded.shape)
    for n, frame in zip(starts, np.fft.irfft(voice, axis=1), strict=True):
        made[n: n + 4096] += (frame * window[:, None] * 2 / 3)[: len(made) - n]
    return made[4096: 4096 + len(y)]


# -- as `models pull` keeps them ---------------------------------------------------------------------------------------

def keep(home: Path, name: str, weights: dict[str, np.ndarray]) -> None:
    """Lay drawn weights down in a home as if they had been fetched."""
    folder, files = home / "models" / name, {}
    folder.mkdir(parents=True)
    for network in PRETRAINED[name].checkpoints:
        np.savez(folder / f"{network}.npz", **weights)
        files[f"{network}.npz"] = hashlib.sha256((folder / f"{network}.npz").read_bytes()).hexdigest()
    (folder / "model.json").write_text(json.dumps({"files": files, "sha256": PRETRAINED[name].sha256}))
