"""`tenant-lab` in a shell: exit status 0, 1 or 2; JSON for machines; errors of one line."""
import importlib.metadata
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from report_kit import OPEN, REVENUE, shop, write_report

import tenant_lab.reports.fleet as fleet
import tenant_lab.reports.spec as spec
from tenant_lab.cli import main as cli
from tenant_lab.core.errors import StoreError
from tenant_lab.demo.base import demos

COMMANDS = [[], ["demo"], ["tenants"], ["tenants", "create"], ["ingest"], ["report"], ["report", "run"], ["report", "all"],
            ["report", "list"], ["report", "show"], ["report", "prune"], ["report", "diff"], ["report", "export"], ["schedule"],
            *(["schedule", name] for name in ("list", "next", "set", "unset", "run")), ["models"],
            *(["models", name] for name in ("list", "pull", "verify", "remove")), ["airflow-dag"], ["audit"], ["doctor"]]


@pytest.fixture
def call(capsys, monkeypatch):
    """Runs a command; gives its exit status, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as status:
            cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return status.value.code or 0, out, err
    return run


@pytest.fixture
def own_reports(monkeypatch, reports_folder):
    """The shell's reports are those of `reports_folder`."""
    found = spec.reports
    monkeypatch.setattr(spec, "reports", lambda folder=None: found(folder or reports_folder))
    monkeypatch.setattr(fleet, "reports", spec.reports)
    return reports_folder


def one_line(err: str) -> str:
    assert err.startswith("error: ") and err.count("\n") == 1, err
    return err


# -- help and usage ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(call, command):
    status, out, err = call(*command, "--help")
    assert (status, err) == (0, "") and "Usage" in out and "--help" in out


def test_the_list_of_commands_above_is_complete():
    def names(app, before=()):
        own = [[*before, c.name or c.callback.__name__] for c in app.registered_commands]
        groups = [([*before, g.name], g.typer_instance) for g in app.registered_groups]
        return own + [row for path, group in groups for row in [path, *names(group, path)]]
    assert sorted(names(cli.app)) == sorted(COMMANDS[1:])


@pytest.mark.parametrize("arguments", [["nonsense"], ["report", "run", "sales"], ["audit", "--last", "many"], ["report", "run", "a", "b", "--no"]])
def test_wrong_usage_is_status_2(call, arguments):
    status, out, err = call(*arguments)
    assert (status, out) == (2, "") and "Traceback" not in err and err


def test_help_loads_no_engine():
    code = "import sys\nfrom tenant_lab.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: pass\nprint(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(re.findall(r"'([a-z_]+)'", done.stdout))
    assert "typer" in loaded and not loaded & {"pandas", "duckdb", "deltalake", "papermill", "plotly", "nbconvert"}


# -- tenants and their data --------------------------------------------------------------------------------------------

def test_a_tenant_is_made_filled_listed_and_audited(call, tmp_path):
    assert call("tenants") == (0, "no tenants yet; make the demo tenants with: tenant-lab demo\n", "")
    assert call("tenants", "--json") == (0, "[]\n", "")
    assert call("audit") == (0, "the audit log is empty\n", "")
    status, out, err = call("tenants", "create", "shop", "--time-zone", "Europe/Paris", "--currency", "USD", "--language", "fr")
    assert (status, err) == (0, "") and "tenant shop made" in out

    (tmp_path / "p.csv").write_text("who,when,amount,memo\nann,2024-03-01,5\nbob,2024-03-02,7.5,x\n".replace(",5\n", ",5,\n"))
    status, out, err = call("ingest", "shop", "purchases", tmp_path / "p.csv", "--rename", "who=customer_id", "--rename",
                            "when=purchased_at", "--rename", "memo=", "--json")
    (result,) = json.loads(out)
    assert (status, err, result["table"], result["rows"], result["version"]) == (0, "", "purchases", 2, 0)

    status, out, err = call("tenants", "--json")
    assert json.loads(out) == [{"tenant": "shop", "time_zone": "Europe/Paris", "currency": "USD", "language": "fr", "tables": ["purchases"]}]
    assert "purchases" in call("tenants")[1]

    lines = json.loads(call("audit", "shop", "--json")[1])
    assert [line["action"] for line in lines] == ["create tenant", "ingest"]
    assert json.loads(call("audit", "--last", "1", "--json")[1]) == lines[-1:]
    assert json.loads(call("audit", "--last", "0", "--json")[1]) == lines
    assert call("audit", "other", "--json")[0] == 2
    shown = call("audit", "shop")[1]
    assert "create tenant" in shown and "table purchases" in shown and "rows 2" in shown


