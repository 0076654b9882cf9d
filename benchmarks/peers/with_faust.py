"""Faust (faust-streaming): an agent that takes many events at a time.

Source: https://faust-streaming.github.io/faust/userguide/streams.html, "take".
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import faust

from benchmarks.peers.job import RECORDS, Job


def main() -> None:
    """A worker runs until it is killed: the process leaves once all scores are in their topic."""
    job = Job()
    app = faust.App(
        job.target,
        broker=f"kafka://{job.bootstrap}",
        datadir=tempfile.mkdtemp(),
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        stream_buffer_maxsize=4 * RECORDS,
        producer_linger=0.005,
        producer_compression_type="lz4",
        producer_max_batch_size=256 * 1024,
    )
    source = app.topic(job.source, value_type=bytes, value_serializer="raw", key_type=bytes)
    target = app.topic(job.target, value_type=bytes, value_serializer="raw", key_type=bytes)

    async def score(stream: Any) -> AsyncIterator[None]:
        async for values in stream.take(RECORDS, within=0.1):
            for key, value in job.score(values):
                await target.send(key=key, value=value)
            yield

    app.agent(source)(score)
    job.leave_when_written()
    sys.argv = ["faust", "worker", "--without-web", "-l", "warn"]
    app.main()


if __name__ == "__main__":
    main()
