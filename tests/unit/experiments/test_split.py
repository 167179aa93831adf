"""The check of a split: the martingale itself, SciPy's tests, and daily looks drawn at random."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tenant_lab.core.errors import ParameterError, SchemaError
from tenant_lab.experiments.split import ALARM, CONCENTRATION, split_by, split_check, split_p

EVEN = {"control": 1, "treatment": 1}
BROWSERS = pd.DataFrame({"segment": ["Chrome", "Chrome", "Safari", "Safari", "Safari", "new"], "variant": ["control", "treatment", "control", "treatment", "treatment", "control"], "count": [6000, 6100, 1000, 300, 450, 3]})


def test_the_same_as_the_ratio_of_scipys_distributions():
    shares = np.array([0.5, 0.3, 0.2])
    for x in ([0, 0, 0], [10, 3, 7], [5000, 2500, 2500]):
        ratio = np.exp(stats.multinomial.logpmf(x, sum(x), shares) - stats.dirichlet_multinomial.logpmf(x, CONCENTRATION * shares, sum(x)))
        assert split_p([x], shares)[0] == pytest.approx(min(1.0, ratio), rel=1e-8)


def test_the_ratio_is_1_on_average():
    """What makes it a martingale: over all counts of n units as planned, the sum of chance times ratio is 1."""
    n, share = 60, 0.3
    x = np.stack([np.arange(n + 1), n - np.arange(n + 1)], axis=-1)
    p = split_p(x[:, None], [share, 1 - share], concentration=5)[:, 0]
    chance = stats.binom.pmf(x[:, 0], n, share)
    capped = stats.betabinom.pmf(x[:, 0], n, 5 * share, 5 * (1 - share)) / chance >= 1
    assert (chance[capped] / p[capped]).sum() == pytest.approx(stats.betabinom.pmf(x[:, 0], n, 5 * share, 5 * (1 - share))[capped].sum(), rel=1e-9)
    assert (p[~capped] == 1).all() and capped.any() and not capped.all()


@pytest.mark.parametrize(("shares", "daily"), [([0.5, 0.5], 60), ([0.5, 0.5], 3000), ([0.9, 0.1], 300), ([0.4, 0.2, 0.2, 0.2], 500)])
def test_false_alarms_over_28_daily_looks(shares, daily):
    """At most 1 % by Ville's inequality; the bound is the 99.9 % point of 2,000 repetitions at 1 %."""
    history = np.random.default_rng(7).multinomial(daily, shares, (2000, 28)).cumsum(axis=1)
    alarms = (split_p(history, shares) < ALARM).any(axis=1).sum()
    assert alarms <= stats.binom.ppf(0.999, 2000, 0.01)


def test_a_look_a_unit_is_no_worse_than_a_look_a_day():
    units = np.random.default_rng(8).multinomial(1, [0.5, 0.5], (2000, 1000)).cumsum(axis=1)
    by_unit, by_day = (split_p(units[:, step - 1::step], [0.5, 0.5])[:, -1] for step in (1, 50))
    assert (by_unit <= by_day).all() and 0 < (by_unit < ALARM).sum() <= stats.binom.ppf(0.999, 2000, 0.01)


def test_44_to_56_is_seen_at_2000_units():
    """Exact power of one look, a sum over the binomial distribution."""
    first = np.arange(2001)
    seen = split_p(np.stack([first, 2000 - first], axis=-1)[:, None], [0.5, 0.5])[:, 0] < ALARM
    assert stats.binom.pmf(first, 2000, 0.44)[seen].sum() > 0.95


def test_a_broken_split():
    found = split_check({"treatment": 880, "control": 1120}, {"control": 2, "treatment": 2})
    t = found.frame()
    assert found.broken and found.p == pytest.approx(stats.chisquare([1120, 880]).pvalue) and found.always_valid_p < ALARM
    assert t["variant"].tolist() == ["control", "treatment"] and t["units"].tolist() == [1120, 880]
    assert t["planned"].tolist() == [0.5, 0.5] and t["expected"].tolist() == [1000, 1000] and t["share"].tolist() == [0.56, 0.44]
    assert (t["low"] < t["share"]).all() and (t["share"] < t["high"]).all() and t["high"][1] < 0.5
    assert found.verdict == "The split is broken: treatment has 44.00% of 2\u202f000 units instead of 50.00%"
    assert found.plot().layout.title.text == found.verdict
    assert "at one look (chi-squared)" in found.notes[0] and len(found.notes) == 1