def test_ingest_modes_and_quarantine_reach_the_lake(call, tmp_path):
    call("tenants", "create", "shop")
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    good.write_text("customer_id,purchased_at,amount,phone\na,2024-03-01,5,0123\n")
    bad.write_text("customer_id,purchased_at,amount\na,2024-03-01,5\nb,never,5\n")
    assert call("ingest", "shop", "purchases", good, "--personal", "phone")[0] == 0
    status, out, err = call("ingest", "shop", "purchases", bad)
    assert (status, out) == (1, "") and "purchased_at" in err and "Traceback" not in err
    status, out, err = call("ingest", "shop", "purchases", bad, "--bad-rows", "quarantine", "--json")
    (result,) = json.loads(out)
    assert (status, result["rows"], result["rejected"]) == (0, 1, 1) and Path(result["quarantine"]).exists()
    good.write_text(good.read_text().replace("0123", "\u00e9"), encoding="latin-1")
    status, out, err = call("ingest", "shop", "purchases", good, "--mode", "replace", "--encoding", "latin-1", "--personal", "phone", "--json")
    assert json.loads(out)[0]["version"] == 2


@pytest.mark.parametrize("arguments, status, said", [
    (["ingest", "shpo", "purchases", "x.csv"], 2, "there is no tenant 'shpo'"),
    (["ingest", "shop", "sales", "x.csv"], 1, "no contract knows the table 'sales'"),
    (["ingest", "shop", "purchases", "no-such-file.csv"], None, "no-such-file.csv"),
    (["ingest", "shop", "purchases", "x.csv", "--mode", "merge"], 2, "mode 'merge'"),
    (["ingest", "shop", "purchases", "x.csv", "--rename", "who"], 2, "--rename 'who': needs the form name=value"),
    (["ingest", "shop", "purchases", "x.csv", "--rename", "=who"], 2, "--rename ''"),
    (["tenants", "create", "shop"], 2, "exists already"),
    (["tenants", "create", "My Shop"], 2, "tenant name 'My Shop'"),
    (["tenants", "create", "other", "--currency", "euro"], 2, "currency 'euro'"),
    (["demo", "nonsense"], 2, "demo tenant 'nonsense'"),
    (["report", "run", "sales", "shpo"], 2, "there is no tenant 'shpo'"),
    (["report", "run", "sale", "shop"], 2, "report 'sale': allowed are sales"),
    (["report", "run", "sales", "shop", "-p", "divisor=x"], 2, "needs a value of type int"),
    (["report", "run", "sales", "shop", "-p", "divisor"], 2, "--parameter 'divisor'"),
    (["report", "run", "sales", "shop", "-p", "divisr=1"], 2, "no parameter 'divisr'"),
    (["report", "run", "sales", "shop", "-p", "divisor=10"], 2, "from 0 to 9"),
    (["report", "run", "sales", "shop", "--as-of", "yesterday"], 2, "as_of 'yesterday'"),
    (["report", "run", "sales", "empty"], 1, "needs the table purchases"),
    (["report", "show", "sales", "shop"], 1, "tenant-lab report run sales shop"),
    (["report", "show", "../sales", "shop"], 2, "report '../sales'"),
])
def test_a_mistake_is_one_line_on_stderr(call, lab, own_reports, tmp_path, monkeypatch, arguments, status, said):
    lab.create_tenant("empty")
    monkeypatch.chdir(tmp_path)
    Path("x.csv").write_text("customer_id,purchased_at,amount\na,2024-03-01,5\n")
    got, out, err = call(*arguments)
    assert said in one_line(err) and out == "" and got in ((status,) if status else (1, 2))


def test_a_tenant_whose_data_are_gone_is_one_line_on_stderr(call, lab, own_reports):
    for file in (lab.home / "tenants/shop/lake").rglob("*.parquet"):
        file.unlink()
    status, out, err = call("report", "run", "sales", "shop")
    assert (status, out) == (1, "") and one_line(err)


def test_a_wrong_setting_is_one_line_on_stderr(call, monkeypatch):
    monkeypatch.setenv("TENANT_LAB_WORKERS", "many")
    status, out, err = call("tenants")
    assert (status, out) == (2, "") and "workers = 'many'" in one_line(err)


def test_demo_makes_the_tenants_it_names(call):
    status, out, err = call("demo", "cdnow")
    assert (status, out, err) == (0, f"cdnow: {demos()['cdnow'].title} (purchases)\n", "")
    assert call("demo", "cdnow")[0] == 0
    assert [t["tenant"] for t in json.loads(call("tenants", "--json")[1])] == ["cdnow"]


# -- reports -----------------------------------------------------------------------------------------------------------

def test_reports_are_listed(call, own_reports):
    status, out, _ = call("report", "list", "--json")
    assert (status, json.loads(out)) == (0, [{"report": "sales", "title": "Sales", "tables": "purchases", "schedule": None, "parameters": "divisor=1"}])
    assert "divisor=1" in call("report", "list")[1]


