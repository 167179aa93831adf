"""Running report notebooks, beside plain papermill: one after another, a fleet, a check that all is up to date, many cells."""
import os
from pathlib import Path

from case import Case

LIGHT = ["import duckdb, numpy as np, pandas as pd, plotly.graph_objects as go, sklearn.linear_model, statsmodels.api as sm",
         "x = np.arange(100.0)\nframe = pd.DataFrame({'x': x, 'y': 3 * x + 1})\nframe.describe()",
         "sklearn.linear_model.LinearRegression().fit(frame[['x']], frame['y']).coef_.round(6)",
         "sm.OLS(frame['y'], sm.add_constant(frame['x'])).fit().params.round(6)",
         "duckdb.sql('SELECT sum(y) FROM frame').fetchall()", "go.Figure(go.Scatter(x=frame['x'], y=frame['y']))"]
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def notebook(path: Path, cells: list[str]) -> None:
    import nbformat

    made = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(nbformat.v4.new_notebook(cells=made, metadata=KERNEL), path)


def light(data: Path) -> None:
    notebook(data / "in.ipynb", LIGHT)


# ends with what the last run showed; the zygote's start and end are counted
PAPERMILL = """
import papermill, time, logging
logging.disable(logging.WARNING)
def work(data):
    started = time.monotonic()
    for n in range(RUNS):
        done = papermill.execute_notebook(data / "in.ipynb", data / "out-ENGINE.ipynb", engine_name=ENGINE, progress_bar=False)
    seconds = time.monotonic() - started
    if ENGINE:
        from tenant_lab.reports.zygote import close_zygotes
        close_zygotes()
    texts = [o["data"]["text/plain"] for c in done.cells for o in c.outputs if "text/plain" in o.get("data", {})]
    return {"texts": texts, "seconds": seconds}
"""


# what one more cell costs: a notebook of 200 against one of 10, the quickest of three runs each
CELLS = """
import papermill, time, logging
logging.disable(logging.WARNING)
def work(data):
    best = {}
    for n in range(3):
        for name in ("many", "few"):
            started = time.monotonic()
            papermill.execute_notebook(data / f"{name}.ipynb", data / f"out-{name}.ipynb", engine_name=ENGINE, progress_bar=False)
            best[name] = min(time.monotonic() - started, best.get(name, 99))
    if ENGINE:
        from tenant_lab.reports.zygote import close_zygotes
        close_zygotes()
    return {"ms": 1000 * (best["many"] - best["few"]) / 190}
"""


def cells(data: Path) -> None:
    for name, count in (("many", 200), ("few", 10)):
        notebook(data / f"{name}.ipynb", ["pass"] * count)


def same_texts(ours, peer) -> bool:
    return ours["texts"] == peer["texts"]


def per_run(runs: int):
    def note(ours, peer):
        return f"{1000 * ours['seconds'] / runs:.0f} against {1000 * peer['seconds'] / runs:.0f} ms a run on the clock"
    return note


def engine(name: str, runs: int) -> str:
    return PAPERMILL.replace("RUNS", str(runs)).replace("ENGINE", repr(name) if name else "None").replace("out-'tenant-lab'", "out-ours").replace("out-None", "out-peer")


# ---- a fleet -----------------------------------------------------------------------------------------------------
OPEN = ["from tenant_lab import Report\nreport = Report(tenant, as_of, snapshot)"]
LEAN = {"sales": ['purchases = report.table("purchases").df()',
                  'report.headline("Revenue", purchases["amount"].sum(), report.currency)\nreport.headline("Purchases", len(purchases))',
                  "import plotly.graph_objects as go\nmonthly = purchases.set_index('purchased_at')['amount'].resample('MS').sum()\n"
                  "report.show(go.Figure(go.Bar(x=monthly.index, y=monthly)))"],
        "customers": ["from tenant_lab.customers.rfm import rfm", 'found = rfm(report.table("purchases"), as_of).frame()',
                      'report.headline("Segments", len(found))', 'report.show_table(found, "segments")']}
