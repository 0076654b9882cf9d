"""Scores are drawn to the base rate where what labels have taught may not hold.

Where a change is sure and its labels are on their way; and where rows lie beyond those that labels
have come for: an account ages, a window fills up, and labels a month late know nothing of it yet.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from consumer.columns import Float32, Labelled
from consumer.hedge import weights
from consumer.hedge.changes import BASE_RATE, CHANGED_P
from consumer.hedge.consent import Consent
from consumer.hedge.mind import Mind
from consumer.hedge.record import DISTRUST
from consumer.mixture import Mixture
from consumer.policy import MonitorBatch
from consumer.reference import Sample, fits
from consumer.registry import InForce, Place

UNSURE = 0.4  # of the base rate, where nothing else is known
FEWEST = 100  # rows that tell what a stream looks like
# Where scores are right to be sure it costs to draw them: as long as labels take, so many nats are
# expected to be lost at most, or so many for each row that was ever scored. No stream is to end
# .002 a row above the frozen model: the rest of that is for what else may go wrong.
AFFORDED, AFFORDED_A_ROW = 12.0, 0.0012
# Of the newest rows so many lie beyond those that have labels, in some feature, where that is said
# at all; it is looked at once in so many batches, and weights that would move by less stay.
BEYOND, EVERY, STEP = 0.05, 10, 0.02
ENOUGH = 0.03  # so few of them do, once that was said
ROUNDING = 1e-4  # of a score, at most


class Doubt:
    """Lends the base rate weight, until labels can speak."""

    def __init__(
        self,
        mind: Mind,
        mixture: Mixture,
        features: Sequence[str],
        consent: Consent,
        say: Callable[..., None],
    ) -> None:
        """`say(place, action, message, **fields)`: an event."""
        self._mind = mind
        self._mixture = mixture
        self._features = features
        self._consent = consent
        self._say = say
        self._state = mixture.experts[BASE_RATE].cold(mixture.base)
        self._base_rate = float(torch.sigmoid(self._state["logit"]))

    def judge(self, labelled: Sequence[Labelled]) -> None:
        """Labels have come, perhaps of rows whose scores were drawn: was it right?"""
        gain = 0.0
        for rows in labelled:
            share = self._mind.doubts.shares(rows.event_time)
            at = share > 0
            drawn, share, y = rows.score[at].astype(np.float64), share[at], rows.is_fraud[at]
            alone = (drawn - share * self._base_rate) / (1 - share)
            # Rows of another partition's batch that had begun before were not drawn.
            was = (alone > -ROUNDING) & (alone < 1 + ROUNDING)
            gain += float((weights.loss(alone, y) - weights.loss(drawn, y))[was].sum())
        self._mind.doubts.judge(gain, sum(map(len, labelled)))

    def charge(self, batches: Sequence[MonitorBatch]) -> None:
        """What may it have cost to score these with doubt?"""
        record = self._mind.doubts
        record.charge(sum(self._cost(batch.x, record.share) for batch in batches))

    def remember(self, place: Place, in_force: InForce) -> None:
        """Are the rows after this batch scored with doubt?"""
        share = self._mind.pool.lent_to(BASE_RATE)
        counts = BASE_RATE in in_force.weights
        self._mind.doubts.note(place.time_ms, share if counts else 0.0)

    def _cost(self, x: Float32, share: float) -> float:
        """Nats that these rows, (rows, features), are expected to lose where scores are right."""
        if not share:
            return 0.0
        earned = {n: w for n, w in self._mind.pool.earned.items() if n != BASE_RATE}
        some = x[:: max(1, len(x) // FEWEST)]
        p = self._mixture.probabilities(some, {n: self._mind.pool.states[n] for n in earned})
        alone = np.clip(weights.of(earned) @ p / sum(earned.values()), weights.LEAST, weights.MOST)
        drawn = (1 - share) * alone + share * self._base_rate
        # Kullback and Leibler's divergence.
        lost = alone * np.log(alone / drawn) + (1 - alone) * np.log((1 - alone) / (1 - drawn))
        return len(x) * float(lost.mean())

    def look(self, place: Place) -> None:
        """Be less sure where there is reason to, and no guess counts that answers it."""
        mind, lent = self._mind, self._mind.pool.lent
        if not mind.pool.lent_to(BASE_RATE):
            mind.is_beyond = False
        if lent is not None and lent[0] != BASE_RATE:
            return
        against = self._against(place, 0.5 if lent is None else 1.0)
        if not against:
            self._of_a_change(place)
            self._of_reach(place)
        elif lent is not None:
            self._end(place, against)

    def _against(self, place: Place, part: float) -> str:
        """Why scores may not be drawn; empty where they may.

        `part`: of what they may cost. To begin, half of it has to be left.
        """
        mind = self._mind
        if mind.doubts.nats <= part * DISTRUST:
            return "labels say that scores were right to be sure"
        afforded = max(AFFORDED, AFFORDED_A_ROW * mind.rows)
        if mind.doubts.pending(mind.memory.newest_ms, place.time_ms) >= part * afforded:
            return "should scores be right to be sure, it has cost what it may before labels come"
        return ""

    def _of_a_change(self, place: Place) -> None:
        mind = self._mind
        if mind.unsure or not mind.has_changed or mind.labels_now or not mind.labels_ever:
            return
        known, left = mind.regimes.known, mind.regimes.left
        if mind.regimes.now in known or left not in known:
            return
        then, rows = known[left].sample, mind.recent.rows
        if len(rows) < FEWEST:
            return  # the change lies within the newest batch, and no guess was made yet
        p = fits(rows, Sample(then, len(then)))
        if p >= CHANGED_P:
            return
        what = "draw scores towards the base rate until labels of the change come"
        # How often was it right to doubt?
        harmful, harmless = mind.judged
        if not self._lend(UNSURE * (1 + harmful) / (1 + harmful + harmless), what, place):
            return
        mind.unsure = True
        self._told(place, f"the change is sure (p {p:.1g}) and no label of it has come", p=p)

    def _of_reach(self, place: Place) -> None:
        mind = self._mind
        is_due = mind.batches // EVERY > (mind.batches - mind.newest) // EVERY
        if mind.reach is None or not is_due or (mind.unsure and not mind.labels_now):
            return
        least, most = mind.reach
        rows = mind.recent.rows
        if len(rows) < FEWEST:
            return
        beyond = np.maximum((rows < least).mean(axis=0), (rows > most).mean(axis=0))
        feature = int(beyond.argmax())
        share = float(beyond[feature])
        if share < (ENOUGH if mind.is_beyond else BEYOND):
            if mind.is_beyond:
                self._end(
                    place, f"{1 - share:.0%} of the newest rows lie where labels have come for"
                )
            return
        what = "draw scores towards the base rate while rows lie beyond those that have labels"
        if self._lend(UNSURE * share, what, place) and not mind.is_beyond:
            mind.is_beyond = True
            name = self._features[feature]
            self._told(
                place, f"{share:.0%} of the newest rows lie beyond nearly all labelled ones: {name}"
            )

    def _lend(self, share: float, what: str, place: Place) -> bool:
        pool = self._mind.pool
        if pool.earned.get(BASE_RATE, 0.0) >= share:
            return False  # labels gave it more
        if not self._consent.given(BASE_RATE, self._mind.regimes.now, what, place, ask=True):
            return False
        if BASE_RATE not in pool.states:
            pool.put(BASE_RATE, self._state)
        if pool.lent is None or abs(share - pool.lent[1]) >= STEP:
            pool.lend(BASE_RATE, share)
        return True

    def _end(self, place: Place, why: str) -> None:
        self._mind.pool.take_back()
        self._mind.is_beyond = False
        self._say(
            place,
            "heal-withdrawn",
            f"{why}: scores are drawn towards the base rate no longer",
            weights=self._mind.pool.weights,
        )

    def _told(self, place: Place, why: str, **found: float) -> None:
        self._say(
            place,
            "less-sure",
            f"{why}: scores are drawn towards the base rate until labels come",
            weights=self._mind.pool.weights,
            **found,
        )
