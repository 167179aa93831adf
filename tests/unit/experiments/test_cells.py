"""Counts in cells beside the values themselves: quantiles to the width of a cell, intervals to those of a plain bootstrap."""

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats

from tenant_lab.core.errors import SchemaError
from tenant_lab.core.frames import lazy
from tenant_lab.experiments.cells import (
    BAD,
    OFFSET,
    WIDTH,
    Cells,
    bootstrap_quantile,
    cell_of,
    count_cells,
    weighted_quantile,
)
from tenant_lab.experiments.metrics import Quantile


def counted(frame, metric=None, keys=("variant",)):
    table, metric = lazy(frame), metric or Quantile("x")
    groups = frame.lazy().collect().to_pandas()[list(keys)].drop_duplicates().sort_values(list(keys), ignore_index=True)
    return count_cells(table, table.collect_schema(), metric, groups)


def numbers(values):
    return nw.from_native(pl.DataFrame({"v": pl.Series(values, dtype=pl.Float64)})).select(c=cell_of(nw.col("v")))["c"].to_list()


def test_numbers_of_cells_rise_with_the_values_on_every_engine():
    """Whatever two values are, the greater one is in no lower cell."""
    sizes = np.r_[5e-324, 1e-300, np.geomspace(1e-9, 1e12, 500), 1e300, 1.7976931348623157e308]
    values = np.sort(np.r_[-sizes, 0.0, sizes])
    made = numbers(values)
    assert (np.diff(made) >= 0).all() and made[len(sizes)] == 0 and all(abs(one) < BAD for one in made)
    assert made[::-1] == [-one for one in made]
    duck = lazy(pd.DataFrame({"v": values})).select(v="v", c=cell_of(nw.col("v"))).collect("pyarrow").to_native().to_pandas().sort_values("v")["c"]
    assert np.abs(duck.to_numpy() - made).max() <= 1   # logarithms of engines differ in the last digit, so at an edge


def test_values_of_a_cell_differ_by_less_than_its_width():
    values = np.geomspace(1e-3, 1e3, 20_001)
    made = np.array(numbers(values))
    for cell in np.unique(made)[::50]:
        own = values[made == cell]
        assert own.max() / own.min() < WIDTH * (1 + 1e-12)
    assert numbers([1.0]) == [OFFSET]


def test_what_is_no_number():
    assert numbers([float("nan"), float("inf"), -float("inf"), None, -0.0]) == [BAD, BAD, BAD, None, 0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_counts_refuse_what_is_no_number(bad):
    with pytest.raises(SchemaError, match=r"units\.x: 1 units that count have a value that is infinite or not a number"):
        counted(pl.DataFrame({"variant": ["A", "A"], "x": [1.0, bad]}))


def test_counts_refuse_what_is_missing_but_for_units_that_do_not_count():
    frame = pl.DataFrame({"variant": ["A", "A", "A", "B"], "x": [1.0, None, None, 3.0], "f": [True, False, None, True]})
    with pytest.raises(SchemaError, match=r"units\.x: 2 units that count have no value") as error:
        counted(frame)
    assert error.value.count == 2
    made = counted(frame, Quantile("x", filter="f"))
    assert (made.group.tolist(), made.count.tolist(), made.total.tolist()) == ([0, 1], [1.0, 1.0], [1.0, 3.0])


def test_counts_and_totals_by_group():
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"variant": rng.choice(["A", "B"], 2000), "seg": pl.Series([None if one == "w" else one for one in rng.choice(["u", "v", "w"], 2000)]), "x": np.round(rng.lognormal(0, 2, 2000), 2) - 1})
    made = counted(frame, keys=("variant", "seg"))
    own = frame.to_pandas().groupby(["variant", "seg"], dropna=False)["x"].agg(["size", "sum"])
    assert np.bincount(made.group, made.count).tolist() == own["size"].tolist()
    assert np.bincount(made.group, made.total) == pytest.approx(own["sum"].to_numpy(), rel=1e-12)


def test_a_quantile_is_that_of_the_values_to_the_width_of_a_cell():
    """A cell holds the order statistic, and no two values of it differ by more than 0.1 % of their size."""
    x = np.random.default_rng(1).lognormal(2, 1, 5001)
    made = counted(pl.DataFrame({"variant": ["A"] * len(x), "x": x}))
    q = np.array([0.001, 0.1, 0.5, 0.9, 0.999])
    assert weighted_quantile(*made.distribution(0), q) == pytest.approx(np.quantile(x, q, method="inverted_cdf"), rel=WIDTH - 1)


def test_few_values_are_exact():
    """Of whole numbers each has a cell of its own, up to a thousand."""
    x = np.random.default_rng(2).poisson(3, 999).astype(float)
    made = counted(pl.DataFrame({"variant": ["A"] * len(x), "x": x}))
    q = np.linspace(0.01, 0.99, 99)
    assert weighted_quantile(*made.distribution(0), q).tolist() == np.quantile(x, q, method="inverted_cdf").tolist()


