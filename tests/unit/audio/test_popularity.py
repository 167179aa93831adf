"""Planted effects are found, absent ones are not, and the future is not looked at."""
import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pytest

from tenant_lab.audio.popularity import (
    ANSWERS,
    PopularityModel,
    artist_means,
    evaluate_popularity,
    play_counts,
    track_columns,
)
from tenant_lab.core.errors import NotFittedError, ParameterError, SchemaError
from tenant_lab.demo.aurora import simulate
from tenant_lab.demo.plays import DESCRIPTORS

DAYS = ("2023-12-31", "2024-01-31", "2024-02-29")


def world(effect, seed=0, n=600):
    rng = np.random.default_rng(seed)
    tracks = pd.DataFrame({"track_id": [f"t{k}" for k in range(n)], "artist_id": [f"a{k % 90}" for k in range(n)], "genre": rng.choice(["folk", "jazz"], n),
                           "energy": rng.random(n), "tempo": rng.normal(120, 20, n)})
    counts = rng.poisson(np.exp(2 + rng.normal(0, 0.6, 90)[np.arange(n) % 90] + effect * (tracks.energy - 0.5) + rng.normal(0, 0.7, n)))
    at = pd.Timestamp("2024-01-02") + pd.to_timedelta(rng.integers(0, 58 * 86_400, counts.sum()), unit="s")
    return tracks, pd.DataFrame({"track_id": np.repeat(tracks.track_id.to_numpy(), counts), "at": at})


@pytest.fixture(scope="module")
def auroras():
    return [simulate(2000, seed, dt.date(2023, 7, 1), 4) for seed in (1, 2, 3)]


def test_the_effects_planted_in_aurora_are_found(auroras):
    """15 effects, three of them none; of 95 % intervals 12 or fewer would hold the truth once in 200 tests."""
    held = 0
    for made in auroras:
        found = evaluate_popularity(made.tables["tracks"], made.tables["plays"], DESCRIPTORS, "2023-06-30", "2023-08-31", "2023-10-31")
        assert found.sound_adds and found.r2[ANSWERS[3]] > found.r2[ANSWERS[2]] > 0 and found.tracks == 2000
        for name, truth in made.truth.catalogue.effects.items():
            one = np.std(made.tables["tracks"][name].to_numpy()) / (100 if name == "tempo" else 1)
            middle, low, high = found.effects[name]
            held += low <= truth * one <= high
            assert abs(middle - truth * one) < 4 * (high - low) / 3.92
    assert held >= 12


def test_what_has_no_effect_adds_nothing_twenty_times():
    """A 95 % interval lies above zero by chance once in forty; four of twenty would come once in 800 tests."""
    assert sum(evaluate_popularity(*world(0.0, seed), ["energy", "tempo"], *DAYS).sound_adds for seed in range(20)) <= 3


def test_sound_that_was_shuffled_adds_nothing(auroras):
    made = auroras[0]
    tracks = made.tables["tracks"].to_pandas()
    tracks[list(DESCRIPTORS)] = tracks[list(DESCRIPTORS)].sample(frac=1, random_state=0).to_numpy()
    found = evaluate_popularity(tracks, made.tables["plays"], DESCRIPTORS, "2023-06-30", "2023-08-31", "2023-10-31")
    assert not found.sound_adds and "do not use it to choose" in found.notes[0] and "nothing" in found.plot().layout.title.text


def test_plays_after_the_end_change_nothing_and_those_before_the_beginning_neither():
    tracks, plays = world(1.0)
    more = pd.concat([plays, pd.DataFrame({"track_id": ["t1"] * 5000, "at": pd.Timestamp("2024-03-01 00:00:01")}),
                      pd.DataFrame({"track_id": ["t2"] * 5000, "at": pd.Timestamp("2023-12-31 23:59:59")})])
    assert evaluate_popularity(tracks, more, ["energy"], *DAYS) == evaluate_popularity(tracks, plays, ["energy"], *DAYS)


def test_no_track_answers_for_itself(monkeypatch):
    from tenant_lab.audio import popularity
    tracks, plays = world(1.0)
    seen, real = [], popularity._answers

    def look(known, asked, counts, sound):
        seen.append((set(known["track_id"]), set(asked["track_id"])))
        return real(known, asked, counts, sound)
    monkeypatch.setattr(popularity, "_answers", look)
    evaluate_popularity(tracks, plays, ["energy"], *DAYS)
    assert len(seen) == 5 and all(not train & test and len(train | test) == 600 for train, test in seen)
    assert set().union(*(test for _, test in seen)) == set(tracks.track_id)


# -- counts ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow", "duckdb"])
def test_counts_of_any_frame(kind):
    import duckdb
    frame = pd.DataFrame({"track_id": ["a", "a", "b", "a"], "at": pd.to_datetime(["2024-01-01 00:00", "2024-01-31 23:59:59", "2024-01-15", "2024-02-01"], format="ISO8601")})
    given = {"pandas": lambda: frame, "polars": lambda: pl.from_pandas(frame), "arrow": lambda: pl.from_pandas(frame).to_arrow(),
             "duckdb": lambda: duckdb.connect().from_df(frame)}[kind]()
    assert play_counts(given, ["b", "none", "a"], "2023-12-31", "2024-01-31").tolist() == [1, 0, 2]


