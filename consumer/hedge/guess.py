"""What all rows went through, told from the rows alone: the heals that need no label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from consumer.columns import Float32, Float64, Int64
from consumer.experts import State, alignment, prevalence
from consumer.hedge.change import UNREST_MARGIN
from consumer.mixture import FROZEN, Mixture
from consumer.model_directory import Model
from consumer.reference import Ranks, Sample

ALIGNMENT, PREVALENCE = "alignment", "prevalence"
GUESSES = (ALIGNMENT, PREVALENCE)
# More likely the rows of today are those of training, and nothing is to be undone; or no longer.
UNMOVED_P, BACK_P = 0.002, 0.1
FARTHEST_SD = 5.0  # an alignment by more would not be a guess
STAYING = 10.0  # times as likely another one has to be
MOVED = 0.05  # in sd, or in log odds: by less a guess stays where it is


@dataclass(frozen=True, slots=True)
class Guess:
    """The expert that undoes it, its numbers, how likely it is, and what happened in words."""

    expert: str
    state: State
    p: float
    told: str
    # May it count before a label speaks for it? Fraud that seems to have become rarer may only look
    # different now: nobody lowers scores on that.
    is_safe: bool = True


class Guesser:
    """Compares rows with training's."""

    def __init__(self, model: Model, mixture: Mixture) -> None:
        reference = model.manifest.reference
        self._names = model.features
        self._sd: Float64 = np.asarray(reference.sd, np.float64)
        # What training saw go up and down means something: where it goes on to, nobody undoes it.
        self._wanders = np.asarray(reference.unrest or np.ones(len(self._sd))) > UNREST_MARGIN
        self._share = reference.fraud_share
        self._mixture = mixture
        self._training = (
            None if model.trained is None else Sample(model.trained.quantiles, reference.rows)
        )
        self._ranks = None if self._training is None else Ranks(self._training)
        self._ranked: dict[int, tuple[Float32, Int64]] = {}  # batches looked at last, by identity
        self._counts: Int64 = np.zeros((), np.int64)  # of all of these

    @property
    def knows_training(self) -> bool:
        """Without what training looked like there is nothing to compare with."""
        return self._training is not None

    def is_moved(self, batches: Sequence[Float32], held: str | None) -> bool:
        """Are these batches, (rows, features) each, others than training's rows?

        `held`: the guess that counts. A batch that was in the last call is not ranked again.
        """
        assert self._ranks is not None
        left, self._ranked = self._ranked, {}
        for x in batches:
            ranked = left.pop(id(x), None)
            if ranked is None:
                ranked = x, self._ranks.of(x)
                self._counts = self._counts + self._ranks.counts(ranked[1])
            self._ranked[id(x)] = ranked
        for _, ranks in left.values():
            self._counts = self._counts - self._ranks.counts(ranks)
        return self._ranks.fits(self._counts) <= (UNMOVED_P if held is None else BACK_P)

    def guess(self, rows: Float32, held: str | None) -> Guess | None:
        """What undoes it best, if anything does.

        What counts already stays as long as it makes sense and nothing makes much more: looked at
        again and again, chance would speak against it one day.
        """
        found = [self._alignment(rows, held), self._prevalence(rows, held)]
        some = [guess for guess in found if guess is not None]
        favour = {held: STAYING}
        return max(some, key=lambda one: one.p * favour.get(one.expert, 1.0), default=None)

    def has_moved(self, guess: Guess, held: State) -> bool:
        """Does it differ from what is held by more than is worth saying?"""
        scale = torch.from_numpy(self._sd) if guess.expert == ALIGNMENT else 1.0
        moved = [((guess.state[key] - held[key]) / scale).abs().max() for key in held]
        return bool(max(moved) > MOVED)

    def _alignment(self, rows: Float32, held: str | None) -> Guess | None:
        assert self._training is not None
        found = alignment.shift(rows, self._training, self._sd, _least_p(ALIGNMENT, held))
        if found is None or np.abs(found[0] / self._sd).max() > FARTHEST_SD:
            return None
        moved, p = found
        if moved[self._wanders].any():
            return None
        told = [f"{self._names[n]} by {moved[n]:+.3g}" for n in np.flatnonzero(moved)]
        state = {"shift": torch.from_numpy(moved)}
        return Guess(ALIGNMENT, state, p, f"all rows have only moved, {', '.join(told)}")

    def _prevalence(self, rows: Float32, held: str | None) -> Guess | None:
        assert self._training is not None
        scores = self._mixture.probabilities(rows, {FROZEN: {}})[0]
        least_p = _least_p(PREVALENCE, held)
        found = prevalence.bias(rows, scores, self._training, self._share, least_p)
        if found is None:
            return None
        bias, p = found
        told = f"only the odds of fraud seem to have moved, by {bias:+.2f}"
        return Guess(PREVALENCE, {"bias": torch.tensor(bias)}, p, told, is_safe=bias > 0)


def _least_p(name: str, held: str | None) -> float:
    return alignment.STAYS_P if name == held else alignment.FITS_P
