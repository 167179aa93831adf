"""The process that runs are forked from: one thread, no secret, nothing of a notebook's own, and its end."""
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import pytest

from tenant_lab.core.errors import ReportError
from tenant_lab.core.settings import shipped
from tenant_lab.reports import zygote as module
from tenant_lab.reports.runner import _imported
from tenant_lab.reports.zygote import (
    KERNEL,
    REPORT,
    Zygote,
    close_zygotes,
    environment,
    imports,
    installed,
    preload,
    receive,
    send,
    shared_zygote,
    unforkable,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="runs are forked on Linux only")
ECHO = "tenant_lab.reports.zygote:echo"
PLANTED = "planted-" + "7c1e55"  # never written whole in one literal: this file is in memory too


@pytest.fixture(scope="module")
def zygote():
    """One with all that the shipped reports import, and the heavy libraries that a report may import."""
    made = Zygote({*_imported(shipped("reports"), ""), "sklearn.cluster", "scipy.optimize", "statsmodels.api", "matplotlib.pyplot", "openpyxl"})
    yield made
    made.close()


def asked(zygote: Zygote, **request) -> dict:
    with zygote.start({"job": ECHO} | request) as channel:
        return receive(channel)


def gone(pids, seconds=10.0) -> bool:
    """True when all processes have ended (or wait to be reaped by somebody else) within `seconds`."""
    def runs(pid):
        with contextlib.suppress(OSError):
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        return False
    limit = time.monotonic() + seconds
    while any(map(runs, pids)) and time.monotonic() < limit:
        time.sleep(0.02)
    return not any(map(runs, pids))


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def in_memory(pid: int, text: bytes) -> bool:
    """Does `text` stand anywhere in the readable memory of a process?"""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            where, rights = line.split()[:2]
            start, end = (int(x, 16) for x in where.split("-"))
            if "r" not in rights or line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            with contextlib.suppress(OSError):
                memory.seek(start)
                if text in memory.read(end - start):
                    return True
    return False


# -- what it imports ---------------------------------------------------------------------------------------------------

def cells(*sources, kind="code"):
    make = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
    return nbformat.v4.new_notebook(cells=[make(s) for s in sources])


@pytest.mark.parametrize("source, found", [
    ("import json", {"json"}),
    ("import numpy as np\nnp.linalg", {"numpy", "numpy.linalg"}),
    ("from plotly import graph_objects as go\ngo.Bar()", {"plotly.graph_objects", "plotly.graph_objects.Bar"}),
    ("def f():\n    if True:\n        import torch.nn", {"torch.nn"}),
    ("%matplotlib inline\n!pip list\nimport json", {"json"}),
    ("from . import beside\nfrom .x import y", set()),
    ("this is no Python", set()),
    ("", set()),
])
def test_what_cells_import_is_read_off_them(source, found):
    assert imports(cells(source)) == found


def test_text_cells_import_nothing():
    assert imports(cells("import json", kind="markdown")) == set()


@pytest.mark.parametrize("names, found", [
    ({"tensorflow", "numpy"}, {"tensorflow"}), ({"torch.nn", "polars"}, {"torch.nn", "polars"}), ({"torchlight", "raycast"}, set())])
def test_libraries_that_break_after_a_fork_are_known(names, found):
    assert unforkable(names) == found


@pytest.mark.parametrize("name, expected", [
    ("pandas", True), ("pandas.core.frame.DataFrame", True), ("tenant_lab.reports.supervise:warm", True), ("duckdb", True),
    ("json", False), ("os.path", False), ("antigravity", False),  # nothing heavy, and some of it acts
    ("pip.__main__", False), ("pytest.__main__", False), ("__main__", False), ("no_such_module_anywhere", False),
    ("beside", False), ("beside.part", False), ("reports.sales.payload", False), ("on_the_path", False)])
def test_only_installed_libraries_are_imported(tmp_path, monkeypatch, name, expected):
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "reports/sales").mkdir(parents=True)  # a folder is a package, without any file to say so
    (tmp_path / "reports/sales/payload.py").write_text("")
    (tmp_path / "path").mkdir()
    (tmp_path / "path/on_the_path.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", str(tmp_path / "path"), *sys.path])
    assert installed(name) is expected


