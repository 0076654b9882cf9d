"""The join of scores and labels: who meets whom, what is counted, what is held."""

from collections import Counter, OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.columns import Labels, Scores, Transactions
from consumer.join import Join


def scores(ids, first_offset=0, version=1):
    """Rows whose every column tells their offset."""
    offset = np.arange(first_offset, first_offset + len(ids), dtype=np.int64)
    x = np.column_stack([offset, -offset]).astype(np.float32)
    transactions = Transactions(3, list(ids), 1000 * offset, x, offset)
    score = (offset / 1e6).astype(np.float32)
    return Scores(transactions, score, score / 2, 0.5, 0.9, version, "HEALTHY")


def labels(ids, is_fraud=1, labelled_at=9):
    rows = len(ids)
    at = np.full(rows, labelled_at, np.int64)
    fraud = np.full(rows, is_fraud, np.int8)
    return Labels(3, list(ids), at, fraud, ["analyst"] * rows, np.arange(rows))


def join(max_rows=100, counts=None):
    return Join(3, 2, max_rows, Counter() if counts is None else counts)


def offsets(found):
    return [] if found is None else found.offset.tolist()


def test_a_label_meets_its_row_with_everything_that_was_scored():
    held = join()
    held.add(scores(["a", "b"], first_offset=40, version=7))

    found = held.match(labels(["b"], labelled_at=77))

    assert (found.partition, found.ids, found.source) == (3, ["b"], ["analyst"])
    assert (found.offset.tolist(), found.event_time.tolist()) == ([41], [41_000])
    assert (found.labelled_at.tolist(), found.is_fraud.tolist()) == ([77], [1])
    assert found.x.tolist() == [[41.0, -41.0]]
    assert found.score.tolist() == pytest.approx([41e-6])
    assert found.shadow.tolist() == pytest.approx([20.5e-6])
    assert (found.threshold.tolist(), found.adapter_version.tolist()) == ([0.5], [7])
    assert +held.counts == {"matched": 1}


def test_joined_rows_come_in_the_order_of_the_labels():
    held = join()
    held.add(scores("abcd"))

    assert held.match(labels("dab")).ids == ["d", "a", "b"]


def test_an_early_label_waits_for_its_transaction():
    held = join()

    assert len(held.match(labels(["b"], labelled_at=5))) == 0
    found = held.add(scores("abc"))

    assert (found.ids, found.labelled_at.tolist()) == (["b"], [5])
    assert held.counts["early"] == 1
    assert held.counts["matched"] == 1


def test_the_first_label_stands():
    held = join()
    held.match(labels(["early"], is_fraud=1))
    held.match(labels(["early"], is_fraud=0))

    found = held.add(scores(["early", "b"]))
    again = held.match(labels(["early", "b", "b"], is_fraud=0))

    assert (found.is_fraud.tolist(), again.ids) == ([1], ["b"])
    assert held.counts["duplicate"] == 3


def test_at_the_budget_the_oldest_rows_leave_and_only_unlabelled_ones_are_counted():
    held = join(max_rows=3)
    held.add(scores("abc"))
    held.match(labels("a"))
    held.add(scores("de", first_offset=3))

    found = held.match(labels("abcde"))

    assert found.ids == ["c", "d", "e"]
    assert found.x[:, 0].tolist() == [2.0, 3.0, 4.0]
    assert len(held) == 3
    assert held.counts["evicted"] == 1  # b; a had its label


def test_of_a_chunk_larger_than_the_budget_the_newest_rows_stay():
    held = join(max_rows=4)
    held.add(scores("0123456789"))

    assert held.match(labels("0123456789")).offset.tolist() == [6, 7, 8, 9]
    assert held.counts["evicted"] == 6


def test_a_label_goes_to_the_newer_row_of_a_reused_id():
    held = join()
    held.add(scores("ab"))
    held.add(scores("ac", first_offset=2))

    assert offsets(held.match(labels("a"))) == [2]
    assert held.counts["reused_id"] == 1
    assert held.match(labels("a")).ids == []


