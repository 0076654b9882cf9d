"""One cell: a scenario, a way labels come, a seed and a policy, run through the stages."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from consumer import manifest, model_directory, states, train
from consumer.columns import Float32, Float64, Int8, Labels, Transactions
from consumer.driver import Chunk, Driver
from consumer.model import SelfHealingMLP
from consumer.model_directory import Model
from consumer.outputs import Outputs
from consumer.rows import Rows
from consumer.settings import load
from producer_sim import scenarios
from producer_sim.labels import Labelling
from producer_sim.rows import FEATURES, SPACING_MS
from producer_sim.rows import Transactions as Published
from producer_sim.scenarios import BATCHES, CLEAN_BATCHES, Concept, Scenario
from producer_sim.stream import BATCH_ROWS

SCENARIOS = tuple(each for each in Scenario if each is not Scenario.paper)
ORACLE_BATCHES = 200  # 20,000 rows of a concept
ORACLE_STEP = 5  # batches of a gradual drift that share an oracle
LATE_MS = 5 * BATCH_ROWS * SPACING_MS


@dataclass(frozen=True)
class Condition:
    """A way labels come."""

    name: str
    delay_ms: int = 0
    fraction: float = 1.0


CONDITIONS = (
    Condition("all, at once"),
    Condition("all, 5 late", LATE_MS),
    Condition("10%, 5 late", LATE_MS, 0.1),
    Condition("none", fraction=0.0),
)


@dataclass(frozen=True)
class Run:
    """What a stream was scored with, and what it was."""

    y: Int8  # (rows,) the truth, without noise
    healed: Float64
    frozen: Float64
    oracle: Float64
    late: Float64  # the oracle that learns of each change a batch late
    events: list[dict[str, Any]] = field(repr=False)
    weights: dict[int, dict[str, float]] = field(repr=False)  # from which offset on


def rows_of(published: Published) -> Rows:
    """As training wants them."""
    x = np.column_stack([published.features[name] for name in FEATURES]).astype(np.float32)
    return Rows(FEATURES, x, published.is_fraud.astype(np.float32))


def base(seed: int, folder: Path) -> Model:
    """The model that is deployed: trained on 5,000 clean rows, early-stopped and calibrated."""
    where = folder / f"model-{seed}"
    if not (where / manifest.MANIFEST).exists():
        rows = rows_of(scenarios.sets(Scenario.none, seed).train)
        module, how = train.train(rows, seed, lambda *_: None)
        model_directory.save(
            where,
            module,
            features=list(FEATURES),
            rules=["V14 < -1.5"],
            watched=["V14"],
            reference=train.reference(rows, module),
            training=how,
        )
    return model_directory.load(where)


def oracle(scenario: Scenario, seed: int, x: Float32, folder: Path, late: int = 0) -> Float64:
    """Scores, (rows,), of networks retrained on 20,000 rows of each concept that comes.

    `late`: batches that the one before is still scored with.
    """
    scores = np.zeros(len(x))
    for batch in range(1, BATCHES + 1):
        now = scenarios.concept(scenario, _middle(scenario, max(1, batch - late)))
        module = _retrained(now, seed, folder)
        part = slice((batch - 1) * BATCH_ROWS, batch * BATCH_ROWS)
        with torch.no_grad():
            scores[part] = module(torch.from_numpy(x[part])).numpy()
    return scores


def _middle(scenario: Scenario, batch: int) -> int:
    since = batch - CLEAN_BATCHES
    if scenario is not Scenario.gradual or not 0 < since <= scenarios.GRADUAL_BATCHES:
        return batch
    return CLEAN_BATCHES + (since - 1) // ORACLE_STEP * ORACLE_STEP + 1 + ORACLE_STEP // 2


_ORACLES: dict[tuple[int, Concept], SelfHealingMLP] = {}


def _retrained(now: Concept, seed: int, folder: Path) -> SelfHealingMLP:
    if (seed, now) not in _ORACLES:
        name = "-".join(f"{value:g}" for value in vars(now).values())
        file = folder / f"oracle-{seed}-{name}.safetensors"
        if not file.exists():
            drawn = scenarios.draw(seed, "oracle", [now] * ORACLE_BATCHES)
            rows = Rows(FEATURES, drawn.x, drawn.is_fraud.astype(np.float32))
            module, _ = train.train(rows, seed, lambda *_: None)
            file.write_bytes(states.to_bytes(module.state_dict()))
        data = file.read_bytes()
        module = SelfHealingMLP(len(FEATURES))
        numbers = states.from_bytes(data, states.sha256(data), file.name)
        module.load_state_dict(numbers)
        _ORACLES[seed, now] = module.eval()
    return _ORACLES[seed, now]


def stream(
    scenario: Scenario, condition: Condition, seed: int
) -> tuple[Transactions, Labels, Int8]:
    """Transactions, the labels that come in the order in which they do, and the truth."""
    parts = list(scenarios.stream(scenario, seed))
    ids = [name for part in parts for name in part.ids]
    times = np.concatenate([part.times for part in parts])
    x = np.concatenate([rows_of(part).x for part in parts])
    labelling = Labelling(condition.delay_ms, condition.fraction, scenario.label_noise, seed)
    come = [labelling.of(part) for part in parts]
    names = [name for part in come for name in part.ids.to_pylist()]
    labels = Labels(
        0,
        names,
        np.concatenate([part.labelled_at for part in come]),
        np.concatenate([part.is_fraud for part in come]),
        ["chargeback"] * len(names),
        np.arange(len(names), dtype=np.int64),
    )
    offset = np.arange(len(ids), dtype=np.int64)
    truth = np.concatenate([part.is_fraud for part in parts]).astype(np.int8)
    return Transactions(0, ids, times, x, offset), labels, truth


def _paced(transactions: Transactions, labels: Labels, lasting_s: float) -> Iterator[Chunk]:
    began, batches = time.monotonic(), len(transactions) // BATCH_ROWS
    come = 0
    for batch in range(batches):
        rows = transactions.rows(batch * BATCH_ROWS, (batch + 1) * BATCH_ROWS)
        until = int(np.searchsorted(labels.labelled_at, rows.event_time[-1], side="right"))
        time.sleep(max(0.0, began + batch / batches * lasting_s - time.monotonic()))
        yield rows, labels.rows(come, until)
        come = until


def run(
    scenario: Scenario,
    condition: Condition,
    seed: int,
    folder: Path,
    policy: str = "hedge",
    lasting_s: float | None = None,
    model: Model | None = None,
) -> Run:
    """Run a cell, without a broker; `lasting_s`: healing beside it, while it comes evenly.

    `model`: another than the one that `base` trains.
    """
    model_directory.one_thread()
    transactions, labels, y = stream(scenario, condition, seed)
    mode = "inline" if lasting_s is None else "threaded"
    settings = load(Path(os.devnull), {"heal.mode": mode, "heal.policy": policy})
    chunks: Iterable[Chunk] = [(transactions, labels)]
    if lasting_s is not None:
        chunks = _paced(transactions, labels, lasting_s)
    scores: list[Float32] = []
    shadow: list[Float32] = []
    events: list[dict[str, Any]] = []
    weights: dict[int, dict[str, float]] = {}

    def take(out: Outputs) -> None:
        scores.extend(each.score for each in out.scores)
        shadow.extend(each.shadow for each in out.scores)
        events.extend(out.events)
        for each in out.activations:
            weights[each.place.offset] = dict(each.in_force.weights)

    with Driver(settings, model or base(seed, folder)) as driver:
        driver.run(chunks, take)
    healed, frozen = (np.concatenate(each).astype(np.float64) for each in (scores, shadow))
    best, late = (oracle(scenario, seed, transactions.x, folder, late) for late in (0, 1))
    return Run(y, healed, frozen, best, late, events, weights)
