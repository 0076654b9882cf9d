"""What the join's changelog holds: of an id the last record counts, in the log's order.

The first byte says the kind in its upper half and the format's version in its lower one. All is
little endian and packed.

Kept rows, many at a time, `BLOCK`: a record each would take the producer as long as the score of
the row does. The key is the hash of the value after a byte that no id begins with, so that a
compaction takes no block for another one:

    kind u1, row_bytes u4     so that rows of another number of features are passed over whole
    hashes u8[rows]           of the ids
    rows row[rows]

A row in it, as scored and, where it has one, with its label:

    schema u4                 hash of the feature list, so that another model's rows are noticed
    n i8                      rows that the partition had seen before it
    event_time i8, clock i8   clock: the latest event time up to and including this row
    offset i8, version i8     of the transaction; of the adapter that scored it
    score f4, shadow f4, threshold f8
    decision u1, shadow_decision u1
    level i1                  it stands for 2**level rows
    label i1                  -1: none
    labelled_at i8, source u4 xxh32 of who labelled, 0 for nobody named
    propensity f4             with which the label was asked for; NaN: not told
    x f4[features]
    declared u4, groups u1[]  of the columns of the message that segments are told by; their hash

A label that waits for its transaction, `EARLY`, its key the id; a tombstone (no value) says that it
waits no more:

    kind u1, is_fraud i1, labelled_at i8, propensity f4, named u1, and where named is 1 the source
    in UTF-8
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import xxhash
from numpy.typing import NDArray

from consumer.columns import Float32, Float64, Int64, Labelled, Labels, Scores
from consumer.id_index import Hashes

BLOCK = 0x32
EARLY = 0x22
UNLABELLED = -1
_EARLY = struct.Struct("<BbqfB")
_BLOCK = struct.Struct("<BI")
# A quarter of what Kafka's topics take by default: 1,900 rows of ten features.
_BLOCK_BYTES = 1 << 18
# In no UTF-8 text there is such a byte.
_NO_ID = b"\xff"
MOST_GROUPS = 255  # columns of the message, a byte each

Rows = NDArray[np.void]  # of `row_type`
Change = tuple[bytes, bytes | None]  # a record of the changelog: key, value


@dataclass(frozen=True, slots=True)
class Early:
    """A label whose transaction has not come."""

    id: str
    labelled_at: int
    is_fraud: int
    source: str | None
    propensity: float = math.nan


def row_type(features: int, groups: int = 0) -> np.dtype[np.void]:
    """Of a kept row; it is held in memory as it is written."""
    return np.dtype(
        [
            ("schema", "<u4"),
            ("n", "<i8"),
            ("event_time", "<i8"),
            ("clock", "<i8"),
            ("offset", "<i8"),
            ("version", "<i8"),
            ("score", "<f4"),
            ("shadow", "<f4"),
            ("threshold", "<f8"),
            ("decision", "u1"),
            ("shadow_decision", "u1"),
            ("level", "i1"),
            ("label", "i1"),
            ("labelled_at", "<i8"),
            ("source", "<u4"),
            ("propensity", "<f4"),
            ("x", "<f4", (features,)),
            ("declared", "<u4"),
            ("groups", "u1", (groups,)),
        ]
    )


def schema_of(features: Sequence[str]) -> int:
    """Hash of a feature list: names and order."""
    return int(xxhash.xxh32_intdigest("\0".join(features).encode()))


def opaque(rows: Rows) -> NDArray[np.void]:
    """The same memory without fields: numpy copies such rows whole, not a field at a time."""
    return rows.view(f"V{rows.dtype.itemsize}")


def taken(rows: Rows, places: Int64) -> Rows:
    """A copy of some rows."""
    copy: Rows = opaque(rows)[places].view(rows.dtype)
    return copy


def scored(row_type: np.dtype[np.void], schema: int, scores: Scores, places: Int64) -> Rows:
    """Some of the scored rows as records, but for `n`, `clock` and `level`."""
    transactions = scores.transactions
    rows = np.empty(len(places), row_type)
    rows["schema"] = schema
    rows["event_time"] = transactions.event_time[places]
    rows["offset"] = transactions.offset[places]
    rows["version"] = scores.adapter_version
    rows["score"] = scores.score[places]
    rows["shadow"] = scores.shadow[places]
    rows["threshold"] = np.broadcast_to(scores.threshold, len(scores))[places]
    rows["decision"] = scores.decision[places]
    rows["shadow_decision"] = scores.shadow_decision[places]
    rows["label"], rows["labelled_at"], rows["source"] = UNLABELLED, 0, 0
    rows["propensity"] = np.nan
    rows["x"] = transactions.x[places]
    rows["groups"] = 0 if transactions.groups is None else transactions.groups[places]
    return rows


def write_labels(rows: Rows, labels: Labels, which: Int64, codes: Mapping[str | None, int]) -> None:
    """Give each row its label, some of `labels`."""
    rows["label"] = labels.is_fraud[which]
    rows["labelled_at"] = labels.labelled_at[which]
    rows["source"] = [codes[labels.source[index]] for index in which.tolist()]
    rows["propensity"] = labels.propensities[which]


def source_codes(sources: Iterable[str | None]) -> dict[str | None, int]:
    """What is kept of who labelled: enough to tell whether it was somebody else."""
    return {
        source: 0 if source is None else (xxhash.xxh32_intdigest(source.encode()) or 1)
        for source in set(sources)
    }


def labelled(labels: Labels, which: Int64, rows: Rows) -> Labelled:
    """Some of the labels, each with the row that it met."""
    chosen = which.tolist()
    return Labelled(
        labels.partition,
        [labels.ids[index] for index in chosen],
        np.ascontiguousarray(rows["event_time"]),
        labels.labelled_at[which],
        labels.is_fraud[which],
        [labels.source[index] for index in chosen],
        np.ascontiguousarray(rows["x"]),
        np.ascontiguousarray(rows["score"]),
        np.ascontiguousarray(rows["shadow"]),
        np.ascontiguousarray(rows["threshold"]),
        rows["decision"].astype(np.int8),
        rows["shadow_decision"].astype(np.int8),
        np.ascontiguousarray(rows["version"]),
        np.ascontiguousarray(rows["offset"]),
        np.exp2(rows["level"].astype(np.float64)) / _known(rows["propensity"]),
        np.ascontiguousarray(rows["groups"]),
    )


def _known(propensity: Float32) -> Float64:
    """Where it was not told a row stands for itself."""
    return np.where(np.isnan(propensity), 1.0, propensity.astype(np.float64))


def blocks(rows: Rows, hashes: Hashes) -> Iterator[Change]:
    """The records of rows, and of their ids; `rows` is contiguous."""
    size = rows.dtype.itemsize
    head, most = _BLOCK.pack(BLOCK, size), max(1, _BLOCK_BYTES // (size + hashes.itemsize))
    for start in range(0, len(rows), most):
        part = slice(start, start + most)
        value = b"".join([head, hashes[part].tobytes(), rows[part].tobytes()])
        yield _NO_ID + xxhash.xxh3_128_digest(value), value


def read_block(value: bytes, rows: np.dtype[np.void]) -> tuple[Hashes, Rows | None] | None:
    """The ids' hashes of a block and its rows, None where they are of another width.

    None where the record is no block. Rows that were told other columns of the message are the
    same but for these.
    """
    if len(value) < _BLOCK.size or value[0] != BLOCK:
        return None
    _, size = _BLOCK.unpack_from(value)
    count = (len(value) - _BLOCK.size) // (size + 8)
    hashes = np.frombuffer(value, "<u8", count, _BLOCK.size).astype(np.uint64)
    features = rows["x"].shape[0]
    groups = size - row_type(features).itemsize
    if not 0 <= groups <= MOST_GROUPS:
        return hashes, None
    given = np.frombuffer(value, row_type(features, groups), count, _BLOCK.size + 8 * count)
    if given.dtype == rows:
        return hashes, given
    found = np.zeros(count, rows)
    for name in set(rows.names or ()) - {"groups"}:
        found[name] = given[name]
    return hashes, found


def early_value(early: Early) -> bytes:
    """The record of an early label."""
    source = b"" if early.source is None else early.source.encode()
    named = early.source is not None
    head = _EARLY.pack(EARLY, early.is_fraud, early.labelled_at, early.propensity, named)
    return head + source


def read_early(key: bytes, value: bytes) -> Early | None:
    """The early label of a record; None where it is none."""
    if len(value) < _EARLY.size or value[0] != EARLY:
        return None
    _, is_fraud, labelled_at, propensity, named = _EARLY.unpack_from(value)
    source = value[_EARLY.size :].decode() if named else None
    return Early(key.decode(), labelled_at, is_fraud, source, propensity)


def id_hashes(ids: Iterable[bytes]) -> Hashes:
    """(rows,) of ids in UTF-8. At 10**7 rows held two meet by chance once in 370,000 such joins."""
    digests = b"".join(map(xxhash.xxh3_64_digest, ids))
    return np.frombuffer(digests, ">u8").astype(np.uint64)
