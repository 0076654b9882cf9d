"""A join again as it was, from its changelog and a few figures, or from a cache of its columns.

Whatever order its records are in, a row knows how many rows the partition had seen before it. So
what has left without a record is found again: rows that were past being known at the last
housekeeping, and rows outside the highest level that was raised since they came.

These are methods of `Join`, in a file of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from consumer.columns import Int64
from consumer.id_index import Hashes
from consumer.join_record import (
    early_value,
    id_hashes,
    opaque,
    read_block,
    read_early,
    taken,
)
from consumer.sampling import within

if TYPE_CHECKING:
    from consumer.join import Join


def replay(join: Join, keys: Sequence[bytes], values: Sequence[bytes | None], before: int) -> None:
    """Fold records of the changelog, in their order, into what is held; `resume` ends it.

    Of an id's records the last counts. A row whose transaction's offset is `before` or later is
    passed over, a record of another model or format is dropped and counted.
    """
    if not len(keys):
        return
    row_type = join.held.rows.dtype
    blocks = [None if value is None else read_block(value, row_type) for value in values]
    single = iter(id_hashes(key for key, block in zip(keys, blocks, strict=True) if block is None))
    by_record = [np.array([next(single)]) if block is None else block[0] for block in blocks]
    sizes = np.array([len(each) for each in by_record])
    record = np.repeat(np.arange(len(keys)), sizes)
    hashes = np.concatenate(by_record)
    known = [block[1] for block in blocks if block is not None and block[1] is not None]
    rows = np.concatenate([np.empty(0, row_type), *known])
    is_row = np.repeat([block is not None and block[1] is not None for block in blocks], sizes)
    row = np.where(is_row, np.cumsum(is_row) - 1, -1)  # which of `rows`, -1 for none of them

    counts = np.ones(len(hashes), bool)
    counts[is_row] = rows["offset"] < before
    foreign = rows["schema"] != join.schema
    others = int(np.count_nonzero(foreign & (rows["offset"] < before)))
    row[np.flatnonzero(is_row)[foreign]] = -1

    chosen = _last(hashes, np.flatnonzero(counts))
    join.early.meet(hashes[chosen])
    kept = chosen[row[chosen] >= 0]
    gone = chosen[row[chosen] < 0]
    held = taken(rows, row[kept])
    held["groups"][held["declared"] != join.declared] = 0  # of other columns: unknown
    held["declared"] = join.declared
    join.held.replace(held, hashes[kept])
    join.held.leave(hashes[gone])
    for place in gone[~is_row[gone]].tolist():
        key, value = keys[record[place]], values[record[place]]
        if value is not None:
            early = None if blocks[record[place]] is not None else read_early(key, value)
            if early is not None:
                join.early.hold(int(hashes[place]), early)
            else:
                others += 1
    if others:
        join.counts["other_model"] += others


def state(join: Join) -> dict[str, Any]:
    """Plain data, some two hundred numbers at most: with the changelog, all that is needed."""
    return {
        "seen": join.seen,
        "clock": join.clock,
        "tidied": join.tidied,
        **join.sampling.state(),
        "counts": dict(sorted(join.counts.items())),
    }


def resume(join: Join, state: Mapping[str, Any]) -> None:
    """Go on from a `state`, with the rows that were replayed as they stood then."""
    join.seen, join.clock, join.tidied = state["seen"], state["clock"], state["tidied"]
    join.sampling.resume(state, join.clock)
    join.counts.update(state["counts"])
    held = join.held
    places = held.places()
    n: Int64 = held.rows["n"][places]
    levels = np.maximum(held.rows["level"][places], join.sampling.levels_since(n))
    stays = within(held.hashes_at(places), levels)
    stays &= held.rows["clock"][places] >= join.tidied - join.known_ms
    order = np.argsort(n[stays])
    held.keep(places[stays][order])
    held.rows["level"][: held.count] = levels[stays][order]


def columns(join: Join) -> dict[str, NDArray[Any]]:
    """Copies of all that is held, for a cache; take them when the changes are taken too."""
    places = join.held.places()
    early = list(join.early)
    ids, id_ends = _joined(label.id.encode() for label in early)
    values, value_ends = _joined(early_value(label) for label in early)
    size = join.held.rows.dtype.itemsize
    return {
        "rows": opaque(join.held.rows)[places].view(np.uint8).reshape(-1, size),
        "hashes": join.held.hashes_at(places),
        "early_ids": ids,
        "early_id_ends": id_ends,
        "early_values": values,
        "early_value_ends": value_ends,
    }


def load(join: Join, columns: Mapping[str, NDArray[Any]], before: int) -> None:
    """Hold what `columns` gave, before `replay` of the records after it.

    `before`: as for `replay`; a cache holds later ones where offsets were set back since.

    Raises: ValueError where the rows are of another width: the cache's metadata must rule that out.
    """
    row_type = join.held.rows.dtype
    if columns["rows"].shape[1:] != (row_type.itemsize,):
        raise ValueError(f"cached rows of shape {columns['rows'].shape}, not of {row_type}")
    rows = np.ascontiguousarray(columns["rows"]).reshape(-1).view(row_type)
    earlier = rows["offset"] < before
    join.held.append(taken(rows, np.flatnonzero(earlier)), columns["hashes"][earlier])
    ids = _split(columns["early_ids"], columns["early_id_ends"])
    values = _split(columns["early_values"], columns["early_value_ends"])
    for key, value, name in zip(ids, values, id_hashes(ids).tolist(), strict=True):
        early = read_early(key, value)
        if early is not None:
            join.early.hold(name, early)


def _last(hashes: Hashes, places: Int64) -> Int64:
    """Of the places of equal hashes the last, in order."""
    order = places[np.argsort(hashes[places], kind="stable")]
    last = np.ones(len(order), bool)
    last[:-1] = hashes[order[1:]] != hashes[order[:-1]]
    return np.sort(order[last])


def _joined(parts: Iterable[bytes]) -> tuple[NDArray[np.uint8], Int64]:
    held = list(parts)
    ends = np.cumsum([len(part) for part in held], dtype=np.int64)
    return np.frombuffer(b"".join(held), np.uint8), ends


def _split(joined: NDArray[np.uint8], ends: Int64) -> list[bytes]:
    whole, starts = joined.tobytes(), [0, *ends.tolist()]
    return [whole[start:end] for start, end in pairwise(starts)]
