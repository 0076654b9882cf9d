"""The fastest a Python client can be: every message consumed and one produced, nothing in between.

    python -m benchmarks.raw BOOTSTRAP FROM TO ROWS [MODEL]

With a model directory it also does what nobody who scores can leave out: each message is decoded,
the frozen model passes over the rows, and it is the scores that are produced; by our own stages, as
they are, and nothing else.

Prints rows, seconds and processor seconds from the first message to the last one's delivery.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from benchmarks import arguments

# As the consumer itself is set (consumer/kafka): what differs is what is done with a message.
CONSUMER = {
    "enable.auto.commit": False,
    "queued.max.messages.kbytes": 16_384,
    "fetch.queue.backoff.ms": 20,
}
PRODUCER = {
    "enable.idempotence": True,
    "linger.ms": 5,
    "compression.type": "lz4",
    "delivery.report.only.error": True,
}
RECORDS = 1_000

# Of messages without errors: keys and values of what is produced.
Make = Callable[[Sequence[Message]], Iterable[tuple[Any, Any]]]


def copied(messages: Sequence[Message]) -> Iterable[tuple[Any, Any]]:
    """The messages as they are."""
    return zip(map(Message.key, messages), map(Message.value, messages), strict=True)


def scored(directory: Path, topic: str) -> Make:
    """Their scores under a frozen model."""
    # Here: a loop that only copies is not to carry torch.
    from consumer import decision, encode, model_directory
    from consumer.columns import Scores
    from consumer.decode import WHENEVER_MS, TransactionDecoder
    from consumer.errors import ModelError
    from consumer.kafka.record import Run
    from consumer.score import Scorer
    from consumer.sections import TransactionInput

    model_directory.one_thread()
    try:
        model = model_directory.load(directory)
    except ModelError as error:
        raise SystemExit(f"error: {error}") from None
    decode = TransactionDecoder(TransactionInput(), model.features, 1 << 20)
    scorer = Scorer(model)

    def make(messages: Sequence[Message]) -> Iterable[tuple[Any, Any]]:
        run = Run(messages)
        rows, rejected = decode(0, run.values, run.offsets, WHENEVER_MS)
        if rejected:
            raise RuntimeError(rejected[0].reason)
        score, shadow = scorer.adapted(rows.x, model.base_adapter)
        decided = decision.decided(score, 0.5)
        made = Scores(rows, score, shadow, 0.5, decided, decided, 0, "HEALTHY")
        return encode.scores(made, topic, model.manifest.model_version)

    return make


def run(
    bootstrap: str, source: str, target: str, rows: int, make: Make = copied
) -> dict[str, float]:
    """Produce something for each of the first `rows` messages of partition 0.

    Raises: RuntimeError where a message cannot be read or is not delivered.
    """
    failed: list[KafkaError] = []
    servers = {"bootstrap.servers": bootstrap}
    consumer = Consumer({**servers, **CONSUMER, "group.id": target})
    producer = Producer(
        {**servers, **PRODUCER, "on_delivery": lambda error, _: failed.append(error)}
    )
    consumer.assign([TopicPartition(source, 0, 0)])
    left, begun, cpu = rows, 0.0, 0.0
    while left:
        messages = consumer.consume(min(RECORDS, left), timeout=1.0)
        if not messages:
            continue
        if not begun:
            begun, cpu = time.perf_counter(), _cpu_s()
        for message in messages:
            if message.error() is not None:
                raise RuntimeError(str(message.error()))
        for key, value in make(messages):
            while True:
                try:
                    producer.produce(target, value, key, 0)
                    break
                except BufferError:
                    producer.poll(0.05)
        producer.poll(0)
        left -= len(messages)
    if producer.flush(60) or failed:
        raise RuntimeError(f"not delivered: {failed[:1]}")
    found = {
        "rows": rows,
        "seconds": time.perf_counter() - begun,
        "cpu_seconds": _cpu_s() - cpu,
    }
    consumer.close()
    return found


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Run once, print the figures."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.raw")
    for name in ("bootstrap", "source", "target"):
        options.add_argument(name)
    options.add_argument("rows", type=arguments.positive)
    options.add_argument("model", type=Path, nargs="?", help="a directory; default: only copy")
    given = options.parse_args()
    make = scored(given.model, given.source) if given.model else copied
    print(orjson.dumps(run(given.bootstrap, given.source, given.target, given.rows, make)).decode())


if __name__ == "__main__":
    main()
