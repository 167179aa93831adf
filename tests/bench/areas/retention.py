"""Ten million events of half a million customers: their retention by month, beside self-joins in the same engine."""
from pathlib import Path

from case import Case

EVENTS, CUSTOMERS = 10_800_000, 500_000   # some of the events come after the two years and are left out


def events(data: Path) -> None:
    """Customers who begin at any time, some of them much busier than others."""
    import duckdb
    import numpy as np
    import pyarrow as pa

    rng = np.random.default_rng(0)
    who = (CUSTOMERS * rng.random(EVENTS) ** 1.5).astype(int)
    days = rng.integers(0, 600, CUSTOMERS)[who] + rng.exponential(120, EVENTS)
    engine = duckdb.connect()
    engine.execute("SET TimeZone = 'UTC'")
    engine.register("drawn", pa.table({"who": who, "at": np.datetime64("2023-01-01", "us") + (days * 86_400e6).astype("timedelta64[us]")}))
    engine.execute("CREATE TABLE events AS SELECT substr(md5(who::VARCHAR), 1, 26) AS customer_id, \"at\"::TIMESTAMPTZ AS \"at\" FROM drawn WHERE \"at\" < TIMESTAMP '2025-01-01'")
    assert engine.sql("SELECT count(*) FROM events").fetchall()[0][0] >= 10_000_000
    engine.table("events").write_parquet(str(data / "events.parquet"))


TABLE = """
import duckdb
engine = duckdb.connect()
engine.execute("SET TimeZone = 'UTC'; SET threads = 1; CREATE TABLE events AS FROM 'data/events.parquet'")
"""
OURS = TABLE + """
from tenant_lab.customers.retention import retention
events = engine.table("events")
retention(events.limit(1000), "2024-12-31")
def work(data):
    return retention(events, "2024-12-31").matrix("active")
def result(wide, out):
    return wide.fillna(0).astype(int).to_numpy().tolist()
"""
SELF_JOIN = TABLE + """
def work(data):
    return engine.sql('''QUERY''').df()
def result(table, out):
    return table.pivot(index="cohort", columns="age", values="active").fillna(0).astype(int).to_numpy().tolist()
"""
USUAL = """WITH firsts AS (SELECT customer_id, date_trunc('month', min("at")) AS cohort FROM events GROUP BY customer_id)
SELECT cohort, date_diff('month', cohort, date_trunc('month', "at")) AS age, count(DISTINCT customer_id) AS active
FROM events JOIN firsts USING (customer_id) GROUP BY ALL"""
CAREFUL = """WITH months AS MATERIALIZED (SELECT DISTINCT customer_id, date_trunc('month', "at") AS month FROM events),
firsts AS (SELECT customer_id, min(month) AS cohort FROM months GROUP BY customer_id)
SELECT cohort, date_diff('month', cohort, month) AS age, count(*) AS active FROM months JOIN firsts USING (customer_id) GROUP BY ALL"""


CASES = [
    Case("retention of 10 million events, beside the usual self-join", OURS, 2.0, "self-join in DuckDB", SELF_JOIN.replace("QUERY", USUAL), runs=3, prepare=events),
    Case("the same, beside a self-join of distinct months", OURS, 1.0, "self-join in DuckDB", SELF_JOIN.replace("QUERY", CAREFUL), runs=3, prepare=events),
]
