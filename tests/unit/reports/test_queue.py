"""The queue: fair order, bounded hand-over, waiting on a clock of its own, executors that break, Ctrl-C."""
import functools
import itertools
import json
import multiprocessing
import operator
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field

import numpy as np
import pytest

from tenant_lab.core import progress as watching
from tenant_lab.core.errors import ParameterError
from tenant_lab.reports import queue as module
from tenant_lab.reports.queue import SPARE, Interrupted, NotStarted, Progress, backoff, drain, fair, in_words, wait_for


@dataclass
class Task:
    """Takes `seconds` each time and results in the next of `answers` (the last one again and again)."""

    name: str
    tenant: str = "shop"
    seconds: float = 1.0
    answers: tuple = ("done",)
    retries: int = 0
    begun: list = field(default_factory=list)


class Machine:
    """An executor and its clock: `slots` tasks run at a time, in the order in which they were handed over."""

    def __init__(self, slots, takes=None):
        self.now, self.slots, self.takes = 0.0, slots, takes
        self.queue, self.busy, self.most, self.handed, self.waits = [], {}, 0, 0, []

    def clock(self):
        return self.now

    def submit(self, work, task):
        if self.takes is not None and self.handed >= self.takes:
            raise RuntimeError("cannot schedule new futures after shutdown")
        self.handed += 1
        future = Future()
        self.queue.append((future, work, task))
        self._begin()
        self.most = max(self.most, len(self.queue) + len(self.busy))
        return future

    def _begin(self):
        while self.queue and len(self.busy) < self.slots:
            future, work, task = self.queue.pop(0)
            if future.set_running_or_notify_cancel():
                task.begun.append(self.now)
                self.busy[future] = (self.now + task.seconds, work, task)

    def wait(self, futures, timeout):
        assert timeout is not None or self.busy, "would wait for ever"
        self.waits.append(timeout)
        end = min((end for end, _, _ in self.busy.values()), default=np.inf)
        self.now = min(end, np.inf if timeout is None else self.now + timeout)
        for future in [f for f, (end, _, _) in self.busy.items() if end <= self.now]:
            _, work, task = self.busy.pop(future)
            try:
                future.set_result(work(task))
            except Exception as error:
                future.set_exception(error)
        self._begin()
        return {f for f in futures if f.done()}


def work(task):
    answer = task.answers[min(len(task.begun), len(task.answers)) - 1]
    if isinstance(answer, Exception):
        raise answer
    return answer


def outcome(task, result):
    return result if result in ("retry", "busy") else "done"


def failed(task, error):
    return f"{task.name}: {type(error).__name__}: {error}"


def go(tasks, machine, workers=None, **options):
    return drain(tasks, work, machine, workers or machine.slots, **{"outcome": outcome, "failed": failed, "seed": 1, "clock": machine.clock, "wait": machine.wait, **options})


# -- fair --------------------------------------------------------------------------------------------------------------

def letters(*given):
    return "".join(fair("".join(given), tenant=str))


@pytest.mark.parametrize("given, order", [("", ""), ("a", "a"), ("aaa", "aaa"), ("aaab", "abaa"), ("aabbcc", "abcabc"), ("cba", "cba")])
def test_tenants_are_served_in_turn(given, order):
    assert letters(given) == order


def test_each_tenants_tasks_stay_in_order_and_none_is_lost():
    rng = np.random.default_rng(3)
    for ahead in (1, 2, 7, 1000):
        given = list(enumerate(rng.integers(0, 5, 200).tolist()))
        order = list(fair(given, operator.itemgetter(1), ahead))
        assert sorted(order) == given
        for owner in range(5):
            assert [n for n, o in order if o == owner] == [n for n, o in given if o == owner]


def test_between_two_tasks_of_one_tenant_every_other_waiting_one_is_served():
    order = letters("a" * 50, "b" * 20, "c" * 10)
    assert order[:30] == "abc" * 10 and order[30:50] == "ab" * 10 and order[50:] == "a" * 30


