"""Cutting rows into chunks: what the tests of the stages that must not see them share."""

from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Protocol, TypeVar


class _Sliced(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self: "_T", rows: slice, /) -> "_T": ...


_T = TypeVar("_T", bound=_Sliced)


def chunked(rows: _T, sizes: Sequence[int]) -> Iterator[_T]:
    """`rows` in chunks of these sizes, over and over; empty ones too, but never for ever."""
    start = 0
    for size in cycle([*sizes, 1]):
        if start >= len(rows):
            return
        yield rows[start : start + size]
        start += size
