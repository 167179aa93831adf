"""Whatever a report's notebook does to its process, its folder or its outputs: the run ends, says so at its cell, and harms no other."""
import contextlib
import json
import os
import signal
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from report_kit import OPEN, REVENUE, manifest, shop, values, write_report

from tenant_lab.reports import zygote
from tenant_lab.reports.runner import home, plan, run, start_runs, stop_runs
from tenant_lab.reports.spec import read_spec
from tenant_lab.reports.supervise import remove
from tenant_lab.tenancy.lab import Lab

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="runs are forked on Linux only")
FILES = {"report.html", "report.ipynb", "values.json", "manifest.json"}
BEFORE, AFTER = "print('bef' + 'ore')", "print('af' + 'ter')"


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Lab:
    """One lab for all of these: what a run breaks, the next one meets."""
    made = Lab.open(tmp_path_factory.mktemp("faults") / "home")
    shop(made)
    return made


@dataclass
class Ran:
    result: Any
    cells: list
    manifest: dict

    @property
    def folder(self) -> Path:
        return Path(self.result.folder)

    def text(self, n: int) -> str:
        return "".join(o.get("text", "") for o in self.cells[n].outputs)


@pytest.fixture
def ran(lab, tmp_path):
    """Runs a report of the cells BEFORE, those given, AFTER; checks that what it published is whole."""
    def go(*cells: str, name: str = "", force: bool = False, **options) -> Ran:
        name = name or f"r{uuid.uuid4().hex[:8]}"
        write_report(tmp_path / "reports", name, BEFORE, *cells, AFTER, **options)
        result = run(lab, plan(lab, read_spec(tmp_path / "reports" / name), "shop"), force)
        folder = Path(result.folder)
        assert {p.name for p in folder.iterdir()} >= FILES and not any((home(lab) / ".running").iterdir())
        page = (folder / "report.html").read_text()
        assert page.rstrip().endswith("</html>") and ("This run failed" in page) == (result.status == "failed")
        said = manifest(folder)
        assert (said["status"], said["error"]) == (result.status, result.error)
        code = [c for c in nbformat.read(folder / "report.ipynb", 4).cells if c.cell_type == "code"]
        own = code[-len(cells) - 2:]
        return Ran(result, own, said)
    return go


def failed_at(ran: Ran, number: int, name: str | tuple[str, ...]) -> None:
    """The run failed at its own cell `number` (0: BEFORE) with `name`, or one of several; cells before it are whole, those after it have nothing."""
    assert ran.result.status == "failed" and ran.result.error.startswith(name), ran.result.error
    assert [c.metadata.papermill.status for c in ran.cells] == [
        "completed" if n < number else "failed" if n == number else "pending" for n in range(len(ran.cells))]
    assert ran.text(0) == "before\n"
    first, *more = [o.ename for o in ran.cells[number].outputs if o.output_type == "error"]
    names = [n.split(":")[0] for n in ((name,) if isinstance(name, str) else name)]
    assert first in names and set(more) <= {"LimitError"}  # a limit may be seen broken before the cell's own error is answered
    assert all(c.outputs == [] and c.execution_count is None for c in ran.cells[number + 1:])
    assert any(n in (ran.folder / "report.html").read_text() for n in names)


def fine(ran: Ran) -> Ran:
    assert ran.result.status == "ok", ran.result.error
    assert (ran.text(0), ran.text(-1)) == ("before\n", "after\n")
    return ran


# -- ends --------------------------------------------------------------------------------------------------------------

