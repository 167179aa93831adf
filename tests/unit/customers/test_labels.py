import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest

from tenant_lab.core.errors import ParameterError, SchemaError
from tenant_lab.customers.behaviour import behaviours
from tenant_lab.customers.labels import contract_labels, cut_tables, leaks, silence_labels
from tenant_lab.demo.aurora import simulate

day = pd.Timestamp


def lines(*rows):
    return pd.DataFrame([{"customer_id": c, "started_at": day(a), "ended_at": day(b) if b else pd.NaT} for c, a, b in rows])


LINES = lines(("stays", "2024-01-01", ""), ("leaves", "2024-01-01", "2024-07-20"), ("in the gap", "2024-01-01", "2024-07-03"), ("before", "2024-01-01", "2024-06-01"), ("later", "2024-07-01 00:00:01", ""),
              ("after", "2024-01-01", "2024-08-15"), ("changes plan", "2024-01-01", "2024-07-20"), ("changes plan", "2024-07-20", ""), ("comes back", "2024-01-01", "2024-07-20"), ("comes back", "2024-08-01", ""))


def told(labels):
    return dict(zip(labels.frame()["customer_id"], labels.frame()["churned"], strict=True))


def test_three_windows():
    labels = contract_labels(LINES, "2024-06-30", "2024-12-31", gap=7, outcome=30)
    assert told(labels) == {"stays": 0, "leaves": 1, "after": 0, "changes plan": 0, "comes back": 0}
    assert labels.notes == ("1 customers left in the gap of 7 days and are left out",)
    assert (labels.as_of, labels.outcome_end) == (day("2024-07-01"), day("2024-08-07"))
    assert told(contract_labels(LINES, "2024-06-30", "2024-12-31", outcome=30))["in the gap"] == 1
    assert told(contract_labels(LINES, "2024-06-30", "2024-12-31", gap=7, outcome=60))["after"] == 1
    assert "20.0%" in labels.plot().layout.title.text


def test_the_same_from_any_frame():
    paris = LINES.assign(started_at=LINES["started_at"].dt.tz_localize("Europe/Paris"), ended_at=LINES["ended_at"].dt.tz_localize("Europe/Paris"))
    expected = told(contract_labels(LINES, "2024-06-30", "2024-12-31", gap=7, outcome=30))
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'Europe/Paris'")
    for frame in (paris, pl.from_pandas(paris), pl.from_pandas(paris).lazy(), connection.from_df(paris)):
        assert told(contract_labels(frame, "2024-06-30", "2024-12-31", gap=7, outcome=30)) == expected


def test_silence():
    rows = pd.DataFrame({"customer_id": ["a", "a", "b", "c", "d", "d", None], "at": [day(t) for t in ("2024-06-01", "2024-08-20", "2024-06-01", "2024-01-01", "2024-06-30 23:59", "2024-07-05", "2024-06-01")]})
    assert told(silence_labels(rows, "2024-06-30", "2024-12-31", observe=60, outcome=60)) == {"a": 0, "b": 1, "d": 0}
    assert told(silence_labels(rows, "2024-06-30", "2024-12-31", observe=60, gap=7, outcome=60)) == {"a": 0, "b": 1, "d": 1}
    assert told(silence_labels(rows.rename(columns={"at": "purchased_at"}), "2024-06-30", "2024-12-31", at="purchased_at")) == {"a": 0, "b": 1, "d": 0}


def test_bad_input():
    with pytest.raises(ParameterError, match="not known yet"):
        contract_labels(LINES, "2024-06-30", "2024-07-29", outcome=30)
    assert told(contract_labels(LINES, "2024-06-30", "2024-07-30", outcome=30))
    with pytest.raises(ParameterError, match="nobody had a subscription"):
        contract_labels(LINES[3:4], "2024-06-30", "2024-12-31")
    with pytest.raises(ParameterError, match="gap"):
        contract_labels(LINES, "2024-06-30", "2024-12-31", gap=-1)
    rows = pd.DataFrame({"customer_id": ["a"], "at": [day("2024-06-01")]})
    with pytest.raises(ParameterError, match="nobody was active"):
        silence_labels(rows, "2023-06-30", "2024-12-31")
    with pytest.raises(SchemaError, match="must be a timestamp"):
        silence_labels(rows.assign(at="June"), "2024-06-30", "2024-12-31")
    with pytest.raises(SchemaError, match="bought_at"):
        silence_labels(rows, "2024-06-30", "2024-12-31", at="bought_at")


