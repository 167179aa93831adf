"""Power and sample size: published numbers, and whether designs keep what they promise.

Simulations draw 20,000 experiments of a design that promises 80 %; the standard error of the share that finds the effect
is 0.28 points, and the bound of one point is three and a half of it.
Where data are counts of a few kinds of units, an arm is one draw from a multinomial distribution.
"""
import numpy as np
import pytest
from scipy.special import betaincinv, nctdtr, ndtri, stdtrit

from tenant_lab.experiments.always import AlwaysValid, AlwaysValidLooks, Peek
from tenant_lab.experiments.boundaries import read_information
from tenant_lab.experiments.design import Baseline, design_effect, plan, power, sample_size
from tenant_lab.experiments.sequential import GroupSequential

REPEATS, Z = 20_000, 1.959964
TENTH = Baseline.of_proportion(0.1)


# published

def test_two_proportions():
    """10 % against 12 %, two-sided 5 %, 80 %: closed forms with pooled and unpooled variance (Fleiss, Levin and Paik 2003, ch. 4), and statsmodels'
    NormalIndPower for Cohen's h, which adds the other tail (0.009 units)."""
    assert sample_size(TENTH, 0.02) / 2 == pytest.approx(3840.85, abs=0.005)
    assert sample_size(TENTH, 0.02, method="unpooled") / 2 == pytest.approx(3838.10, abs=0.005)
    assert sample_size(TENTH, 0.02, method="arcsine") / 2 == pytest.approx(3834.60, abs=0.01)


def test_power_prop_test():
    """The examples of R's help for power.prop.test."""
    half = Baseline.of_proportion(0.5)
    assert power(half, 0.25, 100) == pytest.approx(0.740, abs=5e-4)
    assert sample_size(half, 0.25, 0.9) / 2 == pytest.approx(76.7, abs=0.05)


def test_two_means():
    """statsmodels' TTestIndPower; it adds the other tail, a millionth of power."""
    unit = Baseline(0.0, 1.0)
    assert sample_size(unit, 0.2) / 2 == pytest.approx(393.41, abs=0.005)
    assert sample_size(unit, 0.5) / 2 == pytest.approx(63.77, abs=0.005)


def test_power_t_test():
    """The examples of R's help for power.t.test."""
    unit = Baseline(0.0, 1.0)
    assert power(unit, 1, 40) == pytest.approx(0.8689528, abs=1e-7)
    assert sample_size(unit, 1, 0.9) / 2 == pytest.approx(22.02110, abs=1e-5)
    assert sample_size(unit, 1, 0.9, alternative="greater") / 2 == pytest.approx(17.84713, abs=1e-5)


@pytest.mark.parametrize("effect, n0, n1, alpha", [(0.99, 18, 18, 0.05), (0.99, 106, 11, 0.05), (0.4, 300, 30, 0.05), (0.8, 40, 20, 0.01), (0.3, 1000, 100, 0.1), (0.1, 2000, 2000, 0.01)])
def test_welch(effect, n0, n1, alpha):
    """The power of Welch's test without his approximation.

    Of two normal samples of one variance the share b of the first in the sum of squares has a beta distribution, and is independent of that sum;
    given b the degrees of freedom are known, and the rest is a noncentral t with n - 2 of them.
    """
    v0, v1 = n0 - 1, n1 - 1
    b = betaincinv(v0 / 2, v1 / 2, (np.arange(4000) + 0.5) / 4000)
    s0, s1, scale = b / v0 / n0, (1 - b) / v1 / n1, 1 / n0 + 1 / n1
    critical = stdtrit((s0 + s1) ** 2 / (s0**2 / v0 + s1**2 / v1), 1 - alpha / 2) * np.sqrt((s0 + s1) * (v0 + v1) / scale)
    exact = (1 - nctdtr(v0 + v1, effect / np.sqrt(scale), critical)).mean()
    assert power(Baseline(0.0, 1.0), effect, n0 + n1, alpha=alpha, shares=(n0, n1)) == pytest.approx(exact, abs=0.0015)


