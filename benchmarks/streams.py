"""Made-up streams on their topics, and what came of them counted message by message."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from confluent_kafka.cimpl import NewTopic

from benchmarks import runs
from consumer.kafka import client, topics
from consumer.kafka.reader import read_all
from consumer.settings import Settings, load
from producer_sim import encode, training_csv
from producer_sim.labels import Labelling
from producer_sim.rows import Float32, Transactions

START_MS = 1_767_225_600_000  # 2026-01-01
TENTH = Labelling(delay_ms=1_000, fraction=0.1)
CHUNK = 10_000
FRAUD_SHARE = 0.15
# A published topic of several partitions is spread by the key, as the consumer expects it.
BY_KEY = -1


def settings(bootstrap: str, name: str, of: str, labels: str = "labels") -> Settings:
    """Of one run, as a user has them: exactly once, a commit every 100 ms, order of arrival."""
    return load(
        Path(os.devnull),
        {
            "kafka.bootstrap_servers": bootstrap,
            "application_id": f"{name}-{of}",
            "input.transactions.topic": f"{name}-transactions",
            "input.labels.topic": f"{name}-{labels}",
        },
    )


def columns(rows: int, features: int, seed: int = 42) -> Iterator[Transactions]:
    """Rows of so many features, V1 on; fraud shows in the first. The same seed draws the same."""
    rng, names = np.random.default_rng(seed), [f"V{n + 1}" for n in range(features)]
    for first in range(0, rows, CHUNK):
        count = min(CHUNK, rows - first)
        is_fraud = (rng.random(count) < FRAUD_SHARE).astype(np.int8)
        x = rng.standard_normal((count, features), np.float32)  # (count, features)
        fraud = is_fraud == 1
        x[fraud, 0] = 0.8 * x[fraud, 0] - 2.5
        numbers = np.arange(first, first + count)
        yield Transactions(
            ids=[f"made-{seed}-{number:09d}" for number in numbers.tolist()],
            times=START_MS + numbers,
            features={name: x[:, column] for column, name in enumerate(names)},
            is_fraud=is_fraud,
        )


def whole(chunks: Iterable[Transactions]) -> Transactions:
    """All of them as one."""
    several = list(chunks)
    return Transactions(
        ids=[name for chunk in several for name in chunk.ids],
        times=np.concatenate([chunk.times for chunk in several]),
        features={
            name: np.concatenate([chunk.features[name] for chunk in several])
            for name in several[0].features
        },
        is_fraud=np.concatenate([chunk.is_fraud for chunk in several]),
    )


def matrix(chunk: Transactions) -> Float32:
    """The features as a consumer holds them, (rows, features)."""
    return np.column_stack(list(chunk.features.values())).astype(np.float32)


def paced(chunks: Iterable[Transactions], rate: int, start_ms: int) -> Iterator[Transactions]:
    """The same rows, `rate` a second of event time.

    >>> (chunk,) = paced(columns(3, 1), 2, 1_000)
    >>> chunk.times.tolist()
    [1000, 1500, 2000]
    """
    done = 0
    for chunk in chunks:
        yield replace(chunk, times=start_ms + 1000 * np.arange(done, done + len(chunk)) // rate)
        done += len(chunk)


def rounded(chunks: Iterable[Transactions], digits: int) -> Iterator[Transactions]:
    """The same rows, their features with so many digits behind the point."""
    for chunk in chunks:
        some = {name: np.round(column, digits) for name, column in chunk.features.items()}
        yield replace(chunk, features=some)


def publish(
    found: Settings,
    chunks: Iterable[Transactions],
    labelling: Labelling = TENTH,
    partitions: int = 1,
) -> float:
    """Both input topics made and filled; bytes a transaction, mean."""
    names, kafka = found.input, found.kafka
    both = (names.transactions.topic, names.labels.topic)
    wanted = [NewTopic(name, partitions, 1) for name in both]
    topics.create(client.admin(kafka), kafka, wanted)
    out = client.producer(kafka, {"linger.ms": 50, "compression.type": "lz4"})
    to, size, rows = 0 if partitions == 1 else BY_KEY, 0, 0
    for chunk in chunks:
        labels = labelling.of(chunk)
        values = encode.transactions(chunk)
        rows, size = rows + len(chunk), size + sum(map(len, values))
        for topic, ids, each in (
            (names.transactions.topic, chunk.ids, values),
            (names.labels.topic, labels.ids.to_pylist(), encode.labels(labels)),
        ):
            for key, value in zip(ids, each, strict=True):
                while True:
                    try:
                        out.produce(topic, value, key, to)
                        break
                    except BufferError:
                        out.poll(0.05)
        out.poll(0)
    if out.flush(60):
        raise SystemExit("the stream could not be published")
    return size / rows


def counted(found: Settings, rows: int) -> int:
    """Every transaction has one message in the output; when the last was written, epoch ms.

    Raises: RuntimeError where one is missing or there twice.
    """
    keys, last_ms, read = set(), 0, 0
    for record in read_all(found.kafka, found.topic("scores")):
        keys.add(record.key)
        last_ms, read = max(last_ms, record.timestamp_ms), read + 1
    if read != rows or len(keys) != rows:
        raise RuntimeError(f"{read:,} messages of {len(keys):,} ids, not {rows:,}")
    return last_ms


def model(folder: Path, chunks: Iterable[Transactions] | None = None) -> Path:
    """A model directory, trained on these rows; default those of the simulator, with its rule."""
    file, made = folder / "train.csv", folder / "model"
    if chunks is None:
        words = ("--scenario", "none", "--no-publish", "--train-out", file)
        runs.command("producer_sim", "stream", *words)
    else:
        training_csv.write(file, whole(chunks))
    rule = "V14 < -1.5" if chunks is None else "V1 < -1.5"
    runs.command("consumer", "train", "--data", file, "--out", made, "--rule", rule)
    return made
