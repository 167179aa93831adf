"""The whole CDNOW data: its published size, and plain pandas from the raw file beside our functions.

Fader & Hardie (2001), "Forecasting repeat sales at CDNOW: a case study", Interfaces 31(3), S94-S107: 23 570 customers
who made their first purchase in the first quarter of 1997, followed to the end of June 1998. The file of Bruce Hardie's
site has 69 659 rows (67 591 distinct customer-days).
"""

import duckdb
import numpy as np
import pandas as pd
import pytest

from tenant_lab.core.settings import shipped
from tenant_lab.customers.cohorts import cohorts
from tenant_lab.customers.revenue import concentration, revenue
from tenant_lab.customers.rfm import rfm

PATH = shipped("data") / "cdnow" / "purchases.parquet"
CUTS = ["1998-06-30", "1997-09-30", "1997-12-15"]


@pytest.fixture(scope="module")
def raw():
    frame = pd.read_parquet(PATH)
    return frame.assign(purchased_at=pd.to_datetime(frame["purchased_at"]))


@pytest.fixture(scope="module")
def relation():
    return duckdb.connect().read_parquet(str(PATH))


def test_published_size(raw):
    assert len(raw) == 69_659
    assert raw["customer_id"].nunique() == 23_570
    assert len(raw[["customer_id", "purchased_at"]].drop_duplicates()) == 67_591
    assert raw["purchased_at"].min() == pd.Timestamp("1997-01-01")
    assert raw["purchased_at"].max() == pd.Timestamp("1998-06-30")
    assert raw.groupby("customer_id")["purchased_at"].min().max() <= pd.Timestamp("1997-03-31")
    assert list(raw.columns) == ["customer_id", "purchased_at", "quantity", "amount"]
    assert PATH.stat().st_size < 400_000


def test_rows_are_in_the_order_of_the_source(raw):
    assert raw["customer_id"].is_monotonic_increasing and raw["customer_id"].iloc[0] == "00001"
    assert raw.iloc[:3][["quantity", "amount"]].to_numpy().tolist() == [[1, 11.77], [1, 12.0], [5, 77.0]]


@pytest.mark.parametrize("as_of", CUTS)
def test_rfm_equals_plain_pandas(raw, relation, as_of):
    known = raw[raw["purchased_at"] <= as_of]
    plain = known.groupby("customer_id").agg(first=("purchased_at", "min"), last=("purchased_at", "max"),
                                             days=("purchased_at", "nunique"), paid=("amount", "sum"))
    ours = rfm(relation, as_of).scores.set_index("customer_id")
    assert ours.index.tolist() == plain.index.tolist()
    assert (ours["first_purchase"] == plain["first"]).all() and (ours["last_purchase"] == plain["last"]).all()
    assert (ours["recency"] == (pd.Timestamp(as_of) - plain["last"]).dt.days).all()
    assert (ours["frequency"] == plain["days"]).all()
    np.testing.assert_allclose(ours["monetary"], plain["paid"], rtol=0, atol=1e-6)
    # the rule of scores, through pandas' own ranks: strictly worse customers are rank(min) - 1
    for score, values in (("r", plain["last"]), ("f", plain["days"]), ("m", plain["paid"].round(6))):
        worse = values.rank(method="min") - 1
        assert (ours[score] == 1 + sum((5 * worse >= k * len(values)).astype(int) for k in (1, 2, 3, 4))).all()


@pytest.mark.parametrize("as_of", CUTS)
@pytest.mark.parametrize(("period", "code"), [("month", "M"), ("quarter", "Q"), ("week", "W-SUN")])
def test_revenue_equals_plain_pandas(raw, relation, as_of, period, code):
    known = raw[raw["purchased_at"] <= as_of]
    when = known["purchased_at"].dt.to_period(code)
    ours = revenue(relation, as_of, period).frame().set_index("start")
    plain = known.groupby(when)["amount"].sum()
    assert ours.index.tolist() == plain.index.start_time.tolist()
    np.testing.assert_allclose(ours["revenue"], plain, rtol=0, atol=1e-5)
    np.testing.assert_allclose(ours["new_revenue"] + ours["returning_revenue"], plain, rtol=0, atol=1e-5)
    assert (ours["customers"].to_numpy() == known.groupby(when)["customer_id"].nunique().to_numpy()).all()
    assert (ours["purchases"].to_numpy() == known.drop_duplicates(["customer_id", "purchased_at"]).groupby(
        when)["customer_id"].size().to_numpy()).all()
    first = when.groupby(known["customer_id"]).min().value_counts().reindex(plain.index, fill_value=0)
    assert (ours["new_customers"].to_numpy() == first.to_numpy()).all()
    assert ours["partial"].iloc[-1] == (when.max().end_time.normalize() > pd.Timestamp(as_of))
    assert not ours["partial"].iloc[:-1].any()


@pytest.mark.parametrize("as_of", CUTS)
@pytest.mark.parametrize(("period", "code"), [("month", "M"), ("week", "W-SUN")])
def test_cohorts_equal_plain_pandas(raw, relation, as_of, period, code):
    known = raw[raw["purchased_at"] <= as_of]
    when = known["purchased_at"].dt.to_period(code)
    first = when.groupby(known["customer_id"]).transform("min")
    age = (when.astype("int64") - first.astype("int64")).rename("age")  # ordinals of periods
    groups = known.groupby([first.rename("cohort"), age])
    active, paid = groups["customer_id"].nunique(), groups["amount"].sum()
    ours = cohorts(relation, as_of, period).frame()
    ours["cohort"] = (ours["start"].dt.to_period(code).astype("int64") - ours["age"]).map(
        dict(zip(first.astype("int64"), first, strict=True)))
    ours = ours.set_index(["cohort", "age"])
    bought = ours[ours["active"] > 0]
    assert len(bought) == len(active)
    assert (bought["active"] == active.reindex(bought.index)).all()
    np.testing.assert_allclose(bought["revenue"], paid.reindex(bought.index), rtol=0, atol=1e-5)
    size = first.groupby(known["customer_id"]).first().value_counts()
    np.testing.assert_allclose(bought["retention"], active.reindex(bought.index) / size.reindex(
        bought.index.get_level_values(0)).to_numpy(), rtol=1e-12)


def test_concentration_equals_plain_pandas(raw, relation):
    paid = raw.groupby("customer_id")["amount"].sum().sort_values(ascending=False)
    result = concentration(relation, "1998-06-30")
    assert (result.top_customers, result.customers) == (2357, 23570)
    assert result.share == pytest.approx(paid.iloc[:2357].sum() / paid.sum(), rel=1e-9)
    assert result.low < result.share < result.high
