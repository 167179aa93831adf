"""Demo tenants are described in one place each, and made once."""
import pandas as pd
import pytest

from tenant_lab.core.errors import ParameterError
from tenant_lab.demo import base
from tenant_lab.demo.base import Demo, demos, make, make_all
from tenant_lab.tenancy.lab import Lab


@pytest.fixture
def lab() -> Lab:
    return Lab.open()


def small(calls: list, names=("purchases", "tracks"), tables=("purchases", "tracks"), **more) -> Demo:
    def made():
        calls.append(names)
        frames = {"purchases": pd.DataFrame({"customer_id": ["a"], "purchased_at": ["2024-03-01"], "amount": [1.0]}),
                  "tracks": pd.DataFrame({"track_id": ["t"], "artist_id": ["b"]})}
        return {name: frames[name] for name in tables}
    return Demo("small", "A small one", "Europe/Paris", "EUR", names, made, "made up here", "fr", **more)


def test_every_demo_says_what_it_is_and_where_it_comes_from():
    found = demos()
    assert "cdnow" in found
    for name, demo in found.items():
        assert name == demo.name and demo.title and demo.source and demo.names
        assert demo.language in ("en", "fr") and len(demo.currency) == 3


def test_making_one_brings_in_its_tables_once(lab):
    calls: list = []
    tenant = make(lab, small(calls))
    assert (tenant.name, tenant.info.time_zone, tenant.info.currency, tenant.info.language) == ("small", "Europe/Paris", "EUR", "fr")
    assert tenant.tables() == ["purchases", "tracks"] and len(calls) == 1
    assert make(lab, small(calls)).snapshot() == {"purchases": 0, "tracks": 0} and len(calls) == 1


def test_only_missing_tables_are_brought_in(lab):
    calls: list = []
    make(lab, small(calls, names=("purchases",)))
    assert make(lab, small(calls)).snapshot() == {"purchases": 0, "tracks": 0} and len(calls) == 2


def test_a_demo_that_was_cut_short_is_completed(lab):
    with pytest.raises(KeyError):
        make(lab, small([], tables=("purchases",)))
    assert lab.tenant("small").tables() == ["purchases"]
    assert make(lab, small([])).tables() == ["purchases", "tracks"]


def test_make_all_takes_names_or_all_of_them(lab, monkeypatch):
    monkeypatch.setattr(base, "demos", lambda: {"small": small([])})
    assert [t.name for t in make_all(lab)] == [t.name for t in make_all(lab, ["small"])] == ["small"]
    with pytest.raises(ParameterError, match="demo tenant 'smal': allowed are small"):
        make_all(lab, ["smal"])


def test_its_files_lie_below_the_tenants(lab, tmp_path):
    (tmp_path / "source").write_text("sound")
    tenant = make(lab, small([], files=lambda: {"music/a.wav": tmp_path / "source"}))
    assert (tenant.files / "music/a.wav").read_text() == "sound" and tenant.holdings() == {"purchases", "tracks", "files"}
    assert make(lab, small([])).holdings() == {"purchases", "tracks", "files"}
    assert make(Lab.open(tmp_path / "another"), small([])).holdings() == {"purchases", "tracks"}


def test_a_demo_that_cannot_be_made_is_left_out_or_named(lab, monkeypatch):
    absent = small([], needs=("no_such_module", "pip install it"))
    assert absent.missing() == "demo tenant small needs no_such_module; get it with: pip install it" and small([]).missing() == ""
    monkeypatch.setattr(base, "demos", lambda: {"small": absent})
    assert make_all(lab) == [] and lab.tenants() == []
    with pytest.raises(ParameterError, match="needs no_such_module; get it with: pip install it"):
        make_all(lab, ["small"])
