"""The file for Airflow: what stands in it, the same each time, safe for odd names; and the command that writes it."""
import ast
import datetime as dt
import random
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from report_kit import shop, write_report

import tenant_lab.reports.schedule as schedule
from tenant_lab.cli.airflow import airflow_dag
from tenant_lab.core.errors import ParameterError, ReportError
from tenant_lab.reports.airflow import MARK, ON_DEMAND, airflow_cron, dag_file, dag_name, planned, write_dag_file
from tenant_lab.reports.cron import next_instant, parse_cron
from tenant_lab.reports.schedule import set_schedule
from tenant_lab.tenancy.lab import Lab


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Reports: `sales` at six, `weekly` on Mondays in New York, `manual` without a schedule; they are those of the shell too."""
    root = write_report(tmp_path / "scheduled", "sales", toml='schedule = "0 6 * * *"\nretries = 2\n', timeout=90)
    write_report(root, "weekly", toml='schedule = "30 7 * * MON"\ntime_zone = "America/New_York"\nmissed = "skip"\n')
    write_report(root, "manual")
    for module in (schedule, sys.modules["tenant_lab.reports.airflow"]):
        monkeypatch.setattr(module, "shipped", lambda name: root)
    return root


def literal(text: str, name: str):
    """What the file sets a name to, without running it."""
    (value,) = (n.value for n in ast.parse(text).body if isinstance(n, ast.Assign) and n.targets[0].id == name)
    return ast.literal_eval(value)


def dags(lab, *arguments, **options):
    found, problems = planned(lab, *arguments, **options)
    assert problems == {}
    return literal(dag_file(found, "/srv/lab"), "DAGS")


# -- cron ----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("given, said", [
    ("*/15 8-18/2 1,15 * MON", "0-45/15 8-18/2 1,15 * 1"), ("0 6 * jan-mar FRI-SUN", "0 6 * 1-3 0,5,6"), ("* * * * *", "* * * * *"),
    ("0 6 * * 7", "0 6 * * 0"), ("0-59 0-23 1-31 1-12 0-6", "* * * * *"), ("0 6 */2 * *", "0 6 1-31/2 * *"), ("0 6 * * */2", "0 6 * * 0-6/2"),
    ("0 6 1-31 * mon", "0 6 * * *"), ("0 6 1 * 0-6", "0 6 * * *"), ("0,1 6 * * *", "0,1 6 * * *"), ("1,2,3 6 * * *", "1-3 6 * * *"),
    ("0 6 */1 * 1", "0 6 * * 1"), ("0 6 13 * */1", "0 6 13 * *")])
def test_a_schedule_in_numbers(given, said):
    assert airflow_cron(parse_cron(given)) == said


def test_the_numbers_mean_the_same_schedule():
    rng, same = random.Random(7), 0
    for _ in range(300):
        dom, dow = rng.choice(["*", "1", "1,15", "*/9", "1-31", "3-9/2"]), rng.choice(["*", "1", "SUN", "5-7", "*/3", "0-6", "1-5"])
        minute, hour = rng.choice(["0", "*/20", "5-50/15", "*"]), rng.choice(["6", "*", "*/5", "8-18", "1,2,4"])
        cron = parse_cron(f"{minute} {hour} {dom} {rng.choice(['*', '2', 'JAN-MAR', '*/5'])} {dow}")
        try:
            again = parse_cron(airflow_cron(cron))
        except ParameterError:
            assert not cron.either and len(cron.days) < 31 and len(cron.weekdays) < 7
            continue
        after = dt.datetime(2024, rng.randint(1, 12), rng.randint(1, 28), rng.randint(0, 23), tzinfo=dt.UTC)
        a = b = after
        for _ in range(5):
            a, b = next_instant(cron, "Europe/Berlin", a), next_instant(again, "Europe/Berlin", b)
            assert a == b, cron.text
        same += 1
    assert same > 200


@pytest.mark.parametrize("text", ["0 6 */2 * 1", "0 6 1 * */2"])
def test_what_cannot_be_said_to_airflow_is_refused(text):
    with pytest.raises(ParameterError, match="cannot be said to Airflow"):
        airflow_cron(parse_cron(text))


def test_names_are_airflows_and_no_two_are_the_same():
    crons = ["0 6 * * *", "0-6 * * * *", "0,6 * * * *", "0-6/2 * * * *", "0 6 1 * *", "0 6 * 1 *", "0 6 * * 1", "*" + " *" * 4]
    zones = ["UTC", "Etc/GMT+1", "Etc/GMT-1", "America/Port-au-Prince", "America/Argentina/Buenos_Aires"]
    names = [dag_name(c, z) for c in crons for z in zones] + [dag_name("", "")]
    assert len(set(names)) == len(names) and names[-1] == ON_DEMAND
    lists = [",".join(str(n) for n in range(low, high) if n % 5 != 3) for low, high in ((0, 60), (0, 24), (1, 31))]
    long = [dag_name(" ".join([*lists, "* *"]), zone) for zone in ("UTC", "Asia/Tokyo")]
    assert len(set(long)) == 2
    for name in names + long:
        assert len(name) <= 250 and all(c.isascii() and (c.isalnum() or c in "_.-") for c in name)   # airflow's validate_key


# -- what is planned -----------------------------------------------------------------------------------------------------

def test_one_dag_for_a_time_a_group_for_a_tenant_a_task_for_a_report(lab, folder):
    shop(lab, "bakery")
    lab.create_tenant("empty")
    set_schedule(lab, "weekly", "bakery", "0 6 * * 0-7", "UTC", "catch up", folder)    # another spelling of what sales has
    sales = (90, 2, "catch up")
    assert dags(lab, folder) == {
        "tenant_lab_0_6_x_x_x_UTC": ("0 6 * * *", "UTC", {"bakery": {"sales": sales, "weekly": (60, 0, "catch up")}, "shop": {"sales": sales}}),
        "tenant_lab_30_7_x_x_1_America.New_York": ("30 7 * * 1", "America/New_York", {"shop": {"weekly": (60, 0, "skip")}})}


def test_what_was_set_for_a_tenant_can_be_left_aside(lab, folder):
    set_schedule(lab, "weekly", "shop", "off", folder=folder)
    set_schedule(lab, "sales", "shop", "0 10 * * *", "Asia/Tokyo", "skip", folder)
    set_schedule(lab, "manual", "shop", "0 9 * * *", folder=folder)
    assert list(dags(lab, folder)) == ["tenant_lab_0_10_x_x_x_Asia.Tokyo", "tenant_lab_0_9_x_x_x_UTC"]
    assert dags(lab, folder, "toml") == {
        "tenant_lab_0_6_x_x_x_UTC": ("0 6 * * *", "UTC", {"shop": {"sales": (90, 2, "catch up")}}),
        "tenant_lab_30_7_x_x_1_America.New_York": ("30 7 * * 1", "America/New_York", {"shop": {"weekly": (60, 0, "skip")}})}
    assert dags(lab, folder, "toml", True)[ON_DEMAND] == (None, None, {"shop": {"manual": (60, 0, "catch up")}})


def test_on_demand_is_what_has_no_schedule_and_was_not_switched_off(lab, folder):
    shop(lab, "bakery")
    lab.create_tenant("empty")
    set_schedule(lab, "manual", "bakery", "off", folder=folder)
    set_schedule(lab, "weekly", "shop", "off", folder=folder)
    assert ON_DEMAND not in dags(lab, folder)
    assert dags(lab, folder, everything=True)[ON_DEMAND] == (None, None, {"shop": {"manual": (60, 0, "catch up")}})


def test_a_mistake_is_told_and_keeps_no_other_out(lab, folder):
    shop(lab, "bakery")
    set_schedule(lab, "weekly", "shop", "0 6 */2 * 1", folder=folder)
    (folder / "manual" / "report.toml").write_text("title = 3\n")
    (lab.home / "tenants/bakery/tenant.json").write_text("{")
    found, problems = planned(lab, folder, everything=True)
    assert [s.id for s in found] == ["sales/shop"]
    assert sorted(problems) == ["/bakery", "manual/", "weekly/shop"] and "cannot be said to Airflow" in problems["weekly/shop"]


def test_a_mistake_that_only_toml_has_is_told_with_toml(lab, folder):
    set_schedule(lab, "sales", "shop", "0 9 * * *", folder=folder)
    (folder / "sales" / "report.toml").write_text('title = "Sales"\ntables = ["purchases"]\nschedule = "0 99 * * *"\n')
    assert planned(lab, folder)[1] == {}
    found, problems = planned(lab, folder, "toml")
    assert [s.id for s in found] == ["weekly/shop"] and list(problems) == ["sales/shop"] and "'99'" in problems["sales/shop"]


def test_nowhere_else_than_lab_or_toml(lab, folder):
    with pytest.raises(ParameterError, match="allowed are lab, toml"):
        planned(lab, folder, "cron")


# -- the file ------------------------------------------------------------------------------------------------------------

def test_the_file_says_how_it_was_made_and_what_a_run_is_given(lab, folder):
    text = dag_file(planned(lab, folder)[0], "/srv/lab", made_with="--all")
    assert text.startswith(f"# {MARK}, of tenant_lab ") and " with --all.\n" in text.split("\n", 1)[0] + "\n"
    assert (literal(text, "TENANT_LAB"), literal(text, "HOME"), literal(text, "FOLDER")) == ("tenant-lab", "/srv/lab", None)
    for needed in ("report run {report} {tenant} --as-of {AS_OF} --json", "catchup=False", "max_active_runs=1", "AirflowFailException",
                   "skip_on_exit_code=(2, 126, 127)", 'env={"PROGRAM": TENANT_LAB, "TENANT_LAB_HOME": HOME}'):
        assert needed in text
    assert "tenant_lab import" not in text and "import tenant_lab" not in text     # Airflow's environment has it not


def test_the_file_is_the_same_each_time(lab, folder):
    shop(lab, "bakery")
    found = planned(lab, folder)[0]
    text = dag_file(found, "/srv/lab")
    assert all(dag_file(random.Random(n).sample(found, len(found)), "/srv/lab") == text for n in range(5))
    assert dag_file(planned(Lab.open(lab.home), folder)[0], "/srv/lab") == text


@pytest.mark.parametrize("odd", ["/a b", "/it's \"so\"", "/new\nline = 1", "/back\\slash", '/"""', "/{{ x }}{% y %}", "/é漢", "/\udcff", "/$(touch x)", "/%s %(a)s"])
def test_odd_paths_are_literals_of_ascii(odd):
    text = dag_file([], odd, odd, Path(odd), "")
    assert text.isascii() and (literal(text, "TENANT_LAB"), literal(text, "HOME"), literal(text, "FOLDER")) == (odd, odd, odd)
    assert text.count(ascii(odd)) == 3 and len(text.splitlines()) == len(dag_file([], "/h", "/p").splitlines())