def test_a_good_split():
    found = split_check([2023, 1977], EVEN)
    assert not found.broken and found.always_valid_p == 1.0 and found.p == pytest.approx(stats.chisquare([2023, 1977]).pvalue)
    assert found.verdict == "Nothing speaks against the planned split: treatment has 49.43% of 4\u202f000 units instead of 50.00%"
    assert found.plot().layout.title.text == found.verdict


def test_the_interval_leaves_out_the_plan_where_the_rule_breaks():
    """The interval is that of normal counts: within 1 % of the distance."""
    for n in (400, 20_000, 4_000_000):
        off = np.arange(1, int(6 * n**0.5))
        by_rule = off[split_p(np.stack([n // 2 - off, n // 2 + off], axis=-1)[:, None], [0.5, 0.5])[:, 0] < ALARM].min()
        assert split_check([n // 2 - int(by_rule * 1.01) - 1, n // 2 + int(by_rule * 1.01) + 1], EVEN).frame()["high"][0] < 0.5
        assert split_check([n // 2 - int(by_rule * 0.99) + 1, n // 2 + int(by_rule * 0.99) - 1], EVEN).frame()["high"][0] > 0.5
    assert split_check([1, 0], EVEN).frame()["low"][0] < 0.05   # one unit says nothing


def test_a_history_keeps_what_was_seen():
    days = pd.DataFrame({"treatment": [50, 880, 1500], "control": [50, 1120, 1500]}, index=pd.date_range("2024-01-01", periods=3))
    found = split_check(days, EVEN)
    assert found.broken and found.p == 1.0 and found.notes[1] == "broken since look 2 of 3"
    assert found.always_valid_p == split_check(days[:2], EVEN).always_valid_p
    assert not split_check(days[2:], EVEN).broken
    assert split_check([[0, 0], [5, 5]], EVEN).always_valid_p == 1.0   # a day before the first unit
    assert split_check(days.astype("Int64"), EVEN).p == 1.0


def test_few_expected_units_exact():
    found = split_check([4, 36], {"a": 0.05, "b": 0.95})
    assert found.p == pytest.approx(stats.binomtest(4, 40, 0.05).pvalue) and "exact binomial" in found.notes[0]
    three = split_check([3, 2, 1], {"a": 1, "b": 1, "c": 2})
    possible = [(a, b, 6 - a - b) for a in range(7) for b in range(7 - a)]
    expected = np.array([1.5, 1.5, 3.0])
    far = [x for x in possible if ((x - expected) ** 2 / expected).sum() >= ((np.array([3, 2, 1]) - expected) ** 2 / expected).sum() - 1e-9]
    exact = stats.multinomial.pmf(far, 6, [0.25, 0.25, 0.5]).sum()
    assert three.p == pytest.approx(exact, abs=3.3 * np.sqrt(exact * (1 - exact) / 100_000)) and "simulated" in three.notes[0]   # 3.3 standard errors


def test_yates_correction_stops_at_0():
    assert split_check([2000, 2000], EVEN, correction=True).p == 1.0
    assert split_check([20, 23], EVEN, correction=True).p == pytest.approx(stats.chi2.sf(2 / 21.5, 1))   # 1.5 ± 0.5 apart


def test_a_unit_where_none_was_planned():
    found = split_check({"on": 500, "off": 490, "test": 1}, {"on": 1, "off": 1, "test": 0})
    assert found.broken and found.p == found.always_valid_p == 0.0 and found.verdict.startswith("The split is broken: test has 0.10% of 991 units instead of 0.00%")
    none = split_check({"on": 500, "off": 490, "test": 0}, {"on": 1, "off": 1, "test": 0})
    assert not none.broken and none.p == split_check([500, 490], EVEN).p and none.always_valid_p == split_check([500, 490], EVEN).always_valid_p


@pytest.mark.parametrize(("counts", "said"), [
    ([1, 2, 3], "whole number from 0 for each of control, treatment"), ([[1, 2], [3]], "whole number"), ({"control": [1, 2], "treatment": [1]}, "whole number"), ([1, None], "whole number"),
    ([1, float("nan")], "whole number"), ([1.5, 2], "whole number"), ([-1, 2], "whole number"), ([1, float("inf")], "whole number"), ([True, False], "whole number"), ([[[1, 2]]], "whole number"),
    (5, "counts of type int"), ("ab", "counts of type str"), ([0, 0], "at least one unit"), ([[10, 10], [9, 12]], "no count falls"), ({"control": 1}, "give 0 to what has none"), ({"control": 1, "treatment": 2, "x": 1}, "plan 0")])
def test_bad_counts(counts, said):
    with pytest.raises(ParameterError, match=said):
        split_check(counts, EVEN)


@pytest.mark.parametrize(("planned", "said"), [([1, 1], "the weight of each variant by its name"), ({"a": 1}, "two variants or more"), ({"a": 1, "b": 0}, "two variants or more"), ({"a": 1, "b": -1}, r"planned\['b'\] -1"), ({"a": 1, "b": float("nan")}, r"planned\['b'\] nan"), ({"a": True, "b": 1}, r"planned\['a'\] True")])
def test_bad_plans(planned, said):
    with pytest.raises(ParameterError, match=said):
        split_check([10, 10], planned)


def test_bad_correction():
    with pytest.raises(ParameterError, match="correction 'yes'"):
        split_check([10, 10], EVEN, correction="yes")


def test_the_segment_that_breaks():
    found = split_by(BROWSERS, EVEN)
    t = found.frame()
    assert t["segment"].tolist() == ["Safari", "new", "Chrome"] and t["broken"].tolist() == [True, False, False] and t["units"].tolist() == [1750, 3, 12_100]
    one = split_check([1000, 750], EVEN)   # two rows of Safari's treated, added up
    assert t["variant"][0] == "treatment" and t["p"][0] == one.p and t["always_valid_p"][0] == one.always_valid_p and t["adjusted_p"][0] == pytest.approx(3 * one.always_valid_p)
    assert t.loc[0, ["planned", "share", "low", "high"]].tolist() == one.frame().loc[1, ["planned", "share", "low", "high"]].tolist()
    assert found.verdict == "The split breaks in 1 of 3 segments: Safari" == found.plot().layout.title.text
    assert found.plot().data[0].x[0] == pytest.approx(750 / 875)


def test_no_segment_breaks():
    found = split_by(BROWSERS[BROWSERS["segment"] != "Safari"], EVEN)
    assert found.verdict == "The split breaks in none of 2 segments" and found.notes == ()
    numbers = pd.DataFrame({"segment": [1, 1, 2], "variant": [0, 1, 1], "count": [10, 11, 0]}).astype({"count": "Int64"})
    assert split_by(numbers, {0: 1, 1: 1}).frame()["segment"].tolist() == ["1"]   # a segment without units is none
    assert split_by(BROWSERS, {**EVEN, "blue": 1}).frame()["variant"].iloc[0] == "blue"   # a variant without rows has none


def test_bad_segments():
    with pytest.raises(SchemaError, match="counts lacks count"):
        split_by(BROWSERS.rename(columns={"count": "n"}), EVEN)
    with pytest.raises(SchemaError, match="1 rows lack a segment"):
        split_by(BROWSERS.replace({"segment": {"new": None}}), EVEN)
    with pytest.raises(ParameterError, match="counts of treatment: the plan has a, control"):
        split_by(BROWSERS, {"a": 1, "control": 1})
    for count in (-1, 0.5, "3"):
        with pytest.raises(ParameterError, match="whole numbers from 0 in the column count"):
            split_by(BROWSERS.assign(count=count), EVEN)
    with pytest.raises(ParameterError, match="at least one unit"):
        split_by(BROWSERS.assign(count=0), EVEN)
