"""5% of everything is broken: the rest is scored once, each broken one is a dead letter once."""

import json
import random
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as how_often
from hypothesis import strategies as st
from typer.testing import CliRunner

from consumer.__main__ import app
from consumer.kafka.client import producer
from consumer.kafka.dead_letters import PREFIX, Shortened
from consumer.model_directory import Model
from consumer.partitioner import murmur2
from consumer.settings import Settings
from tests.broker import Broker
from tests.conftest import CreateTopics, Names
from tests.integration import breaking, consuming
from tests.integration.breaking import Sent

ROWS = 1_600
PARTITIONS = 2
TABLE = consuming.rows(ROWS, seed=31)
Stream = list[list[Sent]]  # by partition, then by offset


@dataclass(frozen=True, slots=True)
class Dirty:
    """What an example sends; its text would be megabytes."""

    transactions: Stream = field(repr=False)
    labels: Stream = field(repr=False)


@st.composite
def streams(draw: Any) -> Dirty:
    """Transactions and labels, 5% of each broken: one of each kind at least, at any places."""
    transactions = [consuming.transaction(number, TABLE) for number in range(ROWS)]
    labels = [consuming.label(number, TABLE, delay_ms=2_000) for number in range(ROWS)]
    places = random.Random(draw(st.integers(0, 2**32)))
    return Dirty(
        _stream(draw, places, transactions, breaking.OF_TRANSACTIONS),
        _stream(draw, places, labels, breaking.OF_LABELS),
    )


def _stream(
    draw: Any, places: random.Random, messages: list[dict[str, Any]], ways: list[breaking.Way]
) -> Stream:
    count = ROWS // 20
    kinds = [*range(len(ways)), *[None] * (count - len(ways))]
    at = dict(zip(places.sample(range(ROWS), count), kinds, strict=True))
    sent: Stream = [[] for _ in range(PARTITIONS)]
    for number, message in enumerate(messages):
        name = message["transaction_id"]
        if number in at:
            one = draw(breaking.broken(ways, message, at[number]))
        else:
            one = Sent(name, orjson.dumps(message), name.encode(), [])
        sent[murmur2(name.encode()) % PARTITIONS].append(one)
    return sent


@how_often(
    max_examples=2,
    derandomize=True,
    database=None,
    deadline=None,
    # No shrinking: an example takes seconds.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(dirty=streams())
def test_good_ones_are_scored_once_and_broken_ones_are_dead_letters_once(
    broker: Broker,
    create_topics: CreateTopics,
    model: Model,
    folder: Path,
    dirty: Dirty,
) -> None:
    unique = f"dirty-{uuid.uuid4().hex[:8]}"
    names = Names(f"{unique}-app", f"{unique}-transactions", f"{unique}-labels")
    create_topics(names.transactions, names.labels, partitions=PARTITIONS)
    settings = consuming.settings(broker.bootstrap, names)
    transactions, labels = dirty.transactions, dirty.labels
    _send(settings, names.transactions, transactions)
    _send(settings, names.labels, labels)

    consuming.consume(settings, model)

    assert _scored(settings) == {
        (p, offset): one.id for p, offset, one in _places(transactions) if one.kind is None
    }
    _assert_dead_letters(settings, {names.transactions: transactions, names.labels: labels})
    # A label whose transaction is broken waits; one that is broken itself is a dead letter.
    assert _labelled(settings) == Counter(_ids(transactions, {None}) & _ids(labels, {None}))

    repairable = sum(one.repairable for _, _, one in [*_places(transactions), *_places(labels)])
    assert repairable >= 7
    assert _replayed(settings, folder) == repairable
    consuming.consume(settings, model)
    mended = {None, True}
    assert Counter(_scored(settings).values()) == Counter(_ids(transactions, mended))
    assert _labelled(settings) == Counter(_ids(transactions, mended) & _ids(labels, mended))
    # Nothing became a dead letter a second time.
    _assert_dead_letters(settings, {names.transactions: transactions, names.labels: labels})


def _send(settings: Settings, topic: str, stream: Stream) -> None:
    out = producer(settings.kafka, {"message.max.bytes": 1_000_000})
    for partition, _, one in _places(stream):
        out.produce(topic, one.value, key=one.key, partition=partition, headers=list(one.headers))
        out.poll(0)
    assert out.flush(30) == 0


def _places(stream: Stream) -> Sequence[tuple[int, int, Sent]]:
    return [(p, offset, one) for p, sent in enumerate(stream) for offset, one in enumerate(sent)]


def _ids(stream: Stream, which: set[bool | None]) -> set[str]:
    """Of the good ones (None) and the repairable ones (True)."""
    return {
        one.id
        for _, _, one in _places(stream)
        if (None if one.kind is None else one.repairable) in which
    }


def _scored(settings: Settings) -> dict[tuple[int, int], str]:
    scores = consuming.messages(settings, "scores")
    found = {(score["partition"], score["offset"]): score["transaction_id"] for score in scores}
    assert len(found) == len(scores)  # each place once
    return found


def _labelled(settings: Settings) -> Counter[str]:
    return Counter(row["transaction_id"] for row in consuming.messages(settings, "labelled"))


def _assert_dead_letters(settings: Settings, sent: dict[str, Stream]) -> None:
    """One for each broken message: its bytes, key and headers, and why."""
    found = {}
    letters = consuming.records(settings, "dead-letters")
    for letter in letters:
        headers = {name: (value or b"").decode() for name, value in letter.headers[-6:]}
        place = tuple(headers[PREFIX + name] for name in ("topic", "partition", "offset"))
        value: bytes | Shortened | None = letter.value
        if headers[f"{PREFIX}exception"] == "TooLarge":
            kept = json.loads(letter.value or b"")
            value = Shortened(kept["sha256"], kept["bytes"])
        found[place] = (headers[f"{PREFIX}exception"], letter.key, letter.headers[:-6], value)
    assert len(found) == len(letters)
    expected = {
        (topic, str(p), str(offset)): one
        for topic, stream in sent.items()
        for p, offset, one in _places(stream)
        if one.kind is not None
    }
    assert set(found) == set(expected)
    for place, one in expected.items():
        kind, key, headers, value = found[place]
        assert (kind, key, headers) == (one.kind, one.key, one.headers), place
        if isinstance(value, Shortened):
            assert value.is_of(one.value)
        else:
            assert value == one.value


def _replayed(settings: Settings, folder: Path) -> int:
    """How many the command says it has replayed."""
    program = folder / "mend.sed"
    program.write_text(breaking.MEND)
    ended = CliRunner().invoke(
        app,
        [
            *("dead-letters", "replay", "--repair", f"sed -E -f {program}"),
            *("--model", str(folder / "model")),
            *("--bootstrap-servers", settings.kafka.bootstrap_servers),
            *("--application-id", settings.application_id),
            *("--transactions-topic", settings.input.transactions.topic),
            *("--labels-topic", settings.input.labels.topic),
        ],
    )
    assert ended.exit_code == 0, (ended.output, ended.exception)
    return int(ended.stdout.split()[0].replace(",", ""))
