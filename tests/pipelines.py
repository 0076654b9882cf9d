"""Drifted batches, heals that wait to be let go: what the tests of the whole pipeline share."""

import threading
import time

from consumer.heal import CancelledError, Healer
from tests.streams import BATCH, DRIFT, events, labels_of, score, stream

TIMEOUT_S = 10
# What only the policy `hedge` says: tests/test_hedge.py holds it against the schema.
ONLY_HEDGE = {
    *("heal-provisional", "heal-withdrawn", "regime-changed", "regime-recognised"),
    *("less-sure", "cannot-heal", "signal-lost", "change-withdrawn", "heal-postponed"),
}
# What is said only where decision.controller is on: tests/integration/test_controller.py does.
# What needs an order from a person: tests/test_control.py does the same for these.
ONLY_PEOPLE = {
    *("approval-requested", "approval-expired", "approval-void", "approved", "rejected"),
    *("pinned", "paused", "resumed", "command-refused"),
}
ONLY_CONTROLLER = {"threshold-judged"}
THREADED = {
    "watch.conflicts": 999,  # FIDI alone raises the alarm
    "health.f1_drop": 1,  # nothing can fall so far: no heal is rolled back
    "health.accuracy_drop": 1,
}
INLINE = THREADED | {"heal.mode": "inline"}
DIVERGING = INLINE | {"heal.learning_rate": 3e37}
# Rolls back where F1 is below that of the first heal.
TOUCHY = INLINE | {
    "health.window": 1,
    "health.min_updates": 2,
    "health.f1_drop": 0,
    "prequential.window_rows": 50,
}


def drifting(batches, *, partition=0):
    """Batches that have drifted from the first one on: FIDI passes 1 at the third."""
    return list(stream(batches * BATCH, drift=DRIFT, partition=partition).batches())


def versions(out):
    """Adapter version of each row scored."""
    return [s.adapter_version for s in out.scores for _ in range(len(s))]


def states(out):
    return [(e["from_state"], e["to_state"]) for e in events(out, "state-changed")]


class Gate:
    """Heals begin, and wait here until they are let go."""

    def __init__(self):
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()

    def wait(self, cancelled):
        self.begun.release()
        while not self.open.wait(0.005):
            if cancelled():
                raise CancelledError


def held(gate):
    """A healer whose heals wait at the gate."""

    class Held(Healer):
        def heal(self, start, x, label, conflict_probability, cancelled, *, moments):
            gate.wait(cancelled)
            return super().heal(start, x, label, conflict_probability, cancelled, moments=moments)

    return Held


def finish(pipeline, gate):
    """Let the heal in flight go and wait until its result lies there, not collected yet."""
    gate.open.set()
    deadline = time.monotonic() + TIMEOUT_S
    while pipeline.healing._worker._results.empty():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def heal_in_flight(pipeline, gate, batches):
    """Score and label three batches: the alarm of the third begins a heal, which waits."""
    for batch in batches[:3]:
        score(pipeline, batch)
        labels_of(pipeline, batch)
    assert gate.begun.acquire(timeout=TIMEOUT_S)
