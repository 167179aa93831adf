"""A report that attacks: through real runs, on a lab with two tenants, after the other tenant's run in the same fleet."""
import base64
import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from multiprocessing import shared_memory
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from integration import attacks
from report_kit import OPEN, REVENUE, manifest, shop, values, write_report

import tenant_lab
from tenant_lab.core.sandbox import RIGHTS
from tenant_lab.reports import supervise, zygote
from tenant_lab.reports.runner import plan, run
from tenant_lab.reports.spec import read_spec
from tenant_lab.tenancy.keys import master_key
from tenant_lab.tenancy.lab import Lab

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="runs are confined on Linux only")
ROOT = os.geteuid() == 0
TOKEN = "tk_live_" + "9fA+7/x&<Zq'ü\"2%K"   # letters that each kind of writing writes in another way
KEY = base64.b64encode(hashlib.sha256(b"the master key of this test").digest()).decode()


def make(lab, root: Path, name: str, *cells: str, tenant: str = "shop", **options):
    write_report(root, name, *cells, **options)
    return run(lab, plan(lab, read_spec(root / name), tenant))


def cells_of(result) -> list:
    return [c for c in nbformat.read(Path(result.folder) / "report.ipynb", 4).cells if c.cell_type == "code"]


def printed(result, number: int = -1) -> str:
    return "".join(o.get("text", "") for o in cells_of(result)[number].outputs)


