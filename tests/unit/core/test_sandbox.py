"""A hostile program in the sandbox: each attack works outside of it (else it would show nothing) and fails inside."""
import ctypes
import errno
import inspect
import json
import mmap
import os
import resource
import select
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tenant_lab.core import landlock, sandbox, seccomp
from tenant_lab.core.errors import ParameterError, TenantAccessError, TenantLabError
from tenant_lab.core.sandbox import (
    Rules,
    check_enforced,
    confine,
    in_child,
    kernel_offers,
    refuse_sockets,
    separate,
    settle,
    together,
)
from tenant_lab.core.seccomp import call

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="confines on Linux only")
ROOT = os.geteuid() == 0
NOBODY = 65534
SECRET = b"the other tenant's figures"
MEMORY = ctypes.create_string_buffer(SECRET)   # a forked sibling has it at the same address
libc = ctypes.CDLL(None, use_errno=True)


# ---- users: the one who runs the tests, and for root also one without any power ----
def become(user: str) -> None:
    """Be `user`, as after a login; the interpreter stays readable where it lies in a closed home."""
    if user == "nobody":
        if os.stat(sys.base_prefix).st_uid == 0 and not all(p.stat().st_mode & 1 for p in Path(sys.base_prefix).resolve().parents):
            home = next(p for p in reversed(Path(sys.base_prefix).resolve().parents) if not p.stat().st_mode & 1)
            call("unshare", sandbox.NEW_MOUNTS)
            call("mount", None, b"/", None, sandbox.RECURSIVE | sandbox.PRIVATE, None)
            real = os.open(sys.base_prefix, os.O_PATH)
            call("mount", b"none", bytes(home), b"tmpfs", 0, b"mode=755")
            Path(sys.base_prefix).mkdir(parents=True)
            call("mount", f"/proc/self/fd/{real}".encode(), sys.base_prefix.encode(), None, sandbox.BIND | sandbox.RECURSIVE, None)
            os.close(real)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        call("prctl", 4, 1, 0, 0, 0)  # PR_SET_DUMPABLE, which changing the user has cleared


USERS = ["self", "nobody"] if ROOT else ["self"]


def confined(function: Callable, rules: Rules, sockets=None, user="self", before: Callable | None = None, after: Callable | None = None):
    """The table of rights and what `function(kept)` returned, in a confined child of a supervisor of its own.

    `before` runs when files are confined and sockets are not, its answer is `kept`; `after` in the supervisor, at the end.
    """
    def supervisor():
        become(user)
        own = separate()

        def child():
            table = [own, settle(own), confine(rules)]
            kept = before() if before else None
            table.append(refuse_sockets(rules.sockets if sockets is None else sockets))
            return together(*table), function(kept) if kept is not None else function()
        answer = in_child(child)
        return [*answer, after()] if after else answer
    return in_child(supervisor)


# ---- what there is to attack ----
@dataclass
class Targets:
    user: str
    run: Path
    other: Path
    sibling: int
    supervisor: int
    tcp: int
    udp: int
    terminal: str
    shared: str
    key: int

    def rules(self, **more) -> Rules:
        return Rules(**({"read": (), "write": (self.run,)} | more))


def sibling(other: Path, user: str, say: int) -> None:
    """Another tenant's process: servers of all kinds, a terminal, and a secret in its memory."""
    become(user)
    call("prctl", 0x59616D61, -1, 0, 0, 0) if Path("/proc/sys/kernel/yama").exists() else None   # PR_SET_PTRACER_ANY
    os.environ["SECRET"] = SECRET.decode()
    servers = []
    for family, kind, address in ((socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0)), (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 0)),
                                  (socket.AF_UNIX, socket.SOCK_STREAM, str(other / "stream")),
                                  (socket.AF_UNIX, socket.SOCK_DGRAM, str(other / "datagram")),
                                  (socket.AF_UNIX, socket.SOCK_STREAM, f"\0{other}")):
        server = socket.socket(family, kind)
        server.bind(address)
        if kind == socket.SOCK_STREAM:
            server.listen(100)
        servers.append(server)
    _, slave = os.openpty()
    os.write(say, json.dumps([servers[0].getsockname()[1], servers[1].getsockname()[1], os.ttyname(slave)]).encode())
    while True:
        time.sleep(60)


@pytest.fixture(scope="module", params=USERS)
def targets(request):
    base = Path(tempfile.mkdtemp(prefix="sandbox-"))
    base.chmod(0o755)
    run, other = base / "run", base / "other"
    for folder in (run, other, other / "empty"):
        folder.mkdir()
    for name in ("secret", "removable", "movable"):
        (other / name).write_bytes(SECRET)
    shared = f"/dev/shm/{base.name}"
    Path(shared).write_bytes(SECRET)
    if request.param == "nobody":
        for path in (base, *base.rglob("*"), shared):
            os.chown(path, NOBODY, NOBODY)
    hear, say = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            sibling(other, request.param, say)
        finally:
            os._exit(1)
    tcp, udp, terminal = json.loads(os.read(hear, 1000))
    key = libc.shmget(0x7E57, 4096, 0o1666)
    queue = libc.mq_open(b"/sandbox-test", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666, None)
    libc.fchmod(queue, 0o666)
    os.close(queue)
    yield Targets(request.param, run, other, pid, os.getpid(), tcp, udp, terminal, shared, key)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    libc.shmctl(key, 0, None)
    libc.mq_unlink(b"/sandbox-test")
    os.unlink(shared)
    shutil.rmtree(base)


def checked(result: int) -> int:
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


# ---- the attacks: each raises OSError where it is refused ----
ATTACKS: dict[str, tuple[str, Callable[[Targets], object]]] = {}   # name -> the right that it breaks, function
FOR_ROOT, PERHAPS, ALONE = set(), set(), set()   # needs root even outside; needs what a kernel may lack; changes its process