# the imports of the light notebook: a trend by statsmodels, segments by scikit-learn
USUAL = {"sales": [*LEAN["sales"], "import numpy as np\nimport statsmodels.api as sm\n"
                   "trend = sm.OLS(monthly.to_numpy(), sm.add_constant(np.arange(len(monthly), dtype=float))).fit()\n"
                   'report.headline("Trend", round(float(trend.params[1]), 6), report.currency)'],
         "customers": [*LEAN["customers"], "from sklearn.cluster import KMeans\nfrom sklearn.preprocessing import StandardScaler\n"
                       'points = StandardScaler().fit_transform(found[["median_recency", "mean_frequency"]])\n'
                       "groups = KMeans(2, n_init=3, random_state=0).fit(points)\n"
                       'report.headline("Largest group", int(np.bincount(groups.labels_).max()))']}
USUAL["customers"].insert(0, "import numpy as np")


def fleet(data: Path, reports: dict[str, list[str]], tenants: int) -> None:
    """Shops of 200 purchases, and two reports."""
    import nbformat
    import numpy as np
    import pandas as pd

    os.environ |= {"TENANT_LAB_HOME": str(data / "home"), "TENANT_LAB_KEY_FILE": str(data / "master.key")}
    from tenant_lab.tenancy.lab import Lab

    rng, lab = np.random.default_rng(7), Lab.open(data / "home")
    for n in range(tenants):
        days = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(rng.integers(0, 360 * 24, 200), unit="h")
        lab.create_tenant(f"shop-{n:03}").ingest("purchases", pd.DataFrame(
            {"customer_id": [f"c{c}" for c in rng.integers(0, 60, 200)], "purchased_at": days, "amount": rng.gamma(2, 20, 200).round(2)}))
    for name, cells in reports.items():
        folder = data / "reports" / name
        folder.mkdir(parents=True)
        (folder / "report.toml").write_text(f'title = "{name.title()}"\ntables = ["purchases"]\ntimeout = 300\n')
        first = nbformat.v4.new_code_cell('tenant = "shop"\nas_of = "2024-12-31"\nsnapshot = None', metadata={"tags": ["parameters"]})
        rest = [nbformat.v4.new_code_cell(c) for c in OPEN + cells]
        nbformat.write(nbformat.v4.new_notebook(cells=[first, *rest], metadata=KERNEL), folder / "report.ipynb")


OURS_FLEET = """
import os, shutil, threading, time
import psutil
def work(data):
    os.environ |= {"TENANT_LAB_HOME": str(data / "home"), "TENANT_LAB_KEY_FILE": str(data / "master.key")}
    shutil.rmtree(data / "home/reports", ignore_errors=True)
    from tenant_lab.reports.fleet import run_all
    from tenant_lab.reports.runner import read_json
    from tenant_lab.reports.zygote import close_zygotes
    from tenant_lab.tenancy.lab import Lab
    peak, done = [0.0], threading.Event()
    def watch():
        while not done.wait(3):  # seldom, and only the sum that the system makes itself: looking costs processor time too
            total = 0
            for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                try:
                    lines = open(f"/proc/{process.pid}/smaps_rollup").read().splitlines()
                    total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
                except (OSError, psutil.Error):
                    pass
            peak[0] = max(peak[0], total / 1e3)
    threading.Thread(target=watch, daemon=True).start()
    started = time.monotonic()
    results = run_all(Lab.open(), "2024-12-31", folder=data / "reports", workers=2)
    seconds = time.monotonic() - started
    done.set()
    close_zygotes()
    from pathlib import Path
    values = {f"{r.report}/{r.tenant}": [v["value"] for v in read_json(Path(r.folder) / "values.json")] for r in results}
    return {"values": values, "seconds": seconds, "runs": len(results), "good": sum(r.status == "ok" for r in results), "pss": peak[0],
            "errors": [f"{r.report}/{r.tenant}: {r.error}" for r in results if r.error]}
"""
PEER_FLEET = """
import os, subprocess, sys, time
ONE = '''
import sys, json, logging, nbformat, papermill
from pathlib import Path
logging.disable(logging.WARNING)
data, half = Path(sys.argv[1]), int(sys.argv[2])
names = sorted(p.name for p in (data / "home/tenants").iterdir() if not p.name.startswith("."))
for report in ("sales", "customers"):
    for n, tenant in enumerate(names):
        if n % 2 == half:
            papermill.execute_notebook(data / "reports" / report / "report.ipynb", data / "peer" / f"{report}-{tenant}.ipynb",
                                       {"tenant": tenant, "as_of": "2024-12-31"}, kernel_name="python3", progress_bar=False)
'''
def work(data):
    import nbformat
    os.environ |= {"TENANT_LAB_HOME": str(data / "home"), "TENANT_LAB_KEY_FILE": str(data / "master.key")}
    (data / "peer").mkdir(exist_ok=True)
    started = time.monotonic()
    both = [subprocess.Popen([sys.executable, "-c", ONE, str(data), str(half)], stderr=subprocess.DEVNULL) for half in (0, 1)]
    codes = [p.wait() for p in both]
    seconds = time.monotonic() - started
    kind, values = "application/vnd.tenant-lab.value+json", {}
    for path in sorted((data / "peer").glob("*.ipynb")):
        report, _, tenant = path.stem.partition("-")
        shown = [o["data"] for c in nbformat.read(path, 4).cells if c.cell_type == "code" for o in c.outputs if "data" in o]
        values[f"{report}/{tenant}"] = [d[kind]["value"] for d in shown if kind in d]
    return {"values": values, "seconds": seconds, "runs": len(values), "good": 0 if any(codes) else len(values)}
"""


