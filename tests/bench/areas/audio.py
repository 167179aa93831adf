"""Audio features beside librosa on the same clip: its separate calls, its functions on one shared spectrogram, a new process, a live hop."""
from importlib.util import find_spec
from pathlib import Path

from case import Case

ONE_THREAD = "import os\nos.environ.update(OPENBLAS_NUM_THREADS='1', OMP_NUM_THREADS='1', NUMBA_NUM_THREADS='1')\n"
NAMES = ["log_mel", "mfcc", "chroma", "centroid", "contrast", "rolloff", "zcr", "rms", "onset_strength", "tempo"]
REPEATS = 20

MEANS = """
import numpy as np
def result(found, out):
    return [float(np.mean(found[name])) for name in NAMES]
"""
OURS = ONE_THREAD + f"""
import numpy as np
from tenant_lab.audio.features import extract
NAMES, REPEATS = {NAMES}, {REPEATS}
def one(y):
    found = extract(y, 22050, NAMES)
    return {{**found.frames, "tempo": found.tempo}}
""" + MEANS
SEPARATE = ONE_THREAD + f"""
import numpy as np, librosa
NAMES, REPEATS = {NAMES}, {REPEATS}
def one(y):
    f = librosa.feature
    return {{"log_mel": librosa.power_to_db(f.melspectrogram(y=y)), "mfcc": f.mfcc(y=y), "chroma": f.chroma_stft(y=y), "centroid": f.spectral_centroid(y=y),
            "contrast": f.spectral_contrast(y=y), "rolloff": f.spectral_rolloff(y=y), "zcr": f.zero_crossing_rate(y), "rms": f.rms(y=y),
            "onset_strength": librosa.onset.onset_strength(y=y), "tempo": librosa.beat.beat_track(y=y)[0]}}
""" + MEANS
SHARED = ONE_THREAD + f"""
import numpy as np, librosa
NAMES, REPEATS = {NAMES}, {REPEATS}
def one(y):
    f, S = librosa.feature, np.abs(librosa.stft(y))
    P = S * S
    mel = librosa.power_to_db(f.melspectrogram(S=P))
    return {{"log_mel": mel, "mfcc": f.mfcc(S=mel), "chroma": f.chroma_stft(S=P), "centroid": f.spectral_centroid(S=S),
            "contrast": f.spectral_contrast(S=S), "rolloff": f.spectral_rolloff(S=S), "zcr": f.zero_crossing_rate(y), "rms": f.rms(y=y),
            "onset_strength": librosa.onset.onset_strength(S=mel),
            "tempo": librosa.beat.beat_track(onset_envelope=librosa.onset.onset_strength(S=mel, aggregate=np.median))[0]}}
""" + MEANS
WARM = """
one(np.load(DATA)[:110250])
def work(data):
    y = np.load(DATA)
    for _ in range(REPEATS):
        found = one(y)
    return found
"""


def clip(data: Path) -> None:
    """Thirty seconds of music."""
    import numpy as np

    from tenant_lab.audio.io import read_audio

    path = sorted(Path(find_spec("immich_memories_music").origin).parent.glob("tracks/*/*.opus"))[0]
    np.save(data / "clip.npy", read_audio(path)[0][: 30 * 22_050])


def warm(source: str) -> str:
    return source + WARM.replace("DATA", "os.path.join(os.path.dirname(os.path.abspath('.')), os.path.basename(os.getcwd()), 'data', 'clip.npy')")


def cold(source: str) -> str:
    return source + "def work(data):\n    return one(np.load(data / 'clip.npy'))\n"


def same(ours, theirs) -> bool:
    return all(abs(a - b) <= 1e-3 * abs(b) + 1e-6 for a, b in zip(ours, theirs, strict=True))


def per_clip(ours, theirs) -> str:
    return f"{REPEATS} clips of 30 s each, values agree to a thousandth"


