"""How often each procedure is wrong, and whether designs find what they promise; `nbs/explanations/52_error_rates.ipynb` shows the table.

Experiments are simulated unit by unit, and thousands of them go through `moments` and `effects` at once, each as a segment; of shares the counts are drawn.
A rate is held to bounds that all rows together break by chance in one of a thousand runs: quantiles of the binomial at 0.001 / (2 rows) on each side.
"""
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.special import chdtrc
from scipy.stats import binom

from tenant_lab.experiments import fixed
from tenant_lab.experiments.always import AlwaysValid, AlwaysValidLooks, Peek, always_valid_p
from tenant_lab.experiments.design import Baseline, design_effect, power
from tenant_lab.experiments.fixed import effects
from tenant_lab.experiments.margins import margin_test
from tenant_lab.experiments.metrics import Mean, Proportion, Quantile, Ratio
from tenant_lab.experiments.moments import Moments, moments, samples
from tenant_lab.experiments.sequential import GroupSequential, Look, stage_wise
from tenant_lab.experiments.split import ALARM, split_check

SEED, REPETITIONS = 2025, 10_000


# ---- units: of each draw, the columns of `shape` (experiments, units) ----
def normal(rng, shape, shift=0.0):
    return {"x": rng.normal(1 + shift, 1, shape)}


def exponential(rng, shape, mean=1.0):
    return {"x": rng.exponential(mean, shape)}


def sessions(rng, shape, shift=0.0):
    """Orders of 1 + Poisson(2) sessions, each customer with a rate of its own, 0.2 on average; `shift` more a session."""
    there = 1 + rng.poisson(2, shape)
    return {"sessions": there, "orders": rng.binomial(there, rng.beta(2, 8, shape)) + shift * there}


SESSIONS = Baseline(0.2, (3 * (0.2 * 0.8 - 0.16 / 11) + 11 * 0.16 / 11) / 9, "ratio")   # variance of (orders - 0.2 sessions) / 3


def habits(rng, shape, shift=0.0):
    """Purchases before and after, of customers who buy more and less: a correlation of 0.8 and a skewness of 1.5."""
    rate = rng.gamma(1.5, 4, shape)
    return {"before": rng.poisson(rate), "x": rng.poisson(rate) + float(shift)}


HABITS = Baseline(6, 30, correlation=0.8)


def countries(rng, shape):
    """Three strata of unequal size and value."""
    stratum = rng.choice(3, shape, p=[0.6, 0.3, 0.1])
    return {"stratum": stratum, "x": rng.exponential(1.0 + 2 * stratum)}


def shops(rng, shape, shift=0.0, clusters=40, sized=False):
    """Customers of `clusters` shops, which differ (a correlation of 0.2 within); `sized`: some have many more than others."""
    shop = rng.choice(clusters, shape, p=np.arange(1, clusters + 1) / (clusters * (clusters + 1) / 2)) if sized else np.broadcast_to(np.arange(shape[1]) % clusters, shape)
    own = rng.normal(0, 0.2**0.5, (shape[0], clusters))
    return {"cluster": shop, "x": 1 + shift + np.take_along_axis(own, shop, 1) + rng.normal(0, 0.8**0.5, shape)}


