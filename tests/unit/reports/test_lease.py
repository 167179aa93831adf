"""Leases: whose a file is, who has run out, forks, full disks, and thousands of seeded orders of the file system's steps."""
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tenant_lab.core.errors import ParameterError, StoreError
from tenant_lab.reports import lease as module
from tenant_lab.reports.lease import (
    Leases,
    Looks,
    claim,
    known_dead,
    link_draft,
    look_again,
    new_content,
    place,
    read_holder,
    started,
    sweep,
    tokens,
)

DAY = 86400


class Clock:
    """Seconds that pass when told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "leases"


@pytest.fixture
def two(folder, clock, monkeypatch):
    """Two processes on two machines, as far as leases can tell; heartbeats only when told to."""
    made = [Leases(folder, 1000, 3000, clock) for _ in range(2)]
    for leases in made:
        leases.patience = 20
        leases._looks._patience = 20
    monkeypatch.setattr(module, "place", lambda: "elsewhere" + os.urandom(8).hex())
    yield made
    for leases in made:
        leases.close()


def wait_until(true, what):
    """A hang is a failure, not a time that is measured."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.01)


# -- who holds it ------------------------------------------------------------------------------------------------------

def holder(pid):
    return {"place": place(), "pid": pid, "started": started(pid)}


def test_this_process_is_alive_and_its_place_does_not_change():
    assert place() == place() and not known_dead(holder(os.getpid()))


def test_a_killed_process_is_dead_before_and_after_its_parent_notices():
    child = subprocess.Popen(["sleep", "60"])
    named = holder(child.pid)
    child.kill()
    wait_until(lambda: started(child.pid) is None, "the killed child does not become a zombie")
    assert known_dead(named)
    child.wait()
    assert known_dead(named)


def test_a_stopped_process_is_not_dead():
    child = subprocess.Popen(["sleep", "60"])
    try:
        child.send_signal(signal.SIGSTOP)
        wait_until(lambda: "T (stopped)" in Path(f"/proc/{child.pid}/status").read_text(), "not stopped")
        assert not known_dead(holder(child.pid))
    finally:
        child.kill()
        child.wait()


def test_a_process_id_in_use_again_is_another_process():
    assert known_dead(holder(os.getpid()) | {"started": 1})


@pytest.mark.parametrize("named", [{}, {"place": None}, {"place": "x", "pid": 2**22, "started": 1}])
def test_of_another_place_nothing_is_known(named):
    assert not known_dead(named)


def test_a_process_name_with_spaces_and_brackets_is_read(tmp_path):
    program = tmp_path / "a) Z 1 (b"
    program.symlink_to("/bin/sleep")
    child = subprocess.Popen([program, "60"])
    try:
        wait_until(lambda: "a) Z 1 (b" in Path(f"/proc/{child.pid}/stat").read_text(), "not started")
        ticks = started(child.pid)
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        assert 0 <= uptime - ticks / os.sysconf("SC_CLK_TCK") < 60
    finally:
        child.kill()
        child.wait()


def test_what_proc_hides_is_asked_of_the_system(monkeypatch):
    """With the mount option hidepid another user's process has no folder in /proc, and is alive all the same."""
    mine = holder(os.getpid())

    def hidden(pid):
        raise FileNotFoundError(pid)
    monkeypatch.setattr(module, "started", hidden)
    assert not known_dead(mine)
    child = subprocess.Popen(["true"])
    child.wait()
    assert known_dead(mine | {"pid": child.pid})

    def forbidden(pid, number):
        raise PermissionError(pid)
    monkeypatch.setattr(module.os, "kill", forbidden)
    assert not known_dead(mine | {"pid": child.pid})


def test_without_proc_no_place_equals_another(monkeypatch):
    def missing(path):
        raise FileNotFoundError(path)
    monkeypatch.setattr(module.os, "readlink", missing)
    assert place() != place()


def test_proc_of_another_namespace_is_not_believed(monkeypatch):
    """`unshare --pid` without a new /proc shows the parent's processes under ids that mean something else."""
    real = os.readlink
    monkeypatch.setattr(module.os, "readlink", lambda path: "4711" if path == "/proc/self" else real(path))
    assert place() != place()


