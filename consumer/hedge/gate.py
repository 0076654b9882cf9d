"""May what was learnt count? On labelled rows that had no part in it, by more than noise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumer.columns import Float32, Float64

MIN_ROWS, MIN_OF_CLASS = 15, 2
# Where nothing is known to have changed the frozen model is right more often than not: few rows
# that say otherwise do so by chance.
MIN_ROWS_UNCHANGED = 60
# The candidate's mean loss must lie so many standard errors below that of what is in force.
MARGIN_SE = 1.0
# But who learns from all that is remembered has seen most of it in the heal before, and what one
# heal adds is less than noise. Once admitted it would begin again and again where it was: it is
# refused where it is worse by more than noise, and its weight follows the evidence as any other's.
MARGIN_SE_TO_GROW = -1.0
# A segment is harmed where the frozen model's mean loss lies so many below, on so many rows.
HARM_SE, HARM_ROWS = 2.0, 30
# A candidate strays where among the newest rows, whose labels are still to come, it sees more than
# so many times as much fraud as among those it was judged on, and the frozen model does not.
STRAY, STRAY_SE = 3.0, 2.0
LEAST = 1e-4  # probabilities are no smaller in a loss


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate says of one expert's candidate."""

    expert: str
    admitted: bool
    reason: str
    rows: int
    gain: float  # mean loss of what is in force, less the candidate's
    error: float  # its standard error


def evidence(rows: int, gain: float, error: float) -> float:
    """By how much a candidate makes the rows it was judged on likelier, at least; in nats."""
    return rows * (gain - error)


def enough(y: Float32, *, changed: bool) -> str:
    """What is lacking in labels `y: (rows,)` to learn and judge at all; empty where nothing is."""
    frauds, least = int(y.sum()), MIN_ROWS if changed else MIN_ROWS_UNCHANGED
    if len(y) < least:
        return f"insufficient data: {len(y)} labelled rows of the regime, {least} are needed"
    if min(frauds, len(y) - frauds) < MIN_OF_CLASS:
        return f"insufficient data: {frauds} of {len(y)} labelled rows are fraud"
    return ""


def judge(
    expert: str,
    candidate: Float32,
    in_force: Float32,
    y: Float32,
    weight: Float32,
    margin: float = MARGIN_SE,
) -> Verdict:
    """Compare log odds `candidate` and `in_force` on the labels `y`, each (rows,).

    `margin`: standard errors by which the candidate must be better.
    """
    difference = _loss(in_force, y) - _loss(candidate, y)
    rows = len(y)
    share = weight.astype(np.float64) / max(float(weight.sum()), 1e-12)
    gain = float(share @ difference)
    error = float(np.sqrt((share**2) @ (difference - gain) ** 2))
    if rows < MIN_ROWS // 4 or not np.isfinite(gain):
        return Verdict(expert, False, "insufficient data", rows, gain, error)
    if gain <= margin * error:
        why = "no better by more than noise" if margin > 0 else "worse than its last"
        return Verdict(expert, False, why, rows, gain, error)
    why = "better by more than noise" if gain > MARGIN_SE * error else "no worse than its last"
    return Verdict(expert, True, why, rows, gain, error)


def harmed(
    segments: Iterable[tuple[str, NDArray[np.bool_]]],
    candidate: Float32,
    frozen: Float32,
    y: Float32,
    weight: Float32,
) -> list[str]:
    """Segments, names and their rows, whose rows fare worse than with the frozen model."""
    worse = _loss(candidate, y) - _loss(frozen, y)
    found = []
    for name, rows in segments:
        if rows.sum() < HARM_ROWS:
            continue
        share = weight[rows].astype(np.float64) / float(weight[rows].sum())
        harm = float(share @ worse[rows])
        error = float(np.sqrt((share**2) @ (worse[rows] - harm) ** 2))
        if harm > HARM_SE * error:
            found.append(name)
    return found


@dataclass(frozen=True, slots=True)
class Seen:
    """How much fraud log odds see among rows: the mean probability, and its standard error."""

    share: float
    error: float

    @staticmethod
    def of(logit: Float32, weight: Float32 | None = None) -> Seen:
        """Of `logit: (rows,)`, at least one; `weight: (rows,)`: how many rows each stands for."""
        p = _probability(logit)
        each = np.ones(len(p)) if weight is None else weight.astype(np.float64)
        each /= each.sum()
        mean = float(each @ p)
        return Seen(mean, float(np.sqrt(each**2 @ (p - mean) ** 2)))


def strays(judged: Seen, newest: Seen, frozen_judged: Seen, frozen_newest: Seen) -> bool:
    """Does a candidate see far more fraud among the newest rows than labels bear out?

    Labels that come late are of rows that today's may have left far behind: there a network that
    followed them is anywhere.
    """
    moved = max(1.0, frozen_newest.share / max(frozen_judged.share, LEAST))
    most = STRAY * moved
    error = float(np.hypot(newest.error, most * judged.error))
    return newest.share - STRAY_SE * error > most * max(judged.share, LEAST)


def _probability(logit: Float32) -> Float64:
    found: Float64 = 1 / (1 + np.exp(-logit.astype(np.float64)))
    return found


def _loss(logit: Float32, y: Float32) -> Float64:
    p = np.clip(_probability(logit), LEAST, 1 - LEAST)
    found: Float64 = -np.where(y == 1, np.log(p), np.log1p(-p))
    return found


def skill(logit: Float32, y: Float32, weight: Float32) -> float:
    """1 - loss / loss of the base rate, on rows with labels `y`; 0 where there is one class."""
    share = float(np.average(y, weights=weight)) if len(y) else 0.0
    if not 0 < share < 1:
        return 0.0
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    return float(1 - np.average(_loss(logit, y), weights=weight) / entropy)
