"""The queue on Dask: a scheduler and two workers, each a process of its own on this machine."""
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from tenant_lab.reports.queue import SPARE, Interrupted, drain

WORK = """
import os, time
from pathlib import Path

def work(task):
    folder, name, deed = task["folder"], task["name"], task["deed"]
    with open(Path(folder) / f"{name}.log", "a") as log:
        log.write(f"{os.getpid()}\\n")
    tries = len((Path(folder) / f"{name}.log").read_text().splitlines())
    if deed == "die":
        os._exit(3)
    if deed == "raise":
        raise ValueError("no customers")
    if deed == "busy" and tries < 4 or deed == "retry" and tries < 3:
        return deed
    while deed == "until stopped" and not (Path(folder) / "stop").exists():
        time.sleep(0.01)
    return f"{name} done"
"""


def wait_until(true, what):
    """A hang is a failure, not a time that is measured."""
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.01)


class Task(dict):
    """A mapping travels without a module of its own; tenant and retries stay at home."""

    def __init__(self, folder, name, deed="", tenant="shop", retries=0):
        super().__init__(folder=str(folder), name=name, deed=deed)
        self.tenant, self.retries = tenant, retries

    def __reduce__(self):
        return dict, (dict(self),)


class Cluster:
    def __init__(self, scheduler, workers, client):
        self.scheduler, self.workers, self.client = scheduler, workers, client


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    folder = tmp_path_factory.mktemp("code")
    (folder / "dask_work.py").write_text(WORK)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


