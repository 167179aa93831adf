"""The filter's program, run by a small machine for both processors, and in force on this one."""
import ctypes
import errno
import mmap
import os
import re
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tenant_lab.core import seccomp
from tenant_lab.core.errors import ParameterError, TenantLabError
from tenant_lab.core.sandbox import in_child
from tenant_lab.core.seccomp import (
    ALLOW,
    AUDIT,
    NEVER,
    NUMBERS,
    call,
    check_sockets,
    number,
    program,
    refuse_sockets,
    refused,
)

MACHINES = list(AUDIT)
INET, INET6, UNIX, NETLINK, PACKET, VSOCK = 2, 10, 1, 16, 17, 40
STREAM, DATAGRAM, RAW, SEQPACKET, FLAGS = 1, 2, 3, 5, 0o2004000   # SOCK_CLOEXEC and SOCK_NONBLOCK


def answer(name, *arguments, sockets=(), on="x86_64", arch=None, nr=None):
    """What the program says; the semantics are those of the kernel's Documentation/networking/filter.rst."""
    nr = number(name, on) if nr is None else nr
    words = struct.unpack("<16I", struct.pack("<IIQ6Q", nr, arch or AUDIT[on], 0, *[*arguments, *[0] * 6][:6]))
    steps, at, register = program(sockets, on), 0, 0
    while True:
        op, yes, no, k = steps[at]
        at += 1
        if op == 0x06:
            return "allow" if k == ALLOW else errno.errorcode[k & 0xFFFF] if k >> 16 == 5 else hex(k)
        if op == 0x20:
            register = words[k // 4]
        elif op == 0x54:
            register &= k
        else:
            at += yes if {0x15: register == k, 0x35: register >= k, 0x45: register & k}[op] else no


@pytest.mark.parametrize("on", MACHINES)
def test_sockets_by_declaration(on):
    wanted = {"tcp": [(INET, STREAM, 0), (INET6, STREAM, 6), (INET, STREAM | FLAGS, 0)],
              "udp": [(INET, DATAGRAM, 0), (INET6, DATAGRAM, 17), (INET, DATAGRAM | FLAGS, 0)],
              "unix": [(UNIX, STREAM, 0), (UNIX, DATAGRAM, 0), (UNIX, SEQPACKET | FLAGS, 0)]}
    never = [(INET, RAW, 1), (INET, STREAM, 132), (INET, STREAM, 262), (INET, DATAGRAM, 1), (INET, DATAGRAM, 136), (INET6, RAW, 58),
             (NETLINK, RAW, 0), (PACKET, RAW, 3), (VSOCK, STREAM, 0), (0, STREAM, 0), (38, SEQPACKET, 0), (INET, SEQPACKET, 132)]
    for declared in ((), ("tcp",), ("tcp:443",), ("udp",), ("unix",), ("tcp", "udp", "unix")):
        kinds = {d.split(":")[0] for d in declared}
        for kind, calls in wanted.items():
            assert {answer("socket", *c, sockets=declared, on=on) for c in calls} == {"allow" if kind in kinds else "EACCES"}
        assert {answer("socket", *c, sockets=declared, on=on) for c in never} == {"EACCES"}
        assert answer("listen", 3, 5, sockets=declared, on=on) == ("allow" if kinds & {"unix"} or "tcp" in declared else "EACCES")
        pairs = [answer("socketpair", UNIX, kind, sockets=declared, on=on) for kind in (STREAM | FLAGS, SEQPACKET, DATAGRAM, RAW)]
        assert pairs == ["allow", "allow", *["allow" if "unix" in kinds else "EACCES"] * 2]
        assert answer("socketpair", 30, STREAM, sockets=declared, on=on) == "EACCES"   # AF_TIPC


@pytest.mark.parametrize("on", MACHINES)
def test_what_the_kernel_cuts_off_does_not_help(on):
    """An `int` argument has 32 bits for the kernel, whatever stands above them in the register."""
    high = 0xDEAD << 32
    assert answer("socket", high | NETLINK, high | RAW, high, sockets=["tcp", "udp"], on=on) == "EACCES"
    assert answer("socket", high | INET, high | STREAM, high, sockets=["tcp"], on=on) == "allow"
    assert answer("prctl", high | 1, on=on) == "EPERM"


@pytest.mark.parametrize("on", MACHINES)
def test_calls_for_nobody(on):
    everything = ("tcp", "udp", "unix")
    for name in NEVER:
        if number(name, on) >= 0:
            assert answer(name, sockets=everything, on=on) == "EPERM"
    assert answer("clone", 0x10000000 | 17, on=on) == "EPERM"                 # a user namespace
    assert answer("clone", 0x003D0F00, on=on) == "allow"                      # pthread_create
    assert answer("clone", 17, on=on) == "allow"                              # fork
    assert {answer(n, on=on) for n in ("clone3", "openat2")} == {"ENOSYS"}
    assert (answer("prctl", 1, 0, on=on), answer("prctl", 38, 1, on=on), answer("prctl", 15, on=on)) == ("EPERM", "allow", "allow")
    assert (answer("prlimit64", 0, 7, on=on), answer("prlimit64", 77, 7, on=on)) == ("allow", "EPERM")
    fast = socket.MSG_FASTOPEN if hasattr(socket, "MSG_FASTOPEN") else 1 << 29
    for name, place in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
        for flags, expected in ((0x4000, "allow"), (fast | 0x4000, "EACCES")):
            assert answer(name, *[0] * place, flags, sockets=everything, on=on) == expected


@pytest.mark.parametrize("on", MACHINES)
def test_no_set_id_bits(on):
    for name, place in seccomp.MODES.items():
        if number(name, on) < 0:
            continue
        flags = [0] * place
        if name.startswith("open"):
            assert answer(name, *flags, 0o4755, on=on) == "allow"   # without O_CREAT what stands there is no mode
            flags[-1] = os.O_CREAT | os.O_WRONLY
        assert [answer(name, *flags, mode, on=on) for mode in (0o755, 0o1777, 0o4755, 0o2755, 0o6000)] == ["allow"] * 2 + ["EPERM"] * 3


def test_other_machines_calls_are_unknown():
    assert answer("socket", INET, STREAM, sockets=["tcp"], arch=0x40000003) == "ENOSYS"           # i386
    assert answer("socket", INET, STREAM, sockets=["tcp"], nr=0x40000000 | 41) == "ENOSYS"        # x32
    assert answer("socket", INET, STREAM, sockets=["tcp"], on="aarch64", arch=0x40000028) == "ENOSYS"   # arm
    assert answer("socket", nr=0xFFFFFFFF) == "ENOSYS"
    assert (answer("getpid", nr=39), answer("read", nr=0)) == ("allow", "allow")


def test_programs_fit_the_kernel():
    for on in MACHINES:
        steps = program(("tcp", "udp", "unix", "tcp:1"), on)
        assert len(steps) < 4096   # BPF_MAXINSNS
        for at, (op, yes, no, k) in enumerate(steps):
            assert 0 <= yes < 256 and 0 <= no < 256 and 0 <= k < 1 << 32
            assert op == 0x06 or at + 1 + max(yes, no) < len(steps)


def test_numbers_are_the_kernels():
    """Against the headers of this machine, where they are installed."""
    generic = Path("/usr/include/asm-generic/unistd.h")
    own = [p for p in Path("/usr/include").glob("*/asm/unistd_64.h") if "x86_64" in p.parts[3]]
    for place, path in enumerate([*own[:1], generic]) if own and generic.exists() else ():
        text = path.read_text()
        for name, numbers in NUMBERS.items():
            if found := re.search(rf"#define __NR(?:3264)?_{name}\s+(\d+)\b", text):
                assert int(found[1]) == numbers[place], name
            else:
                assert numbers[place] == -1 or numbers[place] > 440, name   # newer than the headers
    assert all(len(n) == 2 for n in NUMBERS.values())
    for column in range(2):
        known = [n[column] for n in NUMBERS.values() if n[column] >= 0]
        assert len(known) == len(set(known))


@pytest.mark.skipif(seccomp.machine() != "x86_64", reason="machine code of x86-64")
def test_odd_ways_into_the_kernel_are_closed():
    def run(code: bytes) -> int:
        memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        memory.write(code)
        return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(memory)))()

    def attempt(code, confined):
        def attempted():
            if confined:
                refuse_sockets()
            return run(code)
        try:
            return in_child(attempted)
        except TenantLabError as error:   # no i386 in this kernel
            return str(error)
    pid32 = b"\xb8\x14\0\0\0\xcd\x80\xc3"            # mov eax, 20 (getpid of i386); int 0x80; ret
    pid_x32 = b"\xb8\x27\0\0\x40\x0f\x05\xc3"        # mov eax, 0x40000027 (getpid of x32); syscall; ret
    assert attempt(pid32, False) not in (-errno.ENOSYS, 0)
    assert attempt(pid32, True) == -errno.ENOSYS or "status -11" in str(attempt(pid32, True))
    assert attempt(pid_x32, True) == -errno.ENOSYS


