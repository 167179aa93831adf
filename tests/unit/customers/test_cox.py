import numpy as np
import pandas as pd
import pytest

from tenant_lab.core.errors import ConvergenceError, NotFittedError, ParameterError, SchemaError
from tenant_lab.customers.cox import CoxPH
from tenant_lab.customers.partial import partial_likelihood, risk_sets, terms
from tenant_lab.customers.survival import lives, nelson_aalen


def world(n=200, seed=0, coarse=10.0):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=n), rng.integers(0, 2, n)
    until, seen = rng.exponential(np.exp(-0.7 * x + 0.4 * y)), rng.exponential(1.5, n)
    return pd.DataFrame({"duration": np.ceil(coarse * np.minimum(until, seen)), "event": (until <= seen).astype(int), "x": x, "y": y, "s": rng.choice(["p", "q", "r"], n), "weight": rng.integers(1, 4, n)})


WORLD = world()


def textbook(beta, frame, ties):
    """Log-likelihood age by age, as it is written."""
    x = frame[["x", "y"]].to_numpy() @ beta
    total = 0.0
    for t in np.unique(frame.loc[frame["event"] == 1, "duration"]):
        risk = ((frame["duration"] >= t) & (frame["entry"] < t)).to_numpy()
        gone = ((frame["duration"] == t) & (frame["event"] == 1)).to_numpy()
        w, d = frame["weight"].to_numpy(float), gone.sum()
        total += (w * x)[gone].sum()
        for k in range(d):
            crowd = (w * np.exp(x))[risk].sum() - (k / d if ties == "efron" else 0) * (w * np.exp(x))[gone].sum()
            total -= w[gone].mean() * np.log(crowd)
    return total


@pytest.mark.parametrize("ties", ["efron", "breslow"])
@pytest.mark.parametrize("late", [False, True])
def test_the_likelihood_as_it_is_written(ties, late):
    frame = WORLD.assign(entry=np.random.default_rng(1).uniform(-5, 0.9, len(WORLD)) * WORLD["duration"] if late else -1.0)
    sets = risk_sets(frame[["x", "y"]].to_numpy().T, lives(frame), np.arange(len(frame)), ties)
    beta, step = np.array([0.5, -0.8]), 1e-5 * np.eye(2)
    value, slope, curve = partial_likelihood(beta, sets)
    assert value == pytest.approx(textbook(beta, frame, ties), rel=1e-12)
    assert slope == pytest.approx([(textbook(beta + s, frame, ties) - textbook(beta - s, frame, ties)) / 2e-5 for s in step], rel=1e-6)
    ends = [[partial_likelihood(beta + sign * s, sets)[1] for s in step] for sign in (1, -1)]
    assert curve == pytest.approx((np.array(ends[0]) - ends[1]) / 2e-5, rel=1e-6)


def test_sums_when_the_last_is_lost_or_leaves():
    for last in (0, 1):
        frame = pd.DataFrame({"duration": [1.0, 1.0, 2.0, 2.0, 3.0], "event": [1, 0, 1, 1, last]})
        sets = risk_sets(np.array([[1.0, 2, 4, 8, 16]]), lives(frame), np.arange(5), "breslow")
        t = terms(np.zeros(1), sets)
        assert t.s1.tolist() == [[31, 28, 16][: 2 + last]] and t.d1.tolist() == [[1, 12, 16][: 2 + last]]


def test_a_weight_counts_as_so_many_customers():
    many = WORLD.loc[WORLD.index.repeat(WORLD["weight"])].drop(columns="weight")
    one, other = (CoxPH(["x", "y"], ties="breslow").fit(frame) for frame in (WORLD, many))
    assert one.params_ == pytest.approx(other.params_) and one.standard_errors_ == pytest.approx(other.standard_errors_)
    assert one.customers_ == other.customers_ and one.events_ == other.events_ and one.concordance_ == pytest.approx(other.concordance_)