def same_values(ours, peer) -> bool:
    for name in ours["values"]:
        if ours["values"][name] != peer["values"].get(name):
            print(f"{name}: {ours['values'][name]} against {peer['values'].get(name)}")
    print(*ours["errors"], sep="\n", end="")
    return ours["values"] == peer["values"] and ours["good"] == peer["good"] == ours["runs"] > 0


def throughput(ours, peer) -> str:
    return (f"{ours['runs']} runs in {ours['seconds']:.0f} s on the clock against {peer['seconds']:.0f} s "
            f"({peer['seconds'] / ours['seconds']:.1f} times the throughput), ours with pages, history and isolation; "
            f"all processes together {ours['pss']:.0f} MB of proportional memory at most")


# ---- up to date --------------------------------------------------------------------------------------------------
def published(data: Path) -> None:
    """The fleet, run."""
    fleet(data, LEAN, 100)
    from tenant_lab.reports.fleet import run_all
    from tenant_lab.reports.zygote import close_zygotes
    from tenant_lab.tenancy.lab import Lab

    assert {r.status for r in run_all(Lab.open(data / "home"), "2024-12-31", folder=data / "reports")} == {"ok"}
    close_zygotes()


UP_TO_DATE = """
import os, time
def work(data):
    os.environ |= {"TENANT_LAB_HOME": str(data / "home"), "TENANT_LAB_KEY_FILE": str(data / "master.key")}
    started = time.monotonic()
    from tenant_lab.reports.fleet import run_all
    from tenant_lab.tenancy.lab import Lab
    results = run_all(Lab.open(), "2024-12-31", folder=data / "reports", workers=2)
    assert [r.status for r in results] == ["up to date"] * 200
    return time.monotonic() - started
"""

CASES = [
    Case("20 runs of a light notebook", engine("tenant-lab", 20), 6.0, "papermill", engine("", 20), agree=same_texts, runs=1,
         prepare=light, notes=per_run(20), whole=True),
    Case("notebooks of 200 and of 10 empty cells, 3 runs each", CELLS.replace("ENGINE", "'tenant-lab'"), 1.0, "papermill", CELLS.replace("ENGINE", "None"),
         agree=lambda ours, peer: True, runs=1, prepare=cells, notes=lambda ours, peer: f"{ours['ms']:.1f} against {peer['ms']:.1f} ms on the clock for one more cell"),
    Case("200 runs, 2 at a time", OURS_FLEET, 6.0, "papermill", PEER_FLEET, agree=same_values, runs=1,
         prepare=lambda data: fleet(data, USUAL, 100), notes=throughput, whole=True),
    Case("100 runs without scikit-learn and statsmodels", OURS_FLEET, 6.0, "papermill", PEER_FLEET, agree=same_values, runs=1,
         prepare=lambda data: fleet(data, LEAN, 50), notes=throughput, whole=True),
    Case("200 runs that are up to date", UP_TO_DATE, limit=2.0, runs=3, prepare=published, whole=True,
         notes=lambda ours, peer: f"{ours:.2f} s on the clock"),
]
