"""The audit log: every line whole, in order, from any number of processes, and nothing hidden by a broken one."""

import datetime as dt
import json
import multiprocessing
import os
import stat

import pytest

from tenant_lab.tenancy.audit import AuditLog, user_name


@pytest.fixture
def log(tmp_path):
    return AuditLog(tmp_path / "audit.jsonl", "ada")


def test_a_line_says_who_what_when(log):
    before = dt.datetime.now(dt.UTC).replace(microsecond=0)
    log.write("read", "aurora", table="purchases", version=3, as_of=None)
    (line,) = log.read()
    assert dt.datetime.fromisoformat(line.pop("at")) >= before
    assert line == {"user": "ada", "tenant": "aurora", "action": "read", "table": "purchases", "version": 3}
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


def test_no_file_no_lines(log):
    assert list(log.read()) == []


def test_lines_are_appended_and_chosen_by_tenant(log):
    for i in range(5):
        log.write("read", "aurora" if i % 2 else "borealis", n=i)
    assert [line["n"] for line in log.read()] == [0, 1, 2, 3, 4]
    assert [line["n"] for line in log.read("aurora")] == [1, 3]


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "\u2028", '"}\n{"action": "forged"}', "\x00", "é日本🎵", "\x85"])
def test_no_value_breaks_or_forges_a_line(log, text):
    log.write("query", "aurora", query=text)
    log.write("read", "aurora")
    assert [line["action"] for line in log.read()] == ["query", "read"]
    assert next(log.read())["query"] == text


def test_any_value_is_written(log):
    log.write("x", "aurora", when=dt.date(2024, 1, 1), path=log.path)
    assert next(log.read())["when"] == "2024-01-01"


def test_a_line_that_a_crash_cut_short_hides_no_other(log):
    log.write("first", "aurora")
    with log.path.open("ab") as file:
        file.write(b'{"at": "2024-01-01", "user": "ad')
    log.write("after the crash", "aurora")
    assert [line["action"] for line in log.read()] == ["first", "unreadable", "after the crash"]


@pytest.mark.parametrize("junk", [b"\xff\xfe\n", b"12\n", b"null\n", b"[]\n", b"\n"])
def test_junk_is_called_unreadable(log, junk):
    with log.path.open("wb") as file:
        file.write(junk)
    log.write("next", "aurora")
    assert [line["action"] for line in log.read()] == ["unreadable", "next"]
    assert [line["action"] for line in log.read("aurora")] == ["next"]


def _write_many(path, number):
    log = AuditLog(path, f"user{number}")
    for i in range(200):
        log.write("read", "aurora", n=i, padding="x" * 3000)


def test_processes_write_at_once_and_no_line_is_lost(log):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write_many, args=(log.path, n)) for n in range(3)]
    [p.start() for p in processes]
    [p.join() for p in processes]
    lines = [json.loads(text) for text in log.path.read_text().splitlines()]
    for n in range(3):
        assert [line["n"] for line in lines if line["user"] == f"user{n}"] == list(range(200))


def test_user_name(monkeypatch):
    assert user_name("ada") == "ada"
    monkeypatch.setattr("getpass.getuser", lambda: "system")
    assert user_name("") == "system"

    def nobody():
        raise KeyError("uid not found")
    monkeypatch.setattr("getpass.getuser", nobody)
    assert user_name("") == f"uid {os.getuid()}"
