"""Running reports: checked first, known by their inputs, whole or absent, failures are results."""
import base64
import datetime as dt
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
from report_kit import OPEN, REVENUE, manifest, shop, values, without_a_kernel, write_report

import tenant_lab
from tenant_lab.core.errors import ParameterError, ReportError, TenantLabError
from tenant_lab.core.settings import Settings, shipped
from tenant_lab.reports import runner
from tenant_lab.reports.fleet import frame, run_all, run_report
from tenant_lab.reports.index import write_index
from tenant_lab.reports.page import recorded_values
from tenant_lab.reports.runner import home, identity, last_day, library, plan, read_json, run
from tenant_lab.reports.spec import read_spec, reports
from tenant_lab.tenancy.lab import Lab

FILES = {"report.html", "report.ipynb", "values.json", "manifest.json"}
MORE = pd.DataFrame({"customer_id": ["cid"], "purchased_at": ["2024-03-20"], "amount": [1.0]})


@pytest.fixture
def kernels(monkeypatch) -> list[str]:
    """Run ids of the runs that were started; none of them does anything."""
    calls: list[str] = []
    monkeypatch.setattr(runner, "_made", lambda lab, plan, draft: calls.append(plan.run_id))
    return calls


@pytest.fixture
def without_kernel(monkeypatch):
    """Runs take the report's notebook as executed, in no time; the first entry says what went wrong."""
    failing: list[str | None] = [None]
    monkeypatch.setattr(runner, "_made", lambda lab, plan, draft: without_a_kernel(plan, draft, failing[0]))
    return failing


def code_cells(folder) -> list:
    return [c for c in nbformat.read(Path(folder) / "report.ipynb", 4).cells if c.cell_type == "code"]


def whole_runs(lab) -> list[Path]:
    """All published run folders; fails where one is not whole."""
    found = []
    for base in home(lab).glob("*/*"):
        for path in base.glob("*/*"):
            if not path.parent.is_symlink() and path.parent.parent == base and path.is_dir():
                assert {p.name for p in path.iterdir()} >= FILES, path
                json.loads((path / "manifest.json").read_text())
                assert (path / "report.html").read_text().rstrip().endswith("</html>")
                found.append(path)
    return found


# -- checked first -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("given, error, said", [
    ({"parameters": {"divisr": 1}}, ParameterError, "no parameter 'divisr'; it has divisor"),
    ({"parameters": {"divisor": "1"}}, ParameterError, "parameter divisor '1': needs a value of type int"),
    ({"parameters": {"divisor": 10}}, ParameterError, "parameter divisor 10: needs a number from 0 to 9"),
    ({"tenant": "shpo"}, ParameterError, "there is no tenant 'shpo'; there are empty, shop"),
    ({"tenant": "../shop"}, ParameterError, "tenant name '../shop'"),
    ({"report": "sale"}, ParameterError, "report 'sale': allowed are plays, sales"),
    ({"as_of": "9 March"}, ParameterError, "as_of '9 March': needs a day"),
    ({"as_of": "../../2024"}, ParameterError, "as_of"),
    ({"tenant": "empty"}, ReportError, "needs the table purchases, which tenant empty does not have; it has none"),
    ({"report": "plays"}, ReportError, "needs the table plays, .* it has purchases. Bring it in with: tenant-lab ingest shop plays FILE"),
])
def test_a_wrong_call_is_one_clear_error_before_a_kernel_starts(lab, reports_folder, kernels, given, error, said):
    lab.create_tenant("empty")
    write_report(reports_folder, "plays", tables=("plays",))
    with pytest.raises(error, match=said):
        run_report(lab, **({"report": "sales", "tenant": "shop", "folder": reports_folder} | given))
    assert kernels == [] and not home(lab).exists()


def test_a_broken_description_is_refused_before_a_kernel_starts(lab, reports_folder, kernels):
    (reports_folder / "sales" / "report.toml").write_text("tables = 1")
    with pytest.raises(ReportError, match=r"report\.toml"):
        run_report(lab, "sales", "shop", folder=reports_folder)
    assert kernels == []


