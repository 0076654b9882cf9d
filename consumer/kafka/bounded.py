"""Calls that may never come back, made on a thread of their own and given up on in time.

librdkafka ignores the time-out of a call whose coordinator goes away at the wrong moment. Such a
call cannot be cancelled: who has given up on one may not touch its client again. As a by-product
signals are heard while a call waits.

Source: https://github.com/confluentinc/librdkafka/issues/5456 and 5511
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

# Seconds within which a function comes back, and the function.
Call = tuple[float, Callable[[], Any]]


class Unanswered(Exception):  # noqa: N818
    """A call did not come back in time."""


def nothing() -> None:
    """There is nothing to do beside."""


class Bounded:
    """Calls one after the other, on one thread that stays.

    It costs 15 us a call, also beside a heal, where a new thread for each would cost 3 ms.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Sequence[Call] | None] = queue.SimpleQueue()
        self._ends: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        self._given_up = False
        threading.Thread(target=self._run, name="kafka calls", daemon=True).start()

    def __call__(self, *calls: Call, meanwhile: Callable[[], None] = nothing) -> Any:
        """What the last of the calls returns; the first one that raises is the last.

        `meanwhile` is called while they wait.

        Raises: what a call raises; Unanswered where one does not come back in its time. Not to be
        called any more then.
        """
        self._calls.put(calls)
        try:
            meanwhile()
        finally:
            for within_s, _ in calls:
                try:
                    found, error = self._ends.get(timeout=within_s)
                except queue.Empty:
                    self._given_up = True
                    raise Unanswered(f"no answer within {within_s:g} s") from None
                if error is not None:
                    raise error
        return found

    def give_up(self) -> NoReturn:
        """Within a call: have it given up on at once. It never goes on."""
        self._given_up = True
        self._ends.put((None, Unanswered("no answer")))
        while True:
            threading.Event().wait()

    def close(self) -> None:
        """End the thread as soon as no call holds it."""
        self._calls.put(None)

    def _run(self) -> None:
        while (calls := self._calls.get()) is not None:
            for _, function in calls:
                if self._given_up:
                    break  # nobody knows any more that it would be called
                try:
                    self._ends.put((function(), None))
                except BaseException as error:
                    self._ends.put((None, error))
                    break
