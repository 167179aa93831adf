"""Rows of a summary, compressed and checked, and what all models that are fitted to them share."""
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tenant_lab.core.errors import ConvergenceError, NotFittedError, ParameterError, SchemaError
from tenant_lab.customers import btyd
from tenant_lab.customers.bgnbd import BGNBD
from tenant_lab.customers.btyd import columns, customers, levels

FRAME = pd.DataFrame({"frequency": [0, 2, 0, 2, 1], "recency": [0.0, 3.0, 0.0, 4.0, 2.5], "T": [9.0, 9.0, 9.0, 9.0, 5.0]})


@pytest.mark.parametrize("many", [1, 5, 100, 3_000_000])
def test_levels_are_the_distinct_rows(many):
    rng = np.random.default_rng(many)
    given = [rng.integers(0, many, 5000).astype(float), rng.integers(0, 3, 5000) / 3, rng.permutation(5000) % many * 0.1, rng.integers(-2, 2, 5000) * 1e6]
    first, level = levels(*given)
    assert all((column[first][level] == column).all() for column in given)
    keys = pd.DataFrame(given).T
    assert len(first) == len(keys.drop_duplicates()) and sorted(first) == keys[~keys.duplicated()].index.tolist()


def test_levels_of_columns_with_a_great_many_values():
    """Six columns of 5000 values have more combinations than a number of 64 bits."""
    given = [np.random.default_rng(n).random(5000) for n in range(6)]
    first, level = levels(*(np.r_[c, c] for c in given))
    assert len(first) == 5000 and (level[:5000] == level[5000:]).all() and first.max() < 5000


def test_levels_of_few_combinations_are_counted():
    """The way of few combinations, and that of many, which a third column of many values forces."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(3, 9, 4000).astype(float), rng.integers(-2, 2, 4000).astype(float)
    counted, sorted_ = levels(x, y), levels(x, y, np.where(np.arange(4000) < 0, 1.0, 0.5) * 1.0)
    assert len(counted[0]) == 24 and (np.diff(x[counted[0]] * 10 + y[counted[0]]) > 0).all()
    for first, level in (counted, sorted_):
        assert (x[first][level] == x).all() and (y[first][level] == y).all() and (first == [np.flatnonzero(level == n)[0] for n in range(24)]).all()


def test_levels_of_nothing():
    first, level = levels(np.zeros(0), np.zeros(0))
    assert first.size == level.size == 0


def test_customers_are_compressed():
    rows = customers(pa.Table.from_pandas(FRAME.assign(weight=[1, 2, 3, 4, 5])))
    assert np.stack([rows.x, rows.t_x, rows.T, rows.weight]).T.tolist() == [[0, 0, 9, 4], [1, 2.5, 5, 5], [2, 3, 9, 2], [2, 4, 9, 4]]
    assert rows.row.tolist() == [0, 2, 0, 3, 1]
    assert (rows.x[rows.first][rows.level] == rows.x).all() and len(rows.first) == 3
    pieces = rows.parts(3)
    assert [piece.x.tolist() for piece in pieces] == [[0, 2], [1, 2]] and all((p.x[p.first][p.level] == p.x).all() for p in pieces)
    with_z = customers(FRAME.assign(age=[20, 30, 40, 30, 20]), ["age"])
    assert len(with_z.x) == 5 and with_z.z.shape == (1, 5)


@pytest.mark.parametrize("column, value, said", [
    ("frequency", 1.5, "whole numbers from 0"), ("frequency", -1, "whole numbers from 0"), ("recency", 10.0, "0 to T"), ("recency", -1.0, "0 to T"), ("recency", np.nan, "no finite value"),
    ("T", np.inf, "no finite value"), ("weight", 0, "numbers above 0"), ("T", "x", "must be a number")])
def test_what_no_customer_can_be(column, value, said):
    bad = FRAME.assign(weight=1.0).astype({"frequency": float})
    if value == "x":
        bad[column] = "x"
    else:
        bad.loc[3, column] = value
    with pytest.raises(SchemaError, match=said) as caught:
        customers(bad)
    assert caught.value.column == column
    with pytest.raises(SchemaError, match="recency: 1 rows, such as row 0"):
        customers(FRAME.assign(recency=[1.0, 3, 0, 4, 2.5]))


def test_what_is_missing():
    with pytest.raises(SchemaError, match="customers lacks recency"):
        customers(FRAME.drop(columns="recency"))
    with pytest.raises(SchemaError, match="customers has no rows"):
        columns(FRAME[:0], ["T"])
    for no_number in (pd.Timestamp("2024-01-01"), pd.Timedelta(days=3), "1", pd.NaT):
        with pytest.raises(SchemaError, match=r"customers\.T is .*; it must be a number"):
            customers(FRAME.assign(T=no_number))
    with pytest.raises(ParameterError, match="list is no data frame"):
        customers([1, 2])


def test_a_fit_that_fails_changes_nothing(monkeypatch):
    many = pd.DataFrame({"frequency": np.arange(200) % 7, "recency": np.where(np.arange(200) % 7, np.arange(200) % 31, 0), "T": 40.0})
    model = BGNBD().fit(many)
    before = dict(vars(model))

    def lost(*_, **__):
        raise ConvergenceError("no top")
    monkeypatch.setattr(btyd, "maximise", lost)
    with pytest.raises(ConvergenceError):
        model.fit(FRAME)
    assert vars(model) == before
    fresh = BGNBD()
    with pytest.raises(ConvergenceError):
        fresh.fit(FRAME)
    assert not [name for name in vars(fresh) if name.endswith("_")]
    with pytest.raises(NotFittedError, match=r"call fit\(frame\) first"):
        fresh.predict(FRAME, 5)


@pytest.mark.parametrize("changed, said", [({"t": -1}, "t -1"), ({"t": None}, "t None"), ({"level": 1.0}, "level 1.0"), ({"draws": 3}, "draws 3")])
def test_bad_questions(changed, said):
    model = BGNBD().fit(pd.DataFrame({"frequency": np.arange(200) % 7, "recency": np.where(np.arange(200) % 7, np.arange(200) % 31, 0), "T": 40.0}))
    with pytest.raises(ParameterError, match=said):
        model.predict(FRAME, **({"t": 5} | changed))


def test_names_of_covariates():
    many = pd.DataFrame({"frequency": np.arange(200) % 7, "recency": np.where(np.arange(200) % 7, np.arange(200) % 31, 0), "T": 40.0, "age": np.arange(200) % 11})
    assert BGNBD("age").fit(many).params_ == BGNBD(["age"]).fit(many).params_ and BGNBD(None).fit(many).params_ == BGNBD().fit(many).params_
    for bad in (["age", "age"], [1]):
        with pytest.raises(ParameterError, match="needs names of columns, each once"):
            BGNBD(bad).fit(many)
