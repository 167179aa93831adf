"""Arrays and facts come back as they were, a file is whole or not there, and a damaged one is named."""
import numpy as np
import pytest

from tenant_lab.core.arrays import save_arrays, saved_arrays
from tenant_lab.core.errors import ParameterError

ARRAYS = {"a b": np.arange(6, dtype="f4").reshape(2, 3), "none": np.zeros((0, 3)), "text": np.array(["x", "é"]), "facts": np.array(5), "file": np.array(True)}


def test_what_was_saved_comes_back(tmp_path):
    facts = {"n": 1, "text": "é", "nested": {"a": [1.5, None, True]}}
    save_arrays(tmp_path / "x.npz", facts, ARRAYS)
    with saved_arrays(tmp_path / "x.npz", "thing") as (known, arrays):
        assert known == facts and arrays.keys() == ARRAYS.keys()
        for name, array in ARRAYS.items():
            assert arrays[name].dtype == array.dtype and np.array_equal(arrays[name], array)


@pytest.mark.parametrize("facts, arrays", [({"a": {1}}, {}), ({"a": np.float32(1)}, {}), ({}, {"o": np.array([{}], object)})])
def test_what_cannot_be_saved_leaves_what_was_there(tmp_path, facts, arrays):
    save_arrays(tmp_path / "x.npz", {"n": 1}, {})
    with pytest.raises(ParameterError, match="x.npz cannot be saved: "):
        save_arrays(tmp_path / "x.npz", facts, arrays)
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]
    with saved_arrays(tmp_path / "x.npz", "thing") as (known, found):
        assert (known, found) == ({"n": 1}, {})


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b"nonsense", lambda b: b[: len(b) // 2], lambda b: b[:200] + bytes(40) + b[240:]])
def test_a_damaged_file_is_named(tmp_path, damage):
    save_arrays(tmp_path / "x.npz", {"n": 1}, {"a": np.arange(100.0)})
    (tmp_path / "x.npz").write_bytes(damage((tmp_path / "x.npz").read_bytes()))
    with pytest.raises(ParameterError, match="x.npz is no saved thing, or is damaged"), saved_arrays(tmp_path / "x.npz", "thing") as (facts, arrays):
        assert arrays["a"].sum() == 4950 and facts["n"] == 1


def test_a_file_cut_off_anywhere_is_named(tmp_path):
    save_arrays(tmp_path / "x.npz", {"n": 1}, {"a": np.arange(10.0)})
    whole = (tmp_path / "x.npz").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "x.npz").write_bytes(whole[:length])
        with pytest.raises(ParameterError, match="is no saved thing"), saved_arrays(tmp_path / "x.npz", "thing"):
            pass


@pytest.mark.parametrize("ask", [lambda f, a: f["none"], lambda f, a: a["none"], lambda f, a: f.none, lambda f, a: a["a"][7], lambda f, a: f["n"]["x"], lambda f, a: int("x")])
def test_what_the_block_lacks_is_the_files_fault(tmp_path, ask):
    save_arrays(tmp_path / "x.npz", {"n": 1}, {"a": np.arange(3)})
    with pytest.raises(ParameterError, match="is no saved thing"), saved_arrays(tmp_path / "x.npz", "thing") as (facts, arrays):
        ask(facts, arrays)


def test_no_file_is_an_error_of_its_own(tmp_path):
    with pytest.raises(FileNotFoundError), saved_arrays(tmp_path / "x.npz", "thing"):
        pass


def test_nothing_in_a_file_is_run(tmp_path):
    np.savez(tmp_path / "x.npz", facts=np.array("{}"), **{"array a": np.array([{"a": 1}], object)})
    with pytest.raises(ParameterError, match="is no saved thing"), saved_arrays(tmp_path / "x.npz", "thing"):
        pass