# -- leaks ------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def tables():
    world = simulate(800, seed=3)
    return {name: world.tables[name] for name in ("plays", "events", "subscriptions", "purchases")}


def test_behaviours_do_not_look_ahead(tables):
    for at in ("2024-08-31", "2025-03-15"):
        assert leaks(lambda some, day: behaviours(some, day, events=["payment_failed"]).frame(), tables, at) == ()


def test_planted_leaks_are_named(tables):
    def leaking(some, at):
        found = behaviours(some, at).frame().set_index("customer_id")
        subscriptions = some["subscriptions"]
        table = (subscriptions.collect("pyarrow").to_native() if hasattr(subscriptions, "collect") else subscriptions).to_pandas()
        plays = (some["plays"].collect("pyarrow").to_native() if hasattr(some["plays"], "collect") else some["plays"]).to_pandas()
        found["ever_cancelled"] = table[table["end_reason"] == "cancelled"].groupby("customer_id").size().reindex(found.index).fillna(0)
        found["all_plays"] = plays.groupby("customer_id").size().reindex(found.index).fillna(0)
        return found.reset_index()
    assert leaks(leaking, tables, "2025-03-15") == ("ever_cancelled", "all_plays")


def test_who_is_listed_may_leak_too(tables):
    def everybody(some, at):
        plays = some["plays"]
        return (plays.collect("pyarrow").to_native() if hasattr(plays, "collect") else plays).to_pandas().groupby("customer_id", as_index=False).size()
    assert leaks(everybody, tables, "2024-02-15") == ("customer_id", "size")
    with pytest.raises(SchemaError, match="more than one row"):
        leaks(lambda some, at: pd.DataFrame({"customer_id": ["a", "a"]}), tables, "2024-02-15")
    with pytest.raises(SchemaError, match="customer_id"):
        leaks(lambda some, at: pd.DataFrame({"x": [1]}), tables, "2024-02-15")


def test_cut_tables_are_those_of_the_day(tables):
    cut = cut_tables(tables, "2025-03-15")
    then = cut["subscriptions"].collect("pyarrow").to_native().to_pandas()
    whole = tables["subscriptions"].to_pandas()
    until = day("2025-03-16", tz="UTC")
    assert len(then) == (whole["started_at"] < until).sum() and then["ended_at"].max() < until
    assert then["end_reason"].notna().sum() == (whole["ended_at"] < until).sum()
    with pytest.raises(SchemaError, match="no contract knows the table 'visits'"):
        cut_tables({"visits": tables["plays"]}, "2025-03-15")


def test_bills_that_follow_one_another_are_no_end():
    """Monthly lines that end a second before midnight: nobody leaves, wherever the windows end."""
    starts = pd.date_range("2024-01-01", periods=10, freq="MS")
    rows = pd.DataFrame([{"customer_id": c, "started_at": a, "ended_at": a + pd.offsets.MonthBegin(1) - pd.Timedelta(seconds=1)} for c in "ab" for a in starts])
    for at, outcome in (("2024-05-16", 45), ("2024-05-31", 30), ("2024-05-15", 30)):
        assert told(contract_labels(rows, at, "2024-08-31", outcome=outcome)) == {"a": 0, "b": 0}
    with pytest.raises(ParameterError, match="all 1 who had a subscription left in it"):
        contract_labels(LINES[2:3], "2024-06-30", "2024-12-31", gap=7)


def test_what_the_leak_test_can_and_cannot_say(tables):
    with pytest.raises(ParameterError, match="nothing could leak"):
        leaks(lambda some, at: behaviours(some, at).frame(), {"plays": tables["plays"]}, "2026-12-31")
    with pytest.raises(ParameterError, match="gave no rows"):
        leaks(lambda some, at: pd.DataFrame({"customer_id": []}), tables, "2025-03-15")
    with pytest.raises(ParameterError, match="gave NoneType"):
        leaks(lambda some, at: None, tables, "2025-03-15")
    amounts = pd.DataFrame({"customer_id": np.tile(list("abcdefgh"), 50_000), "purchased_at": pd.Timestamp("2024-03-01") + pd.to_timedelta(np.arange(400_000) // 10, unit="min"), "amount": np.random.default_rng(0).random(400_000) * 1e6})
    assert all(leaks(lambda some, at: behaviours(some, at).frame(), {"purchases": amounts}, "2024-03-20") == () for _ in range(3))   # sums of threads differ in their last digits
