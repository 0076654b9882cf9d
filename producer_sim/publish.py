"""Publishing messages at a pace, and noticing when one is lost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException

from consumer.errors import KafkaUnavailableError
from consumer.kafka.client import producer
from consumer.sections import Kafka
from producer_sim.schedule import Messages
from producer_sim.topics import Topics

# The pace is kept in steps short enough to look even, and a stop is noticed between two.
TICK_S = 0.05

# What a stopped publisher still waits for what it has already handed over.
STOP_FLUSH_S = 5.0

PRODUCER: dict[str, Any] = {
    "compression.type": "lz4",
    # 200,000 rows a second fill a batch of 1 MB within it; at 10 a second nobody sees it.
    "linger.ms": 20,
    # A broker restarts within 30 s; the default would let a dead one go unnoticed for 5 minutes.
    "message.timeout.ms": 60_000,
    # Only the messages that are lost are reported: no callback for each that arrives.
    "delivery.report.only.error": True,
}


class Pace:
    """How many transactions may have gone out by now; None is as fast as possible."""

    def __init__(self, rate: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._start: float | None = None

    def allowed(self) -> float:
        """Since the first call; the first transaction may go at once."""
        if self._rate is None:
            return math.inf
        if self._start is None:
            self._start = self._clock()
        return 1 + math.floor((self._clock() - self._start) * self._rate)


class Publisher:
    """Publishes one sequence of messages. Setting `stopped` ends it early, in good order."""

    def __init__(self, kafka: Kafka, topics: Topics, pace: Pace) -> None:
        self.transactions = 0  # handed over
        self.labels = 0
        self.stopped = False
        self._topics = topics
        self._pace = pace
        self._servers = kafka.bootstrap_servers
        self._lost = 0
        self._why = ""
        self._producer = producer(kafka, {**PRODUCER, "on_delivery": self._on_lost})

    def publish(self, schedule: Iterable[Messages], progress: Callable[[int], None]) -> None:
        """Hand messages over until the schedule ends or `stopped` is set; then `finish`.

        `progress` is told the transactions so far.

        Raises: KafkaUnavailableError when a message is lost.
        """
        for messages in schedule:
            self._publish(messages, progress)
            if self.stopped:
                return

    def finish(self) -> None:
        """Return once all that was handed over has arrived.

        Raises: KafkaUnavailableError when a message is lost.
        """
        stop_by = time.monotonic() + STOP_FLUSH_S
        while self._producer.flush(TICK_S):
            if self.stopped and time.monotonic() > stop_by:
                self._why = "stopped before the broker had confirmed them"
            self._refuse_loss()
        self._refuse_loss()

    def _publish(self, messages: Messages, progress: Callable[[int], None]) -> None:
        places = np.flatnonzero(~np.array(messages.is_label))  # of the transactions
        start = 0
        while start < len(messages) and not self.stopped:
            gone = int(np.searchsorted(places, start))
            room = self._pace.allowed() - self.transactions if gone < len(places) else math.inf
            if room < 1:
                self._producer.poll(0)
                time.sleep(TICK_S)
                continue
            # Up to the first transaction that has no room; the labels before it go along.
            stop = len(messages) if gone + room >= len(places) else int(places[gone + int(room)])
            self._produce(messages, start, stop)
            self._refuse_loss()
            progress(self.transactions)
            start = stop

    def _produce(self, messages: Messages, start: int, stop: int) -> None:
        produce, partition = self._producer.produce, self._topics.partition
        names = (self._topics.transactions, self._topics.labels)
        some = slice(start, stop)
        for is_label, key, value in zip(
            messages.is_label[some], messages.keys[some], messages.values[some], strict=True
        ):
            while True:
                try:
                    produce(names[is_label], value, key, partition)
                    break
                except BufferError:  # the queue is full: 100,000 messages or 1 GB
                    self._producer.poll(TICK_S)
                    self._refuse_loss()
                except KafkaException as error:
                    self._lost += 1
                    self._why = error.args[0].str()
                    self._refuse_loss(error)
        labels = sum(messages.is_label[some])
        self.labels += labels
        self.transactions += stop - start - labels
        self._producer.poll(0)

    def _on_lost(self, error: KafkaError | None, _: object) -> None:
        if error is not None:
            self._lost += 1
            self._why = error.str()

    def _refuse_loss(self, cause: Exception | None = None) -> None:
        if self._why:
            lost = self._lost + len(self._producer)  # those that still wait will not be waited for
            self._producer.purge()
            raise KafkaUnavailableError(
                f"{lost:,} messages of {self.transactions + self.labels:,} were not "
                f"delivered to {self._servers}: {self._why}"
            ) from cause