def test_lines_may_be_cut_in_two():
    half = WORLD["duration"] / 2
    cut = pd.concat([WORLD.assign(duration=half, event=0, entry=0.0), WORLD.assign(entry=half)]).assign(who=[*range(len(WORLD))] * 2)
    whole, parts = CoxPH(["x", "y"], robust=True).fit(WORLD), CoxPH(["x", "y"], cluster="who").fit(cut)
    assert whole.params_ == pytest.approx(parts.params_) and whole.log_likelihood_ == pytest.approx(parts.log_likelihood_)
    assert whole.standard_errors_ == pytest.approx(parts.standard_errors_)
    assert np.isnan(parts.concordance_) and not np.isnan(whole.concordance_)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_robust_errors_are_how_far_each_customer_pulls(ties):
    """The derivative of the estimate by each weight, by differences."""
    frame = world(40, 3).assign(weight=lambda f: f["weight"].astype(float))
    model = CoxPH(["x", "y"], ties=ties, robust=True).fit(frame)
    pulls = []
    for i in range(40):
        ends = [CoxPH(["x", "y"], ties=ties).fit(frame.assign(weight=frame["weight"].where(frame.index != i, frame["weight"] * (1 + h)))).params_ for h in (1e-4, -1e-4)]
        pulls.append([(ends[0][name] - ends[1][name]) / 2e-4 for name in ("x", "y")])
    assert model.covariance_ == pytest.approx(np.array(pulls).T @ np.array(pulls), rel=1e-4)


@pytest.mark.parametrize("transform", ["km", "rank", "identity", "log"])
def test_the_proportionality_test_is_the_score_test_of_a_covariate_that_changes(transform):
    """Lines cut at every age, with x and y times g(age) as further covariates; the score and information of the likelihood there."""
    frame = world(60, 5).drop(columns="weight")
    model = CoxPH(["x", "y"]).fit(frame)
    ages = np.sort(frame.loc[frame["event"] == 1, "duration"].unique())
    gone = np.array([((frame["duration"] == t) & (frame["event"] == 1)).sum() for t in ages])
    crowd = np.array([(frame["duration"] >= t).sum() for t in ages])
    g = {"km": 1 - np.r_[1, np.cumprod(1 - gone / crowd)[:-1]], "rank": np.cumsum(gone), "identity": ages, "log": np.log(ages)}[transform]
    g = g - gone @ g / gone.sum()
    parts = []
    for before, t, value in zip(np.r_[0, ages[:-1]], ages, g, strict=True):
        here = frame[frame["duration"] >= t]
        parts.append(here.assign(entry=before, duration=t, event=here["event"].where(here["duration"] == t, 0), gx=here["x"] * value, gy=here["y"] * value))
    cut = pd.concat(parts)
    sets = risk_sets(cut[["x", "y", "gx", "gy"]].to_numpy().T, lives(cut), np.arange(len(cut)), "efron")
    _, slope, curve = partial_likelihood(np.r_[list(model.params_.values()), 0, 0], sets)
    both = slope @ np.linalg.solve(-curve, slope)
    one = []
    for k in (2, 3):
        keep = [0, 1, k]
        one.append(slope[keep] @ np.linalg.solve(-curve[np.ix_(keep, keep)], slope[keep]))
    assert model.proportional_hazards_test(transform)["statistic"].to_numpy() == pytest.approx([*one, both], rel=1e-6)


def test_the_proportionality_test_finds_what_is_planted():
    rng = np.random.default_rng(8)
    x = rng.integers(0, 2, 800)
    frame = pd.DataFrame({"duration": np.where(x == 1, rng.weibull(2.5, 800), rng.weibull(0.8, 800)), "event": 1, "x": x, "y": rng.normal(size=800)})
    found = CoxPH(["x", "y"]).fit(frame).proportional_hazards_test().set_index("covariate")["p"]
    assert found["x"] < 1e-10 and found["y"] > 0.01


def test_errors_are_those_of_repeated_worlds():
    """Standardised errors of 200 worlds: standard deviation 1 within 99.9 % bounds of chi (.838, 1.167); 90 % intervals of a survival: binomial bounds .825, .960."""
    true, z, hits = np.array([0.7, -0.4]), [], 0
    who = pd.DataFrame({"x": [0.5], "y": [1]})
    for seed in range(200):
        model = CoxPH(["x", "y"]).fit(world(150, 1000 + seed, coarse=1000).drop(columns="weight"))
        z.append((np.array(list(model.params_.values())) - true) / list(model.standard_errors_.values()))
        told = model.predict(who, [600], level=0.9).iloc[0]
        hits += told["low"] <= np.exp(-0.6 * np.exp(0.7 * 0.5 - 0.4)) <= told["high"]
    assert all(0.838 <= spread <= 1.167 for spread in np.std(z, axis=0))
    assert 0.825 <= hits / 200 <= 0.960


