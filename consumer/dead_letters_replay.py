"""Which dead letters are readable now, and producing those again, once each.

A record is replayed once for the place where it first failed: the replayed record names that place
in a header, and the source topic is searched for it before. That holds as long as the source topic
keeps records no shorter than the dead-letters topic does.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from consumer.dead_letters_view import Letter, place_of, replayed_from
from consumer.decode import LabelDecoder, TransactionDecoder
from consumer.errors import SettingsError
from consumer.kafka.dead_letters import REPLAYED_FROM
from consumer.kafka.reader import read_all
from consumer.kafka.record import Record
from consumer.kafka.replay import Place, Replay, fetch
from consumer.settings import Settings

# What a repair makes of a value; None where it leaves it as it is.
Repair = Callable[[bytes | None], bytes | None]


@dataclass(slots=True)
class Done:
    """What became of the dead letters."""

    replayed: int = 0
    before: int = 0  # replayed already
    failed_again: int = 0  # of those before: the replay is a dead letter too
    unreadable: Counter[str] = field(default_factory=Counter)  # by kind
    gone: int = 0  # too large to have been kept, and no longer in the source topic
    elsewhere: int = 0  # of a topic that is no input any more


def replay(
    settings: Settings,
    found: Sequence[Letter],
    wanted: Callable[[Letter], bool],
    features: Callable[[], Sequence[str]],
    now_ms: int,
    *,
    repair: Repair | None = None,
    again: bool = False,
    dry_run: bool = False,
) -> Done:
    """Produce again what is readable now, to the topics it came from, in one Kafka transaction.

    `found`: every dead letter, the oldest first. `features`: the model's, asked for only where a
    transaction is to be read. `again`: also those whose replay failed.

    Raises: KafkaUnavailableError, FencedError; nothing is produced then.
    """
    done = Done()
    ready = _ready(settings, _first(found, wanted), features, now_ms, repair, done)
    if ready and dry_run:
        done.replayed = len(_not_yet(settings, ready, found, done, again=again))
    elif ready:
        # Connecting ends every other replay: what the topics hold after it stays as it is.
        with Replay(settings) as out:
            left = _not_yet(settings, ready, found, done, again=again)
            if left:
                out.produce(left)
            done.replayed = len(left)
    return done


def repair_with(program: Sequence[str]) -> Repair:
    """Pipe a value through a program; what it prints is the value, unless it exits non-zero."""

    def run(value: bytes | None) -> bytes | None:
        try:
            ended = subprocess.run(program, input=value or b"", stdout=subprocess.PIPE)
        except OSError as error:
            raise SettingsError(f"--repair {program[0]}: {error.strerror}") from error
        return ended.stdout if ended.returncode == 0 else None

    return run


def _first(found: Iterable[Letter], wanted: Callable[[Letter], bool]) -> list[Letter]:
    """One a place, the one of the first failure: its bytes are those that were sent."""
    first: dict[str, Letter] = {}
    for letter in found:
        if letter.first not in first and wanted(letter):
            first[letter.first] = letter
    return list(first.values())


def _ready(
    settings: Settings,
    letters: Sequence[Letter],
    features: Callable[[], Sequence[str]],
    now_ms: int,
    repair: Repair | None,
    done: Done,
) -> list[Record]:
    """The records to produce, as far as they are readable; the others are counted."""
    inputs, limit = settings.input, settings.input.max_message_bytes
    topics = (inputs.transactions.topic, inputs.labels.topic)
    known = [letter for letter in letters if letter.record.topic in topics]
    done.elsewhere = len(letters) - len(known)
    originals = _originals(settings, known, fetch_all=repair is not None)
    decoders: dict[str, TransactionDecoder | LabelDecoder] = {
        inputs.labels.topic: LabelDecoder(inputs.labels, limit)
    }
    if any(letter.record.topic == inputs.transactions.topic for letter in known):
        decoders[inputs.transactions.topic] = TransactionDecoder(
            inputs.transactions, features(), limit
        )
    ready = []
    for letter in known:
        record, value = letter.record, letter.record.value
        if letter.shortened is not None:
            if letter.shortened.size > limit and repair is None:
                done.unreadable[letter.kind] += 1
                continue
            original = originals.get(_place(record))
            if original is None or not letter.shortened.is_of(original.value):
                done.gone += 1
                continue
            value = original.value
        if repair is not None:
            value = repair(value)
            if value is None:
                done.unreadable[letter.kind] += 1
                continue
        _, rejected = decoders[record.topic](record.partition, [value], [record.offset], now_ms)
        if rejected:
            done.unreadable[rejected[0].kind] += 1
            continue
        own = [(name, text) for name, text in record.headers if name != REPLAYED_FROM]
        ready.append(
            record._replace(value=value, headers=[*own, (REPLAYED_FROM, letter.first.encode())])
        )
    return ready


def _originals(
    settings: Settings, letters: Iterable[Letter], *, fetch_all: bool
) -> dict[Place, Record]:
    """The records whose values were too large to be kept, where they may be readable now."""
    limit = settings.input.max_message_bytes
    return fetch(
        settings.kafka,
        [
            _place(letter.record)
            for letter in letters
            if letter.shortened is not None and (fetch_all or letter.shortened.size <= limit)
        ],
    )


def _not_yet(
    settings: Settings, ready: list[Record], found: Iterable[Letter], done: Done, *, again: bool
) -> list[Record]:
    """Those that were not replayed before."""
    dead = {letter.place for letter in found}
    alive: set[str] = set()  # first places with a replay that did not fail (or is not read yet)
    failed: set[str] = set()
    for topic in {record.topic for record in ready}:
        for record in read_all(settings.kafka, topic):
            if (first := replayed_from(record)) is not None:
                (failed if place_of(record) in dead else alive).add(first)
    failed -= alive
    left = []
    for record in ready:
        first = replayed_from(record)
        if first in alive or (first in failed and not again):
            done.before += 1
            done.failed_again += first in failed
        else:
            left.append(record)
    return left


def _place(record: Record) -> Place:
    return record.topic, record.partition, record.offset