def tree(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            found += [child, *tree(child)]
    return found


def memory_has(pid: int, needles: dict[str, bytes]) -> set[str]:
    """Names of those `needles` that stand in the readable memory of a process."""
    found = set()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            start, end = (int(x, 16) for x in line.split()[0].split("-"))
            if line.split()[1][0] == "r" and not line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                with contextlib.suppress(OSError):
                    memory.seek(start)
                    content = memory.read(end - start)
                    found |= {name for name, needle in needles.items() if needle in content}
    return found


# ---- what there is to attack ----
SIBLING = """
import os, sys, time
file = os.open(sys.argv[1], os.O_RDONLY)
print(file, flush=True)
time.sleep(3600)
"""


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    """Servers of all kinds, a sibling process, files outside."""
    folder = tmp_path_factory.mktemp("outside")
    for name, content in (("private", "a user's file"), ("removable", ""), ("long", "long content")):
        (folder / name).write_text(content)
    servers, address = [], f"hostile-{uuid.uuid4().hex}"
    for family, kind, where in ((socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)), (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
                                (socket.AF_UNIX, socket.SOCK_STREAM, str(folder / "stream")), (socket.AF_UNIX, socket.SOCK_DGRAM, str(folder / "datagram")),
                                (socket.AF_UNIX, socket.SOCK_STREAM, f"\0{address}")):
        server = socket.socket(family, kind)
        server.bind(where)
        if kind == socket.SOCK_STREAM:
            server.listen(50)
        servers.append(server)
    block = shared_memory.SharedMemory(create=True, size=4096)
    terminal, other_end = os.openpty()
    sibling = subprocess.Popen([sys.executable, "-c", SIBLING, str(folder / "private")], stdout=subprocess.PIPE, text=True)
    file = int(sibling.stdout.readline())
    yield {"private": str(folder / "private"), "outside": str(folder), "tcp": servers[0].getsockname()[1], "udp": servers[1].getsockname()[1],
           "unix": str(folder / "stream"), "datagram": str(folder / "datagram"), "abstract": address, "shared": block.name,
           "terminal": os.ttyname(other_end), "sibling": sibling.pid, "sibling_file": file, "parent": os.getpid(),
           "library": tenant_lab.__file__, "plain": False}
    sibling.kill()
    sibling.wait()
    for one in servers:
        one.close()
    os.close(terminal)
    os.close(other_end)
    block.close()
    block.unlink()


HOLD = "import time\nopen('mark', 'w').close()\nlimit = time.monotonic() + 60\nwhile not __import__('os').path.exists('go') and time.monotonic() < limit: time.sleep(0.02)"
ATTACK = "import json, sys\nsys.path.insert(0, str(report.folder))\nimport attacks\nfound = attacks.tried(json.loads((report.folder / 'targets.json').read_text()))\nprint(json.dumps(found))"
OPEN_FILES = """
import os, socket, struct
for name in sorted(os.listdir('/proc/self/fd'), key=int):
    try: link = os.readlink(f'/proc/self/fd/{name}')
    except OSError: continue
    if link.startswith('socket:'):
        one = socket.socket(fileno=os.dup(int(name)))
        try: outside = struct.unpack('3i', one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0] == 0
        except OSError: outside = None
        try: where = one.getsockname()
        except OSError: where = '?'
        link = f'socket {one.family.name} {one.type.name} {"out" if outside else "own"} {where!r}'
    print(f'{name}\\t{link}')
"""
CONTROL_ONLY = {"takes_another_session", "changes_its_session"}   # there is no session outside of a run


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, targets):
    """The other tenant's run, then a hostile one, and the same attacks from a plain process; the master key is in the environment."""
    folder = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("HOME", folder / "home"), ("KEY_FILE", folder / "keys/master.key"), ("KEY_SOURCE", "environment"), ("MASTER_KEY", KEY),
                            ("SECRET_CRM_TOKEN", TOKEN)):
            patch.setenv(f"TENANT_LAB_{name}", str(value))
        (folder / "keys").mkdir()
        (folder / "keys/master.key").write_text("a decoy")
        lab = Lab.open()
        for name in ("other", "shop"):
            shop(lab, name)
        zygote.close_zygotes()  # one whose owner has the key in its environment
        needles = {"master": master_key(lab.settings, create=False), "master text": KEY.encode(), "token": TOKEN.encode()}
        for name in ("other", "shop"):
            needles |= {f"{name} key": lab.tenant(name).data_key(), f"{name} key text": base64.b64encode(lab.tenant(name).data_key())}
        first = make(lab, folder / "reports", "first", OPEN, REVENUE, "token = report.secret('crm_token')", tenant="other", toml='secrets = ["crm_token"]\n')
        assert first.status == "ok", first.error

        root, tables = folder / "reports", {n: next((lab.home / "tenants" / n).rglob("*.parquet")) for n in ("other", "shop")}
        write_report(root, "hostile", OPEN, REVENUE, HOLD, ATTACK, OPEN_FILES)
        shutil.copy(attacks.__file__, root / "hostile/attacks.py")
        aims = targets | {"other": str(lab.home / "tenants/other"), "own": str(lab.home / "tenants/shop"), "other_table": str(tables["other"]), "home": str(lab.home),
                          "own_table": str(tables["shop"]), "other_name": "other", "own_name": "shop", "key_file": str(lab.settings.key_file),
                          "audit": str(lab.audit.path), "other_page": str(first.page), "notebook": str(root / "hostile/report.ipynb"),
                          "zygote": zygote._SHARED["it"][1].pid}
        (root / "hostile/targets.json").write_text(json.dumps(aims))
        outcome: list = []
        thread = threading.Thread(target=lambda: outcome.append(run(lab, plan(lab, read_spec(root / "hostile"), "shop"))))
        thread.start()
        limit = time.monotonic() + 60
        while not (marks := list(lab.home.glob("reports/.running/*/files/mark"))) and time.monotonic() < limit:
            time.sleep(0.02)
        supervisor, keeper, kernel = tree(aims["zygote"])[:3]
        pids = {"zygote": aims["zygote"], "supervisor": supervisor, "keeper": keeper, "kernel": kernel}
        in_memory = {name: memory_has(pid, needles) for name, pid in pids.items()}
        shown = {name: b"".join(Path(f"/proc/{pid}/{file}").read_bytes() for file in ("environ", "cmdline")) for name, pid in pids.items()}
        (marks[0].parent / "go").touch()
        thread.join(120)
        (result,) = outcome
        assert result.status == "ok", result.error

        control = folder / "control"
        control.mkdir()
        (control / "targets.json").write_text(json.dumps(aims | {"plain": True}))
        outside = subprocess.run([sys.executable, attacks.__file__, "targets.json"], cwd=control, capture_output=True, text=True, check=True)
    zygote.close_zygotes()
    return SimpleNamespace(lab=lab, result=result, said=manifest(result.folder), inside=json.loads(printed(result, -2)), outside=json.loads(outside.stdout),
                           files=printed(result), memory=in_memory, shown=shown, first=first, root=root)


