"""Decisions of a real run on a real broker: whole as they lie, and each place broken is named."""

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from consumer import audit_events, chain
from consumer.kafka import topics
from consumer.kafka.client import producer
from consumer.kafka.reader import Reader
from consumer.pipeline import HEALER
from consumer.settings import Settings
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import commands, consuming


@pytest.fixture
def run(
    broker: Broker, names: Names, create_topics: CreateTopics, tmp_path: Path
) -> tuple[Settings, list[bytes]]:
    """A run that healed, and its events as they lie on their topic."""
    create_topics(names.transactions, names.labels)
    settings = consuming.settings(
        broker.bootstrap, names, heal__mode="inline", heal__policy="hedge"
    )
    consuming.send(settings, consuming.drifting(1_500, seed=21), range(1_500))
    consuming.consume(settings, consuming.model(tmp_path / "model"))
    return settings, [record.value or b"" for record in consuming.records(settings, "events")]


def copy(settings: Settings, name: str, values: list[bytes]) -> Settings:
    """Another application with these events, and the checkpoint of the healer."""
    other = settings.model_copy(update={"application_id": f"{settings.application_id}-{name}"})
    topics.ensure(other)
    with Reader(settings.kafka) as reader:
        (checkpoint,) = reader.last(settings.topic("checkpoints"), HEALER, 1)
    out = producer(settings.kafka)
    for value in values:
        out.produce(other.topic("events"), value, key=settings.application_id)
    out.produce(other.topic("checkpoints"), checkpoint.value(), key="0", partition=HEALER)
    assert out.flush(20) == 0
    return other


def audited(settings: Settings) -> tuple[int, list[str]]:
    """Status and what `audit --events` printed."""
    ended = commands.run(
        *("audit", "--events", "--bootstrap-servers", settings.kafka.bootstrap_servers),
        *("--application-id", settings.application_id),
    )
    return ended.status, ended.out


def test_one_removed_one_altered_two_swapped_are_named_and_the_untouched_run_passes(
    run: tuple[Settings, list[bytes]],
) -> None:
    settings, values = run
    decided = [at for at, v in enumerate(values) if chain.is_decision(orjson.loads(v))]
    whole = audit_events.audit(settings)
    assert (whole.events, whole.decisions, whole.wrong) == (len(values), len(decided), [])
    assert whole.head.sequence == len(decided) > 10
    status, said = audited(settings)
    assert (status, len(said)) == (0, 1)
    assert said[0].endswith(f"0 wrong; head {len(decided)} sha256 {whole.head.sha256}")

    broken = list(values)
    event = orjson.loads(broken[decided[4]])
    broken[decided[4]] = orjson.dumps({**event, "message": "nothing happened"})
    one, other = decided[7], decided[9]
    broken[one], broken[other] = broken[other], broken[one]
    del broken[decided[2]]

    status, said = audited(copy(settings, "broken", broken))
    *wrong, total = said
    assert status == 1
    assert "4 wrong" in total
    for line, named in zip(
        wrong,
        [
            "decision 3 missing",
            "decision 10 (",
            "decision 8 (",
            "decision 5 (",
        ],
        strict=True,
    ):
        assert line.startswith(f"wrong: {named}"), wrong
    assert "altered" in wrong[-1]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda v: v.replace(b'"message":"', b'"message":"not '), "altered, the checkpoint knows"),
        (lambda _: b"", "decision {last} missing"),
    ],
    ids=["altered", "removed"],
)
def test_the_last_decision_is_vouched_for_by_the_checkpoint(
    run: tuple[Settings, list[bytes]], change: Callable[[bytes], bytes], named: str
) -> None:
    settings, values = run
    decided = [at for at, v in enumerate(values) if chain.is_decision(orjson.loads(v))]
    values[decided[-1]] = change(values[decided[-1]])

    found = audit_events.audit(copy(settings, "last", [value for value in values if value]))

    (line,) = found.wrong
    assert named.format(last=len(decided)) in line


def test_a_restart_goes_on_with_the_chain(
    run: tuple[Settings, list[bytes]], tmp_path: Path
) -> None:
    settings, _ = run
    before = audit_events.audit(settings).decisions
    table = consuming.drifting(1_500, seed=21)
    consuming.send(settings, table, range(1_500, 2_500))
    thresholds = tmp_path / "thresholds.json"
    thresholds.write_text('{"format": 1, "thresholds": {"watch.fidi_z": 0.9}}')
    decision = settings.decision.model_copy(update={"threshold_config": thresholds})
    again = settings.model_copy(update={"decision": decision})
    consuming.consume(again, consuming.model(tmp_path / "model"))

    found = audit_events.audit(settings)
    assert (found.wrong, found.outside) == ([], 0)
    assert found.decisions > before
    (changed,) = [
        event["reflexive"]["sequence"]
        for event in consuming.messages(settings, "events")
        if event["event"]["action"] == "thresholds-changed"
    ]
    assert changed == before + 1


def test_an_application_that_never_ran_gets_one_line(broker: Broker) -> None:
    line = commands.refused(
        *("audit", "--events", "--bootstrap-servers", broker.bootstrap),
        *("--application-id", "nobody"),
    )
    assert "nobody" in line