def test_an_old_kernel_without_time_namespaces_has_places(monkeypatch):
    real = os.path.lexists
    monkeypatch.setattr(module.os.path, "lexists", lambda path: "ns/time" not in path and real(path))
    assert place() == place() and "time:" not in place()


def test_a_content_names_its_holder_and_differs_from_every_other():
    content = new_content(3)
    named = read_holder(content)
    assert (named["token"], named["pid"], named["place"]) == (3, os.getpid(), place())
    assert new_content(3) != content and len(content) < 4096  # it is read in one piece


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"3", b'{"pid": "1", "started": 1}', b'{"pid": 1}',
                                     b'{"pid": 1, "started": null}'])
def test_a_content_that_names_nobody(content):
    assert read_holder(content) == {}


# -- the steps of the file system --------------------------------------------------------------------------------------

def test_a_link_is_made_once_and_leaves_no_draft(tmp_path):
    path = tmp_path / "key" / "1"
    assert link_draft(str(path), b"ann") and not link_draft(str(path), b"bob")
    assert path.read_bytes() == b"ann" and os.listdir(tmp_path) == ["key"]


def test_a_link_that_was_made_but_answered_with_exists_counts(tmp_path, monkeypatch):
    """An NFS server that repeats an answer; the case that `man 2 open` describes."""
    real = os.link

    def link(draft, path):
        real(draft, path)
        raise FileExistsError(path)
    monkeypatch.setattr(module.os, "link", link)
    assert link_draft(str(tmp_path / "key" / "1"), b"ann")


def test_a_folder_that_is_swept_away_meanwhile_is_no_error(tmp_path, monkeypatch):
    real = os.makedirs

    def makedirs(path, exist_ok):
        real(path, exist_ok=exist_ok)
        os.rmdir(path)
    monkeypatch.setattr(module.os, "makedirs", makedirs)
    assert not link_draft(str(tmp_path / "key" / "1"), b"ann")
    assert Leases(tmp_path).acquire("key") is None


def test_a_claim_is_withdrawn_when_another_number_came_up(tmp_path):
    folder = tmp_path / "key"
    assert claim(str(folder), 4, b"ann", [])
    assert not claim(str(folder), 2, b"late", [1])  # listed the folder when 1 was the highest
    assert not claim(str(folder), 5, b"bob", [])
    assert tokens(str(folder)) == [4] and (folder / "4").read_bytes() == b"ann"
    assert claim(str(folder), 5, b"bob", [4]) and tokens(str(folder)) == [5]


def test_numbers_are_ordered_as_numbers_and_other_files_do_not_count(tmp_path):
    for name in ("9", "10", ".nfs0001", "x", "2~"):
        (tmp_path / name).touch()
    assert tokens(str(tmp_path)) == [9, 10] and tokens(str(tmp_path / "missing")) == []


# -- who has run out ---------------------------------------------------------------------------------------------------

def test_silence_is_counted_from_look_to_look(tmp_path, clock):
    path, looks = tmp_path / "1", Looks(20, clock)
    path.write_bytes(b"somebody")
    assert not looks.free(str(path))
    clock.now += 20
    assert not looks.free(str(path))
    clock.now += 0.1
    assert looks.free(str(path)) and looks.free(str(path))


def test_a_beat_begins_the_count_again(tmp_path, clock):
    path, looks = tmp_path / "1", Looks(20, clock)
    path.write_bytes(b"somebody")
    for seconds in range(10):
        os.utime(path, (seconds, seconds))  # a machine whose clock is wrong by decades
        assert not looks.free(str(path))
        clock.now += 19
    assert not looks.free(str(path))
    clock.now += 2
    assert looks.free(str(path))


def test_the_time_that_a_look_takes_is_not_counted_as_silence(tmp_path):
    """The first look ends at 100; what was renewed at 99 must not be found silent before 120."""
    times = iter([0.0, 100.0, 119.0, 121.0])
    path, looks = tmp_path / "1", Looks(20, lambda: next(times))
    path.write_bytes(b"somebody")
    assert [looks.free(str(path)) for _ in range(3)] == [False, False, True]


