"""Whose job is next: no clock, each job ends when the test says so."""

import queue
import threading
from collections.abc import Callable, Iterator

import pytest

from models.worker.fair_threads import FairThreads, Job

WITHIN_S = 60


class Jobs:
    """Jobs that say that they have begun, and wait for their names to be called."""

    def __init__(self, threads: int) -> None:
        self.pool: FairThreads[str] = FairThreads(threads, "test", 2**20)
        self.begun: queue.Queue[str] = queue.Queue()
        self.gates: dict[str, threading.Event] = {}

    def submit(self, name: str, owner: str) -> Job[str]:
        self.gates[name] = threading.Event()
        return self.pool.submit(self._call(name), owner)

    def next(self) -> str:
        return self.begun.get(timeout=WITHIN_S)

    def end(self, name: str) -> None:
        self.gates[name].set()

    def _call(self, name: str) -> Callable[[], str]:
        def call() -> str:
            self.begun.put(name)
            assert self.gates[name].wait(WITHIN_S)
            return name.upper()

        return call


@pytest.fixture
def jobs(request: pytest.FixtureRequest) -> Iterator[Jobs]:
    made = Jobs(request.param)
    yield made
    for gate in made.gates.values():
        gate.set()


@pytest.mark.parametrize("jobs", [1], indirect=True)
def test_owners_take_turns(jobs: Jobs) -> None:
    for name in ("e1", "e2", "e3", "e4", "b1", "b2", "c1"):
        jobs.submit(name, name[0])
    order: list[str] = []
    for _ in range(7):
        order.append(jobs.next())
        jobs.end(order[-1])
    assert order == ["e1", "b1", "c1", "e2", "b2", "e3", "e4"]


@pytest.mark.parametrize("jobs", [2], indirect=True)
def test_nobody_has_two_threads_while_another_waits(jobs: Jobs) -> None:
    for name in ("e1", "e2"):
        jobs.submit(name, "e")
    assert {jobs.next(), jobs.next()} == {"e1", "e2"}  # while nobody else did
    for name in ("e3", "e4", "b1"):
        jobs.submit(name, name[0])
    jobs.end("e1")
    assert jobs.next() == "b1"
    jobs.end("b1")
    assert jobs.next() == "e3"  # nobody else waits


@pytest.mark.parametrize("jobs", [1], indirect=True)
def test_what_several_wait_for_is_the_turn_of_the_first_of_them(jobs: Jobs) -> None:
    jobs.submit("e1", "e")
    assert jobs.next() == "e1"
    jobs.submit("e2", "e")
    shared = jobs.submit("e3", "e")
    jobs.pool.join(shared, "b")
    jobs.end("e1")
    assert jobs.next() == "e3"
    jobs.end("e3")
    assert shared.result(WITHIN_S) == "E3"
    assert shared.owner == "b"


@pytest.mark.parametrize("jobs", [1], indirect=True)
def test_a_job_goes_with_the_last_who_waited_for_it(jobs: Jobs) -> None:
    running = jobs.submit("e1", "e")
    assert jobs.next() == "e1"
    lost, kept, last = (jobs.submit(name, "e") for name in ("e2", "e3", "e4"))
    jobs.pool.join(kept, "b")
    for job in (lost, kept, running):
        jobs.pool.leave(job, "e")
    assert lost.future.cancelled()
    assert not kept.future.cancelled()
    assert not running.future.cancelled()  # it cannot be stopped
    assert jobs.pool.abandoned == ["e"]
    for name in ("e1", "e3", "e4"):
        jobs.end(name)
    assert running.result(WITHIN_S) == "E1"
    assert last.result(WITHIN_S) == "E4"
    assert [jobs.next(), jobs.next()] == ["e3", "e4"]
    assert jobs.pool.abandoned == []


@pytest.mark.parametrize("jobs", [1], indirect=True)
def test_a_job_that_fails_says_so_and_the_next_is_done(jobs: Jobs) -> None:
    def fail() -> str:
        raise ValueError("no")

    failed = jobs.pool.submit(fail, "e")
    with pytest.raises(ValueError, match="no"):
        failed.result(WITHIN_S)
    after = jobs.submit("e1", "e")
    jobs.end("e1")
    assert after.result(WITHIN_S) == "E1"
    assert jobs.pool.abandoned == []
