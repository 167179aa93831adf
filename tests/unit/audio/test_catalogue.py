"""A folder of sounds becomes a table, whatever lies in it and however often it is interrupted."""
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from sound_kit import SR, tracks

from tenant_lab.audio.catalogue import extract_folder, file_row
from tenant_lab.audio.features import extract
from tenant_lab.audio.io import read_audio
from tenant_lab.audio.spectrum import FrameSettings
from tenant_lab.core.errors import AudioError, ParameterError

FEW = ["centroid", "mfcc", "tempo", "key", "loudness"]


@pytest.fixture
def folder(tmp_path):
    root, rng = tmp_path / "sounds", np.random.default_rng(0)
    (root / "deep/er").mkdir(parents=True)
    for n in range(6):
        sf.write(root / ("deep/er" if n % 2 else ".") / f"été {n}.FLAC", 0.1 * rng.standard_normal((SR, 1 + n % 2)), SR, format="FLAC")
    (root / "broken.mp3").write_bytes(b"no sound")
    (root / "empty.wav").touch()
    (root / "notes.txt").write_text("not looked at")
    return root


def test_each_file_is_a_row_and_what_is_broken_has_its_reason(folder, tmp_path):
    made = extract_folder(folder, tmp_path / "new/t.parquet", FEW)
    rows = made.frame()
    assert (made.files, made.failed, made.reused, len(rows)) == (8, 2, 0, 8)
    assert list(rows["file"]) == sorted(rows["file"]) and list(rows)[:4] == ["file", "size", "modified", "error"]
    assert list(made.errors()["file"]) == ["broken.mp3", "empty.wav"] and "is empty" in made.errors()["error"][1]
    good = rows[rows["error"].isna()].iloc[0]
    y, _ = read_audio(folder / good["file"])
    said = extract(y, SR, [f for f in FEW if f != "loudness"]).row()
    assert {k: good[k] for k in said} == said
    assert not (tmp_path / "new/t.parquet.log").exists() and made.plot().data[0].x.size == 8


def test_loudness_is_that_of_the_files_own_channels_and_rate(tmp_path):
    left = 10 ** (-23 / 20) * np.sin(2 * np.pi * 1000 * np.arange(5 * 48_000) / 48_000)
    sf.write(tmp_path / "a.wav", np.stack([left, -left], axis=1), 48_000)  # silent in mono
    row = file_row(tmp_path / "a.wav", ["loudness", "rms"])
    assert row["loudness_integrated"] == pytest.approx(-23, abs=0.1) and row["rms_mean"] < 1e-3
    assert set(file_row(tmp_path / "a.wav", ["loudness"])) == {"seconds", "loudness_integrated", "loudness_range", "loudness_true_peak"}


def test_two_workers_make_the_same_table(folder, tmp_path):
    one, two = (extract_folder(folder, tmp_path / f"{n}.parquet", FEW, workers=n).frame() for n in (1, 2))
    pd.testing.assert_frame_equal(one, two)


def test_only_what_is_new_or_changed_is_made_again(folder, tmp_path):
    table = tmp_path / "t.parquet"
    first = extract_folder(folder, table, FEW).frame()
    assert extract_folder(folder, table, FEW).reused == 6  # what failed is tried again
    sf.write(folder / "new.wav", np.zeros(SR), SR)
    sf.write(folder / "empty.wav", 0.1 * np.ones(SR), SR)
    (folder / "été 0.FLAC").unlink()
    second = extract_folder(folder, table, FEW)
    assert (second.files, second.failed, second.reused) == (8, 1, 5) and "été 0.FLAC" not in set(second.frame()["file"])
    kept = first.merge(second.frame()[["file"]], on="file").query("error.isna()").reset_index(drop=True)
    again = second.frame().merge(kept[["file"]], on="file")
    pd.testing.assert_frame_equal(kept, again[list(kept)], check_dtype=False)
    assert extract_folder(folder, table, FEW, FrameSettings(n_mfcc=13)).reused == 0
    assert extract_folder(folder, table, FEW, FrameSettings(n_mfcc=13), resume=False).reused == 0


def test_a_killed_run_is_gone_on_with(tmp_path):
    root, table = tmp_path / "music", tmp_path / "t.parquet"
    root.mkdir()
    for path in tracks()[:16]:
        os.link(path, root / path.name) if os.stat(path).st_dev == os.stat(root).st_dev else (root / path.name).write_bytes(path.read_bytes())
    code = f"from tenant_lab.audio.catalogue import extract_folder; extract_folder({str(root)!r}, {str(table)!r}, ['centroid'])"
    process, log = subprocess.Popen([sys.executable, "-c", code]), tmp_path / "t.parquet.log"
    limit = time.monotonic() + 60
    while not (log.exists() and len(log.read_text().splitlines()) > 8):
        assert time.monotonic() < limit and process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not table.exists()
    with log.open("a") as file:
        file.write('{"file": "cut off')  # as a crash in the middle of a line leaves it
    made = extract_folder(root, table, ["centroid"])
    assert made.files == 16 and made.failed == 0 and 8 <= made.reused < 16
    pd.testing.assert_frame_equal(made.frame(), extract_folder(root, tmp_path / "whole.parquet", ["centroid"]).frame())


