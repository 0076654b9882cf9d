"""Quix Streams as its documentation scores with a model: `apply`, `to_topic`, message by message.

Its windows are by key, and a transaction's id is its own: a batch there is only in a sink
(with_quixstreams_sink.py).

Source: https://quix.io/docs/quix-streams/processing.html; docstring of Application, 3.28.
"""

from __future__ import annotations

from quixstreams import Application

from benchmarks.peers.job import CONSUMER, PRODUCER, Job


def application(job: Job, **more: object) -> Application:
    """At least once, as is its default."""
    extra = {name: value for name, value in CONSUMER.items() if name != "auto.offset.reset"}
    return Application(
        broker_address=job.bootstrap,
        consumer_group=job.target,
        auto_offset_reset="earliest",
        consumer_extra_config=extra,
        producer_extra_config=dict(PRODUCER),
        auto_create_topics=False,
        loglevel="WARNING",
        **more,
    )


def main() -> None:
    """Stopped from within with the last message; stopping flushes and commits."""
    job = Job()
    app = application(job)
    source = app.topic(job.source, value_deserializer="bytes", key_deserializer="bytes")
    target = app.topic(job.target, value_serializer="bytes", key_serializer="bytes")

    def score(value: bytes) -> bytes:
        ((_, scored),) = job.score([value])
        if not job.left:
            app.stop()
        return scored

    app.dataframe(source).apply(score).to_topic(target)
    app.run()
    job.tell()


if __name__ == "__main__":
    main()
