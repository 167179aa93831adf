"""How a catalogue sounds: tracks of every kind give a page with what can be said of them, with and without networks."""
import base64
import io
import json
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from network_kit import drawn_musicnn, drawn_unets, keep
from report_kit import values

from tenant_lab.reports.fleet import run_report
from tenant_lab.tenancy.lab import Lab

RATE = 22_050
T = np.arange(12 * RATE) / RATE
RNG = np.random.default_rng(0)
SOUNDS = {  # name -> samples, rate
    "tone": (0.3 * np.sin(2 * np.pi * 440 * T), RATE), "two": (np.stack([0.2 * np.sin(2 * np.pi * 220 * T), 0.2 * np.sin(2 * np.pi * 660 * T)], axis=1), RATE),
    "noise": (0.1 * RNG.standard_normal(5 * 44_100), 44_100), "silence": (np.zeros(6 * RATE), RATE), "short": (0.2 * RNG.standard_normal(RATE // 2), RATE),
    "six": (0.1 * RNG.standard_normal((3 * 48_000, 6)), 48_000), "slow": (0.3 * np.sin(2 * np.pi * 300 * np.arange(3 * 8000) / 8000), 8000)}


def label(home: Path, names, networks: bool = False, plays=None, **rows) -> Lab:
    """A lab with the tenant `label`, whose tracks are `names`; `rows` adds columns."""
    lab = Lab.open(home)
    tenant = lab.create_tenant("label")
    tenant.files.mkdir(parents=True, exist_ok=True)
    for name in names:
        if name in SOUNDS:
            sf.write(tenant.files / f"{name}.wav", *SOUNDS[name])
    tenant.ingest("tracks", pd.DataFrame({"track_id": list(names), "artist_id": ["a"] * len(names), "path": [f"{name}.wav" for name in names], **rows}))
    heard = {"customer_id": ["x"], "track_id": [names[0]], "at": ["2025-03-01"], "seconds": [40.0]} if plays is None else plays
    tenant.ingest("plays", pd.DataFrame(heard))
    if networks:
        keep(lab.home, "musicnn", drawn_musicnn())
        keep(lab.home, "spleeter-2stems", drawn_unets())
    return lab


def made(lab: Lab, **parameters):
    """The run, all of its text, and its table."""
    result = run_report(lab, "catalogue_sound", "label", parameters=parameters)
    assert result.status == "ok", result.error
    outputs = [o for c in nbformat.read(Path(result.folder) / "report.ipynb", 4).cells for o in c.get("outputs", [])]
    assert not [o for o in outputs if o.output_type in ("stream", "error")]
    text = "\n".join(o["data"]["text/markdown"] for o in outputs if "text/markdown" in o.get("data", {}))
    assert not [word for word in ("nan", "None", "inf", "NaN") if word in text.split()], text
    return result, text, outputs


@pytest.mark.parametrize("networks", [False, True])
def test_sounds_of_every_kind(tmp_path, networks):
    lab = label(tmp_path / "home", [*SOUNDS, "gone", "<u>"], networks)
    (lab.tenant("label").files / "<u>.wav").write_text("no sound")
    result, text, outputs = made(lab)
    found = values(result.folder)
    assert found["Tracks"] == len(SOUNDS) and found["Median loudness"] < 0
    assert "Not read: gone (gone.wav is not there" in text and "is no sound that" in text and "<u>" not in text
    assert ("tenant-lab models pull musicnn" in text) is not networks and ("With a voice" in found) is networks
    page = result.page.read_text()
    assert page.count("<audio") == len(SOUNDS) and "<u>" not in page


@pytest.mark.parametrize("names, tracks, headlines", [(["tone"], 1, 3), (["tone", "two"], 2, 3), (["silence", "silence2"], 1, 1), (["gone"], 0, 1)])
def test_few_tracks_and_none(tmp_path, names, tracks, headlines):
    """Neighbours need three, a tempo needs a beat, a level needs a sound; and a catalogue of nothing says why."""
    result, text, _ = made(label(tmp_path / "home", names))
    found = values(result.folder)
    assert found["Tracks"] == tracks and len([v for v in json.loads((Path(result.folder) / "values.json").read_text()) if v["headline"]]) == headlines
    assert ("Not read" in text) is (tracks < len(names)) and ("nothing that can be heard" in text) is (tracks == 0)
    assert "LU above" not in (text if tracks < 2 else "")


def test_rows_that_lack_what_may_be_lacking(tmp_path):
    lab = label(tmp_path / "home", ["tone", "two", "noise", "slow"], path=["tone.wav", "two.wav", "noise.wav", None], title=[None, "Two", None, None], genre=["x", None, None, "y"])
    result, text, outputs = made(lab, neighbours=10, excerpt=3)
    assert values(result.folder)["Tracks"] == 3 and "Not read: slow (no file is named)" in text
    assert "Two" in result.page.read_text()


def test_plays_are_counted_from_half_a_minute_or_the_whole_of_a_shorter_track(tmp_path):
    """Of the length that was heard, whatever the table claims."""
    plays = {"customer_id": ["x"] * 6, "track_id": ["tone", "tone", "tone", "two", "two", "noise"], "at": ["2025-03-01"] * 6, "seconds": [30.0, 29.0, 31.0, 12.0, 10.0, 200.0]}
    lab = label(tmp_path / "home", ["tone", "two", "noise"], plays=plays, duration=[200.0, 12.0, None])
    result, text, outputs = made(lab)
    table = next(o["data"]["application/vnd.tenant-lab.table+json"] for o in outputs if "application/vnd.tenant-lab.table+json" in o.get("data", {}))
    frame = pd.read_parquet(io.BytesIO(base64.b64decode(next(v for v in table.values() if isinstance(v, str) and len(v) > 500)))).set_index("title" if "title" in table else "artist")
    assert sorted(frame["plays"]) == [1, 1, 3] and "Most played: tone (plays: 3)" in text


def test_a_run_reads_its_own_tenants_files_and_no_others(tmp_path):
    """The folder of another tenant is not there for it, whatever a path says."""
    lab = label(tmp_path / "home", ["tone", "two", "noise"])
    other = lab.create_tenant("other")
    other.files.mkdir()
    sf.write(other.files / "secret.wav", *SOUNDS["tone"])
    (lab.tenant("label").files / "link.wav").symlink_to(other.files / "secret.wav")
    paths = ["../../other/files/secret.wav", str(other.files / "secret.wav"), "link.wav"]
    lab.tenant("label").ingest("tracks", pd.DataFrame({"track_id": ["far", "absolute", "link"], "artist_id": ["a"] * 3, "path": paths}))
    result, text, _ = made(lab)
    assert values(result.folder)["Tracks"] == 3 and text.count("lies outside the tenant's files") == 3


def test_one_odd_track_says_nothing_of_the_others(tmp_path):
    lab = label(tmp_path / "home", ["tone", "two", "noise", "loop", "nul", "low"], path=["tone.wav", "two.wav", "noise.wav", "loop.wav", "a\0b.wav", "low.wav"])
    files = lab.tenant("label").files
    (files / "loop.wav").symlink_to("loop.wav")
    sf.write(files / "low.wav", 0.1 * RNG.standard_normal(4000 * 5), 4000)
    result, text, _ = made(lab)
    assert values(result.folder)["Tracks"] == 4 and text.count("Not read: ") == 2


def test_columns_of_ones_own_and_titles_of_any_kind(tmp_path):
    """Such as are called like what is measured, numbers that are names, and a link, which a figure would open."""
    names = [f"t{n}" for n in range(13)]
    link = '<a href="https://example.org">x</a>'
    titles = ["Intro", "Intro", "1999", "22", "7", "2024-01-01", link, "*star*", "", " ", "<i>", "a", "b"]
    lab = Lab.open(tmp_path / "home")
    tenant = lab.create_tenant("label")
    tenant.files.mkdir()
    for n, one in enumerate(names):
        sf.write(tenant.files / f"{one}.wav", 0.1 * np.sin(2 * np.pi * 100 * (n + 1) * T[: 4 * RATE]) + 0.01 * RNG.standard_normal(4 * RATE), RATE)
    tenant.ingest("tracks", pd.DataFrame({"track_id": names, "artist_id": "a", "path": [f"{one}.wav" for one in names], "title": titles, "genre": [link] * 13,
                                          "tempo": 1.0, "key": "x", "loudness": 2.0, "artist": "me", "mood": "glad", "plays": 3, "minutes": 1.0}))
    tenant.ingest("plays", pd.DataFrame({"customer_id": ["x"], "track_id": ["nobody"], "at": ["2025-03-01"], "seconds": [40.0]}))
    result, text, outputs = made(lab)
    assert values(result.folder)["Tracks"] == 13 and "Far from all others" in values(result.folder)
    figures = json.dumps([o["data"]["application/vnd.plotly.v1+json"] for o in outputs if "application/vnd.plotly.v1+json" in o.get("data", {})])
    assert "<a " not in figures and "&lt;a href" in figures and '"type": "category"' in figures