def test_non_inferiority():
    """Chow, Shao and Wang 2008, Sample size calculations in clinical research, 4.2: 65 % against 85 %, margin 10 points, one-sided 5 %, 80 %: 25 an arm."""
    assert plan(Baseline.of_proportion(0.65), 0.2, alternative="greater", margin=0.1, method="unpooled").units == (25, 25)
    assert plan(Baseline.of_proportion(0.65), 0.2, alternative="greater", margin=0.1).units == (26, 26)   # the score test, as `margins` has it


@pytest.mark.parametrize("boundary, inflation", [("obrien-fleming", 1.028), ("pocock", 1.229)])
def test_price_of_five_looks(boundary, inflation):
    """Jennison and Turnbull 2000, Group sequential methods, tables 2.2 and 2.4: 5 looks, 5 %, 80 %."""
    ratio = Baseline(1.0, 1.0, "ratio")
    assert sample_size(ratio, 0.1, design=GroupSequential(boundary=boundary)) / sample_size(ratio, 0.1) == pytest.approx(inflation, abs=5e-4)


# promises

def promised(found, made):
    assert found.shape == (REPEATS,) and 0.8 - 1e-9 <= made.power < 0.83   # more than 0.8 where whole units are few
    assert found.mean() == pytest.approx(made.power, abs=0.01)


def normal_arms(rng, baseline, effect, units):
    """Means and their squared standard errors, of normal values: the two are independent, so the values are not needed."""
    for n, mean in zip(units, (baseline.mean, baseline.mean + effect), strict=True):
        yield rng.normal(mean, np.sqrt(baseline.variance / n), REPEATS), baseline.variance * rng.chisquare(n - 1, REPEATS) / (n - 1) / n


@pytest.mark.parametrize("options, effect", [
    ({}, 7.0), ({"shares": (10, 1)}, 7.0), ({"shares": (1, 3)}, 7.0), ({"alpha": 0.01}, -4.0), ({"alternative": "less"}, -2.0), ({"alternative": "greater", "margin": 3.0, "alpha": 0.025}, 0.0),
    ({"alternative": "less", "margin": 3.0}, 1.0), ({"alternative": "equivalence", "margin": 3.0}, 0.0), ({"alternative": "equivalence", "margin": 3.0}, 1.0)], ids=str)
def test_means(options, effect):
    """Welch's test; 17 units of each arm for the first of them."""
    rng, baseline = np.random.default_rng(1), Baseline(50.0, 50.0)
    made = plan(baseline, effect, **options)
    (x, s0), (y, s1) = normal_arms(rng, baseline, effect, made.units)
    error, df = np.sqrt(s0 + s1), (s0 + s1) ** 2 / (s0**2 / (made.units[0] - 1) + s1**2 / (made.units[1] - 1))
    alpha, margin, side = options.get("alpha", 0.05), options.get("margin", 0), made.trial.alternative
    critical = error * stdtrit(df, 1 - alpha / (2 if side == "two-sided" else 1))
    low, high = y - x - critical, y - x + critical
    promised({"two-sided": (low > 0) if effect > 0 else (high < 0), "greater": low > -margin, "less": high < margin, "equivalence": (low > -margin) & (high < margin)}[side], made)


@pytest.mark.parametrize("options", [{"shares": (1, 1, 1)}, {"shares": (2, 1, 1), "comparisons": "dunnett"}, {"shares": (3, 1, 2), "comparisons": "dunnett"}], ids=str)
def test_several_treatments(options):
    """The promise is that of one comparison, of the smallest arm; all of them together err with 5 % or less."""
    rng, baseline = np.random.default_rng(2), Baseline(0.0, 1.0, "ratio")
    made = plan(baseline, 0.1, **options)
    means = np.stack([rng.normal(0, n**-0.5, REPEATS) for n in made.units])
    z = (means[1:] - means[0]) / np.sqrt(1 / np.array(made.units[1:])[:, None] + 1 / made.units[0])
    edge, least = -ndtri(made.trial.level / 2), int(np.argmin(made.units[1:]))
    promised(z[least] + 0.1 / np.sqrt(1 / made.units[1 + least] + 1 / made.units[0]) > edge, made)
    errs = (np.abs(z) > edge).any(axis=0).mean()
    assert errs < 0.05 + 0.0054   # three and a half standard errors
    assert "comparisons" not in options or errs > 0.05 - 0.0054


