"""What a metric asks of its units: columns, limits, names, and what it refuses."""

import json

import numpy as np
import polars as pl
import pytest

from tenant_lab.core.errors import ParameterError, SchemaError
from tenant_lab.experiments.metrics import (
    KINDS,
    Mean,
    Metric,
    Proportion,
    Quantile,
    Ratio,
    Retention,
    Term,
    check_metrics,
    restore_metric,
)


def values(term, **columns):
    """The term of each row, by Polars."""
    import narwhals as nw

    frame = nw.from_native(pl.DataFrame(columns).lazy())
    return frame.select(t=term.expression(frame.collect_schema())).collect()["t"].to_list()


def same(got, wanted):
    return got == pytest.approx(wanted, nan_ok=True) if None not in wanted else [None if a is None else float(a) for a in got] == wanted


@pytest.mark.parametrize(("term", "column", "wanted"), [
    (Term("x"), [1, -2, None], [1.0, -2.0, None]),
    (Term("x"), [True, False, None], [1.0, 0.0, None]),
    (Term("x", positive=True), [0.0, -1.0, 3.0], [0.0, 0.0, 1.0]),
    (Term("x", positive=True), [float("nan"), float("inf"), 2.0], [float("nan"), float("nan"), 1.0]),
    (Term("x", positive=True), [True, False, None], [1.0, 0.0, None]),
    (Term("x", binary=True), [0, 1, 2], [0.0, 1.0, float("nan")]),
    (Term("x", binary=True), [True, None, False], [1.0, None, 0.0]),
    (Term("x", low=0.0, high=3.0), [-5.0, 2.0, float("inf")], [0.0, 2.0, 3.0]),
    (Term("x", high=3.0), [-5.0, 2.0, 9.0], [-5.0, 2.0, 3.0]),
    (Term("x", low=0.0), [-5.0, 2.0, 9.0], [0.0, 2.0, 9.0]),
])
def test_a_column_as_a_metric_reads_it(term, column, wanted):
    assert same(values(term, x=column), wanted)


def test_who_counts():
    assert Term("x").counts() is None
    assert values(Term("x", filter="f"), x=[1.0, 2.0, 3.0], f=[True, False, None]) == [1.0, None, None]
    assert values(Term("x", age="age", days=7), x=[1, 2, 3], age=[6.9, 7.0, None]) == [None, 2.0, None]
    assert values(Term("x", age="age", days=7, filter="f"), x=[1, 2, 3], age=[7, 7, 8], f=[False, True, True]) == [None, 2.0, 3.0]


def test_columns_that_are_none():
    with pytest.raises(SchemaError, match="units lacks f; it has x"):
        values(Term("x", filter="f"), x=[1])
    with pytest.raises(SchemaError, match=r"units\.x is of String: a metric needs numbers or yes and no") as error:
        values(Term("x"), x=["1"])
    assert (error.value.table, error.value.column, error.value.rule) == ("units", "x", "type")
    with pytest.raises(SchemaError, match=r"units\.f is of Int64: a filter needs True and False"):
        values(Term("x", filter="f"), x=[1], f=[1])


def test_terms_of_each_kind():
    (outcome, below), *rest = Ratio("a", "b", covariate=[("c", "d"), "e"], winsorize=(None, 9), filter="f").components()
    assert (outcome, below) == (Term("a", high=9.0, filter="f"), Term("b", filter="f"))
    assert rest == [(Term("c", filter="f"), Term("d", filter="f")), (Term("e", filter="f"), None)]   # limits are of outcomes
    assert Proportion("x", covariate="y").components() == ((Term("x", binary=True), None), (Term("y"), None))
    assert Retention("x", 7, covariate="y").components() == ((Term("x", positive=True, age="age", days=7), None), (Term("y", age="age", days=7), None))
    assert Quantile("x", filter="f").components() == ((Term("x", filter="f"), None),)
    assert Mean("x", winsorize=0.99).components() == ((Term("x"), None),)
    assert Mean("x", winsorize=0.99).limited(3.0).components() == ((Term("x", high=3.0), None),)


def test_names_and_forms():
    assert [one.name for one in (Mean("x"), Proportion("x"), Retention("x", 7.0), Retention("x", 0.5), Ratio("a", "b"), Quantile("x", q=0.9), Mean("x", name="own"))] == ["x", "x", "x from day 7", "x from day 0.5", "a / b", "x q0.9", "own"]
    assert Mean("x", covariate="y") == Mean("x", covariate=["y"]) == Mean("x", covariate=("y",)) == Mean("x", covariate=[("y", None)]) == Mean("x", covariate=("y", None))
    assert Mean("x", covariate=("a", "b")).covariate == (("a", None), ("b", None)) and Ratio("x", "y", covariate=("a", "b")).covariate == (("a", "b"),)
    assert Ratio("x", "y", covariate=["a", "b"]).covariate == (("a", None), ("b", None))
    assert Mean("x", winsorize=[0, np.int64(4)]) == Mean("x", winsorize=(0.0, 4.0)) and hash(Mean("x", winsorize=[0, 4])) == hash(Mean("x", winsorize=(0, 4)))


