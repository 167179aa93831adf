import json
from itertools import permutations

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.metrics import adjusted_rand_score, silhouette_score

from tenant_lab.core.errors import NotFittedError, ParameterError, SchemaError
from tenant_lab.customers import segments
from tenant_lab.customers.drift import drift
from tenant_lab.customers.segments import Segmentation, jaccards, learn_measure

FAST = {"ks": (2, 3, 4), "resamples": 10}


def planted(seed, n=450):
    """Three groups, 6 standard deviations or more apart in the logarithm of skewed features, and a feature of noise."""
    rng = np.random.default_rng(seed)
    group = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    centre = np.array([[0, 0, 1], [3, 0, 1], [3, 3, 1]])[group]
    spent, visits, noise = np.exp(centre + rng.normal(0, 0.5, (n, 3))).T
    return pd.DataFrame({"customer_id": [f"c{i:05d}" for i in range(n)], "spent": 10 * spent, "visits": visits, "noise": noise}), group


FRAME, GROUP = planted(0)
MODEL = Segmentation(**FAST).fit(FRAME)


@pytest.mark.parametrize("seed", range(4))
def test_planted_groups_are_found(seed):
    frame, group = planted(seed + 10)
    model = Segmentation(seed=seed, **FAST).fit(frame)
    assert model.k_ == 3 and adjusted_rand_score(group, model.assign(frame)["segment"]) >= 0.95