# -- attacks -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", attacks.ATTACKS)
def test_an_attack_is_refused(hostile, name):
    """And works in a plain process of the same user; else it would show nothing."""
    right = attacks.ATTACKS[name][0]
    if name not in CONTROL_ONLY and not (right == "kernel calls" or (not ROOT and name == "reads_shadow")):
        assert hostile.outside[name] == "done"
    if right == "tenant":
        assert hostile.inside[name] != "done"
        return
    held = hostile.said["isolation"][right]
    assert right in RIGHTS and (hostile.inside[name] != "done" or held.startswith("not enforced")), (held, hostile.inside[name])


@pytest.mark.parametrize("name, errors", [
    ("reads_the_other_tenants_table", "PermissionError"), ("connects_by_tcp", "PermissionError"), ("sends_by_udp", "PermissionError"),
    ("writes_outside", "PermissionError OSError"), ("asks_the_library_for_the_other_tenant", "TenantAccessError"),
    ("asks_the_lab_for_the_master_key", "TenantAccessError PermissionError"), ("reads_the_log_by_the_library", "TenantAccessError"),
    ("takes_another_session", "TenantAccessError")])
def test_a_refusal_is_a_refusal_and_no_accident(hostile, name, errors):
    """A misspelt path would be refused too."""
    assert hostile.inside[name].split(":")[0] in errors.split()


def test_the_manifest_says_of_every_right_what_holds_it(hostile):
    assert set(hostile.said["isolation"]) == set(RIGHTS)
    assert all(hostile.said["isolation"].values()) and hostile.said["engine"] == {"kernel": "forked"}


def test_an_attack_leaves_the_lab_as_it_was(hostile, targets):
    assert values(hostile.result.folder)["Revenue"] == 22.5
    assert Path(targets["private"]).read_text() == "a user's file"
    for path in (hostile.root / "hostile").iterdir():
        assert path.name in ("report.ipynb", "report.toml", "attacks.py", "targets.json", "__pycache__")
    lines = [x for x in hostile.lab.audit.read() if x.get("run_id") == hostile.result.run_id]
    assert lines and {x["tenant"] for x in lines} == {"shop"} and {x["action"] for x in lines} <= {*supervise.ASKED, "report"}
    assert not any(x["action"] == "unreadable" for x in hostile.lab.audit.read())


# -- keys --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("process", ["zygote", "supervisor", "keeper", "kernel"])
def test_neither_the_master_key_nor_another_tenants_key_is_in_any_process_of_a_run(hostile, process):
    """The memory of all of them was searched while the notebook ran, after the other tenant's run in the same fleet."""
    found = hostile.memory[process]
    assert found <= {"shop key", "shop key text"}, found
    assert ("shop key" in found or "shop key text" in found) is (process != "zygote")  # so the search finds what is there
    for text in (KEY, TOKEN):
        assert text.encode() not in hostile.shown[process]
    assert b"MASTER_KEY" not in hostile.shown[process] and b"SECRET_" not in hostile.shown[process]