def test_emptied_and_vanished_are_free(tmp_path, clock):
    looks = Looks(20, clock)
    (tmp_path / "1").touch()
    assert looks.free(str(tmp_path / "1")) and looks.free(str(tmp_path / "2"))


def test_what_the_dead_of_this_machine_held_is_free_at_once(tmp_path, clock):
    child = subprocess.Popen(["sleep", "60"])
    path = tmp_path / "1"
    path.write_text(json.dumps(holder(child.pid)))
    looks = Looks(20, clock)
    assert not looks.free(str(path))
    child.kill()
    child.wait()
    assert looks.free(str(path))


def test_two_silent_holders_of_one_key_do_not_take_turns(folder, clock):
    """A taker that died half way leaves two files; each look must count for both."""
    leases = Leases(folder, 5, 20, clock)
    (folder / "key").mkdir()
    (folder / "key" / "1").write_bytes(b"silent")
    assert leases.acquire("key") is None
    clock.now += 10
    (folder / "key" / "2").write_bytes(b"silent too")
    got = []
    for _ in range(5):
        got.append(leases.acquire("key"))
        clock.now += 10
    assert [lease and lease.token for lease in got] == [None, None, None, 3, None]  # 2 was first seen at 10, and silent at 31
    leases.close()


def test_every_file_is_looked_at_in_each_look(folder, clock):
    leases = Leases(folder, 5, 20, clock)
    (folder / "key").mkdir()
    (folder / "key" / "1").write_bytes(b"silent")
    (folder / "key" / "2").write_bytes(b"silent too")
    assert leases.acquire("key") is None
    clock.now += 21
    assert leases.acquire("key").token == 3 and leases._looks._seen == {}
    leases.close()


# -- leases ------------------------------------------------------------------------------------------------------------

def test_one_holds_the_others_are_told_no(two):
    one, other = two
    lease = one.acquire("key")
    assert lease.token == 1 and lease.valid()
    assert one.acquire("key") is None and other.acquire("key") is None
    assert other.acquire("key-2").valid()


def test_tokens_rise_from_holder_to_holder(two):
    seen = []
    for turn in range(4):
        with two[turn % 2].acquire("key") as lease:
            seen.append(lease.token)
            assert lease.valid()
        assert not lease.valid()
    assert seen == [1, 2, 3, 4]


def test_what_is_renewed_is_kept(two, clock):
    lease = two[0].acquire("key")
    for _ in range(10):
        clock.now += 15
        lease.renew()
        assert two[1].acquire("key") is None and lease.valid()


def test_who_is_silent_loses_and_is_told(two, clock):
    lease = two[0].acquire("key")
    assert two[1].acquire("key") is None
    clock.now += 20.1
    assert not lease.valid()  # by the clock alone, before anybody takes it
    lease.renew()
    assert not lease.valid()  # what has run out stays so
    successor = two[1].acquire("key")
    assert successor.token == 2 and successor.valid() and not lease.valid()


def test_the_file_alone_tells_a_holder_whose_clock_stood_still(two, clock, monkeypatch):
    """A virtual machine that was frozen: no time has passed in it."""
    lease = two[0].acquire("key")
    frozen = clock.now
    monkeypatch.setattr(lease, "_clock", lambda: frozen)
    assert two[1].acquire("key") is None
    clock.now += 21
    successor = two[1].acquire("key")
    assert successor.valid() and not lease.valid()
    before = os.stat(successor._path).st_mtime_ns, Path(successor._path).read_bytes()
    lease.renew()
    lease.release()
    assert (os.stat(successor._path).st_mtime_ns, Path(successor._path).read_bytes()) == before and successor.valid()


def test_a_successor_with_the_same_number_is_not_mistaken_for_oneself(two, folder):
    """After a sweep numbers begin at 1 again."""
    lease = two[0].acquire("key")
    os.unlink(folder / "key" / "1")
    assert not lease.valid()
    successor = two[1].acquire("key")
    assert successor.token == lease.token == 1
    os.utime(successor._path, (1, 1))
    lease.renew()
    lease.release()
    assert successor.valid() and not lease.valid() and os.stat(successor._path).st_mtime == 1


