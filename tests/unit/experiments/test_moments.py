"""Moments from any engine, in parts or at once: beside NumPy's means and covariances of the units themselves."""

import datetime as dt
from dataclasses import replace

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy import stats

from tenant_lab.core.arrays import save_arrays, saved_arrays
from tenant_lab.core.errors import ParameterError, SchemaError
from tenant_lab.experiments.fixed import effects
from tenant_lab.experiments.metrics import Mean, Proportion, Quantile, Ratio, Retention
from tenant_lab.experiments.moments import PARTS, moments, needed, samples, save_moments, saved_moments, shifted

METRICS = [Mean("x", covariate="y"), Mean("x", winsorize=(2, 6), name="limited"), Proportion("b", covariate="y"), Ratio("x", "s", covariate=[("y", "s"), "x0"]), Retention("r", 7, filter="f"), Quantile("x", name="middle")]


def units(n=600, seed=0, shift=0.0, scale=1.0):
    rng = np.random.default_rng(seed)
    y = rng.normal(0, 1, n)
    return pl.DataFrame({"variant": rng.choice(["A", "B", "C"], n), "seg": rng.choice(["u", "v"], n), "day": [dt.datetime(2024, 3, 1, 23, 30) + dt.timedelta(days=int(k)) for k in rng.integers(0, 9, n)],
                         "shop": rng.integers(0, 40, n), "y": shift + scale * y, "x": shift + scale * (4 + y + rng.normal(0, 1, n)), "x0": rng.normal(0, 1, n), "s": 1.0 + rng.poisson(3, n),
                         "b": rng.random(n) < 0.3, "r": rng.integers(0, 2, n), "age": rng.uniform(0, 30, n), "f": rng.random(n) < 0.8})


def engines(frame):
    table = frame.to_arrow()
    return {"pandas": frame.to_pandas(), "polars": frame, "lazy": frame.lazy(), "arrow": table, "duckdb": duckdb.from_arrow(table)}


def close(made, other, rel=1e-9):
    """Of every metric and arm the same means, covariances and quantiles; skewness, of third powers, to six digits."""
    assert made.groups.equals(other.groups) and (made.size == other.size).all()
    for metric in made.metrics:
        if isinstance(metric, Quantile):
            one, two = made.cells[metric.name], other.cells[metric.name]
            assert np.array_equal(one.group, two.group) and np.bincount(one.group, one.count).tolist() == np.bincount(two.group, two.count).tolist()
            continue
        one, two = (samples(each, metric.name, tuple(name for name in made.groups if name not in (made.cluster, made.day))) for each in (made, other))
        assert one.n == pytest.approx(two.n) and one.mean == pytest.approx(two.mean, rel=rel, abs=1e-12 * np.abs(two.mean).max())
        assert one.covariance == pytest.approx(two.covariance, rel=rel, abs=rel * np.abs(two.covariance).max())
        assert one.skewness == pytest.approx(two.skewness, rel=1e-6, abs=1e-6, nan_ok=True)


def direct(frame, column, variant):
    return frame.filter(pl.col("variant") == variant)[column].to_numpy()


def test_every_engine_gives_the_same():
    frame = units()
    first = moments(frame.lazy(), METRICS, by="seg", day="day")
    for given in engines(frame).values():
        made = moments(given, METRICS, by="seg", day="day")
        close(made, first)
        assert made.metrics == first.metrics and made.centre == pytest.approx(first.centre)


def test_means_and_covariances_are_numpys():
    frame = units()
    made = moments(frame.lazy(), METRICS)
    assert made.variants() == ("A", "B", "C") and made.metric("limited") == METRICS[1]
    x, y = direct(frame, "x", "B"), direct(frame, "y", "B")
    got = samples(made, "x")
    assert got.layout == ((0, None), (1, None)) and got.units.tolist() == got.n.tolist()
    assert got.mean[1] == pytest.approx([x.mean(), y.mean()], rel=1e-12) and got.covariance[1] == pytest.approx(np.cov(x, y), rel=1e-11)
    assert got.skewness[1] == pytest.approx(stats.skew(x), rel=1e-9)
    limited = samples(made, "limited")
    assert limited.mean[1] == pytest.approx([x.clip(2, 6).mean()], rel=1e-12) and limited.skewness[1] == pytest.approx(stats.skew(x.clip(2, 6)), rel=1e-9)
    share = samples(made, "b")
    assert share.covariance[1] == pytest.approx(np.cov(direct(frame, "b", "B").astype(float), y), rel=1e-11) and np.isnan(share.skewness).all()
    ratio = samples(made, "x / s")
    assert ratio.layout == ((0, 1), (2, 1), (3, None))
    assert ratio.covariance[1] == pytest.approx(np.cov([direct(frame, name, "B") for name in ("x", "s", "y", "x0")]), rel=1e-10)
    stay = frame.filter(pl.col("variant") == "B", pl.col("f"), pl.col("age") >= 7)["r"].to_numpy()
    kept = samples(made, "r from day 7")
    assert kept.n[1] == len(stay) and kept.mean[1] == pytest.approx([stay.mean()]) and kept.covariance[1, 0, 0] == pytest.approx(stay.var(ddof=1))