@contextmanager
def two_workers(code, folder, failures):
    """Two workers of one thread each; a task may lose `failures` workers before it is given up."""
    from distributed import Client

    environment = os.environ | {"PYTHONPATH": str(code), "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": str(failures),
                                "DASK_TEMPORARY_DIRECTORY": str(folder)}
    begun, said = [], folder / "scheduler.json"

    def start(*words):
        log = (folder / f"dask-{len(begun)}.log").open("wb")
        begun.append(subprocess.Popen([sys.executable, "-m", "dask", *words, "--host", "127.0.0.1", "--no-dashboard"], env=environment,
                                      stdout=log, stderr=log, cwd=folder))
        log.close()
    try:
        start("scheduler", "--port", "0", "--scheduler-file", str(said))
        end = time.monotonic() + 60
        while not (said.exists() and said.read_text().endswith("}")):
            assert time.monotonic() < end and begun[0].poll() is None, (folder / "dask-0.log").read_text()
            time.sleep(0.02)
        address = json.loads(said.read_text())["address"]
        for _ in range(2):
            start("worker", address, "--nthreads", "1", "--no-nanny")
        with Client(address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
            yield Cluster(begun[0], begun[1:], client)
    finally:
        for process in reversed(begun):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def cluster(code, tmp_path_factory):
    """For tests that leave it as it was."""
    with two_workers(code, tmp_path_factory.mktemp("dask"), 3) as made:
        yield made


@pytest.fixture
def own_cluster(request, code, tmp_path_factory):
    """For tests that break it; `failures` is 3, as in Dask, where the test says nothing else."""
    with two_workers(code, tmp_path_factory.mktemp("dask"), getattr(request, "param", 3)) as made:
        yield made


def go(cluster, tasks, **options):
    import dask_work

    options = {"outcome": lambda task, result: result if result in ("busy", "retry") else "done",
               "failed": lambda task, error: f"{type(error).__name__}: {error}"} | options
    return drain(tasks, dask_work.work, cluster.client.get_executor(pure=False), 2, **options)


def tries(folder, name):
    return (folder / f"{name}.log").read_text().split()


def test_tasks_go_to_both_workers_and_come_back_in_order(cluster, tmp_path):
    tasks = [Task(tmp_path, f"a{n}", tenant="a") for n in range(30)] + [Task(tmp_path, "b", tenant="b"), Task(tmp_path, "e", "raise", "e")]
    ended = []
    results = go(cluster, tasks, on_done=lambda task, result: ended.append(task["name"]))
    assert results == [f"a{n} done" for n in range(30)] + ["b done", "ValueError: no customers"]
    assert ended.index("b") < 8 and len(ended) == 32
    assert {pid for n in range(30) for pid in tries(tmp_path, f"a{n}")} == {str(worker.pid) for worker in cluster.workers}


def test_the_same_task_again_is_done_again(cluster, tmp_path):
    """A pure executor would hand out the first answer for ever; busy and retry need the work to be done anew."""
    tasks = [Task(tmp_path, "busy", "busy"), Task(tmp_path, "retry", "retry", retries=2)]
    assert go(cluster, tasks, seed=1) == ["busy done", "retry done"]
    assert (len(tries(tmp_path, "busy")), len(tries(tmp_path, "retry"))) == (4, 3)


@pytest.mark.parametrize("own_cluster", [0], indirect=True)
def test_a_task_that_kills_its_worker_fails_and_the_others_go_on(own_cluster, tmp_path):
    """Dask counts a worker's death against all tasks that it had been given, so a neighbour may fail with it."""
    tasks = [Task(tmp_path, "a"), Task(tmp_path, "bad", "die"), *[Task(tmp_path, f"t{n}") for n in range(20)]]
    results = go(own_cluster, tasks)
    assert results[1].startswith("KilledWorker: ") and all(result.endswith(" done") or result.startswith("KilledWorker: ") for result in results)
    assert sum(result.endswith(" done") for result in results) >= 22 - (2 + SPARE) and results[-1] == "t19 done"
    assert sum(worker.poll() is not None for worker in own_cluster.workers) == 1


def test_what_a_killed_worker_was_doing_is_done_by_the_other(own_cluster, tmp_path):
    tasks = [Task(tmp_path, "a", "until stopped"), Task(tmp_path, "b", "until stopped"), *[Task(tmp_path, f"t{n}") for n in range(5)]]

    def kill():
        wait_until(lambda: any((tmp_path / f"{name}.log").exists() for name in "ab"), "nothing begins")
        name = "a" if (tmp_path / "a.log").exists() else "b"
        killed.append(name)
        os.kill(int(tries(tmp_path, name)[0]), signal.SIGKILL)
        (tmp_path / "stop").touch()
    killed, killer = [], threading.Thread(target=kill)
    killer.start()
    assert go(own_cluster, tasks) == ["a done", "b done", *[f"t{n} done" for n in range(5)]]
    killer.join()
    first, second = tries(tmp_path, killed[0])
    assert first != second and sum(worker.poll() is not None for worker in own_cluster.workers) == 1


def test_a_scheduler_that_is_gone_ends_the_queue_with_a_result_for_each_task(own_cluster, tmp_path):
    """What was in flight is given up; what was not begun is refused instead of waiting for ever."""
    tasks = [Task(tmp_path, f"t{n}", "" if n < 3 else "until stopped") for n in range(20)]
    ended = []

    def note(task, result):
        ended.append(task["name"])
        if len(ended) == 3:
            own_cluster.scheduler.kill()
    results = go(own_cluster, tasks, on_done=note)
    assert results[:3] == ["t0 done", "t1 done", "t2 done"]
    kinds = [result.split(":")[0] for result in results[3:]]
    assert kinds == ["CancelledError"] * kinds.count("CancelledError") + ["NotStarted"] * kinds.count("NotStarted")
    assert len(kinds) == 17 and kinds.count("CancelledError") <= 4


def test_ctrl_c_lets_what_runs_on_the_workers_end(cluster, tmp_path):
    tasks = [Task(tmp_path, f"t{n}", "" if n < 3 else "until stopped") for n in range(20)]

    def note(task, result):
        if task["name"] == "t2":
            wait_until((tmp_path / "t3.log").exists, "the next one does not begin")
            os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(Interrupted) as caught:
        go(cluster, tasks, on_done=note, stop=(tmp_path / "stop").touch, grace=60)
    ended = len(caught.value.results)  # how many had been handed over depends on which of the first three ended together
    assert caught.value.results == [f"t{n} done" for n in range(ended)] and 4 <= ended <= 5
    assert not (tmp_path / "t6.log").exists()
