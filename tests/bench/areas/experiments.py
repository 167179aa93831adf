"""Ten million users, a day added to thirty, a thousand segments: effects beside tea-tasting, a limit, and a query for each segment."""
import os
import subprocess
import sys
from pathlib import Path

from case import Case


def drawn(rng, count: int) -> dict:
    """Users of a shop in two variants, as in tea-tasting's examples; the second has about 0.3 % more orders."""
    import numpy as np

    variant = rng.integers(0, 2, count)
    sessions = 1 + rng.poisson(1, count)
    buys, price = rng.beta(0.25, 0.75, count), rng.lognormal(2.2, 0.5, count)
    orders = rng.binomial(sessions, np.minimum(buys * (1 + 0.003 * variant), 1))
    before = rng.poisson(sessions)
    orders_before = rng.binomial(before, buys)
    return {"variant": variant, "sessions": sessions, "orders": orders, "revenue": (orders * price).round(2), "sessions_covariate": before,
            "orders_covariate": orders_before, "revenue_covariate": (orders_before * price * rng.lognormal(-0.125, 0.5, count)).round(2)}


METRICS = """
from tenant_lab.experiments.metrics import Mean, Ratio
METRICS = [Mean("sessions", covariate="sessions_covariate"), Ratio("orders", "sessions", covariate=("orders_covariate", "sessions_covariate")),
           Mean("orders", covariate="orders_covariate"), Mean("revenue", covariate="revenue_covariate")]
"""
OURS = """
import duckdb
from tenant_lab.experiments.fixed import effects
from tenant_lab.experiments.moments import moments
engine = duckdb.connect()
engine.execute("SET threads = 1")
""" + METRICS


# ---- ten million users -------------------------------------------------------------------------------------------
def users(data: Path) -> None:
    """In pieces, for they take much memory."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    first = pa.table(drawn(rng, 1_000_000))
    with pq.ParquetWriter(data / "users.parquet", first.schema) as file:
        file.write_table(first)
        for _ in range(9):
            file.write_table(pa.table(drawn(rng, 1_000_000)))


OURS_USERS = OURS + """
from tenant_lab.experiments.split import split_check
users = engine.read_parquet("data/users.parquet")
def analyse(users):
    made = moments(users, METRICS)
    return effects(made, 0), split_check(dict(zip(made.groups["variant"], made.size)), {0: 1, 1: 1}, correction=True)
analyse(users.limit(1000))
def work(data):
    return analyse(users)
def result(found, out):
    return {"effects": found[0].frame()[["effect", "relative", "p"]].to_numpy().tolist(), "split": found[1].p}
"""
# Ibis is its quickest way (version 2.0.0, CPU seconds of a warm process): a DuckDB relation or a lazy Polars scan takes a fifth more, for it
# finds means by window functions there; a Polars frame read whole takes as long and 900 MB; an Arrow table four times as long
PEER_USERS = """
import ibis
import tea_tasting as tt
experiment = tt.Experiment(
    sessions=tt.Mean("sessions", "sessions_covariate"),
    orders_per_session=tt.RatioOfMeans("orders", "sessions", "orders_covariate", "sessions_covariate"),
    orders=tt.Mean("orders", "orders_covariate"),
    revenue=tt.Mean("revenue", "revenue_covariate"),
    split=tt.SampleRatio())
users = ibis.duckdb.connect(threads=1).read_parquet("data/users.parquet")
experiment.analyze(users.limit(1000), control=0)
def work(data):
    return experiment.analyze(users, control=0)
def result(found, out):
    rows = [dict(found[name]._asdict()) for name in found]
    return {"effects": [[row["effect_size"], row["rel_effect_size"], row["pvalue"]] for row in rows[:4]], "split": rows[4]["pvalue"]}
"""


def near(ours, theirs) -> bool:
    return apart(ours, theirs) <= 1e-6


def apart(ours, theirs) -> float:
    """The largest relative difference."""
    import numpy as np

    one, other = (np.append(np.ravel(found["effects"]), found["split"]) for found in (ours, theirs))
    return float(np.max(np.abs(one / other - 1)))


def newer_python() -> str:
    """Python 3.12 where there is one, which the newest tea-tasting needs; else ours. A name on the path may be a shim of pyenv."""
    try:
        asked = subprocess.run(["python3.12", "-c", "import sys, ensurepip; print(sys.executable)"], env={**os.environ, "PYENV_VERSION": "3.12"}, capture_output=True, text=True)
    except FileNotFoundError:
        return sys.executable
    return sys.executable if asked.returncode else asked.stdout.strip()


PYTHON = newer_python()
VERSION = "1.14.0" if sys.executable == PYTHON and sys.version_info < (3, 12) else "2.0.0"


# ---- a day more --------------------------------------------------------------------------------------------------
def days(data: Path) -> None:
    """Moments of thirty days of 100,000 exposures, and the exposures of the next day."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tenant_lab.experiments.moments import moments, save_moments

    rng, names = np.random.default_rng(1), {}
    exec(METRICS, names)
    day = np.datetime64("2025-03-01") + np.arange(31)
    save_moments(moments(pa.table({"day": day[:30].repeat(100_000), **drawn(rng, 3_000_000)}), names["METRICS"], day="day"), data / "moments.npz")
    pq.write_table(pa.table({"day": day[30:].repeat(100_000), **drawn(rng, 100_000)}), data / "day.parquet")