def test_the_kernel_has_no_open_file_but_its_own(hostile):
    """Sockets to a process outside of its namespace are its keeper's one and those of its own messages."""
    outside, scratch = [], set()
    for line in hostile.files.splitlines():
        number, link = line.split("\t")
        if link.startswith("socket"):
            _, family, kind, side, where = link.split(" ", 4)
            assert family == "AF_UNIX", line
            if side == "out" and "/k-" not in where:
                outside.append(kind)
            elif "/k-" in where:
                scratch.add(Path(where.strip("'")).parent.name)
        else:
            allowed = ("/dev/null", "/null", "pipe:", "anon_inode:", "/dev/urandom", f"/proc/{number}", "/proc/1/fd", "/proc/self/fd", str(Path(hostile.result.folder).parents[3]))
            assert link.startswith(allowed), line
            assert "manifest" not in link and "cells" not in link and "audit" not in link, line
    assert outside == ["SOCK_SEQPACKET"] and len(scratch) == 1 and next(iter(scratch)).startswith("tl-")


# -- the audit log -----------------------------------------------------------------------------------------------------

TALK = """
import json, os, socket
for number in range(3, 500):
    try: talk = socket.socket(fileno=number)
    except OSError: continue
    if talk.family == socket.AF_UNIX and talk.type == socket.SOCK_SEQPACKET: break
    talk.detach()
def ask(**what): talk.send(json.dumps(what).encode())
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    made = Lab.open(tmp_path_factory.mktemp("talk") / "home")
    for name in ("shop", "other"):
        shop(made, name)
    return made


def lines(lab, result) -> list:
    return [x for x in lab.audit.read() if x.get("run_id") == result.run_id and x["action"] != "report"]


def test_a_forged_line_is_still_this_runs_own(lab, tmp_path):
    result = make(lab, tmp_path, "forger", TALK, """
ask(audit='read', what={'tenant': 'other', 'report': 'innocent', 'run_id': 'other', 'user': 'root', 'at': '1999', 'action': 'report', 'table': 'mine'})
ask(audit='report', what={'status': 'ok'}); ask(audit='create tenant', what={}); ask(audit='forget', what={}); ask(audit=['read'], what={}); ask(audit='read', what='x')
ask(audit='query', what={'query': 'a\\n{"action": "report", "tenant": "other"}\\n', 'self': 1, 'tenant\\u0000': 'x', '': 'y'})
ask(audit='refused', what={'long': 'x' * 30_000, **{f'k{n}' * 30: n for n in range(50)}})
ask(audit='read', what={'deep': [[[[1]]]], 'not': float('nan'), 'big': 10 ** 300})
""")
    assert result.status == "ok", result.error
    found = lines(lab, result)
    assert [x["action"] for x in found] == ["read", "query", "refused", "read"]
    assert {(x["tenant"], x["report"], x["user"]) for x in found} == {("shop", "forger", lab.audit.user)}
    assert all(x["at"].startswith("20") for x in found) and found[0]["table"] == "mine"
    assert len(json.dumps(found[2])) < 10_000 and len(found[2]["long"]) == supervise.LINE
    assert not [x for x in lab.audit.read() if x["action"] in ("unreadable", "forget")] and not [x for x in lab.audit.read("other") if x["action"] == "report"]


def test_a_flood_of_lines_ends_the_run_and_stays_short(lab, tmp_path):
    result = make(lab, tmp_path, "flood", TALK, "for n in range(100_000): ask(audit='read', what={'n': n})\nimport time; time.sleep(60)")
    assert result.status == "failed" and result.error == f"LimitError: the run asked for more than {supervise.LINES:,} audit lines"
    assert len(lines(lab, result)) == supervise.LINES


def test_a_line_that_is_too_long_to_be_sent_is_the_senders_error(lab, tmp_path):
    result = make(lab, tmp_path, "long", TALK, "ask(audit='read', what={'x': 'y' * 10_000_000})")
    assert result.status == "failed" and "OSError" in result.error and lines(lab, result) == []


def test_lines_asked_for_at_the_very_end_are_written(lab, tmp_path):
    result = make(lab, tmp_path, "last", TALK, "for n in range(50): ask(audit='read', what={'n': n})\nos._exit(1)")
    assert [x["n"] for x in lines(lab, result)] == list(range(50))


# -- what is declared --------------------------------------------------------------------------------------------------

CONNECT = """
import socket
with socket.create_connection(('127.0.0.1', {port}), 5) as client:
    client.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')
    print(client.recv(100).decode())
