"""Transactions sent at a steady pace while the consumer runs, and when each score could be read.

The clock of one process tells both: it sends, and it reads as those downstream do, read committed.
A sender that falls behind its pace is said to have; time is from the moment a message was handed to
the client. No score is left out: the run ends when all are read, or it fails.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition

from consumer.columns import Float64
from consumer.kafka import client
from consumer.settings import Settings
from producer_sim import encode
from producer_sim.labels import Labelling
from producer_sim.rows import Transactions

LABEL_AFTER_S = 1.0
START_WITHIN_S = 60.0
# As long as a consumer may take over a broker that went away; longer ones never come.
AWAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Of one run, the rows that warm it up left out."""

    latency_ms: Float64  # (rows,)
    sent_per_s: float

    def quantile(self, share: float) -> float:
        """Milliseconds that this share of the scores took at most."""
        return float(np.quantile(self.latency_ms, share, method="higher"))


def send_and_read(
    found: Settings,
    chunk: Transactions,
    rate: int,
    warm_up: int,
    labelling: Labelling,
    running: Callable[[], bool],
) -> Arrivals:
    """All rows of the chunk at `rate` a second, labels a second after; `warm_up`: rows not told of.

    Raises: RuntimeError where the consumer does not start or ends, or a score does not come.
    """
    reader = _Reader(found, {name.encode(): at for at, name in enumerate(chunk.ids)})
    first = 1  # the first row alone, until its score is there: from then on it is running
    sent = np.full(len(chunk), np.nan)
    sender = _Sender(found, chunk, labelling, sent)
    try:
        reader.start()
        sender.send(0, first, rate)
        _await(lambda: reader.read >= first, START_WITHIN_S, running, "the first score")
        began = time.perf_counter()
        sender.send(first, len(chunk), rate)
        paced = (len(chunk) - first) / (time.perf_counter() - began)
        sender.finish()
        _await(lambda: reader.read >= len(chunk), AWAIT_S, running, "every score")
    finally:
        reader.stop()
    return Arrivals(1000 * (reader.at - sent)[warm_up:], paced)


class _Sender:
    def __init__(
        self, found: Settings, chunk: Transactions, labelling: Labelling, sent: Float64
    ) -> None:
        self._topics = (found.input.transactions.topic, found.input.labels.topic)
        self._rows = list(zip(chunk.ids, encode.transactions(chunk), strict=True))
        labels = labelling.of(chunk)
        texts = dict(zip(labels.ids.to_pylist(), encode.labels(labels), strict=True))
        self._labels = [texts.get(name) for name in chunk.ids]
        self._labelled = 0  # rows whose labels are sent
        self._sent = sent
        # 1 ms: at thousands a second a request each would load the broker and not us.
        self._out: Producer = client.producer(found.kafka, {"linger.ms": 1})

    def send(self, start: int, stop: int, rate: int) -> None:
        """Rows `start` to `stop`, evenly."""
        begun = time.perf_counter()
        for number in range(start, stop):
            due = begun + (number - start) / rate
            while (wait := due - time.perf_counter()) > 0:
                time.sleep(wait)
            name, value = self._rows[number]
            self._sent[number] = time.perf_counter()
            self._out.produce(self._topics[0], value, name, 0)
            self._label(self._sent[number] - LABEL_AFTER_S)
            self._out.poll(0)

    def finish(self) -> None:
        """The labels that are left."""
        self._label(np.inf)
        if self._out.flush(30):
            raise RuntimeError("the stream could not be sent")

    def _label(self, until: float) -> None:
        while self._labelled < len(self._rows) and self._sent[self._labelled] <= until:
            label = self._labels[self._labelled]
            if label is not None:
                self._out.produce(self._topics[1], label, self._rows[self._labelled][0], 0)
            self._labelled += 1


class _Reader:
    """A thread that notes when it first reads each score."""

    def __init__(self, found: Settings, numbers: dict[bytes, int]) -> None:
        self.at = np.full(len(numbers), np.nan)
        self.read = 0
        self._numbers = numbers
        self._topic = found.topic("scores")
        own = {
            "group.id": f"arrivals-{uuid.uuid4().hex}",  # never joined
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            # The topic is made by the consumer, which is only starting.
            "topic.metadata.refresh.interval.ms": 500,
            "fetch.wait.max.ms": 10,
        }
        self._reader = client.build(Consumer, client.properties(found.kafka, own))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._reader.assign([TopicPartition(self._topic, 0, 0)])
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        self._reader.close()

    def _run(self) -> None:
        while not self._stopped.is_set():
            # One at a time: of many handed over together the first has waited for the last.
            message = self._reader.poll(0.1)
            if message is None or message.error() is not None:
                continue
            number = self._numbers[message.key() or b""]
            if np.isnan(self.at[number]):
                self.at[number] = time.perf_counter()
                self.read += 1


def _await(
    reached: Callable[[], bool], within_s: float, running: Callable[[], bool], what: str
) -> None:
    deadline = time.monotonic() + within_s
    while not reached():
        if not running():
            raise RuntimeError(f"the consumer ended before {what} was read")
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not come within {within_s:.0f} s")
        time.sleep(0.01)
