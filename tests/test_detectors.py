"""Our detectors of change beside river's on the same rows: no more false alarms, hardly slower.

Theirs take every row, ours a batch's mean. On features they are ADWIN, one a feature: PageHinkley
alarms there every second clean batch, and KSWIN in every seventh on the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest
from river import drift

from consumer.columns import Float64
from consumer.hedge.change import FeatureChange, LossChange
from producer_sim import scenarios
from producer_sim.rows import FEATURES
from producer_sim.scenarios import BATCHES, CLEAN_BATCHES, Scenario
from producer_sim.stream import BATCH_ROWS, FRAUD_SHARE

SEEDS = range(201, 206)
MORE_SEEDS = range(201, 221)  # a false alarm on the loss is rare
Alarms = Callable[[Scenario, int], Iterator[int]]  # batches, from 1, at whose end there is one
V14 = FEATURES.index("V14")


@cache
def rows(scenario: Scenario, seed: int) -> tuple[Float64, Float64]:
    """Features, (batches, rows, features), and the loss of each row, (batches, rows).

    The loss is of scores that were right before the change: the clean rows' own posterior.
    """
    parts = list(scenarios.stream(scenario, seed))
    x = np.concatenate([[part.features[f] for f in FEATURES] for part in parts], axis=1).T
    y = np.concatenate([part.is_fraud for part in parts])
    fraud, legit = _density(x[:, V14], -2.5, 0.8), _density(x[:, V14], 0.0, 1.0)
    p = FRAUD_SHARE * fraud / (FRAUD_SHARE * fraud + (1 - FRAUD_SHARE) * legit)
    loss = -np.log(np.clip(np.where(y == 1, p, 1 - p), np.exp(-4.0), None))  # as the policy's
    return x.reshape(BATCHES, BATCH_ROWS, -1), loss.reshape(BATCHES, BATCH_ROWS)


def _density(v: Float64, mean: float, sd: float) -> Float64:
    found: Float64 = np.exp(-0.5 * ((v - mean) / sd) ** 2) / sd
    return found


def features_ours(scenario: Scenario, seed: int) -> Iterator[int]:
    watch = FeatureChange(FEATURES, [1.0] * len(FEATURES))
    for batch, x in enumerate(rows(scenario, seed)[0], 1):
        change = watch.add(x.mean(axis=0), len(x))
        if change is not None:
            watch.cut(change.batches)
            yield batch


def features_adwin(scenario: Scenario, seed: int) -> Iterator[int]:
    watches = [drift.ADWIN() for _ in FEATURES]
    for batch, x in enumerate(rows(scenario, seed)[0], 1):
        alarms = [_alarmed(w, column) for w, column in zip(watches, x.T, strict=True)]
        if any(alarms):
            yield batch


def loss_ours(scenario: Scenario, seed: int) -> Iterator[int]:
    watch = LossChange()
    for batch, loss in enumerate(rows(scenario, seed)[1], 1):
        if watch.add(float(loss.mean())) is not None:
            watch.cut()
            yield batch


def loss_adwin(scenario: Scenario, seed: int) -> Iterator[int]:
    return _theirs_on_loss(drift.ADWIN(), scenario, seed)


def loss_page_hinkley(scenario: Scenario, seed: int) -> Iterator[int]:
    return _theirs_on_loss(drift.PageHinkley(mode="up"), scenario, seed)


def _theirs_on_loss(
    watch: drift.ADWIN | drift.PageHinkley, scenario: Scenario, seed: int
) -> Iterator[int]:
    for batch, loss in enumerate(rows(scenario, seed)[1], 1):
        if _alarmed(watch, loss):
            yield batch


def _alarmed(watch: drift.ADWIN | drift.PageHinkley, values: Float64) -> bool:
    """Feeds every value, and says whether there was an alarm on the way."""
    alarms = 0
    for value in values.tolist():
        watch.update(value)
        alarms += watch.drift_detected
    return alarms > 0


@pytest.mark.parametrize(
    ("ours", "theirs", "seeds"),
    [(features_ours, features_adwin, SEEDS), (loss_ours, loss_page_hinkley, MORE_SEEDS)],
)
def test_where_nothing_changes_alarms_are_no_more_than_theirs(
    ours: Alarms, theirs: Alarms, seeds: range
) -> None:
    mine = [batch for seed in seeds for batch in ours(Scenario.none, seed)]
    others = [batch for seed in seeds for batch in theirs(Scenario.none, seed)]

    assert len(mine) <= len(others)
    assert len(mine) <= len(seeds) * BATCHES / 2_000


@pytest.mark.parametrize(
    ("scenario", "slower"),
    [(Scenario.seed, 0), (Scenario.translate, 0), (Scenario.novel, 1), (Scenario.gradual, 5)],
)
@pytest.mark.parametrize(
    ("ours", "theirs"), [(features_ours, features_adwin), (loss_ours, loss_adwin)]
)
def test_a_change_is_seen_hardly_later_than_they_see_it(
    scenario: Scenario, slower: int, ours: Alarms, theirs: Alarms
) -> None:
    mine, others = (
        [next(batch for batch in of(scenario, seed) if batch > CLEAN_BATCHES) for seed in SEEDS]
        for of in (ours, theirs)
    )

    assert np.mean(mine) <= np.mean(others) + slower