@pytest.mark.parametrize("kind", ["normal", "elongated", "uniform", "lognormal"])
def test_a_cloud_is_one_segment(kind):
    """None of 3 seeds a kind; in the notebook's trial none of 20."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x = {"normal": lambda r: r.normal(size=(400, 3)), "elongated": lambda r: r.normal(size=(400, 1)) + r.normal(0, 0.3, (400, 3)),
             "uniform": lambda r: r.uniform(size=(400, 2)), "lognormal": lambda r: np.exp(r.normal(size=(400, 1)) + r.normal(0, 0.5, (400, 2)))}[kind](rng)
        frame = pd.DataFrame(x).add_prefix("x").assign(customer_id=range(400))
        model = Segmentation(seed=seed, **FAST).fit(frame)
        assert model.k_ == 1 and model.names_ == ("everybody",) and "one segment" in model.notes_[-1]
        assert (model.assign(frame)["segment"] == 1).all()
        if kind == "elongated":   # its halves are stable: the comparison with clouds is what tells
            assert model.choices_["stability"].iloc[0] >= 0.75 and model.choices_["cloud"].notna().any()


def test_jaccards_by_hand():
    """A = {0,1,2,3}, B = {4,5}, found as {0,1,2}, {3,4}, {5}: 3/4, and 1/2 for {4,5} with {5}."""
    assert jaccards(np.array([0, 0, 0, 0, 1, 1]), np.array([2, 2, 2, 0, 0, 1])).tolist() == pytest.approx([3 / 4, 1 / 2])
    missing = jaccards(np.array([0, 2]), np.array([1, 0]))
    assert missing[[0, 2]].tolist() == [1, 1] and np.isnan(missing[1])


def test_jaccards_are_those_of_sets():
    rng = np.random.default_rng(0)
    one, two = rng.integers(0, 4, 60), rng.integers(0, 5, 60)
    sets = [{int(i) for i in np.flatnonzero(one == n)} for n in range(4)], [{int(i) for i in np.flatnonzero(two == n)} for n in range(5)]
    assert jaccards(one, two).tolist() == pytest.approx([max(len(a & b) / len(a | b) for b in sets[1]) for a in sets[0]])


def test_the_choice_is_the_stable_one_of_the_highest_silhouette():
    table = MODEL.choices_
    good = table[(table["stability"] >= 0.75) & (table["smallest"] >= 0.02)]
    assert good.loc[good["silhouette"].idxmax(), "k"] == MODEL.k_ == 3
    assert (table["stability"] <= table["mean_stability"]).all() and table["cloud"].notna().tolist() == [False, True, False]
    z = np.stack([one.comparable(FRAME[one.name].to_numpy()) for one in MODEL._measures], axis=1)
    assert table["silhouette"].iloc[1] == pytest.approx(silhouette_score(z, MODEL.assign(FRAME)["segment"]), abs=1e-6)


def test_a_handful_of_odd_ones_is_no_segment():
    """1.5 % far away would be found each time; with 4 % they are a segment."""
    rng = np.random.default_rng(0)
    for odd, k in ((6, 1), (16, 2)):
        frame = pd.DataFrame(np.r_[rng.normal(size=(400 - odd, 2)), rng.normal(12, 1, (odd, 2))] + 30, columns=["a", "b"]).assign(customer_id=range(400))
        model = Segmentation(ks=[2], resamples=10).fit(frame)
        assert model.k_ == k and model.choices_["smallest"].iloc[0] == odd / 400 and model.choices_["stability"].iloc[0] > 0.95


def test_measures_take_off_skew_and_know_no_units():
    rng = np.random.default_rng(0)
    money, calm = np.exp(rng.normal(3, 1.2, 4000)), rng.normal(100, 5, 4000)
    bent, plain = learn_measure("money", money), learn_measure("calm", calm)
    assert bent.bend == pytest.approx(np.quantile(np.clip(money, bent.low, bent.high), 0.1)) and plain.bend == 0
    assert abs(pd.Series(bent.comparable(money)).skew()) < 0.5 < pd.Series(money).skew()
    for x in (money, calm):
        one, other = learn_measure("x", x), learn_measure("x", 1000 * x)
        assert other.comparable(1000 * x) == pytest.approx(one.comparable(x), abs=1e-9)
        assert (np.diff(one.comparable(np.sort(x), clip=False)) >= 0).all()   # monotone
    assert bent.comparable(np.array([-1e9, 1e9])).tolist() == bent.comparable(np.array([bent.low, bent.high])).tolist() and bent.comparable(np.array([1e9]), clip=False) > 2
    assert bent.comparable(np.array([np.nan])) == bent.comparable(np.array([np.median(money)]))


@pytest.mark.parametrize("change", [lambda f: f.assign(spent=f["spent"] * 1000), lambda f: f.sample(frac=1, random_state=1), pl.from_pandas, lambda f: f.assign(plan="a")])
def test_units_order_and_kind_of_frame_change_nothing(change):
    frame = change(FRAME)
    model = Segmentation(**FAST).fit(frame)
    found = model.assign(frame).set_index("customer_id")["segment"]
    pd.testing.assert_frame_equal(model.choices_, MODEL.choices_)   # the same customers were drawn
    assert found[FRAME["customer_id"]].tolist() == MODEL.assign(FRAME)["segment"].tolist()


def test_assigning_is_to_the_nearest_centre_and_without_refit():
    before = FRAME.copy()
    found = MODEL.assign(FRAME)
    pd.testing.assert_frame_equal(FRAME, before)
    assert found["segment"].value_counts().sort_index().tolist() == MODEL.profiles().frame()["customers"].tolist()
    assert found["customer_id"].tolist() == FRAME["customer_id"].tolist() and found["unlike"].mean() <= 0.01
    one = MODEL.assign(FRAME.iloc[[7]].assign(more="x"))
    assert one.iloc[0].tolist() == found.iloc[7].tolist()
    units = np.array([[m.comparable(FRAME[m.name].to_numpy(), clip) for m in MODEL._measures] for clip in (True, False)]).transpose(0, 2, 1)
    away = np.linalg.norm(units[0][:, None] - MODEL._centres, axis=2)
    assert (away.argmin(axis=1) + 1 == found["segment"]).all()
    assert found["distance"].to_numpy() == pytest.approx(np.linalg.norm(units[1] - MODEL._centres[found["segment"] - 1], axis=1))
    strange = MODEL.assign(pd.DataFrame({"customer_id": ["new", "gap"], "spent": [1e9, np.nan], "visits": [1e9, np.nan], "noise": [3.0, np.nan]}))
    assert strange["unlike"].tolist() == [True, False]


def test_one_customer_moves_nothing():
    """A value beyond the 99 % is drawn in, whatever it is."""
    row = int(FRAME["spent"].idxmax())
    frame = FRAME.assign(spent=FRAME["spent"].where(FRAME.index != row, 1e15))
    found, before = (Segmentation(**FAST).fit(frame).assign(frame), MODEL.assign(FRAME))
    assert (found["segment"] == before["segment"]).all()


def test_many_customers_are_fitted_from_the_centres_of_a_sample(monkeypatch):
    monkeypatch.setattr(segments, "CHOOSE", 300)
    frame, group = planted(5, 1500)
    model = Segmentation(**FAST).fit(frame)
    assert model.k_ == 3 and adjusted_rand_score(group, model.assign(frame)["segment"]) >= 0.95
    z = np.stack([one.comparable(frame[one.name].to_numpy()) for one in model._measures], axis=1)
    means = pd.DataFrame(z).groupby(model.assign(frame)["segment"].to_numpy()).mean().to_numpy()
    assert model._centres == pytest.approx(means, abs=0.05)   # of all 1,500


def test_words_are_true():
    profiles = MODEL.profiles()
    table, labels = profiles.table, MODEL.assign(FRAME)["segment"].to_numpy()
    for line in table.itertuples():
        own, others = (FRAME.loc[labels == line.segment, line.feature].to_numpy(), FRAME.loc[labels != line.segment, line.feature].to_numpy())
        assert line.delta == pytest.approx(np.sign(own[:, None] - others).mean()) and line.median == np.median(own) and line.others_median == np.median(others)
    assert len(set(profiles.names)) == 3 and not any("noise" in name for name in profiles.names)
    words = profiles.frame()["words"].tolist()
    for line in table[table["delta"].abs() >= 0.33].itertuples():
        assert f"{'high' if line.delta > 0 else 'low'} {line.feature} (median" in words[line.segment - 1]
    assert profiles.frame()["share"].sum() == pytest.approx(1) and profiles.frame()["customers"].is_monotonic_decreasing


def test_equal_medians_are_told_by_means():
    """Most are at 0 in all segments: medians say nothing, and `high` has to be true of the means."""
    data = pd.DataFrame({"x": [0.0] * 6 + [5.0] * 4 + [0.0] * 10, "y": [0.0] * 10 + [1.0] * 10})
    table = segments._compared(data, np.repeat([0, 1], 10), 2)
    assert segments._names(table, 2) == ("very low y, high x", "very high y, low x")
    assert table["delta"].tolist() == pytest.approx([0.4, -1.0, -0.4, 1.0])
    assert "high x (mean 2.00; others 0.00)" in segments.Profiles(table, ("a", "b")).frame()["words"][0]


def test_names_differ_where_nothing_tells():
    table = segments._compared(pd.DataFrame({"x": np.tile([1.0, 2.0], 30)}), np.repeat([0, 1, 2], 20), 3)
    assert len(set(segments._names(table, 3))) == 3


def test_state_travels_through_json():
    kept = Segmentation.restore(json.loads(json.dumps(MODEL.state(), allow_nan=False)))
    pd.testing.assert_frame_equal(kept.assign(FRAME), MODEL.assign(FRAME))
    pd.testing.assert_frame_equal(kept.choices_, MODEL.choices_)
    pd.testing.assert_frame_equal(kept.profiles().frame(), MODEL.profiles().frame())
    assert kept.state() == MODEL.state() and kept.names_ == MODEL.names_ and kept.notes_ == MODEL.notes_


def test_one_segment_travels_too():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=["a", "b"]).assign(customer_id=range(60))
    model = Segmentation(ks=[2], resamples=5).fit(frame)
    kept = Segmentation.restore(json.loads(json.dumps(model.state(), allow_nan=False)))
    assert kept.state() == model.state() and kept.profiles().frame()["words"].tolist() == ["all customers: one segment"]
    assert "one segment" in kept.profiles().plot().layout.title.text and kept.profiles()._repr_html_()


@pytest.mark.parametrize("name", [name for name in MODEL.state()])
def test_states_that_are_not_whole(name):
    with pytest.raises(SchemaError, match="segmentation"):
        Segmentation.restore({key: value for key, value in MODEL.state().items() if key != name})


@pytest.mark.parametrize("change", [{"kind": "churn"}, {"centres": [[0.0, 0.0, 0.0]]}, {"limits": [1.0]}, {"measures": MODEL.state()["measures"][:2]}, {"measures": [{**one, "scale": 0.0} for one in MODEL.state()["measures"]]},
                                    {"table": MODEL.state()["table"][1:]}, {"segment_names": ["a"]}, {"limits": [None, 1.0, 1.0]}, {"ks": "all"}, {"centres": "x"}, {"measures": [{**one, "low": 1e9} for one in MODEL.state()["measures"]]}])
def test_states_that_do_not_fit(change):
    with pytest.raises(SchemaError, match="segmentation"):
        Segmentation.restore(MODEL.state() | change)


# ---- drift ----
def test_drift_by_hand():
    """Of 450 customers 100 are gone, 50 are new, and 60 of segment 2 go over to 1."""
    labels = MODEL.assign(FRAME)["segment"].to_numpy()
    typical = {n: FRAME.iloc[int(np.flatnonzero(labels == n)[0])] for n in (1, 2, 3)}
    def frame_of(who):
        return pd.DataFrame([{**typical[n], "customer_id": name} for name, n in who])
    before = [(f"a{i}", 1) for i in range(200)] + [(f"b{i}", 2) for i in range(150)] + [(f"c{i}", 3) for i in range(100)]
    after = [(name, 1 if name in {f"b{i}" for i in range(60)} else n) for name, n in before if n < 3] + [(f"n{i}", 1) for i in range(50)]
    found = drift(frame_of(before), frame_of(after), MODEL)
    table = found.frame()
    assert table["before"].tolist() == pytest.approx([200 / 450, 150 / 450, 100 / 450]) and table["after"].tolist() == pytest.approx([310 / 400, 90 / 400, 0])
    assert found.moves.values.tolist() == [[0, 1, 50], [1, 1, 200], [2, 1, 60], [2, 2, 90], [3, 0, 100]]
    p, q = np.array([200.5, 150.5, 100.5]) / 451.5, np.array([310.5, 90.5, 0.5]) / 401.5
    assert found.psi == pytest.approx(((q - p) * np.log(q / p)).sum()) and "much has changed" in found.notes[1] and "segment 3" in found.notes[2]
    x, y = dict(before), dict(after)
    steps = [((y[i] == 1) - 310 / 400) / 400 if i in y else 0.0 for i in x | y]
    spread = sum((step - (((x[i] == 1) - 200 / 450) / 450 if i in x else 0.0)) ** 2 for i, step in zip(x | y, steps, strict=True))
    assert table["high"].iloc[0] - table["difference"].iloc[0] == pytest.approx(1.959964 * np.sqrt(spread))
    assert "grew" in found.plot().layout.title.text and "stayed" in found.plot("moves").layout.title.text and found._repr_html_()
    with pytest.raises(ParameterError, match="what"):
        found.plot("psi")


@pytest.mark.parametrize("overlap", ["none", "some", "all"])
def test_the_interval_covers_the_difference(overlap):
    """95 % in 200 worlds, within 4 standard errors (1.5 points each); paired customers whose segments agree, and new ones of another mix."""
    rng, hits, widths = np.random.default_rng(1), 0, []
    labels = MODEL.assign(FRAME)["segment"].to_numpy()
    typical = FRAME.iloc[[int(np.flatnonzero(labels == n)[0]) for n in (1, 2)]].drop(columns="customer_id")
    for _ in range(200):
        first = (rng.random(300) < 0.3).astype(int)
        stay = {"none": 0, "some": 200, "all": 300}[overlap]
        kept = np.where(rng.random(stay) < 0.15, 1 - first[:stay], first[:stay])   # expected share .3 * .85 + .7 * .15 = .36
        new = (rng.random(0 if overlap == "all" else 150) < 0.5).astype(int)
        second, names = np.r_[kept, new], np.r_[np.arange(stay), np.arange(1000, 1000 + len(new))]
        truth = (0.36 * stay + 0.5 * len(new)) / len(second) - 0.3
        line = drift(typical.iloc[first].assign(customer_id=np.arange(300)), typical.iloc[second].assign(customer_id=names), MODEL).table.iloc[1]
        hits += line["low"] <= truth <= line["high"]
        widths.append(line["high"] - line["low"])
    assert hits / 200 == pytest.approx(0.95, abs=0.062)
    if overlap == "all":   # paired: far narrower than two samples would be
        assert np.mean(widths) < 0.75 * 2 * 1.96 * np.sqrt(0.3 * 0.7 / 300 + 0.36 * 0.64 / 300)


def test_the_same_frame_does_not_drift():
    found = drift(FRAME, FRAME, MODEL)
    assert found.psi == 0 and (found.table[["difference", "low", "high"]].to_numpy() == 0).all() and found.unlike_before == found.unlike_after
    assert "No share moved" in found.plot().layout.title.text and found.plot("moves").layout.title.text.startswith("100%")
    other = FRAME.assign(customer_id=FRAME["customer_id"] + "x")
    assert "No customer" in drift(FRAME, other, MODEL).plot("moves").layout.title.text


# ---- bad input, odd input ----
SMALL = pd.DataFrame({"customer_id": [f"c{i}" for i in range(40)], "a": np.arange(40.0), "b": np.arange(40.0)[::-1] ** 2})


@pytest.mark.parametrize(("frame", "said"), [
    (SMALL.iloc[:0], "no rows"), (SMALL.iloc[:1], "at least 10"), (SMALL.iloc[:9], "9 of them distinct"), (pd.concat([SMALL.iloc[:5]] * 8).assign(customer_id=range(40)), "5 of them distinct"),
    (SMALL.assign(a=1.0, b=2.0), "1 of them distinct"), (SMALL.assign(a=np.nan, b=np.nan), "at least 10"), (SMALL.assign(a=np.inf), "features.a: 40 rows are infinite"),
    (SMALL.assign(customer_id="x"), "39 rows repeat"), (SMALL.assign(customer_id=[None, *range(39)]), "1 rows have no value"), (SMALL.drop(columns="customer_id"), "lacks customer_id"), (SMALL[["customer_id"]], "no column of numbers"),
    (SMALL[["customer_id"]].assign(plan="x"), "no column of numbers")])
def test_bad_frames(frame, said):
    with pytest.raises(SchemaError, match=said):
        Segmentation(ks=[2], resamples=5).fit(frame)


@pytest.mark.parametrize(("settings", "error", "said"), [
    ({"ks": []}, ParameterError, "ks"), ({"ks": [1, 2]}, ParameterError, "ks"), ({"ks": [2.5]}, ParameterError, "ks"), ({"ks": 3}, ParameterError, "ks"), ({"ks": "23"}, ParameterError, "ks"), ({"ks": [51]}, ParameterError, "ks"),
    ({"resamples": 1}, ParameterError, "resamples"), ({"seed": -1}, ParameterError, "seed"), ({"names": "a"}, ParameterError, "names"), ({"names": []}, ParameterError, "names"), ({"names": ["a", "a"]}, ParameterError, "names"),
    ({"names": ["customer_id"]}, ParameterError, "names"), ({"names": ["a", "z"]}, SchemaError, "lacks z"), ({"names": ["a", "plan"]}, SchemaError, "plan: is text")])
def test_bad_settings(settings, error, said):
    with pytest.raises(error, match=said):
        Segmentation(**settings).fit(SMALL.assign(plan="x"))


def test_before_fit_and_wrong_frames():
    for ask in (lambda: Segmentation().assign(SMALL), lambda: Segmentation().profiles(), lambda: Segmentation().state(), lambda: drift(SMALL, SMALL, Segmentation())):
        with pytest.raises(NotFittedError, match="fit"):
            ask()
    with pytest.raises(SchemaError, match="lacks visits"):
        MODEL.assign(FRAME.drop(columns="visits"))
    with pytest.raises(SchemaError, match="spent: is text"):
        MODEL.assign(FRAME.assign(spent="much"))
    with pytest.raises(SchemaError, match="text in one frame"):
        drift(FRAME, FRAME.assign(customer_id=range(len(FRAME))), MODEL)
    with pytest.raises(ParameterError, match="segmentation"):
        drift(FRAME, FRAME, "MODEL")
    with pytest.raises(ParameterError, match="no data frame"):
        MODEL.assign("FRAME")


def test_what_is_left_out_or_filled_is_said():
    frame = FRAME.assign(plan="a", one=1.0, none=np.nan, noise=FRAME["noise"].where(FRAME.index >= 45))
    model = Segmentation(**FAST).fit(frame)
    said = " | ".join(model.notes_)
    assert "no numbers: plan" in said and "one, none" in said and "noise (10.0%)" in said and model.k_ == 3
    assert model.profiles().notes == model.notes_


def test_few_customers_and_many_ties():
    twelve = pd.DataFrame({"customer_id": range(12), "a": np.r_[np.arange(6.0), np.arange(6.0) + 100]})
    model = Segmentation().fit(twelve)
    assert model.k_ == 2 and model.choices_["k"].tolist() == [2] and "3, 4, 5, 6, 7, 8 segments are not tried" in model.notes_[0]
    assert Segmentation(ks=[8]).fit(twelve).k_ == 1
    ties = pd.DataFrame({"customer_id": range(1000), "a": np.minimum(np.arange(1000), 60) // 2 * (np.arange(1000) < 60) * 1.0})
    assert Segmentation(resamples=5).fit(ties).assign(ties)["segment"].notna().all()


def test_a_failed_fit_leaves_the_one_before():
    model = Segmentation(**FAST).fit(FRAME)
    with pytest.raises(SchemaError):
        model.fit(SMALL.iloc[:3])
    pd.testing.assert_frame_equal(model.assign(FRAME), MODEL.assign(FRAME))


def test_numbers_of_a_seed_are_those_of_the_seed():
    assert Segmentation(seed=3, **FAST).fit(FRAME).state() == Segmentation(seed=3, **FAST).fit(FRAME).state()
    one, other = (Segmentation(seed=s, **FAST).fit(FRAME).assign(FRAME)["segment"].to_numpy() for s in (1, 2))
    assert max((one == np.array(order)[other - 1]).mean() for order in permutations((1, 2, 3))) > 0.99


def test_pictures():
    fig = MODEL.profiles().plot()
    assert "stand out by" in fig.layout.title.text and "%" in fig.layout.title.text and len(fig.data[0].y) == 3
    assert "<table" in MODEL.profiles()._repr_html_()
