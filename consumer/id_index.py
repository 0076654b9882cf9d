"""From the 64-bit hash of an id to the slot of its row: open addressing over whole arrays.

Linear probing in a table of a power of two, at most half full: a hit then takes 1.5 probes in the
mean and a miss 2.5 (Source: Knuth, The Art of Computer Programming, volume 3, section 6.4). All
hashes of a call probe together, one round a distance from home; a round works on those left over.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from consumer.columns import Int64

Hashes = NDArray[np.uint64]

_EMPTY = -1
_REMOVED = -2  # a tombstone: probing goes on past it
_FIRST_CAPACITY = 2048
# Rebuilding puts so many entries at a time: its scratch arrays stay within a core's cache.
_CHUNK = 1 << 15


class IdIndex:
    """A map from hash to slot, both in arrays; slots are not negative."""

    def __init__(self) -> None:
        self._count = 0
        self._allocate(_FIRST_CAPACITY)

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes of the table."""
        return self._hashes.nbytes + self._slots.nbytes

    def find(self, hashes: Hashes) -> Int64:
        """(rows,) the slot of each hash, -1 where it is absent."""
        places = self._places(hashes)
        return np.where(places >= 0, self._slots[places], -1)

    def put(self, hashes: Hashes, slots: Int64) -> Int64:
        """Point each hash to its slot; a hash that is there already is repointed.

        Of a hash that comes twice the last counts; no slot comes twice. Returns the slots that gave
        way, each once: those pointed to before, and those that a later one of the call replaced.
        """
        self._make_room(len(hashes))
        gave_way = [
            self._put(hashes[start : start + _CHUNK], slots[start : start + _CHUNK])
            for start in range(0, len(hashes), _CHUNK)
        ]
        return np.concatenate(gave_way) if gave_way else np.empty(0, np.int64)

    def remove(self, hashes: Hashes) -> None:
        """Forget these hashes; those absent are passed over."""
        places = self._places(hashes)
        places = distinct(places[places >= 0])
        self._slots[places] = _REMOVED
        self._count -= len(places)
        self._removed += len(places)
        # A tombstone before an empty place holds up no probe. At half load this clears most of
        # them, so that a steady stream of arrivals and departures seldom needs a rebuild.
        while len(places):
            places = places[self._slots[(places + 1) & self._mask] == _EMPTY]
            self._slots[places] = _EMPTY
            self._removed -= len(places)
            places = (places - 1) & self._mask
            places = places[self._slots[places] == _REMOVED]
        if 4 * self._removed > len(self._slots):
            self._rebuild(len(self._slots))

    def _places(self, hashes: Hashes) -> Int64:
        """(rows,) where in the table each hash stands, -1 where it is absent."""
        found = np.full(len(hashes), -1, np.int64)
        left = np.arange(len(hashes))
        places = self._home(hashes)
        while len(left):
            slots = self._slots[places]
            here = (slots >= 0) & (self._hashes[places] == hashes)
            found[left[here]] = places[here]
            on = ~here & (slots != _EMPTY)
            left, hashes = left[on], hashes[on]
            places = (places[on] + 1) & self._mask
        return found

    def _put(self, hashes: Hashes, slots: Int64) -> Int64:
        gave_way = []
        places = self._home(hashes)
        while len(hashes):
            old = self._slots[places]
            free = old == _EMPTY
            # Hashes that meet in an empty place all write; the one that reads itself back has it.
            self._hashes[places[free]] = hashes[free]
            mine = (self._hashes[places] == hashes) & (old != _REMOVED)
            settled, wanted, before = places[mine], slots[mine], old[mine]
            self._slots[settled] = wanted  # of a place given twice the last value stays
            stays = self._slots[settled] == wanted
            self._count += int(np.count_nonzero(stays & (before == _EMPTY)))
            if not stays.all():
                gave_way.append(wanted[~stays])
            if (before >= 0).any():
                gave_way.append(distinct(before[before >= 0]))
            left = ~mine
            hashes, slots = hashes[left], slots[left]
            places = (places[left] + 1) & self._mask
        return np.concatenate(gave_way) if gave_way else np.empty(0, np.int64)

    def _home(self, hashes: Hashes) -> Int64:
        # The low bits: sampling keeps low hashes, so that the high ones are not spread.
        return (hashes & np.uint64(self._mask)).astype(np.int64)

    def _make_room(self, more: int) -> None:
        capacity = len(self._slots)
        if 2 * (self._count + self._removed + more) <= capacity:
            return
        while 2 * (self._count + more) > capacity:
            capacity *= 2
        self._rebuild(capacity)

    def _rebuild(self, capacity: int) -> None:
        hashes, slots = self._hashes, self._slots
        self._count = 0
        self._allocate(capacity)
        for start in range(0, len(slots), _CHUNK):
            part = slots[start : start + _CHUNK]
            used = part >= 0
            self._put(hashes[start : start + _CHUNK][used], part[used])

    def _allocate(self, capacity: int) -> None:
        self._mask = capacity - 1
        self._removed = 0
        self._hashes: Hashes = np.zeros(capacity, np.uint64)
        self._slots: Int64 = np.full(capacity, _EMPTY, np.int64)


def distinct(values: Int64) -> Int64:
    """Each value once. `numpy.unique` hashes, which takes tens of times as long on short arrays."""
    if len(values) < 2:
        return values
    values = np.sort(values)
    first = np.ones(len(values), bool)
    first[1:] = values[1:] != values[:-1]
    return values[first]


def repeated(values: Int64) -> NDArray[np.bool_]:
    """(rows,) does the value come more than once?"""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    same = np.zeros(len(values) + 1, bool)
    same[1:-1] = ordered[1:] == ordered[:-1]
    found = np.empty(len(values), bool)
    found[order] = same[1:] | same[:-1]
    return found