# ---- experiments: functions of rng and repetitions that give the `Effects` of many at once ----
def table_of(rng, experiments, arms, looks=1):
    """One row a unit; at each look as many have come."""
    parts = []
    for variant, (n, draw) in enumerate(arms):
        columns = {name: np.ravel(values) for name, values in draw(rng, (experiments, n)).items()}
        day = np.tile(np.arange(n) * looks // n, experiments)
        parts.append(pl.DataFrame({"experiment": np.repeat(np.arange(experiments), n), "variant": np.full(experiments * n, variant), **columns}).with_columns(day=pl.Series(np.datetime64("2025-01-01") + day)))
    return pl.concat(parts)


def chunks(rng, repetitions, arms, looks=1, rows=4_000_000):
    step = max(1, rows // sum(n for n, _ in arms))
    for start in range(0, repetitions, step):
        yield table_of(rng, min(step, repetitions - start), arms, looks)


def units(metric, *arms, cluster=None, strata=(), **options):
    """Arms of (n, draw), the control first."""
    def source(rng, repetitions):
        for table in chunks(rng, repetitions, arms):
            yield effects(moments(table, metric, by=["experiment", *strata], cluster=cluster), 0, by="experiment", strata=strata, **options)
    return source


def quantiles(metric, *arms):
    """The same, with 999 draws of the bootstrap in place of 10,000."""
    def source(rng, repetitions):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(fixed, "DRAWS", 999)
            for table in chunks(rng, repetitions, arms, rows=100_000):
                yield effects(moments(table, metric, by="experiment"), 0, by="experiment")
    return source


def summed_up(metric, parts):
    """Moments of experiments from (n, sums of first powers, of squares and, but for shares, of cubes) of each arm, of shape (experiments,)."""
    experiments = len(parts[0][1])
    groups = pd.DataFrame({"variant": np.repeat(np.arange(len(parts)), experiments), "experiment": np.tile(np.arange(experiments), len(parts))})
    n = np.repeat([part[0] for part in parts], experiments).astype(float)
    sums, products, *cubes = (np.concatenate(one)[:, None].astype(float) for one in list(zip(*parts, strict=True))[1:])
    return Moments((metric,), groups, n, np.zeros(1), n[:, None], sums, products, cubes[0] if cubes else np.zeros((len(n), 0)), {}, by=("experiment",))


def counts(*arms, **options):
    """Arms of (n, share), the control first."""
    def source(rng, repetitions):
        drawn = [(n, k := rng.binomial(n, share, repetitions), k) for n, share in arms]
        yield effects(summed_up(Proportion("x"), drawn), 0, by="experiment", **options)
    return source


def spent(rng, sizes, share, sigma, quantile=None):
    """What the customers of each arm spent who spent anything, winsorised at a quantile of all customers, as `Mean` does it."""
    arms = [rng.lognormal(0, sigma, rng.binomial(n, share)) for n in sizes]
    if quantile is None:
        return arms
    ordered, place = np.sort(np.concatenate(arms)), (sum(sizes) - 1) * quantile - (sum(sizes) - sum(map(len, arms)))   # all others spent 0, and stand before
    return [np.minimum(one, np.interp(place, np.arange(len(ordered)), ordered)) for one in arms]


def spenders(sizes, share, sigma, quantile=None):
    """A share of customers spends, lognormally; the others' zeros need not be drawn."""
    def source(rng, repetitions):
        drawn = [[[(one**power).sum() for power in (1, 2, 3)] for one in spent(rng, sizes, share, sigma, quantile)] for _ in range(repetitions)]
        made = summed_up(Mean("x"), [(n, *part.T) for n, part in zip(sizes, np.array(drawn).transpose(1, 0, 2), strict=True)])
        some = samples(made, "x", ("variant", "experiment"))
        assert quantile or (some.n < 355 * some.skewness**2).reshape(2, -1).any(axis=0).all()   # where means of raw amounts fail, `effects` warns
        yield effects(made, 0, by="experiment")
    return source


# ---- what is wrong: functions of repetitions that give who erred, and whose interval held the truth (None where there is none) ----
def tables(source, repetitions):
    return pd.concat([one.table for one in source(np.random.default_rng(SEED), repetitions)], ignore_index=True)


def no_effect(source):
    def run(repetitions):
        found = tables(source, repetitions)
        return found["p"] <= 0.05, found["low"].le(0) & found["high"].ge(0)
    return run


def interval(source, truth, prefix=""):
    def run(repetitions):
        found = tables(source, repetitions)
        held = found[f"{prefix}low"].le(truth) & found[f"{prefix}high"].ge(truth)
        return ~held, held
    return run


def at_margin(source, margin, kind="noninferiority", relative=True):
    def run(repetitions):
        tests = [margin_test(found, found.metrics[0].name, margin, kind, relative, 0.05) for found in source(np.random.default_rng(SEED), repetitions)]
        return pd.concat([one.table for one in tests])["passed"], None
    return run


def finds(source):
    def run(repetitions):
        found = tables(source, repetitions)
        return (found["p"] <= 0.05) & (found["effect"] > 0), None
    return run


def family(metric, *arms):
    """Whether Dunnett's test calls any treatment different. Its p-values are at least the plain ones and at most twice those (Bonferroni), so only what lies between is worked out."""
    def run(repetitions):
        wrong = []
        for table in chunks(np.random.default_rng(SEED), repetitions, arms):
            least = effects(moments(table, metric, by="experiment"), 0, by="experiment").table.groupby("experiment")["p"].min()
            sure = least <= 0.05 / (len(arms) - 1)
            near = table.filter(pl.col("experiment").is_in(least.index[(least <= 0.05) & ~sure].to_list()))
            told = effects(moments(near, metric, by="experiment"), 0, by="experiment", correction="dunnett").table.groupby("experiment")["p_adjusted"].min()
            wrong.append(sure | (told.reindex(least.index) <= 0.05))
        called = pd.concat(wrong)
        return called, ~called
    return run


# ---- looks: effects and standard errors of shape (repetitions, looks) ----
def watched(metric, *arms, looks):
    """Each experiment read `looks` times while units come in."""
    @cache
    def seen(repetitions):
        parts = []
        for table in chunks(np.random.default_rng(SEED), repetitions, arms, looks):
            made = moments(table, metric, by="experiment", day="day")
            days = [dt.date(2025, 1, 1) + dt.timedelta(days=look) for look in range(looks)]
            parts.append([effects(made.until(day), 0, by="experiment").table[["effect", "standard_error"]].to_numpy().T for day in days])
        effect, error = np.concatenate(parts, axis=2).transpose(1, 2, 0)
        return effect, error, np.arange(1, looks + 1) * sum(n for n, _ in arms) / looks
    return seen


def watched_counts(*arms, looks):
    """The same of shares."""
    @cache
    def seen(repetitions):
        rng = np.random.default_rng(SEED)
        so_far = [(np.arange(1, looks + 1) * n // looks, rng.binomial(n // looks, share, (repetitions, looks)).cumsum(axis=1)) for n, share in arms]
        found = [effects(summed_up(Proportion("x"), [(n[look], k[:, look], k[:, look]) for n, k in so_far]), 0, by="experiment").table for look in range(looks)]
        return *(np.column_stack([one[name] for one in found]) for name in ("effect", "standard_error")), sum(n for n, _ in so_far)
    return seen


def peeked(seen):
    """What comes of a fixed test that is read at each look."""
    def run(repetitions):
        effect, error, _ = seen(repetitions)
        return (np.abs(effect / error) >= 1.959964).any(axis=1), None
    return run


def sequential(seen, design, truth=0.0, power=False):
    """Whether any look finds an effect where there is none, or, with `power`, the one there is; intervals are the repeated ones."""
    def run(repetitions):
        effect, error, n = seen(repetitions)
        assert n / n[-1] == pytest.approx(design.fractions)
        z, critical = effect / error if power else (effect - truth) / error, design.boundaries()["critical"].to_numpy()
        wrong = ((z if power else np.abs(z)) >= critical).any(axis=1)
        return wrong, ~wrong
    return run


def at_the_end(seen, design, truth):
    """Whether the interval that is told at the end misses; it holds an effect as long as that one's stage-wise chance is in the middle 95 %."""
    def run(repetitions):
        effect, error, _ = seen(repetitions)
        critical, held = design.boundaries()["critical"].to_numpy(), []
        for path, spread in zip(effect, error, strict=True):
            stop = int(np.r_[np.abs(path / spread)[:-1] >= critical[:-1], True].argmax())
            chance = stage_wise(path[stop] / spread[stop], critical[:stop + 1], design.fractions[:stop + 1], truth / spread[stop] / design.fractions[stop] ** 0.5)
            held.append(0.025 <= chance <= 0.975)
        return ~np.array(held), np.array(held)
    return run


def anytime(seen, first=200, truth=0.0):
    """Whether any interval from `first` units on misses."""
    def run(repetitions):
        effect, error, n = seen(repetitions)
        late, design = n >= first, AlwaysValid(n[-1], first=first)
        p = np.array([always_valid_p(path[late] - truth, spread[late], n[late], design.planned_n, design.alpha)[-1] for path, spread in zip(effect, error, strict=True)])
        return p <= design.alpha, p > design.alpha
    return run


def daily_split(shares, a_day, chi_squared=False):
    """Whether a good split is called broken on any of 28 days, and whether the last intervals hold all planned shares."""
    def run(repetitions):
        rng, weights, told = np.random.default_rng(SEED), np.array(shares) / sum(shares), []
        for _ in range(repetitions):
            history = rng.multinomial(rng.poisson(a_day, 28), weights).cumsum(axis=0)
            if chi_squared:
                expected = history.sum(axis=1, keepdims=True) * weights
                told.append(((chdtrc(len(shares) - 1, ((history - expected) ** 2 / expected).sum(axis=1)) < ALARM).any(), True))
            else:
                check = split_check(history, dict(enumerate(shares)))
                told.append((check.broken, check.table["planned"].between(check.table["low"], check.table["high"]).all()))
        wrong, held = np.array(told).T
        return wrong, None if chi_squared else held
    return run


# ---- the table ----
@dataclass(frozen=True)
class Row:
    """`bounds`: "both", "upper", "shown" (held to none), or "power": within a point of `nominal`, which is what the design promises."""

    name: str
    procedure: str
    run: Callable
    bounds: str = "both"
    looks: int = 1
    nominal: float = 0.05


X, LESS, RATIO, CUPED, MEDIAN = Mean("x"), Mean("x", direction="decrease"), Ratio("orders", "sessions"), Mean("x", covariate="before"), Quantile("x")
REVENUE = ((100_000, 10_000), 0.05, 2.0)   # five of a hundred customers spend; sigma 2
RARE = ((100_000, 10_000), 0.02, 2.5)
FEW = watched(X, (500, exponential), (500, exponential), looks=5)
MANY = watched(X, (2000, exponential), (2000, exponential), looks=50)
BY_COUNT = watched_counts((10_000, 0.1), (10_000, 0.1), looks=50)
UNEVEN = watched(RATIO, (2500, sessions), (250, sessions), looks=5)
SHIFTED = watched(X, (500, normal), (500, partial(normal, shift=0.17)), looks=5)


def promised(n, *options, **more):
    """Power that `design` promises for two arms of n units."""
    return power(*options, 2 * n, **more)


def clustered(k, shift):
    """Whether the effect is found with k clusters of ten customers in each arm."""
    return finds(units(X, (10 * k, partial(shops, clusters=k)), (10 * k, partial(shops, clusters=k, shift=shift)), cluster="cluster"))


ERRORS = [
    Row("mean, normal, 20:20", "Welch", no_effect(units(X, (20, normal), (20, normal)))),
    Row("mean, normal, 200:20", "Welch", no_effect(units(X, (200, normal), (20, normal)))),
    Row("mean, exponential, 200:200", "Welch", no_effect(units(X, (200, exponential), (200, exponential)))),
    Row("mean, exponential, 4000:400", "Welch", no_effect(units(X, (4000, exponential), (400, exponential)))),
    Row("share, 1000:1000", "score test", no_effect(counts((1000, 0.1), (1000, 0.1)))),
    Row("share, 10000:1000", "score test", no_effect(counts((10_000, 0.1), (1000, 0.1)))),
    Row("share, few, 30:30", "Fisher", no_effect(counts((30, 0.1), (30, 0.1))), "upper"),
    Row("ratio, 500:500", "delta method", no_effect(units(RATIO, (500, sessions), (500, sessions)))),
    Row("ratio, 5000:500", "delta method", no_effect(units(RATIO, (5000, sessions), (500, sessions)))),
    Row("mean, covariate, 200:200", "CUPED, pooled", no_effect(units(CUPED, (200, habits), (200, habits)))),
    Row("mean, covariate, 2000:200", "CUPED, pooled", no_effect(units(CUPED, (2000, habits), (200, habits)))),
    Row("mean, covariate, 200:200", "CUPED, separate", no_effect(units(CUPED, (200, habits), (200, habits), adjust="separate"))),
    Row("mean, three strata, 500:500", "post-stratified", no_effect(units(X, (500, countries), (500, countries), strata=["stratum"]))),
    Row("mean, 40:40 clusters", "clusters", no_effect(units(X, (400, shops), (400, shops), cluster="cluster"))),
    Row("mean, 40:40 clusters of unequal size", "clusters", no_effect(units(X, (400, partial(shops, sized=True)), (400, partial(shops, sized=True)), cluster="cluster"))),
    Row("mean, 200:20 clusters", "clusters", no_effect(units(X, (2000, partial(shops, clusters=200)), (200, partial(shops, clusters=20)), cluster="cluster"))),
    Row("median, 2000:2000", "bootstrap", no_effect(quantiles(MEDIAN, (2000, exponential), (2000, exponential)))),
    Row("median, 200:200", "bootstrap", no_effect(quantiles(MEDIAN, (200, exponential), (200, exponential))), "upper"),   # of few units its spread is too wide
    Row("quantile 0.9, 500:500", "bootstrap", no_effect(quantiles(Quantile("x", q=0.9), (500, exponential), (500, exponential))), "upper"),
    Row("two treatments, 200:200:200", "Dunnett", family(X, *[(200, exponential)] * 3)),
    Row("mean, exponential", "fixed test, read at each look", peeked(FEW), "shown", 5),
    Row("mean, exponential", "fixed test, read at each look", peeked(MANY), "shown", 50),
    Row("mean, exponential", "O'Brien-Fleming", sequential(FEW, GroupSequential(5, boundary="obrien-fleming")), looks=5),
    Row("mean, exponential", "Pocock", sequential(FEW, GroupSequential(5, boundary="pocock")), looks=5),
    Row("ratio, 2500:250", "O'Brien-Fleming spending", sequential(UNEVEN, GroupSequential(5)), looks=5),
    Row("mean, exponential", "O'Brien-Fleming spending", sequential(MANY, GroupSequential(50)), looks=50),
    Row("mean, exponential", "Pocock spending", sequential(MANY, GroupSequential(50, boundary="pocock-spending")), looks=50),
    Row("share", "Pocock spending", sequential(BY_COUNT, GroupSequential(50, boundary="pocock-spending")), looks=50),
    Row("mean, exponential", "always valid", anytime(FEW), "upper", 5),
    Row("mean, exponential", "always valid", anytime(MANY), "upper", 50),
    Row("share", "always valid", anytime(BY_COUNT), "upper", 50),
    Row("ratio, 2500:250", "always valid", anytime(UNEVEN, first=1100), "upper", 5),
    Row("mean, 10 % less", "not worse by 10 %", at_margin(units(X, (300, exponential), (300, partial(exponential, mean=0.9))), 0.1), "upper"),
    Row("mean, 20 % less", "the same within 20 %", at_margin(units(X, (800, exponential), (800, partial(exponential, mean=0.8))), 0.2, "equivalence"), "upper"),
    Row("share, 0.18 and 0.2", "not worse by 10 %", at_margin(counts((1000, 0.2), (1000, 0.18)), 0.1), "upper"),
    Row("share, 0.18 and 0.2, 5000:500", "not worse by 0.02", at_margin(counts((5000, 0.2), (500, 0.18)), 0.02, relative=False), "upper"),
    Row("share, 0.16 and 0.2", "the same within 20 %", at_margin(counts((2000, 0.2), (2000, 0.16)), 0.2, "equivalence"), "upper"),
    Row("1:1, 200 a day", "sample ratio", daily_split((1, 1), 200), "upper", 28, ALARM),
    Row("10:1, 200 a day", "sample ratio", daily_split((10, 1), 200), "upper", 28, ALARM),
    Row("1:1, 200 a day", "chi-squared, read each day", daily_split((1, 1), 200, True), "shown", 28, ALARM),
    Row("revenue of spenders, 100000:10000", "Welch", no_effect(spenders(*REVENUE)), "shown"),
    Row("revenue of spenders, 55000:55000", "Welch", no_effect(spenders((55_000, 55_000), *REVENUE[1:])), "shown"),
    Row("revenue of spenders, 100000:10000", "Welch, winsorised at 0.999", no_effect(spenders(*REVENUE, quantile=0.999))),
    Row("revenue of spenders, 100000:10000", "Welch, winsorised at 0.99", no_effect(spenders(*REVENUE, quantile=0.99))),
    Row("revenue of rare spenders, 100000:10000", "Welch", no_effect(spenders(*RARE)), "shown"),
    Row("revenue of rare spenders, 100000:10000", "Welch, winsorised at 0.999", no_effect(spenders(*RARE, quantile=0.999)), "shown"),
    Row("revenue of rare spenders, 100000:10000", "Welch, winsorised at 0.99", no_effect(spenders(*RARE, quantile=0.99))),
]
INTERVALS = [
    Row("mean, 20 % more, 2000:200", "interval of Welch", interval(units(X, (2000, exponential), (200, partial(exponential, mean=1.2))), 0.2)),
    Row("mean, 20 % more, normal, 30:30", "Fieller", interval(units(X, (30, normal), (30, partial(normal, shift=0.2))), 0.2, "relative_")),
    Row("mean, 20 % more, 300:300", "Fieller", interval(units(X, (300, exponential), (300, partial(exponential, mean=1.2))), 0.2, "relative_")),
    Row("ratio, 0.22 and 0.2, 500:500", "delta method", interval(units(RATIO, (500, sessions), (500, partial(sessions, shift=0.02))), 0.02)),
    Row("ratio, 0.22 and 0.2, 5000:500", "Fieller", interval(units(RATIO, (5000, sessions), (500, partial(sessions, shift=0.02))), 0.1, "relative_")),
    Row("mean, covariate, 1 more, 200:200", "CUPED, pooled", interval(units(CUPED, (200, habits), (200, partial(habits, shift=1))), 1)),
    Row("share, 0.3 and 0.15, 60:40", "Newcombe", interval(counts((60, 0.15), (40, 0.3)), 0.15), "upper"),
    Row("share, 0.12 and 0.1, 10000:1000", "Newcombe", interval(counts((10_000, 0.1), (1000, 0.12)), 0.02), "upper"),
    Row("share, 0.12 and 0.1, 1000:1000", "share ratio", interval(counts((1000, 0.1), (1000, 0.12)), 0.2, "relative_"), "upper"),
    Row("share, 0.06 and 0.05, 10000:1000", "share ratio", interval(counts((10_000, 0.05), (1000, 0.06)), 0.2, "relative_"), "upper"),
    Row("median, 20 % more, 200:200", "bootstrap", interval(quantiles(MEDIAN, (200, exponential), (200, partial(exponential, mean=1.2))), 0.2 * np.log(2)), "upper"),
    Row("mean, 0.17 more", "Pocock, repeated interval", sequential(SHIFTED, GroupSequential(5, boundary="pocock"), truth=0.17), looks=5),
    Row("mean, 0.17 more", "Pocock, interval at the end", at_the_end(SHIFTED, GroupSequential(5, boundary="pocock"), 0.17), looks=5),
    Row("mean, 0.17 more", "always valid", anytime(SHIFTED, truth=0.17), "upper", 5),
]
POWER = [
    Row("mean, 0.28 more, 200:200", "Welch", finds(units(X, (200, normal), (200, partial(normal, shift=0.28)))), "power", nominal=promised(200, Baseline(1, 1), 0.28)),
    Row("share, 0.12 and 0.1, 3800:3800", "score test", finds(counts((3800, 0.1), (3800, 0.12))), "power", nominal=promised(3800, Baseline.of_proportion(0.1), 0.02)),
    Row("ratio, 0.24 and 0.2, 650:650", "delta method", finds(units(RATIO, (650, sessions), (650, partial(sessions, shift=0.04)))), "power", nominal=promised(650, SESSIONS, 0.04)),
    Row("mean, covariate, 1 more, 170:170", "CUPED, pooled", finds(units(CUPED, (170, habits), (170, partial(habits, shift=1)))), "power", nominal=promised(170, HABITS, 1.0)),
    Row("mean, 0.18 more, 100:100 clusters", "clusters", clustered(100, 0.18), "power", nominal=promised(1000, Baseline(1, 1, design_effect=design_effect(10, 0.2), cluster_size=10), 0.18)),
    Row("mean, 0.4 more, 20:20 clusters", "clusters", clustered(20, 0.4), "power", nominal=promised(200, Baseline(1, 1, design_effect=design_effect(10, 0.2), cluster_size=10), 0.4)),
    Row("mean, 0.17 more, 500:500", "O'Brien-Fleming spending", sequential(SHIFTED, GroupSequential(5), power=True), "power", 5, promised(500, Baseline(1, 1), 0.17, design=GroupSequential(5))),
    Row("mean, 0.17 more, 500:500", "always valid", anytime(SHIFTED), "power", 5, promised(500, Baseline(1, 1), 0.17, design=AlwaysValidLooks(5))),
    Row("mean, no less, 230:230", "not worse by 0.25", at_margin(units(X, (230, normal), (230, normal)), 0.25, relative=False), "power", nominal=promised(230, Baseline(1, 1), 0.0, alternative="greater", margin=0.25)),
    Row("mean, the same, 300:300", "the same within 0.25", at_margin(units(X, (300, normal), (300, normal)), 0.25, "equivalence", False), "power", nominal=promised(300, Baseline(1, 1), 0.0, alternative="equivalence", margin=0.25)),
    Row("mean, no less, 180:180", "not worse by 25 %", at_margin(units(X, (180, normal), (180, normal)), 0.25), "power", nominal=promised(180, Baseline(1, 1), 0.0, alternative="greater", margin=0.25, relative=True)),
    Row("mean, no more, 260:260", "not worse by 25 %", at_margin(units(LESS, (260, normal), (260, normal)), 0.25), "power", nominal=promised(260, Baseline(1, 1), 0.0, alternative="less", margin=0.25, relative=True)),
    Row("share, no less than 0.1, 2200:2200", "not worse by 20 %", at_margin(counts((2200, 0.1), (2200, 0.1)), 0.2), "power", nominal=promised(2200, Baseline.of_proportion(0.1), 0.0, alternative="greater", margin=0.2, relative=True)),
]
TABLE = [(kind, row) for kind, rows in (("error", ERRORS), ("interval", INTERVALS), ("power", POWER)) for row in rows]


def checked(kind, row, repetitions, rows, record=lambda name, value: None):
    """Run a row, record what came, and hold it to its bounds."""
    wrong, held = row.run(repetitions)
    beyond = 0.001 / (2 * rows)
    least, most = (float(found(beyond, repetitions, row.nominal) / repetitions) for found in (binom.ppf, binom.isf))
    low, high = {"both": (least, most), "upper": (0.0, most), "shown": (None, None), "power": (row.nominal - 0.01, row.nominal + 0.01)}[row.bounds]
    rate, coverage = float(np.mean(wrong)), None if held is None or kind == "power" else float(np.mean(held))
    seen = {"kind": kind, "name": row.name, "procedure": row.procedure, "looks": row.looks, "repetitions": repetitions, "seed": SEED, "nominal": row.nominal, "rate": rate, "low": low, "high": high, "coverage": coverage}
    for name, value in seen.items():
        record(name, value)
    assert len(wrong) == repetitions
    if low is not None:
        assert low <= rate <= high
        assert coverage is None or 1 - coverage <= high


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "row"), TABLE, ids=[f"{kind}-{row.procedure}-{row.name}-{row.looks}" for kind, row in TABLE])
def test_rate(kind, row, record_property):
    checked(kind, row, 2 * REPETITIONS if kind == "power" else REPETITIONS, len(TABLE), record_property)


NAMES = ("mean, normal, 200:20", "share, 1000:1000", "mean, covariate, 200:200", "mean, three strata, 500:500", "mean, exponential", "share, 0.18 and 0.2", "share, 0.3 and 0.15, 60:40")
QUICK = [(kind, row) for kind, row in TABLE if row.name in NAMES and row.looks < 50]


@pytest.mark.parametrize(("kind", "row"), QUICK, ids=[f"{kind}-{row.procedure}-{row.name}-{row.looks}" for kind, row in QUICK])
def test_rate_of_few_repetitions(kind, row):
    checked(kind, row, 2000, len(QUICK))


def test_zeros_need_not_be_drawn():
    """Moments of spenders alone are those of all customers, winsorised too."""
    sizes, options = (3000, 500), (0.1, 2.0)
    for quantile in (None, 0.99, 0.93):
        spending = [np.pad(one, (0, n - len(one))) for one, n in zip(spent(np.random.default_rng(SEED), sizes, *options), sizes, strict=True)]
        whole = effects(moments(pd.DataFrame({"variant": np.repeat([0, 1], sizes), "x": np.concatenate(spending)}), Mean("x", winsorize=quantile)), 0).table.iloc[0]
        (found,) = spenders(sizes, *options, quantile)(np.random.default_rng(SEED), 1)
        assert [found.table.iloc[0][name] for name in ("effect", "standard_error", "p")] == pytest.approx([whole[name] for name in ("effect", "standard_error", "p")], rel=1e-9)
        assert "skewness" in found.notes[0]


def test_looks_decide_as_monitors_do():
    """What `sequential` and `anytime` say of thousands of histories, `monitor` says of each."""
    seen = watched(X, (500, normal), (500, partial(normal, shift=0.15)), looks=5)
    design, always = GroupSequential(5, boundary="pocock"), AlwaysValid(1000)
    at_once = [np.asarray(run(10)[0]).tolist() for run in (sequential(seen, design, power=True), anytime(seen))]
    effect, error, n = seen(10)
    told = [[design.monitor([Look(i / 5, e, s) for i, e, s in zip(range(1, 6), *path, strict=True)]).decision == "efficacy", always.monitor([Peek(*one) for one in zip(n, *path, strict=True)]).frame()["decided"].iloc[-1]] for path in zip(effect, error, strict=True)]
    assert np.array(told).T.tolist() == at_once and 0 < np.mean(told) < 1