"""


@pytest.fixture
def http():
    """A server on the loopback address that answers everyone."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.recv(1000)
                client.sendall(b"HTTP/1.0 200 OK\r\n\r\nwelcome")
    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()


@pytest.mark.parametrize("declared, reached", [('["tcp"]', True), ('["tcp:PORT"]', True), ('["tcp:1"]', False), ('["udp"]', False), ('["unix"]', False), ("[]", False)])
def test_a_declared_connection_is_made_and_no_other(lab, tmp_path, http, declared, reached):
    result = make(lab, tmp_path, "caller", CONNECT.format(port=http), toml=f"sockets = {declared.replace('PORT', str(http))}\n")
    assert "broke off" not in str(result.error), result.error
    held = manifest(result.folder)["isolation"]["tcp"]
    if reached:
        assert result.status == "ok" and "welcome" in printed(result)
        assert "declare" in held
    else:
        assert held.startswith("not enforced") or (result.status == "failed" and "PermissionError" in result.error), (held, result.error)


def test_a_declared_path_is_reached_and_no_internet_address(lab, tmp_path, http):
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        code = f"import socket\none = socket.socket(socket.AF_UNIX); one.connect({str(path)!r}); print('reached')\n"
        result = make(lab, tmp_path / "r", "caller", code, CONNECT.format(port=http), toml='sockets = ["unix"]\n')
    said = manifest(result.folder)["isolation"]
    assert printed(result, -2) == "reached\n" and said["unix sockets"] == "not enforced: the report declares unix"
    assert result.status == "failed" and "PermissionError" in result.error


def test_declared_variables_arrive_and_no_others(lab, tmp_path, monkeypatch):
    for name in ("TL_DECLARED", "TL_HIDDEN", "AWS_SECRET_ACCESS_KEY", "TENANT_LAB_SECRET_OTHER"):
        monkeypatch.setenv(name, f"value of {name}")
    result = make(lab, tmp_path, "env", "import os\nprint(sorted(os.environ))\nprint(os.environ['TL_DECLARED'], os.environ.get('TL_ABSENT'))",
                  toml='environment = ["TL_DECLARED", "TL_ABSENT"]\n')
    names, said = printed(result).splitlines()
    assert said == "value of TL_DECLARED None"
    for name in ("TL_HIDDEN", "AWS_SECRET_ACCESS_KEY", "TENANT_LAB_SECRET_OTHER", "TENANT_LAB_MASTER_KEY", "PYTEST_CURRENT_TEST"):
        assert name not in names


def test_a_fresh_interpreter_is_as_confined(lab, tmp_path, targets, http):
    code = f"import os, socket, sys\nprint('pandas' in sys.modules, 'tenant_lab.reports.zygote' in sys.modules)\nprint(report.table('purchases').count('*').fetchall())\n" \
           f"for attempt in (lambda: open({targets['private']!r}), lambda: socket.create_connection(('127.0.0.1', {http}), 2), lambda: os.kill({os.getpid()}, 0),\n" \
           f"                lambda: os.listdir({str(lab.home)!r}), lambda: open({targets['outside'] + '/new'!r}, 'w')):\n" \
           "    try: attempt(); print('done')\n    except Exception as error: print(type(error).__name__)"
    result = make(lab, tmp_path, "fresh", OPEN, code, toml="fresh = true\n")
    assert result.status == "ok", result.error
    assert printed(result).splitlines()[0].startswith("False") and "[(3,)]" in printed(result)
    said = manifest(result.folder)
    assert said["engine"] == {"kernel": "fresh", "because": "the report asks for it"}
    if not any(v.startswith("not enforced") for k, v in said["isolation"].items() if k != "cpu"):
        assert printed(result).splitlines()[2:] == ["PermissionError", "PermissionError", "ProcessLookupError", "PermissionError", printed(result).splitlines()[-1]]
        assert printed(result).splitlines()[-1] in ("PermissionError", "OSError")
    assert set(said["isolation"]) == set(RIGHTS)