def test_a_report_is_run_shown_and_repeated_only_when_forced(call, lab, own_reports):
    status, out, err = call("report", "run", "sales", "shop", "-p", "divisor=2", "--json")
    (row,) = json.loads(out)
    assert status == 0 and (row["status"], row["as_of"], row["error"]) == ("ok", "2024-03-09", None)
    assert Path(row["page"]).read_text().startswith("<!DOCTYPE html>")
    assert json.loads(call("report", "run", "sales", "shop", "-p", "divisor=2", "--json")[1])[0]["status"] == "up to date"
    assert json.loads(call("report", "run", "sales", "shop", "-p", "divisor=2", "--force", "--json")[1])[0]["status"] == "ok"

    status, out, _ = call("report", "show", "sales", "shop", "--json")
    shown = json.loads(out)
    assert (status, shown["manifest"]["run_id"]) == (0, row["run_id"])
    assert {v["name"]: v["value"] for v in shown["values"]} == {"Revenue": 22.5, "Divided": 11.25}
    status, out, _ = call("report", "show", "sales", "shop")
    assert "Sales · shop · as of 2024-03-09" in out and "22.5\xa0EUR" in out and row["page"] in out

    status, out, _ = call("report", "all", "--as-of", "2024-03-05", "--json")
    assert [(r["tenant"], r["as_of"], r["status"]) for r in json.loads(out)] == [("shop", "2024-03-05", "ok")]
    status, out, _ = call("report", "all", "--as-of", "2024-03-05")
    assert status == 0 and "up to date" in out and str(lab.home / "reports/index.html") in out


def test_a_failed_run_is_status_1_and_says_why(call, lab, own_reports):
    status, out, err = call("report", "run", "sales", "shop", "-p", "divisor=0", "--json")
    (row,) = json.loads(out)
    assert status == 1 and row["status"] == "failed" and "ZeroDivisionError" in row["error"] and "Traceback" not in err


def test_a_refused_tenant_is_status_1(call, lab, own_reports, monkeypatch):
    def refuse(*a, **k):
        raise StoreError("the lake is gone")
    monkeypatch.setattr(fleet, "plan", refuse)
    status, out, _ = call("report", "all", "--json")
    (row,) = json.loads(out)
    assert status == 1 and (row["status"], row["page"]) == ("refused", None) and "the lake is gone" in row["error"]
    assert call("report", "all")[0] == 1


def test_no_report_for_anybody_is_said(call, own_reports):
    status, out, _ = call("report", "all")
    assert status == 0 and "no report ran" in out
    assert call("report", "all", "--json")[1] == "[]\n"


@pytest.mark.parametrize("text", ["no [/red] end", "column [customer_id] is missing", "[bold]loud[/bold]"])
def test_what_is_printed_is_text_and_no_markup(capsys, text):
    """Square brackets are common in Python's messages; rich takes them for styles, and an unmatched one for an error."""
    cli.show([{"status": "failed", "error": text, "a [b]": 1}], False)
    assert text in capsys.readouterr().out


def test_a_table_shows_nothing_for_none_and_folds_what_is_long(capsys):
    cli.show([{"some_name": None, "x": "long " * 100}], False)
    out = capsys.readouterr().out
    assert "some name" in out and "None" not in out and out.count("long") == 100 and max(map(len, out.splitlines())) <= 200


# -- doctor ------------------------------------------------------------------------------------------------------------

def test_doctor_says_what_is_in_force(call, monkeypatch, tmp_path):
    monkeypatch.setenv("TENANT_LAB_CACHE_BACKEND", "redis")
    status, out, err = call("doctor", "--json")
    found = json.loads(out)
    assert (status, err) == (0, "") and found["facts"]["home"].startswith(f"{tmp_path}/home (not made yet)")
    assert found["facts"]["master key"] == "none yet; it is made with the first tenant"
    rows = {r["setting"]: r for r in found["settings"]}
    assert (rows["cache_backend"]["value"], rows["cache_backend"]["from"]) == ("redis", "TENANT_LAB_CACHE_BACKEND")
    idle = {k for k, r in rows.items() if r["effect"] == "without effect in this version"}
    assert idle == {"cache_backend", "cache_ttl", "ml_workers"}
    packages = {p["package"]: p for p in found["packages"]}
    assert packages["pandas"] == {"package": "pandas", "extra": "", "version": pd.__version__, "get_it": ""}
    assert "tenant-lab" not in packages
    assert not Path(os.environ["TENANT_LAB_HOME"]).exists()  # looking changes nothing
    out = call("doctor")[1]
    assert "without effect in this version" in out and "TENANT_LAB_CACHE_BACKEND" in out


