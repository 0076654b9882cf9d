"""Streams of river's that others are judged on: binary, numeric, most of them drifting.

Each is a first part that everybody may learn from, then the part that is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from river import datasets
from river.datasets import synth

from consumer.columns import Float32, Int8

FIRST, CONCEPT, CONCEPTS = 3_000, 3_000, 4  # rows, rows, of which the first is as before
FIRST_SHARE = 0.2  # of a set that ends


@dataclass(frozen=True, slots=True)
class Stream:
    """Rows in their order; names of the columns are `x0`, `x1`, ..."""

    x: Float32  # (rows, features)
    y: Int8  # (rows,)
    first: int  # rows that are not judged

    @property
    def names(self) -> tuple[str, ...]:
        """Of the features."""
        return tuple(f"x{n}" for n in range(self.x.shape[1]))


def _columns(pairs: Iterable[tuple[dict[Any, Any], Any]]) -> tuple[Float32, Int8]:
    found = list(pairs)
    names = sorted({name for x, _ in found for name in x}, key=str)  # a libsvm row leaves out zeros
    x = np.array([[float(x.get(name, 0.0)) for name in names] for x, _ in found], np.float32)
    return x, np.array([int(y) for _, y in found], np.int8)


def _switched(concept: Callable[[int, int], Iterable[Any]], seed: int) -> Stream:
    """`concept(number, seed)`, one after the other; training is of the first."""
    parts = [islice(concept(0, 10 * seed), FIRST)]
    parts += [islice(concept(n, 10 * seed + n + 1), CONCEPT) for n in range(CONCEPTS)]
    return Stream(*_columns(pair for part in parts for pair in part), FIRST)


def _endless(pairs: Iterable[Any]) -> Stream:
    return Stream(*_columns(islice(pairs, FIRST + CONCEPTS * CONCEPT)), FIRST)


def _whole(pairs: Iterable[Any]) -> Stream:
    x, y = _columns(pairs)
    return Stream(x, y, round(FIRST_SHARE * len(y)))


def agrawal(seed: int) -> Stream:
    """Loan applicants judged by rules 0, 1, 2, 3; categories as the numbers river gives them."""
    return _switched(lambda n, s: synth.Agrawal(n, seed=s, perturbation=0.05), seed)


def sea(seed: int) -> Stream:
    """A sum of two features against thresholds 8, 9, 7, 9.5; a tenth of the labels are flipped."""
    return _switched(lambda n, s: synth.SEA(n, noise=0.1, seed=s), seed)


def hyperplane(seed: int) -> Stream:
    """Every weight of a plane in ten features walks by .01 a row; one label in 25 is flipped."""
    return _endless(synth.Hyperplane(seed, n_drift_features=10, mag_change=0.01))


def rbf(seed: int) -> Stream:
    """Fifty centroids in ten features, each on its way at .0001 a row."""
    drifting = synth.RandomRBFDrift(seed, seed, n_features=10, change_speed=0.0001)
    return _endless(drifting)


def phishing(seed: int) -> Stream:
    """Web pages, in the order of the file."""
    return _whole(datasets.Phishing())


def bananas(seed: int) -> Stream:
    """Two bent clusters, in the order of the file."""
    return _whole(datasets.Bananas())


STREAMS: dict[str, Callable[[int], Stream]] = {
    "Agrawal": agrawal,
    "SEA": sea,
    "Hyperplane": hyperplane,
    "RandomRBFDrift": rbf,
    "Phishing": phishing,
    "Bananas": bananas,
}
