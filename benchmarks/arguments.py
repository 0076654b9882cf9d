"""Arguments that the benchmarks' commands share; what is wrong with one is said in a line."""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

N = TypeVar("N", int, float)


def number(of: type[N], least: N, most: float = math.inf) -> Callable[[str], N]:
    """A number from `least` to `most`; what it returns raises ArgumentTypeError."""

    def read(text: str) -> N:
        try:
            found = of(text)
        except ValueError:
            found = None
        if found is None or not least <= found <= most:
            what = "a whole number" if of is int else "a number"
            up = "" if most == math.inf else f" to {most:g}"
            raise ArgumentTypeError(f"{what} from {least:g}{up or ' on'}, not {text!r}")
        return found

    return read


positive = number(int, 1)


def whole_numbers(text: str) -> list[int]:
    """Of `101,102`. Raises: ArgumentTypeError."""
    numbers = text.split(",")
    if not all(number.isdecimal() for number in numbers):
        raise ArgumentTypeError(f"whole numbers such as 101,102, not {text!r}")
    return [int(number) for number in numbers]


def folder(text: str) -> Path:
    """Made where it is missing. Raises: ArgumentTypeError."""
    path = Path(text)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArgumentTypeError(f"{path}: {error.strerror}") from error
    return path


def checkout(text: str) -> Path:
    """A folder that is there, with our package in it. Raises: ArgumentTypeError."""
    path = Path(text)
    if not (path / "consumer").is_dir():
        raise ArgumentTypeError(f"{path}: no checkout of this project (no folder consumer in it)")
    return path
