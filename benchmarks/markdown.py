"""Tables of a report under docs/results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines of a table, its numbers to the right; an empty line ends it."""
    yield "| " + " | ".join(head) + " |"
    yield "|---" + "|---:" * (len(head) - 1) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def spread(values: Sequence[float], form: str) -> str:
    """The median, and in brackets the span.

    >>> spread([3.0, 1.0, 2.0], ".0f")
    '2 (1 to 3)'
    """
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"