def test_it_reads_no_further_ahead_than_told():
    read = []

    def endless():
        for n in itertools.count():
            read.append(n)
            yield n
    out = fair(endless(), tenant=lambda n: n % 3, ahead=10)
    assert len(list(itertools.islice(out, 25))) == 25 and len(read) == 34  # 24 gone and 10 in the lines
    assert list(fair(range(3), tenant=lambda n: 0, ahead=1)) == [0, 1, 2]


# -- drain -------------------------------------------------------------------------------------------------------------

def test_one_task_among_a_thousand_is_not_kept_waiting():
    ended, machine = [], Machine(4)
    tasks = [Task(f"a{n}", "a") for n in range(1000)] + [Task("b", "b")]
    assert go(tasks, machine, on_done=lambda task, result: ended.append(task.name)) == ["done"] * 1001
    assert ended.index("b") < 2 * 4 and len(ended) == 1001


def test_results_come_in_the_order_of_the_tasks_and_on_done_as_they_end():
    tasks = [Task("slow", "a", 9, ("slow",)), Task("quick", "a", 1, ("quick",)), Task("other", "b", 2, ("other",))]
    ended = []
    assert go(tasks, Machine(3), on_done=lambda task, result: ended.append((task.name, result))) == ["slow", "quick", "other"]
    assert ended == [("quick",) * 2, ("other",) * 2, ("slow",) * 2]


def test_what_ends_at_the_same_time_is_told_in_the_order_in_which_it_began():
    ended = []
    go([Task(str(n), str(n)) for n in range(24)], Machine(8), on_done=lambda task, result: ended.append(task.name))
    assert ended == [str(n) for n in range(24)]


def test_no_more_is_handed_over_or_read_than_needed():
    machine, read, most = Machine(3), [], []

    def tasks():
        for n in range(20_000):
            read.append(n)
            yield Task(str(n), str(n % 7), 1)

    def note(task, result):
        most.append(len(read) - len(most))
    assert len(go(tasks(), machine, on_done=note)) == 20_000
    assert machine.most == 3 + SPARE and max(most) <= 10_000 + 3 + SPARE


def test_no_worker_is_idle_while_there_is_work():
    """1,000 tasks of 1 s on 4 workers take 250 s, not more."""
    machine = Machine(4)
    go([Task(str(n), str(n % 9)) for n in range(1000)], machine)
    assert machine.now == 250


def test_nothing_to_do():
    assert go([], Machine(1)) == []


@pytest.mark.parametrize("workers", [0, -1, 1.5, None, True])
def test_workers_are_a_number_from_one(workers):
    with pytest.raises(ParameterError, match="workers .*: needs a whole number from 1"):
        drain([], work, None, workers, outcome=outcome, failed=failed)


def test_an_outcome_that_is_none_is_refused_and_what_runs_is_taken_back():
    with ThreadPoolExecutor(1) as pool, pytest.raises(ParameterError, match="outcome 'perhaps': allowed are done, retry, busy"):
        drain([Task(str(n)) for n in range(10)], lambda task: "perhaps", pool, 1, outcome=lambda task, result: result, failed=failed)
    machine = Machine(1)
    tasks = [Task(str(n)) for n in range(10)]
    with pytest.raises(ZeroDivisionError):
        go(tasks, machine, on_done=lambda task, result: 1 / 0)
    assert [future.cancelled() for future, _, _ in machine.queue] == [True]  # one ended, one runs, one could be taken back


# -- again and again ---------------------------------------------------------------------------------------------------

class Full:
    """Draws the end of each interval, so that the schedule can be read off."""

    def uniform(self, low, high):
        assert low == 0
        return high


def test_full_jitter_lies_between_nothing_and_a_doubling_limit():
    rng = np.random.default_rng(1)
    for attempt in range(10):
        drawn = np.array([backoff(attempt, rng) for _ in range(2000)])
        limit = min(60, 2 ** attempt)
        assert drawn.min() >= 0 and drawn.max() <= limit
        assert abs(drawn.mean() - limit / 2) < 4 * limit / np.sqrt(12 * 2000)  # four standard errors of a uniform mean
    assert backoff(10**6, Full()) == 60


