import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tenant_lab.core.errors import ParameterError, SchemaError
from tenant_lab.customers.survival import kaplan_meier, lives, log_rank, nelson_aalen

RNG = np.random.default_rng(1)
N = 300
WORLD = pd.DataFrame({"duration": RNG.integers(1, 30, N), "event": RNG.integers(0, 2, N), "entry": RNG.integers(-5, 10, N), "weight": RNG.integers(1, 4, N), "g": RNG.choice(list("abc"), N), "s": RNG.choice(["x", "y"], N)})
WORLD = WORLD[WORLD["entry"] < WORLD["duration"]].reset_index(drop=True)


# -- curves -----------------------------------------------------------------------------------------------------------
def by_hand(frame):
    s, out = 1.0, {}
    for t in sorted(frame.loc[frame["event"] == 1, "duration"].unique()):
        here = frame[(frame["entry"] < t) & (frame["duration"] >= t)]
        s *= 1 - here.loc[(here["duration"] == t) & (here["event"] == 1), "weight"].sum() / here["weight"].sum()
        out[t] = s
    return out


def test_late_entry_and_weights_by_hand():
    for name, part in kaplan_meier(WORLD, "g").frame().groupby("group"):
        assert dict(zip(part["time"], part["survival"], strict=True)) == pytest.approx(by_hand(WORLD[WORLD["g"] == name]))


def test_a_weight_counts_as_so_many_customers():
    many = WORLD.loc[WORLD.index.repeat(WORLD["weight"])].drop(columns="weight")
    for function in (kaplan_meier, nelson_aalen):
        pd.testing.assert_frame_equal(function(WORLD).frame(), function(many).frame())
    assert log_rank(WORLD, "g").statistic == pytest.approx(log_rank(many, "g").statistic)


def test_groups_of_two_columns_are_those_of_one():
    both = kaplan_meier(WORLD, ["g", "s"]).frame()
    one = kaplan_meier(WORLD.assign(both=WORLD["g"] + ", " + WORLD["s"]), "both").frame()
    pd.testing.assert_frame_equal(both, one)


def test_intervals_hold_what_they_promise():
    """95 % of the intervals at one age over 400 worlds: 99.9 % binomial bounds .909 and .981."""
    rng, hits = np.random.default_rng(5), {"survival": 0, "hazard": 0}
    for _ in range(400):
        until, seen = rng.exponential(1.0, 80), rng.exponential(1.5, 80)
        frame = pd.DataFrame({"duration": np.minimum(until, seen), "event": (until <= seen).astype(int)})
        for function, what, true in ((kaplan_meier, "survival", np.exp(-0.7)), (nelson_aalen, "hazard", 0.7)):
            at = function(frame).at(0.7)
            hits[what] += at["low"][0] <= true <= at["high"][0]
    assert all(0.909 <= n / 400 <= 0.981 for n in hits.values()), hits


def test_the_curve_before_its_first_and_beyond_its_last_age():
    curves = kaplan_meier(pd.DataFrame({"duration": [2.0, 3.0, 5.0], "event": [1, 1, 0]}))
    at = curves.at([0, 1.9, 2, 5, 5.1])
    assert at["survival"].tolist()[:4] == pytest.approx([1, 1, 2 / 3, 1 / 3]) and np.isnan(at["survival"].iloc[4])
    assert at["low"].iloc[0] == at["high"].iloc[0] == 1.0
    assert curves.median()[["median", "high"]].to_numpy().tolist() == [[3.0, np.inf]]


def test_when_the_last_one_leaves_the_interval_stays():
    last = kaplan_meier(pd.DataFrame({"duration": [1.0, 2.0, 3.0], "event": 1})).frame()
    assert last["survival"].iloc[-1] == 0.0 and last["low"].iloc[-1] == 0.0
    assert last["high"].iloc[-1] == last["high"].iloc[-2] < 1
    alone = kaplan_meier(pd.DataFrame({"duration": [0.0], "event": [1]}))
    assert alone.frame()[["time", "survival", "low", "high"]].to_numpy().tolist() == [[0, 0, 0, 1]]


def test_all_gone_before_others_came_is_said():
    frame = pd.DataFrame({"duration": [1.0, 5.0, 6.0], "event": 1, "entry": [0, 2, 2]})
    assert "left, while others came" in kaplan_meier(frame).notes[0]
    assert not kaplan_meier(frame.assign(entry=0)).notes


def test_a_group_in_which_nobody_left_is_said_and_left_out():
    frame = pd.DataFrame({"duration": [1.0, 2.0], "event": [1, 0], "g": ["a", "b"]})
    curves = kaplan_meier(frame, "g")
    assert curves.notes == ("b: nobody left, so there is no curve",) and curves.frame()["group"].unique().tolist() == ["a"]
    assert "nobody left" in curves._repr_html_()


def test_pictures_say_what_they_show():
    curves = kaplan_meier(WORLD, "g")
    assert "are left at 29" in curves.plot().layout.title.text
    lines = [trace for trace in curves.plot().data if trace.name]
    assert [trace.name for trace in lines] == ["a", "b", "c"] and lines[0].y[0] == 1
    assert nelson_aalen(WORLD).plot().layout.yaxis.title.text == "cumulative hazard"
    assert "No difference can be told" in log_rank(WORLD, "g").plot().layout.title.text


