"""Effects of fixed experiments against published numbers."""
from pathlib import Path

import pandas as pd
import pytest

from tenant_lab.experiments.fixed import delta_relative, effects, two_sided, welch
from tenant_lab.experiments.metrics import Mean, Ratio
from tenant_lab.experiments.moments import moments


@pytest.fixture(scope="module")
def users() -> pd.DataFrame:
    """`tea_tasting.make_users_data(rng=42, covariates=True)` of tea-tasting 2.0.0 (MIT)."""
    return pd.read_csv(Path(__file__).with_name("tea_tasting_users.csv.gz"))


# relative effect and p-value of tea-tasting 2.0.0, without and with CUPED
PUBLISHED = {"sessions": (-0.00663474, 0.67402072, -0.00677391, 0.60258118), "orders / sessions": (0.08770327, 0.07623760, 0.12132756, 0.00229294),
             "orders": (0.08048664, 0.11773178, 0.11154726, 0.00733041), "revenue": (0.09331816, 0.12306989, 0.14273574, 0.00674393)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_tea_tasting_users(users, name):
    asked = [Mean("sessions", covariate="sessions_covariate"), Mean("orders", covariate="orders_covariate"), Mean("revenue", covariate="revenue_covariate"),
             Ratio("orders", "sessions", covariate=("orders_covariate", "sessions_covariate"))]
    made = moments(users, asked)
    plain, adjusted = (effects(made, 0, [name], adjust=how).row(name) for how in (None, "pooled"))
    assert (plain.relative, plain.p, adjusted.relative, adjusted.p) == pytest.approx(PUBLISHED[name], abs=6e-9)


def test_tea_tasting_intervals(users):
    """The absolute intervals of the same run of tea-tasting 2.0.0, with CUPED."""
    row = effects(moments(users, Mean("revenue", covariate="revenue_covariate")), 0).row("revenue")
    assert (row.control_value, row.value, row.low, row.high) == pytest.approx((5.121453608942883, 5.852468057212222, 0.20228702469056814, 1.25974187184811), rel=1e-10)


def arm(total: float, squares: float, n: int) -> tuple[float, float, int]:
    """Mean, variance of the mean, degrees of freedom."""
    return total / n, (squares - total**2 / n) / (n - 1) / n, n - 1


def test_gbstats_means():
    """GrowthBook, gbstats/tests/frequentist/test_tests.py: two-sided t-tests, absolute and relative (delta method)."""
    (a, va, dfa), (b, vb, dfb) = arm(1396.87, 52377.9767, 3407), arm(2422.7, 134698.29, 3461)
    low, high, p, _, df = welch(b - a, va, vb, dfa, dfb)
    assert (b - a, low, high, p) == pytest.approx((0.29, 0.04538, 0.53462, 0.02016), abs=5e-6)
    lift, error = delta_relative(a, b, va, vb)
    low, high, p, *_ = welch(lift, 0.0, error**2, 1e9, df)
    assert (lift, low, high, p) == pytest.approx((0.70732, -0.03526, 1.44989, 0.06191), abs=6e-6)


def test_gbstats_shares():
    """GrowthBook, the same file: 14 of 28 and 16 of 30, relative, by the delta method with Welch's degrees of freedom."""
    p0, p1 = 14 / 28, 16 / 30
    v0, v1 = p0 * (1 - p0) / 28, p1 * (1 - p1) / 30
    df = welch(p1 - p0, v0, v1, 27, 29)[4]
    lift, error = delta_relative(p0, p1, v0, v1)
    low, high, p, *_ = welch(lift, 0.0, error**2, 1e9, df)
    assert (lift, low, high, p) == pytest.approx((0.06667, -0.47767, 0.61101, 0.80707), abs=6e-6)
    assert two_sided(lift / error, df) == pytest.approx(0.80707, abs=6e-6)