def test_a_passing_error_is_tried_again_after_1_2_4_to_60_seconds(monkeypatch):
    monkeypatch.setattr(np.random, "default_rng", lambda seed: Full())
    task = Task("flaky", seconds=0.0, answers=("retry",) * 9 + ("fine",), retries=9)
    assert go([task], Machine(1)) == ["fine"]
    assert np.diff(task.begun).tolist() == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_task_is_tried_as_often_as_it_says_and_keeps_its_last_result(retries):
    task = Task("bad", answers=("retry",), retries=retries)
    assert go([task], Machine(1)) == ["retry"] and len(task.begun) == retries + 1


def test_a_task_without_retries_is_tried_once():
    assert drain(["a"], lambda task: "retry", ThreadPoolExecutor(1), 1, outcome=lambda t, r: r, failed=failed, tenant=str) == ["retry"]


def test_an_exception_may_be_worth_another_try():
    task = Task("flaky", answers=(OSError("disk busy"), "fine"), retries=1)
    assert go([task], Machine(1), outcome=lambda task, result: "retry" if "disk busy" in result else "done") == ["fine"]


def test_who_waits_occupies_no_worker():
    """One worker: 50 tasks of 1 s are through in 50 s although two others wait for their next try meanwhile."""
    ended, machine = {}, Machine(1)
    tasks = [Task("r", "r", 0.0, ("retry",) * 5 + ("done",), retries=5), Task("b", "b", 0.0, ("busy",) * 30 + ("done",))]
    tasks += [Task(str(n), str(n)) for n in range(50)]
    assert go(tasks, machine, on_done=lambda task, result: ended.setdefault(task.name, machine.now)) == ["done"] * 52
    assert max(ended[str(n)] for n in range(50)) == 50


def test_busy_is_looked_at_again_soon_then_every_five_seconds_and_is_no_retry(monkeypatch):
    monkeypatch.setattr(np.random, "default_rng", lambda seed: Full())
    task = Task("taken", seconds=0.0, answers=("busy",) * 40 + ("fine",), retries=0)
    assert go([task], Machine(1)) == ["fine"]
    assert np.diff(task.begun).tolist() == [0.25, 0.5, 1, 2, 4] + [5] * 35


def test_looks_do_not_use_up_retries():
    task = Task("both", answers=("busy", "retry", "busy", "busy", "retry", "fine"), retries=2)
    assert go([task], Machine(1)) == ["fine"]


def test_many_that_are_looked_at_again_do_not_keep_fresh_ones_waiting():
    """Two hundred busy tasks whose looks take longer than the time between them; one worker."""
    ended, machine = [], Machine(1)
    tasks = [Task(f"busy{n}", f"t{n}", 0.5, ("busy",) * 60 + ("done",)) for n in range(200)] + [Task(f"f{n}", "fresh", 0.5) for n in range(50)]
    go(tasks, machine, on_done=lambda task, result: ended.append(task.name))
    assert set(ended[:50]) == {f"f{n}" for n in range(50)}


def test_an_endless_line_of_fresh_ones_does_not_keep_a_retry_waiting():
    flaky = Task("flaky", "r", 0.1, ("retry", "fine"), retries=1)
    ended = []
    go([flaky, *[Task(str(n), "a", 0.1) for n in range(2000)]], Machine(1), on_done=lambda task, result: ended.append(task.name))
    assert ended.index("flaky") < 2 * 10 + 2 * (SPARE + 1)  # due within a second, in which ten others end; then every second one


def test_two_queues_do_not_knock_at_the_same_moments():
    def knocks(seed):
        task = Task("r", answers=("retry",), retries=6)
        go([task], Machine(1), seed=seed)
        return task.begun
    assert knocks(1) == knocks(1) != knocks(2) and knocks(None) != knocks(None)


# -- what breaks -------------------------------------------------------------------------------------------------------

def test_an_exception_becomes_a_result_and_the_others_go_on():
    tasks = [Task("a"), Task("b", answers=(ValueError("bad column"),)), Task("c")]
    assert go(tasks, Machine(1)) == ["done", "b: ValueError: bad column", "done"]


