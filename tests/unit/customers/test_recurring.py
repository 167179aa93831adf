"""Recurring revenue: cases small enough to be worked out by hand, and what must add up on any data."""

import numpy as np
import pandas as pd
import pytest

from tenant_lab.core.errors import ParameterError, SchemaError
from tenant_lab.customers.recurring import MOVES, recurring_revenue

# ann pays more and leaves, bob pauses and comes back for less, cid is billed month by month
LINES = pd.DataFrame([
    ("ann", "2024-01-05", "2024-03-10", 10.0), ("ann", "2024-03-10", "2024-04-20", 15.0), ("bob", "2024-01-20", "2024-03-01", 20.0), ("bob", "2024-04-02", None, 12.0),
    ("cid", "2024-02-01", "2024-02-29 23:59:59", 8.0), ("cid", "2024-03-01", "2024-03-31 23:59:59", 8.0), ("cid", "2024-04-01", None, 8.0)],
    columns=["customer_id", "started_at", "ended_at", "monthly_price"]).astype({"started_at": "datetime64[us]", "ended_at": "datetime64[us]"})


def test_months_by_hand():
    table = recurring_revenue(LINES, "2024-04-30").frame().set_index("period")
    assert table["after"].tolist() == [30, 38, 23, 20] and table["before"].tolist() == [0, 30, 38, 23]
    moves = {"Jan 2024": [30, 0, 0, 0, 0], "Feb 2024": [8, 0, 0, 0, 0], "Mar 2024": [0, 0, 5, 0, -20], "Apr 2024": [0, 12, 0, 0, -15]}
    for name, wanted in moves.items():
        assert table.loc[name, list(MOVES)].tolist() == wanted
    assert table["customers"].tolist() == [2, 3, 2, 2] and table["new_customers"].tolist() == [2, 1, 0, 0] and table["lost_customers"].tolist() == [0, 0, 1, 1]
    assert not table["partial"].any()


def test_retention_by_hand():
    result = recurring_revenue(LINES, "2024-04-30")
    one, two = (result.retention(over).set_index("period") for over in (1, 2))
    assert one.loc["Mar 2024", ["customers", "kept", "gross", "net"]].tolist() == pytest.approx([3, 2 / 3, 18 / 38, 23 / 38])
    assert two.loc["Apr 2024", ["customers", "kept", "gross", "net"]].tolist() == pytest.approx([3, 2 / 3, 20 / 38, 20 / 38])
    assert two.index.tolist() == ["Mar 2024", "Apr 2024"] and two["net_low"].isna().all()   # of three customers there is no interval
    assert result.retention(4).empty
    cut = recurring_revenue(LINES, "2024-04-15")
    assert cut.frame()["partial"].tolist() == [False] * 3 + [True] and cut.frame()["after"].iloc[-1] == 35
    assert cut.retention().set_index("period").index.tolist() == ["Feb 2024", "Mar 2024"]   # April is not over


def test_bills_to_the_last_second():
    """A line that begins in between does not hide the next bill, and the day at whose end all bills end has not lost everybody."""
    rows = pd.DataFrame([("z", "2024-01-01", "2024-01-31 23:59:59", 10.0), ("z", "2024-01-15", None, 5.0), ("z", "2024-02-01", "2024-02-29 23:59:59", 10.0)], columns=LINES.columns).astype({"started_at": "datetime64[us]", "ended_at": "datetime64[us]"})
    table = recurring_revenue(rows, "2024-02-29").frame()
    assert table["after"].tolist() == [15, 15] and table[["expansion", "churn"]].to_numpy().tolist() == [[0, 0], [0, 0]]
    assert recurring_revenue(rows, "2024-03-31").frame()["contraction"].tolist() == [0, 0, -10]


def test_two_lines_at_once_add_up_and_free_ones_are_nothing():
    both = pd.concat([LINES, LINES.iloc[[0]].assign(monthly_price=3.0), LINES.iloc[[2]].assign(customer_id="dot", monthly_price=0.0)])
    table = recurring_revenue(both, "2024-04-30").frame()
    assert table["after"].tolist() == [33, 41, 23, 20] and table["customers"].tolist() == [2, 3, 2, 2]


