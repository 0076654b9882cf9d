"""aiokafka: `getmany`, and batches made by `create_batch`.

Source: https://aiokafka.readthedocs.io/en/stable/examples/batch_produce.html, consumer.html.
"""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.peers.job import RECORDS, Job

BATCH_BYTES = 256 * 1024


async def main() -> None:
    """Offsets are committed by themselves, every five seconds."""
    job = Job()
    consumer = AIOKafkaConsumer(
        job.source,
        bootstrap_servers=job.bootstrap,
        group_id=job.target,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )
    producer = AIOKafkaProducer(
        bootstrap_servers=job.bootstrap,
        enable_idempotence=True,
        compression_type="lz4",
        linger_ms=5,
        max_batch_size=BATCH_BYTES,
    )
    await consumer.start()
    await producer.start()
    batch = producer.create_batch()
    while job.left:
        found = await consumer.getmany(timeout_ms=100, max_records=RECORDS)
        for messages in found.values():
            for key, value in job.score([message.value for message in messages]):
                if batch.append(key=key, value=value, timestamp=None) is None:
                    await producer.send_batch(batch, job.target, partition=0)
                    batch = producer.create_batch()
                    batch.append(key=key, value=value, timestamp=None)
    await producer.send_batch(batch, job.target, partition=0)
    await producer.flush()
    job.tell()
    await consumer.stop()
    await producer.stop()


if __name__ == "__main__":
    asyncio.run(main())