CATCHING = "import time\nwhile True:\n    try:\n        time.sleep(60)\n    except BaseException:\n        print('caught')"
DUCKDB = "import duckdb\nduckdb.sql('SELECT count(*) FROM range(10000000000) a, range(1000) b').fetchall()"
ENDS = {
    "exit code 0": ("import os; os._exit(0)", "", 60, "DeadKernelError: the kernel died in this cell: the code ended the process (exit code 0)"),
    "exit code 3": ("import os; os._exit(3)", "", 60, "DeadKernelError: the kernel died in this cell: the process ended (exit code 3)"),
    "exit with a status": ("import sys; sys.exit(3)", "", 60, "SystemExit: 3"),
    "segmentation fault": ("import ctypes; ctypes.string_at(0)", "", 60, "DeadKernelError: the kernel died in this cell: it crashed in native code"),
    "abort": ("import os; os.abort()", "", 60, "DeadKernelError: the kernel died in this cell: it crashed in native code"),
    "memory at once": ("x = bytearray(2 * 10**9)", '[limits]\nmemory = "500MB"\n', 60, "MemoryError"),
    "memory in pieces": ("kept = []\nwhile True: kept.append(bytearray(10**7))", '[limits]\nmemory = "300MB"\n', 60, "MemoryError"),
    "sleeping": ("import time; time.sleep(600)", "", 2, "TimeoutError: the run's time-out was reached in this cell"),
    "computing": ("while True: pass", "", 2, "TimeoutError"),
    "catching everything": (CATCHING, "", 2, "TimeoutError"),
    "querying": (DUCKDB, "", 2, "TimeoutError"),
    "waiting for a thread": ("import threading; threading.Event().wait()", "", 2, "TimeoutError"),
    "waiting for a child": ("import subprocess; subprocess.run(['sleep', '600'])", "", 2, "TimeoutError"),
    "too much computing": ("while True: pass", "[limits]\ncpu = 1\n", 60, "KeyboardInterrupt: the limit of 1 s of processor time"),
    "too much, and not listening": ("import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass", "[limits]\ncpu = 1\n", 60, "DeadKernelError"),
    "closing all files": ("import os; os.closerange(3, 1000)", "", 8, ""),
    "closing all and waiting": ("import os, time; os.closerange(0, 1000); time.sleep(600)", "", 8, ""),
    "stopping itself": ("import os, signal, threading\nthreading.Timer(0.1, os.kill, (os.getpid(), signal.SIGSTOP)).start()\nimport time; time.sleep(600)", "", 3, ""),
}


@pytest.mark.parametrize("name", ENDS)
def test_a_run_that_ends_badly_says_so_at_its_cell_and_the_next_one_is_fine(ran, name):
    code, toml, timeout, said = ENDS[name]
    bad = ran(code, toml=toml, timeout=timeout)
    failed_at(bad, 1, said or bad.result.error)
    assert bad.manifest["isolation"] and bad.manifest["engine"] == {"kernel": "forked"}
    assert bad.manifest["usage"]["peak_memory"] > 10**7 and bad.manifest["usage"]["cpu_seconds"] < 30
    fine(ran())


def test_a_limit_on_computing_does_not_meet_a_run_that_waits(ran):
    fine(ran("import time; time.sleep(3)", toml="[limits]\ncpu = 2\n"))


@pytest.mark.parametrize("code", ["import sys; sys.exit()", "exit()"])
def test_what_papermill_takes_for_a_good_end_is_one(ran, code):
    assert ran(code).result.status == "ok"


def test_a_kernel_that_dies_between_cells_fails_the_next_one(ran):
    """The timer's cell has ended when the process ends; the next one never answers."""
    bad = ran("import os, threading\nthreading.Timer(0.5, os._exit, (4,)).start()", "import time; time.sleep(30)")
    failed_at(bad, 2, "DeadKernelError: the kernel died in this cell: the process ended (exit code 4)")


def test_a_kernel_that_dies_after_its_last_cell_is_no_fault(ran, lab, tmp_path):
    write_report(tmp_path / "reports", "last", OPEN, REVENUE, "import os, threading\nthreading.Timer(0.05, os._exit, (4,)).start()")
    result = run(lab, plan(lab, read_spec(tmp_path / "reports/last"), "shop"))
    assert result.status == "ok" and values(result.folder) == {"Revenue": 22.5}


