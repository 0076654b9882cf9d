"""A small model, seeded streams, a pipeline without Kafka: what the tests of the stages share."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from consumer import model_directory, train
from consumer.columns import Labels, Transactions, UInt8
from consumer.manifest import FORMAT, Fidi, Manifest, parsed
from consumer.model import SelfHealingMLP
from consumer.model_directory import Model
from consumer.outputs import Outputs
from consumer.pipeline import Pipeline
from consumer.profile import Stage, off
from consumer.rows import Rows
from consumer.settings import Settings, load

FEATURES = ["V3", "V14", "V8"]
V14 = 1
RULE = "V14 < -1.5"
START_MS = 1_767_225_600_000  # 2026-01-01
STEP_MS = 100  # from one transaction to the next
BATCH = 20
DRIFT = 2.2  # standard deviations that legitimate V14 moves, onto the fraud's


@dataclass(frozen=True)
class Stream:
    """Transactions of one partition, and a label for each."""

    transactions: Transactions
    labels: Labels

    def __len__(self) -> int:
        return len(self.transactions)

    def batches(self, rows: int = BATCH) -> Iterator["Stream"]:
        """Cut into batches."""
        for start in range(0, len(self), rows):
            part = (start, start + rows)
            yield Stream(self.transactions.rows(*part), self.labels.rows(*part))


def eighths(rows: int) -> UInt8:
    """A part of the stream for each row; every fourth is held back."""
    at = np.arange(rows)
    return (2 * (at % 4) + at // 4 % 2).astype(np.uint8)


def stream(
    rows: int, *, drift: float = 0.0, seed: int = 9, partition: int = 0, start: int = 0
) -> Stream:
    """15% fraud with V14 ~ N(-2.5, .8), the rest N(-drift, 1); offsets count from `start`."""
    # Row by row, so that a longer stream begins with the shorter one.
    drawn = np.random.default_rng([seed, partition, start]).standard_normal((rows, 4))
    fraud = drawn[:, 0] < -1.0364  # the 15th percentile
    x = drawn[:, 1:].astype(np.float32)
    x[:, V14] = np.where(fraud, 0.8 * x[:, V14] - 2.5, x[:, V14] - drift)
    offset = np.arange(start, start + rows, dtype=np.int64)
    ids = [f"{partition}-{number}" for number in offset.tolist()]
    times = START_MS + STEP_MS * offset
    return Stream(
        Transactions(partition, ids, times, x, offset),
        Labels(partition, ids, times, fraud.astype(np.int8), ["chargeback"] * rows, offset),
    )


@cache
def _trained() -> tuple[SelfHealingMLP, Rows]:
    model_directory.one_thread()
    clean = stream(500, seed=1)
    rows = Rows(tuple(FEATURES), clean.transactions.x, clean.labels.is_fraud.astype(np.float32))
    module, _ = train.train_paper(rows, 42, lambda *_: None)
    return module, rows


def model(rules: tuple[str, ...] = (RULE,)) -> Model:
    """A model trained on 500 clean rows; a copy for each who asks."""
    module, rows = deepcopy(_trained())
    module.requires_grad_(False)
    statistics, trained = train.reference(rows, module)
    weights = model_directory.states.sha256(model_directory.states.to_bytes(module.state_dict()))
    manifest = Manifest(
        format=FORMAT,
        model_version=weights[:12],
        architecture="SelfHealingMLP",
        width=64,
        features=FEATURES,
        rules=list(rules),
        weights_sha256=weights,
        base_sha256=model_directory.base_sha256(module),
        reference=statistics,
        fidi=Fidi(features=["V14"]),
    )
    return Model(manifest, module, parsed(rules, FEATURES), None, module.adapter_state(), trained)


def settings(flags: dict[str, Any] | None = None) -> Settings:
    """Batches of 20 rows; whatever reflexive.toml lies about is not read."""
    small = {"batch.rows": BATCH, "batch.span_s": 0, "heal.policy": "paper"}
    return load(Path(os.devnull), {**small, **(flags or {})})


@contextmanager
def running(
    flags: dict[str, Any] | None = None,
    *,
    partitions: tuple[int, ...] = (0,),
    of: Model | None = None,
    stage: Stage = off,
) -> Iterator[Pipeline]:
    """A pipeline that has started on empty partitions; its worker ends with it."""
    pipeline = Pipeline(settings(flags), of or model(), stage=stage)
    try:
        pipeline.start(None, START_MS)
        pipeline.assign(partitions, START_MS)
        yield pipeline
    finally:
        pipeline.healing.close(5)


def idle() -> None:
    """What a driver does while an inline heal runs: nothing."""


def score(pipeline: Pipeline, batch: Stream) -> None:
    """One whole monitor batch; every call of a driver that commits when it is asked to."""
    if pipeline.swap_needs_commit(batch.transactions.partition):
        pipeline.committed()
    pipeline.score(batch.transactions, idle)
    pipeline.end_batch(batch.transactions.partition, idle)


def labels_of(pipeline: Pipeline, batch: Stream) -> None:
    """The labels of a batch, all at once."""
    pipeline.labels(batch.labels, idle)


def actions(out: Outputs) -> list[str]:
    """What was decided, in order; the metric events apart."""
    return [e["event"]["action"] for e in out.events if e["event"]["kind"] != "metric"]


def events(out: Outputs, action: str) -> list[dict[str, Any]]:
    """Our own fields of the events of one kind."""
    return [e["reflexive"] for e in out.events if e["event"]["action"] == action]