def test_an_executor_that_takes_no_more_refuses_the_rest_with_its_reason():
    tasks = [Task("r", answers=("retry",), retries=9), *[Task(f"t{n}") for n in range(8)]]
    results = go(tasks, Machine(1, takes=4))
    assert results[:4] == ["retry", "done", "done", "done"]  # who was tried keeps what came of it
    assert results[4:] == [f"t{n}: NotStarted: the executor takes no more work: RuntimeError: cannot schedule new futures after shutdown"
                           for n in range(3, 8)]


def test_who_was_busy_when_the_executor_broke_is_refused():
    results = go([Task("b", answers=("busy",)), Task("t"), Task("u")], Machine(1, takes=2))
    assert results[1] == "done" and all(result.split(": ")[1] == "NotStarted" for result in (results[0], results[2]))


def test_nobody_waits_for_a_turn_that_cannot_come(monkeypatch):
    monkeypatch.setattr(np.random, "default_rng", lambda seed: Full())
    machine = Machine(1, takes=2)
    assert go([Task("r", answers=("retry",), retries=9), Task("t", seconds=0.0), Task("u")], machine)[:2] == ["retry", "done"]
    assert machine.now == 1  # and not 2, when the retry would have been due


def test_a_task_that_cannot_travel_fails_alone():
    class Picky(Machine):
        def submit(self, work, task):
            if task.name == "b":
                raise TypeError("cannot pickle '_thread.lock' object")
            return super().submit(work, task)
    assert go([Task("a"), Task("b"), Task("c")], Picky(1)) == ["done", "b: TypeError: cannot pickle '_thread.lock' object", "done"]


def test_an_executor_that_gives_up_what_it_took_is_given_nothing_more():
    """As Dask does when its scheduler is gone; what is handed over afterwards would wait for ever."""
    class Lost(Machine):
        def wait(self, futures, timeout):
            for future in futures:
                future._state = "PENDING"
                future.cancel()
                future.set_running_or_notify_cancel()
            return set(futures)
    machine = Lost(1)
    results = go([Task(f"t{n}") for n in range(6)], machine)
    assert [result.split(": ")[1] for result in results] == ["CancelledError"] * 3 + ["NotStarted"] * 3 and machine.handed == 3


def tasks_of(*calls):
    """Tasks that travel to any process: partial functions, with a tenant and a number of retries."""
    made = [functools.partial(*call) for call in calls]
    for task in made:
        task.tenant, task.retries = "shop", 0
    return made


def test_a_pool_of_processes_does_the_work():
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        results = drain(tasks_of(*[(pow, 2, n) for n in range(20)], (int, "x")), operator.call, pool, 2, outcome=outcome, failed=lambda task, error: repr(error))
    assert results[:20] == [2 ** n for n in range(20)] and "invalid literal" in results[20]


def test_a_process_that_dies_breaks_its_pool_and_every_task_has_a_result():
    errors = Counter()

    def note(task, error):
        errors[type(error)] += 1
        return "bad"
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        results = drain(tasks_of((pow, 2, 2), (os._exit, 1), *[(time.sleep, 1)] * 60), operator.call, pool, 2,
                        outcome=outcome, failed=note)
    assert len(results) == 62 and results[1] == "bad"
    assert set(errors) == {BrokenProcessPool, NotStarted} and errors[BrokenProcessPool] <= 2 + SPARE
    assert results.count("bad") == sum(errors.values()) and results[-1] == "bad"


# -- interrupted -------------------------------------------------------------------------------------------------------

CHILD = """
    import os, signal, sys, threading, time, json
    from concurrent.futures import ThreadPoolExecutor
    from types import SimpleNamespace
    from tenant_lab.reports.queue import Interrupted, drain
    ended, begun = threading.Event(), []

    def work(task):
        begun.append(task.name)
        if task.name >= 3:
            if task.name == 3:
                threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            {heed}
        return "done"

    def stop():
        ended.set()
        {stop}

    tasks = [SimpleNamespace(name=n, tenant="a") for n in range(100)]
    pool = ThreadPoolExecutor(2)
    try:
        drain(tasks, work, pool, 2, outcome=lambda task, result: result, failed=lambda task, error: repr(error), stop=stop, grace={grace})
    except Interrupted as interrupted:
        print(json.dumps(["interrupted", interrupted.results, len(begun), str(interrupted)]))
    except KeyboardInterrupt:
        print(json.dumps(["at once"]))
    sys.stdout.flush()
    os._exit(0)
"""


