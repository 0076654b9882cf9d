"""Signals: SIGTERM and Ctrl-C end the loop in order, SIGHUP has it read the thresholds again."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from consumer.loop import Loop

# librdkafka waits up to a minute for a broker that is gone; who sent a signal does not. To leave at
# once is safe: what is not committed was never visible.
PATIENCE_S = 10
# A C library that keeps Python's lock keeps every thread of Python's; who ends it then is none.
LOCKED_S = 5


@contextmanager
def signals(loop: Loop) -> Iterator[None]:
    """SIGTERM and Ctrl-C stop the loop, SIGHUP reads the thresholds again."""

    def too_late() -> None:
        print(
            f"error: no end within {PATIENCE_S} s of the signal (no broker answers?). Nothing "
            "uncommitted is visible; the next start goes on from the committed offsets",
            file=sys.stderr,
        )
        os._exit(1)

    timer = threading.Timer(PATIENCE_S, too_late)
    timer.daemon = True

    def stop(number: int, _: object) -> None:
        if not timer.is_alive():
            faulthandler.dump_traceback_later(PATIENCE_S + LOCKED_S, exit=True)
            timer.start()
        loop.stop(signal.Signals(number).name)

    handlers = {
        signal.SIGTERM: stop,
        signal.SIGINT: stop,
        signal.SIGHUP: lambda *_: loop.reload_thresholds(),
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        timer.cancel()
        faulthandler.cancel_dump_traceback_later()
        for number, handler in before.items():
            signal.signal(number, handler)