@pytest.mark.parametrize("home, program, said", [
    ("lab", "tenant-lab", "home 'lab': needs an absolute path"), ("~/lab", "tenant-lab", "absolute path"), ("", "tenant-lab", "absolute path"),
    ("/h", "", "program ''"), ("/h", "bin/tenant-lab", "absolute path or the name"), ("/h", "./tenant-lab", "absolute path or the name"),
    ("/h", "~/bin/tenant-lab", "absolute path or the name"), ("/h", "tenant\0lab", "absolute path or the name"), ("/h\0", "tenant-lab", "absolute path")])
def test_what_would_mean_something_else_on_a_worker_is_refused(home, program, said):
    with pytest.raises(ParameterError) as error:
        dag_file([], home, program)
    assert said in str(error.value)


def test_an_empty_lab_has_a_file_without_dags(tmp_path):
    text = dag_file(planned(Lab.open(tmp_path / "empty"))[0], "/srv/lab")
    compile(text, "reports.py", "exec")
    assert literal(text, "DAGS") == {}


def test_it_holds_no_secret(lab, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TENANT_LAB_SECRET_CRM_TOKEN", "hunter2")
    write_report(folder, "crm", toml='schedule = "0 6 * * *"\nsecrets = ["crm_token"]\n')
    text = dag_file(planned(lab, folder)[0], lab.home)
    assert "'crm'" in text and "hunter2" not in text and (tmp_path / "master.key").read_text().strip() not in text


# -- written -------------------------------------------------------------------------------------------------------------

def test_the_file_is_there_whole_or_as_it_was(tmp_path, monkeypatch):
    path, one, two = tmp_path / "reports.py", dag_file([], "/one"), dag_file([], "/two")
    assert write_dag_file(path, one) and not write_dag_file(path, one)
    monkeypatch.setattr(Path, "replace", lambda self, target: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(ReportError, match="full"):
        write_dag_file(path, two)
    assert path.read_text() == one and [p.name for p in tmp_path.iterdir()] == ["reports.py"]


@pytest.mark.parametrize("content", ["import this\n", f"import this\n# {MARK}\n", "\udcff"])
def test_somebodys_file_is_not_written_over(tmp_path, content):
    path = tmp_path / "reports.py"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ReportError, match="was not made by tenant-lab airflow-dag"):
        write_dag_file(path, dag_file([], "/one"))
    assert path.read_bytes() == content.encode(errors="surrogateescape")


@pytest.mark.parametrize("name", ["", "no/such/folder/reports.py", "x" * 300])
def test_a_place_that_cannot_be_written_is_told(tmp_path, name):
    with pytest.raises(ReportError, match="cannot be written"):
        write_dag_file(tmp_path / name, dag_file([], "/one"))
    assert list(tmp_path.iterdir()) == []


# -- the command ---------------------------------------------------------------------------------------------------------

@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    """Runs the command in an empty folder; gives its exit status, stdout and stderr."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    command = typer.Typer(add_completion=False)
    command.command()(airflow_dag)

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as status:
            command(args=[str(a) for a in arguments])
        return status.value.code or 0, *capsys.readouterr()
    return run


def test_the_command_prints_or_writes_the_same(call, lab, folder, tmp_path):
    status, out, err = call()
    assert (status, err) == (0, "") and literal(out, "HOME") == str(lab.home) and len(literal(out, "DAGS")) == 2
    path = tmp_path / "reports.py"
    assert call("--out", path) == (0, f"{path}: 2 tasks\n", "") and path.read_text() == out
    assert call("--out", path) == (0, f"{path}: 2 tasks, as it was\n", "")
    set_schedule(lab, "sales", "shop", "off", folder=folder)
    assert len(literal(call()[1], "DAGS")) == 1
    _, out, _ = call("--all", "--schedule-from", "toml", "--program", "/opt/bin/tenant-lab", "--home", "/mnt/lab")
    assert " with --all --schedule-from toml.\n" in out and len(literal(out, "DAGS")) == 3 and ON_DEMAND in literal(out, "DAGS")
    assert (literal(out, "TENANT_LAB"), literal(out, "HOME")) == ("/opt/bin/tenant-lab", "/mnt/lab")


def test_the_command_tells_mistakes_and_writes_the_others(call, lab, folder, tmp_path):
    (folder / "weekly" / "report.toml").write_text("title = 3\n")
    path = tmp_path / "reports.py"
    status, out, err = call("--out", path)
    assert (status, out) == (1, f"{path}: 1 task\n") and err.startswith("error: ") and "weekly" in err and err.count("\n") == 1


def test_the_folder_with_the_settings_in_force_is_noted(call, lab, folder, tmp_path):
    assert literal(call()[1], "FOLDER") is None
    (tmp_path / "work/settings.ini").write_text("[another_program]\nuser = me\n")
    assert literal(call()[1], "FOLDER") is None
    (tmp_path / "work/settings.ini").write_text("[tenant_lab]\nuser = robot\n")
    assert literal(call()[1], "FOLDER") == str((tmp_path / "work").resolve())


def test_airflow_and_pandas_are_not_imported_for_it():
    code = "import sys, tenant_lab.cli.airflow; print(sorted({'airflow', 'pandas', 'duckdb', 'tenant_lab.reports'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