@pytest.mark.parametrize(("make", "said"), [
    (lambda: Mean(5), "Mean: 5 is no name of a column"),
    (lambda: Mean(""), "Mean: '' is no name of a column"),
    (lambda: Mean(None), "Mean: None is no name of a column"),
    (lambda: Mean("x", covariate=["y", "x"]), "not the outcome itself"),
    (lambda: Mean("x", filter=5), "Mean: 5 is no name of a column"),
    (lambda: Mean("x", covariate=[("a", "b", "c")]), "needs names of columns, or pairs of them"),
    (lambda: Mean("x", direction="up"), "direction 'up': allowed are increase, decrease"),
    (lambda: Mean("x", winsorize=0.5), "winsorize 0.5: needs a share between 0.5 and 1, or two limits"),
    (lambda: Mean("x", winsorize=1), "needs a share between 0.5 and 1"),
    (lambda: Mean("x", winsorize="0.9"), "winsorize '0.9': needs a number from 0 to 1"),
    (lambda: Mean("x", winsorize=True), "winsorize True: needs a number"),
    (lambda: Mean("x", winsorize=(1,)), "needs the least and the largest outcome"),
    (lambda: Mean("x", winsorize=(3, 1)), "the first limit must be below the second"),
    (lambda: Mean("x", winsorize=(1, 1)), "the first limit must be below the second"),
    (lambda: Mean("x", winsorize=(0, float("inf"))), "winsorize inf: needs a number"),
    (lambda: Mean("x", winsorize=(float("nan"), 1)), "winsorize nan: needs a number"),
    (lambda: Proportion("x", winsorize=0.9), "outcomes of 0 and 1 have no far ends"),
    (lambda: Retention("x", 7, winsorize=0.9), "outcomes of 0 and 1 have no far ends"),
    (lambda: Retention("x", -1), "day -1: needs a number from 0"),
    (lambda: Retention("x", "7"), "day '7': needs a number from 0"),
    (lambda: Quantile("x", q=0), "q 0: needs a number between 0 and 1"),
    (lambda: Quantile("x", q=1.0), "q 1.0: needs a number between 0 and 1"),
    (lambda: Quantile("x", q="a"), "q 'a': needs a number"),
    (lambda: Quantile("x", covariate="y"), "Quantile: covariates and winsorize are of means"),
    (lambda: Quantile("x", winsorize=0.9), "Quantile: covariates and winsorize are of means"),
    (lambda: check_metrics([]), "needs at least one of Mean, Proportion, Retention, Ratio, Quantile"),
    (lambda: check_metrics("x"), "needs at least one of Mean"),
    (lambda: check_metrics([Mean("x"), Proportion("x"), Mean("y"), Mean("y")]), "metrics: x, y stands there twice; give one of them another name="),
    (lambda: restore_metric({}), "kind None: allowed are Mean"),
    (lambda: restore_metric({"kind": "Mode", "value": "x"}), "kind 'Mode': allowed are Mean"),
    (lambda: restore_metric({"kind": "Mean"}), "Mean: .*missing 1 required"),
    (lambda: restore_metric({"kind": "Mean", "value": "x", "more": 1}), "Mean: .*unexpected keyword argument 'more'"),
    (lambda: restore_metric({"kind": "Mean", "value": "x", "winsorize": [2, 1]}), "the first limit must be below the second"),
])
def test_what_is_refused(make, said):
    with pytest.raises(ParameterError, match=said):
        make()


def test_a_ratio_needs_a_denominator():
    with pytest.raises(ParameterError, match="no name of a column"):
        Ratio("x", None)


@pytest.mark.parametrize("make", [lambda: Mean("x", covariate=None), lambda: Mean("x", covariate=5), lambda: Mean("x", covariate=[5]), lambda: Mean("x", covariate=[None]),
                                  lambda: check_metrics(None), lambda: check_metrics(5), lambda: check_metrics(Mean)])
def test_users_mistakes_are_parameter_errors(make):
    with pytest.raises(ParameterError):
        make()


@pytest.mark.parametrize("age", ["", None, 5])
def test_an_age_is_the_name_of_a_column(age):
    """Without it everybody would count, whatever the day."""
    with pytest.raises(ParameterError, match="no name of a column"):
        Retention("x", 7, age=age)


@pytest.mark.parametrize("name", [5, True])
def test_a_name_is_text(name):
    with pytest.raises(ParameterError, match="name"):
        Mean("x", name=name)


EACH = [Mean("x", covariate=["a", "b"], winsorize=0.9, filter="f", direction="decrease", name="n"), Mean("x", winsorize=(None, 3)), Proportion("x", covariate="y"), Retention("x", 7, age="days"),
        Ratio("a", "b", covariate=[("c", "d"), "e"], winsorize=(-1, 5)), Quantile("x", q=0.9)]


@pytest.mark.parametrize("metric", EACH, ids=lambda one: one.name)
def test_state_and_back_by_json(metric):
    assert restore_metric(json.loads(json.dumps(metric.state()))) == metric
    assert metric.state()["kind"] in KINDS and isinstance(metric, Metric)


def test_numbers_of_numpy_go_through_json():
    for metric in (Mean("x", winsorize=np.float64(0.9)), Mean("x", winsorize=np.float32(0.9)), Retention("x", np.int64(7)), Quantile("x", q=np.float32(0.5))):
        assert restore_metric(json.loads(json.dumps(metric.state()))) == metric


def test_one_metric_or_many():
    one = Mean("x")
    assert check_metrics(one) == check_metrics([one]) == check_metrics(iter([one])) == (one,)