def child(heed, stop="", grace=30):
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(CHILD).format(heed=heed, stop=stop, grace=grace)],
                         capture_output=True, text=True, timeout=100)
    assert run.stdout, run.stderr
    return json.loads(run.stdout)


def test_ctrl_c_stops_handing_over_lets_the_running_end_and_carries_what_is_done():
    """Two workers: 3 (which sends the signal) and its neighbour run until they are stopped; nothing begins after that."""
    said, results, begun, text = child("ended.wait()")
    assert (said, results) == ("interrupted", ["done"] * 5) and begun == 5 and text == "interrupted after 5 tasks"


def test_who_does_not_heed_the_stop_is_left_behind():
    said, results, begun, _ = child("threading.Event().wait()", grace=0.2)
    assert (said, results, begun) == ("interrupted", ["done"] * 3, 5)


def test_a_second_ctrl_c_ends_at_once():
    assert child("threading.Event().wait()", "threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()", grace=1000) == ["at once"]


@pytest.fixture
def interrupting():
    """A machine whose third wait is interrupted."""
    class Interrupting(Machine):
        def wait(self, futures, timeout):
            if len(self.waits) == 3:
                self.waits.append("interrupted")
                raise KeyboardInterrupt
            return super().wait(futures, timeout)
    return Interrupting(2)


def test_only_what_cannot_have_begun_is_taken_back(interrupting):
    stopped = []
    tasks = [Task(str(n), seconds=1 + 0.1 * n) for n in range(20)]
    with pytest.raises(Interrupted) as caught:
        go(tasks, interrupting, stop=lambda: stopped.append(len(interrupting.busy)), grace=100)
    assert stopped == [2] and sum(bool(task.begun) for task in tasks) == 5
    assert caught.value.results == ["done"] * 5 and isinstance(caught.value, KeyboardInterrupt)


def test_what_runs_is_not_taken_back_from_an_executor_that_would_allow_it():
    """Dask says of a running task that it is pending, and that it was cancelled when asked to."""
    class Soft(Machine):
        def _begin(self):
            while self.queue and len(self.busy) < self.slots:
                future, work, task = self.queue.pop(0)
                if not future.cancelled():
                    task.begun.append(self.now)
                    self.busy[future] = (self.now + task.seconds, work, task)
    told = []

    def tell(task, result):
        told.append(task.name)
        if len(told) == 3:  # of the second pair; its futures are still in the books
            raise KeyboardInterrupt
    tasks = [Task(str(n), answers=(str(n),)) for n in range(20)]
    with pytest.raises(Interrupted) as caught:
        go(tasks, Soft(2), on_done=tell, grace=100)
    assert caught.value.results == list("012345") and sorted(told) == list("012345")


def test_what_is_busy_or_worth_a_retry_when_interrupted(interrupting):
    """A retry that will not come leaves its result; who was busy has none."""
    tasks = [Task("a", "a", 1), Task("b", "b", 2), Task("c", "c", 3), Task("retry", "r", 5, ("retry",), retries=3), Task("busy", "s", 5, ("busy",))]
    with pytest.raises(Interrupted) as caught:
        go(tasks, interrupting, grace=100)
    assert caught.value.results == ["done", "done", "done", "retry"]


def test_an_interrupt_while_a_result_is_told_loses_and_doubles_nothing():
    told = []

    def tell(task, result):
        told.append(task.name)
        if len(told) == 3:
            raise KeyboardInterrupt
    tasks = [Task(str(n)) for n in range(20)]
    with pytest.raises(Interrupted) as caught:
        go(tasks, Machine(2), on_done=tell, grace=100)
    assert sorted(told) == list("012345") and caught.value.results == ["done"] * 6  # two more had begun


