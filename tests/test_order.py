"""In which order records count, and that by event time it does not depend on how they come."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumer.batch import BatchCutter
from consumer.columns import Labels, Transactions
from consumer.order import QUEUE_ROWS, Lane, Sequencer
from consumer.pipeline import Pipeline
from tests.streams import BATCH, DRIFT, STEP_MS, idle, running, stream


class Told:
    """Stands where the pipeline does and writes down what it is told, a row an entry."""

    def __init__(self, rows):
        self.log = []
        self.quiet = 0
        self._rows = rows
        self._cutters = {}

    def _cutter(self, partition):
        return self._cutters.setdefault(partition, BatchCutter(self._rows, 0))

    def rows_to_batch_end(self, partition, event_time):
        return self._cutter(partition).cut(event_time)

    def rows_to_change(self, partition, x):
        shown = np.flatnonzero(x[:, 0])
        return int(shown[0]) + 1 if len(shown) else None

    def resume(self, idle):
        pass

    def labels_to_boundary(self, partition, labelled_at):
        return min(1_000, len(labelled_at))

    def quiet_labels(self, partition, labelled_at):
        return min(self.quiet, len(labelled_at))

    def swap_needs_commit(self, partition):
        return False

    def score(self, rows, idle):
        self._cutter(rows.partition).take(rows.event_time)
        self.log += rows.ids

    def labels(self, labels, idle):
        self.log += [f"label {name}" for name in labels.ids]

    def end_batch(self, partition, idle):
        self._cutter(partition).end()
        self.log.append(f"end {partition}")


BROKEN = None  # instead of a time


class Topics:
    """Feeds a sequencer as a source would; ids are partition and time."""

    def __init__(self, *partitions, rows=2, order="event_time"):
        self.told = Told(rows)
        self.sequencer = Sequencer(self.told, order, idle, reject=lambda name: self._reject(name))
        self.sequencer.lanes = {partition: Lane() for partition in partitions}
        self._next = {}

    def transactions(self, partition, *times, end=False, change=None):
        at, offset, broken = self._take("transaction", partition, times)
        x = (at == change).astype(np.float32)[:, None]  # where the time of one shows a change
        rows = Transactions(partition, _ids(partition, at), at, x, offset)
        self._put(self.sequencer.lanes[partition].transactions, rows, broken, end)

    def labels(self, partition, *times, end=False):
        at, offset, broken = self._take("label", partition, times)
        rows = Labels(
            partition, _ids(partition, at), at, at.astype(np.int8), [None] * len(at), offset
        )
        self._put(self.sequencer.lanes[partition].labels, rows, broken, end)

    def run(self):
        """What was told since the last time."""
        self.told.log = []
        self.sequencer.run()
        return self.told.log

    def _reject(self, name):
        self.told.log.append(name)

    def _take(self, kind, partition, times):
        first = self._next.get((kind, partition), 0)
        places = list(enumerate(times, first))
        self._next[kind, partition] = first + len(times)
        good = [(at, offset) for offset, at in places if at is not BROKEN]
        at, offset = np.array(good, np.int64).reshape(-1, 2).T
        broken = [(o, f"broken {kind} {partition}/{o}") for o, at in places if at is BROKEN]
        return at, offset, broken

    def _put(self, queue, rows, broken, end):
        queue.at_end = False
        last = [*rows.offset[-1:].tolist(), *(offset for offset, _ in broken[-1:])]
        if last:
            queue.put(rows, broken, max(last) + 1)
        queue.at_end = end


def _ids(partition, times):
    return [f"{partition}@{time}" for time in times.tolist()]


def test_by_event_time_the_earliest_of_two_partitions_goes_first():
    topics = Topics(0, 1)
    topics.transactions(0, 10, 20, 30, 40, end=True)
    topics.transactions(1, 5, 25, 26, 45, end=True)
    topics.labels(0, end=True)
    topics.labels(1, end=True)

    # A batch of two is scored at its first record's time and ends at its last one's.
    assert topics.run() == [
        *("1@5", "1@25", "0@10", "0@20", "end 0", "end 1"),
        *("1@26", "1@45", "0@30", "0@40", "end 0", "end 1"),
    ]


def test_a_batch_ends_where_its_rows_show_a_change():
    topics = Topics(0, rows=3)
    topics.transactions(0, 10, 20, 30, 40, 50, 60, change=20)
    topics.labels(0, 15, 25, end=True)

    # Labels between its end and the first row after it are joined between the two.
    assert topics.run() == ["0@10", "0@20", "label 0@15", "end 0", "label 0@25", *_rest(topics)]


def _rest(topics):
    return ["0@30", "0@40", "0@50", "end 0"]


def test_labels_go_between_and_at_a_tie_after_the_transaction():
    topics = Topics(0)
    topics.transactions(0, 10, 20, 30, 40, end=True)
    topics.labels(0, 9, 10, 15, 20, 30, 99, end=True)

    assert topics.run() == [
        *("label 0@9", "0@10", "0@20", "label 0@10", "label 0@15", "end 0"),
        *("label 0@20", "0@30", "0@40", "label 0@30", "end 0", "label 0@99"),
    ]


def test_at_a_tie_the_lower_partition_goes_first():
    topics = Topics(0, 1)
    for partition in (1, 0):
        topics.transactions(partition, 10, 10, end=True)
        topics.labels(partition, 5, 5, 11, end=True)

    assert topics.run() == [
        *("label 0@5", "label 0@5", "label 1@5", "label 1@5"),
        *("0@10", "0@10", "end 0", "1@10", "1@10", "end 1", "label 0@11", "label 1@11"),
    ]


def test_labels_of_two_partitions_go_by_their_times():
    topics = Topics(0, 1)
    for partition in (0, 1):
        topics.transactions(partition, end=True)
    topics.labels(0, 1, 4, 5, 9, end=True)
    topics.labels(1, 2, 3, 5, 10, end=True)

    times = [entry.removeprefix("label ") for entry in topics.run()]

    assert times == ["0@1", "1@2", "1@3", "0@4", "0@5", "1@5", "0@9", "1@10"]


def test_labels_of_which_nothing_is_said_go_lane_by_lane():
    topics = Topics(0, 1)
    topics.told.quiet = 2
    topics.transactions(0, 45, 46, end=True)
    topics.transactions(1, end=True)
    topics.labels(0, 10, 20, 30, 40, 50, 60, end=True)
    topics.labels(1, 15, 25, 35, 36, end=True)

    # Of 30 and 35 more may be said: nothing later goes before them, and nothing of a later batch.
    labels = ["0@10", "0@20", "1@15", "1@25", "0@30", "1@35", "1@36", "0@40"]
    rest = ["0@45", "0@46", "end 0", "label 0@50", "label 0@60"]
    assert topics.run() == [*[f"label {name}" for name in labels], *rest]


def test_a_rejected_record_goes_before_labels_of_other_lanes_that_are_later():
    topics = Topics(0, 1)
    topics.told.quiet = 9
    topics.transactions(0, end=True)
    topics.transactions(1, end=True)
    topics.labels(0, 10, 20, BROKEN, 40, 50, end=True)
    topics.labels(1, 15, 25, 30, end=True)

    told = topics.run()
    assert told.index("label 1@15") < told.index("label 0@20")
    broken = told.index("broken label 0/2")
    assert told[broken - 1] == "label 0@20"
    assert broken < told.index("label 1@25")


@pytest.mark.parametrize("topic", ["transactions", "labels"])
def test_a_lane_that_is_not_at_its_end_holds_the_others_back(topic):
    topics = Topics(0, 1)
    topics.transactions(0, 10, 20, end=True)
    topics.labels(0, end=True)
    other = {"transactions": topics.labels, "labels": topics.transactions}[topic]
    other(1, end=True)

    assert topics.run() == []
    getattr(topics, topic)(1, end=True)
    assert topics.run() == ["0@10", "0@20", "end 0"]


def test_what_is_surely_earlier_need_not_wait():
    topics = Topics(0, 1)
    topics.transactions(0, 10, 20, 30, 40)
    topics.transactions(1, 12, 32)
    topics.labels(0, 25)
    topics.labels(1, 29)

    # Partition 0 may have labels between 25 and its next batch at 30: there it stops.
    assert topics.run() == ["0@10", "0@20", "1@12", "1@32", "end 0", "label 0@25"]
    topics.labels(0, end=True)
    assert topics.run() == ["label 1@29"]
    topics.labels(1, end=True)
    assert topics.run() == ["0@30", "0@40", "end 1"]  # before 40 partition 1 may begin a batch


def test_an_incomplete_batch_waits_for_the_end():
    topics = Topics(0, rows=3)
    topics.labels(0, end=True)
    topics.transactions(0, 10, 20)
    assert topics.run() == []

    topics.transactions(0, end=True)
    assert topics.run() == ["0@10", "0@20"]


def test_a_late_record_counts_when_it_arrives():
    topics = Topics(0, 1)
    topics.transactions(0, 100, 7, end=True)  # 7 counts at 100
    topics.transactions(1, 50, 60, end=True)
    topics.labels(0, end=True)
    topics.labels(1, 99, 3, end=True)

    assert topics.run() == [
        *("1@50", "1@60", "end 1", "label 1@99", "label 1@3", "0@100", "0@7", "end 0")
    ]


def test_as_they_arrive_nothing_waits_and_transactions_go_before_labels():
    topics = Topics(0, 1, order="arrival")
    topics.labels(1, 1)
    topics.transactions(1, 99, 98, 97)
    topics.transactions(0, 50)
    assert topics.run() == ["0@50", "1@99", "1@98", "end 1", "1@97", "label 1@1"]

    topics.labels(0, 2)
    topics.transactions(0, 40)
    assert topics.run() == ["0@40", "end 0", "label 0@2"]


def test_labels_do_not_run_ahead_of_a_backlog_of_transactions():
    topics = Topics(0, order="arrival")
    topics.labels(0, 99, 100, 101, end=True)
    topics.transactions(0, 100)
    assert topics.run() == ["0@100", "label 0@99", "label 0@100"]
    assert topics.run() == []

    topics.transactions(0, end=True)  # there is no backlog
    assert topics.run() == ["label 0@101"]


def test_the_position_stays_at_a_rejected_record_until_it_is_taken():
    queue = Lane().transactions
    queue.position = 7
    assert queue.rejected() == []
    assert queue.position == 7  # of the last commit: nothing was read yet

    times = np.array([5, 6], np.int64)
    rows = Transactions(0, ["a", "b"], times, np.zeros((2, 1), np.float32), np.array([11, 14]))
    queue.put(rows, [(10, "x"), (12, "y"), (13, "z"), (16, "last")], read=17)

    assert (queue.position, queue.unbroken, queue.waiting) == (10, 0, 6)
    assert (queue.rejected(), queue.position, queue.unbroken) == (["x"], 11, 1)
    queue.take(1)
    assert (queue.position, queue.rejected(), queue.position) == (12, ["y", "z"], 14)
    assert queue.rejected() == []
    queue.take(1)
    assert (queue.position, queue.rejected(), queue.position) == (16, ["last"], 17)


def test_a_rejected_record_goes_right_after_the_one_before_it():
    topics = Topics(0, 1)
    topics.transactions(0, BROKEN, 10, BROKEN, 20, BROKEN, 30, 40, BROKEN, end=True)
    topics.transactions(1, BROKEN, 15, 35, BROKEN, end=True)
    topics.labels(0, BROKEN, 5, BROKEN, 6, 25, BROKEN, end=True)
    topics.labels(1, 5, BROKEN, end=True)

    assert topics.run() == [
        *("broken transaction 0/0", "broken transaction 1/0", "broken label 0/0"),
        *("label 0@5", "broken label 0/2", "label 1@5", "broken label 1/1", "label 0@6"),
        # A batch is scored whole: what is broken within it goes before it.
        *("broken transaction 0/2", "0@10", "0@20", "1@15", "1@35", "end 0"),
        *("broken transaction 0/4", "label 0@25", "broken label 0/5"),
        *("0@30", "0@40", "end 1", "broken transaction 1/3", "end 0", "broken transaction 0/7"),
    ]


def test_at_the_end_of_a_topic_rejected_records_wait_for_no_other():
    topics = Topics(0)
    topics.labels(0, end=True)
    topics.transactions(0, 10, 20)
    assert topics.run() == ["0@10", "0@20", "end 0"]

    topics.transactions(0, BROKEN)
    assert topics.run() == ["broken transaction 0/2"]
    topics.transactions(0, 30, BROKEN)
    assert topics.run() == []  # the batch is not complete
    topics.transactions(0, end=True)
    assert topics.run() == ["0@30", "broken transaction 0/4"]
    topics.labels(0, BROKEN)
    assert topics.run() == ["broken label 0/0"]


def test_as_they_arrive_rejected_records_wait_for_the_one_before_them_alone():
    topics = Topics(0, order="arrival")
    topics.labels(0, BROKEN, 10, BROKEN, 11, BROKEN)
    topics.transactions(0, 10, BROKEN)

    assert topics.run() == [
        *("0@10", "broken transaction 0/1"),
        *("broken label 0/0", "label 0@10", "broken label 0/2"),
    ]
    topics.transactions(0, end=True)
    assert topics.run() == ["label 0@11", "broken label 0/4"]


def full(topics, queue, paused):
    return topics.sequencer.is_full(0, queue, paused=paused)


@pytest.mark.parametrize("topic", ["transactions", "labels"])
def test_reading_pauses_at_the_limit_and_goes_on_at_half_of_it(topic):
    topics = Topics(0)
    queue = getattr(topics.sequencer.lanes[0], topic)
    getattr(topics, topic)(0, *range(QUEUE_ROWS - 1))
    assert not full(topics, queue, paused=False)

    getattr(topics, topic)(0, QUEUE_ROWS)
    assert full(topics, queue, paused=False)
    queue.take(QUEUE_ROWS // 2)
    assert full(topics, queue, paused=True)
    assert not full(topics, queue, paused=False)
    queue.take(1)
    assert not full(topics, queue, paused=True)


@pytest.mark.parametrize("topic", ["transactions", "labels"])
def test_reading_pauses_where_nothing_but_rejected_records_wait(topic):
    topics = Topics(0, 1)
    queue = getattr(topics.sequencer.lanes[0], topic)
    getattr(topics, topic)(0, *[BROKEN] * QUEUE_ROWS)
    assert full(topics, queue, paused=False)

    topics.transactions(0, end=topic == "labels")
    topics.transactions(1, end=True)
    assert len(topics.run()) == QUEUE_ROWS
    assert not full(topics, queue, paused=True)


def test_a_batch_larger_than_the_limit_is_read_to_its_end():
    topics = Topics(0, rows=2 * QUEUE_ROWS)
    queue = topics.sequencer.lanes[0].transactions
    topics.transactions(0, *range(2 * QUEUE_ROWS - 1))

    assert not full(topics, queue, paused=True)
    topics.transactions(0, 2 * QUEUE_ROWS)
    assert full(topics, queue, paused=True)


# --- The whole pipeline, healing inline, over two partitions whose data drift ---

ROWS = 7 * BATCH + 3
END = 2 * ROWS  # beyond the last offset
LATE_MS = 2 * BATCH * STEP_MS
AFTERWARDS_MS = 2 * ROWS * STEP_MS  # when every transaction is scored


def four_topics(late_ms):
    """Transactions and labels of two partitions; the labels late, some out of order or tied.

    Where offsets are missing, records are broken: singly, two in a row, first and last.
    """
    made = []
    for partition in (0, 1):
        drifted = stream(ROWS, drift=DRIFT, partition=partition)
        late = STEP_MS * np.random.default_rng(partition).integers(-9, 10, ROWS)
        labels = replace(drifted.labels, labelled_at=drifted.labels.labelled_at + late_ms + late)
        made.append((partition, "transactions", with_gaps(drifted.transactions)))
        made.append((partition, "labels", with_gaps(labels.rows(0, ROWS - 10))))
    return made


def with_gaps(rows):
    number = np.arange(len(rows))
    return replace(rows, offset=1 + number + number // 7 + number // 20)


def outcome(chunks, policy="paper", late_ms=LATE_MS):
    """Everything that comes of it, where `chunks` are (topic, rows) in the order of reading."""
    flags = {"heal.mode": "inline", "heal.policy": policy, "prequential.window_rows": 13}
    with running({**flags, "watch.conflicts": 99}, partitions=(0, 1)) as pipeline:
        sequencer = Sequencer(
            pipeline, "event_time", idle, reject=lambda at: pipeline.out.events.append(at)
        )
        sequencer.lanes = {0: Lane(), 1: Lane()}
        read = [0] * 4
        given = four_topics(late_ms)
        left = [(topic, END) for topic in (2, 0, 3, 1)]  # whatever the chunks leave
        for topic, count in [*chunks, *left]:
            partition, name, rows = given[topic]
            end = int(rows.offset[-1]) + 2
            start, stop = read[topic], min(read[topic] + count, end)
            if start < stop:
                queue = getattr(sequencer.lanes[partition], name)
                first, last = np.searchsorted(rows.offset, [start, stop])
                broken = sorted({*range(start, stop)} - {*rows.offset[first:last].tolist()})
                letters = [(offset, (name, partition, offset)) for offset in broken]
                queue.put(rows.rows(first, last), letters, stop)
                queue.at_end = stop == end
                read[topic] = stop
            sequencer.run()
        return flat(pipeline.out.take())


def flat(out):
    """Rows instead of chunks; floats to the last bit."""
    scores = [
        row
        for s in out.scores
        for row in zip(
            s.transactions.ids,
            s.score.tolist(),
            s.shadow.tolist(),
            [s.adapter_version] * len(s),
            [s.state] * len(s),
            strict=True,
        )
    ]
    # By partition, as they are published.
    labelled = [
        row
        for r in sorted(out.labelled, key=lambda rows: rows.partition)
        for row in zip(r.ids, r.score.tolist(), r.adapter_version.tolist(), strict=True)
    ]
    snapshots = [(s.key, s.value, dict(s.manifest)) for s in out.snapshots]
    activations = [(a.key, a.value) for a in out.activations]
    return scores, labelled, snapshots, activations, out.deployed, out.events


@pytest.fixture(scope="module")
def at_once():
    return outcome([])


def test_the_stream_of_this_property_heals(at_once):
    scores, labelled, snapshots, activations, _, events = at_once

    assert len(scores) == 2 * ROWS
    assert len(labelled) == 2 * (ROWS - 10)
    assert len(snapshots) >= 9
    assert len({version for *_, version, _ in scores}) >= 4
    assert len(activations) >= 6
    broken = [at for at in events if isinstance(at, tuple)]
    assert len(broken) == len(set(broken)) == 4 * 2 + 2 * (20 + 7) + 2 * (18 + 6)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 60)), max_size=40))
def test_by_event_time_any_chunks_give_the_same_outputs(at_once, chunks):
    assert outcome(chunks) == at_once


@pytest.mark.parametrize("policy", ["paper", "hedge"])
@pytest.mark.parametrize("late_ms", [LATE_MS, AFTERWARDS_MS])
def test_labels_lane_by_lane_give_the_outputs_of_labels_one_by_one(policy, late_ms, monkeypatch):
    monkeypatch.setattr("tests.test_order.with_gaps", lambda rows: rows)
    told = []
    labels = Pipeline.labels
    monkeypatch.setattr(
        Pipeline,
        "labels",
        lambda self, rows, idle: (told.append(rows.ids), labels(self, rows, idle)),
    )

    by_lane, lane_by_lane = outcome([], policy, late_ms), told.copy()
    monkeypatch.setattr(Pipeline, "quiet_labels", lambda *_: 0)
    told.clear()

    assert outcome([], policy, late_ms) == by_lane
    assert told != lane_by_lane
    said = [event["event"]["action"] for event in by_lane[-1] if isinstance(event, dict)]
    assert {"prequential", "batch-labelled"} <= set(said)