def test_a_day_ends_where_the_plays_are():
    frame = pd.DataFrame({"track_id": ["a", "a"], "at": pd.to_datetime(["2024-01-31 22:30", "2024-01-31 23:30"]).tz_localize("UTC").tz_convert("Europe/Paris")})
    assert play_counts(frame, ["a"], "2023-12-31", "2024-01-31").tolist() == [1]  # 23:30 in London is tomorrow in Paris


# -- parts -------------------------------------------------------------------------------------------------------------

def test_artist_means_shrink_as_theory_says():
    """Equal group sizes: the share is n tau² / (n tau² + sigma²), with the variances of the analysis of variance."""
    rng = np.random.default_rng(0)
    level = rng.normal(3, 1.0, 4000)
    artists, values = np.repeat([f"a{n}" for n in range(4000)], 5), np.repeat(level, 5) + rng.normal(0, 2.0, 20_000)
    asked = np.array([f"a{n}" for n in range(4000)])
    found, means = artist_means(artists, values, asked), values.reshape(4000, 5).mean(axis=1)
    share = np.polyfit(means - values.mean(), found - values.mean(), 1)[0]
    assert share == pytest.approx(5 / (5 + 4), abs=0.04)  # four standard errors
    assert np.mean((found - level) ** 2) < np.mean((means - level) ** 2)
    own = artist_means(artists, values, artists, values)
    assert own[0] - values.mean() == pytest.approx(4 / (4 + 4) * (values[1:5].mean() - values.mean()), abs=0.1)


def test_the_model_is_the_same_each_time_and_takes_what_is_missing():
    tracks, _ = world(1.0)
    tracks.loc[3, "energy"], tracks.loc[4, "genre"] = np.nan, None
    known, counts = track_columns(tracks, ["energy", "tempo"]), np.arange(600)
    one, two = (PopularityModel(["energy", "tempo"]).fit(known, counts).predict(known) for _ in range(2))
    assert one.tobytes() == two.tobytes() and np.isfinite(one).all()
    new = track_columns(tracks.head(2).assign(artist_id="nobody", genre="unheard of"), ["energy", "tempo"])
    assert np.isfinite(PopularityModel(["energy", "tempo"]).fit(known, counts).predict(new)).all()
    constant = track_columns(tracks.assign(energy=1.0), ["energy"])
    assert PopularityModel(["energy"]).fit(constant, counts).effects_["energy"][0] == 0


@pytest.mark.parametrize("change, error, said", [
    ({"sound": []}, ParameterError, "needs a list"), ({"sound": "energy"}, ParameterError, "needs a list"), ({"sound": ["x"]}, SchemaError, "tracks lacks x"),
    ({"sound": ["artist_id"]}, ParameterError, "tracks.artist_id is no number"), ({"split": "2024-12-31"}, ParameterError, "earlier and a later"),
    ({"split": "2024-03-31", "until": "2024-04-30"}, ParameterError, "0 after"), ({"since": "x"}, ParameterError, "as_of 'x'"), ({"folds": 1}, ParameterError, "folds 1")])
def test_wrong_use(change, error, said):
    tracks, plays = world(1.0)
    with pytest.raises(error, match=said):
        evaluate_popularity(**{"tracks": tracks, "plays": plays, "sound": ["energy"], "since": DAYS[0], "split": DAYS[1], "until": DAYS[2], **change})


def test_wrong_tables():
    tracks, plays = world(1.0)
    for wrong, said in ((pd.concat([tracks, tracks.head(1)]), "one row a track"), (tracks.head(20), "needs 50 tracks")):
        with pytest.raises(ParameterError, match=said):
            evaluate_popularity(wrong, plays, ["energy"], *DAYS)
    with pytest.raises(SchemaError, match="plays lacks at"):
        evaluate_popularity(tracks, plays[["track_id"]], ["energy"], *DAYS)


def test_ids_that_are_numbers_in_one_table_and_text_in_the_other():
    plays = pd.DataFrame({"track_id": [7, 7, 8], "at": pd.to_datetime(["2025-01-02"] * 3)})
    assert play_counts(plays, ["7", "8", "9"], "2025-01-01", "2025-01-03").tolist() == play_counts(plays, [7, 8, 9], "2025-01-01", "2025-01-03").tolist() == [2, 1, 0]


@pytest.mark.parametrize("plays", [[1.0], [1.0, -1.0, 2.0], [1.0, np.nan, 2.0], [[1.0, 2.0, 3.0]]])
def test_plays_that_are_none_for_these_tracks(plays):
    known = track_columns(pd.DataFrame({"track_id": ["a", "b", "c"], "artist_id": ["x", "x", "y"]}), ())
    with pytest.raises(ParameterError, match="needs a number, 0 or more, for each of the 3 tracks"):
        PopularityModel().fit(known, plays)
    with pytest.raises(NotFittedError, match=r"call fit\(tracks, plays\) first"):
        PopularityModel().predict(known)