@pytest.fixture
def bare(monkeypatch):
    """A machine with the core only, less pytz, and without Chromium."""
    real = importlib.metadata.version
    core = {re.match(r"[\w-]+", r)[0] for r in importlib.metadata.requires("tenant-lab") if "extra ==" not in r} - {"pytz"}

    def version(name):
        if name not in core and name != "tenant-lab":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)
    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(shutil, "which", lambda name: None)


def test_doctor_says_what_is_missing_and_how_to_get_it(call, bare):
    found = json.loads(call("doctor", "--json")[1])
    packages = {p["package"]: p["get_it"] for p in found["packages"]}
    assert packages["pytz"] == "pip install pytz" and packages["duckdb"] == ""
    assert packages["librosa"] == "pip install 'tenant-lab[audio]'" and packages["tensorflow"] == "pip install 'tenant-lab[deep]'"
    assert found["facts"]["Chromium"] == "missing: apt-get install chromium"
    assert "pip install 'tenant-lab[audio]'" in call("doctor")[1]  # as a person sees it


def test_doctor_names_the_extra_for_users_and_not_the_developers(call, bare):
    packages = {p["package"]: p["get_it"] for p in json.loads(call("doctor", "--json")[1])["packages"]}
    assert packages["scikit-learn"] == "pip install 'tenant-lab[models]'" and packages["keyring"] == "pip install 'tenant-lab[keyring]'"


def test_doctor_says_where_the_key_is_or_what_is_wrong_with_it(call, monkeypatch):
    def key():
        return json.loads(call("doctor", "--json")[1])["facts"]["master key"]
    call("tenants", "create", "shop")
    assert key() == "readable, from file"
    path = Path(os.environ["TENANT_LAB_KEY_FILE"])
    path.chmod(0o644)
    assert "mode 0644" in key()
    path.chmod(0o600)
    path.write_text("no key")
    assert "is not a master key" in key() and "no key" not in call("doctor")[1]
    monkeypatch.setenv("TENANT_LAB_KEY_SOURCE", "environment")
    assert "no master key in the variable TENANT_LAB_MASTER_KEY" in key()


# -- the way in --------------------------------------------------------------------------------------------------------

def test_what_nobody_foresaw_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(cli, "_lab", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["tenants"])


def test_a_reader_that_stops_reading_is_no_error(monkeypatch):
    def broken(**_):
        raise BrokenPipeError
    monkeypatch.setattr(cli, "app", broken)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with pytest.raises(SystemExit) as status:
        cli.main([])
    assert status.value.code == 1


def process(*arguments, **options) -> subprocess.CompletedProcess:
    program = shutil.which("tenant-lab", path=str(Path(sys.executable).parent))
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=120, **options)


def test_the_console_script_gives_json_status_and_nothing_else(lab):
    done = process("tenants", "--json")
    assert (done.returncode, done.stderr, json.loads(done.stdout)[0]["tenant"]) == (0, "", "shop")
    done = process("report", "run", "customer_value", "shpo", "--json")
    assert (done.returncode, done.stdout) == (2, "") and one_line(done.stderr)


def test_the_console_script_in_a_pipe_that_closes(lab):
    for _ in range(2_000):
        lab.audit.write("noise", "shop", text="x" * 100)
    program = shutil.which("tenant-lab", path=str(Path(sys.executable).parent))
    done = subprocess.run(["bash", "-c", f"'{program}' audit --last 0 --json | head -n 1; exit ${{PIPESTATUS[0]}}"],
                          capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr, done.returncode) == ("[\n", "", 1)


def test_a_run_says_nothing_but_its_json_even_when_the_notebook_is_loud(tmp_path):
    """A kernel shares the shell's own stdout and stderr; neither may end up there."""
    loud = "import os, subprocess, sys\nprint('loud')\nos.write(1, b'loud\\n')\nos.write(2, b'loud\\n')\nsubprocess.run('echo loud', shell=True)"
    folder = write_report(tmp_path / "r", "sales", OPEN, REVENUE, loud)
    code = ("import sys\nfrom pathlib import Path\nfrom report_kit import shop\nfrom tenant_lab.tenancy.lab import Lab\n"
            "shop(Lab.open())\nimport tenant_lab.reports.fleet as fleet, tenant_lab.reports.spec as spec\n"
            f"found = spec.reports\nspec.reports = fleet.reports = lambda folder=None: found(Path({str(folder)!r}))\n"
            "from tenant_lab.cli.main import main\nmain(['report', 'all', '--json'])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120,
                          env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["status"] == "ok" and done.stderr == ""


def test_shop_of_the_kit_is_what_the_tests_think(tmp_path, lab):
    assert shop(lab, "second").sql("SELECT sum(amount) FROM purchases").fetchall() == [(22.5,)]
