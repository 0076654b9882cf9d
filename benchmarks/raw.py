"""The fastest a Python client can be: every message consumed and one produced, nothing in between.

    python -m benchmarks.raw BOOTSTRAP FROM TO ROWS

Prints rows, seconds and processor seconds from the first message to the last one's delivery.
"""

from __future__ import annotations

import resource
import sys
import time

import orjson
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

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


def copy(bootstrap: str, source: str, target: str, rows: int) -> dict[str, float]:
    """Copy the first `rows` messages of partition 0.

    Raises: RuntimeError where a message is not delivered.
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
        if messages and not begun:
            begun, cpu = time.perf_counter(), _cpu_s()
        for message in messages:
            if message.error() is not None:
                raise RuntimeError(str(message.error()))
            while True:
                try:
                    producer.produce(target, message.value(), message.key(), 0)
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


if __name__ == "__main__":
    bootstrap, source, target, rows = sys.argv[1:]
    print(orjson.dumps(copy(bootstrap, source, target, int(rows))).decode())
