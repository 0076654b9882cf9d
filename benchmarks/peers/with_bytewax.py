"""Bytewax: a source that polls many, `flat_map_batch`, its own Kafka sink.

The sink flushes after each batch: the more it is given at once, the better. It is at least once.

Source: docstrings of bytewax.connectors.kafka and of bytewax.operators.flat_map_batch, 0.21.
"""

from __future__ import annotations

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main

from benchmarks.peers.job import CONSUMER, PRODUCER, Job

RECORDS = 10_000


def main() -> None:
    """Ends by itself: the source stops at the end of the topic."""
    job = Job()
    flow = Dataflow("scores")
    source = KafkaSource(
        [job.bootstrap], [job.source], tail=False, batch_size=RECORDS, add_config=dict(CONSUMER)
    )
    messages = op.input("transactions", flow, source)
    scored = op.flat_map_batch(
        "score",
        messages,
        lambda batch: [
            KafkaSinkMessage(key, value) for key, value in job.score([each.value for each in batch])
        ],
    )
    op.output("scores", scored, KafkaSink([job.bootstrap], job.target, add_config=dict(PRODUCER)))
    cli_main(flow)
    job.tell()


if __name__ == "__main__":
    main()
