"""Every report that travels with the library: its notebook keeps its description, and runs on each demo tenant."""
import ast
import json
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from report_kit import manifest, values

from tenant_lab.core.settings import shipped
from tenant_lab.demo.base import demos, make
from tenant_lab.reports.fleet import run_report
from tenant_lab.reports.spec import STANDARD, ReportSpec, reports
from tenant_lab.tenancy.lab import Lab

SPECS, DEMOS = reports(), demos()
PAIRS = [(spec, demo) for spec in SPECS.values() for demo in DEMOS.values() if spec.needs <= {*demo.names, *(["files"] if demo.files() else [])}]
every_report = pytest.mark.parametrize("spec", SPECS.values(), ids=lambda s: s.name)


def parameters_cell(spec: ReportSpec) -> dict[str, ast.expr]:
    """Name -> default of the cell tagged `parameters`, which holds nothing else."""
    cells = nbformat.read(spec.notebook, 4).cells
    (cell,) = [c for c in cells if "parameters" in c.metadata.get("tags", [])]
    assert cell is cells[0], "the parameters come first"
    body = ast.parse(cell.source).body
    assert all(isinstance(line, ast.Assign) and len(line.targets) == 1 for line in body)
    return {line.targets[0].id: line.value for line in body}


def used_names(spec: ReportSpec) -> set[str]:
    cells = [c.source for c in nbformat.read(spec.notebook, 4).cells[1:] if c.cell_type == "code"]
    return {node.id for node in ast.walk(ast.parse("\n".join(cells))) if isinstance(node, ast.Name)}


def test_there_are_reports_and_each_folder_is_one():
    folders = {p.name for p in shipped("reports").iterdir() if p.is_dir() and not p.name.startswith((".", "_"))}
    assert folders == set(SPECS) and "customer_value" in SPECS


@every_report
def test_the_parameters_cell_names_what_the_description_names(spec):
    given = set(parameters_cell(spec))
    assert given == {*spec.parameters, "tenant", "as_of", "snapshot", *(["previous"] if spec.previous else [])}
    assert given <= used_names(spec), "a parameter that nothing reads"


@every_report
def test_the_defaults_in_the_notebook_are_those_of_the_description(spec):
    given = {name: ast.literal_eval(value) for name, value in parameters_cell(spec).items()}
    assert {name: value for name, value in given.items() if name not in STANDARD} == spec.check({})
    assert given["snapshot"] is None and given.get("previous") is None


@every_report
def test_the_repository_holds_no_outputs(spec):
    for cell in nbformat.read(spec.notebook, 4).cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


@every_report
def test_the_description_says_something_to_a_reader(spec):
    assert spec.title and spec.description and spec.tables
    assert all(p.note for p in spec.parameters.values())


@every_report
def test_some_demo_tenant_has_its_tables(spec):
    assert any(found is spec for found, _ in PAIRS)


@pytest.fixture(scope="module")
def labs(tmp_path_factory):
    """Gives a lab with a demo tenant, made at its first use."""
    lab = Lab.open(tmp_path_factory.mktemp("demos") / "home")

    def with_tenant(demo):
        make(lab, demo)
        return lab
    return with_tenant


@pytest.mark.parametrize("spec, demo", PAIRS, ids=lambda x: x.name)
def test_the_report_runs_on_the_demo_tenant(labs, spec, demo):
    result = run_report(labs(demo), spec.name, demo.name)
    assert result.status == "ok", result.error
    found = json.loads((Path(result.folder) / "values.json").read_text())
    assert 3 <= sum(v["headline"] for v in found) <= 6
    assert all(isinstance(v["value"], int | float | str) for v in found if v["headline"])
    outputs = [o for c in nbformat.read(Path(result.folder) / "report.ipynb", 4).cells for o in c.get("outputs", [])]
    assert not [o for o in outputs if o.output_type in ("stream", "error")], "a warning or a print on the page"
    assert manifest(result.folder)["snapshot"].keys() == set(spec.tables)


@pytest.mark.parametrize("period", SPECS["customer_value"].parameters["period"].allowed)
@pytest.mark.parametrize("as_of", ["1997-01-01", "1997-02-10"])
def test_customer_value_runs_on_few_data(cdnow_lab, period, as_of):
    """The first day, when no period is over; and some weeks."""
    result = run_report(cdnow_lab, "customer_value", "cdnow", as_of=as_of, parameters={"period": period})
    assert result.status == "ok", result.error
    text = str([o for c in nbformat.read(Path(result.folder) / "report.ipynb", 4).cells for o in c.get("outputs", [])
                if "text/markdown" in o.get("data", {})])
    assert "nan" not in text and "None" not in text


def test_the_cdnow_page_shows_the_published_counts(cdnow_lab):
    result = run_report(cdnow_lab, "customer_value", "cdnow")
    body = result.page.read_text()
    for count in ("23\u202f570", "69\u202f659", "67\u202f591 customer-days"):
        assert count in body
    found = values(result.folder)
    assert (result.as_of, found["Customers"], found["Purchases"]) == ("1998-06-30", 23_570, 69_659)


@pytest.mark.parametrize("amount, said", [(-5.0, "has sold nothing"), (0.0, "it has no shares"), (5.0, "bring 100%")])
def test_customer_value_of_a_shop_with_one_row(tmp_path, amount, said):
    """Refunds only, a gift only, one sale only: a page with what can be said, and no figure that means nothing."""
    lab = Lab.open(tmp_path)
    lab.create_tenant("tiny").ingest("purchases", pd.DataFrame(
        {"customer_id": ["a"], "purchased_at": ["2024-01-01"], "amount": [amount]}))
    result = run_report(lab, "customer_value", "tiny", as_of="2024-02-29")
    page = (Path(result.folder) / "report.html").read_text()
    assert result.status == "ok" and said in page and "nan" not in page.split("tl-plotly")[0].replace("finance", "").lower().split()
    assert values(result.folder)["Customers"] == (0 if amount < 0 else 1)
