"""The thread that heals: one heal at a time, whose failures are results."""

import queue
import threading

import numpy as np
import pytest

from consumer.columns import Labelled
from consumer.heal import CancelledError, DivergedError, Healed
from consumer.worker import HealRequest, HealResult, Worker
from tests.streams import model, stream

TIMEOUT_S = 10


class Scripted:
    """A healer whose every heal waits to be let go, then does what the test says."""

    def __init__(self, does=None):
        self.started = threading.Semaphore(0)
        self.go = threading.Event()
        self.threads = []
        self._does = does

    def heal(self, start, x, label, conflict_probability, cancelled, *, moments):
        self.threads.append(threading.current_thread().name)
        self.started.release()
        while True:
            if cancelled():
                raise CancelledError
            if self.go.wait(0.01):
                break
        if self._does:
            raise self._does
        return Healed(start, moments, x[:, 0], 1.0, 0.5, conflict_probability)


@pytest.fixture
def working():
    """Start workers that end with the test."""
    workers = []

    def start(healer):
        workers.append((healer, Worker(healer, low_priority=True)))
        return workers[-1][1]

    yield start
    for healer, worker in workers:
        healer.go.set()
        assert worker.close(TIMEOUT_S)


def request(conflict_probability=0.3, start=None):
    rows = stream(4)
    given, labels = rows.transactions, rows.labels
    ones = given.x[:, 0]
    labelled = Labelled(
        0,
        given.ids,
        given.event_time,
        labels.labelled_at,
        labels.is_fraud,
        labels.source,
        given.x,
        ones,
        ones,
        ones,
        labels.is_fraud,
        labels.is_fraud,
        given.offset,
        given.offset,
        ones,
        np.zeros((4, 0), np.uint8),
    )
    return HealRequest(labelled, conflict_probability, start or {})


def test_a_result_is_taken_when_it_is_there(working):
    healer = Scripted()
    worker = working(healer)
    start = model().base_adapter

    worker.submit(request(0.25, start))
    assert healer.started.acquire(timeout=TIMEOUT_S)
    assert worker.take() is None
    assert worker.busy
    healer.go.set()
    result = worker.take(TIMEOUT_S)

    assert (result.reason, result.healed.positive_weight) == ("", 0.25)
    assert result.healed.adapter is start
    assert healer.threads == ["healer"]
    assert not worker.busy
    assert worker.take() is None  # it is handed over once


def test_one_heal_at_a_time(working):
    healer = Scripted()
    worker = working(healer)

    worker.submit(request())
    assert healer.started.acquire(timeout=TIMEOUT_S)
    worker.submit(request())  # waits in the queue's one place
    with pytest.raises(queue.Full):
        worker.submit(request())

    assert not healer.started.acquire(timeout=0.05)
    healer.go.set()
    assert worker.take(TIMEOUT_S) is not None
    assert worker.take(TIMEOUT_S) is not None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (DivergedError("loss 1 became nan"), "diverged: loss 1 became nan"),
        (KeyError("scale"), "failed: KeyError: 'scale'"),
        (MemoryError(), "failed: MemoryError: "),
    ],
)
def test_a_failure_is_a_result_and_the_next_heal_runs(working, error, reason):
    healer = Scripted(does=error)
    healer.go.set()
    worker = working(healer)

    for _ in range(2):
        worker.submit(request())
        assert worker.take(TIMEOUT_S) == HealResult(None, reason)


def test_a_cancelled_heal_leaves_nothing_and_the_next_one_runs(working):
    healer = Scripted()
    worker = working(healer)
    worker.submit(request(0.1))
    assert healer.started.acquire(timeout=TIMEOUT_S)

    worker.cancel()

    assert not worker.busy
    assert worker.take() is None
    healer.go.set()
    worker.submit(request(0.2))
    assert worker.take(TIMEOUT_S).healed.positive_weight == 0.2


def test_there_is_nothing_to_cancel_where_nothing_runs(working):
    healer = Scripted()
    healer.go.set()
    worker = working(healer)

    worker.cancel()  # would wait for ever for a result that cannot come

    worker.submit(request())
    assert worker.take(TIMEOUT_S).healed is not None


@pytest.mark.parametrize("busy", [False, True])
def test_close_ends_the_thread(busy):
    healer = Scripted()
    worker = Worker(healer, low_priority=False)
    if busy:
        worker.submit(request())
        assert healer.started.acquire(timeout=TIMEOUT_S)

    assert worker.close(TIMEOUT_S)
    assert not worker._thread.is_alive()


def test_close_says_where_a_heal_does_not_end_in_time():
    class Deaf(Scripted):
        def heal(self, start, x, label, conflict_probability, cancelled, *, moments):
            return super().heal(
                start, x, label, conflict_probability, lambda: False, moments=moments
            )

    healer = Deaf()
    worker = Worker(healer, low_priority=False)
    worker.submit(request())
    assert healer.started.acquire(timeout=TIMEOUT_S)

    assert not worker.close(0.05)
    healer.go.set()
    worker._thread.join(TIMEOUT_S)
    assert not worker._thread.is_alive()