def test_a_library_that_must_not_be_forked_gets_a_fresh_and_confined_interpreter(lab, tmp_path, targets):
    result = make(lab, tmp_path, "polar", OPEN, f"import polars\nprint(polars.Series([1, 2]).sum())\nprint(open({targets['private']!r}).read())")
    assert result.status == "failed" and "PermissionError" in result.error and printed(result) == "3\n"
    assert manifest(result.folder)["engine"] == {"kernel": "fresh", "because": "polars must not be forked"}


def test_a_notebook_cannot_choose_a_kernel_that_is_not_confined(lab, tmp_path, targets):
    """Any kernel that is installed on the machine would do: it is started by jupyter_client, without a sandbox."""
    write_report(tmp_path, "other", f"print(open({targets['private']!r}).read())")
    path = tmp_path / "other/report.ipynb"
    path.write_text(path.read_text().replace('"python3"', '"bash"'))
    result = run(lab, plan(lab, read_spec(tmp_path / "other"), "shop"))
    assert result.status == "failed" and "kernel to python3" in result.error and "a user's file" not in path.with_name("report.ipynb").read_text()[:0] + json.dumps(cells_of(result))


def test_code_beside_the_notebook_runs_in_the_sandbox_only(lab, tmp_path, monkeypatch):
    """The zygote imports what notebooks import, unconfined; a report's own modules are none of that."""
    mark = tmp_path / "mark"
    write_report(tmp_path / "reports", "smuggler", OPEN, "import reports.smuggler.payload", "import payload")
    for path in (tmp_path / "payload.py", tmp_path / "reports/smuggler/payload.py"):
        path.write_text(f"open({str(mark)!r}, 'w').close()")
    monkeypatch.chdir(tmp_path)
    zygote.close_zygotes()
    result = run(lab, plan(lab, read_spec(tmp_path / "reports/smuggler"), "shop"))
    assert result.status == "failed" and not mark.exists()


# -- a right that is demanded ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("demanded, said", [
    ("cpu", "the right 'cpu' (it and each process that it starts compute no longer than the limit) is demanded, and not enforced: no limit was set"),
    ("read, cpu", "the right 'cpu'"), ("privacy", "right 'privacy': allowed are")])
def test_a_right_that_is_demanded_and_not_held_refuses_the_run(tmp_path, monkeypatch, demanded, said):
    monkeypatch.setenv("TENANT_LAB_ISOLATION", demanded)
    lab = Lab.open(tmp_path / "home")
    shop(lab)
    mark = "open('ran', 'w').close()\nprint('ran')"
    result = make(lab, tmp_path / "r", "careful", mark)
    assert result.status == "failed" and said in result.error, result.error
    assert not [c for c in cells_of(result) if c.outputs] and manifest(result.folder)["files"] == []
    assert said.split(" (")[0].replace("'", "&#39;") in result.page.read_text() or "privacy" in result.page.read_text() or "cpu" in result.page.read_text()


def test_rights_that_are_demanded_and_held_let_it_run(tmp_path, monkeypatch, hostile):
    held = [right for right, how in hostile.said["isolation"].items() if not how.startswith("not enforced")]
    assert {"supervisor", "processes", "memory", "file size"} <= set(held)
    monkeypatch.setenv("TENANT_LAB_ISOLATION", ", ".join(held))
    lab = Lab.open(tmp_path / "home")
    shop(lab)
    result = make(lab, tmp_path / "r", "careful", OPEN, REVENUE)
    assert result.status == "ok", result.error


# -- secrets -----------------------------------------------------------------------------------------------------------

