"""What the join costs: time a row, bytes a row, rows a second of a restart; beside a dict of ids.

python -m benchmarks.join [--ten-million]
"""

from __future__ import annotations

import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from consumer import join_cache
from consumer.columns import Labels, Scores, Transactions
from consumer.decision import decided
from consumer.join import Join
from consumer.join_record import Change
from consumer.restore import CHANGES_A_CALL

FEATURES = 10
BATCH = 1_000
MEASURED = 100  # batches that a figure is the median of, where so many rows are held
FEWEST = 30  # and otherwise, over several joins
HORIZON_MS = 90 * 24 * 60 * 60 * 1000


class DictJoin:
    """The plain way: a dict from id to a row's fields, the oldest out at the budget."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._rows: dict[str, list[object]] = {}

    def add(self, scores: Scores) -> None:
        """Keep each row as a list of its fields."""
        rows = scores.transactions
        for name, at, offset, score, shadow, x in zip(
            rows.ids,
            rows.event_time.tolist(),
            rows.offset.tolist(),
            scores.score.tolist(),
            scores.shadow.tolist(),
            rows.x,
            strict=True,
        ):
            if len(self._rows) >= self._max_rows:
                self._rows.pop(next(iter(self._rows)))
            fields = [at, offset, scores.adapter_version, score, shadow, scores.threshold, None, x]
            self._rows[name] = fields

    def match(self, labels: Labels) -> list[tuple[str, list[object]]]:
        """The rows of labels that came for the first time."""
        found = []
        for name, label in zip(labels.ids, labels.is_fraud.tolist(), strict=True):
            row = self._rows.get(name)
            if row is not None and row[6] is None:
                row[6] = label
                found.append((name, row))
        return found


def scores(start: int, rows: int = BATCH) -> Scores:
    """Scored rows a tenth of a second apart."""
    offset = np.arange(start, start + rows)
    x = np.random.default_rng(start).standard_normal((rows, FEATURES), np.float32)
    ids = [f"seed-42-{number:09d}" for number in offset.tolist()]
    score = x[:, 0].copy()
    made = decided(score, 0.5, 0.9)
    return Scores(
        Transactions(0, ids, 100 * offset, x, offset), score, score, 0.5, made, made, 1, "HEALTHY"
    )


def labels(numbers: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Labels:
    """Labels of transactions that lie apart, as late labels do."""
    ids = [f"seed-42-{number:09d}" for number in numbers.tolist()]
    rows = len(ids)
    return Labels(0, ids, 100 * numbers, np.zeros(rows, np.int8), ["chargeback"] * rows, numbers)


def seconds(make: type[Join] | type[DictJoin], rows: int) -> tuple[float, float]:
    """Median seconds a row to add and to match, with `rows` held."""
    add, match = [], []
    batches = min(MEASURED, rows // BATCH)
    for _ in range(max(1, FEWEST // batches)):
        held = filled(make, rows)
        order = np.random.default_rng(0).permutation(rows)
        for number in range(batches):
            come = scores(rows + BATCH * number)
            which = labels(order[BATCH * number : BATCH * (number + 1)])
            start = time.perf_counter()
            held.add(come)
            middle = time.perf_counter()
            held.match(which)
            end = time.perf_counter()
            if isinstance(held, Join):
                held.changes()
            add.append((middle - start) / BATCH)
            match.append((end - middle) / BATCH)
    return float(np.median(add)), float(np.median(match))


def filled(make: type[Join] | type[DictJoin], rows: int) -> Join | DictJoin:
    """A join that holds so many rows."""
    room = 2 * rows + BATCH * MEASURED
    held = Join(0, FEATURES, room, HORIZON_MS) if make is Join else DictJoin(room)
    for _ in fill(held, rows):
        pass
    return held


def fill(held: Join | DictJoin, rows: int) -> Iterator[list[Change]]:
    """Add rows up to their number; gives the changelog."""
    for start in range(0, rows, BATCH):
        held.add(scores(start))
        yield held.changes() if isinstance(held, Join) else []


def bytes_held(make: type[Join] | type[DictJoin], rows: int) -> float:
    """Bytes a row, everything counted that Python and numpy have allocated."""
    tracemalloc.start()
    held = filled(make, rows)
    size = tracemalloc.get_traced_memory()[0] / rows
    del held
    tracemalloc.stop()
    return size


def restarts(rows: int) -> tuple[float, float]:
    """Rows a second from the changelog and from a cache."""
    whole = Join(0, FEATURES, 2 * rows, HORIZON_MS)
    log = [change for part in fill(whole, rows) for change in part]
    keys, values = [key for key, _ in log], [value for _, value in log]
    restored = Join(0, FEATURES, 2 * rows, HORIZON_MS)
    start = time.perf_counter()
    for at in range(0, len(keys), CHANGES_A_CALL):
        part = slice(at, at + CHANGES_A_CALL)
        restored.replay(keys[part], values[part], rows)
    restored.resume(whole.state())
    by_log = rows / (time.perf_counter() - start)
    assert len(restored) == len(whole) == rows
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "0"
        join_cache.save(path, whole.columns(), {})
        cached = Join(0, FEATURES, 2 * rows, HORIZON_MS)
        start = time.perf_counter()
        columns = join_cache.load(path, {})
        assert not isinstance(columns, str)
        cached.load(columns, rows)
        cached.resume(whole.state())
        by_cache = rows / (time.perf_counter() - start)
    assert len(cached) == rows
    return by_log, by_cache


def main() -> None:
    """Print a line for each number of rows held."""
    sizes = [1_000, 100_000, 1_000_000] + [10_000_000] * ("--ten-million" in sys.argv)
    print(f"batches of {BATCH:,}, {FEATURES} features; µs a row, in brackets: times a dict of ids")
    for size in sizes:
        add, match = seconds(Join, size)
        line = f"{size:>10,} rows: add {1e6 * add:.2f}, match {1e6 * match:.2f}"
        if size <= 1_000_000:  # ten million would take 8 GB
            plain_add, plain_match = seconds(DictJoin, size)
            line += f" ({add / plain_add:.2f}, {match / plain_match:.2f})"
        print(line, flush=True)
    for size in sizes[:3]:
        ours, theirs = bytes_held(Join, size), bytes_held(DictJoin, size)
        line = f"{size:>10,} rows: {ours:.0f} bytes a row ({ours / theirs:.2f})"
        log, cache = restarts(size)
        print(f"{line}; restart {log:,.0f} rows/s, from a cache {cache:,.0f}", flush=True)


if __name__ == "__main__":
    main()