def test_last_day_is_the_last_with_data_in_the_tenants_zone_and_never_in_the_future(lab):
    tokyo = lab.create_tenant("tokyo", time_zone="Asia/Tokyo")
    tokyo.ingest("purchases", pd.DataFrame({"customer_id": ["a"], "purchased_at": ["2024-03-01T20:00Z"], "amount": [1.0]}))
    assert last_day(tokyo, ["purchases"]) == "2024-03-02"
    tokyo.ingest("tracks", pd.DataFrame({"track_id": ["t"], "artist_id": ["a"]}))
    tokyo.ingest("events", pd.DataFrame({"customer_id": ["a"], "at": ["2024-03-05"], "event": ["x"]}))
    assert last_day(tokyo, ["tracks", "purchases", "events"]) == "2024-03-05"
    before = dt.datetime.now(dt.UTC) + dt.timedelta(hours=9)
    assert last_day(tokyo, ["tracks"]) in (f"{before:%F}", f"{before + dt.timedelta(hours=1):%F}")
    tokyo.ingest("purchases", pd.DataFrame({"customer_id": ["a"], "purchased_at": ["2999-01-01"], "amount": [1.0]}))
    assert last_day(tokyo, ["purchases"]) == last_day(tokyo, ["tracks"])


# -- known by its inputs -----------------------------------------------------------------------------------------------

def test_identity_depends_on_the_content_only():
    assert identity({"a": 1, "b": {"c": 2}}) == identity({"b": {"c": 2}, "a": 1})
    assert len({identity({"a": 1}), identity({"a": 2}), identity({"b": 1})}) == 3


def test_a_run_is_named_by_everything_that_can_change_it(lab, reports_folder, monkeypatch):
    def run_id(tenant="shop", **given):
        return plan(lab, read_spec(reports_folder / "sales"), tenant, **given).run_id
    shop(lab, "other")
    first = run_id()
    assert run_id() == first == run_id(as_of="2024-03-09", parameters={"divisor": 1})
    seen = {first, run_id(as_of="2024-03-08"), run_id(parameters={"divisor": 2}), run_id("other")}
    for file in ("report.ipynb", "report.toml"):
        path = reports_folder / "sales" / file
        path.write_text(path.read_text() + "\n")
        seen.add(run_id())
    lab.tenant("shop").ingest("tracks", pd.DataFrame({"track_id": ["t"], "artist_id": ["a"]}))
    assert run_id() in seen  # a table that the report does not read
    lab.tenant("shop").ingest("purchases", MORE)
    seen.add(run_id(as_of="2024-03-09"))
    state = lab.home / "tenants/shop/tenant.json"
    state.write_text(state.read_text().replace("EUR", "USD"))
    seen.add(run_id(as_of="2024-03-09"))
    monkeypatch.setattr(runner, "library", lambda: {"version": "0.1.0", "content": "changed"})
    seen.add(run_id(as_of="2024-03-09"))
    assert len(seen) == 9