LIVE_OURS = ONE_THREAD + """
import time
import numpy as np
from tenant_lab.audio.live import LiveFeatures
def work(data):
    y = np.load(data / 'clip.npy')
    live, took, found = LiveFeatures(22050, ["log_mel", "mfcc", "chroma"]), [], []
    for first in range(0, y.size - 512, 512):
        begun = time.perf_counter()
        made = live.push(y[first: first + 512])
        took.append(1e6 * (time.perf_counter() - begun))
        found.append(made["mfcc"])
    return [float(np.percentile(took, q)) for q in (50, 99)] + [float(np.concatenate(found, axis=1)[:, 4:1000].mean())]
"""
LIVE_THEIRS = ONE_THREAD + """
import time
import numpy as np, librosa
def work(data):
    y, took, found = np.load(data / 'clip.npy'), [], []
    for first in range(0, y.size - 2048, 512):
        block = y[first: first + 2048]
        begun = time.perf_counter()
        mel = librosa.power_to_db(librosa.feature.melspectrogram(y=block, center=False), top_db=None)
        mfcc = librosa.feature.mfcc(S=mel)
        librosa.feature.chroma_stft(y=block, center=False, tuning=0.0)
        took.append(1e6 * (time.perf_counter() - begun))
        found.append(mfcc)
    return [float(np.percentile(took, q)) for q in (50, 99)] + [float(np.concatenate(found, axis=1)[:, 2:998].mean())]
"""

FOLDER = ONE_THREAD + """
import time
from tenant_lab.audio.catalogue import extract_folder
def work(data):
    took = []
    for workers in (1, 2):
        begun = time.perf_counter()
        made = extract_folder(data / "clips", data / f"{workers}.parquet", workers=workers, resume=False)
        took.append(time.perf_counter() - begun)
    assert made.files == 400 and not made.failed
    return took
"""


