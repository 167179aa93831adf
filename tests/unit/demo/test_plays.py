"""Catalogue, plays and events of the simulated tenant."""

import datetime as dt

import numpy as np
import pytest

from tenant_lab.demo.listeners import Calendar, streams
from tenant_lab.demo.listening import Incident
from tenant_lab.demo.plays import (
    DESCRIPTORS,
    CatalogueTruth,
    EventLog,
    catalogue,
    choose_tracks,
    events_table,
    lose_tracking,
    place_sessions,
)

CALENDAR = Calendar(dt.date(2024, 1, 1), 6)


@pytest.fixture(scope="module")
def truth():
    return CatalogueTruth.draw(np.random.default_rng(1))


@pytest.fixture(scope="module")
def tracks(truth):
    return catalogue(truth, np.random.default_rng(2))


def test_catalogue_is_complete(tracks):
    frame = tracks.table.to_pandas()
    assert len(frame) == 2_000 and frame["track_id"].is_unique and frame["title"].is_unique
    assert frame["artist_id"].nunique() == 300 and (frame.groupby("artist_id")["genre"].nunique() == 1).all()
    assert frame[list(DESCRIPTORS[:4])].stack().between(0, 1).all() and frame["tempo"].between(50, 200).all()
    assert frame["duration"].between(60, 720).all()


def test_weights_follow_the_formula(truth, tracks):
    """Log choice probability less descriptors and genre is a rank's power: its sorted values are -s log(rank) + c."""
    frame = tracks.table.to_pandas()
    explained = frame["genre"].map(truth.genres) + sum(
        truth.effects[d] * frame[d] / (100 if d == "tempo" else 1) for d in DESCRIPTORS)
    rest = np.sort(np.log(np.diff(tracks.edges)) - explained)[::-1]
    assert rest - rest[0] == pytest.approx(-truth.zipf * np.log(np.arange(1, 2_001)), abs=1e-6)


def test_one_effect_is_null():
    for seed in range(5):
        effects = list(CatalogueTruth.draw(np.random.default_rng(seed)).effects.values())
        assert sorted(np.abs(effects) > 0) == [False, True, True, True, True]


@pytest.mark.parametrize("home_share", [0.0, 0.4, 1.0])
def test_a_home_genre_takes_its_share(tracks, home_share):
    n, home = 40_000, 3
    drawn = choose_tracks(tracks, np.full(n, home), home_share, np.random.default_rng(3))
    low, high = tracks.borders[home], tracks.borders[home + 1]
    weight = tracks.edges[high] - tracks.edges[low]
    p = home_share + (1 - home_share) * weight
    found = ((drawn >= low) & (drawn < high)).mean()
    assert abs(found - p) <= 4.5 * (p * (1 - p) / n) ** 0.5
    if home_share == 0:
        top = np.diff(tracks.edges).argmax()
        p = np.diff(tracks.edges)[top]
        assert abs((drawn == top).mean() - p) < 4.5 * (p / n) ** 0.5


def test_sessions_stay_in_their_day():
    day = np.array([10, 10, 10, 10])
    midnight, following = CALENDAR.midnights[[10, 11]]
    joined = np.array([0, 0, following - 600_000_000, midnight])
    for seed in range(20):
        start, stretch = place_sessions(CALENDAR, joined, day, np.array([60.0, 90_000.0, 3_600.0, 80_000.0]),
                                        np.random.default_rng(seed))
        assert (start > joined).all() and (start >= midnight).all()
        assert (start + stretch * [60e6, 90_000e6, 3_600e6, 80_000e6] < following).all()
        assert stretch[0] == stretch[3] == 1 and stretch[1] < 1 and stretch[2] == pytest.approx(598 / 3_600)


def test_event_log_keeps_codes_and_order():
    log = EventLog()
    words = log.vocabulary(['{"a": 1}', '{"a": 2}'])
    log.add("late", np.array([1]), np.array([20]), 2, 0, words + 1)
    log.add("early", np.array([0, 0]), np.array([10, 5]))
    rows = events_table(log.columns(), log, ["x", "y"]).to_pylist()
    assert [(r["event"], r["customer_id"]) for r in rows] == [("early", "x"), ("early", "x"), ("late", "y")]
    assert (rows[2]["platform"], rows[2]["session_id"], rows[2]["properties"]) == ("web", "s-00000001", '{"a": 2}')
    assert rows[0]["platform"] is rows[0]["session_id"] is rows[0]["properties"] is None


def test_a_tracking_loss_takes_its_share_of_one_platform():
    rng = np.random.default_rng(4)
    daily = np.round(1_000 * np.exp(rng.normal(0, 0.05, CALENDAR.days))).astype(int)
    day = np.tile(np.repeat(np.arange(CALENDAR.days), daily), 2)
    columns = {"at": CALENDAR.at(day, rng.random(len(day)) * 0.99), "platform": np.repeat([0, 1], daily.sum())}
    hit = Incident("tracking_loss", "events", "platform = 'android'", dt.date(2024, 3, 20), dt.date(2024, 3, 21), -1, 6.0)
    other = Incident("outage", "plays", "true", dt.date(2024, 2, 20), dt.date(2024, 2, 20), -1, 4.0)
    kept, (same, filled) = lose_tracking(columns, (other, hit), CALENDAR, streams(0)["events"])
    assert same is other
    kept_day = np.searchsorted(CALENDAR.midnights, kept["at"], side="right") - 1
    left = np.bincount(kept_day[kept["platform"] == 1], minlength=CALENDAR.days)
    days = list(hit.days(CALENDAR))
    assert (np.delete(left, days) == np.delete(daily, days)).all()
    assert (np.bincount(kept_day[kept["platform"] == 0]) == daily).all()
    share = 1 - left[days].sum() / daily[days].sum()
    assert np.allclose(np.divide(filled.change, filled.deviation), -6)
    spread = share / 6
    # the median absolute deviation of n = 154 days scatters by 1.17 / sqrt(2 n) of itself, and the loss is binomial
    assert abs(spread - 0.05) < 4 * 0.05 * (1.17 / (2 * 154) ** 0.5) + 4 * (0.3 * 0.7 / 2_000) ** 0.5 / 6
