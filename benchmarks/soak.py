"""Generated columns through the stages for as long as wanted: does a row cost more, later on?"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks import streams
from benchmarks.processes import memory_mb
from consumer import model_directory
from consumer.columns import Labels, Transactions
from consumer.driver import Chunk, Driver
from consumer.settings import load
from producer_sim.rows import Transactions as Published

# A chunk a second of event time: by event time a row waits until the next label is known, and with
# one of these a chunk each turn scores as many rows as it is given.
EVENT_RATE = streams.CHUNK
# Enough chunks for a median that no heal moves: heals are inline, take seconds, and fall into
# single chunks. So few are allowed that they are not most of what is run.
WINDOW = 50
HEALS_AN_HOUR = 6


@dataclass(slots=True)
class Soak:
    """A chunk's processor time in µs a row, and resident memory behind it."""

    us: list[float] = field(default_factory=list)
    resident_mb: list[float] = field(default_factory=list)

    @property
    def mean_us(self) -> float:
        """A row, heals and all."""
        return sum(self.us) / len(self.us)

    def at(self, rows: int) -> tuple[float, float]:
        """Median µs a row of the window that ends with so many rows, and MB then."""
        chunk = max(1, rows // streams.CHUNK)
        return median(self.us[max(0, chunk - WINDOW) : chunk]), self.resident_mb[chunk - 1]


def soak(model: Path, rows: int, features: int) -> Soak:
    """So many rows through one partition, a tenth labelled, healing inline."""
    model_directory.one_thread()
    settings = load(Path(os.devnull), {"heal.mode": "inline", "heal.max_per_hour": HEALS_AN_HOUR})
    done = Soak()
    with Driver(settings, model_directory.load(model)) as driver:
        driver.run(_timed(rows, features, done), lambda _: None)
    return done


def _timed(rows: int, features: int, done: Soak) -> Iterator[Chunk]:
    offset, labels = 0, 0
    some = streams.paced(streams.columns(rows, features), EVENT_RATE, streams.START_MS)
    for published in some:
        come = _labels(published, labels)
        labels += len(come)
        chunk = Transactions(
            0,
            published.ids,
            published.times,
            streams.matrix(published),
            np.arange(offset, offset + len(published)),
        )
        offset += len(published)
        begun = time.process_time_ns()
        yield chunk, come
        done.us.append((time.process_time_ns() - begun) / 1000 / len(published))
        done.resident_mb.append(memory_mb(os.getpid())[0])


def _labels(published: Published, first: int) -> Labels:
    found = streams.TENTH.of(published)
    return Labels(
        0,
        found.ids.to_pylist(),
        found.labelled_at,
        found.is_fraud,
        ["chargeback"] * len(found),
        np.arange(first, first + len(found)),
    )
