"""The thread that heals. It shares nothing with scoring but two queues of one place each.

    loop ── HealRequest ─▶ queue ─▶ thread: heal a copy ─▶ queue ── HealResult ─▶ loop

Scoring takes no lock that a heal holds: the loop looks into the result queue at batch ends and goes
on where it is empty. A request is handed over only when the result before it was taken, so every
heal starts from the adapter that the loop then holds; a newer request replaces one still waiting.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from consumer import failpoints, model_directory
from consumer.columns import Labelled
from consumer.heal import CancelledError, DivergedError, Healed, Healer, Moments
from consumer.model import AdapterState

# Training at the loop's own priority costs over a third of its throughput where it is saturated.
NICENESS = 19


@dataclass(frozen=True, slots=True)
class HealRequest:
    """Heal on these rows, from this adapter and these moments."""

    rows: Labelled
    conflict_probability: float
    start: AdapterState
    moments: Moments | None = None

    def run(self, healer: Healer, cancelled: Callable[[], bool]) -> Healed:
        """On the worker's thread."""
        return healer.heal(
            self.start,
            self.rows.x,
            self.rows.is_fraud,
            self.conflict_probability,
            cancelled,
            moments=self.moments,
        )


class FailedError(Exception):
    """The heal came to nothing, as the message says."""


class Request(Protocol):
    """What a policy hands over: it runs on the worker's thread, with the policy's healer."""

    def run(self, healer: Any, cancelled: Callable[[], bool]) -> Any:
        """Heal. Raises: DivergedError, FailedError; CancelledError soon after `cancelled` does."""


@dataclass(frozen=True, slots=True)
class HealResult:
    """What became of a request: a candidate, or why there is none."""

    healed: Any  # as the request's `run` gives it; None where there is a reason
    reason: str = ""


class _Stop:
    pass


class Worker:
    """Runs heals one at a time on a thread of its own."""

    def __init__(self, healer: Any, *, low_priority: bool) -> None:
        self._healer = healer
        self._low_priority = low_priority
        self._requests: queue.Queue[Request | _Stop] = queue.Queue(1)
        self._results: queue.Queue[HealResult] = queue.Queue(1)
        self._busy = False
        self._cancelled = threading.Event()
        self._thread = threading.Thread(target=self._run, name="healer", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Is a request handed over whose result was not taken?"""
        return self._busy

    def submit(self, request: Request) -> None:
        """Hand over a request; only when not `busy`."""
        self._busy = True
        self._requests.put_nowait(request)

    def take(self, timeout_s: float = 0.0) -> HealResult | None:
        """The result, if there is one within `timeout_s`; 0 does not wait."""
        try:
            result = self._results.get(block=timeout_s > 0, timeout=timeout_s or None)
        except queue.Empty:
            return None
        self._busy = False
        return result

    def cancel(self) -> None:
        """Have the heal in flight end before its next step, and throw its result away."""
        if self._busy:
            self._cancelled.set()
            self._results.get()
            self._cancelled.clear()
            self._busy = False

    def close(self, timeout_s: float) -> bool:
        """Have a heal in flight end before its next step; says whether the thread ended in time."""
        self._cancelled.set()
        try:
            self._requests.put(_Stop(), timeout=timeout_s)
        except queue.Full:
            return False
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        model_directory.one_thread()
        if self._low_priority and sys.platform == "linux":
            # On Linux a priority is a thread's own; elsewhere it would slow the whole process.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while not isinstance(item := self._requests.get(), _Stop):
            self._results.put(self._heal(item))

    def _heal(self, request: Request) -> HealResult:
        failpoints.reach("heal")
        try:
            healed = request.run(self._healer, self._cancelled.is_set)
        except CancelledError:
            return HealResult(None, "cancelled")
        except DivergedError as error:
            return HealResult(None, f"diverged: {error}")
        except FailedError as error:
            return HealResult(None, f"failed: {error}")
        except Exception as error:
            # Whatever fails here must not take scoring with it: the heal is refused, and said.
            return HealResult(None, f"failed: {type(error).__name__}: {error}")
        return HealResult(healed)
