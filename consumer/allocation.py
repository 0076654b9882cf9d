"""What a process that runs for months asks of its allocators, so that they stay out of the way."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# A poll makes objects by the ten thousand and lets them go again; by default the collector looks
# through the young ones after every 700.
YOUNG = 50_000
# glibc's mallopt: what is free at the heap's end stays with us, and arrays come from the heap.
# Else columns of 128 kB and more are given back after each poll, and the kernel clears their pages
# for the next one: half the time of scoring 2,000 rows and more. 32 MB is the most it takes.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
KEPT_BYTES, LARGE_BYTES = 64 << 20, 32 << 20


@contextmanager
def steady() -> Iterator[None]:
    """While it lasts: no search for cycles among what is loaded by now. Memory is kept for good.

    Torch's objects by the hundred thousand would be looked through again and again, 3 us a row of a
    busy stream. Source: mallopt(3), https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, *before[1:])
    _keep_memory()
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _keep_memory() -> bool:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:  # musl has none
        return False
    return bool(mallopt(_TRIM_THRESHOLD, KEPT_BYTES) and mallopt(_MMAP_THRESHOLD, LARGE_BYTES))