@pytest.mark.parametrize("method, p, effect, shares", [
    *((method, *case) for method in ("pooled", "unpooled", "arcsine") for case in ((0.1, 0.02, (1, 1)), (0.1, 0.005, (10, 1)), (0.1, -0.005, (10, 1)), (0.5, 0.05, (1, 1)), (0.02, 0.005, (1, 1)))),
    ("pooled", 0.1, 0.02, (10, 1)), ("pooled", 0.1, -0.02, (10, 1))])
def test_proportions(p, effect, shares, method):
    """Each by its own test."""
    rng, baseline = np.random.default_rng(3), Baseline.of_proportion(p)
    made = plan(baseline, effect, shares=shares, method=method)
    n0, n1 = made.units
    x, y = rng.binomial(n0, p, REPEATS) / n0, rng.binomial(n1, p + effect, REPEATS) / n1
    pooled = (n0 * x + n1 * y) / (n0 + n1)
    difference, error = y - x, np.sqrt(x * (1 - x) / n0 + y * (1 - y) / n1)
    if method == "pooled":
        error = np.sqrt(pooled * (1 - pooled) * (1 / n0 + 1 / n1))
    elif method == "arcsine":
        difference, error = 2 * (np.arcsin(np.sqrt(y)) - np.arcsin(np.sqrt(x))), np.sqrt(1 / n0 + 1 / n1)
    promised(np.sign(effect) * difference / error > Z, made)


def test_proportions_not_inferior():
    rng = np.random.default_rng(4)
    made = plan(TENTH, -0.002, alternative="greater", margin=0.01, alpha=0.025)
    n0, n1 = made.units
    x, y = rng.binomial(n0, 0.1, REPEATS) / n0, rng.binomial(n1, 0.098, REPEATS) / n1
    promised((y - x + 0.01) / np.sqrt(x * (1 - x) / n0 + y * (1 - y) / n1) > Z, made)


# orders and sessions of a unit, and orders before: kinds of units, and how many of a hundred are of each
KINDS = np.array([[0, 1, 0], [0, 3, 0], [0, 3, 1], [1, 2, 0], [1, 4, 1], [1, 6, 1], [2, 5, 1], [2, 5, 3], [4, 9, 2], [5, 8, 6]], float)
SHARES = np.array([24, 14, 9, 13, 12, 8, 7, 6, 4, 3]) / 100


def moments(values):
    """Mean and covariance of a unit's values, from kinds and shares."""
    mean = SHARES @ values
    return mean, (values - mean).T @ ((values - mean) * SHARES[:, None])


def drawn(rng, n, values):
    """Means and covariances of the values of n units, one experiment a row."""
    counts = rng.multinomial(n, SHARES, REPEATS) / n
    mean = counts @ values
    products = counts @ (values[:, :, None] * values[:, None, :]).reshape(len(values), -1)
    return mean, (products.reshape(REPEATS, values.shape[1], -1) - mean[:, :, None] * mean[:, None, :]) * n / (n - 1)


@pytest.mark.parametrize("shares", [(1, 1), (10, 1)])
def test_ratio(shares):
    """Orders a session, units randomised, delta method; the treatment brings 2 % of the mean more orders to everybody, so their spread stays."""
    rng, pair = np.random.default_rng(5), KINDS[:, :2]
    mean, covariance = moments(pair)
    r = mean[0] / mean[1]
    slope = np.array([1, -r]) / mean[1]
    baseline = Baseline(r, slope @ covariance @ slope, "ratio")
    more, made, estimates = pair + np.array([0.02 * mean[0], 0]), plan(baseline, 0.02, relative=True, shares=shares), []
    for n, values in zip(made.units, (pair, more), strict=True):
        means, spread = drawn(rng, n, values)
        ratio = means[:, 0] / means[:, 1]
        a = np.stack([np.ones(REPEATS), -ratio], axis=1) / means[:, 1:]
        estimates.append((ratio, np.einsum("ri,rij,rj->r", a, spread, a) / n))
    (x, s0), (y, s1) = estimates
    promised((y - x) / np.sqrt(s0 + s1) > Z, made)


