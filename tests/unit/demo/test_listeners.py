"""Calendar, people, plans and the monthly hazard of the simulated tenant."""

import datetime as dt

import numpy as np
import pytest

from tenant_lab.demo.listeners import (
    CHANNELS,
    DRIVERS,
    GENDERS,
    NEVER,
    PLANS,
    Calendar,
    ChurnTruth,
    Listeners,
    PeopleTruth,
    PlanPaths,
    PlanTruth,
    churn_terms,
    clock,
    people,
    plan_paths,
    probability,
    subscription_rows,
    text_column,
)

CALENDAR = Calendar(dt.date(2024, 1, 1), 18)


def few(joined: list[int], **given) -> Listeners:
    """Listeners who joined at noon on the given days."""
    day, n = np.array(joined), len(joined)
    zero = np.zeros(n, dtype=int)
    fields = {"country": zero, "gender": zero, "channel": zero, "birth_year": zero, "cost": zero.astype(float)}
    return Listeners(day, CALENDAR.at(day, 0.5), **fields | {k: np.array(v) for k, v in given.items()})


def test_days_are_local_and_whole_when_clocks_change():
    spring, autumn = (CALENDAR.dates.index(dt.date(2024, *day)) for day in ((3, 31), (10, 27)))
    hours = np.diff(CALENDAR.midnights) / 3.6e9
    assert (hours[spring], hours[autumn], hours[0]) == (23, 25, 24)
    assert CALENDAR.at(np.array([spring]), 0.9999)[0] < CALENDAR.midnights[spring + 1]
    assert dt.datetime.fromtimestamp(CALENDAR.midnights[0] / 1e6, dt.UTC) == dt.datetime(2023, 12, 31, 23, tzinfo=dt.UTC)


def test_months_begin_on_their_first_day():
    assert [CALENDAR.dates[d].day for d in CALENDAR.month_days] == [1] * 19
    assert CALENDAR.dates[CALENDAR.month_days[12]] == dt.date(2025, 1, 1)


def test_clock_peaks_in_the_evening_and_stays_in_the_day():
    drawn = clock(np.random.default_rng(0), 20_000)
    hours = np.bincount((drawn * 24).astype(int), minlength=24)
    assert drawn.min() >= 0 and drawn.max() < 1
    assert hours.argmax() in (19, 20, 21) and hours[2:6].max() < hours.max() / 5


def test_text_column_leaves_negative_codes_missing():
    assert text_column(np.array([1, -1]), ["a", "b"]).to_pylist() == ["b", None]


def test_people_join_in_order_and_as_planted():
    truth = PeopleTruth.draw(np.random.default_rng(1))
    drawn, n = people(truth, CALENDAR, 20_000, np.random.default_rng(2)), 20_000
    assert (np.diff(drawn.joined_at) >= 0).all()
    for codes, planted in ((drawn.channel, truth.channels), (drawn.gender, truth.genders), (drawn.country, truth.countries)):
        for code, share in enumerate(planted.values()):
            assert abs((codes == code).mean() - share) < 4.5 * (share * (1 - share) / n) ** 0.5
    assert abs((drawn.birth_year == 0).mean() - 0.05) < 4.5 * (0.05 * 0.95 / n) ** 0.5
    stated = drawn.birth_year[drawn.birth_year > 0]
    # ages are whole years below 16 + gamma: half a year less on average
    assert abs((2024 - stated).mean() + 0.5 - truth.mean_age) < 4.5 * (2024 - stated).std() / n**0.5 + 0.05
    assert (drawn.cost[drawn.channel == CHANNELS.index("organic")] == 0).all()


def test_only_the_standard_price_rises():
    truth = PlanTruth({}, {"free": 0.0, "student": 5.99, "standard": 9.99, "family": 15.99}, 2.0, 100, 0.1, 0.1)
    assert truth.price(np.arange(4), 99).tolist() == [0, 5.99, 9.99, 15.99]
    assert truth.price(np.arange(4), 100).tolist() == [0, 5.99, 11.99, 15.99]


