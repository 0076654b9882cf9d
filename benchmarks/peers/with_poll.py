"""The loop of every tutorial: `poll()`, the model on one row, `produce()`."""

from __future__ import annotations

from confluent_kafka import Consumer, Producer

from benchmarks.peers.job import CONSUMER, PRODUCER, Job


def main() -> None:
    """Source: https://docs.confluent.io/kafka-clients/python/current/overview.html."""
    job = Job()
    servers = {"bootstrap.servers": job.bootstrap}
    consumer = Consumer({**servers, **CONSUMER, "group.id": job.target})
    producer = Producer({**servers, **PRODUCER})
    consumer.subscribe([job.source])
    while job.left:
        message = consumer.poll(1.0)
        if message is None:
            continue
        value = message.value()
        assert value is not None
        for key, score in job.score([value]):
            producer.produce(job.target, score, key)
            producer.poll(0)
    producer.flush()
    job.tell()
    consumer.close()


if __name__ == "__main__":
    main()