def test_code_beside_a_notebook_does_not_run_in_the_zygote(tmp_path, monkeypatch):
    """It would run unconfined: the zygote may read every tenant's files."""
    (tmp_path / "reports/sales").mkdir(parents=True)
    mark = tmp_path / "mark"
    code = f"open({str(mark)!r}, 'w').write('ran')"
    for place in ("reports/sales/payload.py", "payload.py", "openpyxl.py"):  # the last hides a library of that name
        (tmp_path / place).write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "reports"))
    started = Zygote({"reports.sales.payload", "payload", "sales.payload", "openpyxl", "pandas.io.excel._openpyxl"})
    try:
        assert asked(started)["pandas"] and not mark.exists()
    finally:
        started.close()


def test_a_module_that_ends_the_interpreter_or_fails_ends_no_zygote(tmp_path, monkeypatch):
    for name, code in (("exits", "import sys; sys.exit(3)"), ("fails", "1 / 0"), ("wrong", "def")):
        (tmp_path / f"tl_{name}.py").write_text(code)
    (tmp_path / "tl_good.py").write_text("")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(module, "installed", lambda name: True)
    preload(["tl_exits", "tl_fails", "tl_wrong", "tl_missing", "tl_missing.part", "tl_good.nothing", ""])
    assert "tl_good" in sys.modules and str(tmp_path) in sys.path
    assert module._Hidden not in sys.meta_path


# -- one thread --------------------------------------------------------------------------------------------------------

def test_it_has_one_thread_and_no_pool_when_it_forks(zygote):
    """Native threads count too: the kernel lists every one of a process."""
    answer = asked(zygote)
    assert answer["pandas"] and answer["parent"] == zygote.pid
    assert len(answer["threads"]) == 1 and len(os.listdir(f"/proc/{zygote.pid}/task")) == 1
    for name in module.ONE_THREAD:
        assert f"{name}={module.ONE_THREAD[name]}".encode() in Path(f"/proc/{zygote.pid}/environ").read_bytes().split(b"\0"), name


def test_it_refuses_to_fork_with_a_second_thread():
    ours, theirs = socket.socketpair()
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        module._fork(theirs, os.dup(theirs.fileno()))
    finally:
        done.set()
        thread.join()
    said = receive(ours)["failed"]
    assert "more than one thread" in said and "fresh = true" in said
    for one in (ours, theirs):
        one.close()


# -- no secret ---------------------------------------------------------------------------------------------------------

def test_its_environment_has_nothing_that_may_be_a_secret():
    kept = {"PATH": "/bin", "LANG": "C.UTF-8", "LC_ALL": "C", "TZ": "UTC", "PYTHONPATH": "/x", "VIRTUAL_ENV": "/v"}
    dropped = dict.fromkeys(("TENANT_LAB_MASTER_KEY", "TENANT_LAB_SECRET_CRM", "TENANT_LAB_HOME", "AWS_SECRET_ACCESS_KEY", "HOME", "SSH_AUTH_SOCK",
                             "DATABASE_URL", "path", "XLC_ALL"), "x")
    found = environment(kept | dropped)
    assert not dropped.keys() & found.keys() and kept.items() <= found.items()
    assert set(found) - set(kept) == {*module.ONE_THREAD, "PYDEVD_DISABLE_FILE_VALIDATION"}


def test_neither_an_environments_nor_a_requests_secret_is_in_its_memory(monkeypatch):
    monkeypatch.setenv("TENANT_LAB_MASTER_KEY", PLANTED + "-environment")
    started = Zygote(["tenant_lab.reports.zygote"])
    try:
        for _ in range(3):
            assert asked(started, text=PLANTED + "-request")["echo"] == PLANTED + "-request"
        assert in_memory(os.getpid(), (PLANTED + "-request").encode())  # the search finds what there is
        assert in_memory(started.pid, b"background_thread:false")
        assert not in_memory(started.pid, PLANTED.encode())
        for file in ("environ", "cmdline"):
            assert PLANTED.encode() not in Path(f"/proc/{started.pid}/{file}").read_bytes()
    finally:
        started.close()


def test_it_inherits_no_open_file(tmp_path):
    """Files and sockets of its owner stay with the owner, also those that are inheritable."""
    with open(tmp_path / "held", "w") as held, socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        for one in (held, server):
            os.set_inheritable(one.fileno(), True)
        started = Zygote(["json"])
        try:
            links = [os.readlink(f"/proc/{started.pid}/fd/{n}") for n in os.listdir(f"/proc/{started.pid}/fd") if int(n) > 2]
            assert len(links) == 1 and links[0].startswith("socket:"), links
        finally:
            started.close()


