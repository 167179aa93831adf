"""Models are kept whole, found by content, refused when changed, and go with their tenant."""
import json
import multiprocessing as mp
import os

import numpy as np
import pandas as pd
import pytest

from tenant_lab import Lab
from tenant_lab.core.errors import ModelMissingError, ParameterError, StoreError
from tenant_lab.customers.churn import ChurnModel, model_state, restore_model
from tenant_lab.tenancy.models import Models


@pytest.fixture
def models(tmp_path):
    return Models(tmp_path / "models")


def test_a_churn_model_comes_back_the_same():
    lab = Lab.open()
    tenant = lab.create_tenant("aurora")
    rng = np.random.default_rng(0)
    features = pd.DataFrame({"plays": rng.gamma(2, 10, 300), "plan": rng.choice(["free", "pro"], 300)})
    model = ChurnModel().fit(features, (rng.random(300) < 0.3).astype(int))
    version = tenant.models.save("churn", model_state(model), {"plays": 2}, as_of="2024-06-30")
    kept = lab.tenant("aurora").models.load("churn")
    assert (kept.version, kept.snapshot, kept.notes) == (version, {"plays": 2}, {"as_of": "2024-06-30"})
    assert restore_model(kept.state).probability(features).tolist() == model.probability(features).tolist()
    assert [line["action"] for line in lab.audit.read("aurora")][-2:] == ["model saved", "model loaded"]
    assert lab.create_tenant("other").models.names() == []   # and nobody else has it


def test_the_version_is_the_content(models, tmp_path):
    first = models.save("m", {"b": [1, 2.5], "a": "é"}, {"t": 1}, note=1)
    assert Models(tmp_path / "else").save("n", {"a": "é", "b": [1, 2.5]}, {"t": 1}, note=1) == first
    others = {models.save("m", {"b": [1, 2.5], "a": "e"}, {"t": 1}, note=1), models.save("m", {"b": [1, 2.5], "a": "é"}, {"t": 2}, note=1), models.save("m", {"b": [1, 2.5], "a": "é"}, {"t": 1}, note=2)}
    assert len(others | {first}) == 4


def test_the_last_saved_is_in_use(models):
    first, second = models.save("m", {"x": 1}), models.save("m", {"x": 2})
    assert models.load("m").version == second and models.load("m", first[:8]).state == {"x": 1}
    models.save("m", {"x": 1})   # back to the first
    assert models.load("m").version == first and models.versions("m")["version"].tolist() == [first, second, first]
    assert len(list((models._folder / "m").glob("*.json"))) == 2


@pytest.mark.parametrize("damage", [lambda data: data.replace(b"1", b"2"), lambda data: data[:-1], lambda data: b"", lambda data: b"\x80\x04."])
def test_a_changed_file_is_refused(models, damage):
    version = models.save("m", {"x": 1})
    path = models._folder / "m" / f"{version}.json"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StoreError, match="is not what was kept"):
        models.load("m")
    path.unlink()
    with pytest.raises(ModelMissingError, match="cannot be read"):
        models.load("m")
    assert models.save("m", {"x": 1}) == version and models.load("m").state == {"x": 1}


def test_half_a_line_in_the_log_is_no_version(models):
    version = models.save("m", {"x": 1})
    with (models._folder / "m" / "log.jsonl").open("a") as log:
        log.write('\n{"version": "abc')
    assert models.load("m").version == version
    later = models.save("m", {"x": 2})
    assert models.versions("m")["version"].tolist() == [version, later]


def test_nothing_is_left_where_nothing_could_be_written(models, monkeypatch):
    version = models.save("m", {"x": 1})
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StoreError, match="No space left"):
        models.save("m", {"x": 2})
    monkeypatch.undo()
    assert [path.name for path in (models._folder / "m").iterdir() if path.suffix == ".json"] == [f"{version}.json"] and models.load("m").version == version


def _save(folder, n):
    for k in range(10):
        Models(folder).save("m", {"x": [n, k]})


def test_many_may_save_at_once(models):
    workers = [mp.get_context("spawn").Process(target=_save, args=(models._folder, n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    known = models.versions("m")["version"]
    assert len(known) == 30 and known.nunique() == 30
    assert all(models.load("m", version).state["x"][0] in (0, 1, 2) for version in known)


def test_bad_input(models):
    for name in ("", "A", "../m", "a/b", 3):
        with pytest.raises(ParameterError, match="model name"):
            models.save(name, {"x": 1})
    for state in ({"x": np.inf}, {"x": {1, 2}}, {"x": np.array([1])}, {1: object()}):
        with pytest.raises(ParameterError, match="cannot be kept"):
            models.save("m", state)
    with pytest.raises(ModelMissingError, match="there are none"):
        models.load("m")
    a, b = models.save("m", {"x": 1}), models.save("m", {"x": 2})
    with pytest.raises(ModelMissingError, match="no version 0000"):
        models.load("m", "0000" + "x")
    with pytest.raises(ModelMissingError, match="more than one version"):
        models.load("m", "")
    assert json.loads((models._folder / "m" / f"{a}.json").read_bytes())["state"] == {"x": 1} and a != b
