"""`tenant-lab report prune`, `diff` and `export`: what they print, their JSON, and errors of one line."""
import json
import os

import openpyxl
import pytest
from report_kit import write_report

from tenant_lab.cli import main as cli
from tenant_lab.core.settings import SETTINGS
from tenant_lab.reports.fleet import run_report
from tenant_lab.tenancy.lab import Lab

DAYS = ("2024-03-01", "2024-03-05", "2024-03-09")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A home with three good runs of `sales` for `shop`: revenue 5.00, 12.50 and 22.50 EUR."""
    from report_kit import OPEN, REVENUE, shop
    root = tmp_path_factory.mktemp("outputs")
    lab = Lab.open(root / "home")
    shop(lab)
    folder = write_report(root / "reports", "sales", OPEN, REVENUE, 'report.show_table(report.table("purchases").df(), "purchases")')
    results = [run_report(lab, "sales", "shop", day, folder=folder) for day in DAYS]
    assert [r.status for r in results] == ["ok"] * 3
    return lab, results


@pytest.fixture
def call(capsys, monkeypatch, made, tmp_path):
    """Runs a command in a copy of that home; gives its exit status, stdout and stderr."""
    import shutil
    shutil.copytree(made[0].home, tmp_path / "home", symlinks=True)
    assert "home" in SETTINGS
    monkeypatch.setenv("TENANT_LAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as status:
            cli.main(["report", *map(str, arguments)])
        out, err = capsys.readouterr()
        return status.value.code or 0, out.replace("\u202f", " ").replace("\u00a0", " "), err
    return run


def days(tmp_path):
    return sorted(p.name for p in (tmp_path / "home/reports/sales/shop").iterdir() if p.is_dir() and not p.is_symlink())


@pytest.mark.parametrize("command", ["prune", "diff", "export"])
def test_each_has_help(call, command):
    status, out, err = call(command, "--help")
    assert (status, err) == (0, "") and "Usage" in out


# -- prune -------------------------------------------------------------------------------------------------------------

def test_prune_says_what_went_and_brings_the_index_up_to_date(call, tmp_path):
    index = tmp_path / "home/reports/index.html"
    index.write_text("old")
    status, out, err = call("prune", "--keep", 1)
    assert (status, err) == (0, "") and "2024-03-01" in out and "2024-03-05" not in out and out.splitlines()[-1].startswith("1 run, ")
    assert out.splitlines()[-1].endswith("MB removed") and days(tmp_path) == ["2024-03-05", "2024-03-09"]  # the one that `latest` was compared with
    assert "Revenue" in index.read_text() and json.loads(call("prune", "--keep", 1, "--json")[1]) == []
    assert "no run is old enough" in call("prune", "--keep", 1)[1]


def test_prune_can_only_say_what_would_go(call, tmp_path, made):
    status, out, _ = call("prune", "--keep", 1, "--dry-run", "--report", "sales", "--tenant", "shop", "--json")
    (row,) = json.loads(out)
    assert status == 0 and row["bytes"] > 1000
    assert {k: v for k, v in row.items() if k != "bytes"} == {"report": "sales", "tenant": "shop", "as_of": "2024-03-01", "run_id": made[1][0].run_id, "status": "ok"}
    (tmp_path / "home/reports/index.html").write_text("old")
    assert call("prune", "--keep", 1, "--dry-run")[1].rstrip().endswith("MB would go") and len(days(tmp_path)) == 3
    assert (tmp_path / "home/reports/index.html").read_text() == "old"


@pytest.mark.parametrize("given, said", [(["--keep", 0], "keep 0"), (["--report", "sails"], "allowed are sales"), (["--tenant", "../x"], "allowed are shop")])
def test_prune_refuses_in_one_line(call, given, said):
    status, out, err = call("prune", *given)
    assert status == 2 and out == "" and err.startswith("error: ") and said in err and err.count("\n") == 1


# -- diff --------------------------------------------------------------------------------------------------------------

def test_diff_says_why_and_what(call, made):
    status, out, err = call("diff", "sales/shop/2024-03-05", made[1][2].run_id[:8])
    assert (status, err) == (0, "") and "Only the data differs: as_of 2024-03-05 -> 2024-03-09." in out
    assert "Revenue: 12.5 EUR -> 22.5 EUR (+10.0 EUR, +80.0%)" in out and out.rstrip().endswith("1 of 1 figures differ.")


def test_diff_for_machines(call, made):
    found = json.loads(call("diff", made[1][0].folder, "sales/shop/latest", "--json")[1])
    assert (found["before"]["as_of"], found["after"]["as_of"]) == ("2024-03-01", "2024-03-09") and found["untold"] == []
    assert found["reasons"] == {"data": ["as_of 2024-03-01 -> 2024-03-09"]} and found["summary"] == "only the data differs: as_of 2024-03-01 -> 2024-03-09"
    assert found["figures"] == [{"name": "Revenue", "unit": "EUR", "before": 5.0, "after": 22.5, "change": 17.5, "relative": 3.5, "what": "changed"}]


@pytest.mark.parametrize("run, status, said", [("nothing", 2, "there is none"), ("sales/shop/2020-01-01", 2, "there are 2024-03-01"), ("sales/nobody", 1, "no good run")])
def test_diff_refuses_in_one_line(call, run, status, said):
    found, out, err = call("diff", "sales/shop", run)
    assert found == status and out == "" and err.startswith("error: ") and said in err and err.count("\n") == 1


# -- export ------------------------------------------------------------------------------------------------------------

def test_export_writes_the_latest_good_run_into_a_folder_of_its_name(call, tmp_path):
    status, out, err = call("export", "sales", "shop", "--format", "xlsx")
    assert (status, err) == (0, "") and out.strip() == os.path.join("sales-shop-2024-03-09", "report.xlsx")
    book = openpyxl.load_workbook(tmp_path / out.strip())
    assert book["values"]["B2"].value == 22.5 and book["about"]["B2"].value == "Sales"


def test_export_of_a_day_into_a_folder(call, tmp_path):
    status, out, _ = call("export", "sales", "shop", "--as-of", "2024-03-05", "-f", "xlsx", "-f", "svg", "--to", tmp_path / "out", "--json")
    assert status == 0 and json.loads(out) == [str(tmp_path / "out/report.xlsx")]  # the report has no pictures
    assert openpyxl.load_workbook(tmp_path / "out/report.xlsx")["values"]["B2"].value == 12.5


def test_a_table_of_a_report_is_a_sheet_with_typed_cells(call, tmp_path):
    """What `Report.show_table` records is what `recorded_tables` reads."""
    call("export", "sales", "shop", "-f", "xlsx", "--to", "out")
    sheet = openpyxl.load_workbook(tmp_path / "out/report.xlsx")["purchases"]
    heading = [str(c.value) for c in sheet[1]]
    amounts = [sheet.cell(r, heading.index("amount") + 1).value for r in range(2, 5)]
    at = next(i for i, name in enumerate(heading, 1) if name.startswith("purchased_at"))
    assert sorted(amounts) == [5.0, 7.5, 10.0] and sorted(sheet.cell(r, at).value.day for r in range(2, 5)) == [1, 5, 9]


@pytest.mark.browser
def test_export_of_a_pdf(call, tmp_path, chromium):
    status, out, err = call("export", "sales", "shop", "-f", "pdf")
    assert (status, err) == (0, "") and (tmp_path / out.strip()).read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("given, status, said", [
    (["sales", "shop", "-f", "docx"], 2, "allowed are pdf, xlsx, png, svg"), (["sales", "nobody", "-f", "xlsx"], 1, "no good run of sales for nobody"),
    (["sales", "shop", "-f", "xlsx", "--as-of", "2020-01-01"], 2, "no run of sales for shop"), (["../x", "shop", "-f", "xlsx"], 2, "report '../x'"),
    (["sales", "shop", "-f", "xlsx", "--to", "file"], 2, "file is a file"), (["sales", "shop", "-f", "xlsx", "--to", "file/in"], 1, "file/in")])
def test_export_refuses_in_one_line(call, tmp_path, given, status, said):
    (tmp_path / "file").write_text("mine")
    found, out, err = call("export", *given)
    assert found == status and out == "" and err.startswith("error: ") and said in err and err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_export_needs_a_format(call):
    assert call("export", "sales", "shop")[0] == 2
