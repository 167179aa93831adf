"""What each version of Landlock is asked for, and what is said of it."""
import errno
import os
import stat
from pathlib import Path

import pytest

from tenant_lab.core import landlock
from tenant_lab.core.landlock import (
    DEVICE,
    EXECUTE,
    FILE,
    NEEDS,
    READ,
    WRITE,
    handled,
    landlock_abi,
    landlock_rights,
    restrict,
)
from tenant_lab.core.sandbox import in_child
from tenant_lab.core.seccomp import call


@pytest.mark.parametrize("abi, files, tcp, scopes", [   # linux/landlock.h; Documentation/userspace-api/landlock.rst
    (1, 0x1FFF, 0, 0), (2, 0x3FFF, 0, 0), (3, 0x7FFF, 0, 0), (4, 0x7FFF, 3, 0), (5, 0xFFFF, 3, 0), (6, 0xFFFF, 3, 3), (7, 0xFFFF, 3, 3),
    (99, 0xFFFF, 3, 3)])
def test_what_is_handled_by_version(abi, files, tcp, scopes):
    assert handled(abi) == handled(abi, ["udp", "unix"]) == (files, tcp, scopes)
    assert handled(abi, ["tcp"]) == (files, 0, scopes)
    assert handled(abi, ["tcp:443"]) == (files, tcp, scopes)


def test_bits_are_the_kernels():
    assert READ == 0b1100 and EXECUTE == 1
    assert WRITE == 0b111_0111_1011_0010 & ~(1 << 6 | 1 << 11)
    assert (FILE, DEVICE) == (0b1100_0000_0000_0111, 0b1100_0000_0000_1110)
    for never in (6, 11):   # MAKE_CHAR, MAKE_BLOCK
        assert not (READ | WRITE | EXECUTE | DEVICE) >> never & 1


def test_what_is_said_by_version():
    for abi in range(9):
        for right, held in landlock_rights(abi).items():
            assert held == f"Landlock ABI {abi}" if abi >= NEEDS[right] else held.startswith(f"not enforced: needs Landlock ABI {NEEDS[right]}, ")
    assert "has none" in landlock_rights(0)["read"] and "has 3" in landlock_rights(3)["tcp"]
    assert landlock_rights(7, ["tcp"])["tcp"] == "not enforced: the report declares tcp"
    assert landlock_rights(7, ["tcp:443", "tcp:80"])["tcp"] == "Landlock ABI 7 (declared: tcp:443, tcp:80)"
    assert landlock_rights(3, ["tcp:443"])["tcp"].startswith("not enforced: needs Landlock ABI 4")


def test_without_landlock_nothing_is_asked(monkeypatch):
    def refuse(name, *arguments):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported", name)
    monkeypatch.setattr(landlock, "call", refuse)
    assert landlock_abi() == 0
    assert restrict([("/", READ)]) == landlock_rights(0)


@pytest.mark.parametrize("refusing", ["landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"])
def test_a_kernel_that_changes_its_mind_is_reported(monkeypatch, refusing):
    def answer(name, *arguments):
        if name == refusing:
            raise OSError(errno.EPERM, "Operation not permitted", name)
        return os.open("/dev/null", os.O_RDONLY)
    monkeypatch.setattr(landlock, "call", answer)
    monkeypatch.setattr(landlock, "landlock_abi", lambda: 7)
    assert restrict([("/", READ)]) == dict.fromkeys(NEEDS, f"not enforced: {refusing}: Operation not permitted")


@pytest.mark.skipif(not landlock_abi(), reason="this kernel has no Landlock")
def test_files_and_folders_and_what_is_not_there(tmp_path):
    (tmp_path / "one").write_text("1")
    (tmp_path / "two").write_text("2")
    (tmp_path / "folder").mkdir()

    def attempt():
        call("prctl", 38, 1, 0, 0, 0)
        restrict([(tmp_path / "one", READ | WRITE), (tmp_path / "folder", READ), (tmp_path / "not there", READ), ("/dev/null", DEVICE)])
        (tmp_path / "one").write_text("11")
        open("/dev/null", "w").close()
        refused = []
        for path in (tmp_path / "two", tmp_path):
            with pytest.raises(PermissionError):
                path.read_text() if path.is_file() else os.listdir(path)
            refused.append(path.name)
        with pytest.raises(PermissionError):
            (tmp_path / "folder" / "new").write_text("")
        return refused, (tmp_path / "one").read_text(), os.listdir(tmp_path / "folder")
    assert in_child(attempt) == [["two", tmp_path.name], "11", []]


def test_descriptors_are_not_left_open():
    def attempt():
        before = os.listdir("/proc/self/fd")
        call("prctl", 38, 1, 0, 0, 0)
        restrict([("/", READ), ("/usr", READ | EXECUTE), (Path(__file__), READ)])
        return before == os.listdir("/proc/self/fd"), stat.S_ISDIR(os.stat("/usr").st_mode)
    assert in_child(attempt) == [True, True]
