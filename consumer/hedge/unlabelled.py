"""What can be answered before a label of a change comes: undo a move, or abstain."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from consumer.columns import Float64, Labelled
from consumer.hedge import weights
from consumer.hedge.consent import Consent
from consumer.hedge.guess import GUESSES, Guess, Guesser
from consumer.hedge.mind import Mind
from consumer.hedge.record import DISTRUST
from consumer.registry import InForce, Place

# What an expert without a label gets: all but a trace, or the change would decide anyway.
PROVISIONAL = 0.998
GUESSED_ROWS = 100  # fewer look like anything
ABSTAIN_FROM = 3  # batches after a change


class Unlabelled:
    """Experts that count though no label has confirmed them; labels take them back."""

    def __init__(
        self,
        mind: Mind,
        guesser: Guesser,
        sd: Float64,
        consent: Consent,
        say: Callable[..., None],
    ) -> None:
        """`sd: (features,)` as trained; `say(place, action, message, **fields)`: an event."""
        self._mind = mind
        self._guesser = guesser
        self._sd = sd
        self._consent = consent
        self._say = say

    @property
    def expert(self) -> str | None:
        """The guess that counts though no label has confirmed it."""
        lent = self._mind.pool.lent
        return lent[0] if lent is not None and lent[0] in GUESSES else None

    def judge(self, labelled: Sequence[Labelled]) -> None:
        """Labels have come, perhaps of rows that a guess had scored: was it right?"""
        gain = 0.0
        for rows in labelled:
            at = self._mind.guesses.shares(rows.event_time) > 0
            y = rows.is_fraud[at]
            frozen, guessed = weights.loss(rows.shadow[at], y), weights.loss(rows.score[at], y)
            gain += float((frozen - guessed).sum())
        self._mind.guesses.judge(gain, sum(map(len, labelled)))

    def remember(self, place: Place, in_force: InForce) -> None:
        """Does a guess count for the rows after this batch, be it pinned?"""
        self._mind.guesses.note(place.time_ms, PROVISIONAL if in_force.provisional else 0.0)

    def guess(self, place: Place) -> None:
        """Undo what all rows went through, as long as they are then as they were in training."""
        mind = self._mind
        if not self._guesser.knows_training or not mind.recent:
            return
        batches = mind.recent.steady(self._sd)
        if sum(map(len, batches)) < GUESSED_ROWS:
            return
        could_guess, mind.could_guess = mind.could_guess, True
        # Rows that all move may truly be other rows.
        distrusted = mind.guesses.nats <= (DISTRUST if self.expert else DISTRUST / 2)
        if distrusted:
            self._withdraw(place, "labels have spoken against guesses like it")
        held = self.expert
        is_moved = self._guesser.is_moved(batches, held)
        found = self._guesser.guess(np.concatenate(batches), held) if is_moved else None
        if found is None:
            self._unguessed(place, is_moved=is_moved)
            return
        # Labels of the first rows may have come before there were enough rows for a guess.
        is_first = not (mind.labels_now and could_guess)
        # In a regime that is back counts what labels of it have taught, where they have.
        is_taught = mind.is_recognised and not mind.regimes.was_guessed
        is_answered = is_taught or found.expert == held
        counts = is_first and mind.has_changed and not is_answered
        is_trusted = found.is_safe and not distrusted
        asks = counts and is_trusted
        if not self._consent.given(found.expert, mind.regimes.now, found.told, place, ask=asks):
            return
        self._set(found)
        if not counts:
            return
        if not is_trusted:
            self._withdraw(place)
            self._abstain(place, found.told)
            return
        mind.pool.lend(found.expert, PROVISIONAL)
        mind.is_open = False
        self._say(
            place,
            "heal-provisional",
            f"{found.told}: undone, provisionally",
            reasons=[found.told],
            weights=mind.pool.weights,
        )

    def _abstain(self, place: Place, why: str) -> None:
        """Say once a regime that nothing can be healed without labels."""
        mind = self._mind
        if mind.abstained or mind.labels_now or mind.age < ABSTAIN_FROM:
            return
        mind.abstained = True
        self._say(
            place,
            "cannot-heal",
            f"{why}, and no label of it has come: nothing is healed until labels come",
            regime=mind.regimes.now,
        )

    def _set(self, found: Guess) -> None:
        pool = self._mind.pool
        held = pool.states.get(found.expert)
        if held is not None and not self._guesser.has_moved(found, held):
            return
        pool.put(found.expert, found.state)
        if held is None:
            # Its weight comes with labels, or is lent where there are none.
            pool.admit({found.expert: -math.inf}, changed=True)

    def _withdraw(
        self, place: Place, why: str = "the rows no longer look as if they had only moved"
    ) -> None:
        """A provisional heal makes no sense any more."""
        if self.expert is None:
            return
        self._mind.pool.leave(self.expert)
        self._mind.is_open = True
        self._say(
            place,
            "heal-withdrawn",
            f"{why}: the provisional heal is gone",
            weights=self._mind.pool.weights,
        )

    def _unguessed(self, place: Place, *, is_moved: bool) -> None:
        self._withdraw(place)
        guessed = any(name in self._mind.pool.states for name in GUESSES)
        if is_moved and not guessed:
            self._abstain(place, "the stream has changed, not only moved")
