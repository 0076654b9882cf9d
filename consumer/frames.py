"""Arrays from one process to another over a pipe: a head of JSON, then their bytes.

Nothing is pickled, and nothing but the bytes themselves is copied: some hundred megabytes of rows
cost the sender's interpreter lock no more than the calls that hand them to the kernel.

    8 bytes: length of the head | {"about": …, "arrays": [[name, type, shape], …]} | their bytes
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
_LENGTH = 8


def at_once() -> None:
    """Let the call itself wait for the pipe."""


def write(fd: int, about: Any, arrays: Arrays, ready: Callable[[], None] = at_once) -> None:
    """Send a frame; `about`: whatever JSON can tell, numbers that are none included.

    `ready` is called before each call that may wait, and may raise. Raises: BrokenPipeError.
    """
    described = [[name, each.dtype.str, list(each.shape)] for name, each in arrays.items()]
    head = json.dumps({"about": about, "arrays": described}).encode()
    _send(fd, memoryview(len(head).to_bytes(_LENGTH, "little") + head), ready)
    for each in arrays.values():
        _send(fd, _bytes(np.ascontiguousarray(each)), ready)


def read(fd: int, ready: Callable[[], None] = at_once) -> tuple[Any, dict[str, NDArray[Any]]]:
    """Wait for a frame. Raises: EOFError where the other side has ended."""
    length = np.empty(_LENGTH, np.uint8)
    _receive(fd, length, ready)
    head = np.empty(int.from_bytes(length.tobytes(), "little"), np.uint8)
    _receive(fd, head, ready)
    told = json.loads(head.tobytes())
    arrays = {name: np.empty(shape, kind) for name, kind, shape in told["arrays"]}
    for each in arrays.values():
        _receive(fd, each, ready)
    return told["about"], arrays


def _bytes(array: NDArray[Any]) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _send(fd: int, left: memoryview, ready: Callable[[], None]) -> None:
    while left:
        ready()
        left = left[os.write(fd, left) :]


def _receive(fd: int, into: NDArray[Any], ready: Callable[[], None]) -> None:
    left = _bytes(into)
    while left:
        ready()
        count = os.readv(fd, [left])
        if not count:
            raise EOFError("the other process has ended")
        left = left[count:]