def test_a_removed_file_that_still_opens_is_not_ours(two, folder, monkeypatch):
    """An NFS client may open a name that it remembers by the file's handle, and the server still serve it."""
    lease, real = two[0].acquire("key"), os.open
    kept = real(folder / "key" / "1", os.O_RDWR)
    os.unlink(folder / "key" / "1")
    monkeypatch.setattr(module.os, "open", lambda path, flags: real(f"/proc/self/fd/{kept}", flags))
    assert not lease.valid()
    os.close(kept)


def test_release_twice_and_after_close(two):
    lease = two[0].acquire("key")
    lease.release()
    successor = two[1].acquire("key")
    lease.release()
    two[0].close()
    two[0].close()
    assert successor.valid()
    with pytest.raises(StoreError, match="no lease on key: these leases are closed"):
        two[0].acquire("key")


def test_close_gives_everything_back(two):
    held = [two[0].acquire(f"key-{n}") for n in range(5)]
    with two[0]:
        pass
    assert not any(lease.valid() for lease in held)
    assert all(two[1].acquire(f"key-{n}").token == 2 for n in range(5))


def test_an_error_inside_gives_the_lease_back(two):
    with pytest.raises(ZeroDivisionError), two[0].acquire("key"):
        1 / 0  # noqa: B018
    assert two[1].acquire("key") is not None


def test_the_thread_renews_until_the_end(folder):
    leases = Leases(folder, 0.01, 3600)
    lease = leases.acquire("key")

    def beats(times):
        for _ in range(times):
            before = os.stat(lease._path).st_mtime_ns
            wait_until(lambda before=before: os.stat(lease._path).st_mtime_ns != before, "no heartbeat")
    beats(3)
    lease.release()
    assert leases._held == set()
    other = leases.acquire("key-2")
    Path(other._path).unlink()  # one that was lost stops no other
    lease = leases.acquire("key")
    beats(2)
    leases.close()
    wait_until(lambda: not any(t.name == "leases" and t._target.__self__ is leases for t in threading.enumerate() if t._target), "still beats")


@pytest.mark.parametrize("key", ["", "../key", "a/b", "A", ".x", "a.1", None, 3, "a" * 64, "a\n"])
def test_keys_that_are_no_names(two, key):
    with pytest.raises(ParameterError, match="key .*: allowed are"):
        two[0].acquire(key)


@pytest.mark.parametrize("options", [{"beat": 0}, {"beat": -1}, {"beat": "5"}, {"beat": float("nan")}, {"patience": 14.9},
                                     {"beat": 10, "patience": 20}, {"patience": float("inf")}, {"patience": None}])
def test_times_that_cannot_work(folder, options):
    with pytest.raises(ParameterError, match="needs a number"):
        Leases(folder, **options)


# -- what the file system refuses --------------------------------------------------------------------------------------

def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "leases"):
        with pytest.raises(StoreError, match="leases cannot be kept in .*file.*must be writable"):
            Leases(path)


def test_a_file_system_without_links(folder, monkeypatch):
    leases = Leases(folder)

    def link(draft, path):
        raise PermissionError(1, "Operation not permitted")
    monkeypatch.setattr(module.os, "link", link)
    with pytest.raises(StoreError, match="the lease on key cannot be taken in .*not permitted.*local disk or NFSv4"):
        leases.acquire("key")
    assert [n for n in os.listdir(folder) if n != ".swept"] == ["key"]
    leases.close()


def test_a_full_disk_is_said_and_leaves_nothing(folder):
    """No file of this process may grow, which the system says as a full disk is said: when the draft is written."""
    code = """
        import os, resource, sys
        from tenant_lab.core.errors import StoreError
        from tenant_lab.reports.lease import Leases
        leases = Leases(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
        try:
            leases.acquire("key")
        except StoreError as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(leases.acquire("key").token)
    """
    run = subprocess.run([sys.executable, "-c", "\n".join(line[8:] for line in code.splitlines()), folder], capture_output=True, text=True)
    said, token = run.stdout.splitlines()
    assert said.startswith(f"the lease on key cannot be taken in {folder}: ") and "have space left" in said and token == "1"
    assert sorted(os.listdir(folder)) == [".swept", "key"]


