"""The drifts that can be streamed, each from the article's clean distribution.

`paper` is the article's run itself. The others are 30 clean batches of 100 rows, then 120 of the
scenario's own; their rows are independent draws. Two scenarios of one seed share every random
draw, so that they differ by their concepts alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from enum import Enum
from itertools import count, islice

import numpy as np

from producer_sim.rows import FEATURES, Sample, Transactions, numbered
from producer_sim.stream import BATCH_ROWS, FRAUD_SHARE, V14, Article, article

V3 = FEATURES.index("V3")

DRIFT_STRENGTH = 2.2
CLEAN_BATCHES = 30
BATCHES = 150
PAPER_BATCHES = 25
GRADUAL_BATCHES = 50
# Of the drifted set: `gradual` has arrived (batch 80) and `recurring` is away (31-60, 91-120).
DRIFTED_BATCH = 100
# 10,000 rows: numpy's overhead a chunk is nothing beside them, and their JSON is 3 MB.
CHUNK_BATCHES = 100

START_MS = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
# Labels are up to 90 days late: 100 days before the stream those of the training rows are known.
TRAIN_START_MS = START_MS - 100 * 86_400_000


class Scenario(Enum):
    """What happens after the clean batches."""

    paper = "paper"  # the article's run: drifted from its first row
    seed = "seed"  # legitimate V14 moves onto the fraud's, which stays
    translate = "translate"  # both classes' V14 move together
    gradual = "gradual"  # the same, in equal steps over 50 batches
    recurring = "recurring"  # the same, away and back every 30 batches
    novel = "novel"  # fraud shows in V3 and no longer in V14
    prior = "prior"  # fraud falls from 15% to 3%
    noise = "noise"  # translate, with a tenth of the labels flipped
    none = "none"  # nothing

    @property
    def rows(self) -> int:
        """Its own length."""
        return BATCH_ROWS * (PAPER_BATCHES if self is Scenario.paper else BATCHES)

    @property
    def label_noise(self) -> float:
        """The share of its labels that are flipped."""
        return 0.1 if self is Scenario.noise else 0.0


@dataclass(frozen=True)
class Concept:
    """The distribution of one batch; every feature that is not named is N(0, 1)."""

    fraud_share: float = FRAUD_SHARE
    legit_v14: float = 0.0
    fraud_v14: float = -2.5
    fraud_v14_sd: float = 0.8
    fraud_v3: float = 0.0
    fraud_v3_sd: float = 1.0


@dataclass(frozen=True)
class Sets:
    """The files beside a stream."""

    train: Transactions  # clean
    test: Transactions  # clean, held out
    drifted: Transactions  # of `paper` what the stream draws from, else rows the stream never has


def concept(scenario: Scenario, batch: int, strength: float = DRIFT_STRENGTH) -> Concept:
    """The distribution of a batch, counted from 1, in any scenario but `paper`.

    >>> concept(Scenario.gradual, 55).legit_v14  # half way
    -1.1
    """
    since = batch - CLEAN_BATCHES
    if since <= 0:
        return Concept()
    match scenario:
        case Scenario.seed:
            return Concept(legit_v14=-strength)
        case Scenario.translate | Scenario.noise:
            return _translated(strength)
        case Scenario.gradual:
            return _translated(strength * min(1.0, since / GRADUAL_BATCHES))
        case Scenario.recurring:
            away = (since - 1) // CLEAN_BATCHES % 2 == 0
            return _translated(strength) if away else Concept()
        case Scenario.novel:
            return Concept(fraud_v14=0.0, fraud_v14_sd=1.0, fraud_v3=-2.5, fraud_v3_sd=0.8)
        case Scenario.prior:
            return Concept(fraud_share=0.03)
    return Concept()


def sets(scenario: Scenario, seed: int, strength: float = DRIFT_STRENGTH) -> Sets:
    """5,000 training, 1,000 test and 1,000 drifted rows; the same for the same arguments."""
    if scenario is Scenario.paper:
        drawn = article(seed, strength)
        train, test, drifted = drawn.train, drawn.test, drawn.drifted
    else:
        train = _draw(_rng(seed, "train"), [Concept()] * 50)
        test = _draw(_rng(seed, "test"), [Concept()] * 10)
        after = concept(scenario, DRIFTED_BATCH, strength)
        drifted = _draw(_rng(seed, "drifted"), [after] * 10)
    prefix = f"{scenario.value}-{seed}"
    train_rows = numbered(train, f"{prefix}-train", 1, TRAIN_START_MS)
    after_training_ms = TRAIN_START_MS + 86_400_000
    return Sets(
        train_rows,
        numbered(test, f"{prefix}-test", 1, after_training_ms),
        numbered(drifted, f"{prefix}-drifted", 1, START_MS),
    )


def stream(
    scenario: Scenario, seed: int, strength: float = DRIFT_STRENGTH, rows: int | None = None
) -> Iterator[Transactions]:
    """The stream in chunks; a longer one begins with the rows of a shorter one.

    `rows`: default the scenario's own length; beyond it the last concept goes on.
    """
    rows = scenario.rows if rows is None else rows
    if scenario is Scenario.paper:
        samples = _article_chunks(article(seed, strength))
    else:
        samples = _chunks(scenario, seed, strength)
    done = 0
    while done < rows:
        x, is_fraud = next(samples)
        sample = Sample(x[: rows - done], is_fraud[: rows - done])
        yield numbered(sample, f"{scenario.value}-{seed}", done + 1, START_MS)
        done += len(sample.is_fraud)


def _article_chunks(drawn: Article) -> Iterator[Sample]:
    batches = drawn.batches()
    while True:
        some = list(islice(batches, CHUNK_BATCHES))
        yield Sample(
            np.concatenate([batch.x for batch in some]),
            np.concatenate([batch.is_fraud for batch in some]),
        )


def draw(seed: int, purpose: str, concepts: Sequence[Concept]) -> Sample:
    """100 rows of each concept, which no stream or file of the seed has for another purpose."""
    return _draw(_rng(seed, purpose), concepts)


def _chunks(scenario: Scenario, seed: int, strength: float) -> Iterator[Sample]:
    rng = _rng(seed, "stream")
    for first in count(1, CHUNK_BATCHES):
        batches = range(first, first + CHUNK_BATCHES)
        yield _draw(rng, [concept(scenario, batch, strength) for batch in batches])


def _draw(rng: np.random.Generator, concepts: Sequence[Concept]) -> Sample:
    """100 independent rows of each concept, one concept after the other."""
    columns = np.repeat(np.array([astuple(each) for each in concepts]), BATCH_ROWS, axis=0)
    share, legit_v14, fraud_v14, fraud_v14_sd, fraud_v3, fraud_v3_sd = columns.T
    x = rng.standard_normal((len(share), len(FEATURES)), dtype=np.float32)
    fraud = rng.random(len(share)) < share
    x[:, V14] = np.where(fraud, fraud_v14 + fraud_v14_sd * x[:, V14], legit_v14 + x[:, V14])
    x[:, V3] = np.where(fraud, fraud_v3 + fraud_v3_sd * x[:, V3], x[:, V3])
    return Sample(x, fraud.astype(np.int8))


def _translated(shift: float) -> Concept:
    return Concept(legit_v14=-shift, fraud_v14=Concept.fraud_v14 - shift)


def _rng(seed: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng([seed, *purpose.encode()])
