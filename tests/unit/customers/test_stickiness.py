"""Stickiness: plain counts beside those of the bits, and cases worked out by hand."""

import numpy as np
import pandas as pd
import pytest

from tenant_lab.core.errors import ParameterError, SchemaError
from tenant_lab.customers.stickiness import stickiness

DAYS = pd.date_range("2024-01-01", periods=56)
ROWS = pd.DataFrame({"customer_id": ["daily"] * 56 + ["mondays"] * 8 + ["once"], "at": [*DAYS, *DAYS[::7], pd.Timestamp("2024-02-10")]})


def test_three_customers_by_hand():
    some = stickiness(ROWS, "2024-02-25")
    table = some.frame().set_index("day")
    assert some.l28.query("customers > 0")[["days", "customers"]].to_numpy().tolist() == [[1, 1], [4, 1], [28, 1]]
    assert table.iloc[-1][["dau", "wau", "mau"]].tolist() == [1, 2, 3]
    assert table.iloc[-1]["daily"] == pytest.approx((28 + 4 + 1) / 3 / 28) and table.iloc[-1]["weekly"] == pytest.approx(8 / 7 / 2)
    assert table["mau"].isna().sum() == 27 and table["wau"].isna().sum() == 6 and table["dau"].sum() == 65
    assert some.plot().layout.title.text == "Who comes in 28 days comes on 11.0 of them"
    assert some.plot_days().layout.title.text == "33.3% came on every second day or more"


def test_the_same_as_plain_sets_on_any_data():
    rng = np.random.default_rng(0)
    at = pd.Timestamp("2023-05-20") + pd.to_timedelta(rng.integers(0, 90 * 86_400, 4_000), unit="s")
    rows = pd.DataFrame({"customer_id": rng.integers(0, 500, 4_000), "at": at.astype("datetime64[us]")})
    found = stickiness(rows, "2023-08-10").frame()
    day = rows["at"].dt.normalize()
    for row in found.itertuples():
        for window, name in ((1, "dau"), (7, "wau"), (28, "mau")):
            if (row.day - found["day"][0]).days >= window - 1:
                assert getattr(row, name) == rows.loc[(day <= row.day) & (day > row.day - pd.Timedelta(days=window)), "customer_id"].nunique()
    assert len(found) == 83


def test_a_day_that_is_not_over_is_left_out():
    whole, cut = stickiness(ROWS, "2024-02-24"), stickiness(ROWS, pd.Timestamp("2024-02-25 12:00"))
    pd.testing.assert_frame_equal(whole.frame(), cut.frame())
    assert cut.notes[-1] == "the last day is not over, and left out"


def test_bad_input():
    with pytest.raises(ParameterError, match="27 days are known, and 28 are needed"):
        stickiness(ROWS, "2024-01-27")
    with pytest.raises(ParameterError, match="nobody came in the 28 days before"):
        stickiness(ROWS, "2024-06-01")
    with pytest.raises(SchemaError, match="activity lacks seen_at"):
        stickiness(ROWS, "2024-02-25", at="seen_at")