def test_an_error_after_the_link_gives_the_number_back(folder, monkeypatch):
    leases, real = Leases(folder), os.listdir
    calls = iter([False, True])

    def listdir(path):
        if next(calls, False):
            raise OSError(5, "Input/output error")
        return real(path)
    monkeypatch.setattr(module.os, "listdir", listdir)
    with pytest.raises(StoreError, match="Input/output error"):
        leases.acquire("key")
    assert leases.acquire("key").token == 2
    leases.close()


def test_a_folder_that_vanishes(two, folder):
    lease = two[0].acquire("key")
    shutil.rmtree(folder)
    assert not lease.valid()
    lease.renew()
    lease.release()
    with pytest.raises(StoreError, match="cannot be taken"):
        two[0].acquire("key")


# -- done already? -----------------------------------------------------------------------------------------------------

def test_folders_are_opened_from_the_top_down_to_the_first_that_is_missing(tmp_path, monkeypatch):
    real, opened = os.open, []

    def record(path, flags):
        opened.append(Path(path))
        if path == tmp_path.parent:
            raise PermissionError(13, "may be passed, not listed")
        return real(path, flags)
    monkeypatch.setattr(module.os, "open", record)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    look_again(Path("runs/sales/shop"))
    assert opened == [*reversed(tmp_path.parents), tmp_path, tmp_path / "runs", tmp_path / "runs/sales"]
    assert len(os.listdir("/proc/self/fd")) == before


# -- leftovers ---------------------------------------------------------------------------------------------------------

def age(path, seconds):
    os.utime(path, (time.time() - seconds,) * 2)


def test_only_what_is_a_day_old_and_of_leases_is_swept(folder):
    draft, young = folder / ("." + "a" * 32), folder / ("." + "b" * 32)
    (folder / "empty").mkdir(parents=True)
    for name in ("old/1", "old/2", "mixed/1", "mixed/2", "mixed/notes.txt", "report.html"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
        age(folder / name, DAY + 60)
    (folder.parent / "precious").mkdir()
    (folder.parent / "precious" / "2024").touch()
    age(folder.parent / "precious" / "2024", 3 * DAY)
    (folder / "link").symlink_to(folder.parent / "precious")
    for path in (draft, young):
        path.touch()
    age(draft, DAY + 60)
    age(folder / "mixed" / "2", DAY - 60)
    sweep(folder)
    left = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))
    assert left == sorted([young.name, ".swept", "link", "mixed", "mixed/2", "mixed/notes.txt", "report.html"])
    assert (folder.parent / "precious" / "2024").exists()


def test_it_is_swept_once_an_hour(folder):
    (folder / "key").mkdir(parents=True)
    for again, swept in [(None, True), (10, False), (3500, False), (3700, True), (-3700, True)]:
        (folder / "key").mkdir(exist_ok=True)
        (folder / "key" / "1").touch()
        age(folder / "key" / "1", DAY + 60)
        if again is not None:
            age(folder / ".swept", again)
        Leases(folder).close()
        assert (folder / "key").exists() is not swept, again
        assert [n for n in os.listdir(folder) if n not in ("key", ".swept")] == []


# -- forks and threads -------------------------------------------------------------------------------------------------

