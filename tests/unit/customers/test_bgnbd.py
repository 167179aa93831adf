"""BG/NBD and MBG/NBD against their formulas, against simulated customers whose parameters are known, and at their edges."""
import numpy as np
import pandas as pd
import pytest
from scipy.special import betaln, gammaln

from tenant_lab.core.errors import NotFittedError, ParameterError, SchemaError
from tenant_lab.customers.bgnbd import BGNBD, MBGNBD, bg_stories, bg_sums, purchases_while_there
from tenant_lab.customers.btyd import customers
from tenant_lab.customers.likelihood import parameters, summed

TRUE = {"r": 0.8, "alpha": 9.0, "a": 0.8, "b": 3.0}
ROWS = pd.DataFrame({"frequency": [0, 0, 1, 3, 40, 7], "recency": [0, 0, 2.5, 30, 38, 39], "T": [39.0, 5, 39, 39, 39, 39]})


def world(n, seed, early, ahead=0.0, r=0.8, alpha=9.0, a=0.8, b=3.0, z=0.0, purchase=0.0, dropout=0.0):
    """Summaries of customers who live by the model, and the purchases that they make in the time `ahead`."""
    rng = np.random.default_rng(seed)
    rate, T = rng.gamma(r, 1 / alpha, n) * np.exp(purchase * z), rng.integers(20, 105, n).astype(float)
    stays = rng.geometric(np.maximum(rng.beta(a * np.exp(dropout * z), b, n), 1e-12)) - early   # leaves after so many repeat purchases
    wanted, later = rng.poisson(rate * T), rng.poisson(rate * ahead)
    x = np.minimum(wanted, stays)
    t_x = np.where(x > 0, T * rng.beta(np.maximum(x, 1), wanted - np.minimum(x, wanted) + 1), 0.0)  # the x-th of so many even times
    return pd.DataFrame({"frequency": x, "recency": t_x, "T": T}), np.minimum(later, stays - x)


@pytest.fixture(scope="module", params=[BGNBD, MBGNBD])
def fitted(request):
    frame, later = world(8000, 1, request.param is MBGNBD, ahead=52.0)
    return request.param().fit(frame), frame, later


@pytest.mark.parametrize("theta", [(0.243, 4.41, 0.79, 2.43), (3.0, 0.5, 4.0, 80.0), (0.1, 200.0, 0.05, 0.4)])
@pytest.mark.parametrize("m", [0, 1])
def test_likelihood_is_that_of_the_paper(theta, m):
    """Fader, Hardie & Lee (2005), equation 6; Batislam, Denizel & Filiztekin (2007), with leaving after the first purchase too."""
    r, alpha, a, b = theta
    x, t_x, T = ROWS.to_numpy().T
    common = gammaln(r + x) - gammaln(r) + r * np.log(alpha) - betaln(a, b)
    there = common + betaln(a, b + x + m) - (r + x) * np.log(alpha + T)
    left = np.where(x + m > 0, common + betaln(a + 1, b + np.maximum(x + m, 1) - 1) - (r + x) * np.log(alpha + t_x), -np.inf)
    rows = customers(ROWS)
    told = bg_stories(list(theta), rows, m)
    assert (told.value + np.log1p(np.exp(told.m[0])))[rows.row] == pytest.approx(np.logaddexp(there, left), rel=1e-12)


@pytest.mark.parametrize("c", [(-1.4, 1.5, -0.2, 0.9), (0.7, -0.5, 1.0, 4.0)])
@pytest.mark.parametrize("m", [0, 1])
@pytest.mark.parametrize("covariate", [False, True])
def test_derivatives_are_those_of_the_value(c, m, covariate):
    z = np.linspace(-1, 1, 5)
    rows = customers(ROWS[:5].assign(z=z), ["z"] if covariate else [])
    moved = [[(i, 1.0)] for i in range(4)] + ([[(1, -rows.z[0])], [(2, rows.z[0])]] if covariate else [])
    c, steps = np.r_[c, [0.3, -0.2] if covariate else []], 1e-5 * np.eye(4 + 2 * covariate)

    def at(c):
        return summed(bg_stories(theta := parameters(c, moved, 4), rows, m), theta, moved, rows.weight)
    assert at(c)[1] == pytest.approx([(at(c + h)[0] - at(c - h)[0]) / 2e-5 for h in steps], rel=1e-6, abs=1e-7)
    assert at(c)[2] == pytest.approx(np.array([(at(c + h)[1] - at(c - h)[1]) / 2e-5 for h in steps]), rel=1e-5, abs=1e-6)


def test_parameters_come_back(fitted):
    model = fitted[0]
    assert max(abs(np.log(model.params_[name] / true)) * model.params_[name] / model.standard_errors_[name] for name, true in TRUE.items()) < 4


