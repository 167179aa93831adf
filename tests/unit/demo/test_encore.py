"""The demo tenant `encore`: the package's tracks, and listeners without a secret."""
import numpy as np
import pytest
from scipy.stats import chi2

from tenant_lab.core.tables import contract
from tenant_lab.demo.base import demos, make
from tenant_lab.demo.encore import ACTS, DEMO, LISTENERS, music, plays, tracks
from tenant_lab.tenancy.lab import Lab


@pytest.fixture(scope="module")
def catalogue():
    return tracks()


def test_the_tenant_has_the_packages_28_tracks_as_files():
    tenant = make(Lab.open(), DEMO)
    assert demos()["encore"] is DEMO and tenant.holdings() == {"tracks", "plays", "files"}
    named = tenant.table("tracks").df()["path"]
    assert len(named) == 28 == named.nunique() and all((tenant.files / path).stat().st_size > 100_000 for path in named)
    for path, source in music().items():
        assert (tenant.files / path).read_bytes() == source.read_bytes()


def test_each_track_is_what_its_file_is_called(catalogue):
    for one in catalogue.to_pylist():
        mood, style, _ = one["path"].rpartition("/")[2].split("_")
        assert (one["mood"], one["style"], one["genre"]) == (mood, style, style) and 20 < one["duration"] < 40
        assert one["artist_id"] in {ACTS[style, True], ACTS[style, False]}
    assert len(set(catalogue["title"].to_pylist())) == len(set(catalogue["track_id"].to_pylist())) == 28
    assert set(catalogue["artist_id"].to_pylist()) == set(ACTS.values())


def test_its_tables_keep_their_contracts_column_names(catalogue):
    for name, table in (("tracks", catalogue), ("plays", plays(catalogue))):
        required = {c.name for c in contract(name).columns if c.required}
        assert required <= set(table.column_names), name


def test_plays_are_the_same_for_a_seed_and_others_for_another(catalogue):
    assert plays(catalogue).equals(plays(catalogue)) and not plays(catalogue).equals(plays(catalogue, seed=29))


def test_listeners_neither_leave_nor_change_over_the_half_year(catalogue):
    """Days are drawn evenly: a chi-square of the days' counts beyond its 1 - 1e-6 quantile would be a trend."""
    frame = plays(catalogue).to_pandas()
    day = frame["at"].dt.tz_convert("Europe/Paris").dt.day_of_year
    assert (day.min(), day.max(), frame["at"].dt.year.nunique()) == (1, 181, 2)  # its first hour is still the old year in UTC
    counts = np.bincount(day)[1:]
    expected = counts.mean()
    assert ((counts - expected) ** 2 / expected).sum() < chi2.ppf(1 - 1e-6, len(counts) - 1)
    assert frame["customer_id"].nunique() <= LISTENERS and frame["at"].is_monotonic_increasing


def test_nobody_hears_more_of_a_track_than_there_is(catalogue):
    frame = plays(catalogue).to_pandas().merge(catalogue.to_pandas()[["track_id", "duration"]], on="track_id")
    assert (frame["seconds"] <= frame["duration"] + 0.06).all() and (frame["seconds"] >= 1).all()  # rounded to a tenth