def test_the_baseline_of_nobody_in_particular_is_nelson_aalen():
    model = CoxPH(["x"], ties="breslow").fit(WORLD.assign(x=WORLD["x"] * 1e-9 + 5))
    assert model.baseline()["hazard"].to_numpy() == pytest.approx(nelson_aalen(WORLD).frame()["hazard"].to_numpy(), rel=0.2)
    flat = CoxPH(["x"], ties="breslow").fit(WORLD)
    flat._beta[:] = 0
    assert flat.baseline()["hazard"].to_numpy() == pytest.approx(nelson_aalen(WORLD).frame()["hazard"].to_numpy())


def test_units_do_not_matter():
    one, other = CoxPH(["x", "y"]).fit(WORLD), CoxPH(["x", "y"]).fit(WORLD.assign(x=WORLD["x"] * 1e9 + 1e12, duration=WORLD["duration"] * 1e-6))
    assert other.params_["x"] * 1e9 == pytest.approx(one.params_["x"], rel=1e-4)
    assert other.log_likelihood_ == pytest.approx(one.log_likelihood_)
    assert np.isfinite(other.survival(WORLD.assign(x=1e12), [1e-5])).all()


def test_many_rows_begin_on_some_of_them():
    frame = world(24_000, 9, coarse=1e6)
    model = CoxPH(["x", "y"]).fit(frame)
    sets = risk_sets(frame[["x", "y"]].to_numpy().T, lives(frame), np.arange(len(frame)), "efron")
    assert np.abs(partial_likelihood(np.array(list(model.params_.values())), sets)[1]).max() < 1e-3


def test_strata_have_hazards_of_their_own():
    model = CoxPH(["x", "y"], strata=["s"]).fit(WORLD)
    parts = [risk_sets(WORLD[["x", "y"]].to_numpy().T, lives(WORLD), np.flatnonzero(WORLD["s"] == s), "efron") for s in "pqr"]
    assert model.log_likelihood_ == pytest.approx(sum(partial_likelihood(np.array(list(model.params_.values())), one)[0] for one in parts))
    assert model.baseline()["stratum"].unique().tolist() == ["p", "q", "r"]
    told = model.survival(WORLD[:6], [0, 2, 1e9])
    assert (told[:, 0] == 1).all() and np.isnan(told[:, 2]).all() and (told[:, 1] < 1).all()
    with pytest.raises(ParameterError, match="z was not among"):
        model.survival(WORLD.assign(s="z"), [1])
    alone = pd.concat([WORLD, WORLD[:2].assign(s="t", event=0)])
    assert CoxPH(["x", "y"], strata=["s"]).fit(alone).params_ == pytest.approx(model.params_)


def test_summary_and_prediction():
    model = CoxPH(["x", "y"]).fit(WORLD)
    table = model.frame(0.9).set_index("covariate")
    assert table.loc["x", "hazard_ratio"] == pytest.approx(np.exp(model.params_["x"])) and table.loc["x", "low"] < np.exp(0.7) < table.loc["x", "high"]
    assert model.likelihood_ratio_test()[2] < 1e-10
    two = pd.DataFrame({"x": [1.0, 0.0], "y": [0, 0]})
    ratio = model.hazard_ratio(two)
    assert ratio[0] / ratio[1] == pytest.approx(np.exp(model.params_["x"]))
    told = model.predict(two, [1.0, 5.0])
    assert told["row"].tolist() == [0, 0, 1, 1] and (told["low"] < told["survival"]).all() and (told["survival"] < told["high"]).all()
    assert np.log(model.survival(two, [5.0])[0, 0]) / np.log(model.survival(two, [5.0])[1, 0]) == pytest.approx(ratio[0] / ratio[1])


def test_separation_is_no_estimate():
    early = WORLD.assign(early=(WORLD["duration"] <= 5).astype(int) * WORLD["event"])
    early["event"] *= early["early"]
    model = CoxPH(["x", "early"])
    with pytest.raises(ConvergenceError, match="coefficient of early grows without end"):
        model.fit(early)
    assert not hasattr(model, "params_")
    order = WORLD.assign(x=-WORLD["duration"].astype(float), event=1)   # whoever has the larger x leaves first
    with pytest.raises(ConvergenceError, match="coefficient of x grows without end"):
        CoxPH(["x"]).fit(order)
    rare = WORLD.assign(rare=(np.arange(len(WORLD)) < 3).astype(int), event=np.where(np.arange(len(WORLD)) < 3, 0, WORLD["event"]))
    with pytest.raises(ConvergenceError, match="coefficient of rare grows without end"):
        CoxPH(["x", "rare"]).fit(rare)


