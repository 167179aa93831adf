import numpy as np
import pandas as pd
import pytest

from tenant_lab.core.errors import ParameterError, SchemaError
from tenant_lab.customers.incidence import cumulative_incidence
from tenant_lab.customers.survival import kaplan_meier


def world(n=200, seed=0):
    rng = np.random.default_rng(seed)
    a, b, seen = rng.exponential(1 / 0.6, n), rng.exponential(1 / 0.4, n), rng.uniform(0.2, 3, n)
    return pd.DataFrame({"duration": np.minimum.reduce([a, b, seen]), "event": (np.minimum(a, b) < seen).astype(int), "end_reason": np.where(a < b, "a", "b"), "g": rng.choice(["x", "y"], n)})


def test_one_reason_is_the_complement_of_kaplan_meier():
    """And its variance Greenwood's: the same interval, read on the scale of log(-log F) instead of S."""
    one = world().assign(end_reason="left")
    found, curve = cumulative_incidence(one).frame(), kaplan_meier(one).frame()
    assert found["incidence"].to_numpy() == pytest.approx(1 - curve["survival"].to_numpy())
    f, s = found["incidence"], curve["survival"]
    ours = np.log(np.log(found["low"]) / np.log(f)) * f * np.abs(np.log(f))
    theirs = np.log(np.log(curve["low"]) / np.log(s)) * s * np.abs(np.log(s))
    assert ours.iloc[:-1].to_numpy() == pytest.approx(theirs.iloc[:-1].to_numpy(), rel=1e-6)


def test_by_hand():
    """Four leave one after another: a, b, a, a, each a quarter."""
    found = cumulative_incidence(pd.DataFrame({"duration": [1, 2, 3, 4], "event": 1, "end_reason": list("abaa")})).frame()
    assert found.loc[found["reason"] == "a", "incidence"].tolist() == [0.25, 0.25, 0.5, 0.75]
    assert found.loc[found["reason"] == "b", "incidence"].tolist() == [0, 0.25, 0.25, 0.25] and found.loc[found["reason"] == "b", "low"].iloc[0] == 0


def test_reasons_and_stayers_make_one_in_each_group():
    found = cumulative_incidence(world(), by="g").frame()
    for name, curve in kaplan_meier(world(), "g").frame().groupby("group"):
        ends = found[found["group"] == name].groupby("time")["incidence"].sum()
        assert (ends.to_numpy() + curve["survival"].to_numpy()) == pytest.approx(1.0)


def test_intervals_hold_what_they_promise():
    """95 % of the intervals at one age over 400 worlds: 99.9 % binomial bounds .909 and .981."""
    truth, hits = 0.6 * (1 - np.exp(-1.0)), 0
    for seed in range(400):
        row = cumulative_incidence(world(150, seed)).frame().query("reason == 'a' and time <= 1.0").iloc[-1]
        hits += row["low"] <= truth <= row["high"]
    assert 0.909 <= hits / 400 <= 0.981


def test_weights_late_entry_and_pictures():
    frame = world(60)
    weight = np.random.default_rng(1).integers(1, 4, 60)
    many = frame.loc[frame.index.repeat(weight)]
    pd.testing.assert_frame_equal(cumulative_incidence(frame.assign(weight=weight)).frame(), cumulative_incidence(many).frame())
    late = cumulative_incidence(frame.assign(entry=frame["duration"] * 0.3)).frame()
    assert (late["incidence"].between(0, 1)).all() and (late["low"] <= late["incidence"]).all() and (late["incidence"] <= late["high"]).all()
    assert "for the reason a" in cumulative_incidence(frame).plot().layout.title.text
    assert cumulative_incidence(frame.assign(event=frame["event"] * (frame["g"] == "x")), by="g").notes == ("y: nobody left",)


def test_bad_input():
    with pytest.raises(SchemaError, match="rows of customers who left have no value"):
        cumulative_incidence(world().assign(end_reason=None))
    with pytest.raises(SchemaError, match="why"):
        cumulative_incidence(world(), "why")
    with pytest.raises(ParameterError, match="nobody left"):
        cumulative_incidence(world().assign(event=0))
    with pytest.raises(ParameterError, match="level"):
        cumulative_incidence(world(), level=2)
