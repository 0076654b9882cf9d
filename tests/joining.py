"""Small scored rows and labels, and plain views of what a join returns: for its tests."""

import numpy as np

from consumer.columns import Labels, Scores, Transactions
from consumer.decision import decided
from consumer.join import Join
from consumer.join_record import id_hashes, read_block, row_type

HORIZON_MS = 64_000
SCHEMA = 77


def join(max_rows=100, schema=SCHEMA):
    return Join(3, 2, max_rows, HORIZON_MS, schema)


def scores(ids, first_offset=0, version=1, event_time=None):
    """Rows whose every column tells their offset; a second apart, or all at `event_time`."""
    offset = np.arange(first_offset, first_offset + len(ids), dtype=np.int64)
    times = 1000 * offset if event_time is None else np.zeros(len(ids), np.int64) + event_time
    x = np.column_stack([offset, -offset]).astype(np.float32)
    transactions = Transactions(3, list(ids), times, x, offset)
    score = (offset / 1e6).astype(np.float32)
    made = decided(score, 0.5, 0.9)
    return Scores(transactions, score, score / 2, 0.5, made, made, version, "HEALTHY")


def labels(ids, is_fraud=1, labelled_at=9, source="analyst"):
    rows = len(ids)
    at = np.zeros(rows, np.int64) + labelled_at
    fraud = np.zeros(rows, np.int8) + np.array(is_fraud, np.int8)
    return Labels(3, list(ids), at, fraud, [source] * rows, np.arange(rows))


def plain(found):
    """Every row as a tuple; none where there is no column."""
    if found is None:
        return []
    columns = [getattr(found, name) for name in found.__slots__ if name != "partition"]
    return list(
        zip(*(c.tolist() if isinstance(c, np.ndarray) else c for c in columns), strict=True)
    )


def matched(found):
    """The three parts of what labels did."""
    return [plain(found.joined), plain(found.corrected), found.was.tolist()]


def offsets(found):
    """The transactions' offsets."""
    return [] if found is None else found.offset.tolist()


def told(changes):
    """What records of the changelog come to: by id hash the row, or the value of another record."""
    found = {}
    for key, value in changes:
        block = value and read_block(value, row_type(2))
        if block:
            found |= dict(zip(block[0].tolist(), block[1], strict=True))
        else:
            found[int(id_hashes([key])[0])] = value
    return found


def told_as_bytes(changes):
    return {name: value if value is None else bytes(value) for name, value in told(changes).items()}
