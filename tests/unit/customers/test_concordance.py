import numpy as np
import pandas as pd
import pytest

from tenant_lab.core.errors import ParameterError, SchemaError
from tenant_lab.customers.concordance import brier_score, concordance, integrated_brier_score, weight_below
from tenant_lab.customers.survival import kaplan_meier

RNG = np.random.default_rng(2)
N = 150
WORLD = pd.DataFrame({"duration": RNG.integers(1, 20, N), "event": RNG.integers(0, 2, N), "weight": RNG.integers(1, 4, N)})
RISK = RNG.integers(0, 12, N) / 4


def pair_by_pair(frame, risk):
    """Concordant, discordant, tied."""
    t, e, w = (frame[c].to_numpy() for c in ("duration", "event", "weight"))
    counts = np.zeros(3)
    for i in np.flatnonzero(e):
        can = (t > t[i]) | ((t == t[i]) & (e == 0))
        counts += [w[i] * w[can & some].sum() for some in (risk < risk[i], risk > risk[i], risk == risk[i])]
    return counts


def test_all_pairs():
    found = concordance(WORLD, RISK)
    expected = pair_by_pair(WORLD, RISK)
    assert [found.concordant, found.discordant, found.tied] == pytest.approx(expected)
    assert found.index == pytest.approx((expected[0] + expected[2] / 2) / expected.sum())
    assert found.frame()["index"].item() == found.index and f"{found.index:.1%}"[:4] in found.plot().layout.title.text


def test_the_error_is_how_far_each_customer_pulls():
    """The derivative of the index by each weight, by differences."""
    def index(weight):
        a, b, c = pair_by_pair(WORLD.assign(weight=weight), RISK)
        return (a + c / 2) / (a + b + c)
    w = WORLD["weight"].to_numpy(float)
    pulls = [(index(w + 1e-5 * one) - index(w - 1e-5 * one)) / 2e-5 for one in np.eye(N)]
    assert concordance(WORLD, RISK).standard_error == pytest.approx(np.sqrt(w @ np.square(pulls)), rel=1e-6)


def test_the_error_is_that_of_repeated_worlds():
    """Standardised indices of 400 worlds: their standard deviation is 1 within 99.9 % bounds of chi (.884, 1.117)."""
    rng, found = np.random.default_rng(3), []
    for _ in range(400):
        risk = rng.normal(size=120)
        until, seen = rng.exponential(np.exp(-risk)), rng.exponential(2.0, 120)
        c = concordance(pd.DataFrame({"duration": np.minimum(until, seen), "event": until <= seen}), risk)
        found.append((c.index, c.standard_error))
    index, error = np.array(found).T
    assert 0.884 <= ((index - index.mean()) / error).std() <= 1.117


@pytest.mark.parametrize("ranks", [1, 2, 3, 500])
def test_weight_below_whatever_the_ties(ranks):
    rng = np.random.default_rng(ranks)
    key, rank, weight = rng.integers(-5, 5, 200), rng.integers(0, ranks, 200), rng.random(200)
    assert weight_below(key, rank, weight) == pytest.approx([weight[(key < k) & (rank < r)].sum() for k, r in zip(key, rank, strict=True)])


def test_brier_score_without_losses_is_the_mean_square():
    all_left = WORLD.assign(event=1, weight=1)
    chance = RNG.random((N, 3))
    here = all_left["duration"].to_numpy()[:, None] > [3, 8, 12]
    assert brier_score(all_left, chance, [3, 8, 12]) == pytest.approx(((here - chance) ** 2).mean(axis=0))


def test_brier_score_weighs_up_for_who_was_lost():
    """By hand: 1 left at 1, one lost at 2, one left at 3, one last seen at 5; G is 1 up to 2, then 2/3; at 3 who left counts 1/G(3-) = 3/2."""
    frame = pd.DataFrame({"duration": [1, 2, 3, 5], "event": [1, 0, 1, 0]})
    chance = np.array([[0.1], [0.2], [0.3], [0.4]])
    assert brier_score(frame, chance, [3])[0] == pytest.approx((0.1**2 + 1.5 * 0.3**2 + 1.5 * 0.6**2) / 4)


def test_who_leaves_at_an_age_cannot_be_lost_then():
    """At 2 one leaves and one of the other two is lost: G(2) is 1/2, not 2/3."""
    frame = pd.DataFrame({"duration": [2, 2, 5], "event": [1, 0, 0]})
    assert brier_score(frame, np.zeros((3, 1)), [3])[0] == pytest.approx((0 + 2 * 1) / 3)


def test_a_curve_of_all_is_about_right():
    """Without covariates the score is S(1 - S), whatever was lost."""
    rng = np.random.default_rng(4)
    until, seen = rng.exponential(1.0, 20_000), rng.exponential(1.0, 20_000)
    frame = pd.DataFrame({"duration": np.minimum(until, seen), "event": until <= seen})
    ages = np.linspace(0.1, 1.5, 8)
    told = np.tile(kaplan_meier(frame).at(ages)["survival"], (len(frame), 1))
    assert brier_score(frame, told, ages) == pytest.approx(np.exp(-ages) * (1 - np.exp(-ages)), abs=0.008)   # 3 standard errors
    assert integrated_brier_score(frame, told, ages) == pytest.approx(np.trapezoid(brier_score(frame, told, ages), ages) / 1.4)


def test_bad_input():
    chance = np.full((N, 2), 0.5)
    with pytest.raises(ParameterError, match=r"risk of shape \(3,\): needs finite numbers of shape \(150,\)"):
        concordance(WORLD, [1, 2, 3])
    with pytest.raises(ParameterError, match="risk"):
        concordance(WORLD, ["high"] * N)
    with pytest.raises(ParameterError, match="risk"):
        concordance(WORLD, np.where(RISK > 1, np.nan, RISK))
    with pytest.raises(ParameterError, match="no late entry"):
        concordance(WORLD.assign(entry=0), RISK)
    with pytest.raises(ParameterError, match="no two customers"):
        concordance(WORLD[:1], RISK[:1])
    with pytest.raises(SchemaError, match="event"):
        concordance(WORLD.assign(event=3), RISK)
    with pytest.raises(ParameterError, match="chances from 0 to 1"):
        brier_score(WORLD, chance + 1, [1, 2])
    with pytest.raises(ParameterError, match="survival of shape"):
        brier_score(WORLD, chance, [1, 2, 3])
    with pytest.raises(ParameterError, match="nobody was followed beyond 19"):
        brier_score(WORLD, chance, [1, 19])
    with pytest.raises(ParameterError, match="times"):
        brier_score(WORLD, chance, 3)
    for times in ([2, 1], [1]):
        with pytest.raises(ParameterError, match="two ages that grow"):
            integrated_brier_score(WORLD, chance[:, : len(times)], times)


def test_ages_before_the_beginning_are_refused():
    frame = pd.DataFrame({"duration": [1.0, 2.0, 3.0], "event": [1, 0, 1]})
    with pytest.raises(ParameterError, match="needs a list of ages from 0"):
        brier_score(frame, np.ones((3, 1)), [-1.0])