def clips(data: Path) -> None:
    """Four hundred clips of five seconds."""
    import soundfile

    from tenant_lab.audio.io import read_audio

    (data / "clips").mkdir()
    paths = sorted(Path(find_spec("immich_memories_music").origin).parent.glob("tracks/*/*.opus"))
    for n in range(400):
        if n % 15 == 0:
            y, sr = read_audio(paths[n // 15], 44_100)
        soundfile.write(data / f"clips/{n:03d}.flac", y[(n % 15) * sr: (n % 15 + 5) * sr], sr)


def percentiles(ours, theirs) -> str:
    return f"a hop takes {ours[0]:.0f} µs at the median, {ours[1]:.0f} at the 99th percentile, librosa's calls {theirs[0]:,.0f} and {theirs[1]:,.0f}"


NEIGHBOURS = ONE_THREAD + """
import time
import numpy as np
x = np.load(os.path.join('data', 'vectors.npy'))
asked = range(0, 100_000, 200)
"""
GRAPH = NEIGHBOURS + """
from tenant_lab.audio.similarity import SimilarityIndex, like
index = SimilarityIndex(128, standardise=False)
index.add([str(n) for n in range(100_000)], x)
like(index, '0')
def work(data):
    took, found = [], []
    for n in asked:
        begun = time.perf_counter()
        found.append(like(index, str(n)).ids)
        took.append(1e3 * (time.perf_counter() - begun))
    return [[int(i) for i in ids] for ids in found], float(np.median(took))
"""
ALL = NEIGHBOURS + """
unit = x / np.linalg.norm(x, axis=1, keepdims=True)
def work(data):
    took, found = [], []
    for n in asked:
        begun = time.perf_counter()
        near = unit @ unit[n]
        near[n] = -2
        best = np.argpartition(-near, 10)[:10]
        found.append(best)
        took.append(1e3 * (time.perf_counter() - begun))
    return [best.tolist() for best in found], float(np.median(took))
"""


def vectors(data: Path) -> None:
    """A hundred thousand tracks in two hundred styles: 128 numbers of which 24 vary freely."""
    import numpy as np

    rng = np.random.default_rng(0)
    latent = (1.5 * rng.standard_normal((200, 24)))[rng.integers(0, 200, 100_000)] + rng.standard_normal((100_000, 24))
    np.save(data / "vectors.npy", (latent @ rng.standard_normal((24, 128)) + 0.3 * rng.standard_normal((100_000, 128))).astype("f4"))


def recall(ours, theirs) -> float:
    return sum(len(set(a) & set(b)) / 10 for a, b in zip(ours[0], theirs[0], strict=True)) / len(ours[0])


def pretrained(data: Path) -> None:
    """The weights, a clip and a minute of stereo."""
    import numpy as np

    from tenant_lab.core.models import pull

    for name in ("musicnn", "spleeter-2stems"):
        pull(data, name)
    clip(data)
    y = np.load(data / "clip.npy")
    np.save(data / "stereo.npy", np.stack([np.tile(np.repeat(y, 2), 2), np.tile(np.repeat(y[::-1], 2), 2)], axis=1)[: 60 * 44_100])


TAGS = ONE_THREAD + f"""
os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"
from pathlib import Path
import numpy as np
from tenant_lab.audio.tags import Tagger
data = Path("data")
tagger, y = Tagger.load("MSD", data), np.load(data / "clip.npy")
tagger(y, 22050)
def work(data):
    for _ in range({REPEATS}):
        found = tagger(y, 22050)
    return [found.scores["rock"], float(np.abs(found.embedding).sum())]
"""
STEMS = """
import time
from pathlib import Path
import numpy as np
from tenant_lab.audio.separate import Separator
data = Path("data")
separator, y = Separator.load(data, refine=REFINE), np.load(data / "stereo.npy")
separator(y[:600_000], 44100)
def work(data):
    begun = time.perf_counter()
    found = separator(y, 44100)
    return [time.perf_counter() - begun, float(np.abs(y - sum(found.parts.values())).max())]
"""


def real_time(ours, theirs) -> str:
    return f"{60 / ours[0]:.0f} times real time on the clock; the parts add up to the sound within {ours[1]:.0e}"


CASES = [
    Case("ten features of 30 s, librosa's own calls", warm(OURS), 5.0, "librosa", warm(SEPARATE), prepare=clip, agree=same, notes=per_clip),
    Case("ten features of 30 s, librosa with one spectrogram", warm(OURS), 1.5, "librosa", warm(SHARED), prepare=clip, agree=same, notes=per_clip),
    Case("a new process to its first ten features", cold(OURS), 2.0, "librosa", cold(SEPARATE), whole=True, prepare=clip, agree=same, runs=3),
    Case("a live hop of mel, MFCC and chroma", LIVE_OURS, 28.0, "librosa", LIVE_THEIRS, prepare=clip, runs=3, notes=percentiles,
         agree=lambda ours, theirs: abs(ours[2] - theirs[2]) <= 1e-3 * abs(theirs[2])),
    Case("400 clips of 5 s, all features, twice", FOLDER, limit=60.0, prepare=clips, runs=3,
         notes=lambda ours, theirs: f"{ours[0]:.1f} s on the clock with one worker, {ours[1]:.1f} s with two: {ours[0] / ours[1]:.2f} times"),
    Case("ten neighbours among 100 000 × 128, 500 times", GRAPH, 10.0, "numpy", ALL, prepare=vectors, runs=3, agree=lambda ours, theirs: recall(ours, theirs) >= 0.98,
         notes=lambda ours, theirs: f"recall {recall(ours, theirs):.4f}; a search takes {ours[1]:.3f} ms at the median, comparing all {theirs[1]:.1f} ms"),
    Case(f"fifty tags of 30 s, one thread, {REPEATS} times", TAGS, limit=0.3 * REPEATS, prepare=pretrained, notes=lambda ours, theirs: f"{REPEATS} clips"),
    Case("voice and accompaniment of a minute of stereo", STEMS.replace("REFINE", "False"), limit=12.0, prepare=pretrained, notes=real_time),
    Case("the same, refined by direction", STEMS.replace("REFINE", "True"), limit=12.0, prepare=pretrained, notes=real_time),
]