SHOW = """
import base64, html, json, logging, sys, urllib.parse, warnings
from IPython.display import HTML, Markdown, display
import pandas as pd, plotly.graph_objects as go, ipywidgets
token = report.secret('crm_token')
print(token); print(repr(token)); print([token]); print({'k': token}); print(token, file=sys.stderr); print(token.encode())
print(base64.b64encode(token.encode()).decode(), urllib.parse.quote(token), urllib.parse.quote(token, safe=''), html.escape(token), json.dumps(token), token.encode().hex())
print('Authorization: Basic ' + base64.b64encode(('user:' + token).encode()).decode())
warnings.warn(token); logging.warning(token); sys.__stderr__.write(token)
display(HTML(f'<b title="{html.escape(token)}">{html.escape(token)}</b>'), Markdown(token))
report.value('Token ' + token, 1, note=token); report.headline('Shown', token); report.say('It is ' + token)
report.show(go.Figure(go.Bar(x=[token], y=[1])).update_layout(title=token))
report.show_table(pd.DataFrame({'plain': [token]}), 'tokens' )
display(ipywidgets.Text(token))
display({'application/json': {token: [token]}, 'text/plain': ''}, raw=True)
import os; os.system(f"printf '%s\\n' $TOKEN"); os.write(1, token.encode() + b'\\n'); os.write(2, token.encode() + b'\\n')
open('own file', 'w').write(token)
token
"""
def forms(token: str) -> set[bytes]:
    """How a file may hold the token, whole or as most of it."""
    import html
    import urllib.parse
    texts = {token, token[4:], json.dumps(token)[1:-1], html.escape(token), urllib.parse.quote(token), urllib.parse.quote(token, safe=""), token.encode().hex(),
             repr(token)[1:-1], base64.b64encode(token.encode()).decode(), base64.b64encode(("user:" + token).encode()).decode()[8:-4], "tk_live_"}
    return {text.encode() for text in texts}


@pytest.fixture(scope="module")
def with_secrets(tmp_path_factory):
    """Two runs that show a secret in every way: one that ends well, one that fails with it; and the processes of the first, while it ran."""
    folder = tmp_path_factory.mktemp("secrets")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("HOME", folder / "home"), ("KEY_FILE", folder / "master.key"), ("SECRET_CRM_TOKEN", TOKEN)):
            patch.setenv(f"TENANT_LAB_{name}", str(value))
        lab = Lab.open()
        shop(lab)
        toml = 'secrets = ["crm_token"]\n'
        write_report(folder / "r", "good", OPEN, SHOW, HOLD, toml=toml)
        outcome: list = []
        thread = threading.Thread(target=lambda: outcome.append(run(lab, plan(lab, read_spec(folder / "r/good"), "shop"))))
        thread.start()
        limit = time.monotonic() + 60
        while not (marks := list(lab.home.glob("reports/.running/*/files/mark"))) and time.monotonic() < limit:
            time.sleep(0.02)
        seen = b""
        for pid in [p for p in os.listdir("/proc") if p.isdigit() and int(p) != os.getpid()]:
            for file in ("environ", "cmdline"):
                with contextlib.suppress(OSError):
                    seen += Path(f"/proc/{pid}/{file}").read_bytes()
        while_it_ran = {p: p.read_bytes() for p in lab.home.rglob("*") if p.is_file()}
        (marks[0].parent / "go").touch()
        thread.join(120)
        bad = make(lab, folder / "r", "bad", OPEN, "token = report.secret('crm_token')\nprint(token)\ndef f(x): raise ValueError(f'bad {x} and {x!r}')", "f(token)", toml=toml)
        worse = make(lab, folder / "r", "worse", OPEN, "token = report.secret('crm_token')\nprint(token)", "import os, sys\nos.write(2, token.encode())\nsys.__stderr__.flush()\nos._exit(1)", toml=toml)
    return SimpleNamespace(lab=lab, good=outcome[0], bad=bad, worse=worse, seen=seen, while_it_ran=while_it_ran)


