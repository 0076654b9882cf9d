"""FastStream over confluent-kafka: a batch subscriber, `publish_batch`.

Types are not applied and bodies are handed over as they came: pydantic would validate each.

Source: https://faststream.ag2.ai/latest/confluent/Consumer/batch/ and .../Publisher/batch/.
"""

from __future__ import annotations

import asyncio
from typing import Any

from faststream import FastStream
from faststream.confluent import KafkaBroker, KafkaPublishMessage

from benchmarks.peers.job import CONSUMER, PRODUCER, RECORDS, Job


async def main() -> None:
    """Stopped from within, once the last batch is confirmed."""
    job = Job()
    config = {**CONSUMER, **PRODUCER}
    broker = KafkaBroker(job.bootstrap, config=config, apply_types=False, logger=None)
    app = FastStream(broker, logger=None)

    async def as_it_came(message: Any) -> Any:
        return message.body

    async def score(values: list[bytes]) -> None:
        scored = [KafkaPublishMessage(value, key=key) for key, value in job.score(values)]
        await broker.publish_batch(*scored, topic=job.target)
        if not job.left:
            job.tell()
            app.exit()

    broker.subscriber(
        job.source,
        batch=True,
        max_records=RECORDS,
        group_id=job.target,
        auto_offset_reset="earliest",
        decoder=as_it_came,
    )(score)
    await app.run()


if __name__ == "__main__":
    asyncio.run(main())
