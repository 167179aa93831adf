"""What a hostile report tries. A file of its own: it is run in a report, and by a plain process to see that each works there.

Each function gets the targets (see test_hostile_report.py) and raises where it is refused.
"""
import contextlib
import ctypes
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

ATTACKS: dict = {}   # name -> the right that it breaks, function
libc = ctypes.CDLL(None, use_errno=True)


def attack(right):
    def add(function):
        ATTACKS[function.__name__] = right, function
        return function
    return add


def done(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


# ---- files ----
@attack("read")
def reads_the_other_tenants_table(t): assert Path(t["other_table"]).read_bytes()


@attack("read")
def maps_the_other_tenants_table(t):
    with open(t["other_table"], "rb") as file:
        assert mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)[:4] == b"PAR1"


@attack("read")
def queries_the_other_tenants_table(t):
    import duckdb
    assert duckdb.sql(f"SELECT * FROM '{t['other_table']}'").fetchall()


@attack("read")
def asks_a_child_to_read_the_other_tenants_table(t): subprocess.run(["cat", t["other_table"]], check=True, capture_output=True)


@attack("read")
def reads_the_other_tenants_description(t): assert Path(t["other"], "tenant.json").read_text()


@attack("read")
def reads_the_other_tenants_key(t): assert Path(t["other"], "key.json").read_text()


@attack("read")
def reads_its_own_tenants_wrapped_key(t): assert Path(t["own"], "key.json").read_text()


@attack("read")
def lists_the_tenants(t): assert os.listdir(Path(t["own"]).parent)


@attack("read")
def lists_the_lab(t): assert os.listdir(t["home"])


@attack("read")
def reads_the_key_file(t): assert Path(t["key_file"]).read_text()


@attack("read")
def lists_the_keys_folder(t): assert os.listdir(Path(t["key_file"]).parent)


@attack("read")
def reads_the_audit_log(t): assert Path(t["audit"]).read_text()


@attack("read")
def reads_another_tenants_page(t): assert Path(t["other_page"]).read_text()


@attack("read")
def lists_the_published_reports(t): assert os.listdir(Path(t["home"], "reports"))


@attack("read")
def reads_shadow(t): assert Path("/etc/shadow").read_text()


@attack("read")
def reads_a_users_file(t): assert Path(t["private"]).read_text()


@attack("read")
def reads_through_a_symlink(t):
    with contextlib.suppress(FileExistsError):
        os.symlink(t["private"], "a_link")
    assert Path("a_link").read_text()


@attack("read")
def reads_through_proc_root(t): assert Path(f"/proc/self/root{t['private']}").read_text()


@attack("read")
def lists_temporary_files_of_others(t): assert os.listdir("/tmp")


@attack("write")
def writes_outside(t): Path(t["outside"], "written").write_text("x")


@attack("write")
def writes_to_the_audit_log(t):
    with open(t["audit"], "a"):
        pass


@attack("write")
def changes_its_own_table(t): Path(t["own_table"]).rename(f"{t['own_table']}.gone") or Path(f"{t['own_table']}.gone").rename(t["own_table"])


@attack("write")
def adds_to_its_own_table(t): Path(t["own_table"]).with_name("more.parquet").write_bytes(b"x") and Path(t["own_table"]).with_name("more.parquet").unlink()


@attack("write")
def changes_its_own_notebook(t):
    with open(t["notebook"], "a"):
        pass


@attack("write")
def adds_to_the_reports_folder(t): Path(t["notebook"]).with_name("sitecustomize.py").write_text("") or Path(t["notebook"]).with_name("sitecustomize.py").unlink()


@attack("write")
def removes_a_file(t):
    Path(t["outside"], "removable").unlink()
    Path(t["outside"], "removable").touch()


@attack("write")
def publishes_another_page(t): Path(t["other_page"]).with_name("added.html").write_text("x") and Path(t["other_page"]).with_name("added.html").unlink()


@attack("write")
def changes_the_library(t):
    with open(t["library"], "a"):
        pass


@attack("truncate")
def cuts_a_file(t): os.truncate(Path(t["outside"], "long"), 3)


@attack("attributes")
def opens_a_file_to_all(t): os.chmod(Path(t["outside"], "long"), 0o666)


@attack("attributes")
def changes_a_files_time(t): os.utime(Path(t["outside"], "long"), (1, 1))


# ---- other processes ----
@attack("ptrace")
def reads_the_parents_environment(t): assert Path(f"/proc/{t['parent']}/environ").read_bytes()


@attack("ptrace")
def reads_the_zygotes_environment(t): assert Path(f"/proc/{t['zygote']}/environ").read_bytes()


@attack("ptrace")
def reads_a_siblings_memory(t):
    line = next(x for x in Path(f"/proc/{t['sibling']}/maps").read_text().splitlines() if "[stack]" in x)
    with open(f"/proc/{t['sibling']}/mem", "rb", buffering=0) as memory:
        memory.seek(int(line.split("-")[0], 16))
        assert memory.read(10)


@attack("ptrace")
def lists_the_parents_open_files(t): assert os.listdir(f"/proc/{t['parent']}/fd")


@attack("ptrace")
def opens_an_open_file_of_a_sibling(t): assert Path(f"/proc/{t['sibling']}/fd/{t['sibling_file']}").read_text()


@attack("ptrace")
def reads_through_a_siblings_root(t): assert Path(f"/proc/{t['sibling']}/root{t['private']}").read_text()


@attack("ptrace")
def attaches_to_a_sibling(t):
    done(libc.ptrace(16, t["sibling"], None, None))   # PTRACE_ATTACH
    os.waitpid(t["sibling"], 0x40000000) if t["plain"] else None   # __WALL
    libc.ptrace(17, t["sibling"], None, None)


