"""Pathway: a Kafka table, a UDF that takes many rows at a time, a Kafka output.

Source: docstrings of pathway.io.kafka.read and of pathway.udf (`max_batch_size`), 0.33.
"""

from __future__ import annotations

import pathway as pw

from benchmarks.peers.job import CONSUMER, PRODUCER, RECORDS, Job


def main() -> None:
    """A stream has no end there: the process leaves once all scores are in their topic."""
    job = Job()
    servers = {"bootstrap.servers": job.bootstrap}

    def score(values: list[bytes]) -> list[bytes]:
        return [value for _, value in job.score(values)]

    scored = pw.udf(score, max_batch_size=RECORDS, return_type=bytes)
    consumer = {name: str(value) for name, value in CONSUMER.items()}
    transactions = pw.io.kafka.read(
        {**servers, **consumer, "group.id": job.target},
        job.source,
        format="raw",
        autocommit_duration_ms=100,
    )
    scores = transactions.select(key=pw.this.key, data=scored(pw.this.data))
    producer = {name: str(value).lower() for name, value in PRODUCER.items()}
    pw.io.kafka.write(
        scores, {**servers, **producer}, job.target, format="raw", key=scores.key, value=scores.data
    )
    job.leave_when_written()
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)


if __name__ == "__main__":
    main()