def test_changes_of_plan_come_with_the_planted_hazard():
    truth = PlanTruth.draw(np.random.default_rng(3), CALENDAR)
    paths = plan_paths(truth, few([0] * 20_000), CALENDAR, np.random.default_rng(4))
    free = paths.first == 0
    for mine, hazard in ((free, truth.upgrade), (~free, truth.downgrade)):
        chance = 1 - np.exp(-hazard * (CALENDAR.days - 1))  # from the day after joining to the end
        assert abs((paths.change_day[mine] < NEVER).mean() - chance) < 4.5 * (chance * (1 - chance) / mine.sum()) ** 0.5
    assert (paths.then[free] > 0).all() and (paths.then[~free] == 0).all()


@pytest.mark.parametrize("day,expected", [(5, 2), (10, 2), (11, 0)])
def test_a_change_counts_from_the_next_midnight(day, expected):
    paths = PlanPaths(np.array([2]), np.array([0]), np.array([10]), CALENDAR.at(np.array([10]), 0.5))
    assert paths.on(np.array([0]), day).tolist() == [expected]


def test_terms_are_what_the_table_says():
    listeners = few([0, 50, 10], gender=[0, 1, -1], channel=[0, 2, 4], birth_year=[1979, 2004, 0])
    seen = {name: np.zeros((3, 100), dtype=bool) for name in ("played", "payment_failed", "support")}
    seen["played"][0, 20:60] = True      # 28 of 28 days before day 60 … of which all are in the window 32–59
    seen["played"][1, 50:55] = True      # 5 of the 10 days since joining
    seen["payment_failed"][2, 31] = True  # one day too early
    seen["support"][2, 32] = True
    terms = churn_terms(listeners, np.arange(3), 60, 2024, np.array([0.0, 10.0, 5.0]), seen, GENDERS[1])
    expected = {"intercept": [1, 1, 1], "price": [0, 1, 0.5], "active": [1, 0.5, 0], "payment_failed": [0, 0, 0],
                "support": [0, 0, 1], "age": [1, -1.5, 0], "new": [0, 1, 1], "search": [0, 0, 0], "social": [0, 1, 0],
                "referral": [0, 0, 0], "partner": [0, 0, 1], "group": [0, 1, 0]}
    assert dict(zip(DRIVERS, terms.T.tolist(), strict=True)) == expected


def test_logit_and_probability():
    truth = ChurnTruth(dict.fromkeys(DRIVERS, 0.5), "male")
    assert truth.logit(np.ones((1, 12))).tolist() == [6.0]
    assert probability(np.log([1.0, 3.0])) == pytest.approx([0.5, 0.75])


def test_stretches_split_at_changes_rises_and_the_end():
    truth = PlanTruth({}, {"free": 0.0, "student": 5.99, "standard": 9.99, "family": 15.99}, 1.0, 100, 0.1, 0.1)
    standard = PLANS.index("standard")
    paths = PlanPaths(np.array([0, standard, standard]), np.array([standard, 0, 0]), np.array([50, 200, NEVER]),
                      np.array([*CALENDAR.at(np.array([50, 200]), 0.5), np.iinfo(np.int64).max]))
    rows = subscription_rows(few([0, 0, 120]), paths, truth, np.array([NEVER, 150, 400]), CALENDAR)
    # free -> standard -> risen; standard -> risen -> left before the change; joined after the rise and left
    assert list(zip(rows["who"].tolist(), rows["plan"].tolist(), rows["reason"].tolist(), strict=True)) == [
        (0, 0, 1), (0, standard, 3), (0, standard, -1), (1, standard, 3), (1, standard, 0), (2, standard, 0)]
    assert rows["end"][4] == CALENDAR.midnights[150] and rows["start"][2] == CALENDAR.midnights[100]