# -- messages ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("content", [{}, {"a": [1, None, "ü‹›\u2028"]}, {"long": "x" * 5_000_000}])
def test_a_message_arrives_as_it_was_sent(content):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=send, args=(ours, content))
        sender.start()
        assert receive(theirs) == content
        sender.join()


@pytest.mark.parametrize("sent", [b"", b"\0\0\0", b"\0" * 7 + b"\x09{\"a\":"])
def test_a_message_that_was_cut_short_is_none(sent):
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(sent)
        ours.close()
        assert receive(theirs) is None


@pytest.mark.parametrize("job, said", [
    ("tenant_lab.reports.zygote:nothing", "AttributeError: module 'tenant_lab.reports.zygote' has no attribute 'nothing'"),
    ("no_such_module:f", "ModuleNotFoundError: No module named 'no_such_module'"),
    ("json:loads", "TypeError: loads() takes 1 positional argument but 2 were given")])
def test_a_job_that_fails_says_why_in_its_last_line_and_the_next_is_served(zygote, job, said):
    with zygote.start({"job": job}) as channel:
        assert receive(channel)["failed"].splitlines()[-1] == said
        assert receive(channel) is None
    assert asked(zygote, text=1)["echo"] == 1


def test_an_error_of_several_lines_is_told_by_its_first(monkeypatch):
    class Channel:
        def close(self):
            pass
    sent = []
    monkeypatch.setattr(module, "receive", lambda channel: {"job": "x:y"})
    monkeypatch.setattr(module, "job", lambda name: (_ for _ in ()).throw(ValueError("first\n\nOn instance:\n['x']")))
    monkeypatch.setattr(module, "send", lambda channel, message: sent.append(message["failed"]))
    monkeypatch.setattr(module.os, "_exit", lambda status: sent.append(status))
    monkeypatch.setattr("tenant_lab.core.sandbox.die_with_parent", lambda: None)
    kept = signal.getsignal(signal.SIGCHLD)
    try:
        module._child(Channel(), Channel())
    finally:
        signal.signal(signal.SIGCHLD, kept)
    assert sent[0].splitlines()[-1] == "ValueError: first" and sent[1] == 70


def test_many_at_once_are_all_served_and_none_stays_as_a_zombie(zygote):
    channels = [zygote.start({"job": ECHO, "text": n}) for n in range(40)]
    assert [receive(c)["echo"] for c in channels] == list(range(40))
    for channel in channels:
        assert receive(channel) is None
        channel.close()
    limit = time.monotonic() + 5
    while children(zygote.pid) and time.monotonic() < limit:
        time.sleep(0.02)
    assert children(zygote.pid) == []


def test_one_that_asks_and_goes_away_disturbs_no_other(zygote):
    for _ in range(5):
        zygote.start({"job": ECHO, "text": "x" * 100_000}).close()
    assert asked(zygote, text="after")["echo"] == "after"


# -- children differ ---------------------------------------------------------------------------------------------------

DRAWN = """
import os, random, secrets, tempfile, uuid, numpy
print(random.random(), numpy.random.rand(), numpy.random.default_rng().random(), uuid.uuid4(), uuid.uuid1(), secrets.token_hex(), os.path.basename(tempfile.mktemp()))
"""


def test_no_two_runs_draw_the_same(tmp_path):
    papermill = pytest.importorskip("papermill")
    source = cells(DRAWN)
    source.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(source, tmp_path / "in.ipynb")
    drawn = [papermill.execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", engine_name="tenant-lab", progress_bar=False)
             .cells[0].outputs[0].text.split() for _ in range(3)]
    assert all(len(row) == 7 for row in drawn)
    for column in zip(*drawn, strict=True):
        assert len(set(column)) == 3, column


# -- its end -----------------------------------------------------------------------------------------------------------

SLEEPER = """
import sys, papermill
print("owner", flush=True)
papermill.execute_notebook(sys.argv[1], None, engine_name="tenant-lab", progress_bar=False)
"""


