"""Without a broker: whatever was committed when a process dies, the next one decides the same.

A stream with broken records is fed in random chunks and committed at random moments, some of them
while an inline heal is waited for. At random moments everything since the last commit is lost, and
a new pipeline goes on from what was committed, as it would from the topics.
"""

import random
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import orjson
import pytest

from consumer import evidence, pipeline, policy, states
from consumer.chain import Head
from consumer.columns import Labelled
from consumer.decision import REVIEW
from consumer.hedge.ripening import Ripening
from consumer.order import Lane, Sequencer
from consumer.partition import Restored
from consumer.pipeline import Pipeline
from consumer.policy import Memories, MonitorBatch
from consumer.registry import REGIME, InForce, Place, Registry
from consumer.restore import Checkpoint
from tests.streams import BATCH, DRIFT, START_MS, STEP_MS, model, settings, stream

ROWS = 40 * BATCH
FLAGS: dict[str, Any] = {
    "heal.mode": "inline",
    "join.max_rows": 300,
    "join.horizon_days": 0.0005,  # 43 s: 430 rows
    "prequential.window_rows": 70,
    "cost.reviews_per_hour": 9,
    "cost.missed_fraud": 100,
    "cost.false_alarm": [100],
}
OF_PROCESS = {"consumer-started", "partitions-assigned"}
TOPICS = ("transactions", "labels")
# Offsets of what can be read; the rest, the first and the last among them, is broken: at the bounds
# of every batch, in the midst of it, and at times two in a row.
GOOD = [1 + number + number // 10 + number // 99 for number in range(3 * (ROWS // 3))]
END = GOOD[-1] + 3
BROKEN = {*range(END)} - {*GOOD}
DEATHS = 25  # of one run, at most


@dataclass
class Topics:
    """What was committed."""

    events: list[dict[str, Any]] = field(default_factory=list)
    scores: list[tuple[int, int, float, str, int, int]] = field(default_factory=list)
    letters: list[tuple[str, int]] = field(default_factory=list)  # topic and offset
    labelled: list[Labelled] = field(default_factory=list)
    pending: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    snapshots: dict[int, Any] = field(default_factory=dict)
    deployed: dict[str, Any] | None = None
    regimes: dict[int, tuple[bytes, dict[str, Any]]] = field(default_factory=dict)
    corrected: list[Labelled] = field(default_factory=list)
    moments: bytes | None = None
    requests: bytes | None = None
    checkpoint: bytes | None = None
    positions: tuple[int, int] = (0, 0)


class DeathError(Exception):
    """The process is gone, and what it had not committed."""


class Process:
    """Drives a pipeline as the loop does, over records in lists and topics in memory."""

    def __init__(self, of, given, topics, draw, deaths, flags):
        self.of, self.given, self.topics, self.draw, self.deaths = of, given, topics, draw, deaths
        registry = Registry(of.manifest.model_version, of.manifest.base_sha256)
        for snapshot in topics.snapshots.values():
            registry.restore(snapshot.key, snapshot.value, snapshot.manifest)
        self.pipeline = Pipeline(settings(FLAGS | flags), of, restored=registry)
        self.pipeline.start(self.in_force(topics.deployed), START_MS)
        self.letters = []  # since the last commit
        self.sequencer = Sequencer(
            self.pipeline, "event_time", self.idle, self.commit, self.dead_letter
        )
        self.lane = self.sequencer.lanes[0] = Lane()
        self.begin()

    def in_force(self, record):
        snapshots = self.topics.snapshots
        if record is not None:
            return InForce.of(record, snapshots[record["version"]])
        return InForce(snapshots[min(snapshots)]) if snapshots else None

    def between(self, first, last):
        rows = between(self.given.transactions, first, last + 1)
        place = Place("transactions", 0, last, int(rows.event_time[-1]))
        return MonitorBatch(rows.x, first, int(rows.event_time[0]), place)

    def remembered(self, count):
        """The last so many joined rows, with the labels of now."""
        if not count:
            return None
        rows = Labelled.concatenate(self.topics.labelled)
        rows = rows.rows(len(rows) - count, len(rows))
        later = {
            offset: label
            for _, some in self.topics.corrected
            for offset, label in zip(some.offset.tolist(), some.is_fraud.tolist(), strict=True)
        }
        both = zip(rows.offset.tolist(), rows.is_fraud.tolist(), strict=True)
        now = [later.get(offset, label) for offset, label in both]
        return replace(rows, is_fraud=np.array(now, np.int8))

    def begin(self):
        topics, transactions, labels = self.topics, *self.topics.positions
        self.lane.transactions.position, self.lane.labels.position = transactions, labels
        if topics.checkpoint is None:
            self.pipeline.assign([0], START_MS)
            return
        found = orjson.loads(topics.checkpoint)
        state = found["pipeline"]
        count = state["labelled_rows"]
        tail = Labelled.concatenate(topics.labelled) if count else None
        keys, values = [key for key, _ in topics.pending], [value for _, value in topics.pending]
        restored = Restored(
            state,
            transactions,
            self.in_force(state["active"]) if state["active"] else None,
            between(self.given.transactions, state["rows_from"], transactions)
            if state["rows"]
            else None,
            tail.rows(len(tail) - count, len(tail)) if tail is not None else None,
            self.remembered(state["remembered"][0]),
            state["remembered"][1],
            None,
            [(keys, values)],
        )
        self.lane.load(found["lane"])
        healing = self.pipeline.healing
        memories = Memories(
            states.from_bytes(topics.moments, states.sha256(topics.moments), "moments")
            if topics.moments
            else None,
            evidence.from_bytes(topics.requests) if topics.requests else (),
            topics.regimes,
            topics.snapshots,
            [self.between(first, last) for _, first, last in healing.recent(found["healing"])],
        )
        healing.take_over(found["healing"], memories)
        self.pipeline.head = Head(**found["head"])
        self.pipeline.assign([0], START_MS, {0: restored})

    def run(self):
        lane, given = self.lane, self.given
        read = list(self.topics.positions)
        for _ in range(10_000):
            for at, (queue, rows) in enumerate(
                ((lane.transactions, given.transactions), (lane.labels, given.labels))
            ):
                stop = min(END, read[at] + self.draw.randrange(1, 3 * BATCH))
                letters = [
                    (offset, Place(TOPICS[at], 0, offset, START_MS))
                    for offset in range(read[at], stop)
                    if offset in BROKEN
                ]
                queue.put(between(rows, read[at], stop), letters, stop)
                read[at] = stop
                queue.at_end = stop == END
            self.sequencer.run()
            self.perhaps()
            if read == [END] * 2 and not len(lane.transactions) and not len(lane.labels):
                self.commit()
                return
        raise AssertionError("it never came to the end")

    def perhaps(self):
        if self.draw.random() < 0.3:
            self.commit()
        if self.deaths and self.draw.random() < self.deaths:
            raise DeathError

    def dead_letter(self, place):
        self.letters.append((place.topic, place.offset))
        self.pipeline.dead_letter(place, "InvalidJson")

    def idle(self):
        if self.draw.random() < 0.02:
            self.perhaps()

    def commit(self):
        out, topics, heals = self.pipeline.take(), self.topics, self.pipeline.healing
        for event in out.events:
            if event["event"]["action"] not in OF_PROCESS:
                topics.events.append(event)
        for one in out.scores:
            columns = (
                one.transactions.offset.tolist(),
                one.score.tolist(),
                one.decision.tolist(),
                one.shadow_decision.tolist(),
            )
            topics.scores += [
                (offset, one.adapter_version, round(score, 6), one.state, *decisions)
                for offset, score, *decisions in zip(*columns, strict=True)
            ]
        topics.letters += self.letters
        self.letters.clear()
        topics.labelled += out.labelled
        topics.pending += [change for _, changes in out.pending for change in changes]
        topics.snapshots |= {snapshot.version: snapshot for snapshot in out.snapshots}
        if out.deployed:
            topics.deployed = orjson.loads(orjson.dumps(out.deployed[-1].record("")))
        for key, value, about in out.registry:
            number = int(key.removeprefix(REGIME))
            topics.regimes.pop(number, None)
            if value is not None:
                topics.regimes[number] = value, orjson.loads(about)
        topics.corrected += out.corrected
        topics.moments = states.to_bytes(heals.moments) if heals.moments else None
        topics.requests = evidence.to_bytes(heals.open_requests) if heals.open_requests else None
        topics.positions = (self.lane.transactions.position, self.lane.labels.position)
        topics.checkpoint = Checkpoint(
            {},
            self.lane.checkpoint(),
            self.pipeline.checkpoint(0),
            heals.checkpoint(),
            self.pipeline.head,
        ).to_bytes(self.of.manifest.base_sha256)
        self.pipeline.committed()


def between(rows, first, stop):
    """By offset."""
    return rows.rows(*np.searchsorted(rows.offset, [first, stop]))


def given(*, fraud_first=False):
    """Clean, drifted, clean; labels 12 s late, a few of them twice or corrected.

    `fraud_first`: those of frauds are 3 s late.
    """
    parts = [stream(ROWS, drift=drift, seed=5) for drift in (0.0, 1.5 * DRIFT, 0.0)]
    third = ROWS // 3
    rows = [part.transactions.rows(i * third, (i + 1) * third) for i, part in enumerate(parts)]
    labels = [part.labels.rows(i * third, (i + 1) * third) for i, part in enumerate(parts)]
    transactions, label = rows[0], labels[0]
    for more, of_more in zip(rows[1:], labels[1:], strict=True):
        transactions = type(transactions).concatenate(transactions, more)
        label = type(label).concatenate(label, of_more)
    # Records that are late by event time count when they come.
    transactions.event_time[::37] -= 30 * STEP_MS
    labelled_at = label.labelled_at + 120 * STEP_MS
    labelled_at[::41] -= 50 * STEP_MS
    changed = label.is_fraud.copy()
    changed[40:60] = 1 - changed[30:50]  # at another's place: corrections of those rows
    ids = [*label.ids[:40], *label.ids[30:50], *label.ids[60:]]
    labels = replace(
        label, labelled_at=labelled_at, ids=ids, is_fraud=changed, offset=np.array(GOOD)
    )
    if fraud_first:
        at = labels.labelled_at - 90 * STEP_MS * (labels.is_fraud == 1)
        order = np.argsort(at, kind="stable")
        ids = [labels.ids[n] for n in order]
        labels = replace(labels, labelled_at=at[order], ids=ids, is_fraud=labels.is_fraud[order])
    transactions = replace(transactions, offset=np.array(GOOD))
    return replace(parts[0], transactions=transactions, labels=labels)


def ended(draw, deaths, flags, *, fraud_first=False):
    """The topics at the end, and how often it died on the way."""
    topics, of, died = Topics(), model(), 0
    records = given(fraud_first=fraud_first)
    while True:
        # A heal that is polled for ten thousand times on a fast machine must be survived one day.
        process = Process(of, records, topics, draw, deaths if died < DEATHS else 0.0, flags)
        try:
            process.run()
        except DeathError:
            died += 1
        else:
            return topics, died
        finally:
            process.pipeline.healing.close(5)


@cache
def alone(policy_name, *, fraud_first=False):
    flags = {"heal.policy": policy_name}
    topics, _ = ended(random.Random(1), 0.0, flags, fraud_first=fraud_first)
    return topics


@pytest.mark.parametrize(
    ("policy_name", "seed", "fraud_first"),
    [
        *(("paper", seed, False) for seed in range(6)),
        *(("hedge", 0, False), ("hedge", 1, False), ("hedge", 2, True)),
    ],
)
def test_a_process_that_dies_again_and_again_decides_the_same(
    policy_name, seed, fraud_first, monkeypatch
):
    monkeypatch.setattr(pipeline, "DEAD_WINDOW", 1)  # each is told
    flags = {"heal.policy": policy_name}
    expected_of = alone(policy_name, fraud_first=fraud_first)
    # Many moments in a heal to commit and to die at, and not so many that none is survived.
    monkeypatch.setattr(policy, "WAIT_S", 0.0 if flags["heal.policy"] == "paper" else 0.01)

    draw = random.Random(seed)
    for _ in range(10):  # how often it polls, and so what is drawn, depends on the machine
        often = 0.05 if policy_name == "paper" else 0.15
        topics, died = ended(draw, often, flags, fraud_first=fraud_first)
        if died:
            break

    assert died > 0
    assert topics.events == expected_of.events
    assert topics.scores == expected_of.scores
    assert [offset for offset, *_ in topics.scores] == GOOD
    assert [decision for *_, decision, _ in topics.scores].count(REVIEW) == 9
    if policy_name == "hedge":
        ripening = Ripening()
        ripening.load(orjson.loads(topics.checkpoint)["healing"]["hedge"]["ripening"])
        assert (ripening.age_ms > 0) is fraud_first
    assert topics.letters == expected_of.letters
    assert sorted(topics.letters) == sorted((topic, at) for topic in TOPICS for at in BROKEN)
    joined, expected = (Labelled.concatenate(t.labelled) for t in (topics, expected_of))
    assert joined.ids == expected.ids
    assert joined.weight.tolist() == expected.weight.tolist()
    assert orjson.loads(topics.checkpoint) == orjson.loads(expected_of.checkpoint)
    assert topics.checkpoint == expected_of.checkpoint
    assert topics.deployed == expected_of.deployed
    assert sorted(topics.snapshots) == sorted(expected_of.snapshots)


@pytest.mark.parametrize("policy_name", ["paper", "hedge"])
def test_the_stream_of_this_test_has_what_can_go_wrong(policy_name, monkeypatch):
    monkeypatch.setattr(pipeline, "DEAD_WINDOW", 1)
    topics = alone(policy_name)
    actions = [event["event"]["action"] for event in topics.events]
    counts = orjson.loads(topics.checkpoint)["pipeline"]["join"]["counts"]

    chained = [event["reflexive"].get("sequence") for event in topics.events]
    head = orjson.loads(topics.checkpoint)["head"]

    assert list(filter(None, chained)) == [*range(1, head["sequence"] + 1)]
    assert actions.count("heal-deployed") > 3
    assert actions.count("prequential") > 3
    assert actions.count("dead-letters") == 2 * len(BROKEN) > 100
    assert {"corrected", "matched", "thinned"} <= counts.keys()
    if policy_name == "hedge":
        assert {"regime-changed", "regime-recognised", "heal-deployed"} <= set(actions)
        found = [e["reflexive"] for e in topics.events if e["event"]["action"] == "regime-changed"]
        assert any((GOOD.index(each["offset"]) + 1) % BATCH for each in found)  # a batch was cut
