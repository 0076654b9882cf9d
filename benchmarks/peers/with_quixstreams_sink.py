"""Quix Streams in batches: a sink that scores what came since the last checkpoint.

Source: https://quix.io/docs/quix-streams/connectors/sinks/custom-sinks.html.
"""

from __future__ import annotations

from confluent_kafka import Producer
from quixstreams.sinks import BatchingSink, SinkBatch

from benchmarks.peers.job import PRODUCER, Job
from benchmarks.peers.with_quixstreams import application

# Each checkpoint flushes and commits: the fewer, the better.
RECORDS = 10_000


def main() -> None:
    """A checkpoint every 10,000 messages, or a second: delivered before it is committed."""
    job = Job()
    app = application(job, commit_every=RECORDS, commit_interval=1.0)
    producer = Producer({"bootstrap.servers": job.bootstrap, **PRODUCER})

    class Scores(BatchingSink):  # type: ignore[misc]
        """Called at each checkpoint."""

        def write(self, batch: SinkBatch) -> None:
            """Score, and have it delivered."""
            for key, value in job.score([item.value for item in batch]):
                producer.produce(job.target, value, key)
            producer.flush()
            if not job.left:
                app.stop()

    source = app.topic(job.source, value_deserializer="bytes", key_deserializer="bytes")
    app.dataframe(source).sink(Scores())
    app.run()
    job.tell()


if __name__ == "__main__":
    main()