def test_a_kernel_that_answers_no_more_is_ended_by_the_time_out(ran):
    """ipykernel flushes both streams before it replies; papermill's own engine waits for ever here."""
    failed_at(ran("import sys; sys.stdout = sys.stderr = None", timeout=5), 2, "TimeoutError: the run's time-out was reached in this cell")


@pytest.mark.parametrize("code", [
    "import atexit, time\natexit.register(time.sleep, 600)",
    "import threading, time\nfor n in range(20): threading.Thread(target=time.sleep, args=(600,)).start()",
    "import threading\ndef forever():\n    while True: pass\nthreading.Thread(target=forever).start()",
    "import os, time\nfor n in range(5):\n    if os.fork() == 0:\n        time.sleep(600)",
    "import signal\nfor s in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD): signal.signal(s, signal.SIG_IGN)",
    "import os; os.close(0); os.close(1); os.close(2)",
    "get_ipython().kernel.do_shutdown = lambda restart: 1 / 0",
])
def test_what_would_hold_up_an_end_holds_up_no_run(ran, code):
    """Each of these leaves something that never ends, or does not listen."""
    done = ran(code)
    assert done.result.status == "ok" and done.result.seconds < 60  # not 600


# -- processes ---------------------------------------------------------------------------------------------------------

def processes(mark: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize("start", [
    "import subprocess; subprocess.Popen(['sleep', MARK])",
    "import subprocess; subprocess.Popen(['sleep', MARK], start_new_session=True)",
    "import os; os.system(f'(setsid nohup sleep {MARK} >/dev/null 2>&1 &)')",
    "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0: os.execvp('sleep', ['sleep', MARK])\n    os._exit(0)",
    "import os\nfor n in range(50):\n    if os.fork() == 0: os.execvp('sleep', ['sleep', MARK])",
    "import subprocess, os\nsubprocess.Popen(['sleep', MARK], start_new_session=True)\nos._exit(1)",
])
def test_no_process_outlives_its_run(ran, start):
    mark = f"{60_000 + int(uuid.uuid4()) % 10_000}.{uuid.uuid4().int % 10**9}"
    count = "import os, pathlib, time\ntime.sleep(0.5)\nfound = [p for p in pathlib.Path('/proc').glob('[0-9]*/cmdline') if MARK.encode() in p.read_bytes().split(b'\\0')]\nprint(len(found))"
    done = ran(f"MARK = '{mark}'", start, count)
    if "_exit(1)" not in start:
        fine(done)
        assert int(done.text(3)) == (50 if "50" in start else 1)  # it was there
    assert processes(mark) == []


def tree(pid: int) -> list[int]:
    """Children of a process, theirs, and so on."""
    found = []
    with contextlib.suppress(OSError):
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            found += [child, *tree(child)]
    return found


def the_zygote() -> int:
    return zygote._SHARED["it"][1].pid


class Background(threading.Thread):
    """A run in a thread, with the process ids of its supervisor, keeper and kernel once its cell has begun to sleep."""

    def __init__(self, ran, mark: Path, *cells: str, **options):
        super().__init__()
        self.outcome: Any = None
        ran(name="warm")  # the zygote is there
        self.arguments = (ran, (f"open('mark', 'w').close()\n{cells[0]}", *cells[1:]), options)
        self.start()
        limit = time.monotonic() + 30
        while not list(mark.glob("reports/.running/*/files/mark")) and time.monotonic() < limit:
            time.sleep(0.02)
        self.supervisor, self.keeper, self.kernel = tree(the_zygote())[:3]

    def run(self):
        ran, cells, options = self.arguments
        try:
            self.outcome = ran(*cells, **options)
        except BaseException as error:
            self.outcome = error

    def done(self) -> Any:
        self.join(60)
        assert not self.is_alive()
        return self.outcome


def ended(*pids: int) -> bool:
    limit = time.monotonic() + 10
    while any(Path(f"/proc/{p}").exists() for p in pids) and time.monotonic() < limit:
        time.sleep(0.02)
    return not any(Path(f"/proc/{p}").exists() for p in pids)


def test_a_kernel_that_is_killed_from_outside_is_a_dead_kernel(ran, lab):
    """As by the system, when memory is short."""
    going = Background(ran, lab.home, "import time; time.sleep(600)")
    os.kill(going.kernel, signal.SIGKILL)
    bad = going.done()
    failed_at(bad, 1, "DeadKernelError: the kernel died in this cell: it was killed, perhaps by the system for want of memory (SIGKILL)")
    assert bad.manifest["usage"]["cpu_seconds"] > 0 and ended(going.supervisor, going.keeper, going.kernel)
    fine(ran())


def test_a_keeper_that_is_killed_takes_its_kernel_along(ran, lab):
    going = Background(ran, lab.home, "import subprocess; subprocess.run(['sleep', '600'])")
    below = tree(going.keeper)
    assert len(below) == 2
    os.kill(going.keeper, signal.SIGKILL)
    failed_at(going.done(), 1, "DeadKernelError")
    assert ended(going.supervisor, *below)
    fine(ran())


@pytest.mark.parametrize("who", ["supervisor", "zygote"])
def test_a_run_without_supervisor_keeps_the_cells_that_were_done(ran, lab, who):
    going = Background(ran, lab.home, "import time; time.sleep(600)")
    everyone = tree(going.supervisor)
    os.kill(going.supervisor if who == "supervisor" else the_zygote(), signal.SIGKILL)
    bad = going.done()
    assert bad.result.status == "failed" and "its supervisor was killed" in bad.result.error
    assert bad.text(0) == "before\n" and bad.cells[1].outputs == bad.cells[2].outputs == []
    assert ended(going.supervisor, *everyone)
    fine(ran())


def test_a_run_that_is_given_up_ends_and_publishes_nothing(ran, lab):
    going = Background(ran, lab.home, "import subprocess; subprocess.run(['sleep', '600'])", name="given-up")
    everyone = [going.supervisor, *tree(going.supervisor)]
    try:
        stop_runs()
        assert isinstance(going.done(), KeyboardInterrupt)
    finally:
        start_runs()
    assert ended(*everyone) and not (home(lab) / "given-up").exists() and not any((home(lab) / ".running").iterdir())
    fine(ran())


def test_runs_leave_no_scratch_folder_no_zombie_and_no_open_file(ran, monkeypatch, tmp_path):
    monkeypatch.setattr(zygote, "_SHARED", {})  # one of its own, with this folder for temporary files
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    try:
        fine(ran())
        files = len(os.listdir("/proc/self/fd"))
        for code in ("1", "1 / 0", "import os; os._exit(1)", "import os; os.makedirs(os.environ['HOME'] + '/a/b'); os.symlink('/', os.environ['HOME'] + '/root')"):
            ran(code)
        assert ended(*tree(the_zygote())) and len(os.listdir("/proc/self/fd")) == files
        assert len(os.listdir(f"/proc/{the_zygote()}/fd")) <= 6
    finally:
        zygote.close_zygotes()


# -- limits ------------------------------------------------------------------------------------------------------------

FLOODS = {
    "lines": "line = 'x' * 1000\nfor n in range(200_000): print(line)",
    "without end": "while True: print('y' * 100)",
    "one line": "print('z' * 200_000_000)",
    "one display": "from IPython.display import HTML\nHTML('z' * 200_000_000)",
    "descriptor": "import os\nfor n in range(2000): os.write(1, b'w' * 100_000)",
    "stderr": "import sys\nwhile True: print('e' * 1000, file=sys.stderr)",
    "displays": "from IPython.display import display\nwhile True: display({'text/plain': 'd' * 1000}, raw=True)",
    "updates": "from IPython.display import display\nh = display('x', display_id=True)\nwhile True: h.update('u' * 1000)",
    "cleared": "from IPython.display import clear_output\nwhile True:\n    print('c' * 1000)\n    clear_output(wait=True)",
}


@pytest.mark.parametrize("name", FLOODS)
def test_too_much_output_ends_the_run_and_is_not_published(ran, name):
    bad = ran(FLOODS[name], toml='[limits]\noutput = "2MB"\n')
    failed_at(bad, 1, "OutputLimitError: the notebook printed or showed more than the 2,000,000 bytes that it may")
    assert (bad.folder / "report.ipynb").stat().st_size < 5_000_000 and (bad.folder / "report.html").stat().st_size < 8_000_000


def test_the_limit_on_output_is_for_all_cells_together_and_not_met_below(ran):
    toml = '[limits]\noutput = "2MB"\n'
    fine(ran("print('x' * 900_000)", "print('x' * 900_000)", toml=toml))
    failed_at(ran(*["print('x' * 900_000)"] * 3, toml=toml), 3, "OutputLimitError")


def test_a_flood_does_not_fill_the_supervisors_memory(ran, lab):
    """200 MB are printed; what stays is the limit, a few times over for its copies."""
    ran(name="warm")
    most, watching = [0], threading.Event()

    def watch():
        while not watching.wait(0.01):
            for pid in tree(the_zygote())[:1]:
                with contextlib.suppress(OSError, StopIteration, IndexError):
                    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                    most[0] = max(most[0], int(next(x for x in lines if x.startswith("RssAnon")).split()[1]) * 1024)
    thread = threading.Thread(target=watch)
    thread.start()
    ran(FLOODS["lines"], toml='[limits]\noutput = "2MB"\n')
    watching.set()
    thread.join()
    assert 0 < most[0] < 400_000_000


WRITTEN = '[limits]\nwritten = "20MB"\n'
MANY = "for n in range(40): open(f'{n}', 'wb').write(b'x' * 1_000_000)"


@pytest.mark.parametrize("code, said", [
    # a file that has become too long: either its writer is told, or who looks after the folder comes first
    ("with open('big', 'wb') as f:\n    while True: f.write(b'x' * 1_000_000)", ("OSError: [Errno 27] File too large", "LimitError")),
    (f"{MANY}\nimport time; time.sleep(600)", "LimitError: the run wrote more than the 20,000,000 bytes that it may (limits.written in report.toml)"),
    (MANY, "LimitError"),  # all of it between two looks
    ("import os\nos.chdir(os.environ['TMPDIR'])\n" + MANY, "LimitError"),
    ("import os\nos.makedirs('a/b/c')\nos.chdir('a/b/c')\n" + MANY, "LimitError"),
    ("import subprocess; subprocess.run(['sh', '-c', 'head -c 50000000 /dev/zero > big'], check=True)", ("CalledProcessError", "LimitError")),
])
def test_too_much_written_ends_the_run(ran, code, said):
    failed_at(ran(code, toml=WRITTEN), 1, said)


def test_less_written_is_published_with_its_names(ran):
    done = fine(ran("import os\nos.mkdir('charts')\nopen('charts/ü b.txt', 'w').write('x' * 1000)\nopen('a', 'w').close()", toml=WRITTEN))
    assert done.manifest["files"] == ["a", "charts/ü b.txt"]
    assert (done.folder / "files/charts/ü b.txt").read_text() == "x" * 1000


# -- folders -----------------------------------------------------------------------------------------------------------

def test_a_run_cannot_remove_or_replace_its_own_folder(ran):
    code = """import os, shutil
here = os.getcwd()
open('a', 'w').close()
shutil.rmtree(here, ignore_errors=True)
for attempt in (lambda: os.rmdir(here), lambda: os.rename(here, here + 'x'), lambda: os.symlink('/', here + '/../other'),
                lambda: open(here + '/../manifest.json', 'w'), lambda: open(here + '/../cells.jsonl', 'a'), lambda: os.listdir(here + '/..')):
    try:
        attempt(); print('done')
    except OSError as error: print(type(error).__name__)
print(os.listdir('.'))"""
    done = fine(ran(code))
    assert "done" not in done.text(1) and done.text(1).endswith("[]\n")
    assert done.manifest["files"] == [] and not (done.folder / "files").exists()


def test_only_files_with_a_readable_name_are_published(ran, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("not for the report")
    code = f"""import os, socket
os.makedirs('kept/empty')
for name in ('kept/good.txt', '.hidden', 'new\\nline', '-rf', 'closed'): open(name, 'w').write('mine')
os.chmod('closed', 0)
os.link('kept/good.txt', 'twin')
os.symlink({str(secret)!r}, 'link'); os.symlink({str(tmp_path)!r}, 'folder'); os.symlink('..', 'kept/up'); os.symlink('self', 'self')
os.mkfifo('fifo'); os.mkfifo('kept/fifo')
open(b'bad\\xff', 'w').close(); os.mkdir(b'kept/bad\\xff'); open(b'kept/bad\\xff/in', 'w').close()
for mode in (0o140600, 0o060600, 0o020600):
    try: os.mknod(f'node{{mode:o}}', mode, 0x0801)
    except OSError: pass
os.mkdir('shut'); open('shut/in', 'w').close(); os.chmod('shut', 0)"""
    done = fine(ran(code))
    assert done.manifest["files"] == sorted([".hidden", "-rf", "closed", "kept/good.txt", "new\nline", "shut/in", "twin"])
    left = [p for p in (done.folder / "files").rglob("*") if not p.is_dir()]
    assert sorted(p.relative_to(done.folder / "files").as_posix() for p in left) == done.manifest["files"]
    assert all(p.is_file() and not p.is_symlink() for p in left) and secret.read_text() == "not for the report"
    assert not (done.folder / "files/kept/empty").exists()


DEEP = "import os\nfor n in range(1_100):\n    os.mkdir('d' * 10); os.chdir('d' * 10)\nopen('bottom', 'w').close()"


@pytest.mark.parametrize("where, end", [(".", ""), ("os.environ['HOME']", ""), (".", "\nos._exit(1)")])
def test_folders_deeper_than_any_path_can_name_are_removed(ran, lab, where, end):
    done = ran(f"import os\nos.chdir({where if 'os' in where else repr(where)})\nopen('kept', 'w').close()\n{DEEP}{end}")
    assert done.result.status == ("failed" if end else "ok"), done.result.error
    assert done.manifest["files"] == (["kept"] if where == "." else [])
    assert len(list(done.folder.rglob("*"))) < 40


def test_deep_folders_of_a_run_that_was_broken_off_are_removed(lab, tmp_path):
    root = write_report(tmp_path / "reports", "deep", "import os, pathlib\nhere = pathlib.Path.cwd()", DEEP, "(here / 'mark').touch()\nimport time; time.sleep(600)")
    own = Lab.open(tmp_path / "home")
    shop(own)
    outcome = []

    def work():
        try:
            outcome.append(run(own, plan(own, read_spec(root / "deep"), "shop")))
        except BaseException as error:
            outcome.append(error)
    thread = threading.Thread(target=work)
    thread.start()
    limit = time.monotonic() + 60
    while not list(own.home.glob("reports/.running/*/files/mark")) and time.monotonic() < limit:
        time.sleep(0.05)
    os.kill(tree(the_zygote())[0], signal.SIGKILL)
    thread.join(60)
    try:
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        assert outcome[0].status == "failed" and not any((home(own) / ".running").iterdir())
    finally:
        for left in (home(own) / ".running").iterdir():  # what pytest could not remove either
            remove(left)


def test_ten_thousand_files_are_no_fault(ran):
    assert len(fine(ran("for n in range(10_000): open(f'{n}', 'w').close()")).manifest["files"]) == 10_000


# -- outputs -----------------------------------------------------------------------------------------------------------

SHOW = "from IPython.display import display, HTML\n"
ODD = {
    "deep html": SHOW + "HTML('<div>' * 10_000)",
    "not a number": SHOW + "display({'application/json': {'a': float('nan'), 'b': float('inf')}, 'text/plain': 'x'}, raw=True)",
    "bytes that are no text": "import os, time\nos.write(1, b'\\xff\\xfe abc\\n'); time.sleep(0.3)",
    "half a letter": SHOW + "print('a\\udcff\\ud800 b'); display({'text/plain': '\\udcff'}, raw=True)\nreport = '\\udcff'; report",
    "half a letter as a name": OPEN + "\nreport.value('x\\udcff', 1)",
    "zeros and escapes": "print('\\0\\x1b[31mred\\x1b[0m\\x07\\r\\b\\x1b]8;;http://x\\x1b\\\\ link'); print('</script><!--')",
    "one long line": "print('x' * 5_000_000)",
    "five thousand": SHOW + "for n in range(5_000): display(n)",
    "many colours": "for n in range(3_000): print(f'\\x1b[{30 + n % 8}mx\\x1b[0m', end='')",
    "no picture": SHOW + "display({'image/png': 'no base64!', 'text/plain': 'x'}, raw=True)",
    "a template's own words": "print('{{ resources }} {% raw %} {# x #} ‹secret x› <script id=\"tl-plotly\" type=\"text/plain\"></script>')",
    "no table": SHOW + "display({'application/vnd.tenant-lab.table+json': {'name': 'x', 'parquet': 'zzz'}, 'text/plain': 'x'}, raw=True)",
}


@pytest.mark.parametrize("name", ODD)
def test_odd_outputs_are_published(ran, name):
    done = fine(ran(ODD[name]))
    nbformat.validate(nbformat.read(done.folder / "report.ipynb", 4))
    if name == "five thousand":
        assert len(done.cells[1].outputs) == 5_000
    if name == "half a letter as a name":
        assert len(values(done.folder)) == 1


def test_an_output_nested_too_deeply_is_an_error_at_its_cell(ran):
    failed_at(ran(SHOW + "d = []\nfor n in range(10_000): d = [d]\ndisplay({'application/json': d, 'text/plain': 'x'}, raw=True)"), 1, "RecursionError")


WRONG = {
    "no text": "{'text/plain': ['x', 1]}", "nothing": "{'text/html': None, 'text/plain': None}", "a number": "{'image/svg+xml': 3}", "a mapping": "{'text/html': {'a': 1}}",
    "no figure": "{'application/vnd.plotly.v1+json': 'nonsense', 'text/plain': 'x'}", "half a figure": "{'application/vnd.plotly.v1+json': {'data': 3}, 'text/plain': 'x'}",
    "no value": "{'application/vnd.tenant-lab.value+json': 'x', 'text/plain': 'x'}", "half a value": "{'application/vnd.tenant-lab.value+json': {'name': 'x'}, 'text/plain': 'x'}",
    "a value of anything": "{'application/vnd.tenant-lab.value+json': {'name': 3, 'value': [], 'unit': {}, 'headline': True, 'low': 'x', 'high': 1, 'change': 'y', "
                           "'usual': 1, 'note': 4}, 'text/plain': 'x'}",
}
UNSHOWN = {"no figure": "no plotly figure", "half a figure": "no plotly figure", "no value": "no recorded figure", "half a value": "no recorded figure",
           "a value of anything": "no recorded figure"}


@pytest.mark.parametrize("name", WRONG)
def test_an_output_that_cannot_be_shown_fails_its_own_run_only(ran, name):
    bad = ran(f"{SHOW}display({WRONG[name]}, raw=True)")
    assert bad.result.status == "failed" and "Error" in bad.result.error
    if name in UNSHOWN:
        assert UNSHOWN[name] in bad.result.error and [o.ename for o in bad.cells[1].outputs] == ["OutputError"]
    else:
        assert "the run broke off: " in bad.result.error
    fine(ran())


# -- the kernel's own channels -----------------------------------------------------------------------------------------

FORGED = {
    "another's reply": "kernel.session.send(iopub, 'stream', {'name': 'stdout', 'text': 'forged'}, parent={'header': {'msg_id': 'nobody'}}, ident=b'x')",
    "idle at once": "kernel.session.send(iopub, 'status', {'execution_state': 'idle'}, parent=kernel.get_parent(), ident=b'x')",
    "no content": "kernel.session.send(iopub, 'stream', {}, parent=kernel.get_parent(), ident=b'x')",
    "no output": "kernel.session.send(iopub, 'display_data', {'data': 3, 'metadata': []}, parent=kernel.get_parent(), ident=b'x')",
    "unknown type": "kernel.session.send(iopub, 'nonsense', {'a': 1}, parent=kernel.get_parent(), ident=b'x')",
    "no parent": "kernel.session.send(iopub, 'stream', {'name': 'stdout', 'text': 'x'}, ident=b'x')",
    "no message": "iopub.send_multipart([b'x', b'y']); iopub.send(b'')",
    "a wrong signature": "iopub.send_multipart([b'x', b'<IDS|MSG>', b'0' * 64, b'{}', b'{}', b'{}', b'{}'])",
    "signed nonsense": "parts = [b'[]', b'3', b'{', b'null']\niopub.send_multipart([b'x', b'<IDS|MSG>', kernel.session.sign(parts), *parts])",
    "signed depth": "parts = [b'{}', b'{}', b'{}', b'[' * 100_000]\niopub.send_multipart([b'x', b'<IDS|MSG>', kernel.session.sign(parts), *parts])",
    "a comm": "kernel.session.send(iopub, 'comm_msg', {'comm_id': 'none', 'data': {'method': 'update', 'state': 3}}, parent=kernel.get_parent(), ident=b'x')",
    "an update of nothing": "kernel.session.send(iopub, 'update_display_data', {'data': {}, 'metadata': {}, 'transient': {'display_id': 'none'}}, parent=kernel.get_parent(), ident=b'x')",
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_message_harms_its_own_run_at_most(ran, name):
    """Results are the notebook's own business; what counts is that the run ends, whole, and the next one is fine."""
    done = ran(f"kernel = get_ipython().kernel\niopub = kernel.iopub_socket\n{FORGED[name]};", timeout=20)  # ";": what is sent is no result
    assert "forged" not in json.dumps([cell.outputs for cell in done.cells])
    if done.result.status == "ok":
        fine(done)
    fine(ran())


TALK = """
import json, os, socket
for number in range(3, 500):
    try: talk = socket.socket(fileno=number)
    except OSError: continue
    if talk.family == socket.AF_UNIX and talk.type == socket.SOCK_SEQPACKET: break
    talk.detach()
"""


@pytest.mark.parametrize("sent", [
    "b'[]'", "b'3'", "b'\\xff'", "b'{'", "json.dumps({'ended': 'exit code 0', 'usage': {}}).encode()", "json.dumps({'failed': 'forged'}).encode()",
    "json.dumps({'ready': True, 'isolation': {'read': 'forged'}}).encode()", "json.dumps({'link': {}, 'pid': 1}).encode()",
    "json.dumps({'audit': ['read'], 'what': {}}).encode()", "json.dumps({'audit': 'read', 'what': {'self': 1, 'action': 'x', '': 2}}).encode()",
    "json.dumps({'audit': 'read', 'what': [1]}).encode()", "b'[' * 60_000"])
def test_a_forged_word_to_the_keeper_changes_nothing(ran, sent):
    done = ran(f"{TALK}\ntalk.send({sent})\nimport time; time.sleep(0.2)")
    if "b'['" in sent:  # this one the keeper does not survive, nor then its kernel
        assert done.result.status == "failed" and "Recursion" in done.result.error
    else:
        fine(done)
        assert "forged" not in json.dumps(done.manifest)
    fine(ran())


def test_a_kernel_that_hangs_up_goes_on(ran):
    fine(ran(f"{TALK}\ntalk.shutdown(socket.SHUT_RDWR); talk.close()\nimport time; time.sleep(0.5)"))
