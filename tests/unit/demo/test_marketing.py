"""Experiments, contacts and orders of the simulated tenant."""

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest

from tenant_lab.demo.listeners import NEVER, Calendar, Listeners, PlanPaths, customer_ids
from tenant_lab.demo.marketing import (
    PRODUCTS,
    TOUCH_CHANNELS,
    Arms,
    Buyers,
    MarketingTruth,
    assign,
    buyers,
    draw_experiments,
    experiments_table,
    exposed,
    lifted_from,
    order_times,
    paywall_upgrades,
    purchases_table,
    stays,
    touch_rows,
)

CALENDAR = Calendar(dt.date(2024, 1, 1), 18)
AUTOPLAY, CHECKOUT, PAYWALL = draw_experiments(CALENDAR, np.random.default_rng(1))


def listeners(joined: np.ndarray) -> Listeners:
    zero = np.zeros(len(joined), dtype=int)
    return Listeners(joined, CALENDAR.at(joined, 0.5), zero, zero, zero, zero, zero.astype(float))


def free(n: int, change: int = NEVER) -> PlanPaths:
    return PlanPaths(np.zeros(n, dtype=int), np.ones(n, dtype=int), np.full(n, change), np.full(n, np.iinfo(np.int64).max))


@pytest.mark.parametrize("months", [1, 2, 6, 18])
def test_experiments_fit_their_calendar_and_do_not_overlap_in_a_long_one(months):
    calendar = Calendar(dt.date(2024, 2, 1), months)
    drawn = draw_experiments(calendar, np.random.default_rng(0))
    for e in drawn:
        assert calendar.start <= e.start < e.end <= calendar.dates[-1]
        assert (e.end - e.start).days == e.enrol_days + e.window_days
    if months == 18:
        assert all(a.end < b.start for a, b in zip(drawn, drawn[1:], strict=False))
    table = experiments_table(drawn, calendar).to_pandas()
    assert (table.groupby("experiment")["planned_share"].sum() == 1).all() and table["is_control"].sum() == 3


def test_arms_have_the_real_share():
    arms = assign(PAYWALL, CALENDAR, 20_000, np.random.default_rng(2))
    p = PAYWALL.treated_share
    assert abs(arms.treated.mean() - p) < 4.5 * (p * (1 - p) / 20_000) ** 0.5
    first = (PAYWALL.start - CALENDAR.start).days
    assert (arms.day.min(), arms.day.max()) == (first, first + 13)
    assert (lifted_from(arms) == np.where(arms.treated, arms.day, NEVER)).all()


def test_the_paywall_adds_a_competing_hazard():
    n, day = 40_000, (PAYWALL.start - CALENDAR.start).days
    arms = Arms(np.arange(n) % 2 == 0, np.full(n, day))
    truth, base = replace(PAYWALL, lift=0.5), 0.004
    paths = paywall_upgrades(truth, arms, listeners(np.zeros(n, dtype=int)), free(n), base, CALENDAR, np.random.default_rng(3))
    changed = paths.change_day < NEVER
    assert not changed[1::2].any()
    p = 1 - np.exp(-base * 0.5 * 42)
    assert abs(changed[::2].mean() - p) < 4.5 * (p / (n / 2)) ** 0.5
    assert paths.change_day[changed].min() >= day and paths.change_day[changed].max() < day + 42
    assert (np.searchsorted(CALENDAR.midnights, paths.change_at[changed], side="right") - 1 == paths.change_day[changed]).all()


def test_an_earlier_upgrade_a_later_joiner_and_a_paying_listener_are_left_alone():
    n, day = 2_000, (PAYWALL.start - CALENDAR.start).days
    arms, rng = Arms(np.ones(n, dtype=bool), np.full(n, day)), np.random.default_rng(4)
    joined = listeners(np.zeros(n, dtype=int))
    early = free(n, day - 1)
    assert (paywall_upgrades(PAYWALL, arms, joined, early, 0.1, CALENDAR, rng).change_day == day - 1).all()
    assert (paywall_upgrades(PAYWALL, arms, listeners(np.full(n, day)), free(n), 0.1, CALENDAR, rng).change_day == NEVER).all()
    paying = replace(free(n), first=np.ones(n, dtype=int))
    assert (paywall_upgrades(PAYWALL, arms, joined, paying, 0.1, CALENDAR, rng).change_day == NEVER).all()


