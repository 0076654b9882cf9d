"""The best plain loop we know: `consume()` of many, the model once, `produce()` of each."""

from __future__ import annotations

from confluent_kafka import Consumer, Producer

from benchmarks.peers.job import CONSUMER, PRODUCER, RECORDS, Job


def main() -> None:
    """Source: https://docs.confluent.io/platform/current/clients/confluent-kafka-python."""
    job = Job()
    servers = {"bootstrap.servers": job.bootstrap}
    consumer = Consumer({**servers, **CONSUMER, "group.id": job.target})
    producer = Producer({**servers, **PRODUCER})
    consumer.subscribe([job.source])
    while job.left:
        found = [message.value() for message in consumer.consume(RECORDS, 0.1)]
        values = [value for value in found if value is not None]
        if not values:
            continue
        for key, score in job.score(values):
            while True:
                try:
                    producer.produce(job.target, score, key)
                    break
                except BufferError:
                    producer.poll(0.05)
        producer.poll(0)
    producer.flush()
    job.tell()
    consumer.close()


if __name__ == "__main__":
    main()