def test_weighted_quantile_at_its_edges():
    """The least value that a share q does not exceed, also where q times n is a whole number that floats miss (0.1 · 3 · 10)."""
    values, counts = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 7.0])
    assert weighted_quantile(values, counts, np.array([0.0, 0.1, 0.100001, 0.3, 0.1 + 0.2, 0.31, 1.0])).tolist() == [1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 3.0]
    many = np.arange(1.0, 1001.0)
    for k in range(1, 1000):
        assert weighted_quantile(many, np.ones(1000), k / 1000) == k


def test_the_bootstrap_is_that_of_drawn_samples():
    """The k-th of n draws from a distribution is below v as often as a binomial is at least k: no random numbers needed."""
    values, counts = np.array([0.0, 1.0, 2.0, 5.0]), np.array([10.0, 20.0, 15.0, 5.0])
    drawn = bootstrap_quantile(values, counts, 0.7, 20_000, np.random.default_rng(3))
    k = int(np.ceil(0.7 * 50 - 1e-9))
    below = np.cumsum(counts) / 50
    exact = np.diff(np.r_[0.0, stats.binom.sf(k - 1, 50, below)])
    share = np.array([(drawn == v).mean() for v in values])
    assert share == pytest.approx(exact, abs=2 / 20_000 + 1e-12)   # one draw from each 20 000-th part: at most one off at each edge


def test_the_interval_is_that_of_a_plain_bootstrap():
    """Ends beside 4,000 plain draws, within 5 Monte-Carlo errors of such an end (its share of draws has an error of √(0.025 · 0.975 / 4000))."""
    rng = np.random.default_rng(4)
    x = np.sort(rng.lognormal(0, 1, 400))
    fast = bootstrap_quantile(x, np.ones(400), 0.9, 10_000, rng)
    plain = np.sort(np.quantile(rng.choice(x, (4000, 400)), 0.9, axis=1, method="inverted_cdf"))
    for share in (0.025, 0.975):
        off = 5 * np.sqrt(share * (1 - share) / 4000)
        assert np.quantile(plain, max(share - off, 0)) <= np.quantile(fast, share) <= np.quantile(plain, min(share + off, 1))


def test_the_bootstrap_is_the_same_for_the_same_seed_and_in_no_order():
    x = np.arange(1.0, 101.0)
    one, other = (bootstrap_quantile(x, np.ones(100), 0.5, 1000, np.random.default_rng(5)) for _ in range(2))
    assert (one == other).all() and abs(np.corrcoef(one, np.arange(1000))[0, 1]) < 5 / np.sqrt(1000)


@pytest.mark.parametrize(("n", "q"), [(60, 0.5), (200, 0.5), (200, 0.9), (1000, 0.99)])
def test_coverage_of_a_quantiles_interval(n, q):
    """Ends are order statistics, so how often they hold the true quantile is a sum of binomials: 95 %, but for the steps of the two ends."""
    ranks = np.arange(1.0, n + 1)
    low, high = np.quantile(bootstrap_quantile(ranks, np.ones(n), q, 10_000, np.random.default_rng(6)), [0.025, 0.975], method="inverted_cdf").astype(int)
    below = stats.binom(n, q)   # of n units, those under the true quantile
    assert below.cdf(high - 1) - below.cdf(low - 1) == pytest.approx(0.95, abs=below.pmf(low - 1) + below.pmf(high - 1))


@pytest.fixture
def some():
    return Cells(np.array([0, 0, 1, 2, 2]), np.array([3, 7, 3, 0, 7]), np.array([1.0, 2.0, 3.0, 4.0, 5.0]), np.array([1.5, 8.0, 4.5, 0.0, 20.0]))


def parts(made):
    return [getattr(made, name).tolist() for name in ("group", "cell", "count", "total")]


def test_taken_summed_joined(some):
    assert parts(some.taken(np.array([2, 0]))) == [[1, 1, 0, 0], [3, 7, 0, 7], [1.0, 2.0, 4.0, 5.0], [1.5, 8.0, 0.0, 20.0]]
    assert parts(some.taken(np.array([], int))) == [[], [], [], []]
    assert parts(some.taken(np.array([5]))) == [[], [], [], []]
    assert parts(some.summed(np.array([0, 0, 0]))) == [[0, 0, 0], [0, 3, 7], [4.0, 4.0, 7.0], [0.0, 6.0, 28.0]]
    assert parts(some.summed(np.array([1, 0, 1]))) == [[0, 1, 1, 1], [3, 0, 3, 7], [3.0, 4.0, 1.0, 7.0], [4.5, 0.0, 1.5, 28.0]]
    assert parts(some.joined(some, 3).summed(np.array([0, 1, 2, 0, 1, 2]))) == [[0, 0, 1, 2, 2], [3, 7, 3, 0, 7], [2.0, 4.0, 6.0, 8.0, 10.0], [3.0, 16.0, 9.0, 0.0, 40.0]]
    assert [one.tolist() for one in some.distribution(2)] == [[0.0, 4.0], [4.0, 5.0]]


def test_no_cells_at_all(some):
    none = some.taken(np.array([], int))
    assert parts(none.summed(np.array([], int))) == [[], [], [], []] and parts(none.joined(some, 0)) == parts(some)
    assert [one.tolist() for one in none.distribution(0)] == [[], []]
