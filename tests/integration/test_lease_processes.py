"""Leases among real processes: two groups on one folder, kill -9 at any moment, holders that are stopped and wake up."""
import collections
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from tenant_lab.reports.lease import Leases

KEYS = [f"run-{n}" for n in range(40)]

# publishes each run once, as a folder; a line in the log for each begin and each end
WORKER = """
import json, os, random, sys, time
from pathlib import Path
from tenant_lab.reports import lease as module
args = json.loads(sys.argv[1])
if args["machine"]:
    module.place = lambda: args["machine"]
runs, order = Path(args["runs"]), random.Random(args["seed"])
log = os.open(args["log"], os.O_WRONLY | os.O_APPEND)

def say(what):
    os.write(log, f"{what} {key} {lease.token} {os.getpid()}\\n".encode())

with module.Leases(args["leases"]) as leases:
    while left := [key for key in args["keys"] if not (runs / key).exists()]:
        key = order.choice(left)
        lease = leases.acquire(key)
        if lease is None:
            time.sleep(0.002)
            continue
        with lease:
            if (runs / key).exists():
                continue
            say("begin")
            draft = runs / f".{key}-{os.getpid()}-{lease.token}"
            draft.mkdir()
            (draft / "report.html").write_text(str(lease.token))
            time.sleep(order.random() * args["work"])
            if lease.valid():
                os.rename(draft, runs / key)
                say("publish")
"""

HOLDER = """
import json, sys
from tenant_lab.reports import lease as module
args = json.loads(sys.argv[1])
if args["machine"]:
    module.place = lambda: args["machine"]
lease = module.Leases(args["leases"], args["beat"], args["patience"]).acquire("night")
print(lease.token, flush=True)
for line in sys.stdin:
    print(lease.valid(), flush=True)
"""


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def start(tmp_path):
    """Starts a process from one of the codes above; whatever still runs at the end is killed, by its id."""
    begun = []
    for name in ("runs", "leases"):
        (tmp_path / name).mkdir()
    (tmp_path / "log").touch()

    def start(code, machine="", **args):
        args |= {"machine": machine, "runs": str(tmp_path / "runs"), "log": str(tmp_path / "log"), "leases": str(tmp_path / "leases")}
        begun.append(subprocess.Popen([sys.executable, "-c", code, json.dumps(args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return begun[-1]
    yield start
    for process in begun:
        process.kill()
        process.communicate()


@pytest.fixture
def hold(start):
    """A process that holds `night` and tells its token."""
    def hold(machine="", beat=5, patience=20):
        process = start(HOLDER, machine, beat=beat, patience=patience)
        return process, int(process.stdout.readline())
    return hold


def valid(process):
    process.stdin.write("?\n")
    process.stdin.flush()
    return process.stdout.readline() == "True\n"


def lines(tmp_path, what):
    return collections.Counter(line.split()[1] for line in (tmp_path / "log").read_text().splitlines() if line.split()[0] == what)


@pytest.mark.parametrize("machines", [("", ""), ("north", "south")])
def test_two_groups_of_three_carry_out_each_run_once(start, tmp_path, machines):
    workers = [start(WORKER, machine, seed=10 * g + n, keys=KEYS, work=0.05) for g, machine in enumerate(machines) for n in range(3)]
    assert [worker.wait(120) for worker in workers] == [0] * 6
    once = dict.fromkeys(KEYS, 1)
    assert lines(tmp_path, "begin") == once and lines(tmp_path, "publish") == once
    assert sorted(os.listdir(tmp_path / "runs")) == sorted(KEYS)


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_each_run_is_published_once(start, tmp_path, seed, record_property):
    """Six processes, of which twelve times one that has begun to work is killed with -9 and replaced."""
    rng, kills = random.Random(seed), 0
    group = [start(WORKER, seed=100 * seed + n, keys=KEYS, work=0.2) for n in range(6)]
    while any(worker.poll() is None for worker in group):
        time.sleep(0.1 * rng.random())
        place = rng.randrange(6)
        at_work = f" {group[place].pid}\n" in (tmp_path / "log").read_text()
        if kills < 12 and at_work and group[place].poll() is None:
            group[place].send_signal(signal.SIGKILL)
            group[place].wait()
            kills += 1
            group[place] = start(WORKER, seed=1000 * seed + kills, keys=KEYS, work=0.2)
    begun, published = lines(tmp_path, "begin"), lines(tmp_path, "publish")
    record_property("begun", sum(begun.values()))
    assert {p for p in os.listdir(tmp_path / "runs") if p[0] != "."} == set(KEYS)
    assert kills > 0 and len(KEYS) < sum(begun.values()) <= len(KEYS) + kills  # some were killed at work and done again
    assert max(published.values()) == 1 and len(published) >= len(KEYS) - kills  # killed between the rename and the log


def test_what_a_killed_process_held_is_free_at_once_on_its_machine(hold, tmp_path):
    holder, token = hold()
    with Leases(tmp_path / "leases") as leases:
        assert token == 1 and leases.acquire("night") is None
        holder.kill()
        holder.wait()
        assert leases.acquire("night").token == 2


def test_and_after_patience_on_another(hold, tmp_path):
    clock = Clock()
    holder, token = hold("elsewhere")
    holder.kill()
    holder.wait()
    with Leases(tmp_path / "leases", 5, 20, clock) as leases:
        seen = []
        for clock.now in (0, 10, 20, 20.5):
            lease = leases.acquire("night")
            seen.append(lease and lease.token)
    assert (token, seen) == (1, [None, None, None, 2])


def test_a_holder_that_beats_is_left_alone_however_late_it_is_here(hold, tmp_path):
    clock = Clock()
    hold("elsewhere", 0.05, 20)
    with Leases(tmp_path / "leases", 5, 20, clock) as leases:
        for _ in range(5):
            assert leases.acquire("night") is None
            clock.now += 1000
            before, end = (tmp_path / "leases/night/1").stat().st_mtime_ns, time.monotonic() + 60
            while (tmp_path / "leases/night/1").stat().st_mtime_ns == before:
                assert time.monotonic() < end, "no heartbeat"
                time.sleep(0.01)
        assert leases.acquire("night") is None


def test_a_stopped_holder_loses_and_is_told_when_it_wakes(hold, tmp_path):
    clock = Clock()
    holder, _ = hold()
    assert valid(holder)
    holder.send_signal(signal.SIGSTOP)
    with Leases(tmp_path / "leases", 5, 20, clock) as leases:
        assert leases.acquire("night") is None
        clock.now += 21
        successor = leases.acquire("night")
        assert successor.token == 2
        holder.send_signal(signal.SIGCONT)
        assert not valid(holder) and os.listdir(tmp_path / "leases/night") == ["2"]
        holder.communicate("", 60)  # it ends, and gives nothing back that is not its own
        assert (tmp_path / "leases/night/2").stat().st_size > 0 and leases.acquire("night") is None


def test_a_holder_that_slept_too_long_does_not_trust_its_lease_even_if_nobody_took_it(hold, tmp_path):
    holder, _ = hold(beat=0.1, patience=0.5)
    holder.send_signal(signal.SIGSTOP)
    time.sleep(1)
    holder.send_signal(signal.SIGCONT)
    assert not valid(holder)
    time.sleep(0.3)  # some beats later
    assert not valid(holder)