@pytest.mark.parametrize("period", ["week", "month", "quarter", "year"])
def test_moves_add_up_on_any_data(period):
    rng = np.random.default_rng(0)
    n = 3_000
    start = pd.Timestamp("2021-01-01") + pd.to_timedelta(rng.integers(0, 1_000, n), unit="D")
    end = pd.Series(start + pd.to_timedelta(rng.integers(0, 200, n), unit="D"))
    rows = pd.DataFrame({"customer_id": rng.integers(0, 600, n), "started_at": start.astype("datetime64[us]"), "ended_at": end.where(rng.random(n) < 0.9).astype("datetime64[us]"), "monthly_price": rng.integers(0, 30, n)})
    result = recurring_revenue(rows, "2023-06-10", period)
    table = result.frame()
    assert (table["before"] + table[list(MOVES)].sum(axis=1)).to_numpy() == pytest.approx(table["after"].to_numpy())
    assert (table["before"].shift(-1).dropna().to_numpy() == table["after"][:-1].to_numpy()).all()
    assert (table["customers"].diff().fillna(table["customers"]) + table["lost_customers"] >= table["new_customers"]).all()
    starts = {who: np.sort(some["started_at"].to_numpy()) for who, some in rows.groupby("customer_id")}

    def bridged(who, ended):   # to the customer's next start, where that comes within a day
        following = starts[who][starts[who] >= np.datetime64(ended)] if ended == ended else []
        return following[0] if len(following) and following[0] - np.datetime64(ended) <= np.timedelta64(1, "D") else ended
    until = pd.Series([bridged(who, ended) for who, ended in zip(rows["customer_id"], rows["ended_at"], strict=True)])
    for row, end in zip(table[~table["partial"]].itertuples(), table["start"][1:], strict=False):   # each end by itself
        assert row.after == rows.loc[(rows["started_at"] < end) & ~(until < end), "monthly_price"].sum()
    kept = result.retention()
    assert ((kept["gross"] <= kept["net"] + 1e-12) & (kept["gross"] <= 1 + 1e-12) & (kept["gross"] >= 0)).all()


def test_the_interval_of_the_net_share_holds_in_95_of_100():
    """200 tenants of 200 customers; 95 % ± 3.3 standard errors of 1.54 %, and the ratio's own small bias."""
    inside, truth = 0, 0.9 * 1.05
    ends = pd.Series([pd.Timestamp("2024-02-10")] * 200)
    for seed in range(200):
        rng = np.random.default_rng(seed)
        price, stays = rng.gamma(2, 10, 200), rng.random(200) < 0.9
        first = pd.DataFrame({"customer_id": np.arange(200), "started_at": pd.Timestamp("2024-01-05"), "ended_at": ends, "monthly_price": price})
        second = pd.DataFrame({"customer_id": np.flatnonzero(stays), "started_at": pd.Timestamp("2024-02-10"), "ended_at": pd.NaT, "monthly_price": (price * rng.choice([1.0, 1.1], 200))[stays]})
        row = recurring_revenue(pd.concat([first, second]).astype({"started_at": "datetime64[us]", "ended_at": "datetime64[us]"}), "2024-02-29").retention().iloc[0]
        inside += row["net_low"] <= truth <= row["net_high"]
    assert inside / 200 > 0.95 - 3.3 * 0.0154 - 0.005


def test_months_begin_where_the_zone_says():
    zoned = LINES.assign(**{name: LINES[name].dt.tz_localize("America/New_York") for name in ("started_at", "ended_at")})
    pd.testing.assert_frame_equal(recurring_revenue(zoned, "2024-04-30").frame(), recurring_revenue(LINES, "2024-04-30").frame())


def test_the_picture_says_what_a_year_keeps():
    years = LINES.assign(ended_at=pd.Series(pd.NaT, LINES.index, dtype="datetime64[us]"))
    fig = recurring_revenue(years, "2025-04-30").plot("EUR")
    assert fig.layout.title.text == "81.0\u00a0EUR a month; of a year ago's revenue, 100% is still there"
    assert [bar.name for bar in fig.data] == ["new", "expansion", "together"]
    assert recurring_revenue(LINES, "2024-04-30").plot().layout.title.text == "20.0 a month"


@pytest.mark.parametrize(("change", "as_of", "period", "error", "match"), [
    (lambda f: f.drop(columns="monthly_price"), "2024-04-30", "month", SchemaError, "monthly_price: needs a column of numbers"),
    (lambda f: f.assign(monthly_price="x"), "2024-04-30", "month", SchemaError, "monthly_price: needs a column of numbers"),
    (lambda f: f.assign(monthly_price=np.nan), "2024-04-30", "month", SchemaError, "7 rows are missing, negative or infinite"),
    (lambda f: f.assign(monthly_price=np.inf), "2024-04-30", "month", SchemaError, "7 rows are missing, negative or infinite"),
    (lambda f: f.assign(monthly_price=0.0), "2024-04-30", "month", ParameterError, "nobody paid at the end of any month"),
    (lambda f: f, "2023-04-30", "month", ParameterError, "no subscription had started"),
    (lambda f: f, "2024-04-30", "day", ParameterError, "period 'day': allowed are week, month, quarter, year"),
    (lambda f: f.assign(started_at=f["started_at"].where(f["customer_id"] != "cid")), "2024-04-30", "month", SchemaError, "started_at: 3 rows have no value"),
])
def test_bad_input(change, as_of, period, error, match):
    with pytest.raises(error, match=match):
        recurring_revenue(change(LINES), as_of, period)
