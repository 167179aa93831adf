"""Summaries against plain pandas, on purchases with refunds of every kind; and what is refused."""
import datetime as dt

import duckdb
import narwhals as nw
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tenant_lab.core.errors import ParameterError, SchemaError
from tenant_lab.customers.summary import summary

END, SPLIT = "2024-06-30", "2024-03-31"


@pytest.fixture(scope="module")
def bought():
    """300 customers, several purchases a day, refunds with and without a sale that day, some before the first sale."""
    rng = np.random.default_rng(0)
    n = 3000
    frame = pd.DataFrame({"customer_id": [f"c{i:03}" for i in rng.integers(0, 300, n)],
                          "purchased_at": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 200 * 1440, n), unit="m"),
                          "amount": rng.gamma(2, 10, n).round(2), "kind": np.where(rng.random(n) < 0.1, "refund", "sale")})
    frame.loc[frame["kind"] == "refund", "amount"] *= -1
    frame.loc[::37, ["kind", "amount"]] = ["sale", -3.0]   # a negative amount is a refund, whatever it calls itself
    return frame.astype({"purchased_at": "datetime64[us]"})


def plain(frame, end, split, unit, refunds):
    """The same, customer by customer."""
    last, split = dt.date.fromisoformat(end), dt.date.fromisoformat(split or end)
    days = {"day": 1, "week": 7}[unit]
    rows = []
    for who, own in frame[frame["purchased_at"] < pd.Timestamp(last) + pd.Timedelta(days=1)].groupby("customer_id"):
        own = own.assign(day=own["purchased_at"].dt.date, sale=(own["kind"] != "refund") & (own["amount"] >= 0))
        own = own[own["sale"]] if refunds == "ignore" else own
        sales = sorted(set(own.loc[own["sale"], "day"]))
        if not sales or sales[0] > split:
            continue
        again = [day for day in sales[1:] if day <= split]
        later = [day for day in sales if day > split]
        paid = own.loc[(own["day"] > sales[0]) & (own["day"] <= split), "amount"].sum()
        rows.append((who, len(again), ((again or sales)[-1] - sales[0]).days / days if again else 0.0, (split - sales[0]).days / days, paid / len(again) if again else 0.0,
                     len(later), own.loc[own["day"] > split, "amount"].sum() / len(later) if later else 0.0, (last - split).days / days))
    return pd.DataFrame(rows, columns=["customer_id", "frequency", "recency", "T", "monetary_value", "frequency_holdout", "monetary_value_holdout", "duration_holdout"])


@pytest.mark.parametrize("unit", ["day", "week"])
@pytest.mark.parametrize("refunds", ["net", "ignore"])
@pytest.mark.parametrize("split", [None, SPLIT])
def test_against_plain_pandas(bought, unit, refunds, split):
    ours, expected = summary(bought, END, unit, split, refunds).customers, plain(bought, END, split, unit, refunds)
    assert ours["customer_id"].tolist() == expected["customer_id"].tolist() and len(ours) > 250
    columns = [c for c in expected.columns[1:] if split or "holdout" not in c]
    assert ours.columns.tolist() == ["customer_id", "first_purchase", *columns]
    np.testing.assert_allclose(ours[columns].to_numpy(float), expected[columns].to_numpy(float), rtol=0, atol=1e-9)


def test_any_frame_gives_the_same(bought):
    expected = summary(bought, END, calibration_end=SPLIT).customers
    before = bought.copy()
    table = pa.Table.from_pandas(bought)
    for frame in (table, duckdb.connect().from_arrow(table), nw.from_native(table)):
        pd.testing.assert_frame_equal(summary(frame, END, calibration_end=SPLIT).customers, expected)
    pd.testing.assert_frame_equal(bought, before)


def test_days_are_those_of_the_zone():
    """Half past midnight in Paris is the day before in UTC; both columns keep their own days."""
    at = pd.to_datetime(["2024-05-01 00:30", "2024-05-01 23:00", "2024-05-02 00:30"]).tz_localize("Europe/Paris")
    frame = pd.DataFrame({"customer_id": "a", "purchased_at": at.astype("datetime64[us, Europe/Paris]"), "amount": 1.0})
    here = summary(frame, "2024-05-02").customers.iloc[0]
    assert (here["frequency"], here["recency"], here["T"]) == (1, 1, 1)
    there = summary(frame.assign(purchased_at=frame["purchased_at"].dt.tz_convert("UTC")), "2024-05-02").customers.iloc[0]
    assert (there["frequency"], there["recency"], there["T"]) == (1, 1, 2)
    dates = frame.assign(purchased_at=[dt.date(2024, 5, 1), dt.date(2024, 5, 1), dt.date(2024, 5, 2)])
    assert summary(dates, "2024-05-02").customers["frequency"].tolist() == [1]


def test_what_is_noted(bought):
    told = summary(bought, END, calibration_end=SPLIT)
    assert str(told.last_day) == SPLIT and told.unit == "day"
    left, back = told.notes
    assert "left out" in left and back.endswith("refunds taken from the amounts")
    assert summary(bought, END, refunds="ignore").notes[1].endswith("refunds left out")
    clean = bought[(bought["kind"] == "sale") & (bought["amount"] >= 0) & (bought["purchased_at"] < "2024-07-01")]
    assert summary(clean, END).notes == ()
    assert "of the customers never came back" in told.plot().layout.title.text and told.frame() is told.customers


def test_bad_input(bought):
    for changed, said in ((bought.drop(columns="amount"), "lacks amount"), (bought.assign(amount="x"), "amount is"), (bought.assign(amount=np.nan), "no usable value"),
                          (bought[:0], "no rows"), (bought.assign(amount=-1.0), "no sale until 2024-06-30")):
        with pytest.raises(SchemaError, match=said):
            summary(changed, END)
    for changed, said in (({"as_of": "2023-01-01"}, "nothing is known before"), ({"as_of": "soon"}, "as_of 'soon'"), ({"unit": "month"}, "allowed are day, week"),
                          ({"refunds": "gross"}, "allowed are net, ignore"), ({"calibration_end": END}, "needs a day before 2024-06-30")):
        with pytest.raises(ParameterError, match=said):
            summary(bought, **({"as_of": END} | changed))
    with pytest.raises(SchemaError, match="no sale until 2023-12-31"):
        summary(bought, END, calibration_end="2023-12-31")


def test_a_wrong_calibration_end_is_called_by_its_name():
    with pytest.raises(ParameterError, match="calibration_end 'soon': needs a day"):
        summary(pd.DataFrame({"customer_id": ["a"], "purchased_at": pd.to_datetime(["2024-01-01"]), "amount": [1.0]}), "2024-06-30", calibration_end="soon")