@attack("ptrace")
def takes_an_open_file_of_a_sibling(t):
    handle = os.pidfd_open(t["sibling"])
    os.close(done(libc.syscall(438, handle, t["sibling_file"], 0)))   # pidfd_getfd


@attack("process list")
def sees_a_sibling(t): assert Path(f"/proc/{t['sibling']}/cmdline").read_bytes()


@attack("process list")
def sees_the_parent(t): assert str(t["parent"]) in os.listdir("/proc") and b"python" in Path(f"/proc/{t['parent']}/cmdline").read_bytes()


@attack("signals")
def signals_its_parent(t): os.kill(t["parent"], 0)


@attack("signals")
def signals_the_zygote(t): os.kill(t["zygote"], 0)


@attack("signals")
def stops_a_sibling(t):
    os.kill(t["sibling"], signal.SIGSTOP)
    os.kill(t["sibling"], signal.SIGCONT)


@attack("signals")
def signals_a_sibling_through_a_handle(t): signal.pidfd_send_signal(os.pidfd_open(t["sibling"]), 0)


@attack("process list")
def slows_a_sibling(t): os.setpriority(os.PRIO_PROCESS, t["sibling"], 5)


# ---- sockets ----
@attack("tcp")
def connects_by_tcp(t): socket.create_connection(("127.0.0.1", t["tcp"]), 3).close()


@attack("tcp")
def listens_by_tcp(t):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()


@attack("udp")
def sends_by_udp(t):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.sendto(b"figures", ("127.0.0.1", t["udp"]))


@attack("udp")
def asks_a_name_server(t):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect(("127.0.0.1", t["udp"]))
        udp.send(b"\0\1\1\0\0\1\0\0\0\0\0\0\7figures\3com\0\0\1\0\1")


@attack("unix sockets")
def connects_to_a_path(t):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(t["unix"])


@attack("unix sockets")
def sends_to_a_path(t):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(b"figures", t["datagram"])


@attack("unix sockets")
def sends_to_a_path_by_half_a_pair(t):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        ours.sendto(b"figures", t["datagram"])


@attack("abstract sockets")
def connects_to_an_abstract_socket(t):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect("\0" + t["abstract"])


@attack("other sockets")
def asks_the_kernel_by_netlink(t): socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()


@attack("tcp")
def asks_a_child_to_connect(t):
    code = f"import socket; socket.create_connection(('127.0.0.1', {t['tcp']}), 3)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# ---- shared things ----
@attack("shared memory")
def reads_shared_memory(t): assert Path("/dev/shm", t["shared"]).read_bytes()


@attack("shared memory")
def attaches_shared_memory(t):
    from multiprocessing import resource_tracker, shared_memory
    block = shared_memory.SharedMemory(t["shared"])
    resource_tracker.unregister(f"/{t['shared']}", "shared_memory")  # it is somebody else's
    block.close()


@attack("terminals")
def writes_to_a_terminal(t): Path(t["terminal"]).write_text("x")


@attack("kernel calls")
def makes_a_namespace(t):
    if t["plain"]:  # not in a process that has others to look after
        return
    done(libc.unshare(0x20000))


@attack("capabilities")
def has_power(t):
    powers = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("CapEff"))
    assert int(powers.split()[1], 16) or t["plain"]


@attack("setuid files")
def leaves_a_setuid_program(t):
    Path("program").write_text("")
    os.chmod("program", 0o4755)


# ---- the library ----
@attack("tenant")
def asks_the_library_for_the_other_tenant(t):
    from tenant_lab import Report
    assert Report(t["other_name"], "2024-03-09").table("purchases").fetchall()


@attack("tenant")
def asks_the_lab_for_the_master_key(t):
    from tenant_lab.tenancy.lab import Lab, lab_master
    lab = Lab.open()
    assert lab_master(lab.home, lab.settings)


@attack("tenant")
def makes_a_tenant(t):
    from tenant_lab.tenancy.lab import Lab
    lab = Lab.open()
    lab.create_tenant("made-by-a-report")


@attack("tenant")
def changes_its_tenants_data(t):
    import pandas as pd

    from tenant_lab.tenancy.lab import Lab
    Lab.open().tenant(t["own_name"]).ingest("purchases", pd.DataFrame({"customer_id": ["x"], "purchased_at": ["2024-03-02"], "amount": [1.0]}))


@attack("tenant")
def reads_the_log_by_the_library(t):
    from tenant_lab.tenancy.lab import Lab
    assert list(Lab.open().audit.read())


@attack("tenant")
def takes_another_session(t):
    from dataclasses import replace

    from tenant_lab.tenancy import session
    session.enter(replace(session.current(), tenant=t["other_name"]))


@attack("tenant")
def changes_its_session(t):
    from dataclasses import replace

    from tenant_lab import Report
    from tenant_lab.tenancy import session
    kept = session._entered[:]
    session._entered[:] = [replace(session.current(), tenant=t["other_name"])]
    try:
        assert Report(t["other_name"], "2024-03-09").table("purchases").fetchall()
    finally:
        session._entered[:] = kept


def tried(targets) -> dict:
    """Name -> `done`, or how it was refused."""
    found = {}
    for name, (_, function) in ATTACKS.items():
        try:
            function(targets)
            found[name] = "done"
        except BaseException as error:
            found[name] = f"{type(error).__name__}: {error}"[:200]
    return found


if __name__ == "__main__":
    print(json.dumps(tried(json.loads(Path(sys.argv[1]).read_text()))))
