"""Season, incidents and the walk through the months of the simulated tenant."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from tenant_lab.demo.listeners import (
    NEVER,
    Calendar,
    ChurnTruth,
    PeopleTruth,
    PlanTruth,
    people,
    plan_paths,
    probability,
)
from tenant_lab.demo.listening import (
    INCIDENTS,
    Incident,
    ListeningTruth,
    Rows,
    daily_moments,
    draw_incidents,
    habits,
    live,
)

CALENDAR = Calendar(dt.date(2024, 1, 1), 6)
N = 3_000


@pytest.fixture(scope="module")
def parts():
    rng = np.random.default_rng(0)
    listeners = people(PeopleTruth.draw(rng), CALENDAR, N, rng)
    plans, truth = PlanTruth.draw(rng, CALENDAR), ListeningTruth.draw(rng)
    return listeners, habits(truth, N, rng), plan_paths(plans, listeners, CALENDAR, rng), plans, ChurnTruth.draw(rng), truth


def walk(parts, incidents=(), truth=None, **lift):
    return live(CALENDAR, *parts[:5], truth or parts[5], tuple(incidents), np.random.default_rng(1), **lift)


def test_season_has_a_week_and_a_year():
    truth = ListeningTruth((0.3, 0, 0, 0, 0, 0, -0.3), 0.1, 32.0, 0.03, 1.5, 0.14, 9, 0.03, 0.001)
    season = truth.season(CALENDAR)
    assert season[31] == pytest.approx(0.1)  # 1 February, a Thursday, is the top
    assert season[0] == pytest.approx(0.3 + 0.1 * np.cos(2 * np.pi * 31 / 365.25))
    assert season[6] - season[0] == pytest.approx(-0.6, abs=0.02)


def test_habits_have_the_planted_means():
    truth = ListeningTruth.draw(np.random.default_rng(5))
    drawn = habits(truth, 50_000, np.random.default_rng(6))
    for values, mean in ((drawn.opens, truth.opens), (drawn.level, truth.level)):
        assert abs(values.mean() - mean) < 4.5 * values.std() / 50_000**0.5
    assert drawn.opens.max() <= 0.6


def test_moments_of_one_listener():
    truth = ListeningTruth((0.0,) * 7, 0.1, 0, 0.0, 2.0, 0.14, 9, 0.03, 0.001)
    # a = 1/2, mu = 4, r = 2, s = 1: E = 2, V = 2 + 1.5 * 8 - 4 = 10
    assert daily_moments(np.array([0.5]), np.array([4.0]), 1.0, truth) == pytest.approx((2, 10**0.5))
    # s = 2: E = 8, V = 8 + 8 * 12 - 16 * 4 = 40; with a day noise of 1/2, 40 + 16
    assert daily_moments(np.array([0.5]), np.array([4.0]), 4.0, replace(truth, day_noise=0.5)) == pytest.approx((8, 56**0.5))


def test_everything_happens_while_subscribed(parts):
    history, joined = walk(parts), parts[0].joined_day
    for rows in (history.opened, history.failed, history.support):
        assert len(rows.who) and (rows.day >= joined[rows.who]).all() and (rows.day < history.ended[rows.who]).all()
    assert (history.ended > joined).all()


def test_a_day_plays_what_the_moments_say(parts):
    truth = replace(parts[5], day_noise=1e-9, weekly=(0.0,) * 7, yearly=0.0)
    history, (listeners, habit) = walk(parts, truth=truth), parts[:2]
    z = []
    for day in range(40, CALENDAR.days):
        here = (listeners.joined_day <= day) & (history.ended > day)
        mean, deviation = daily_moments(habit.opens[here], habit.level[here], 1.0, truth)
        z.append((history.opened.value[history.opened.day == day].sum() - mean) / deviation)
    # independent days: mean 0 +- 1/sqrt(n), deviation 1 +- 1/sqrt(2n)
    assert abs(np.mean(z)) < 4 / len(z) ** 0.5 and abs(np.std(z) - 1) < 4 / (2 * len(z)) ** 0.5


def test_leaving_follows_the_logit(parts):
    history = walk(parts)
    p = probability(history.at_risk.value)
    assert abs((history.ended < NEVER).sum() - p.sum()) < 4.5 * (p * (1 - p)).sum() ** 0.5
    assert set(history.at_risk.day) == set(CALENDAR.month_days[1:-1])  # nobody is at risk on the first day


def incident(kind: str, size: float) -> Incident:
    table, where, sign = INCIDENTS[kind]
    return Incident(kind, table, where, dt.date(2024, 4, 10), dt.date(2024, 4, 11), sign, size)


def test_an_outage_loses_at_most_nine_tenths(parts):
    hit, = walk(parts, [incident("outage", 1_000.0)]).incidents
    history = walk(parts, [incident("outage", 1_000.0)])
    lost = np.isin(history.opened.day, hit.days(CALENDAR))
    assert len(hit.change) == 2 and max(hit.change) < 0
    around = np.isin(history.opened.day, [93, 94, 107, 108])
    assert history.opened.value[lost].sum() / (history.opened.value[around].sum() / 2) == pytest.approx(0.1, abs=0.06)


def test_bots_add_their_number_and_use_accounts_that_exist(parts):
    history = walk(parts, [incident("bot_burst", 6.0)])
    hit, = history.incidents
    assert abs(len(history.bots.who) - sum(hit.change)) < 4.5 * sum(hit.change) ** 0.5
    assert (parts[0].joined_day[history.bots.who] < history.bots.day).all()


def test_payment_failures_rise_by_their_size(parts):
    counts = []
    for size in (0.0, 8.0):
        history = walk(parts, [incident("payment_failures", size)])
        counts.append(np.isin(history.failed.day, history.incidents[0].days(CALENDAR)).sum())
    assert abs(counts[1] - counts[0] - sum(history.incidents[0].change)) < 4.5 * (counts[0] + counts[1]) ** 0.5
    assert np.allclose(np.divide(history.incidents[0].change, history.incidents[0].deviation), 8)


def test_a_lift_multiplies_plays(parts):
    mine = np.where(np.arange(N) % 2 == 0, 60, NEVER)
    history = walk(parts, lift_from=mine, lift_to=150, lift=1.0)
    during = (history.opened.day >= 60) & (history.opened.day < 150)
    plays = np.bincount(history.opened.who[during], history.opened.value[during], N)
    ratio = plays[::2].mean() / plays[1::2].mean()
    error = sum(a.var() / len(a) / a.mean() ** 2 for a in (plays[::2], plays[1::2])) ** 0.5
    assert abs(np.log(ratio / 2)) < 4.5 * error


def test_few_months_have_few_incidents():
    assert [len(draw_incidents(Calendar(dt.date(2024, 1, 1), m), np.random.default_rng(0))) for m in (1, 3, 12)] == [0, 1, 12]


def test_rows_of_nothing():
    assert len(Rows.join([]).who) == 0