def test_files_and_weights_that_a_report_reads_name_its_runs(lab, reports_folder):
    write_report(reports_folder, "sounds", toml='files = true\nmodels = ["musicnn"]')
    tenant, spec = lab.tenant("shop"), read_spec(reports_folder / "sounds")
    sales = plan(lab, read_spec(reports_folder / "sales"), "shop").run_id
    with pytest.raises(ReportError, match="report sounds needs files of the tenant shop, which has none; put them into .*files"):
        plan(lab, spec, "shop")
    (tenant.files / "music").mkdir(parents=True)
    seen = [plan(lab, spec, "shop").run_id]
    for path in (tenant.files / "music/a.wav", tenant.files / "b.wav", lab.home / "models/musicnn/model.json", lab.home / "models/spleeter-2stems/model.json"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
        seen.append(plan(lab, spec, "shop").run_id)
    os.utime(tenant.files / "b.wav", (1, 1))
    seen.append(plan(lab, spec, "shop").run_id)
    assert len(set(seen)) == 5 and seen[3] == seen[4]  # weights that it does not name
    assert plan(lab, read_spec(reports_folder / "sales"), "shop").run_id == sales


@pytest.fixture
def copied_library(tmp_path, monkeypatch):
    """A copy of the package and its pages, in force for this test; gives the content hash of the original."""
    before = library()["content"]
    for top in ("tenant_lab", "reports"):
        source = Path(tenant_lab.__path__[0]) if top == "tenant_lab" else shipped(top)
        shutil.copytree(source, tmp_path / "copy" / top, ignore=shutil.ignore_patterns("__pycache__", "shipped"))
    monkeypatch.setattr(tenant_lab, "__path__", [str(tmp_path / "copy" / "tenant_lab")])
    yield before
    library.cache_clear()


def test_the_library_is_known_by_its_files_and_its_pages(copied_library):
    def content():
        library.cache_clear()
        return library()["content"]
    seen = {copied_library, content()}
    assert len(seen) == 1  # where it lies does not matter
    for file in ("tenant_lab/customers/rfm.py", "reports/_page/page.css"):
        path = Path(tenant_lab.__path__[0]).parent / file
        path.write_text(path.read_text() + "\n")
        seen.add(content())
    assert len(seen) == 3
    needed = library()["dependencies"]
    assert {"pandas", "duckdb", "papermill"} <= set(needed) and "pytest" not in needed
    assert needed["pandas"] == pd.__version__ and library()["version"] == tenant_lab.__version__


# -- a good run --------------------------------------------------------------------------------------------------------

def test_a_run_is_published_whole_then_up_to_date_then_forced(lab, reports_folder, monkeypatch):
    first = run_report(lab, "sales", "shop", parameters={"divisor": 2}, folder=reports_folder)
    base, folder = home(lab) / "sales/shop", Path(first.folder)
    assert (first.status, first.error, first.as_of, first.tenant, first.report) == ("ok", None, "2024-03-09", "shop", "sales")
    assert folder == base / "2024-03-09" / first.run_id and {p.name for p in folder.iterdir()} == FILES
    assert first.page == folder / "report.html" and (base / "latest").resolve() == (base / "last").resolve() == folder
    assert not any((home(lab) / ".running").iterdir())

    assert values(folder) == {"Revenue": 22.5, "Divided": 11.25}
    record = json.loads((folder / "values.json").read_text())[0]
    assert (record["unit"], record["headline"]) == ("EUR", True)
    said = manifest(folder)
    notebook = hashlib.sha256((reports_folder / "sales/report.ipynb").read_bytes()).hexdigest()
    assert {k: said[k] for k in ("report", "title", "tenant", "as_of", "run_id", "status", "error", "parameters", "snapshot",
                                 "previous", "notebook", "library", "seconds")} == {
        "report": "sales", "title": "Sales", "tenant": "shop", "as_of": "2024-03-09", "run_id": first.run_id, "status": "ok",
        "error": None, "parameters": {"divisor": 2}, "snapshot": {"purchases": 0}, "previous": None, "notebook": notebook,
        "library": library(), "seconds": first.seconds}
    assert said["parameter_hash"] == identity({"divisor": 2})
    assert dt.datetime.fromisoformat(said["started"]) <= dt.datetime.fromisoformat(said["finished"])
    assert "22.5" in first.page.read_text() and "sales/shop/2024-03-09" in (home(lab) / "index.html").read_text()
    lines = [line for line in lab.audit.read("shop") if line["action"] == "report"]
    assert [(x["report"], x["run_id"], x["as_of"], x["status"]) for x in lines] == [("sales", first.run_id, "2024-03-09", "ok")]

    with monkeypatch.context() as patch:
        patch.setattr(runner, "_made", lambda *a: pytest.fail("it is up to date"))
        second = run_report(lab, "sales", "shop", parameters={"divisor": 2}, folder=reports_folder)
    assert (second.status, second.run_id, second.folder) == ("up to date", first.run_id, first.folder)

    (folder / "mark").touch()
    third = run_report(lab, "sales", "shop", parameters={"divisor": 2}, force=True, folder=reports_folder)
    assert (third.status, third.folder) == ("ok", first.folder)
    assert {p.name for p in folder.iterdir()} == FILES and not any((home(lab) / ".running").iterdir())
    assert list(frame([first, second, third])["status"]) == ["ok", "up to date", "ok"]
    assert list(frame([])) == []


def test_a_run_reads_the_versions_of_its_plan_and_the_labs_settings(tmp_path, lab):
    probe = "import os\nreport.value('memory', os.environ['TENANT_LAB_MEMORY_LIMIT'])\nreport.value('folder', os.getcwd())"
    folder = write_report(tmp_path / "r", "sales", OPEN, REVENUE, probe)
    other = Lab(Settings({**lab.settings.values, "memory_limit": "300MB"}, lab.settings.source))
    made = plan(other, read_spec(folder / "sales"), "shop", "2024-03-31")
    lab.tenant("shop").ingest("purchases", MORE)
    result = run(other, made)
    found = values(result.folder)
    assert (result.status, found["Revenue"], found["memory"]) == ("ok", 22.5, "300MB")
    assert Path(found["folder"]).is_relative_to(home(lab) / ".running") and Path(found["folder"]).name == "files"


def test_previous_is_the_last_good_run_with_an_earlier_as_of(tmp_path, lab):
    folder = write_report(tmp_path / "r", "sales", OPEN, REVENUE, 'report.value("before", report.previous.get("Revenue"))',
                          toml="previous = true\n")
    results = [run_report(lab, "sales", "shop", as_of=day, folder=folder) for day in ("2024-03-01", "2024-03-09", "2024-03-05")]
    assert [values(r.folder) for r in results] == [
        {"Revenue": 5.0, "before": None}, {"Revenue": 22.5, "before": 5.0}, {"Revenue": 12.5, "before": 5.0}]
    assert [manifest(r.folder)["previous"] for r in results] == [None, results[0].run_id, results[0].run_id]
    again = plan(lab, read_spec(folder / "sales"), "shop", "2024-03-09")
    assert [p["run_id"] for p in again.past] == [results[0].run_id, results[2].run_id] and again.run_id != results[1].run_id
    assert values(run(lab, again).folder)["before"] == 12.5
    shutil.rmtree(results[2].folder)
    assert plan(lab, read_spec(folder / "sales"), "shop", "2024-03-09").run_id == results[1].run_id


def test_the_executed_notebook_runs_again_with_plain_papermill(tmp_path, lab, reports_folder, monkeypatch):
    result = run_report(lab, "sales", "shop", as_of="2024-03-05", parameters={"divisor": 3}, folder=reports_folder)
    lab.tenant("shop").ingest("purchases", MORE.assign(purchased_at="2024-03-02"))  # the version is in the notebook
    monkeypatch.setenv("TENANT_LAB_HOME", str(lab.home))
    papermill.execute_notebook(Path(result.folder) / "report.ipynb", tmp_path / "again.ipynb", progress_bar=False)
    again = {v["name"]: v["value"] for v in recorded_values(nbformat.read(tmp_path / "again.ipynb", 4))}
    assert again == values(result.folder) == {"Revenue": 12.5, "Divided": 7.5}


# -- failures are results ----------------------------------------------------------------------------------------------

@pytest.fixture
def fleet(tmp_path) -> Path:
    """Reports that go wrong in their third code cell, each in its own way, and one that does not."""
    root = tmp_path / "fleet"
    write_report(root, "a-raises", "x = 1", "raise ValueError('[/red] no <b>revenue</b>\\nat all')", "y = 2")
    write_report(root, "b-exits", "x = 1", "import os; os._exit(1)", "y = 2")
    write_report(root, "c-crashes", "x = 1", "import ctypes; ctypes.string_at(0)", "y = 2")
    write_report(root, "d-late", "x = 1", "import time; time.sleep(60)", "y = 2", timeout=3)
    return write_report(root, "z-good", OPEN, REVENUE)


def test_what_goes_wrong_is_kept_where_it_happened_and_stops_no_other_run(lab, fleet):
    results = {r.report: r for r in run_all(lab, folder=fleet)}
    assert {name: r.status for name, r in results.items()} == {
        "a-raises": "failed", "b-exits": "failed", "c-crashes": "failed", "d-late": "failed", "z-good": "ok"}
    names = {"a-raises": "ValueError", "b-exits": "DeadKernelError", "c-crashes": "DeadKernelError", "d-late": "TimeoutError"}
    for name, said in names.items():
        result, cells = results[name], code_cells(results[name].folder)
        kept = manifest(result.folder)
        assert kept["status"] == "failed" and kept["error"] == result.error
        bad = [c for c in cells if any(o.output_type == "error" for o in c.outputs)]
        assert [c.metadata.papermill.status for c in bad] == ["failed"]
        assert cells.index(bad[0]) == len(cells) - 2  # after parameters, injected parameters and x = 1
        assert cells[-1].metadata.papermill.status == "pending" and cells[-3].metadata.papermill.status == "completed"
        assert said in str(bad[0].outputs[-1].traceback) and said in result.page.read_text()
        assert "The code that failed" in result.page.read_text()
        assert not (home(lab) / name / "shop/latest").exists() and (home(lab) / name / "shop/last").resolve() == Path(result.folder)
        assert result.error.startswith(said), (name, result.error)
    page = results["a-raises"].page.read_text()
    assert "<b>revenue" not in page and "This run failed" in page
    index = (home(lab) / "index.html").read_text()
    assert "4 failed" in index and "&lt;b&gt;revenue" in index
    assert {line["status"] for line in lab.audit.read("shop") if line["action"] == "report"} == {"ok", "failed"}


def test_the_time_out_is_for_the_whole_run(lab, tmp_path):
    folder = write_report(tmp_path / "r", "slow", "import time; time.sleep(2)", "time.sleep(2)", "x = 1", timeout=3)
    result = run_report(lab, "slow", "shop", folder=folder)
    assert result.status == "failed" and code_cells(result.folder)[-1].metadata.papermill.status == "pending"


def test_a_failed_run_is_made_again(lab, reports_folder):
    failed = run_report(lab, "sales", "shop", parameters={"divisor": 0}, folder=reports_folder)
    again = run_report(lab, "sales", "shop", parameters={"divisor": 0}, folder=reports_folder)
    assert failed.status == again.status == "failed" and "ZeroDivisionError" in again.error
    assert values(again.folder) == {"Revenue": 22.5}  # what was recorded before it failed
    assert whole_runs(lab) == [Path(again.folder)]


def test_a_tenant_whose_data_are_gone_is_refused_and_the_others_go_on(lab, reports_folder, without_kernel):
    for name in ("broken", "other"):
        shop(lab, name)
    for file in (lab.home / "tenants/broken/lake").rglob("*.parquet"):
        file.unlink()
    results = {r.tenant: r for r in run_all(lab, folder=reports_folder)}
    assert {name: r.status for name, r in results.items()} == {"broken": "refused", "other": "ok", "shop": "ok"}
    assert results["broken"].error and results["broken"].folder == "" and results["broken"].run_id == ""
    with pytest.raises(TenantLabError):  # and not an error of the engine, which a shell would show as a traceback
        run_report(lab, "sales", "broken", folder=reports_folder)


def test_a_tenant_whose_data_vanish_under_a_given_day_fails_in_its_notebook(lab, reports_folder):
    made = plan(lab, read_spec(reports_folder / "sales"), "shop", "2024-03-09")
    for file in (lab.home / "tenants/shop/lake").rglob("*.parquet"):
        file.unlink()
    result = run(lab, made)
    assert result.status == "failed" and "StoreError" in result.error


@pytest.mark.parametrize("file", ["tenant.json", "lake/purchases/_delta_log/00000000000000000000.json"])
def test_a_tenant_with_a_broken_file_stops_no_other(lab, reports_folder, without_kernel, file):
    for name in ("broken", "other"):
        shop(lab, name)
    (lab.home / "tenants/broken" / file).write_text("{")
    results = {r.tenant: r.status for r in run_all(lab, folder=reports_folder)}
    assert results == {"broken": "refused", "other": "ok", "shop": "ok"}


def test_run_all_takes_every_tenant_that_has_the_tables(lab, reports_folder, without_kernel):
    lab.create_tenant("empty")
    shop(lab, "other")
    write_report(reports_folder, "plays", tables=("plays",))
    assert [(r.report, r.tenant, r.as_of) for r in run_all(lab, as_of="2024-03-05", folder=reports_folder)] == [
        ("sales", "other", "2024-03-05"), ("sales", "shop", "2024-03-05")]
    assert [r.status for r in run_all(lab, as_of="2024-03-05", folder=reports_folder)] == ["up to date", "up to date"]
    assert [r.status for r in run_all(lab, as_of="2024-03-05", force=True, folder=reports_folder)] == ["ok", "ok"]
    assert run_all(Lab.open(lab.home.with_name("none")), folder=reports_folder) == []


# -- latest ------------------------------------------------------------------------------------------------------------

def latest(lab) -> str:
    return manifest(home(lab) / "sales/shop/latest")["as_of"]


def test_latest_is_the_newest_good_run(lab, reports_folder, without_kernel):
    def make(as_of, **more):
        return run_report(lab, "sales", "shop", as_of=as_of, folder=reports_folder, **more)
    make("2024-03-05")
    make("2024-03-09")
    assert latest(lab) == "2024-03-09"
    make("2024-03-01")
    assert latest(lab) == "2024-03-09" and manifest(home(lab) / "sales/shop/last")["as_of"] == "2024-03-01"
    second = make("2024-03-09", parameters={"divisor": 2})  # the same day, other parameters: the later run
    assert (home(lab) / "sales/shop/latest").resolve() == Path(second.folder)
    without_kernel[0] = "ValueError: no"
    failed = make("2024-03-10")
    assert failed.status == "failed" and latest(lab) == "2024-03-09"
    index = (home(lab) / "index.html").read_text()
    assert "failed: ValueError: no" in index and f"sales/shop/2024-03-09/{second.run_id}/report.html" in index


@pytest.mark.parametrize("older", ["2024-03-09T12:00", "2024-W10-1", "20240308", "2024-03-09T00:00+09:00"])
def test_an_older_instant_never_takes_latest_however_it_is_written(lab, reports_folder, without_kernel, older):
    """A plain day means its end; texts of different forms do not sort as the instants do."""
    run_report(lab, "sales", "shop", as_of="2024-03-09", folder=reports_folder)
    run_report(lab, "sales", "shop", as_of=older, folder=reports_folder)
    assert latest(lab) == "2024-03-09"


def test_one_day_is_one_run_however_it_is_written(lab, reports_folder, without_kernel):
    ids = {run_report(lab, "sales", "shop", as_of=day, folder=reports_folder).run_id
           for day in ("2024-03-09", " 2024-03-09", dt.date(2024, 3, 9))}
    assert len(ids) == 1


def test_a_forced_run_that_fails_does_not_take_the_good_ones_place(lab, reports_folder, without_kernel):
    good = run_report(lab, "sales", "shop", folder=reports_folder)
    without_kernel[0] = "DeadKernelError: out of memory"
    failed = run_report(lab, "sales", "shop", force=True, folder=reports_folder)
    assert failed.status == "failed" and good.run_id == failed.run_id
    assert manifest(home(lab) / "sales/shop/latest")["status"] == "ok"


def test_an_instants_folder_has_no_colon(lab, reports_folder, without_kernel):
    result = run_report(lab, "sales", "shop", as_of=dt.datetime(2024, 3, 9, 12, tzinfo=dt.UTC), folder=reports_folder)
    assert Path(result.folder).parent.name == "2024-03-09T120000+0000" and result.as_of == "2024-03-09T12:00:00+00:00"


# -- whole or absent ---------------------------------------------------------------------------------------------------

CHILD = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from report_kit import without_a_kernel
from tenant_lab.reports import fleet, runner
from tenant_lab.tenancy.lab import Lab
home, folder, step = sys.argv[1:4]
def die(real, left=[int(step)]):
    def wrapped(*a, **k):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), 9)
        return real(*a, **k)
    return wrapped
