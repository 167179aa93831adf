"""Texts, answers and scores of the simulated tenant."""

import datetime as dt
import itertools

import numpy as np
import pyarrow as pa
import pytest

from tenant_lab.demo.listeners import Calendar, ChurnTruth, Listeners, customer_ids, probability
from tenant_lab.demo.listening import Rows
from tenant_lab.demo.texts import (
    SENTIMENTS,
    TOPICS,
    ScoreTruth,
    TextTruth,
    compose,
    labels_table,
    scores_table,
    text_rows,
)

CALENDAR = Calendar(dt.date(2024, 1, 1), 6)
N = 4_000


@pytest.fixture(scope="module")
def people():
    day = np.zeros(N, dtype=int)
    return Listeners(day, CALENDAR.at(day, 0.5), np.arange(N) % 7, np.arange(N) % 2, day, day, day.astype(float))


@pytest.fixture(scope="module")
def written(people):
    truth = TextTruth.draw(np.random.default_rng(1))
    support = (np.arange(N // 2), people.joined_at[: N // 2] + 1)
    return truth, *text_rows(truth, people, support, np.full(N, CALENDAR.midnights[-1]), customer_ids(N), np.random.default_rng(2))


@pytest.mark.parametrize("language,topic,sentiment", list(itertools.product(("en", "fr"), TOPICS, SENTIMENTS)))
def test_every_combination_makes_a_sentence(language, topic, sentiment):
    made = {compose(language, topic, sentiment, np.random.default_rng(seed)) for seed in range(40)}
    assert len(made) > 20
    assert not any(mark in text for text in made for mark in "{}|") and all(text[-1] in ".?!" for text in made)


def test_tickets_follow_contacts_and_reviews_come_by_chance(written):
    truth, texts, said = written
    kinds = np.array(said["kind"].to_pylist())
    assert (kinds == "ticket").sum() == N // 2
    days = N * (CALENDAR.days - 0.5)
    assert abs((kinds == "review").sum() - truth.reviews * days) < 4.5 * (truth.reviews * days) ** 0.5
    assert said["text_id"].equals(texts["text_id"])


def test_language_follows_the_country(written, people):
    _, texts, _ = written
    country = people.country[[int(c[3:]) - 1 for c in texts["customer_id"].to_pylist()]]
    french = np.array(texts["language"].to_pylist()) == "fr"
    for code, p in enumerate((1.0, 0.6, 0.3, 0, 0, 0, 0)):
        n = (country == code).sum()
        assert abs(french[country == code].mean() - p) <= 4.5 * (p * (1 - p) / n) ** 0.5


def test_analysts_are_right_as_often_as_planted(written):
    truth, texts, said = written
    labels = labels_table(truth, texts, said, CALENDAR, np.random.default_rng(3)).to_pandas()
    true = dict(zip(said["text_id"].to_pylist(), said["sentiment"].to_pylist(), strict=True))
    assert (labels.groupby(["by", "object"]).size() == 1).all()
    for by, p in truth.accuracy.items():
        mine = labels[labels["by"] == by]
        right = (mine["answer"] == mine["object"].map(true)).mean()
        assert abs(right - p) < 4.5 * (p * (1 - p) / len(mine)) ** 0.5


def test_no_text_no_label():
    texts = pa.table({"text_id": pa.array([], pa.string()), "at": pa.array([], pa.timestamp("us", "UTC"))})
    said = pa.table({"sentiment": pa.array([], pa.string())})
    assert labels_table(TextTruth.draw(np.random.default_rng(0)), texts, said, CALENDAR, np.random.default_rng(0)).num_rows == 0


def test_scores_leave_the_group_out_and_decide_by_its_threshold(people):
    churn = ChurnTruth.draw(np.random.default_rng(4))
    member = people.gender == ("female", "male").index(churn.group)
    truth = ScoreTruth(0.2, 0.1, 0.15)
    risk = Rows(np.arange(N), np.full(N, 31), -2.0 + churn.coefficients["group"] * member)
    scores = scores_table(truth, churn, risk, people, CALENDAR, customer_ids(N), np.random.default_rng(5)).to_pandas()
    logit = np.log(scores["score"] / (1 - scores["score"]))
    assert abs(logit.mean() + 2) < 4.5 * 0.2 / N**0.5 and abs(logit[member].mean() - logit[~member].mean()) < 4.5 * 0.4 / N**0.5
    assert ((scores["decision"] == "offer") == (scores["score"] > np.where(member, 0.15, 0.1))).all()
    assert probability(-2.0) > truth.threshold


def test_half_of_the_worlds_treat_the_group_worse():
    drawn = [ScoreTruth.draw(np.random.default_rng(seed)) for seed in range(200)]
    worse = sum(t.group_threshold > t.threshold for t in drawn)
    assert all(t.group_threshold >= t.threshold for t in drawn)
    assert abs(worse - 100) < 4.5 * 50**0.5