def attack(right, root=False, perhaps=False, alone=False):
    def add(function):
        ATTACKS[function.__name__] = right, function
        for names, given in ((FOR_ROOT, root), (PERHAPS, perhaps), (ALONE, alone)):
            names.update([function.__name__] * given)
        return function
    return add


@attack("read")
def read_a_file(t): assert (t.other / "secret").read_bytes() == SECRET


@attack("read")
def list_a_folder(t): assert os.listdir(t.other)


@attack("read")
def scan_a_folder(t): assert list(os.scandir(t.other.parent))


@attack("read", root=True)
def read_shadow(t): assert Path("/etc/shadow").read_text()


@attack("read")
def open_without_reading(t): os.close(os.open(t.other / "secret", os.O_RDONLY))


@attack("read")
def read_through_a_symlink(t):
    link = t.run / "link"
    link.unlink(missing_ok=True)
    link.symlink_to(t.other / "secret")
    link.read_bytes()


@attack("read")
def read_through_proc_root(t): Path(f"/proc/self/root{t.other}/secret").read_bytes()


@attack("read", alone=True)
def read_through_proc_cwd(t):
    os.chdir(t.run)
    Path("/proc/self/cwd/../other/secret").read_bytes()


@attack("read")
def read_through_a_path_descriptor(t):
    folder = os.open(t.other, os.O_PATH)
    os.open("secret", os.O_RDONLY, dir_fd=folder)


@attack("ptrace")
def read_through_the_siblings_root(t): Path(f"/proc/{t.sibling}/root{t.other}/secret").read_bytes()


@attack("read")
def map_a_file(t):
    with open(t.other / "secret", "rb") as file:
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)


@attack("write")
def link_into_the_run_folder(t):
    (t.run / "hard").unlink(missing_ok=True)
    os.link(t.other / "secret", t.run / "hard")


@attack("write")
def write_a_file(t): (t.other / "written").write_text("x")


@attack("write")
def append_to_a_file(t):
    with open(t.other / "movable", "ab") as file:
        file.write(b"")


@attack("write")
def open_for_both(t): os.close(os.open(t.other / "secret", os.O_RDWR))


@attack("truncate")
def truncate_by_path(t): os.truncate(t.other / "secret", len(SECRET))


@attack("write")
def make_a_folder(t):
    (t.other / "made").mkdir()
    (t.other / "made").rmdir()


@attack("write")
def remove_a_folder(t):
    (t.other / "empty").rmdir()
    (t.other / "empty").mkdir()


@attack("write")
def remove_a_file(t):
    (t.other / "removable").unlink()
    (t.other / "removable").write_bytes(SECRET)


@attack("write")
def move_out(t):
    (t.run / "file").write_text("x")
    os.rename(t.run / "file", t.other / "file")


@attack("write")
def move_in(t):
    os.rename(t.other / "movable", t.run / "moved")
    os.rename(t.run / "moved", t.other / "movable")


@attack("write")
def make_a_symlink(t):
    os.symlink("secret", t.other / "symlink")
    os.unlink(t.other / "symlink")


@attack("write")
def make_a_fifo(t):
    os.mkfifo(t.other / "fifo")
    os.unlink(t.other / "fifo")


@attack("write", root=True)
def make_a_device(t):
    os.mknod(t.run / "device", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.unlink(t.run / "device")


@attack("write")
def make_a_socket_file(t):
    os.mknod(t.other / "socket", stat.S_IFSOCK | 0o666)
    os.unlink(t.other / "socket")


@attack("attributes")
def change_a_mode(t): os.chmod(t.other / "secret", 0o644)


@attack("attributes")
def change_a_folders_mode(t): os.chmod(t.other, 0o755)


@attack("attributes")
def change_an_owner(t): os.chown(t.other / "secret", os.geteuid(), os.getegid())


@attack("attributes")
def change_a_time(t): os.utime(t.other / "secret")


@attack("attributes", perhaps=True)
def set_an_attribute(t): os.setxattr(t.other / "secret", "user.x", b"x")


@attack("write", root=True)
def write_a_kernel_setting(t): os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))


@attack("write")
def write_in_slash_tmp(t): tempfile.NamedTemporaryFile(dir="/tmp").close()


@attack("ptrace")
def read_the_siblings_environment(t): assert Path(f"/proc/{t.sibling}/environ").read_bytes()


@attack("ptrace")
def read_the_supervisors_environment(t): assert Path(f"/proc/{t.supervisor if t.user == 'self' else t.sibling}/environ").read_bytes()


@attack("ptrace")
def read_the_siblings_memory(t):
    with open(f"/proc/{t.sibling}/mem", "rb") as memory:
        memory.seek(ctypes.addressof(MEMORY))
        assert memory.read(len(SECRET)) == SECRET


@attack("ptrace")
def see_the_siblings_files(t): assert os.readlink(f"/proc/{t.sibling}/fd/0")


@attack("process list")
def see_the_siblings_command(t): assert Path(f"/proc/{t.sibling}/cmdline").read_bytes()


@attack("ptrace")
def trace_the_sibling(t):
    checked(libc.ptrace(16, t.sibling, 0, 0))   # PTRACE_ATTACH
    os.waitpid(t.sibling, 0x40000000)           # __WALL
    checked(libc.ptrace(17, t.sibling, 0, 0))


@attack("ptrace")
def read_by_process_vm(t):
    here = ctypes.create_string_buffer(len(SECRET))
    local, remote = (struct.pack("PN", ctypes.addressof(b), len(SECRET)) for b in (here, MEMORY))
    checked(libc.process_vm_readv(t.sibling, local, 1, remote, 1, 0))
    assert here.raw == SECRET