def test_covariates_come_back():
    z = np.random.default_rng(3).integers(0, 2, 8000)
    frame, _ = world(8000, 4, 1, z=z, purchase=0.5, dropout=-0.6)
    model = MBGNBD(["income"], ["income"]).fit(frame.assign(income=50_000.0 * z))
    for name, true in {"purchase income": 1e-5, "dropout income": -1.2e-5}.items():
        assert abs(model.params_[name] - true) < 4 * model.standard_errors_[name] < 2 * abs(true)
    with pytest.raises(ParameterError, match="no customer in general"):
        model.expected_from_start(5)
    with pytest.raises(SchemaError, match="customers lacks income"):
        model.probability_alive(frame)
    for same in (1.0, 0.1, 33333.33):
        with pytest.raises(ParameterError, match="covariate income is the same for all"):
            MBGNBD(["income"]).fit(frame.assign(income=same))


def test_the_higher_of_two_tops():
    """A shop that the MBG/NBD, from its first start alone, takes for another one."""
    true = {"r": 1.678835868268666, "alpha": 18.911425851775228, "a": 2.4167275841779636, "b": 0.5156338887847954}
    frame, _ = world(1000, 20373, 1, **true)
    assert MBGNBD().fit(frame).log_likelihood_ == pytest.approx(-1544.44, abs=0.01)


def test_covariates_far_from_zero():
    """A year of birth: the same fit as of years since the first, whose zero is elsewhere."""
    z = np.random.default_rng(3).integers(0, 30, 4000)
    frame, _ = world(4000, 4, 0, z=z / 30, purchase=0.5)
    near, far = (BGNBD(["born"]).fit(frame.assign(born=born)) for born in (z, 1970 + z))
    assert far.log_likelihood_ == pytest.approx(near.log_likelihood_, abs=1e-6)
    assert far.params_["purchase born"] == pytest.approx(near.params_["purchase born"], rel=1e-4)
    assert far.standard_errors_["purchase born"] == pytest.approx(near.standard_errors_["purchase born"], rel=1e-4)
    assert np.log(far.params_["alpha"]) == pytest.approx(np.log(near.params_["alpha"]) + 1970 * near.params_["purchase born"], rel=1e-3)
    assert near.predict(frame.assign(born=z)[:50], 9, draws=20)["expected_low"].to_numpy() == pytest.approx(far.predict(frame.assign(born=1970 + z)[:50], 9, draws=20)["expected_low"].to_numpy(), rel=1e-4)


def test_what_will_happen(fitted):
    model, frame, later = fitted
    told = model.predict(frame, 52.0)
    assert told.columns.tolist() == ["alive", "expected", "expected_low", "expected_high", "predicted_low", "predicted_high"] and len(told) == len(frame)
    assert told["expected"].mean() == pytest.approx(later.mean(), abs=4 * later.std() / np.sqrt(len(later)) + 0.03 * later.mean())
    assert 0.90 <= ((told["predicted_low"] <= later) & (later <= told["predicted_high"])).mean() <= 0.98  # and more than 90 %, since counts are whole
    assert ((told["expected_low"] < told["expected"]) & (told["expected"] < told["expected_high"])).all()
    some, wide = frame[:200], model.predict(frame[:200], 52.0, level=0.99)
    assert (wide["predicted_high"] >= told["predicted_high"][:200]).mean() > 0.95 and (wide["expected_low"] < told["expected_low"][:200]).all()
    assert model.predict(some, 52.0, random_state=3).equals(model.predict(some, 52.0, random_state=3))


@pytest.mark.parametrize("size, age, a, b, t", [(3, 10, 0.8, 4, 20), (0.5, 4, 0.3, 0.4, 100), (2, 5, 1.0, 3, 30), (2, 5, 1.00005, 3, 30), (9, 40, 4, 2, 10), (40, 30, 2.5, 90, 52),
                                                (3.754, 0.5611, 0.2134, 294.7, 3650), (2.835, 0.6878, 2.455, 541.3, 365), (1, 1, 0.7, 0.3, 8), (0.3, 1, 0.3, 4, 1000)])
def test_purchases_while_there_by_simulation(size, age, a, b, t):
    rng, n = np.random.default_rng(0), 400_000
    happened = np.minimum(rng.poisson(rng.gamma(size, 1 / age, n) * t), rng.geometric(np.maximum(rng.beta(a, b, n), 1e-15)))
    assert purchases_while_there(size, age, a, b, t) == pytest.approx(happened.mean(), abs=4.5 * happened.std() / np.sqrt(n))