@pytest.mark.parametrize(("shift", "scale"), [(1e9, 1.0), (-1e9, 1.0), (0.0, 1e-30), (0.0, 1e30), (1e6, 1e-3)])
def test_large_means_small_variances_and_odd_scales(shift, scale):
    """A float holds 16 digits of a value near 1e9, so 7 of its deviation; two-pass NumPy sees the same values."""
    frame = units(2000, shift=shift, scale=scale)
    got = samples(moments(frame.lazy(), [Mean("x", covariate="y")]), "x")
    for row, variant in enumerate("ABC"):
        x, y = direct(frame, "x", variant), direct(frame, "y", variant)
        assert got.mean[row] == pytest.approx([x.mean(), y.mean()], rel=1e-12, abs=1e-12 * scale)
        assert got.covariance[row] == pytest.approx(np.cov(x, y), rel=1e-9)
        assert got.skewness[row] == pytest.approx(stats.skew(x), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("shift", [0.0, 1e9])
@pytest.mark.parametrize("like", [True, False])
def test_shards_added_are_the_whole(shift, like):
    """With like= all have one centre; without, each has its own, and the sums move."""
    frame = units(3000, seed=1, shift=shift)
    whole = moments(frame.lazy(), METRICS, by="seg")
    shard = np.random.default_rng(2).integers(0, 5, len(frame))
    shards = [frame.filter(pl.Series(shard == k)).lazy() for k in range(5)]
    parts = [moments(shards[0], METRICS, by="seg")]
    parts += [moments(one, like=parts[0]) if like else moments(one, METRICS, by="seg") for one in shards[1:]]
    assert like == all((one.centre == parts[0].centre).all() for one in parts)
    made = parts[3] + parts[1] + parts[0] + (parts[4] + parts[2])
    close(made, whole)
    for name in ("middle", "x", "x / s"):
        one, two = (effects(each, "A", metrics=[name]).table for each in (made, whole))
        # a float near 1e9 holds no more than 1.2e-7, and an effect is a difference of two of them
        assert one["effect"].to_numpy() == pytest.approx(two["effect"].to_numpy(), rel=1e-9, abs=4 * np.spacing(two["value"].max()))
        assert one["standard_error"].to_numpy() == pytest.approx(two["standard_error"].to_numpy(), rel=1e-9)


def test_sums_move_to_another_centre():
    rng = np.random.default_rng(3)
    asked = needed([Mean("x", covariate="y")])
    assert asked.pairs == ((0, 0), (0, 1), (1, 1)) and asked.cubed == (0,)
    v = rng.normal(size=(50, 2))

    def sums(at):
        x, y = (v - at).T
        return np.array([[x.sum(), y.sum()]]), np.array([[x @ x, x @ y, y @ y]]), np.array([[(x**3).sum()]])

    for got, wanted in zip(shifted(np.array([[50.0, 50.0]]), *sums(0), asked, np.array([2.0, -3.0])), sums(np.array([-2.0, 3.0])), strict=True):
        assert got == pytest.approx(wanted)


def test_terms_and_products_are_asked_for_once():
    asked = needed([Mean("x", covariate="y"), Mean("y"), Ratio("x", "y"), Quantile("z"), Proportion("x", name="p")])
    assert len(asked.terms) == 3 and len(set(asked.pairs)) == len(asked.pairs)   # x, y, x as 0 and 1
    assert [asked.terms[n].column for n in asked.cubed] == ["x", "y"]
    assert not any(needed([Quantile("x")]))


def test_days_added_are_all_and_until_cuts_them():
    frame = units()
    whole, daily = moments(frame.lazy(), METRICS), moments(frame.lazy(), METRICS, day="day")
    close(daily.summed("variant"), whole)
    assert daily.groups["day"].nunique() == 9 and daily.groups["day"].iloc[0] == dt.date(2024, 3, 1) and daily.day == "day" and daily.summed("variant").day is None
    added = None
    for day in sorted(set(daily.groups["day"])):
        one = moments(frame.filter(pl.col("day").dt.date() == day).lazy(), like=daily)
        added = one if added is None else added + one
        upto = moments(frame.filter(pl.col("day").dt.date() <= day).lazy(), like=daily)
        assert added.groups.equals(upto.groups) and daily.until(day).groups.equals(upto.groups)
        for name in PARTS:
            assert getattr(added, name) == pytest.approx(getattr(upto, name)) and getattr(daily.until(day), name) == pytest.approx(getattr(upto, name))
    close(added, daily)
    for day in ("2024-03-04", dt.date(2024, 3, 4), dt.datetime(2024, 3, 4, 5), pd.Timestamp("2024-03-04"), np.datetime64("2024-03-04")):
        assert daily.until(day).size.sum() == (frame["day"].dt.date() <= dt.date(2024, 3, 4)).sum()
    assert not daily.until("2020-01-01").variants()


def test_days_are_those_of_the_columns_zone():
    """23:30 UTC is the next day in Berlin and the same one in New York."""
    for zone, first in (("Europe/Berlin", dt.date(2024, 3, 2)), ("America/New_York", dt.date(2024, 3, 1)), ("UTC", dt.date(2024, 3, 1))):
        frame = units(60).with_columns(pl.col("day").dt.replace_time_zone("UTC").dt.convert_time_zone(zone))
        for given in (frame, frame.lazy(), frame.to_pandas()):
            assert moments(given, Mean("x"), day="day").groups["day"].min() == first
    dates = units(60).with_columns(pl.col("day").dt.date())
    assert moments(dates.lazy(), Mean("x"), day="day").groups["day"].min() == dt.date(2024, 3, 1)


def test_groups_taken_and_summed():
    frame = units()
    made = moments(frame.lazy(), METRICS, by=["seg", "variant"], day="day")
    assert made.by == ("seg",) and list(made.groups) == ["variant", "seg", "day"]
    close(made.where(seg="u").summed("variant"), moments(frame.filter(pl.col("seg") == "u").lazy(), METRICS, day="day").summed("variant"))
    assert made.where().size.sum() == 600 and made.where(seg="u", variant="A").groups["variant"].unique().tolist() == ["A"]
    assert not len(made.where(seg="nowhere").groups) and not len(made.where(seg="nowhere").cells["middle"].count)
    by_seg = made.summed("variant", "seg")
    assert (by_seg.by, by_seg.day, by_seg.cluster) == (("seg",), None, None)
    everybody = made.summed()
    assert everybody.size.tolist() == [600.0] and everybody.count.sum(axis=0).tolist() == made.count.sum(axis=0).tolist()


@pytest.mark.parametrize("column", [pa.array([1, 0, 1, 1, 0, 1]), pa.array([1, 0, 1, 1, 0, 1], pa.uint8()), pa.array([True, False, True, True, False, True]), pa.array([1, 0, 1, 1, 0, 1], pa.float32()),
                                    pa.array([1, 0, 1, 1, 0, 1]).cast(pa.decimal128(22, 2))], ids=lambda one: str(one.type))
def test_whole_numbers_yes_and_no_and_decimals(column):
    table = pa.table({"variant": ["A", "A", "A", "B", "B", "B"], "v": column})
    for given in (table, pl.from_arrow(table).lazy(), duckdb.from_arrow(table)):
        made = moments(given, [Mean("v", winsorize=(None, 0.5), name="w"), Mean("v"), Proportion("v", name="p"), Quantile("v", name="q")])
        for name, wanted in (("v", 2 / 3), ("p", 2 / 3), ("w", 1 / 3)):
            assert samples(made, name).mean[:, 0] == pytest.approx([wanted, wanted])
        assert made.cells["q"].count.tolist() == [1.0, 2.0, 1.0, 2.0]


@pytest.mark.parametrize("kind", ["text", "categorical", "enum", "whole", "yes and no", "date"])
def test_variants_of_any_type(kind):
    of = {"text": pl.String, "categorical": pl.Categorical, "enum": pl.Enum(["C", "B", "A"])}
    frame = units().filter(pl.col("variant") != "C")
    other = {"whole": pl.col("variant").replace_strict({"A": 0, "B": 1}), "yes and no": pl.col("variant") == "B", "date": pl.col("variant").replace_strict({"A": dt.date(2024, 1, 1), "B": dt.date(2024, 1, 2)})}
    frame = frame.with_columns(pl.col("variant").cast(of[kind]) if kind in of else other[kind].alias("variant"))
    wanted = effects(moments(units().filter(pl.col("variant") != "C").lazy(), Mean("x")), "A").table["effect"].iloc[0]
    for given in (frame.lazy(), frame.to_pandas()):
        made = moments(given, [Mean("x"), Quantile("x", name="q")])
        control = min(made.variants())
        assert len(made.variants()) == 2 and effects(made, control, metrics=["x"]).table["effect"].iloc[0] == pytest.approx(wanted)


def test_segments_without_a_value_are_a_segment():
    frame = units().with_columns(pl.when(pl.col("seg") == "u").then("seg"))
    made = moments(frame.lazy(), [Mean("x"), Quantile("x", name="q")], by="seg")
    assert len(made.groups) == 6 and made.groups["seg"].isna().sum() == 3
    both = made + moments(frame.to_pandas(), like=made)
    assert len(both.groups) == 6 and (both.size == 2 * made.size).all() and (np.bincount(both.cells["q"].group, both.cells["q"].count) == 2 * made.size).all()
    assert len(effects(made, "A", by="seg").table) == 8


def test_limits_by_a_share_are_quantiles_of_all_units():
    frame = units()
    for given in (frame.lazy(), frame.to_pandas()):
        made = moments(given, [Mean("x", winsorize=0.9), Mean("x", winsorize=0.9, filter="f", name="of some"), Ratio("x", "s", winsorize=0.95)])
        assert made.metrics[0].winsorize == (None, pytest.approx(np.quantile(frame["x"], 0.9), rel=1e-12))
        assert made.metrics[1].winsorize == (None, pytest.approx(np.quantile(frame.filter("f")["x"], 0.9), rel=1e-12))
        assert made.metrics[2].winsorize == (None, pytest.approx(np.quantile(frame["x"], 0.95), rel=1e-12))
    again = moments(frame.with_columns(pl.col("x") + 100).lazy(), like=made)
    assert again.metrics == made.metrics   # later looks keep the limits of the first
    assert samples(made, "x").mean[0, 0] == pytest.approx(np.minimum(direct(frame, "x", "A"), np.quantile(frame["x"], 0.9)).mean(), rel=1e-12)


def test_a_share_of_numpy_is_a_share():
    frame = units()
    for share in (np.float64(0.9), np.float32(0.9)):
        assert moments(frame.lazy(), Mean("x", winsorize=share)).metrics[0].winsorize[1] == pytest.approx(np.quantile(frame["x"], 0.9), rel=1e-6)


def test_limits_beyond_all_values():
    frame = units().lazy()
    assert samples(moments(frame, Mean("x", winsorize=(100, 200))), "x").mean.tolist() == [[100.0]] * 3
    assert samples(moments(frame, Mean("x", winsorize=(-200, -100))), "x").mean.tolist() == [[-100.0]] * 3
    far = units().with_columns(pl.when(pl.col("x") > 6).then(float("inf")).otherwise("x").alias("x")).lazy()
    assert np.isfinite(samples(moments(far, Mean("x", winsorize=(None, 6))), "x").covariance).all()


def test_quantiles_alone():
    frame = units()
    made = moments(frame.lazy(), Quantile("x", name="q"))
    assert made.size.sum() == 600 and effects(made, "A").table["control_value"].iloc[0] == pytest.approx(np.quantile(direct(frame, "x", "A"), 0.5, method="inverted_cdf"), rel=1e-3)


def test_clusters_are_totals():
    frame = units()
    made = moments(frame.lazy(), [Mean("x", covariate="y"), Ratio("x", "s"), Retention("r", 7, filter="f")], cluster="shop")
    got = samples(made, "x")
    totals = frame.filter(pl.col("variant") == "B").group_by("shop").agg(pl.col("x").sum(), pl.col("y").sum(), pl.len())
    assert got.n[1] == len(totals) and got.units[1] == totals["len"].sum() and got.layout == ((0, 2), (1, 2)) and np.isnan(got.skewness).all()
    assert got.mean[1] == pytest.approx(totals.select("x", "y", "len").mean().row(0), rel=1e-11)
    assert got.covariance[1] == pytest.approx(np.cov(totals.select("x", "y", "len").to_numpy().T), rel=1e-10)
    assert samples(made, "x / s").layout == ((0, 1),)
    some = frame.filter(pl.col("variant") == "B", pl.col("f"), pl.col("age") >= 7)
    assert samples(made, "r from day 7").n[1] == some["shop"].n_unique() and samples(made, "r from day 7").units[1] == len(some)
    with pytest.raises(ParameterError, match="quantiles by cluster are not known here"):
        moments(frame.lazy(), [Mean("x"), Quantile("x", name="q")], cluster="shop")


@pytest.mark.parametrize(("column", "metric", "said", "rule"), [
    ("variant", Mean("x"), "units.variant: 3 rows have no value", "required"), ("day", Mean("x"), "units.day: 3 rows have no value", "required"), ("shop", Mean("x"), "units.shop: 3 rows have no value", "required"),
    ("x", Mean("x"), "units.x: 3 units that count have no value", "required"), ("y", Mean("x", covariate="y"), "units.y: 3 units that count have no value", "required"),
    ("s", Ratio("x", "s"), "units.s: 3 units that count have no value", "required"), ("b", Proportion("b"), "units.b: 3 units that count have no value", "required")])
def test_what_is_missing(column, metric, said, rule):
    frame = units().with_columns(pl.when(pl.int_range(600) >= 3).then(column))
    for given in (frame.lazy(), frame.to_pandas()):
        with pytest.raises(SchemaError, match=said) as error:
            moments(given, metric, day="day", cluster="shop")
        assert (error.value.column, error.value.rule, error.value.count) == (column, rule, 3)


def test_what_does_not_count_may_be_missing():
    frame = units().with_columns(pl.when("f").then("x"), pl.when(pl.col("age") >= 7).then("r"), f2=pl.when(pl.col("x0") > 0).then(True))
    made = moments(frame.lazy(), [Mean("x", filter="f"), Retention("r", 7), Mean("x0", filter="f2"), Quantile("x", filter="f", name="q")])
    assert samples(made, "x").n.sum() == frame["f"].sum() == made.cells["q"].count.sum()
    assert samples(made, "r from day 7").n.sum() == (frame["age"] >= 7).sum() and samples(made, "x0").n.sum() == (frame["x0"] > 0).sum()


@pytest.mark.parametrize(("bad", "metric", "said"), [
    (float("inf"), Mean("x"), "infinite, not a number, or too large to square"), (float("nan"), Mean("x"), "infinite, not a number"), (1e200, Mean("x"), "too large to square"),
    (float("nan"), Mean("x", winsorize=(0, 9)), "infinite, not a number"), (float("nan"), Retention("x", 0), "infinite, not a number"), (float("inf"), Retention("x", 0), "infinite, not a number"),
    (-1.0, Ratio("y", "x"), "the denominator of a ratio is negative"), (float("inf"), Ratio("y", "x"), "units.x: .*(infinite|not finite)"), (float("nan"), Ratio("y", "x"), "units.x: .*(infinite|not finite)"),
    (0.5, Proportion("x"), "a proportion needs 0 and 1"), (float("nan"), Proportion("x"), "a proportion needs 0 and 1"), (float("inf"), Mean("y", covariate="x"), "units.x: some values are infinite"),
    (float("nan"), Quantile("x"), "infinite or not a number"), (float("inf"), Quantile("x"), "infinite or not a number")])
def test_what_is_no_number(bad, metric, said):
    frame = units().with_columns(pl.when(pl.int_range(600) == 5).then(bad).otherwise(pl.col("b").cast(pl.Float64)).alias("x"))
    for given in (frame.lazy(), frame.to_arrow()):
        with pytest.raises(SchemaError, match=said):
            moments(given, [Mean("y", name="other"), metric])


def test_what_is_refused():
    frame = units().lazy()
    with pytest.raises(SchemaError, match="units lacks nope; it has variant, seg"):
        moments(frame, Mean("nope"))
    with pytest.raises(SchemaError, match="units lacks variant, other; it has x"):
        moments(pl.DataFrame({"x": [1.0]}), Mean("x"), by="other")
    with pytest.raises(SchemaError, match="units has no rows"):
        moments(frame.head(0), Mean("x"))
    with pytest.raises(SchemaError, match="units: no unit counts for x"):
        moments(frame.with_columns(f=False), Mean("x", winsorize=0.9, filter="f"))
    with pytest.raises(ParameterError, match="list is no data frame"):
        moments([1, 2], Mean("x"))
    with pytest.raises(ParameterError, match="needs at least one of"):
        moments(frame, [])
    made = moments(frame, [Mean("x"), Quantile("x", name="q")], by="seg")
    with pytest.raises(ParameterError, match="metric 'y': there are x, q"):
        samples(made, "y")
    with pytest.raises(ParameterError, match="q: a quantile has no moments"):
        samples(made, "q")
    with pytest.raises(SchemaError, match="moments lacks nope; it has variant, seg"):
        made.where(nope=1)
    with pytest.raises(SchemaError, match="moments lacks nope"):
        made.summed("nope")
    with pytest.raises(ParameterError, match="these moments are not by day"):
        made.until("2024-03-03")
    with pytest.raises(TypeError):
        made + 5
    for other in (moments(frame, Mean("x"), by="seg"), moments(frame, made.metrics), moments(frame, made.metrics, by="seg", day="day")):
        with pytest.raises(ParameterError, match="moments differ in (metrics|by|day).*make the second with like="):
            made + other
    with pytest.raises(ParameterError, match="moments differ in cluster"):
        moments(frame, Mean("x"), cluster="shop") + moments(frame, Mean("x"))


@pytest.mark.parametrize(("call", "kind"), [
    (lambda frame, made: moments(frame), ParameterError), (lambda frame, made: moments(frame, Mean("x"), day="seg"), SchemaError), (lambda frame, made: moments(frame, Mean("x"), day="shop"), SchemaError),
    (lambda frame, made: moments(frame, Mean("x"), by=["seg", "seg"]), None), (lambda frame, made: made.summed("variant", "variant"), None),
    (lambda frame, made: made.until("soon"), ParameterError), (lambda frame, made: made.until(None), ParameterError), (lambda frame, made: made.until(pd.NaT), ParameterError), (lambda frame, made: made.until(5), ParameterError),
    (lambda frame, made: moments(frame.head(0), Quantile("x")), SchemaError), (lambda frame, made: moments(frame.with_columns(age=pl.lit("8")), Retention("r", 7)), SchemaError)],
    ids=["no metrics", "day of text", "day of numbers", "by twice", "summed twice", "until text", "until None", "until NaT", "until a number", "a quantile of nobody", "age of text"])
def test_users_mistakes(call, kind):
    frame = units(60)
    made = moments(frame.lazy(), Mean("x"), day="day")
    for given in (frame.lazy(), frame):
        if kind is None:   # twice the same is once
            call(given, made)
        else:
            with pytest.raises(kind):
                call(given, made)


OWN_NAMES = ["t0", "T0", "s0", "n0", "c0", "p0", "r0", "size", "SIZE", "_cell", "_value", "_count", "_total", "_group"]


@pytest.mark.parametrize("name", OWN_NAMES)
def test_columns_may_have_any_name(name):
    """Segments and clusters named as the query names its own columns."""
    frame = units(200)
    metrics = [Mean("x", covariate="y", filter="f"), Quantile("x", name="q")]
    wanted, other = moments(frame.lazy(), metrics, by="seg"), moments(frame.lazy(), metrics[:1], cluster="shop")
    for given in (frame.rename({"seg": name}).lazy(), frame.rename({"seg": name})):
        made = moments(given, metrics, by=name)
        assert made.sums == pytest.approx(wanted.sums) and (made.cells["q"].count == wanted.cells["q"].count).all()
    for given in (frame.rename({"shop": name}).lazy(), frame.rename({"shop": name})):
        assert moments(given, metrics[:1], cluster=name).sums == pytest.approx(other.sums)


@pytest.mark.parametrize("name", ['a"b', "a'b", "a b", "ä", "a;b", "{x}", "a%b", "select", "a.b"])
def test_columns_with_odd_characters(name):
    frame = units(200)
    wanted = samples(moments(frame.lazy(), Mean("x")), "x").mean
    odd = frame.rename({"x": name, "seg": name + "2"})
    for given in (odd.lazy(), odd, odd.to_pandas()):
        assert samples(moments(given, [Mean(name), Quantile(name, name="q")], by=name + "2"), name).mean == pytest.approx(wanted)


def test_a_column_in_several_roles():
    frame = units()
    made = moments(frame.lazy(), [Mean("x", covariate="s"), Mean("shop"), Ratio("s", "s"), Proportion("b", covariate="x")], by=["b", "day"], day="day", cluster="shop")
    assert list(made.groups) == ["variant", "b", "day", "shop"] and samples(made, "shop").mean[0, 0] > 0


def test_a_relation_with_a_filter():
    con = duckdb.connect()
    con.execute("create table t as select case when i % 2 = 0 then 'A' else 'B' end as variant, i as x, i % 3 as \"a b\" from range(100) r(i)")
    made = moments(con.table("t").filter('x >= 50 and "a b" < 2'), [Mean("x"), Mean("a b", covariate="x")])
    kept = np.array([i for i in range(50, 100) if i % 3 < 2])
    assert samples(made, "x").mean[:, 0] == pytest.approx([kept[kept % 2 == 0].mean(), kept[kept % 2 == 1].mean()])


def test_other_variants_and_segments_are_added_beside():
    frame = units()
    first = moments(frame.filter(pl.col("seg") == "u", pl.col("variant") != "C").lazy(), METRICS, by="seg")
    both = first + moments(frame.filter(~((pl.col("seg") == "u") & (pl.col("variant") != "C"))).lazy(), like=first)
    close(both, moments(frame.lazy(), METRICS, by="seg"))


def test_saved_and_back_byte_for_byte(tmp_path):
    for n, made in enumerate((moments(units().lazy(), METRICS, by="seg", day="day"), moments(units().lazy(), METRICS[:5], cluster="shop"),
                              moments(units().with_columns(pl.when(pl.col("seg") == "u").then("seg"), variant=pl.col("variant") == "A").lazy(), METRICS, by="seg"),
                              moments(units().with_columns(seg=pl.when(pl.col("seg") == "u").then(1)).lazy(), [Mean("x", winsorize=np.float64(0.9)), Quantile("x", name="a/b ä \"'")], by="seg"))):
        save_moments(made, tmp_path / "one")
        back = saved_moments(tmp_path / "one")
        save_moments(back, tmp_path / "two")
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
        assert back.groups.equals(made.groups) and (back.metrics, back.by, back.day, back.cluster) == (made.metrics, made.by, made.day, made.cluster)
        assert all(np.array_equal(getattr(back, name), getattr(made, name)) for name in ("centre", *PARTS))
        twice = made + back
        assert len(twice.groups) == len(made.groups) and (twice.size == 2 * made.size).all(), n
        close(moments(units().lazy(), like=back) if n == 0 else back, made)


@pytest.mark.parametrize("role", ["variant", "seg"])
@pytest.mark.parametrize("value", [dt.date(2024, 1, 2), dt.datetime(2024, 1, 2, 3, 4)])
def test_dates_come_back_as_dates(tmp_path, role, value):
    """Else a restored file's groups would stand beside those to which they belong."""
    made = moments(units(60).with_columns(pl.when(pl.col("y") > 0).then(value).otherwise(value + dt.timedelta(days=1)).alias(role)).lazy(), Mean("x"), by="seg")
    save_moments(made, tmp_path / "one")
    assert len((made + saved_moments(tmp_path / "one")).groups) == len(made.groups)


def test_numbers_of_numpy_can_be_saved(tmp_path):
    made = moments(units(60).lazy(), [Retention("r", np.int64(7)), Mean("x", winsorize=(np.int64(0), np.float32(3))), Quantile("x", q=np.float32(0.5), name="q")])
    save_moments(made, tmp_path / "one")
    assert saved_moments(tmp_path / "one").metrics == made.metrics


def test_no_group_at_all_can_be_saved(tmp_path):
    made = moments(units(60).lazy(), METRICS, by="seg", day="day").where(seg="nowhere")
    save_moments(made, tmp_path / "one")
    assert saved_moments(tmp_path / "one").size.shape == (0,)


def test_damaged_files(tmp_path):
    made = moments(units(60).lazy(), METRICS, by="seg", day="day")
    save_moments(made, tmp_path / "one")
    raw = (tmp_path / "one").read_bytes()
    for at in np.linspace(0, len(raw) - 1, 60).astype(int):   # cut, or one byte turned: refused, or what it was (where nothing reads that byte)
        for damaged in (raw[:at], raw[:at] + bytes([raw[at] ^ 255]) + raw[at + 1:]):
            (tmp_path / "two").write_bytes(damaged)
            try:
                assert all(np.array_equal(getattr(saved_moments(tmp_path / "two"), name), getattr(made, name)) for name in PARTS)
            except ParameterError as error:
                assert "is no saved moments, or is damaged" in str(error)
    with pytest.raises(FileNotFoundError):
        saved_moments(tmp_path / "nowhere")


@pytest.mark.parametrize("change", [
    {"metrics": []}, {"metrics": [{"kind": "Mode"}]}, {"metrics": [{"kind": "Mean", "value": "x", "more": 1}]}, {"metrics": None}, {"groups": {"variant": ["A"]}}, {"day": "seg"}, {"day": "nope"},
    {"array size": np.zeros(1)}, {"array sums": np.zeros((1, 1))}, {"array products": np.zeros((12, 1))}, {"array cubes": np.zeros((1, 1))}, {"array centre": np.zeros(1)},
    {"array middle group": np.array([10**6])}, {"array middle count": np.zeros(1)}, {"by": ["nope"]}, {"cluster": "nope"}, {"array sums": "text"}], ids=str)
def test_files_whose_parts_do_not_fit(tmp_path, change):
    made = moments(units(60).lazy(), METRICS, by="seg", day="day")
    save_moments(made, tmp_path / "one")
    with saved_arrays(tmp_path / "one", "moments") as (facts, arrays):
        for name, value in change.items():
            value = made.sums.astype(str) if isinstance(value, str) and value == "text" else value
            if name.startswith("array "):
                arrays[name.removeprefix("array ")] = value
            else:
                facts[name] = value
        save_arrays(tmp_path / "two", facts, arrays)
    with pytest.raises(ParameterError, match="is no saved moments, or is damaged"):
        saved_moments(tmp_path / "two")


def test_what_json_cannot_say_is_not_saved(tmp_path):
    made = moments(units(60).lazy(), Mean("x"))
    with pytest.raises(ParameterError, match="cannot be saved"):
        save_moments(replace(made, groups=made.groups.assign(variant=[object()] * len(made.groups))), tmp_path / "one")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("options", "message"), [
    ({"by": None}, "by None: needs a name"), ({"by": ["day", 3]}, "by 3: needs a name"), ({"day": 3}, "day or cluster 3: needs a name"), ({"cluster": ""}, "day or cluster '': needs a name"), ({"like": "x"}, "like 'x': needs Moments")])
def test_groupings_that_cannot_be(options, message):
    with pytest.raises(ParameterError, match=message):
        moments(pd.DataFrame({"variant": ["a", "b"], "x": [1.0, 2.0]}), Mean("x"), **options)


@pytest.mark.parametrize("first", [0, 1000, 2000])
def test_the_order_of_rows_costs_no_digits(first):
    """Rows that do not count come first, or are zeros, and the rest lies a billion away with a deviation of 1."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"variant": rng.choice(["A", "B"], 3000), "x": 1e9 + rng.standard_normal(3000), "counts": np.arange(3000) >= first})
    frame.loc[~frame["counts"], "x"] = 0.0
    made, own = moments(frame, [Mean("x", filter="counts"), Mean("x", name="all")]), frame[frame["counts"]]
    assert samples(made, "x").covariance.ravel() == pytest.approx(own.groupby("variant")["x"].var().to_numpy(), rel=1e-7)
    assert samples(made, "all").covariance.ravel() == pytest.approx(frame.groupby("variant")["x"].var().to_numpy(), rel=1e-7)
    assert samples(moments(frame[::-1], Mean("x", filter="counts")), "x").covariance.ravel() == pytest.approx(samples(made, "x").covariance.ravel(), rel=1e-7)