# -- the log-rank test ------------------------------------------------------------------------------------------------
def test_log_rank_equals_statsmodels():
    duration = pytest.importorskip("statsmodels.duration.api")
    plain = WORLD.assign(weight=1)
    t, e, g, stratum, late = (plain[c].to_numpy() for c in ("duration", "event", "g", "s", "entry"))
    both = [(duration.survdiff(t, e, g, entry=late), log_rank(plain, "g")), (duration.survdiff(t, e, g, strata=stratum), log_rank(plain.drop(columns="entry"), "g", "s")),
            (duration.survdiff(t, e, g, weight_type="fh", fh_p=0.5), log_rank(plain.drop(columns="entry"), "g", rho=0.5))]
    for expected, found in both:
        assert (found.statistic, found.p) == pytest.approx(expected, rel=1e-9)
        assert found.degrees == 2


def test_log_rank_keeps_its_level():
    """5 % of 600 tests of groups that are alike: 99.9 % binomial bounds .025 and .083."""
    rng, hits = np.random.default_rng(7), 0
    for _ in range(600):
        frame = pd.DataFrame({"duration": rng.exponential(1.0, 60).round(1) + 0.1, "event": rng.random(60) < 0.7, "g": rng.integers(0, 3, 60)})
        hits += log_rank(frame, "g").p < 0.05
    assert 0.025 <= hits / 600 <= 0.083


def test_groups_that_never_meet():
    frame = pd.DataFrame({"duration": [1.0, 2.0, 11.0, 12.0, 12.0, 2.0], "event": 1, "entry": [0, 0, 10, 10, 10, 0], "g": list("aabbcd")})
    test = log_rank(frame, "g")
    assert test.degrees == 2 and "never there together" in test.notes[0]
    with pytest.raises(ParameterError, match="more than one group was there"):
        log_rank(frame[frame["g"].isin(["a", "b"])], "g")


# -- bad input --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("change", "message"), [
    ({"duration": -1.0}, "duration: .* needs numbers from 0"), ({"duration": np.nan}, "no finite value"), ({"event": 2}, "event: .* needs 0 or 1"), ({"event": "yes"}, "must be a number"),
    ({"entry": 40.0}, "duration: .* above entry"), ({"weight": 0.0}, "weight: .* above 0")])
def test_bad_rows(change, message):
    with pytest.raises(SchemaError, match=message):
        lives(WORLD.assign(**change))


def test_bad_arguments():
    with pytest.raises(SchemaError, match="no rows"):
        kaplan_meier(WORLD[:0])
    with pytest.raises(SchemaError, match="event"):
        kaplan_meier(WORLD[["duration"]])
    with pytest.raises(SchemaError, match="g: 1 rows have no value"):
        kaplan_meier(WORLD.assign(g=[None, *WORLD["g"][1:]]), "g")
    with pytest.raises(ParameterError, match="level"):
        kaplan_meier(WORLD, level=95)
    with pytest.raises(ParameterError, match="times"):
        kaplan_meier(WORLD).at("soon")
    with pytest.raises(ParameterError, match="times"):
        kaplan_meier(WORLD).at(-1)
    with pytest.raises(ParameterError, match="kaplan_meier"):
        nelson_aalen(WORLD).median()
    with pytest.raises(ParameterError, match="rho"):
        log_rank(WORLD, "g", rho=9)


def test_the_median_is_not_missed_by_rounding():
    for n in range(2, 200, 2):
        assert kaplan_meier(pd.DataFrame({"duration": np.arange(1.0, n + 1), "event": 1})).median()["median"][0] == n / 2


def test_a_number_that_is_none_is_a_missing_group():
    table = pa.table({"duration": [1.0, 2, 3, 4], "event": [1, 1, 1, 1], "g": [1.0, 1.0, float("nan"), 2.0]})
    for function in (kaplan_meier, log_rank):
        with pytest.raises(SchemaError, match="g: 1 rows have no value"):
            function(table, "g")


def test_names_of_groups_do_not_run_into_each_other():
    odd = WORLD.assign(a=np.where(WORLD.index % 2, "x, y", "x"), b=np.where(WORLD.index % 2, "z", "y, z"))
    assert kaplan_meier(odd, ["a", "b"]).frame()["group"].nunique() == 2


def test_fractional_weights_do_not_void_the_log_rank_test():
    frame = pd.DataFrame({"duration": np.arange(1.0, 61), "event": 1, "weight": 1.0, "g": ["a"] * 30 + ["b"] * 30})
    whole = log_rank(frame, "g").statistic
    frame.loc[[58, 59], "weight"] = [0.5, 0.50001]
    assert log_rank(frame, "g").statistic == pytest.approx(whole, rel=0.1)
    assert log_rank(frame.assign(weight=0.01), "g").statistic == pytest.approx(0.01 * whole, rel=0.1)


def test_rows_of_a_lazy_frame_are_read_once():
    """Its rows may come in another order each time."""
    big = pd.DataFrame({"id": range(20_000), "duration": RNG.exponential(1, 20_000)}).assign(event=1, g=lambda f: np.where(f["duration"] > 1, "late", "soon"))
    shuffled = duckdb.connect().from_df(big).query("t", "SELECT * FROM t ORDER BY random()")
    assert log_rank(shuffled, "g").statistic == pytest.approx(log_rank(big, "g").statistic)


def test_names_of_columns_are_text():
    for by in (5, [5], ["g", None], np.array(["g"])):
        with pytest.raises(ParameterError, match="needs names of columns"):
            kaplan_meier(WORLD, by)