if int(step) >= 0:
    runner._made = lambda lab, plan, draft: without_a_kernel(plan, draft)
    for owner, name in ((Path, "rename"), (Path, "symlink_to"), (os, "replace")):
        setattr(owner, name, die(getattr(owner, name)))
fleet.run_report(Lab.open(home), "sales", "shop", force=True, folder=Path(folder))
print("done")
"""


def child(lab, folder, step, **options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(lab.home), str(folder), str(step), str(Path(__file__).parents[2])], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **options)


def test_a_runner_killed_in_mid_run_leaves_nothing_half_published(lab, tmp_path):
    folder = write_report(tmp_path / "r", "sales", OPEN, REVENUE, "import os, time\nopen('started', 'w').close()\ntime.sleep(120)")
    process = child(lab, folder, -1)
    deadline = time.monotonic() + 60
    while not list(home(lab).glob(".running/*/files/started")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert whole_runs(lab) == [] and not (home(lab) / "sales").exists()
    assert write_index(lab).read_text().count("No report has been run yet") == 1
    write_report(tmp_path / "r", "sales", OPEN, REVENUE)
    result = run_report(lab, "sales", "shop", folder=folder)
    assert result.status == "ok" and whole_runs(lab) == [Path(result.folder)]


# a new run: into place, last (2), latest (2), index; a forced one: the old one out of the way first, links stay
@pytest.mark.parametrize("step, forced", [(1, False), (3, False), (5, False), *((step, True) for step in range(3))])
def test_a_runner_killed_while_publishing_leaves_whole_runs_and_the_next_run_mends_the_rest(
        lab, reports_folder, without_kernel, step, forced):
    """`step` changes of names are made, then the process is killed."""
    if forced:
        run_report(lab, "sales", "shop", folder=reports_folder)
    process = child(lab, reports_folder, step)
    _, err = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, err
    whole_runs(lab)
    result = run_report(lab, "sales", "shop", folder=reports_folder)
    assert result.status in ("ok", "up to date") and whole_runs(lab) == [Path(result.folder)]
    for link in ("last", "latest"):
        assert (home(lab) / "sales/shop" / link).resolve() == Path(result.folder), link
    assert f"{result.run_id}/report.html" in (home(lab) / "index.html").read_text()


def test_a_page_that_cannot_be_made_leaves_nothing(lab, reports_folder, without_kernel, monkeypatch):
    monkeypatch.setattr("tenant_lab.reports.page.page", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run_report(lab, "sales", "shop", folder=reports_folder)
    assert whole_runs(lab) == [] and not any((home(lab) / ".running").iterdir())


def test_index_passes_over_what_is_not_whole(lab, reports_folder, without_kernel):
    result = run_report(lab, "sales", "shop", folder=reports_folder)
    link = home(lab) / "sales/gone/last"
    link.parent.mkdir()
    link.symlink_to("2024-01-01/none")
    (home(lab) / "sales/half/last").mkdir(parents=True)
    text = write_index(lab).read_text()
    assert "1 report for 1 tenant" in text and result.run_id in text
    assert not list(home(lab).glob(".index-*"))
    assert read_json(link / "manifest.json") is None


# -- secrets -----------------------------------------------------------------------------------------------------------

def test_no_master_key_reaches_a_run_or_what_it_writes(tmp_path, monkeypatch):
    key = base64.b64encode(b"a very secret key of 32 bytes...").decode()
    monkeypatch.setenv("TENANT_LAB_KEY_SOURCE", "environment")
    monkeypatch.setenv("TENANT_LAB_MASTER_KEY", key)
    lab = Lab.open(tmp_path / "home")
    shop(lab)
    tell = "import os\nprint(dict(os.environ))\nreport.value('keys', ' '.join(sorted(k for k in os.environ if 'KEY' in k)))"
    fail = "raise ValueError(str(dict(os.environ)))"
    folder = write_report(tmp_path / "r", "sales", OPEN, tell, REVENUE, fail)
    result = run_report(lab, "sales", "shop", folder=folder)
    assert result.status == "failed" and "ValueError" in result.error
    assert values(result.folder) == {"keys": "TENANT_LAB_KEY_FILE TENANT_LAB_KEY_SOURCE", "Revenue": 22.5}
    written = [p for p in lab.home.rglob("*") if p.is_file()]
    assert any(p.name == "report.ipynb" for p in written) and any(p.name == "audit.jsonl" for p in written)
    for path in written:
        data = path.read_bytes()
        assert key.encode() not in data and b"a very secret key" not in data, path
    assert os.environ["TENANT_LAB_MASTER_KEY"] == key


# -- the real thing ----------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def customer_value(cdnow_lab):
    """customer_value on CDNOW as of two days, in this order."""
    return [run_report(cdnow_lab, "customer_value", "cdnow", as_of=day) for day in ("1997-03-31", "1998-06-30")]


def test_an_as_of_in_the_past_knows_nothing_later(customer_value):
    raw = pd.read_parquet(shipped("data") / "cdnow/purchases.parquet")
    raw["purchased_at"] = pd.to_datetime(raw["purchased_at"])
    for result in customer_value:
        assert result.status == "ok", result.error
        known = raw[raw["purchased_at"] <= result.as_of]
        days = known.groupby("customer_id")["purchased_at"].nunique()
        spent = known.groupby("customer_id")["amount"].sum().sort_values(ascending=False)
        found = values(result.folder)
        assert (found["Customers"], found["Purchases"]) == (known["customer_id"].nunique(), len(known))
        assert found["Revenue"] == pytest.approx(known["amount"].sum(), rel=1e-12)
        assert found["Came back"] == pytest.approx((days > 1).mean(), rel=1e-12)
        month = known[known["purchased_at"].dt.strftime("%Y-%m") == result.as_of[:7]]["amount"].sum()
        assert found[f"Revenue of {pd.Timestamp(result.as_of):%b %Y}"] == pytest.approx(month, rel=1e-12)
        top = spent.iloc[:-(-len(spent) // 10)].sum() / spent.sum()
        assert found["Top 10% bring"] == pytest.approx(top, abs=2e-4)  # a tenth of the customers, rounded up or down
    assert values(customer_value[0].folder)["Purchases"] < values(customer_value[1].folder)["Purchases"] == 69_659


def test_the_report_says_what_has_come_since_the_one_before(customer_value):
    said = [str([o.get("data", {}).get("text/markdown") for c in code_cells(r.folder) for o in c.outputs]) for r in customer_value]
    assert ["Since the report before this one" in text for text in said] == [False, True]
    assert manifest(customer_value[1].folder)["previous"] == customer_value[0].run_id


def test_those_that_travel_with_the_library_are_the_default(cdnow_lab, customer_value, without_kernel):
    """Whatever travels and needs purchases only; the one that was run just now is not run again."""
    expected = [(name, "up to date" if name == "customer_value" else "ok") for name in reports() if reports()[name].tables == ("purchases",)]
    assert [(r.report, r.status) for r in run_all(cdnow_lab)] == expected


def test_the_index_shows_the_newest_day_and_a_later_failure(lab, reports_folder, without_kernel):
    newer = run_report(lab, "sales", "shop", as_of="2024-03-09", folder=reports_folder)
    older = run_report(lab, "sales", "shop", as_of="2024-03-05", folder=reports_folder)
    index = (home(lab) / "index.html").read_text()
    assert newer.run_id in index and older.run_id not in index
    without_kernel[0] = "ValueError: no"
    failed = run_report(lab, "sales", "shop", as_of="2024-03-10", folder=reports_folder)
    index = (home(lab) / "index.html").read_text()
    assert failed.status == "failed" and failed.run_id in index and f"{newer.run_id}/report.html" in index