# -- progress ----------------------------------------------------------------------------------------------------------

def test_what_is_left_is_estimated_from_the_last_fifty():
    progress = Progress("reports", 200, bad=lambda result: result != "ok")
    assert progress.left(5) is None
    for _ in range(100):
        progress.add("ok", 1000.0, 5)
    for n in range(50):
        text = progress.add("ok" if n % 2 else "bad", 6.0, 5)
    assert progress.left(5) == 6.0 * 50 / 5 and text == "reports 150/200, 25 failed, about 1 min left"
    progress.close()


def test_the_estimate_is_right_for_tasks_of_one_length_whatever_the_number_of_workers():
    """By Little's law, also when the executor has fewer workers than it was said to have."""
    for slots, workers in [(1, 1), (4, 4), (2, 8), (8, 8)]:
        machine, seen = Machine(slots), []

        class Kept(Progress):
            def add(self, result, seconds, at_once, machine=machine, seen=seen):
                text = super().add(result, seconds, at_once)
                seen.append((machine.now, self.left(at_once)))
                return text
        go([Task(str(n), seconds=10) for n in range(400)], machine, workers, progress=Kept("runs", 400))
        now, left = seen[200]
        assert machine.now - now == pytest.approx(left, rel=0.1)


def test_the_last_tasks_take_at_least_one_tasks_time_and_none_takes_none():
    progress = Progress("runs", 2)
    progress.add("ok", 30.0, 8)
    assert progress.left(8) == 30
    assert progress.add("ok", 30.0, 8) == "runs 2/2" and progress.left(8) == 0
    progress.add("more than was said", 30.0, 8)
    assert progress.left(8) == 0


def test_without_a_total_nothing_is_said_about_what_is_left():
    assert Progress("runs").add("ok", 3.0, 1) == "runs 1"


@pytest.mark.parametrize("seconds, text", [(0, "5 s"), (42, "40 s"), (57, "55 s"), (58, "1 min"), (200, "3 min"), (5399, "90 min"), (5400, "2 h"), (86400, "24 h")])
def test_lengths_of_time_in_words(seconds, text):
    assert in_words(seconds) == text


def test_the_bar_is_drawn_in_a_terminal_only(monkeypatch, capsys):
    go([Task("a"), Task("b")], Machine(1), progress=Progress("runs", 2))
    assert capsys.readouterr() == ("", "")
    assert watching.watched() is False
    monkeypatch.setattr(module, "watched", lambda: True)
    progress = Progress("runs", 3, bad=lambda result: True)
    progress.add("x", 100.0, 1)
    progress._bar.refresh()
    progress.close()
    drawn = capsys.readouterr().err
    assert "runs |" in drawn and "1/3, 1 failed, about 3 min left" in drawn


def test_the_bar_is_taken_away_at_every_end(interrupting):
    class Closing(Progress):
        closed = 0

        def close(self):
            self.closed += 1
            super().close()
    well, badly = Closing("runs"), Closing("runs")
    go([Task("a")], Machine(1), progress=well)
    with pytest.raises(Interrupted):
        go([Task(str(n)) for n in range(20)], interrupting, progress=badly)
    assert (well.closed, badly.closed) == (1, 1)


# -- waiting -----------------------------------------------------------------------------------------------------------

def test_waiting_returns_what_is_done_and_does_not_hang_without_futures():
    done, never = Future(), Future()
    done.set_result(1)
    assert wait_for({done, never}, None) == {done} and wait_for({never}, 0.0) == set() and wait_for({}, 0.0) == set() and wait_for([], None) == set()


def test_a_queue_in_another_thread_than_the_main_one():
    out = []
    with ThreadPoolExecutor(2) as pool:
        thread = threading.Thread(target=lambda: out.extend(drain(range(50), lambda n: n * n, pool, 2, outcome=lambda t, r: "done", failed=failed, tenant=lambda n: n % 3)))
        thread.start()
        thread.join(60)
    assert out == [n * n for n in range(50)]
