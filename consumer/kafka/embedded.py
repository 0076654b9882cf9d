"""A broker inside the process: librdkafka's mock cluster, over real TCP.

It is in memory: 5 MiB and 100,000 messages a partition are kept, nothing is compacted, nothing
outlives the process. Good for a demo and for trying things out; nothing is promised on it.

Source: https://github.com/confluentinc/librdkafka/blob/master/src/rdkafka_mock.h
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Producer


@contextmanager
def embedded_broker() -> Iterator[str]:
    """Run a broker; yields its address for `kafka.bootstrap_servers`."""
    owner = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    brokers = owner.list_topics(timeout=10).brokers
    yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers.values())
    owner.flush(1)
