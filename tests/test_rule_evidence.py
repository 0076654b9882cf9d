"""Rules against matured labels: at which row it is said that one disagrees, and that only once."""

import orjson
import pytest

from consumer.manifest import RuleTable
from consumer.rule_evidence import Counts
from tests.schemas import conforms
from tests.streams import DRIFT, events, labels_of, model, running, score, stream

RULES = (
    RuleTable(name="low V14", when="V14 < -1.5", weight=2.0),
    RuleTable(name="any", when="V8 > 0.5"),
)


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        # 10% fraud. Fired on 100 rows: 10 by chance, 20 would be worth it, 20 - 3 sqrt(20) = 6.6.
        (Counts(1000, 100, 100, 6), True),
        (Counts(1000, 100, 100, 7), None),
        # 200 rows, 20 by chance: 40 - 3 sqrt(40) = 21.03, chance and two errors: 28.9.
        (Counts(1000, 100, 200, 21), True),
        (Counts(1000, 100, 200, 22), None),
        # 1,000 rows, 100 by chance: 157 is less than worth it, yet surely better than chance.
        (Counts(10_000, 1000, 1000, 119), True),
        (Counts(10_000, 1000, 1000, 120), None),
        (Counts(10_000, 1000, 1000, 131), False),
        # Three frauds of three rows prove nothing yet; 12 of 50 do not reach 5 + 3 sqrt(5) = 11.7.
        (Counts(1000, 100, 3, 3), None),
        (Counts(1000, 100, 50, 11), None),
        (Counts(1000, 100, 50, 12), False),
        (Counts(), None),
        (Counts(1000, 0, 500, 0), None),
    ],
)
def test_a_rule_is_judged_by_its_rows_against_all(counts, verdict):
    assert counts.verdict() is verdict


def told(batches, *, restart_at=None, rules=RULES):
    """Events of a run; the state goes through a checkpoint at a batch."""
    state, found = None, []
    with running(of=model(rules=rules)) as pipeline:
        for number, batch in enumerate(batches):
            if number == restart_at:
                state = orjson.loads(orjson.dumps(pipeline._partitions[0].rules.state()))
                pipeline._partitions[0].rules.__init__(model(rules=rules).rules)
                pipeline._partitions[0].rules.load(state)
            score(pipeline, batch)
            labels_of(pipeline, batch)
        found = [e for e in pipeline.out.events if e["event"]["action"] == "rule-disagrees"]
        for event in found:
            conforms("event", event)
        return events(pipeline.out, "rule-disagrees")


CLEAN = [*stream(1000).batches()]
DRIFTED = [*stream(1000, drift=DRIFT, start=1000).batches()]
AFTER = [*stream(1500, start=2000).batches()]


def test_a_rule_that_says_nothing_and_one_that_turns_out_wrong_are_named_once_each():
    found = told(CLEAN + DRIFTED)

    assert [(e["rule"], e["offset"]) for e in found] == [("any", 279), ("low V14", 1279)]
    assert found[1]["when"] == "V14 < -1.5"
    assert found[1]["counts"]["right"] < 2 * found[1]["counts"]["fired"] * 0.15


def test_a_rule_that_recovers_is_named_again_when_it_fails_again():
    again = [*stream(1000, drift=DRIFT, start=3500).batches()]

    found = told(CLEAN + DRIFTED + AFTER + again, rules=RULES[:1])

    assert [e["offset"] // 1000 for e in found] == [1, 3]


@pytest.mark.parametrize("at", [5, 30, 55, 59])
def test_a_restart_changes_nothing(at):
    assert told(CLEAN + DRIFTED, restart_at=at) == told(CLEAN + DRIFTED)


def test_without_labels_nothing_is_said():
    with running(of=model(rules=RULES)) as pipeline:
        for batch in DRIFTED:
            score(pipeline, batch)
        assert not events(pipeline.out, "rule-disagrees")