def test_it_and_all_runs_end_when_its_owner_is_killed(tmp_path):
    mark = tmp_path / "started"
    source = cells(f"import os, subprocess, time\np = subprocess.Popen(['sleep', '300'])\nopen({str(mark)!r}, 'w').write(f'{{os.getpid()}} {{p.pid}}')\n"
                   "time.sleep(300)")
    source.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(source, tmp_path / "in.ipynb")
    owner = subprocess.Popen([sys.executable, "-c", SLEEPER, str(tmp_path / "in.ipynb")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    while not (mark.exists() and len(mark.read_text().split()) == 2) and owner.poll() is None and time.monotonic() < limit:
        time.sleep(0.05)
    kernel, sleeper = map(int, mark.read_text().split())
    (started,) = children(owner.pid)
    keeper, = children(started)
    assert kernel in children(keeper)
    owner.kill()
    owner.wait()
    try:
        assert gone([started, keeper, kernel])
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(sleeper, signal.SIGKILL)  # of an unconfined run, which has no process namespace of its own


def test_closing_it_ends_its_children_and_then_says_that_it_is_gone():
    started = Zygote(["json"])
    with started.start({"job": "time:sleep"}) as waiting:  # it gets a request and a socket: fails at once, as a child that ends
        assert "failed" in receive(waiting)
    held = started.start({"job": "tenant_lab.reports.zygote:receive"})
    started.close()
    assert not started.alive and gone([started.pid])
    held.close()
    with pytest.raises(ReportError, match="is gone"):
        started.start({"job": ECHO})


def test_one_that_was_killed_is_replaced_at_the_next_run():
    close_zygotes()
    first = shared_zygote(["json"])
    os.kill(first.pid, signal.SIGKILL)
    assert gone([first.pid])
    second = shared_zygote(["json"])
    assert second.pid != first.pid and asked(second, text=1)["echo"] == 1
    close_zygotes()
    assert gone([second.pid])


def test_one_that_dies_at_its_start_is_an_error_and_not_a_hang(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ReportError, match="ended at its start"):
        Zygote(["json"])


# -- shared ------------------------------------------------------------------------------------------------------------

def test_a_process_has_one_and_a_new_one_for_a_new_library_only():
    close_zygotes()
    try:
        first = shared_zygote([*KERNEL])
        for more in ([], ["json"], ["os.path", "sys.exit"], ["zmq.green"], ["no_such_module"], ["tensorflow"]):
            assert shared_zygote([*KERNEL, *more]) is first, more
        second = shared_zygote(["openpyxl"])
        assert second is not first and first.alive  # its runs go on
        assert shared_zygote([*KERNEL, "openpyxl"]) is second
    finally:
        close_zygotes()
    assert gone([first.pid, second.pid])


def test_threads_share_one():
    close_zygotes()
    found = []
    workers = [threading.Thread(target=lambda: found.append(shared_zygote(["json"]).pid)) for _ in range(6)]
    for one in workers:
        one.start()
    for one in workers:
        one.join()
    close_zygotes()
    assert len(found) == 6 and len(set(found)) == 1


def test_a_forked_process_gets_its_own_and_leaves_its_parents_alone():
    close_zygotes()
    first = shared_zygote(["json"])
    hear, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            own = shared_zygote(["json"])
            os.write(say, f"{own.pid} {asked(own, text=1)['echo']}".encode())
            close_zygotes()
        finally:
            os._exit(0)
    os.close(say)
    with os.fdopen(hear) as pipe:
        own, echo = pipe.read().split()
    os.waitpid(pid, 0)
    assert int(own) != first.pid and echo == "1"
    assert shared_zygote(["json"]) is first and asked(first, text=2)["echo"] == 2 and gone([int(own)])
    close_zygotes()


def test_what_every_report_needs_can_be_imported():
    """A name that is wrong would be passed over in silence, and paid for in every run."""
    loaded = subprocess.run([sys.executable, "-c", "import sys\nfrom tenant_lab.reports.zygote import REPORT, preload\npreload(REPORT)\n"
                             "print('\\n'.join(sys.modules))"], capture_output=True, text=True, check=True, timeout=120).stdout.split()
    missing = [name for name in REPORT if name.partition(":")[0] not in loaded and name.rpartition(".")[0] not in loaded
               and name.rpartition(".")[0].rpartition(".")[0] not in loaded]
    assert missing == []
