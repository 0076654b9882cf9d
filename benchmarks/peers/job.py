"""What every peer is told, and what it tells: when it began, and the processor time it took.

    python -m benchmarks.peers.with_NAME BOOTSTRAP FROM TO ROWS MODEL

Time begins where the first message reaches the model; it ends where the broker has written the
last score, and that the reader sees in the topic.
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import orjson
from confluent_kafka import Consumer, TopicPartition

from benchmarks.peers.model import Model
from benchmarks.peers.told import TOLD

LOOK_S = 0.1
# Messages that are scored at once, where a peer lets one say so. Ours and `raw` take as many.
RECORDS = 1_000
# The settings of raw.py, for the peers that stand on librdkafka.
CONSUMER = {
    "auto.offset.reset": "earliest",
    "queued.max.messages.kbytes": 16_384,
    "fetch.queue.backoff.ms": 20,
}
PRODUCER = {"enable.idempotence": True, "linger.ms": 5, "compression.type": "lz4"}


class Job:
    """One run of a peer, as its command line says it."""

    def __init__(self) -> None:
        """Loads the model: that is no part of the time."""
        self.bootstrap, self.source, self.target, rows, model = sys.argv[1:]
        self.left = int(rows)  # still to be scored
        self._rows = self.left
        self._model = Model(Path(model))
        self._begun_s = 0.0
        self._cpu_s = 0.0

    def score(self, values: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
        """Key and value of each score; the first call begins the run."""
        if not self._begun_s:
            self._begun_s, self._cpu_s = time.time(), _cpu_s()
        scored = self._model(values)
        self.left -= len(values)
        return scored

    def tell(self) -> None:
        """Every score is delivered."""
        found = {"begun_s": self._begun_s, "cpu_seconds": _cpu_s() - self._cpu_s}
        # Not through sys.stdout, which some have given to their log by now.
        os.write(1, b"\n" + TOLD + orjson.dumps(found) + b"\n")

    def leave_when_written(self) -> None:
        """For a peer that cannot be told to stop, or does not say when all is delivered."""
        threading.Thread(target=self._leave_when_written, daemon=True).start()

    def _leave_when_written(self) -> None:
        reader = Consumer({"bootstrap.servers": self.bootstrap, "group.id": f"{self.target}-end"})
        place = TopicPartition(self.target, 0)
        while self.left > 0 or reader.get_watermark_offsets(place)[1] < self._rows:
            time.sleep(LOOK_S)
        self.tell()
        os._exit(0)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
