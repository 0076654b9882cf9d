"""The article's generator, bit for bit: its three sets, and its stream of batches.

Source: "Self-Healing Neural Networks in PyTorch: Fix Model Drift in Real Time Without Retraining".
Every draw is in its order and from numpy's legacy generator, whose streams are frozen (NEP 19).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from producer_sim.rows import FEATURES, Sample

FRAUD_SHARE = 0.15
BATCH_ROWS = 100
V14 = FEATURES.index("V14")


@dataclass(frozen=True)
class Article:
    """The three sets, and the generator as it stands after them."""

    train: Sample  # 5,000 rows
    test: Sample  # 1,000 rows of the same concept
    drifted: Sample  # 1,000 rows
    rng: np.random.RandomState

    def batches(self) -> Iterator[Sample]:
        """Batches of 100 rows of the drifted set, without end; the article takes 25."""
        while True:
            rows = self.rng.choice(len(self.drifted.is_fraud), BATCH_ROWS, replace=True)
            yield Sample(self.drifted.x[rows], self.drifted.is_fraud[rows])


def article(seed: int, drift_strength: float) -> Article:
    """Draw the sets of the article's run; its own are of seed 42 and strength 2.2."""
    rng = np.random.RandomState(seed)
    train, test = draw(rng, 5_000), draw(rng, 1_000)
    return Article(train, test, draw(rng, 1_000, drift_strength), rng)


def draw(rng: np.random.RandomState, rows: int, drift_strength: float = 0.0) -> Sample:
    """One set: 15% fraud, where drift has moved the legitimate rows' V14 alone."""
    frauds = int(FRAUD_SHARE * rows)
    legits = rows - frauds
    legit_v14 = rng.normal(-drift_strength, 1, legits)
    legit = np.insert(rng.randn(legits, len(FEATURES) - 1), V14, legit_v14, axis=1)
    fraud_v14 = rng.normal(-2.5, 0.8, frauds)
    fraud = np.insert(rng.randn(frauds, len(FEATURES) - 1), V14, fraud_v14, axis=1)
    x = np.vstack([legit, fraud]).astype(np.float32)  # (rows, features)
    is_fraud = np.repeat(np.array([0, 1], np.int8), [legits, frauds])
    order = rng.permutation(rows)
    return Sample(x[order], is_fraud[order])
