"""Named places at which a process can be made to die, to test what a crash there leaves behind.

`REFLEXIVE_FAILPOINT=offsets:3` kills the process (SIGKILL: nothing is cleaned up) when it reaches
the place `offsets` for the third time, after a line in the file that `REFLEXIVE_FAILPOINT_LOG`
names has proven that it did. Without the variable a place costs one comparison.

Source: the idea of fail(9), https://man.freebsd.org/cgi/man.cgi?query=fail
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

PLACES = ("produced", "offsets", "committing", "heal", "swap", "restore", "rebalance")

_place, _, _count = os.environ.get("REFLEXIVE_FAILPOINT", "").partition(":")
_left = int(_count or 1)
_lock = threading.Lock()


def reach(place: str, *, within_s: float = 0.0) -> None:
    """Die here if that was ordered; with `within_s` a moment later, while the caller goes on."""
    if place == _place:
        _reached(place, within_s)


def _reached(place: str, within_s: float) -> None:
    global _left
    with _lock:
        _left -= 1
        if _left:
            return
    if within_s:
        threading.Thread(target=_die, args=(place, within_s), daemon=True).start()
    else:
        _die(place, 0.0)


def _die(place: str, after_s: float) -> None:
    time.sleep(after_s)
    if log := os.environ.get("REFLEXIVE_FAILPOINT_LOG"):
        with Path(log).open("a", encoding="utf-8") as file:
            file.write(f"{place}\n")
            file.flush()
            os.fsync(file.fileno())
    os.kill(os.getpid(), signal.SIGKILL)