def test_bad_input():
    with pytest.raises(NotFittedError):
        CoxPH(["x"]).frame()
    with pytest.raises(ParameterError, match="nobody left"):
        CoxPH(["x"]).fit(WORLD.assign(event=0))
    with pytest.raises(ParameterError, match="covariate x is the same"):
        CoxPH(["x", "y"]).fit(WORLD.assign(x=3.0))
    with pytest.raises(ParameterError, match="covariate z is the same"):
        CoxPH(["x", "z"], strata=["s"]).fit(WORLD.assign(z=(WORLD["s"] == "p").astype(int)))
    with pytest.raises(ParameterError, match="x, z depend on one another"):
        CoxPH(["x", "y", "z"]).fit(WORLD.assign(z=2 * WORLD["x"] + 1))
    with pytest.raises(SchemaError, match=r"customers\.s is .*must be a number"):
        CoxPH(["s"]).fit(WORLD)
    with pytest.raises(SchemaError, match="no finite value"):
        CoxPH(["x"]).fit(WORLD.assign(x=np.nan))
    with pytest.raises(ParameterError, match="nobody left|is the same"):
        CoxPH(["x"]).fit(WORLD[:1].assign(event=1))
    for names in ("x", [], ["x", "x"], [1]):
        with pytest.raises(ParameterError, match="covariates"):
            CoxPH(names).fit(WORLD)
    with pytest.raises(ParameterError, match="ties"):
        CoxPH(["x"], ties="exact").fit(WORLD)
    model = CoxPH(["x"]).fit(WORLD)
    with pytest.raises(ParameterError, match="times"):
        model.survival(WORLD, [-1.0])
    with pytest.raises(ParameterError, match="transform"):
        model.proportional_hazards_test("square")
    with pytest.raises(ParameterError, match="all leave at the same age"):
        CoxPH(["x"]).fit(WORLD.assign(duration=np.where(WORLD["event"] == 1, 2.0, 3.0))).proportional_hazards_test()
    with pytest.raises(SchemaError, match="beyond 1e100"):
        CoxPH(["x"]).fit(WORLD.assign(x=WORLD["x"] * 1e200))


def test_the_unit_of_weights_does_not_matter():
    one = CoxPH(["x", "y"]).fit(WORLD.assign(weight=1.0)).params_
    for weight in (1e-9, 1e9):
        assert CoxPH(["x", "y"]).fit(WORLD.assign(weight=weight)).params_ == pytest.approx(one, rel=1e-6)
    rare = WORLD.assign(rare=((WORLD["event"] == 0) & (WORLD.index % 2 == 0)).astype(int), weight=1e-7)
    with pytest.raises(ConvergenceError, match="rare"):
        CoxPH(["rare"]).fit(rare)


def test_a_stratum_in_which_nobody_left():
    model = CoxPH(["x"], strata=["s"]).fit(WORLD.assign(event=np.where(WORLD["s"] == "p", 0, WORLD["event"])))
    told = model.survival(WORLD, [1.0])
    assert (told[WORLD["s"] == "p"] == 1).all() and model.baseline()["stratum"].unique().tolist() == ["q", "r"]


def test_what_says_nothing_of_a_change():
    frame = pd.DataFrame({"duration": [1.0] * 10 + [2.0] * 10, "event": [1, 0] * 5 + [0] * 9 + [1], "s": [0] * 10 + [1] * 9 + [2], "x": np.random.default_rng(3).normal(size=20)})
    found = CoxPH(["x"], strata=["s"]).fit(frame).proportional_hazards_test("identity")
    assert found["statistic"].isna().all() and found["degrees"].tolist() == [0, 0]
    with pytest.raises(ParameterError, match="age 0"):
        CoxPH(["x"]).fit(WORLD.assign(duration=np.where(WORLD.index % 10 == 0, 0, WORLD["duration"]))).proportional_hazards_test("log")
    with pytest.raises(ParameterError, match="1 of them tell nothing"):
        CoxPH(["x"], cluster="c").fit(WORLD.assign(c=1))


def test_far_from_the_data():
    model = CoxPH(["x"]).fit(WORLD)
    assert model.survival(WORLD[:2].assign(x=[1e6, -1e6]), [5.0]).tolist() == [[0.0], [1.0]]
