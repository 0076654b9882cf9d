"""A join restored from its changelog goes on exactly as the one that was never stopped."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.columns import Labels, Scores, Transactions
from consumer.join import Join
from consumer.settings import DAY_MS
from tests.joining import (
    HORIZON_MS,
    SCHEMA,
    join,
    labels,
    matched,
    plain,
    scores,
    told_as_bytes,
)

NAMES = [f"id-{number}" for number in range(24)]
ROW = st.tuples(st.sampled_from(NAMES), st.sampled_from([-900, 0, 10, 300, 900, 9_000, 70_000]))
LABEL = st.tuples(
    st.sampled_from(NAMES),
    st.sampled_from([-DAY_MS - 5_000, -DAY_MS, -1, 0, 0, 1]),
    st.integers(0, 1),
    st.sampled_from(["analyst", "chargeback", None]),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(ROW, min_size=1, max_size=12)),
        st.tuples(st.just("match"), st.lists(LABEL, min_size=1, max_size=8)),
    ),
    min_size=1,
    max_size=24,
)
BUDGETS = st.sampled_from([1, 2, 3, 5, 8, 16, 24, 40])


class Stream:
    """Turns steps into columns; offsets and times run on from call to call."""

    def __init__(self):
        self.offset = 0
        self.time = 1_000_000

    def columns(self, kind, given):
        ids = [row[0] for row in given]
        if kind == "match":
            at = np.array([self.time + row[1] for row in given], np.int64)
            fraud = np.array([row[2] for row in given], np.int8)
            return Labels(3, ids, at, fraud, [row[3] for row in given], np.arange(len(ids)))
        times = self.time + np.cumsum([row[1] for row in given])
        self.time = int(times[-1])
        offset = np.arange(self.offset, self.offset + len(ids))
        self.offset += len(ids)
        score = (offset / 1e6).astype(np.float32)
        x = np.column_stack([offset, -offset]).astype(np.float32)
        rows = Transactions(3, ids, times.astype(np.int64), x, offset)
        made, shadow = (offset % 3).astype(np.int8), (offset % 2).astype(np.int8)
        return Scores(rows, score, score / 2, 0.5, made, shadow, 1, "HEALTHY")


def columns(steps):
    stream = Stream()
    return [(kind, stream.columns(kind, given)) for kind, given in steps]


def apply(held, kind, given):
    return plain(held.add(given)) if kind == "add" else matched(held.match(given))


def seen(held):
    """All that anybody can see of it."""
    return [len(held), held.state(), sorted(plain_rows(held)), [e.id for e in held.early]]


def plain_rows(held):
    return [row.tobytes() for row in held.columns()["rows"]]


@pytest.mark.parametrize(("columns", "declared"), [(1, 8), (2, 8), (0, 0), (1, 7)])
def test_rows_of_other_columns_wait_on_and_theirs_are_unknown(columns, declared):
    whole = Join(3, 2, 100, HORIZON_MS, SCHEMA, groups=1, declared=7)
    given = scores(["a", "b"])
    groups = np.array([[3], [5]], np.uint8)
    given = replace(given, shadow_decision=given.decision + np.array([1, 2], np.int8))
    whole.add(replace(given, transactions=replace(given.transactions, groups=groups)))
    log = whole.changes()

    restored = Join(3, 2, 100, HORIZON_MS, SCHEMA, groups=columns, declared=declared)
    restored.replay([key for key, _ in log], [value for _, value in log], 10**9)
    restored.resume(through_json(whole.state()))
    found = restored.match(labels(["a", "b"])).joined

    kept = [[3], [5]] if declared == 7 else [[0] * columns] * 2
    assert found.groups.tolist() == kept
    assert found.decision.tolist() == given.decision.tolist()
    assert found.shadow_decision.tolist() == given.shadow_decision.tolist()
    assert restored.counts["other_model"] == 0


def through_json(state):
    return json.loads(json.dumps(state))


@settings(max_examples=400, deadline=None)
@given(STEPS, BUDGETS)
def test_the_chunks_in_which_rows_come_do_not_matter(steps, max_rows):
    whole, single = join(max_rows), join(max_rows)
    stream, one = Stream(), Stream()

    for kind, given_rows in steps:
        # Labels are dated by the last row before them, so both streams make the same.
        at_once = apply(whole, kind, stream.columns(kind, given_rows))
        parts = [apply(single, kind, one.columns(kind, [row])) for row in given_rows]
        if kind == "add":
            assert at_once == [row for part in parts for row in part]
        else:
            assert at_once == [[row for part in parts for row in part[n]] for n in range(3)]
        assert told_as_bytes(whole.changes()) == told_as_bytes(single.changes())
        assert seen(whole) == seen(single)


@settings(max_examples=600, deadline=None)
@given(STEPS, BUDGETS, st.data())
def test_a_restored_join_goes_on_as_if_nothing_had_happened(steps, max_rows, data):
    given_columns = columns(steps)
    killed_after = data.draw(st.integers(0, len(steps)), "killed after")
    cached_after = data.draw(st.integers(0, killed_after), "cached after")
    whole = join(max_rows)
    log, after_cache, cache = [], [], None
    for number, (kind, rows) in enumerate(given_columns[:killed_after]):
        if number == cached_after:
            cache = whole.columns()
        apply(whole, kind, rows)
        changes = whole.changes()
        log += changes
        if cache is not None:
            after_cache += changes
    state = through_json(whole.state())

    restored = join(max_rows)
    if cache is not None and data.draw(st.booleans(), "from the cache"):
        restored.load(cache, 10**9)
        log = after_cache
    elif data.draw(st.booleans(), "compacted"):
        last = {key: number for number, (key, _) in enumerate(log)}
        log = [
            (key, value)
            for number, (key, value) in enumerate(log)
            if last[key] == number and (value is not None or data.draw(st.booleans()))
        ]
    chunk = data.draw(st.integers(1, 9), "chunk")
    for start in range(0, len(log), chunk):
        part = log[start : start + chunk]
        restored.replay([key for key, _ in part], [value for _, value in part], 10**9)
    restored.resume(state)

    assert seen(restored) == seen(whole)
    for kind, rows in given_columns[killed_after:]:
        assert apply(restored, kind, rows) == apply(whole, kind, rows)
        assert restored.changes() == whole.changes()
        assert seen(restored) == seen(whole)


@pytest.mark.parametrize("from_cache", [False, True])
def test_offsets_set_back_leave_the_rows_before_them_waiting(from_cache):
    first = join(200)
    first.add(scores([f"t{n}" for n in range(50)]))
    log, cache = first.changes(), first.columns()
    state = through_json(first.state())

    def restarted(before, state):
        again = join(200)
        if from_cache:
            again.load(cache, before)
        for key, value in log:
            again.replay([key], [value], before)
        again.resume(state)
        return again

    second = restarted(30, state)
    assert second.held.take(second.held.places())["offset"].tolist() == [*range(30)]
    second.add(scores([f"t{n}" for n in range(30, 40)], first_offset=30))
    log += second.changes()

    third = restarted(40, through_json(second.state()))
    assert seen(third) == seen(second)
    clocks = third.held.rows["clock"][third.held.places()]
    assert (np.diff(clocks) >= 0).all()
    found = third.match(labels(["t0", "t29", "t30", "t39"]))
    assert found.joined.offset.tolist() == [0, 29, 30, 39]


def test_a_smaller_budget_after_a_restart_raises_the_level():
    whole = join(200)
    whole.add(scores([f"t{n}" for n in range(60)]))
    restored = join(40)
    for key, value in whole.changes():
        restored.replay([key], [value], 60)
    restored.resume(through_json(whole.state()))

    restored.add(scores([f"t{n}" for n in range(60, 70)], first_offset=60))

    assert 0 < len(restored) <= 40
    assert restored.sampling.level > 0