def test_a_replaced_row_that_leaves_takes_no_newer_one_with_it():
    held = join(max_rows=3)
    held.add(scores("aba"))
    held.add(scores("c", first_offset=3))  # the older a leaves

    assert offsets(held.match(labels("a"))) == [2]
    assert held.counts["evicted"] == 0  # its newer namesake stands for it


def test_labels_that_wait_too_long_are_dropped_the_oldest_first():
    held = join(max_rows=100)
    ids = [str(number) for number in range(1025)]  # a budget of 100 lets 1,024 wait
    held.match(labels(ids))

    assert offsets(held.add(scores(["0"]))) == []
    assert offsets(held.add(scores(["1"], first_offset=1))) == [1]
    assert held.counts["early_dropped"] == 1


def test_growing_keeps_what_is_held():
    held = join(max_rows=5_000)
    ids = [str(number) for number in range(4_500)]
    for start in range(0, 4_500, 700):  # past 1,024, 2,048 and 4,096 rows
        held.add(scores(ids[start : start + 700], first_offset=start))

    found = held.match(labels(ids))

    assert found.offset.tolist() == list(range(4_500))
    assert found.x[:, 1].tolist() == [-number for number in range(4_500)]
    assert held.counts["evicted"] == 0


def test_partitions_share_the_counters():
    counts = Counter()
    for held in (join(counts=counts), join(counts=counts)):
        held.add(scores("a"))
        held.match(labels("a"))

    assert counts["matched"] == 2


class ModelJoin:
    """The same rules over a plain dict, a row at a time."""

    def __init__(self, max_rows):
        self.max_rows = max_rows
        self.rows = OrderedDict()  # (id, offset) -> labelled?
        self.newest = {}
        self.early = {}
        self.counts = Counter()

    def add(self, ids, offset):
        skipped = max(0, len(ids) - self.max_rows)
        self.counts["evicted"] += skipped
        waiting = []
        for number, name in enumerate(ids[skipped:], offset + skipped):
            if len(self.rows) == self.max_rows:
                (old, at), labelled = self.rows.popitem(last=False)
                if self.newest.get(old) == at:
                    del self.newest[old]
                    self.counts["evicted"] += not labelled
            self.counts["reused_id"] += name in self.newest
            self.rows[name, number] = False
            self.newest[name] = number
            if name in self.early:
                waiting.append((name, self.early.pop(name)))
        return [row for name, label in waiting for row in self.match(name, label)]

    def match(self, name, label):
        if name not in self.newest:
            waits = name in self.early
            self.counts["duplicate" if waits else "early"] += 1
            self.early.setdefault(name, label)
            return []
        key = (name, self.newest[name])
        if self.rows[key]:
            self.counts["duplicate"] += 1
            return []
        self.rows[key] = True
        self.counts["matched"] += 1
        return [(key[1], label)]


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.sampled_from("abcdefgh"), max_size=9)),
        st.tuples(st.just("match"), st.lists(st.sampled_from("abcdefgh"), max_size=4)),
    ),
    max_size=25,
)


@given(steps, st.integers(1, 6))
def test_it_does_what_a_plain_dict_does(steps, max_rows):
    held, expected, offset = join(max_rows), ModelJoin(max_rows), 0

    for label, (step, ids) in enumerate(steps):
        if step == "add":
            found = held.add(scores(ids, offset))
            wanted = expected.add(ids, offset)
            offset += len(ids)
        else:
            found = held.match(labels(ids, labelled_at=label))
            wanted = [row for name in ids for row in expected.match(name, label)]
        got = [] if found is None else list(zip(found.offset, found.labelled_at, strict=True))
        assert got == wanted
        if got:
            assert found.x[:, 0].tolist() == found.offset.tolist()
        assert len(held) <= max_rows

    assert +held.counts == +expected.counts