def test_an_interrupt_keeps_the_old_table_and_what_is_done(folder, tmp_path, monkeypatch):
    from tenant_lab.audio import catalogue
    table = tmp_path / "t.parquet"
    old = extract_folder(folder, table, ["rms"]).frame()
    calls = []

    def interrupted(*given):
        calls.append(given)
        raise KeyboardInterrupt
    monkeypatch.setattr(catalogue, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extract_folder(folder, table, FEW)
    assert calls and len((tmp_path / "t.parquet.log").read_text().splitlines()) == 9
    pd.testing.assert_frame_equal(pd.read_parquet(table), old)
    monkeypatch.undo()
    assert extract_folder(folder, table, FEW).reused == 6


def test_a_table_of_somebody_elses_is_not_overwritten(folder, tmp_path):
    other = tmp_path / "t.parquet"
    pd.DataFrame({"precious": [1]}).to_parquet(other)
    (tmp_path / "x.parquet").write_text("no Parquet")
    (tmp_path / "f.parquet").mkdir()
    for name, said in (("t", "was not written by extract_folder"), ("x", "cannot be read"), ("f", "cannot be read|was not written")):
        with pytest.raises(AudioError, match=said):
            extract_folder(folder, tmp_path / f"{name}.parquet", ["rms"])
    assert list(pd.read_parquet(other)) == ["precious"] and not list(tmp_path.glob("*.log"))


@pytest.mark.parametrize("log", ["nonsense\n" + json.dumps({"file": "broken.mp3"}), "LABEL\n5\n[1]\n{}\n", "LABEL\n\xff\xfe"])
def test_a_log_of_something_else_is_not_taken_over(folder, tmp_path, log):
    from dataclasses import asdict
    label = json.dumps({"features": ["rms"], **asdict(FrameSettings())}, sort_keys=True)
    (tmp_path / "t.parquet.log").write_bytes(log.replace("LABEL", label).encode("latin-1"))
    assert extract_folder(folder, tmp_path / "t.parquet", ["rms"]).reused == 0


def test_one_odd_file_does_not_stop_the_others(folder, tmp_path, monkeypatch):
    with open(os.path.join(os.fsencode(folder), b"\xff\xfe.wav"), "wb") as file:
        file.write(b"x")
    sf.write(folder / "fast.wav", 0.1 * np.ones(5000), 1_000_000)
    from tenant_lab.audio import catalogue
    real = catalogue.file_row

    def vanishing(path, *given):
        (folder / "new.flac").unlink(missing_ok=True)
        return real(path, *given)
    sf.write(folder / "new.flac", np.zeros(SR), SR)
    monkeypatch.setattr(catalogue, "file_row", vanishing)
    made = extract_folder(folder, tmp_path / "t.parquet", FEW)
    assert made.files == 10 and "1 files left out" in made.notes[0]
    assert list(made.errors()["file"]) == ["broken.mp3", "empty.wav", "fast.wav", "new.flac"]


def test_what_failed_for_a_reason_that_passes_is_made_the_next_time(folder, tmp_path, monkeypatch):
    from tenant_lab.audio import catalogue
    with monkeypatch.context() as patch:
        patch.setattr(catalogue, "file_row", lambda *given: (_ for _ in ()).throw(MemoryError("none left")))
        assert extract_folder(folder, tmp_path / "t.parquet", FEW).failed == 8
    assert extract_folder(folder, tmp_path / "t.parquet", FEW).failed == 2


@pytest.mark.parametrize("change, error, said", [
    ({"folder": "none"}, AudioError, "is no folder"), ({"workers": 0}, ParameterError, "workers 0"), ({"features": ["x"]}, ParameterError, "feature 'x'")])
def test_wrong_use(folder, tmp_path, change, error, said):
    with pytest.raises(error, match=said):
        extract_folder(**{"folder": folder, "table": tmp_path / "t.parquet", **change})
    with pytest.raises(AudioError, match="has no sound files"):
        (tmp_path / "none here").mkdir()
        extract_folder(tmp_path / "none here", tmp_path / "t.parquet")


def test_a_second_run_on_the_same_table_is_refused_and_leaves_the_first_alone(folder, tmp_path):
    """The lock is the kernel's: it goes with the process that held it, however that ended."""
    (tmp_path / "t").mkdir()
    hold = "import sys, time\nfrom pathlib import Path\nfrom tenant_lab.audio.catalogue import _alone\nwith _alone(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", hold, tmp_path / "t/t.parquet"], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(AudioError, match="t.parquet is being written by another run"):
            extract_folder(folder, tmp_path / "t/t.parquet", ["rms"])
        assert [p.name for p in (tmp_path / "t").iterdir()] == [".t.parquet.lock"]
    finally:
        other.kill()
        other.wait()
    assert extract_folder(folder, tmp_path / "t/t.parquet", ["rms"]).files == 8 and [p.name for p in (tmp_path / "t").iterdir()] == ["t.parquet"]


def test_a_picture_needs_what_it_shows(folder, tmp_path):
    made = extract_folder(folder, tmp_path / "t.parquet", ["mfcc"])
    with pytest.raises(ParameterError, match="has no centroid or neither loudness nor rms"):
        made.plot()
