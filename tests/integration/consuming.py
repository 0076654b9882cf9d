"""Driving the consumer on a real broker: models, messages, runs, and what the topics then hold."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from consumer import model_directory, train
from consumer.kafka.client import producer
from consumer.kafka.reader import read_all
from consumer.kafka.record import Record
from consumer.loop import Loop
from consumer.model_directory import Model
from consumer.rows import Rows
from consumer.settings import Settings, load
from consumer.status import Status
from tests.conftest import Names

FEATURES = ("V1", "V14", "V3")
START_MS = 1_767_225_600_000
STEP_MS = 100


def rows(count: int, seed: int, shift: float = 0.0) -> Rows:
    """15% fraud, told apart by V14 alone; `shift` moves the legitimate rows towards it."""
    draws = np.random.default_rng(seed)
    label = (draws.random(count) < 0.15).astype(np.float32)
    x = draws.standard_normal((count, len(FEATURES))).astype(np.float32)
    x[:, 1] = np.where(label == 1, x[:, 1] * 0.8 - 2.5, x[:, 1] - shift)
    return Rows(FEATURES, x, label)


def drifting(count: int, seed: int, times: int = 1) -> Rows:
    """Clean, drifted, clean again, a third each; `times` over."""
    third = count // times // 3
    parts = []
    for time_ in range(times):
        draw = seed + 3 * time_
        parts += [rows(third, draw), rows(third, draw + 1, shift=2.2), rows(third, draw + 2)]
    parts.append(rows(count - 3 * third * times, seed + 3 * times))
    return Rows(
        FEATURES,
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.label for part in parts]),
    )


def model(folder: Path, rules: Iterable[str] = ("V14 < -1.5",), seed: int = 1) -> Model:
    """A small model trained in a second."""
    table = rows(2_000, seed=seed)
    module, how = train.train(table, seed, lambda *_: None)
    model_directory.save(
        folder,
        module,
        features=FEATURES,
        rules=list(rules),
        watched=["V14"],
        reference=train.reference(table, module),
        training=how,
    )
    return model_directory.load(folder)


def settings(bootstrap: str, names: Names, **flags: Any) -> Settings:
    """Settings on a test's own topics; `section__key=value` for any other.

    The published policy heals often and in milliseconds; a test of another one says so.
    """
    given = {name.replace("__", "."): value for name, value in flags.items()}
    return load(
        None,
        {
            "kafka.bootstrap_servers": bootstrap,
            "application_id": names.application_id,
            "input.transactions.topic": names.transactions,
            "input.labels.topic": names.labels,
            "heal.policy": "paper",
            **given,
        },
    )


def transaction(number: int, table: Rows) -> dict[str, Any]:
    """Transaction `number`, 100 ms after the one before; the table's rows over and over."""
    row = number % len(table.x)
    return {
        "transaction_id": f"t-{number:06d}",
        "event_time": START_MS + number * STEP_MS,
        "features": dict(zip(table.features, table.x[row].tolist(), strict=True)),
    }


def label(number: int, table: Rows, delay_ms: int = 0) -> dict[str, Any]:
    """Its label."""
    return {
        "transaction_id": f"t-{number:06d}",
        "is_fraud": int(table.label[number % len(table.label)]),
        "labelled_at": START_MS + number * STEP_MS + delay_ms,
        "source": "chargeback",
    }


def send(
    settings: Settings,
    table: Rows,
    numbers: Iterable[int],
    *,
    partition: int = 0,
    delay_ms: int = 0,
) -> None:
    """Publish transactions and their labels."""
    out = producer(settings.kafka)
    for number in numbers:
        for topic, message in (
            (settings.input.transactions.topic, transaction(number, table)),
            (settings.input.labels.topic, label(number, table, delay_ms)),
        ):
            out.produce(
                topic,
                orjson.dumps(message),
                key=message["transaction_id"],
                partition=partition,
            )
        out.poll(0)
    assert out.flush(30) == 0


def blocks(count: int, partitions: int, rows: int = 250) -> Iterator[tuple[int, range]]:
    """Partition and numbers of `count` transactions that come block by block, one after another."""
    for block, first in enumerate(range(0, count, rows)):
        yield block % partitions, range(first, min(first + rows, count))


def send_raw(
    settings: Settings, topic: str, values: Iterable[bytes | None], partition: int = 0
) -> None:
    """Publish bytes as they are, each under a key of its own."""
    out = producer(settings.kafka, {"message.max.bytes": 4_000_000})
    for number, value in enumerate(values):
        out.produce(
            topic, value, key=f"raw-{number}", partition=partition, headers=[("trace", b"abc")]
        )
    assert out.flush(30) == 0


def consume(settings: Settings, found: Model) -> Status:
    """Run to where the topics end."""
    return Loop(settings, found, until_end=True).run()


def consume_until(settings: Settings, found: Model, enough: Callable[[Status], bool]) -> Status:
    """Run until the status is enough; a minute at most."""
    deadline = time.monotonic() + 60

    def follow(status: Status) -> None:
        if enough(status):
            loop.stop("enough")
        elif time.monotonic() > deadline:
            loop.stop("too late")

    loop = Loop(settings, found, on_status=follow)
    status = loop.run()
    assert enough(status), f"not within a minute: {status}"
    return status


def in_background(loop: Loop) -> tuple[threading.Thread, list[BaseException]]:
    """Run a loop on a thread; what it raised is in the list."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            loop.run()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, raised


def records(settings: Settings, topic: str) -> list[Record]:
    """Every record of one of our topics, in offset order a partition."""
    return list(read_all(settings.kafka, settings.topic(topic)))


def messages(settings: Settings, topic: str) -> list[dict[str, Any]]:
    """Their values."""
    return [orjson.loads(record.value or b"null") for record in records(settings, topic)]


def actions(settings: Settings) -> list[str]:
    """The actions of every event, in order."""
    return [event["event"]["action"] for event in messages(settings, "events")]