@attack("ptrace")
def take_a_descriptor(t): call("pidfd_getfd", os.pidfd_open(t.sibling), 0, 0)


@attack("signals")
def signal_the_sibling(t): os.kill(t.sibling, signal.SIGURG)


@attack("signals")
def signal_the_sibling_by_pidfd(t): signal.pidfd_send_signal(os.pidfd_open(t.sibling), signal.SIGURG)


@attack("signals")
def signal_a_group(t): os.killpg(os.getpgid(t.sibling), signal.SIGURG)


@attack("process list")
def slow_the_sibling(t): os.setpriority(os.PRIO_PROCESS, t.sibling, 1)


@attack("tcp")
def connect_by_tcp(t): socket.create_connection(("127.0.0.1", t.tcp)).close()


@attack("tcp")
def connect_by_fast_open(t):
    with socket.socket() as s:
        s.sendto(b"x", socket.MSG_FASTOPEN, ("127.0.0.1", t.tcp))


@attack("tcp")
def listen_by_tcp(t):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        socket.create_connection(s.getsockname()).close()


@attack("udp")
def send_by_udp(t): socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", t.udp))


@attack("udp")
def ask_for_a_name(t):
    """A question to a name server is a UDP packet; the sibling stands for the server."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(("127.0.0.1", t.udp))
        s.send(bytes.fromhex("00010100000100000000000007") + b"secrets\x07example\x00\x00\x01\x00\x01")


@attack("unix sockets")
def connect_to_a_path(t): socket.socket(socket.AF_UNIX).connect(str(t.other / "stream"))


@attack("abstract sockets")
def connect_to_an_abstract_socket(t): socket.socket(socket.AF_UNIX).connect(f"\0{t.other}")


@attack("unix sockets")
def send_from_a_pair(t): socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b"x", str(t.other / "datagram"))


@attack("process list")
def limit_the_sibling(t): resource.prlimit(t.sibling, resource.RLIMIT_NOFILE, resource.prlimit(t.sibling, resource.RLIMIT_NOFILE))


@attack("kernel calls", perhaps=True)
def watch_a_folder(t): checked(libc.inotify_add_watch(checked(libc.inotify_init()), bytes(t.other), 0x100))


@attack("setuid files")
def leave_a_setuid_program(t):
    shutil.copyfile("/bin/true", t.run / "program")
    os.chmod(t.run / "program", 0o4755)


@attack("setuid files")
def create_a_setuid_program(t): os.close(os.open(t.run / f"program{time.monotonic_ns()}", os.O_CREAT | os.O_WRONLY, 0o4755))


@attack("other sockets")
def open_netlink(t): socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)


@attack("other sockets", root=True)
def open_a_raw_socket(t): socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)


@attack("other sockets", root=True)
def open_a_packet_socket(t): socket.socket(socket.AF_PACKET, socket.SOCK_RAW)


@attack("other sockets", perhaps=True)
def open_a_crypto_socket(t): socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)


@attack("other sockets", perhaps=True)
def open_a_multipath_socket(t): socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)


@attack("other sockets", perhaps=True)
def open_a_vm_socket(t): socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)


@attack("kernel calls", perhaps=True)
def set_up_io_uring(t): os.close(call("io_uring_setup", 1, bytes(120)))


@attack("shared memory")
def read_shared_memory(t): assert Path(t.shared).read_bytes() == SECRET


@attack("shared memory")
def attach_system_v_memory(t): checked(libc.shmget(0x7E57, 0, 0))


@attack("shared memory")
def open_a_message_queue(t): checked(libc.mq_open(b"/sandbox-test", os.O_RDWR))


@attack("terminals")
def open_the_siblings_terminal(t): os.close(os.open(t.terminal, os.O_RDWR | os.O_NOCTTY))


@attack("kernel calls", perhaps=True, alone=True)
def make_a_user_namespace(t): call("unshare", sandbox.NEW_USER)


@attack("kernel calls", root=True, alone=True)
def mount_something(t):
    call("unshare", sandbox.NEW_MOUNTS)
    call("mount", b"x", bytes(t.run), b"tmpfs", 0, None)


@attack("kernel calls", root=True, alone=True)
def change_root(t): os.chroot(t.run)


@attack("kernel calls", perhaps=True)
def store_a_kernel_key(t): call("add_key", b"user\0", b"sandbox-test\0", b"x", 1, -2)


@attack("kernel calls", root=True)
def trace_the_kernel(t): call("bpf", 0, struct.pack("IIII", 2, 4, 4, 1) + bytes(56), 72)


@attack("kernel calls", alone=True)
def let_go_of_the_supervisor(t): call("prctl", 1, 0, 0, 0, 0)


@attack("capabilities", root=True)
def take_powers_back(t):
    call("capset", struct.pack("=Ii", 0x20080522, 0), struct.pack("=IIIIII", 1, 1, 0, 0, 0, 0))


def outcomes(t: Targets) -> dict[str, str]:
    """What came of each attack."""
    def one(function):
        try:
            function(t)
        except OSError as error:
            return errno.errorcode.get(error.errno, str(error))
        return "done"
    return {name: in_child(lambda f=function: one(f)) if name in ALONE else one(function) for name, (_, function) in ATTACKS.items()}


# ---- kernels: this one, and ones that offer less ----
def refusing(*names):
    def answer(name, *arguments):
        if name in names:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM), name)
        return call(name, *arguments)
    return answer


def old_landlock(abi):
    def patch(patch):
        no_namespaces(patch)
        patch.setattr(landlock, "landlock_abi", lambda: abi)
    return patch


def no_namespaces(patch): patch.setattr(sandbox, "call", refusing("unshare", "mount"))


def namespaces_only(patch):
    patch.setattr(landlock, "landlock_abi", lambda: 0)
    patch.setattr(seccomp, "call", refusing("seccomp"))


def old_proc(patch):
    """Containers hide parts of /proc, and Linux then refuses a fresh one."""
    def mount(source, target, kind, flags, options=""):
        if kind == "proc":
            raise OSError(errno.EPERM, os.strerror(errno.EPERM), "mount")
        real(source, target, kind, flags, options)
    real = sandbox._mount
    patch.setattr(sandbox, "_mount", mount)


KERNELS = {"this": lambda patch: None, "old /proc": old_proc, "no namespaces": no_namespaces, "namespaces only": namespaces_only,
           **{f"Landlock ABI {abi} only": old_landlock(abi) for abi in (1, 3, 4)}}
REFUSED = {"EACCES", "EPERM", "ENOENT", "ESRCH", "EROFS", "EXDEV", "ENOSYS", "ENETUNREACH", "ECONNREFUSED", "EADDRNOTAVAIL", "ENXIO"}


@pytest.fixture(scope="module")
def outside(targets):
    def free():
        become(targets.user)
        return outcomes(targets)
    return in_child(free)


@pytest.fixture(scope="module", params=KERNELS)
def inside(request, targets):
    def state():
        return {p: (p.lstat().st_mode, p.lstat().st_mtime_ns) for p in targets.other.rglob("*")}
    before = state()
    with pytest.MonkeyPatch.context() as patch:
        KERNELS[request.param](patch)
        table, answers = confined(lambda: outcomes(targets), targets.rules(), user=targets.user)
    return request.param, table, answers, state() == before


def test_each_attack_works_outside(targets, outside):
    powerless = {name: "EPERM" for name in FOR_ROOT if targets.user == "nobody" or not ROOT}
    shown = {name: answer.replace("EACCES", "EPERM") for name, answer in outside.items() if name not in PERHAPS}
    assert shown == {name: powerless.get(name, "done") for name in shown}


def test_each_attack_fails_where_its_right_is_held(inside):
    kernel, table, answers, _ = inside
    held = {name for name, (right, _) in ATTACKS.items() if not table[right].startswith("not enforced")}
    assert {name: answer for name, answer in answers.items() if name in held and answer not in REFUSED} == {}
    assert kernel != "this" or held == set(ATTACKS)


def test_this_kernel_holds_every_right_and_nothing_changed(inside, targets):
    kernel, table, _, unchanged = inside
    lost = {right for right, held in table.items() if held.startswith("not enforced")} - {"memory", "cpu", "file size"}
    expected = {"this": set(), "no namespaces": {"attributes", "process list"},
                "old /proc": {"process list"},
                "namespaces only": {"read", "unix sockets", "other sockets", "ptrace", "kernel calls", "setuid files"},
                "Landlock ABI 4 only": {"attributes", "process list", "signals"},
                "Landlock ABI 3 only": {"attributes", "process list", "signals"},
                "Landlock ABI 1 only": {"attributes", "process list", "signals", "truncate"}}
    assert lost == expected[kernel]
    assert unchanged or kernel != "this"


def test_every_right_that_can_be_attacked_is():
    assert set(sandbox.RIGHTS) - {right for right, _ in ATTACKS.values()} == {"processes", "supervisor", "memory", "cpu", "file size"}


# ---- what it may do, it can do ----
def everyday_work() -> dict:
    """What reports do all day, each with its answer; its source runs by itself."""
    import asyncio
    import datetime as dt
    import multiprocessing
    import os
    import ssl
    import subprocess
    import tempfile
    from multiprocessing.shared_memory import SharedMemory
    from pathlib import Path
    from zoneinfo import ZoneInfo

    import duckdb
    import matplotlib
    import pandas as pd
    from joblib import Parallel, delayed
    from sklearn.cluster import KMeans
    matplotlib.use("agg")
    from matplotlib import pyplot
    found = {}
    with duckdb.connect("lake.db") as c:
        c.execute("SET threads = 4")
        c.execute("CREATE TABLE t AS SELECT range AS i FROM range(1000000)")
        found["duckdb"] = c.execute("SELECT sum(i) FROM t").fetchone()[0]
    found["KMeans"] = len(KMeans(2, n_init=1, random_state=0).fit(pd.DataFrame({"x": [0.0, 0.1, 5.0]})).cluster_centers_)
    found["joblib"] = Parallel(n_jobs=2)(delayed(pow)(i, 2) for i in range(3))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found["pool"] = pool.map(abs, [-1, -2])
    memory = SharedMemory(create=True, size=10)
    memory.close()
    memory.unlink()
    found["ls"] = "lake.db" in subprocess.run(["ls"], capture_output=True, text=True, check=True).stdout

    async def talk():
        process = await asyncio.create_subprocess_exec("echo", "hello", stdout=subprocess.PIPE)
        return (await process.communicate())[0].decode(), await asyncio.to_thread(abs, -3)
    found["asyncio"] = asyncio.run(talk())
    with tempfile.NamedTemporaryFile("w") as file:
        found["tempfile"] = file.name.startswith(os.getcwd())
    found["zone"] = dt.datetime(2024, 6, 1, tzinfo=ZoneInfo("Europe/Paris")).utcoffset().seconds
    pyplot.plot([1, 2])
    pyplot.savefig("picture.png")
    found["picture"] = Path("picture.png").stat().st_size > 0
    found["certificates"] = ssl.create_default_context().verify_mode == ssl.CERT_REQUIRED
    _, slave = os.openpty()
    found["terminal"] = os.ttyname(slave).startswith("/dev/pts/")
    return found


def test_everyday_work_goes_on(targets):
    # in an interpreter of its own: what other tests started here (OpenMP, joblib's pool) would hang in a fork of it,
    # and coverage's handler can miss the signal that ends a pool's worker
    program = f"{inspect.getsource(everyday_work)}\nimport json\nprint(json.dumps(everyday_work()))"
    own = dict.fromkeys(("HOME", "TMPDIR", "MPLCONFIGDIR", "JOBLIB_TEMP_FOLDER"), str(targets.run))

    def use():
        done = subprocess.run([sys.executable, "-c", program], cwd=targets.run, env={"PATH": os.environ["PATH"], **own},
                              capture_output=True, text=True, timeout=120)
        return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else done.stderr
    _, found = confined(use, targets.rules(memory=3 << 30, cpu=100, written=1 << 30), user=targets.user)
    assert found == {"duckdb": 499999500000, "KMeans": 2, "joblib": [0, 1, 4], "pool": [1, 2], "ls": True, "asyncio": ["hello\n", 3],
                     "tempfile": True, "zone": 7200, "picture": True, "certificates": True, "terminal": True}


@pytest.mark.parametrize("kernel", ["this", "no namespaces", "Landlock ABI 1 only"])
def test_a_readable_folder_is_read_and_nothing_else(targets, kernel, monkeypatch):
    KERNELS[kernel](monkeypatch)

    def use():
        os.chdir(targets.run)
        (targets.run / "copy").write_bytes((targets.other / "secret").read_bytes())
        tried = []
        for attempt in (lambda: (targets.other / "secret").write_bytes(SECRET), lambda: os.link(targets.other / "secret", "mine"),
                        lambda: os.rename(targets.other / "secret", "mine"), lambda: os.symlink("secret", targets.other / "soft")):
            with pytest.raises(OSError) as error:
                attempt()
            tried.append(error.value.errno in (errno.EACCES, errno.EROFS, errno.EXDEV))
        return (targets.run / "copy").read_bytes().decode(), tried
    _, found = confined(use, targets.rules(read=(targets.other, Path("/not/there"))), user=targets.user)
    assert found == [SECRET.decode(), [True] * 4]


def test_the_run_folder_can_be_used_fully(targets):
    def use():
        os.chdir(targets.run)
        Path("a/b").mkdir(parents=True)
        Path("a/file").write_text("long text")
        os.truncate("a/file", 4)
        os.rename("a/file", "a/b/moved")
        os.link("a/b/moved", "linked")
        os.symlink("linked", "soft")
        os.chmod("linked", 0o640)
        os.utime("linked", (0, 0))
        os.mkfifo("fifo")
        shutil.rmtree("a")
        return Path("soft").read_text(), Path("linked").stat().st_mtime
    assert confined(use, targets.rules(), user=targets.user)[1] == ["long", 0]


def test_its_working_folder_and_its_log_stay_writable(targets):
    """Entered and opened before `confine`, which puts a mount over the folder."""
    def child(own):
        settle(own)
        os.chdir(targets.run)
        with open("log", "a") as log:
            confine(targets.rules())
            Path("relative").write_text("x")
            log.write("x")
        return Path("log").read_text(), os.listdir(".") == os.listdir(targets.run)

    def supervisor():
        become(targets.user)
        own = separate()
        return in_child(lambda: child(own))
    (targets.run / "log").unlink(missing_ok=True)
    assert in_child(supervisor) == ["x", True]


def test_what_it_executes_is_confined_too(targets):
    def use():
        def run(*words):
            return subprocess.run(words, capture_output=True, text=True)
        shutil.copy("/bin/true", targets.run / "own")
        with pytest.raises(PermissionError):
            run(targets.run / "own")
        status = dict(line.split(":\t") for line in run("cat", "/proc/self/status").stdout.splitlines() if ":\t" in line)
        connect = f"import socket; socket.create_connection(('127.0.0.1', {targets.tcp}))"
        return (run("cat", str(targets.other / "secret")).stderr, run(sys.executable, "-S", "-c", connect).stderr.splitlines()[-1],
                {k: int(status[k], 16) for k in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")})
    _, (cat, python, status) = confined(use, targets.rules(), user=targets.user)
    assert "Permission denied" in cat and "Permission" in python
    bounding = status.pop("CapBnd")
    assert bounding == 0 or not ROOT or targets.user == "nobody"
    assert status == {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapAmb": 0, "NoNewPrivs": 1, "Seccomp": 2}


def test_threads_from_before_are_covered(targets):
    answers, go = [], threading.Event()

    def later():
        go.wait(20)
        try:
            answers.append(socket.socket() and "open")
        except OSError as error:
            answers.append(errno.errorcode[error.errno])

    def start():
        thread = threading.Thread(target=later)
        thread.start()
        return thread

    def use(thread):
        go.set()
        thread.join()
        return answers
    assert confined(use, targets.rules(), user=targets.user, before=start)[1] == ["EACCES"]


def test_a_socket_bound_before_still_answers(targets):
    import zmq
    address = f"ipc://{targets.run}/kernel"
    hear, say = os.pipe()
    client = os.fork()
    if client == 0:
        try:
            become(targets.user)
            with zmq.Context() as context, context.socket(zmq.REQ) as asker:
                asker.connect(address)
                asker.send(b"question")
                os.write(say, asker.recv() if asker.poll(20_000) else b"nothing")
        finally:
            os._exit(0)

    def bind():
        server = zmq.Context().socket(zmq.REP)
        server.bind(address)
        return server

    def use(server):
        asked = server.recv()
        server.send(b"answer")
        time.sleep(0.2)
        return asked.decode()
    assert confined(use, targets.rules(), user=targets.user, before=bind)[1] == "question"
    os.close(say)
    assert os.read(hear, 100) == b"answer"
    os.waitpid(client, 0)


# ---- declared sockets ----
def tried(*attempts) -> list[str]:
    answers = []
    for attempt in attempts:
        try:
            attempt()
            answers.append("open")
        except OSError as error:
            answers.append(errno.errorcode[error.errno])
    return answers


@pytest.mark.parametrize("declared, expected", [
    ((), ["EACCES"] * 5), (("udp",), ["EACCES", "EACCES", "EACCES", "open", "EACCES"]), (("tcp",), ["open", "open", "open", "EACCES", "EACCES"]),
    (("tcp:PORT",), ["open", "EACCES", "EACCES", "EACCES", "EACCES"]), (("unix",), ["EACCES", "EACCES", "EACCES", "EACCES", "open"])])
def test_declared_sockets_open_and_no_others(targets, declared, expected):
    declared = tuple(d.replace("PORT", str(targets.tcp)) for d in declared)

    def use():
        def other_port():
            with socket.socket() as server:   # a second server of another tenant's, in effect: a port that is not declared
                server.connect(("127.0.0.1", targets.tcp + 1 if targets.tcp < 65535 else 1))
        found = tried(lambda: connect_by_tcp(targets), lambda: ignoring(ConnectionRefusedError, other_port), lambda: listen_by_tcp(targets),
                      lambda: send_by_udp(targets), lambda: connect_to_a_path(targets))
        never = tried(lambda: connect_to_an_abstract_socket(targets), lambda: open_netlink(targets), lambda: connect_by_fast_open(targets),
                      lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262), lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1))
        return found, never
    table, (found, never) = confined(use, targets.rules(sockets=declared), user=targets.user)
    assert found == expected
    assert set(never) <= REFUSED
    for right in ("tcp", "udp", "unix sockets"):
        if right.split()[0] in declared:
            assert table[right].startswith("not enforced: the report declares")
        else:
            assert not table[right].startswith("not enforced")
    check_enforced(table, ["abstract sockets", "other sockets"])


def ignoring(error, function):
    try:
        return function()
    except error:
        return None


# ---- processes end ----
def end_of(pipe: int, seconds: float = 10) -> bool:
    """True when all who could write into the pipe have ended."""
    return bool(select.select([pipe], [], [], seconds)[0]) and os.read(pipe, 1) == b""


@pytest.mark.parametrize("kernel", ["this", "no namespaces"])
@pytest.mark.parametrize("user", USERS)
def test_nothing_outlives_the_child(user, kernel, monkeypatch):
    def supervisor():
        become(user)
        KERNELS[kernel](monkeypatch)
        own = separate()
        alive, held = os.pipe()
        ready, started = os.pipe()

        def child():
            settle(own)
            os.close(alive)
            if os.fork() == 0:
                os.setsid()
                for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                    signal.signal(number, signal.SIG_IGN)
                if os.fork() == 0:
                    os.write(started, b"x")
                    time.sleep(30)
                    os.write(held, b"it ended by itself")
                os._exit(0)
            os.wait()
            return os.read(ready, 1).decode()
        answer = in_child(child)
        os.close(held)
        before = end_of(alive, 0.2)
        count = sandbox.end_descendants()
        return own["processes"], answer, before, count, end_of(alive)
    how, answer, before, count, after = in_child(supervisor)
    assert (answer, after) == ("x", True)
    assert (how, before, count) == (("PID namespace", True, 0) if kernel == "this" else ("child subreaper, while the supervisor lives", False, 1))


@pytest.mark.parametrize("kernel", ["this", "no namespaces"])
@pytest.mark.parametrize("user", USERS)
def test_killing_the_supervisor_kills_the_child(user, kernel, monkeypatch, tmp_path):
    KERNELS[kernel](monkeypatch)
    alive, held = os.pipe()
    ready, started = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            become(user)
            own = separate()

            def child():
                settle(own)
                confine(Rules((), ()))
                refuse_sockets()
                os.write(started, b"x")
                time.sleep(60)
            in_child(child)
        finally:
            os._exit(0)
    os.close(held)
    assert os.read(ready, 1) == b"x"
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert end_of(alive)


def test_an_orphan_ends_itself():
    with pytest.raises(TenantLabError, match="ended with status 1"):
        in_child(lambda: sandbox.die_with_parent(parent=1 << 22))
    me = os.getpid()
    assert in_child(lambda: sandbox.die_with_parent(parent=me)) == {"supervisor": "parent death signal"}


# ---- limits ----
def test_limits_of_memory_and_files(targets):
    def use():
        found = [pytest.raises(MemoryError, bytearray, 400 << 20).type.__name__]
        same = f"import resource; print(resource.getrlimit(resource.RLIMIT_AS) == {resource.getrlimit(resource.RLIMIT_AS)})"
        found.append(subprocess.run([sys.executable, "-c", same], capture_output=True, text=True).stdout)
        file = targets.run / "long"
        with pytest.raises(OSError) as error, file.open("wb") as out:
            out.write(bytes(2 << 20))
        found += [errno.errorcode[error.value.errno], file.stat().st_size]
        for kind, more in ((resource.RLIMIT_AS, 2 << 30), (resource.RLIMIT_FSIZE, 1 << 30), (resource.RLIMIT_CORE, 1 << 20)):
            with pytest.raises((ValueError, OSError)):
                resource.setrlimit(kind, (more << 10, more << 10))
        return found
    table, found = confined(use, targets.rules(memory=200 << 20, written=1 << 20), user=targets.user)
    assert found == ["MemoryError", "True\n", "EFBIG", 1 << 20]
    assert (table["memory"], table["file size"], table["cpu"]) == ("RLIMIT_AS", "RLIMIT_FSIZE", "not enforced: no limit was set")


def test_limit_of_processor_time_interrupts_then_kills(monkeypatch):
    """Also as the first process of a namespace, which would ignore the signal itself."""
    monkeypatch.setattr(sandbox, "GRACE", 1)
    hear, say = os.pipe()

    def use():
        while True:
            try:
                while True:
                    sum(range(10_000))
            except KeyboardInterrupt as error:
                os.write(say, str(error).encode())
    with pytest.raises(TenantLabError, match="status -9"):
        confined(use, Rules((), (), cpu=1))
    assert os.read(hear, 1000).startswith(b"the limit of 1 s of processor time is reached")


# ---- nothing leaks to the outside ----
def test_the_machine_and_the_supervisor_keep_their_mounts(targets):
    def mounts():
        return Path("/proc/self/mountinfo").read_text()

    def supervisor():
        mine, own = mounts(), separate()

        def child():
            settle(own)
            confine(targets.rules())
            Path("/dev/shm/inside").write_text("x")
            return mounts()
        inside = in_child(child)
        return mine == mounts(), inside != mine, os.path.exists("/dev/shm/inside")
    before = mounts()
    assert in_child(supervisor) == [True, True, False]
    assert mounts() == before


def test_offers_are_found_without_giving_anything_up():
    before = Path("/proc/self/status").read_text().split("CapInh")[1].split("Cpus_allowed")[0]
    offers = kernel_offers()
    assert list(offers) == list(sandbox.RIGHTS)
    check_enforced(offers, sandbox.RIGHTS)
    assert Path("/proc/self/status").read_text().split("CapInh")[1].split("Cpus_allowed")[0] == before
    socket.socket().close()


def test_a_container_without_cap_sys_admin_uses_a_user_namespace(targets):
    def supervisor():
        if ROOT:
            call("prctl", 24, 21, 0, 0, 0)
            keep = ~(1 << 21) & 0xFFFFFFFFFF
            caps = int(next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("CapPrm")).split()[1], 16) & keep
            low, high = caps & 0xFFFFFFFF, caps >> 32
            call("capset", struct.pack("=Ii", 0x20080522, 0), struct.pack("=IIIIII", low, low, 0, high, high, 0))
        table, answers = confined(lambda: outcomes(targets), targets.rules())
        return table, answers
    table, answers = in_child(supervisor)
    assert table["processes"] == "PID namespace" and table["process list"] == "private /proc"
    assert {name: answer for name, answer in answers.items() if answer not in REFUSED} == {}


# ---- kernels that offer less, in words ----
def test_half_a_user_namespace_is_not_entered(monkeypatch):
    """Where the map of users cannot be written (AppArmor), a process in a new user namespace would be nobody."""
    def some(name, *arguments):
        if name == "unshare" and not arguments[0] & sandbox.NEW_USER:
            raise PermissionError(errno.EPERM, "Operation not permitted", "unshare")
        return call(name, *arguments)

    def refuse(self, text, **more):
        raise PermissionError(errno.EPERM, "Operation not permitted", str(self))
    monkeypatch.setattr(sandbox, "call", some)
    monkeypatch.setattr(Path, "write_text", refuse)
    user = os.readlink("/proc/self/ns/user")
    found, after = in_child(lambda: (separate(), os.readlink("/proc/self/ns/user")))
    assert "no PID namespace" in found["signals"] and "setgroups" in found["signals"]
    assert after == user


def test_a_container_that_only_pretends_is_found_out(monkeypatch):
    """Mounting over /proc of the whole machine is the worst that could happen here."""
    calls = []
    monkeypatch.setattr(sandbox, "call", lambda name, *arguments: calls.append(name) or 0)
    found = in_child(lambda: [settle({"processes": "PID namespace"}), sandbox.freeze_mounts([]), sandbox.leave_network(), calls])
    *tables, calls = found
    table = together(*tables)
    assert "mount" not in calls and "mount_setattr" not in calls and calls.count("unshare") == 3
    assert {table[right] for right in ("process list", "shared memory", "terminals", "attributes", "tcp")} == {
        "not enforced: unshare: no new namespace was made"}


def test_a_machine_without_numbers_raises_nothing(monkeypatch):
    monkeypatch.setattr(seccomp, "machine", lambda: "")
    table = kernel_offers()
    assert list(table) == list(sandbox.RIGHTS)
    assert {right for right, held in table.items() if not held.startswith("not enforced")} == {"memory", "cpu", "file size"}


def test_elsewhere_nothing_is_enforced_and_nothing_raises(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    own = separate()
    found = together(own, settle(own), confine(Rules((), ())), refuse_sockets())
    sandbox.die_with_parent()
    offers = kernel_offers()
    monkeypatch.undo()
    assert list(found) == list(offers) == list(sandbox.RIGHTS)
    assert all(held.startswith("not enforced: ") and "darwin" in held for held in (*found.values(), *offers.values()))


def test_it_is_imported_where_there_are_no_limits():
    code = "import sys; sys.modules['resource'] = sys.modules['fcntl'] = None; import tenant_lab.core.sandbox as s; print(len(s.RIGHTS))"
    assert int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout) == len(sandbox.RIGHTS)


def test_each_step_comes_when_it_still_can(monkeypatch, tmp_path):
    """Mounting needs the capabilities; Landlock refuses mounting; both need no_new_privs or privileges."""
    calls, limits = [], []
    monkeypatch.setattr(sandbox, "call", lambda name, *arguments: calls.append((name, arguments)) or 0)
    monkeypatch.setattr(landlock, "call", lambda name, *arguments: calls.append((name, arguments)) or os.open("/dev/null", os.O_RDONLY))
    monkeypatch.setattr(landlock, "landlock_abi", lambda: 7)
    monkeypatch.setattr(seccomp, "call", lambda name, *arguments: calls.append((name, arguments)) or 0)
    monkeypatch.setattr(sandbox, "_is_private", lambda path: True)
    monkeypatch.setattr(sandbox, "_leave", lambda name, kinds: calls.append(("unshare", (name, kinds))))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limit: limits.append(kind))
    monkeypatch.setattr(signal, "signal", lambda *a: None)
    monkeypatch.setattr(os, "setsid", lambda: None)
    monkeypatch.setattr(os, "chdir", lambda p: None)
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: ["1"] if path == "/proc/self/task" else listdir(path))
    monkeypatch.setattr(sandbox, "_supervisor", 0)
    table = together(settle({"processes": "PID namespace"}),
                     confine(Rules((), (tmp_path,), ("tcp:443",), memory=1 << 30, cpu=5, written=1)), refuse_sockets(("tcp:443",)))
    names = [name for name, _ in calls]
    assert names.index("unshare") < names.index("mount") < names.index("mount_setattr") < names.index("capset")
    assert names.index("capset") < names.index("landlock_restrict_self") < names.index("seccomp")
    assert ("prctl", (38, 1, 0, 0, 0)) in calls[:names.index("landlock_restrict_self")]
    assert {resource.RLIMIT_CORE, resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE} == set(limits)
    assert table["tcp"] == "Landlock ABI 7 (declared: tcp:443)"


# ---- arguments ----
def test_rules_refuse_what_makes_no_sense(tmp_path):
    for wrong in ({"read": tmp_path}, {"read": "/srv"}, {"memory": -1}, {"cpu": 1.5}, {"written": True}, {"sockets": "tcp"},
                  {"sockets": ("tcp:0",)}, {"sockets": ("tcp:65536",)}, {"sockets": ("tcp:",)}, {"sockets": ("TCP",)}, {"sockets": (443,)},
                  {"sockets": ("udp:53",)}, {"sockets": ("tcp:٤",)}):
        with pytest.raises(ParameterError):
            Rules(**({"read": (), "write": ()} | wrong))
    assert Rules((), (), ["tcp:1", "tcp:65535", "udp", "unix"]).sockets == ("tcp:1", "tcp:65535", "udp", "unix")


def test_closed_folders_stay_closed(tmp_path):
    home = tmp_path / "lab"
    (home / "run").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path)
    assert Rules((), (home / "run",), closed=(home,)).write == (home / "run",)
    for way in ("read", "write"):
        for path in (home, tmp_path, tmp_path / "link", home / "run" / ".."):
            with pytest.raises(ParameterError, match="must stay closed"):
                Rules(**({"read": (), "write": ()} | {way: (path,)}), closed=(home,))
    package = Path(sandbox.__file__).parents[1]
    assert any(package.is_relative_to(p) for p in sandbox.system_paths())
    assert package in sandbox.system_paths(closed=[package.parent / "key"])   # the checkout is left out, the package stays


def test_system_paths_are_those_of_the_system_and_of_python(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}relative")
    monkeypatch.syspath_prepend(tmp_path.parent / "script")
    paths = sandbox.system_paths()
    assert tmp_path in paths and tmp_path.parent / "script" not in paths
    for path in ("/", "/etc", "/etc/shadow", "/home", "/root", "/tmp", "/var", "/dev", "/run", Path.home(), Path.cwd() / "relative"):
        assert Path(path) not in paths
    for needed in (os.__file__, pytest.__file__, "/usr/lib", "/proc/self", sandbox.__file__):
        assert any(Path(needed).resolve().is_relative_to(p) or Path(needed).is_relative_to(p) for p in paths)


def test_one_thread_only():
    def threaded():
        threading.Thread(target=time.sleep, args=(20,), daemon=True).start()
        confine(Rules((), ()))
    with pytest.raises(TenantLabError, match="2 threads"):
        in_child(threaded)


def test_demanded_rights():
    found = {"read": "Landlock ABI 7", "udp": "not enforced: the report declares udp"}
    check_enforced(found, ["read"])
    check_enforced(found, [])
    for right, why in (("udp", "the report declares udp"), ("tcp", "nothing was tried")):
        with pytest.raises(TenantAccessError, match=why):
            check_enforced(found, ["read", right])
    with pytest.raises(ParameterError, match="allowed are read, write"):
        check_enforced(found, ["everything"])


def test_tables_come_together():
    no, maybe = "not enforced: no PID namespace", "not enforced: needs Landlock ABI 6, this kernel has 4"
    assert together({"signals": no, "read": "a"}, {"signals": maybe, "read": "b"}, {"read": "a"}) == {
        "read": "a, b", "signals": "not enforced: no PID namespace; needs Landlock ABI 6, this kernel has 4"}
    assert together({"signals": no}, {"signals": "Landlock ABI 7"}) == {"signals": "Landlock ABI 7"}


def test_a_child_says_what_went_wrong():
    with pytest.raises(TenantLabError, match="ValueError: bad"):
        in_child(lambda: int("bad") if False else (_ for _ in ()).throw(ValueError("bad")))
    with pytest.raises(TenantLabError, match="TypeError"):
        in_child(lambda: object())
    with pytest.raises(TenantLabError, match="status 3"):
        in_child(lambda: os._exit(3))
    assert in_child(lambda: "x" * 1_000_000) == "x" * 1_000_000


def test_ctrl_c_ends_the_child_too(tmp_path):
    def child():
        (tmp_path / "pid").write_text(str(os.getpid()))
        while True:   # not at once: Python ignores what is raised in the callbacks of os.fork, which the parent may still be in
            time.sleep(1)
            os.kill(os.getppid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            in_child(child)
    finally:
        signal.signal(signal.SIGUSR1, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
