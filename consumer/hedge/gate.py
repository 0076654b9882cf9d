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


def _loss(logit: Float32, y: Float32) -> Float64:
    p = np.clip(1 / (1 + np.exp(-logit.astype(np.float64))), LEAST, 1 - LEAST)
    found: Float64 = -np.where(y == 1, np.log(p), np.log1p(-p))
    return found


def skill(logit: Float32, y: Float32, weight: Float32) -> float:
    """1 - loss / loss of the base rate, on rows with labels `y`; 0 where there is one class."""
    share = float(np.average(y, weights=weight)) if len(y) else 0.0
    if not 0 < share < 1:
        return 0.0
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    return float(1 - np.average(_loss(logit, y), weights=weight) / entropy)