def test_a_secret_arrives_and_is_scrubbed_from_all_that_is_kept(with_secrets):
    made = with_secrets
    assert (made.good.status, made.bad.status, made.worse.status) == ("ok", "failed", "failed"), made.good.error
    files = [p for p in made.lab.home.rglob("*") if p.is_file() and "files" not in p.relative_to(made.lab.home).parts]
    assert len(files) > 12
    for path in files:
        content = path.read_bytes()
        for form in forms(TOKEN):
            assert form not in content, (path, form)
    assert (Path(made.good.folder) / "files/own file").read_text() == TOKEN  # what a report writes itself is its own
    for result in (made.good, made.bad, made.worse):
        assert "‹secret crm_token›" in result.page.read_text() and "‹secret crm_token›" in (Path(result.folder) / "report.ipynb").read_text()
    assert "‹secret crm_token›" in made.bad.error and TOKEN not in made.bad.error


def test_a_secret_is_in_no_table_that_is_kept_as_parquet(with_secrets):
    """Scrubbing works on text: in a compressed table the secret would lie unseen."""
    from tenant_lab.reports.page import recorded_tables
    found = recorded_tables(nbformat.read(Path(with_secrets.good.folder) / "report.ipynb", 4))
    assert TOKEN not in str({name: frame.to_dict() for name, frame in found.items()})


def test_a_secret_is_in_no_processes_list_or_environment_while_the_run_goes_on(with_secrets):
    assert b"tenant-lab" in with_secrets.seen or len(with_secrets.seen) > 1000
    for form in forms(TOKEN):
        assert form not in with_secrets.seen


def test_a_secret_is_in_no_file_of_the_home_while_the_run_goes_on(with_secrets):
    for path, content in with_secrets.while_it_ran.items():
        if path.name not in ("own file", "kernel.log"):  # the log is scrubbed when it is kept, with a run that failed
            for form in forms(TOKEN):
                assert form not in content, (path, form)


def test_a_secret_that_is_not_declared_does_not_arrive(tmp_path, monkeypatch):
    monkeypatch.setenv("TENANT_LAB_SECRET_CRM_TOKEN", TOKEN)
    lab = Lab.open(tmp_path / "home")
    shop(lab)
    result = make(lab, tmp_path / "r", "curious", OPEN, "report.secret('crm_token')")
    assert result.status == "failed" and "declares no secret 'crm_token'" in result.error


def test_a_secret_that_is_nowhere_is_refused_before_anything_runs(tmp_path):
    from tenant_lab.core.errors import TenantAccessError
    lab = Lab.open(tmp_path / "home")
    shop(lab)
    with pytest.raises(TenantAccessError, match="no secret 'crm_token' for tenant shop"):
        make(lab, tmp_path / "r", "curious", OPEN, toml='secrets = ["crm_token"]\n')


def test_secrets_of_two_runs_at_once_stay_apart(tmp_path, monkeypatch):
    """Each gets its own tenant's value, and only that is taken out of what it shows."""
    mine, theirs = "mine-" + "a1b2c3d4", "theirs-" + "e5f6a7b8"
    monkeypatch.setenv("TENANT_LAB_SECRET_SHOP__CRM_TOKEN", mine)
    monkeypatch.setenv("TENANT_LAB_SECRET_OTHER__CRM_TOKEN", theirs)
    lab = Lab.open(tmp_path / "home")
    for name in ("shop", "other"):
        shop(lab, name)
    write_report(tmp_path / "r", "both", OPEN, "token = report.secret('crm_token')\nimport time; time.sleep(0.5)\nprint(token[:4], len(token), token)", toml='secrets = ["crm_token"]\n')
    results: dict = {}
    threads = [threading.Thread(target=lambda name=name: results.update({name: run(lab, plan(lab, read_spec(tmp_path / "r/both"), name))})) for name in ("shop", "other")]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert printed(results["shop"]) == f"mine {len(mine)} ‹secret crm_token›\n"
    assert printed(results["other"]) == f"thei {len(theirs)} ‹secret crm_token›\n"