def test_purchases_while_there_at_the_edges():
    assert purchases_while_there(3, 10, 0.8, 4, 0) == 0
    around = purchases_while_there(3, 10, np.array([1 - 2e-4, 1 - 1e-5, 1.0, 1 + 1e-5, 1 + 2e-4]), 4, 20)
    assert (np.diff(around) < 0).all() and np.ptp(around) < 1e-3 * around[0]
    times = np.array([purchases_while_there(5000.2, 7300.0, 0.8, 5002.4, t) for t in (0.1, 10, 365, 7300, 1e6, 1e9)])
    assert np.isfinite(times).all() and (np.diff(times) > 0).all()
    for a, b in ((2e4, 2e5), (3e5, 1.0), (1e7, 1e8)):  # all leave with the same chance p
        p = a / (a + b)
        assert purchases_while_there(0.5, 10.0, a, b, 30.0) == pytest.approx((1 - (1 + 3 * p) ** -0.5) / p, rel=1e-3)


def test_who_is_there(fitted):
    model, frame, _ = fitted
    alive = model.probability_alive(frame)
    once = frame["frequency"].to_numpy() == 0
    assert ((alive > 0) & (alive <= 1)).all()
    assert (alive[once] == 1).all() if type(model) is BGNBD else (alive[once] < 1).all()


def test_from_the_start(fitted):
    model = fitted[0]
    frame, _ = world(200_000, 9, type(model) is MBGNBD, **model.params_)
    found = frame.groupby("T")["frequency"].agg(["mean", "sem"]).iloc[::20]
    assert (np.abs(model.expected_from_start(found.index.to_numpy()) - found["mean"]) < 4.5 * found["sem"]).all()
    assert model.expected_from_start([[0.0, 1.0]]).shape == (1, 2)


def test_units_weights_and_order(fitted):
    model, frame, _ = fitted
    kind = type(model)
    days = kind().fit(frame.assign(recency=7 * frame["recency"], T=7 * frame["T"]))
    assert days.params_ == pytest.approx({**model.params_, "alpha": 7 * model.params_["alpha"]}, rel=1e-5)
    some = frame[:500]
    twice, weighted, heavy, light = (kind().fit(f) for f in (pd.concat([some, some]), some.assign(weight=2), some.assign(weight=1e7), some.assign(weight=1e-6)))
    assert light.params_ == pytest.approx(twice.params_, rel=1e-5) and light.notes_ == twice.notes_
    assert weighted.params_ == pytest.approx(twice.params_, rel=1e-6) and heavy.params_ == pytest.approx(twice.params_, rel=1e-5)
    assert weighted.standard_errors_ == pytest.approx(twice.standard_errors_, rel=1e-5) and weighted.customers_ == 1000
    mixed = frame.sample(frac=1, random_state=0)
    assert kind().fit(mixed).params_ == pytest.approx(model.params_, rel=1e-6)
    assert (model.expected_purchases(mixed, 9) == model.expected_purchases(frame, 9)[mixed.index]).all()


def test_extreme_customers(fitted):
    odd = pd.DataFrame({"frequency": [5000, 5000, 1, 0, 3, 0], "recency": [7299.0, 1.0, 0.0, 0.0, 39.0, 0.0], "T": [7300.0, 7300.0, 7300.0, 0.0, 39.0, 7300.0]})
    before = odd.copy()
    told = fitted[0].predict(odd, 365.0)
    assert np.isfinite(told.to_numpy()).all() and told["alive"].between(0, 1).all() and told["alive"][1] < 1e-12 < told["alive"][0]
    pd.testing.assert_frame_equal(odd, before)


def test_bad_input():
    frame, _ = world(50, 0, 0)
    with pytest.raises(NotFittedError, match="this BGNBD was not fitted"):
        BGNBD().expected_purchases(frame, 5)
    with pytest.raises(ParameterError, match="nobody came back"):
        BGNBD().fit(frame.assign(frequency=0, recency=0.0))
    with pytest.raises(ParameterError, match="no time has passed"):
        BGNBD().fit(frame.assign(frequency=1, recency=0.0, T=0.0))
    alone = BGNBD().fit(pd.DataFrame({"frequency": [2], "recency": [3.0], "T": [5.0]}))
    assert "too much alike to tell" in alone.notes_[0] and np.isnan(alone.standard_errors_["r"])


@pytest.mark.parametrize("m", [0, 1])
def test_the_short_way_leads_to_the_same_sums(m):
    rows = customers(world(500, 4, m)[0].assign(weight=np.random.default_rng(0).gamma(2, 3, 500)))
    for theta in ([0.8, 9.0, 0.8, 3.0], [1e-3, 40.0, 30.0, 0.2], [25.0, 0.3, 1e-3, 400.0]):
        ours, theirs = bg_sums(theta, rows, m), summed(bg_stories(theta, rows, m), theta, [[(i, 1.0)] for i in range(4)], rows.weight)
        for one, other in zip(ours, theirs, strict=True):
            assert np.asarray(one) == pytest.approx(np.asarray(other), rel=1e-10, abs=1e-9 * np.abs(other).max())