def test_exposed_are_there_and_for_the_paywall_free():
    day = (PAYWALL.start - CALENDAR.start).days
    people, arms = listeners(np.array([0, day, 0, 0, 0])), Arms(np.ones(5, dtype=bool), np.full(5, day))
    ended = np.array([NEVER, NEVER, day, NEVER, NEVER])
    paths = replace(free(5), first=np.array([0, 0, 0, 2, 0]), change_day=np.array([NEVER, NEVER, NEVER, NEVER, day - 1]))
    assert exposed(AUTOPLAY, arms, people, paths, ended).tolist() == [0, 3, 4]
    assert exposed(PAYWALL, arms, people, paths, ended).tolist() == [0]


@pytest.fixture(scope="module")
def shop():
    truth = MarketingTruth.draw(np.random.default_rng(5))
    n, rng = 8_000, np.random.default_rng(6)
    buyer, joined = buyers(truth, n, rng), CALENDAR.at(rng.integers(0, 300, n), 0.3)
    until = stays(np.where(np.arange(n) % 2, 400, NEVER), CALENDAR)
    touches = touch_rows(truth, buyer, joined, until, rng)
    return truth, buyer, joined, until, touches


def test_one_channel_has_no_effect(shop):
    assert sorted(v > 0 for v in shop[0].effects.values()) == [False, True, True, True]


def test_contacts_are_targeted_within_the_stay_and_never_held_out(shop):
    truth, buyer, joined, until, touches = shop
    assert (touches["at"] >= joined[touches["who"]]).all() and (touches["at"] < until[touches["who"]]).all()
    assert not buyer.holdout[touches["who"], touches["channel"]].any()
    for c, channel in enumerate(TOUCH_CHANNELS):
        expected = truth.rates[channel] * (np.sqrt(buyer.rate / truth.orders) * (until - joined) / 86.4e9)[~buyer.holdout[:, c]].sum()
        assert abs((touches["channel"] == c).sum() - expected) < 4.5 * expected**0.5


def test_orders_are_own_and_caused(shop):
    truth, buyer, joined, until, touches = shop
    who, at = order_times(truth, buyer, joined, until, touches, np.random.default_rng(7))
    assert (at >= joined[who]).all() and (at < until[who]).all() and (np.diff(at) >= 0).all()
    own = (buyer.rate * (until - joined) / 86.4e9).sum()
    caused = sum(truth.effects[name] * (touches["channel"] == c).sum() for c, name in enumerate(TOUCH_CHANNELS))
    assert abs(len(who) - own - caused) < 4.5 * (own + caused) ** 0.5
    nobody = Buyers(np.zeros(len(until)), buyer.holdout)
    who, at = order_times(truth, nobody, joined, until, touches, np.random.default_rng(8))
    assert abs(len(who) - caused) < 4.5 * caused**0.5
    assert set(who) <= set(touches["who"])


def test_lines_prices_and_refunds(shop):
    truth, n = shop[0], 20_000
    who, at = np.arange(n) % 8_000, np.full(n, CALENDAR.midnights[100])
    table = purchases_table(truth, who, at, customer_ids(8_000), int(CALENDAR.midnights[-1]), np.random.default_rng(9)).to_pandas()
    sales, refunds = table[table["kind"] == "sale"], table[table["kind"] == "refund"]
    assert np.allclose(sales["amount"], sales["product_id"].map(truth.prices) * sales["quantity"])
    assert (refunds["amount"] < 0).all() and set(refunds["order_id"]) <= set(sales["order_id"])
    assert not sales.duplicated(["order_id", "product_id"]).any()
    assert sales["order_id"].nunique() == n and set(table["product_id"]) <= set(PRODUCTS)
    assert abs(len(sales) - 1.2 * n) < 4.5 * (0.2 * n) ** 0.5
    p = truth.refunded
    assert abs(len(refunds) - p * len(sales)) < 4.5 * (len(sales) * p) ** 0.5
    late = purchases_table(truth, who, at, customer_ids(8_000), int(CALENDAR.midnights[101]), np.random.default_rng(9)).to_pandas()
    assert (late["kind"] == "sale").all()  # a refund comes a day later at the earliest, and the calendar has ended