def test_cuped():
    """Orders with orders before as the covariate, one slope from both arms."""
    rng, values = np.random.default_rng(6), KINDS[:, [0, 2]]
    mean, covariance = moments(values)
    rho = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    assert rho > 0.7
    baseline = Baseline(mean[0], covariance[0, 0], correlation=rho)
    made = plan(baseline, 0.1 * mean[0])
    n, same = made.units
    assert n == same < 0.5 * plan(Baseline(mean[0], covariance[0, 0]), 0.1 * mean[0]).units[0]
    (x, a), (y, b) = drawn(rng, n, values), drawn(rng, n, values + np.array([0.1 * mean[0], 0]))
    slope = (a + b)[:, 0, 1] / (a + b)[:, 1, 1]
    error = np.sqrt(sum(s[:, 0, 0] - 2 * slope * s[:, 0, 1] + slope**2 * s[:, 1, 1] for s in (a, b)) / n)
    promised((y - x)[:, 0] - slope * (y - x)[:, 1] > Z * error, made)


def test_quantile():
    """90th percentile of exponential times; order statistics by Rényi's representation, and the interval of Woodruff (1952, J. American Statistical Association 47:635)."""
    rng, q = np.random.default_rng(7), 0.9
    baseline = Baseline(-np.log(1 - q), q * (1 - q) / (1 - q) ** 2, "quantile")   # the density there is 1 - q
    made = plan(baseline, 0.05, relative=True)
    n = made.units[0]
    reach = np.sqrt(n * q * (1 - q))
    ranks = np.rint([n * q - Z * reach, n * q, n * q + Z * reach]).astype(int)
    arms = []
    for _ in range(2):
        steps = rng.gamma(np.diff(np.r_[0, ranks, n + 1]), 1.0, (REPEATS, 4)).cumsum(axis=1)
        low, middle, high = -np.log1p(-(steps[:, :3] / steps[:, 3:]).T)
        arms.append((middle, (high - low) / 2 / Z))
    (x, s0), (y, s1) = arms
    promised(y + 0.05 * baseline.mean - x > Z * np.hypot(s0, s1), made)


def group_sequential(rng, made, looks, effect):
    """z at the looks, of a proportion of one tenth with the unpooled variance."""
    n0, n1 = (np.round(np.asarray(looks) * n).astype(int) for n in made.units)
    x, y = (rng.binomial(np.diff(n, prepend=0), p, (REPEATS, len(n))).cumsum(axis=1) / n for n, p in ((n0, 0.1), (n1, 0.1 + effect)))
    return (y - x) / np.sqrt(x * (1 - x) / n0 + y * (1 - y) / n1)


@pytest.mark.parametrize("design", [GroupSequential(), GroupSequential(boundary="pocock"), GroupSequential([0.3, 0.6, 1], alpha=0.01, boundary="pocock-spending")], ids=lambda d: d.boundary)
@pytest.mark.parametrize("shares", [(1, 1), (4, 1)])
def test_group_sequential(design, shares):
    """Conversions counted look by look."""
    rng = np.random.default_rng(8)
    made = plan(TENTH, 0.02, design=design, shares=shares)
    z = group_sequential(rng, made, design.fractions, 0.02)
    promised((z > design.boundaries()["critical"].to_numpy()).any(axis=1), made)