def test_a_socket_is_refused_and_an_open_one_goes_on():
    mine, theirs = socket.socketpair()

    def attempt():
        found = refuse_sockets()
        assert refuse_sockets() == found   # twice does no harm
        with pytest.raises(PermissionError):
            socket.socket()
        mine.sendall(b"still here")
        return found
    found = in_child(attempt)
    assert theirs.recv(100) == b"still here"
    assert set(found.values()) == {"seccomp"}


def test_a_kernel_without_filters_is_reported(monkeypatch):
    def refuse(name, *arguments):
        raise OSError(errno.EINVAL, "Invalid argument", name)
    monkeypatch.setattr(seccomp, "call", refuse)
    assert set(refuse_sockets().values()) == {"not enforced: prctl: Invalid argument"}
    monkeypatch.setattr(seccomp, "call", lambda name, *arguments: 7 * (name == "seccomp"))
    assert set(refuse_sockets(["udp"]).values()) == {"not enforced: seccomp: thread 7 has a filter of its own"}
    monkeypatch.setattr(seccomp, "call", lambda name, *arguments: 0)
    assert {k for k, v in refuse_sockets(["udp", "tcp:1", "unix"]).items() if v != "seccomp"} == {
        "udp", "tcp", "unix sockets", "abstract sockets"}


def test_an_unknown_machine_is_reported(monkeypatch):
    monkeypatch.setattr(seccomp, "machine", lambda: "")
    with pytest.raises(OSError, match="not implemented"):
        call("prctl", 38, 1, 0, 0, 0)
    with pytest.raises(OSError, match="no filter for"):
        program()
    assert all("no filter for" in held for held in refuse_sockets().values())


def test_errors_name_the_call():
    with pytest.raises(OSError, match="'prctl'") as error:
        call("prctl", 9999, 0, 0, 0, 0)
    assert refused(error.value) == "not enforced: prctl: Invalid argument"
    with pytest.raises(KeyError):
        call("no_such_call")
    for wrong in ("tcp", ["sctp"], ["tcp:"], [None], ["tcp:1:2"], ["tcp:000001"]):
        with pytest.raises(ParameterError, match="socket"):
            check_sockets(wrong)


def test_it_is_imported_anywhere():
    code = "import sys, os; sys.platform = 'win32'; del os.uname; import tenant_lab.core.seccomp as s; print(s.refuse_sockets()['udp'])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.stdout.startswith("not enforced"), said.stderr