# effects are no part of it; the note says what they cost
OURS_DAY = OURS + """
import time
from tenant_lab.experiments.moments import saved_moments
def timed(make):
    start = time.process_time()
    return make(), 1000 * (time.process_time() - start)
def add(exposures):
    stored, load = timed(lambda: saved_moments("data/moments.npz"))
    new, query = timed(lambda: moments(exposures, like=stored))
    both, joined = timed(lambda: stored + new)
    return both, {"load": load, "moments of the day": query, "add": joined}
exposures = engine.read_parquet("data/day.parquet")
effects(add(exposures.limit(1000))[0], 0)
def work(data):
    return add(exposures)
def result(found, out):
    both, spent = found
    return spent | {"and effects": timed(lambda: effects(both, 0))[1]}
"""


def parts(ours, _) -> str:
    return "the last run: " + ", ".join(f"{part} {ms:.0f} ms" for part, ms in ours.items())


# ---- a thousand segments -----------------------------------------------------------------------------------------
def segments(data: Path) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(2)
    pq.write_table(pa.table({"segment": rng.integers(0, 1000, 1_000_000), **drawn(rng, 1_000_000)}), data / "users.parquet")


TABLE = "\nengine.execute(\"CREATE TABLE users AS FROM 'data/users.parquet'\")\n"
OURS_SEGMENTS = OURS + TABLE + """
users = engine.table("users")
METRICS = [Mean("sessions"), Ratio("orders", "sessions"), Mean("orders"), Mean("revenue")]
def analyse(users):
    return effects(moments(users, METRICS, by="segment"), 0, by="segment")
analyse(users.limit(100_000))
engine.execute("CALL enable_logging('QueryLog')")
def work(data):
    return analyse(users)
def result(found, out):
    queries = engine.execute("SELECT count(*) FROM duckdb_logs WHERE type = 'QueryLog' AND message LIKE '%users%'").fetchone()[0]
    wide = found.frame().pivot(index="segment", columns="metric", values=["effect", "standard_error"])
    names = [metric.name for metric in METRICS]
    return {"queries": queries, "effects": [wide[part][names].to_numpy().tolist() for part in ("effect", "standard_error")]}
"""
# what follows the queries is not counted
PEER_SEGMENTS = """
import duckdb
import numpy as np
engine = duckdb.connect()
engine.execute("SET threads = 1")
""" + TABLE + """
QUERY = '''SELECT count(*), avg(sessions), avg(orders), avg(revenue), var_samp(sessions), var_samp(orders), var_samp(revenue), covar_samp(orders, sessions)
FROM users WHERE segment = ? GROUP BY variant ORDER BY variant'''
def work(data):
    return [engine.execute(QUERY, [segment]).fetchall() for segment in range(1000)]
def result(found, out):
    n, sessions, orders, revenue, v_sessions, v_orders, v_revenue, together = np.moveaxis(np.array(found, float), 2, 0)
    ratio = orders / sessions
    v_ratio = (v_orders - 2 * ratio * together + ratio**2 * v_sessions) / sessions**2
    values, variances = np.array([sessions, ratio, orders, revenue]), np.array([v_sessions, v_ratio, v_orders, v_revenue]) / n
    return {"queries": len(found), "effects": [np.diff(values, axis=2)[..., 0].T.tolist(), np.sqrt(variances.sum(axis=2)).T.tolist()]}
"""


def same_segments(ours, theirs) -> bool:
    import numpy as np

    return ours["queries"] == 2 and np.allclose(ours["effects"], theirs["effects"], rtol=1e-6, atol=1e-12)


CASES = [
    Case(f"10 million users, four metrics with CUPED, sample ratio; tea-tasting {VERSION}", OURS_USERS, 2.0, "tea-tasting", PEER_USERS, PYTHON, prepare=users, agree=near,
         notes=lambda ours, theirs: f"at most {apart(ours, theirs):.0e} from tea-tasting"),
    Case("100,000 exposures of a day added to stored moments of 30: load, query, add", OURS_DAY, limit=0.05, prepare=days, notes=parts),
    Case("1,000 segments, four metrics, a million users", OURS_SEGMENTS, 10.0, "a query a segment", PEER_SEGMENTS, runs=3, prepare=segments, agree=same_segments,
         notes=lambda ours, theirs: f"{ours['queries']} queries, the first of 1,000 rows, against {theirs['queries']}"),
]