@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_cannot_touch_its_parents_leases(two):
    lease = two[0].acquire("key")
    before = os.stat(lease._path).st_mtime_ns
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said = [lease.valid()]
        lease.renew()
        lease.release()
        two[0].close()
        try:
            two[0].acquire("key-2")
        except StoreError as error:
            said.append(str(error))
        os.write(writer, json.dumps(said).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    valid, refused = json.loads(os.read(reader, 4096))
    os.close(reader)
    assert not valid and "forked; make Leases anew" in refused
    assert lease.valid() and os.stat(lease._path).st_mtime_ns == before and two[0].acquire("key-2") is not None


def test_many_threads_ask_for_the_same_keys(folder):
    """Sixteen threads, half of them on leases of their own: each key is held by one at a time, and done once."""
    inside, done, wrong = set(), [], []
    shared = Leases(folder)

    def work(number):
        order, own = random.Random(number), Leases(folder) if number % 2 else shared
        while len(set(done)) < 20:
            key = f"key-{order.randrange(20)}"
            lease = own.acquire(key)
            if lease is not None:
                with lease:
                    if key in inside:
                        wrong.append(key)
                    inside.add(key)
                    if key not in done and lease.valid():
                        done.append(key)
                    inside.discard(key)
    threads = [threading.Thread(target=work, args=[n]) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and sorted(done) == sorted({f"key-{n}" for n in range(20)})


# -- every order of steps ----------------------------------------------------------------------------------------------

class Killed(BaseException):
    pass


class World:
    """Processes on machines, of which one at a time takes one step of the file system; the seed says which.

    Clocks differ between processes and run equally fast; between two steps any time may pass.
    """

    STEPS = ("open", "read", "fstat", "close", "link", "stat", "unlink", "listdir", "makedirs", "utime", "ftruncate", "fsync")

    def __init__(self, seed, folder, monkeypatch):
        self.rng, self.folder, self.now, self.stamp = random.Random(seed), folder, 0.0, 0
        self.actors, self.local, self.dead, self.taken, self.errors = [], threading.local(), set(), [], []
        world = self

        class Os:
            def __getattr__(self, name):
                real = getattr(os, name)

                def step(*given, **options):
                    try:
                        world.pause()
                    except Killed:
                        if name == "close":  # the dead hold no files open
                            real(*given)
                        raise
                    if name == "utime":  # every beat changes the time, however quickly they come
                        world.stamp += 1
                        return os.utime(given[0], ns=(world.stamp,) * 2)
                    return real(*given, **options)
                return step if name in World.STEPS else real

        def opened(*given):
            world.pause()
            return open(*given)
        monkeypatch.setattr(module, "os", Os())
        monkeypatch.setattr(module, "open", opened, raising=False)
        monkeypatch.setattr(module, "known_dead", lambda h: h["pid"] in world.dead and h["place"] == world.me.machine)
        monkeypatch.setattr(module, "place", lambda: world.me.machine)
        monkeypatch.setattr(module, "started", lambda pid: 0)
        monkeypatch.setattr(module, "sweep", lambda folder: None)

    @property
    def me(self):
        return getattr(self.local, "actor", None)

    def pause(self):
        actor = self.me
        if isinstance(actor, Actor):  # all others look without a step
            actor.back.release()
            actor.go.acquire()
            if actor.killed:
                raise Killed

    def run(self, steps, check, kill=0.01, doze=0.05):
        try:
            for _ in range(steps):
                alive = [a for a in self.actors if not a.ended]
                if not alive:
                    break
                actor = self.rng.choice(alive)
                if self.rng.random() < kill:
                    actor.killed = True
                    self.dead.add(actor.number)
                self.now += self.rng.choice([0, 0.5, 2]) if self.rng.random() > doze else 30
                actor.step()
                assert self.errors == []
                check()
        finally:
            for actor in self.actors:
                actor.killed = True
                while not actor.ended:
                    actor.step()


class Actor:
    """A process that asks for keys, renews at random, and gives back or forgets to."""

    def __init__(self, world, number):
        self.world, self.number, self.machine = world, number, f"machine {number % 2}"
        self.go, self.back, self.killed, self.ended = threading.Semaphore(0), threading.Semaphore(0), False, False
        self.rng, self.held = random.Random(world.rng.random()), []
        offset = world.rng.uniform(-1e6, 1e6)
        self.leases = Leases(world.folder, 1000, 3000, lambda: world.now + offset)
        self.leases.patience = self.leases._looks._patience = 20.0
        threading.Thread(target=self.body, daemon=True).start()
        self.back.acquire()

    def step(self):
        self.go.release()
        self.back.acquire()

    def body(self):
        self.world.local.actor = self
        try:
            self.world.pause()
            while True:
                self.turn()
        except Killed:
            pass
        except BaseException as error:
            self.world.errors.append(error)
        self.ended = True
        self.leases._closed.set()
        self.back.release()

    def turn(self):
        key = self.rng.choice(["a", "b"])
        lease = self.leases.acquire(key)
        if lease is not None:
            self.held.append(lease)
            self.world.taken.append(lease)
        for lease in list(self.held):
            deed = self.rng.random()
            if deed < 0.6:
                lease.renew()
            elif deed < 0.8:
                lease.release()
                self.held.remove(lease)
            else:
                lease.valid()


@pytest.fixture
def contents(monkeypatch):
    """Contents name the actor as the process."""
    def content(token):
        world = content.world
        content.count += 1
        return json.dumps({"holder": content.count, "token": token, "place": world.me.machine, "pid": world.me.number, "started": 0}).encode()
    content.count = 0
    monkeypatch.setattr(module, "new_content", content)
    return content


GUARDS = {"both": {}, "the file alone": {"_kept": lambda lease: not lease._ended.is_set()},
          "the clock alone": {"valid": lambda lease: lease._kept()}}


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("block", range(4))
def test_in_any_order_of_steps_one_holder_is_valid_and_tokens_rise(guard, block, tmp_path, monkeypatch, contents):
    """Kills, pauses of any length, two keys, four processes on two machines; each guard holds without the other."""
    for name, without in GUARDS[guard].items():
        monkeypatch.setattr(module.Lease, name, without)
    taken = handed_over = 0
    for seed in range(block * 25, block * 25 + 25):
        world = World(seed, tmp_path / f"{seed}", monkeypatch)
        contents.world, last, first = world, {}, {}
        world.actors = [Actor(world, n) for n in range(4)]

        def check(world=world, last=last, first=first, seed=seed):
            valid = [lease for actor in world.actors if not actor.killed for lease in actor.held if lease.valid()]
            for key in ("a", "b"):
                now = [lease for lease in valid if lease.key == key]
                assert len(now) <= 1, (seed, now)
                if now:
                    assert now[0].token >= last.get(key, 0), (seed, now, last)
                    last[key] = now[0].token
            for lease in world.taken:
                assert first.setdefault((lease.key, lease.token), lease) is lease, (seed, lease)
        world.run(600, check)
        taken += len(world.taken)
        handed_over += sum(token > 3 for token in last.values())
    assert taken > 200 and handed_over > 10  # the schedules did reach what is to be tested


@pytest.mark.parametrize("block", range(2))
def test_even_a_sweep_at_the_wrong_moment_leaves_one_valid_holder(block, tmp_path, monkeypatch, contents):
    """A server's clock that jumps by days makes everything look old: leases are lost, and never doubled."""
    monkeypatch.setattr(module.Lease, "_kept", lambda lease: not lease._ended.is_set())
    for seed in range(1000 + block * 25, 1000 + block * 25 + 25):
        world = World(seed, tmp_path / f"{seed}", monkeypatch)
        contents.world = world
        world.actors = [Actor(world, n) for n in range(4)]

        def check(world=world, seed=seed):
            if world.rng.random() < 0.05:
                found = [p for p in world.folder.glob("*/*") if p.name.isdecimal()]
                for path in found:
                    path.unlink()
            valid = [lease for actor in world.actors if not actor.killed for lease in actor.held if lease.valid()]
            for key in ("a", "b"):
                assert len([lease for lease in valid if lease.key == key]) <= 1, (seed, valid)
        world.run(400, check)


def test_after_everybody_died_half_way_the_key_is_free_in_the_end(tmp_path, monkeypatch, contents):
    """Whatever a kill leaves behind, the next one gets the key after two looks."""
    for seed in range(40):
        world = World(2000 + seed, tmp_path / f"{seed}", monkeypatch)
        contents.world = world
        world.actors = [Actor(world, n) for n in range(3)]
        world.run(world.rng.randrange(10, 200), lambda: None)
        world.local.actor = SimpleNamespace(machine="another machine", number=7)
        leases = Leases(world.folder, 1000, 3000, lambda world=world: world.now)
        leases.patience = leases._looks._patience = 20.0
        first = {key: leases.acquire(key) for key in ("a", "b")}
        world.now += 21
        for key in ("a", "b"):
            lease = leases.acquire(key) if first[key] is None else first[key]
            assert lease is not None, (seed, key)
            first[key] = lease
        leases._closed.set()
        world.local.actor = None
