"""Small labs and small reports: what the tests of reports, pages and the command line are made on."""
import datetime as dt
import json
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest

from tenant_lab.demo.base import make_all
from tenant_lab.reports.fleet import run_report
from tenant_lab.tenancy.lab import Lab

PURCHASES = {"customer_id": ["ann", "bob", "ann"], "purchased_at": ["2024-03-01", "2024-03-05", "2024-03-09"],
             "amount": [5.0, 7.5, 10.0]}
STANDARD = 'tenant = "shop"\nas_of = "2024-03-09"\nsnapshot = None\nprevious = None\n'
OPEN = "from tenant_lab import Report\nreport = Report(tenant, as_of, snapshot, previous)"
REVENUE = 'report.headline("Revenue", report.table("purchases").sum("amount").fetchall()[0][0], "EUR")'


def write_report(root: Path, name: str, *cells: str, toml: str = "", tables: tuple[str, ...] = ("purchases",),
                 timeout: int = 60, parameters: str = "") -> Path:
    """A report folder `root/name` whose notebook is a parameters cell and `cells`; returns `root`."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.toml").write_text(f'title = "{name.title()}"\ntables = {json.dumps(tables)}\ntimeout = {timeout}\n{toml}')
    first = nbformat.v4.new_code_cell(STANDARD + parameters, metadata={"tags": ["parameters"]})
    sources = [nbformat.v4.new_code_cell(cell) for cell in cells]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=[first, *sources], metadata=kernel), folder / "report.ipynb")
    return root


def shop(lab: Lab, name: str = "shop", **columns: Any) -> Any:
    """A tenant with three purchases of two customers, 1 to 9 March 2024, 22.50 EUR; `columns` replace."""
    tenant = lab.create_tenant(name)
    tenant.ingest("purchases", pd.DataFrame(PURCHASES | columns))
    return tenant


def values(folder: str | Path) -> dict[str, Any]:
    """Name -> value of a run's figures."""
    return {v["name"]: v["value"] for v in json.loads((Path(folder) / "values.json").read_text())}


def manifest(folder: str | Path) -> dict[str, Any]:
    return json.loads((Path(folder) / "manifest.json").read_text())


def without_a_kernel(plan: Any, draft: Path, error: str | None = None) -> dict[str, Any]:
    """What a supervisor leaves in a draft, for a notebook that was not executed; its manifest."""
    from tenant_lab.reports import page, runner

    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    notebook = nbformat.read(plan.spec.notebook, 4)
    said = {**runner._known(plan), "status": "failed" if error else "ok", "error": error, "started": now, "finished": now, "seconds": 0.0}
    nbformat.write(notebook, draft / "report.ipynb")
    runner.write_json(draft / "values.json", page.recorded_values(notebook))
    runner.write_json(draft / "manifest.json", said)
    (draft / "report.html").write_text(page.page(notebook, said))
    return said


@pytest.fixture
def lab(tmp_path) -> Lab:
    """An own lab with the tenant `shop`."""
    made = Lab.open(tmp_path / "home")
    shop(made)
    return made


@pytest.fixture
def reports_folder(tmp_path) -> Path:
    """Holds one report, `sales`, that runs on `shop`: revenue over a divisor."""
    return write_report(tmp_path / "reports", "sales", OPEN, REVENUE,
                        'report.value("Divided", 22.5 / divisor)', parameters="divisor = 1\n",
                        toml='[parameters.divisor]\ntype = "int"\ndefault = 1\nminimum = 0\nmaximum = 9\n')


@pytest.fixture(scope="session")
def cdnow_lab(tmp_path_factory) -> Lab:
    """One lab with the demo tenant `cdnow` for the whole session; tests only add runs to it."""
    made = Lab.open(tmp_path_factory.mktemp("cdnow") / "home")
    make_all(made, ["cdnow"])
    return made


def made(home: Path, report: str, tables: dict[str, pd.DataFrame], as_of=None, **parameters):
    """The values and all of the text of a run for a tenant with these tables."""
    lab = Lab.open(home)
    tenant = lab.create_tenant("small")
    for name, table in tables.items():
        tenant.ingest(name, table)
    result = run_report(lab, report, "small", as_of, parameters=parameters)
    assert result.status == "ok", result.error
    outputs = [o for c in nbformat.read(Path(result.folder) / "report.ipynb", 4).cells for o in c.get("outputs", [])]
    assert not [o for o in outputs if o.output_type in ("stream", "error")], outputs
    text = "\n".join(o["data"]["text/markdown"] for o in outputs if "text/markdown" in o.get("data", {}))
    assert not [word for word in ("nan", "None", "inf", "NaN") if word in text.replace(",", " ").split()], text
    return values(result.folder), text
