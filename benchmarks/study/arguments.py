"""Arguments that the study's commands share; what is wrong with one is said in a line."""

from __future__ import annotations

from argparse import ArgumentTypeError
from pathlib import Path


def seeds(text: str) -> list[int]:
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