def test_group_sequential_with_futility():
    """One-sided, and stopping where it is in vain; the margin is a tenth of the conversions."""
    rng, design = np.random.default_rng(9), GroupSequential(4, alpha=0.025, alternative="greater", futility=0.8)
    made = plan(TENTH, 0.0, relative=True, margin=0.1, design=design)
    n0, n1 = (np.round(design.fractions * n).astype(int) for n in made.units)
    x, y = (rng.binomial(np.diff(n, prepend=0), 0.1, (REPEATS, len(n))).cumsum(axis=1) / n for n in (n0, n1))
    z, rows = (y - x + 0.01) / np.sqrt(x * (1 - x) / n0 + y * (1 - y) / n1), design.boundaries()
    up, down = z >= rows["critical"].to_numpy(), z < rows["futility"].to_numpy()
    promised(up.any(axis=1) & (np.where(up.any(axis=1), up.argmax(axis=1), 9) <= np.where(down.any(axis=1), down.argmax(axis=1), 9)), made)


def test_always_valid():
    """As an experiment that is looked at fourteen times up to its planned size."""
    rng, design = np.random.default_rng(10), AlwaysValidLooks(14)
    made = plan(TENTH, 0.02, design=design)
    z = group_sequential(rng, made, read_information(14), 0.02)
    promised((z > design.edges[1]).any(axis=1), made)


def test_always_valid_edges_are_those_of_the_analysis():

    seen = AlwaysValid(planned_n=1400, first=1).monitor([Peek(100 * look, 0.0, 1.0) for look in range(1, 15)]).frame()
    assert seen["high"].to_numpy() == pytest.approx(AlwaysValidLooks(14).edges[1])


# slow ones: every unit is drawn

@pytest.mark.slow
def test_groups(record_property):
    """Households of 1 to 8 people, alike by 0.2: the mean of all people, with the error of a ratio of totals."""
    record_property("seed", 11), record_property("repetitions", REPEATS)
    rng, icc, sizes, shares = np.random.default_rng(11), 0.2, np.array([1, 2, 3, 5, 8]), np.array([0.3, 0.3, 0.2, 0.1, 0.1])
    size = sizes @ shares
    baseline = Baseline(20.0, 9.0, design_effect=design_effect(size, icc, np.sqrt(sizes**2 @ shares / size**2 - 1)), cluster_size=size)
    made = plan(baseline, 0.8)
    found = []
    for _ in range(REPEATS // 1000):
        arms = []
        for effect in (0.0, 0.8):
            groups = round(made.units[0] / size)
            m = rng.choice(sizes, (1000, groups), p=shares)
            mean = 20 + effect + 3 * np.sqrt(icc) * rng.normal(size=m.shape) + 3 * np.sqrt((1 - icc) / m) * rng.normal(size=m.shape)
            overall = (m * mean).sum(axis=1) / m.sum(axis=1)
            arms.append((overall, groups / (groups - 1) * (m**2 * (mean - overall[:, None]) ** 2).sum(axis=1) / m.sum(axis=1) ** 2))
        (x, s0), (y, s1) = arms
        found.append((y - x) / np.sqrt(s0 + s1) > stdtrit(2 * groups - 2, 0.975))
    record_property("power", float(np.mean(found)))
    promised(np.concatenate(found), made)


@pytest.mark.slow
def test_skewed_means(record_property):
    """Log-normal spending of skewness 4 at the size that the rule of 355 times the squared skewness asks for."""
    record_property("seed", 12), record_property("repetitions", REPEATS)
    rng, sigma = np.random.default_rng(12), np.sqrt(np.log(2))   # with w = exp(sigma²) the variance is w (w - 1) and the skewness (w + 2) √(w - 1)
    made = plan(Baseline(2**0.5, 2.0, skewness=4.0), n=2 * 355 * 16)
    found = []
    for _ in range(REPEATS // 500):
        x, y = (np.exp(sigma * rng.normal(size=(500, n))) for n in made.units)
        found.append((y.mean(axis=1) + made.effect - x.mean(axis=1)) / np.sqrt(x.var(axis=1, ddof=1) / made.units[0] + y.var(axis=1, ddof=1) / made.units[1]) > Z)
    record_property("power", float(np.mean(found)))
    promised(np.concatenate(found), made)
