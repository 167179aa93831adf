"""Each shipped report has the same parameters, with the same defaults, in its notebook's cell and in its report.toml."""
import shutil
from pathlib import Path

import nbformat
import pytest

from tenant_lab.core.errors import ReportError
from tenant_lab.reports.spec import check_parameters_cell, read_spec

ROOT = Path(__file__).parents[2] / "reports"
REPORTS = sorted(p.parent for p in ROOT.glob("*/report.toml"))


@pytest.mark.parametrize("folder", REPORTS, ids=lambda p: p.name)
def test_notebook_and_description_have_the_same_parameters(folder):
    check_parameters_cell(read_spec(folder))


def test_there_are_reports():
    assert [p.name for p in REPORTS if p.name == "customer_value"] == ["customer_value"]


@pytest.mark.parametrize(("before", "after", "said"), [
    ("top = 0.1 ", "", "the parameters cell lacks top"), ("top = 0.1 ", "top = 0.2 ", "top is 0.2 in the parameters cell and 0.1 in report.toml"),
    ("top = 0.1 ", "top = 0.1\nbottom = 0.1 ", "report.toml lacks [parameters.bottom]"), ("top = 0.1 ", "top = '0.1' ", "needs a value of type float"),
    ("previous = None ", "", "the parameters cell lacks previous"), ('period = "month"', 'period = "year"', "allowed are week, month, quarter")])
def test_a_changed_cell_is_seen(tmp_path, before, after, said):
    folder = Path(shutil.copytree(ROOT / "customer_value", tmp_path / "customer_value"))
    notebook = nbformat.read(folder / "report.ipynb", 4)
    cell = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
    assert before in cell.source
    cell.source = cell.source.replace(before, after)
    nbformat.write(notebook, folder / "report.ipynb")
    with pytest.raises(ReportError) as error:
        check_parameters_cell(read_spec(folder))
    assert said in str(error.value)


@pytest.mark.parametrize(("before", "after", "said"), [
    ("[parameters.top]", "[parameters.best]", "the parameters cell lacks best; report.toml lacks [parameters.top]"),
    ("default = 0.1", "default = 0.25", "top is 0.1 in the parameters cell and 0.25 in report.toml")])
def test_a_changed_description_is_seen(tmp_path, before, after, said):
    folder = Path(shutil.copytree(ROOT / "customer_value", tmp_path / "customer_value"))
    text = (folder / "report.toml").read_text(encoding="utf-8")
    assert before in text
    (folder / "report.toml").write_text(text.replace(before, after), encoding="utf-8")
    with pytest.raises(ReportError) as error:
        check_parameters_cell(read_spec(folder))
    assert said in str(error.value)
