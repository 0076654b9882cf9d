"""A model trained on the first part of a stream and deployed on the rest, without a broker."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from consumer import model_directory, train
from consumer.columns import Float32, Float64, Int8, Int64, Labels, Transactions
from consumer.driver import Chunk, Driver
from consumer.model_directory import Model
from consumer.outputs import Outputs
from consumer.rows import Rows
from consumer.settings import load

CHUNK_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class Deployed:
    """What was published of a stream."""

    healed: Float64  # (rows,)
    frozen: Float64  # (rows,)
    said: dict[str, list[int]]  # at which offsets, by action
    weights: dict[int, dict[str, float]]  # of the experts, by the offset from which on


def run(
    training: Rows,
    stream: tuple[Float32, Int8, Int64],
    come: NDArray[np.bool_],
    *,
    seed: int,
    policy: str,
    delay_ms: int,
) -> Deployed:
    """Train, then score a stream, see `score`."""
    return score(trained(training, seed), stream, come, policy=policy, delay_ms=delay_ms)


def trained(training: Rows, seed: int) -> Model:
    """A model directory made and loaded, as a user has it."""
    model_directory.one_thread()
    with tempfile.TemporaryDirectory() as folder:
        module, how = train.train(training, seed, lambda *_: None)
        model_directory.save(
            Path(folder),
            module,
            features=list(training.features),
            rules=[],
            watched=list(training.features),
            reference=train.reference(training, module),
            training=how,
        )
        return model_directory.load(Path(folder))


def score(
    model: Model,
    stream: tuple[Float32, Int8, Int64],
    come: NDArray[np.bool_],
    *,
    policy: str,
    delay_ms: int,
) -> Deployed:
    """Score `stream`: features (rows, features), labels (rows,), times (rows,) in ms.

    `come: (rows,)`: which labels do, each `delay_ms` after its row.
    """
    model_directory.one_thread()
    x, y, time = stream
    settings = load(Path(os.devnull), {"heal.mode": "inline", "heal.policy": policy})
    scores: list[Float32] = []
    shadow: list[Float32] = []
    said: dict[str, list[int]] = {}
    weights: dict[int, dict[str, float]] = {}

    def take(out: Outputs) -> None:
        scores.extend(each.score for each in out.scores)
        shadow.extend(each.shadow for each in out.scores)
        for event in out.events:
            if event["event"]["kind"] != "metric":
                offset = event["reflexive"].get("offset", 0)  # 0: of the process's own life
                said.setdefault(event["event"]["action"], []).append(offset)
        for each in out.activations:
            weights[each.place.offset] = dict(each.in_force.weights)

    with Driver(settings, model) as driver:
        driver.run(_chunks(x, y, time, come, delay_ms), take)
    healed, frozen = (np.concatenate(each).astype(np.float64) for each in (scores, shadow))
    return Deployed(healed, frozen, said, weights)


def _chunks(
    x: Float32, y: Int8, time: Int64, come: NDArray[np.bool_], delay_ms: int
) -> Iterator[Chunk]:
    ids = [str(n) for n in range(len(y))]
    offset = np.arange(len(y), dtype=np.int64)
    labelled = np.flatnonzero(come)
    at = time[labelled] + delay_ms
    done = 0
    for start in range(0, len(y), CHUNK_ROWS):
        part = slice(start, start + CHUNK_ROWS)
        last = time[part][-1]
        until = int(np.searchsorted(at, last, side="right")) + 1  # the next one is known
        some = labelled[done:until]
        labels = Labels(
            0,
            [ids[n] for n in some],
            at[done:until],
            y[some],
            ["chargeback"] * len(some),
            np.arange(done, done + len(some), dtype=np.int64),
        )
        done = min(until, len(labelled))
        yield Transactions(0, ids[part], time[part], x[part], offset[part]), labels
