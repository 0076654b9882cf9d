"""The rows that a join holds: a ring of records in the order in which they were seen, by id hash.

A row's serial number stands for it until rows are taken out of the middle; its place in the ring is
the serial modulo the capacity. Rows that a newer one of their id replaced stay as holes until they
come to the front or the ring is packed.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumer.columns import Int64
from consumer.id_index import Hashes, IdIndex
from consumer.join_record import Rows, opaque, taken

_FIRST_CAPACITY = 1024


class HeldRows:
    """Up to `budget` rows, where its user sees to that; the memory doubles as they come."""

    def __init__(self, row_type: np.dtype[np.void], budget: int) -> None:
        self.rows: Rows = np.zeros(_FIRST_CAPACITY, row_type)  # by place
        self.count = 0  # without the holes
        # Room for holes beside a full budget. Packing moves every row, so an eighth of them at
        # least must have come in between: eight moves a row at the very worst.
        self._bound = max(_FIRST_CAPACITY, budget + max(_FIRST_CAPACITY, budget // 8))
        self._start = 0  # serials
        self._end = 0
        self._hash: Hashes = np.zeros(_FIRST_CAPACITY, np.uint64)  # by place
        self._live = np.zeros(_FIRST_CAPACITY, bool)  # by place
        self._index = IdIndex()

    @property
    def nbytes(self) -> int:
        """Bytes of the rows and their index."""
        return self.rows.nbytes + self._hash.nbytes + self._live.nbytes + self._index.nbytes

    def find(self, hashes: Hashes) -> Int64:
        """(rows,) the place of each hash's row, -1 where none is held."""
        serials = self._index.find(hashes)
        return np.where(serials >= 0, serials % len(self.rows), -1)

    def take(self, places: Int64) -> Rows:
        """A copy of the rows at these places."""
        return taken(self.rows, places)

    def write(self, places: Int64, rows: Rows) -> None:
        """Write rows over those at these places."""
        opaque(self.rows)[places] = opaque(rows)

    def append(self, rows: Rows, hashes: Hashes) -> int:
        """Hold rows, each in place of an older one of its id; returns how many gave way."""
        self._make_room(len(rows))
        serials = np.arange(self._end, self._end + len(rows))
        self._end += len(rows)
        places = serials % len(self.rows)
        self.write(places, rows)
        self._hash[places] = hashes
        self._live[places] = True
        gave_way = self._index.put(hashes, serials)
        self._live[gave_way % len(self.rows)] = False
        self.count += len(rows) - len(gave_way)
        return len(gave_way)

    def replace(self, rows: Rows, hashes: Hashes) -> None:
        """Write rows over those of their ids, and append the others; each id comes once."""
        places = self.find(hashes)
        held = places >= 0
        opaque(self.rows)[places[held]] = opaque(rows)[held]
        self.append(rows[~held], hashes[~held])

    def leave(self, hashes: Hashes) -> None:
        """Let the rows of these hashes go, where they are held; each hash comes once."""
        places = self.find(hashes)
        places = places[places >= 0]
        self._live[places] = False
        self._index.remove(hashes)
        self.count -= len(places)

    def hashes_at(self, places: Int64) -> Hashes:
        """(rows,) their ids' hashes."""
        return self._hash[places]

    def places(self, after: int | None = None, before: int | None = None) -> Int64:
        """Of the rows held whose clock is at least `after` and less than `before`, in order."""
        start = self._start if after is None else self._serial(after)
        end = self._end if before is None else self._serial(before)
        places = np.arange(start, max(start, end)) % len(self.rows)
        found: Int64 = places[self._live[places]]
        return found

    def drop_before(self, clock: int) -> None:
        """Let the rows of an earlier clock go."""
        places = self.places(before=clock)
        self._live[places] = False
        self._index.remove(self._hash[places])
        self.count -= len(places)
        self._start = self._serial(clock)

    def keep(self, places: Int64) -> None:
        """Hold these rows alone, in this order."""
        rows, hashes = opaque(self.rows)[places], self._hash[places]
        self._start, self._end = 0, len(places)
        opaque(self.rows)[: len(places)] = rows
        self._hash[: len(places)] = hashes
        self._live[:] = False
        self._live[: len(places)] = True
        self.count = len(places)
        self._index = IdIndex()
        self._index.put(hashes, np.arange(len(places)))

    def _serial(self, clock: int) -> int:
        """The first of that clock or a later one: clocks never fall from one row to the next."""
        clocks: NDArray[Any] = self.rows["clock"]
        return (
            bisect_left(
                range(self._start, self._end),
                clock,
                key=lambda serial: int(clocks[serial % len(clocks)]),
            )
            + self._start
        )

    def _make_room(self, more: int) -> None:
        needed = self._end - self._start + more
        if needed > max(self._bound, len(self.rows)) and self.count < self._end - self._start:
            self.keep(self.places())
            needed = self.count + more
        if needed <= len(self.rows):
            return
        capacity = max(needed, 2 * len(self.rows))
        if needed <= self._bound:
            capacity = min(capacity, self._bound)
        self.rows = self._moved(opaque(self.rows), capacity).view(self.rows.dtype)
        self._hash = self._moved(self._hash, capacity)
        self._live = self._moved(self._live, capacity)

    def _moved(self, column: NDArray[Any], capacity: int) -> NDArray[Any]:
        """Each serial's value where it belongs in a ring of that capacity, piece by piece."""
        moved, at = np.zeros(capacity, column.dtype), self._start
        while at < self._end:
            old, new = at % len(column), at % capacity
            count = min(self._end - at, len(column) - old, capacity - new)
            moved[new : new + count] = column[old : old + count]
            at += count
        return moved
