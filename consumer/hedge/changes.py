"""Regimes begin, are recognised, and are taken back: what counts as a change, and what as none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from consumer import states
from consumer.hedge import judge, regimes
from consumer.hedge.change import Change
from consumer.hedge.consent import Consent
from consumer.hedge.due import Due
from consumer.hedge.mind import Mind
from consumer.hedge.probes import Probes
from consumer.hedge.record import DISTRUST
from consumer.hedge.regimes import Known
from consumer.manifest import Manifest
from consumer.outputs import Outputs
from consumer.policy import MonitorBatch
from consumer.reference import Sample, fits
from consumer.registry import REGIME, InForce, Place

# Batches since a change after which the regimes that were left are compared with it.
RECOGNISE_AT = (1, 2, 3, 5, 8)
# The regime just left is the likeliest to look the same a moment later: not before so many.
LEFT_FROM = 5
BASE_RATE = "base_rate"
CHANGED_P = 1e-4  # at most so likely rows are those of a regime: they are surely not
# Of a batch's many thousand rows so many, evenly spread, are passed through the network once more:
# they tell a mean well enough.
PROBED = 1_000


class Recognised(NamedTuple):
    """A regime that is back."""

    number: int
    p: float  # of its rows and today's being of one regime
    alarm_id: str
    in_force: InForce


class Changes:
    """Of what features and labelled losses show."""

    def __init__(
        self,
        mind: Mind,
        probes: Probes | None,
        lasting: Collection[str],
        manifest: Manifest,
        consent: Consent,
        out: Outputs,
        say: Callable[..., None],
    ) -> None:
        """`lasting`: experts that learn from every regime.

        `say(place, action, message, **fields)`: an event.
        """
        self._mind = mind
        self._probes = probes
        self._lasting = lasting
        self._manifest = manifest
        self._consent = consent
        self._out = out
        self._say = say

    def look(self, batches: Sequence[MonitorBatch]) -> list[tuple[int, Change]]:
        """Take features of batches; the changes that they show, and when each began."""
        mind, found = self._mind, []
        mind.newest = len(batches)
        for later, batch in zip(reversed(range(len(batches))), batches, strict=True):
            mind.batches += 1
            mind.rows += len(batch)
            mind.recent.add(batch)
            change = self._shown(batch)
            if change is not None:
                start_ms = mind.recent.start_ms(change.batches)
                found.append((start_ms, replace(change, batches=change.batches + later)))
        return found

    def _shown(self, batch: MonitorBatch) -> Change | None:
        means = batch.x.mean(axis=0, dtype=np.float64)
        rows = np.full(len(means), len(batch), np.float64)
        if self._probes is not None:
            outputs = self._probes(batch.x[:: -(-len(batch) // PROBED)])
            means = np.concatenate([means, outputs.mean(axis=0)])
            rows = np.concatenate([rows, np.full(outputs.shape[1], len(outputs))])
        return self._mind.columns.add(means, rows, part=batch.part)

    def begin(self, start_ms: int, change: Change, place: Place, left: InForce) -> None:
        """A new regime began at `start_ms`: what was in force may come back one day."""
        mind = self._mind
        self._consent.void(place)
        old = mind.recent.cut(change.batches or mind.recent.since(start_ms))
        new = len(mind.recent)
        if mind.pool.lent_to(BASE_RATE):
            mind.pool.take_back()  # what was doubted then is no part of it
        if len(old) >= LEFT_FROM + 3:
            is_guess = mind.pool.lent is not None
            in_force = InForce(left.snapshot, mind.pool.weights, is_guess)
            self._keep(Known(np.concatenate(old), in_force))
        mind.regimes.change(start_ms, change.raised)
        mind.regime_began(new)
        mind.pool.leave(BASE_RATE)
        now = mind.regimes.now
        self._say(
            place,
            "regime-changed",
            f"regime {now} began {new} batches ago: {'; '.join(change.why)}",
            alarm_id=_alarm(now),
            reasons=list(change.why),
            regime=now,
            left=mind.regimes.left,
            since_ms=start_ms,
        )

    def confirm(self, place: Place) -> None:
        """Take back changes that labels do not confirm: rows before them teach again."""
        mind = self._mind
        now, newest_ms = mind.regimes.now, mind.memory.newest_ms
        for span, before, mine in list(mind.regimes.open_changes()):
            if newest_ms < span.start_ms:
                break  # nor has a label come of any later one
            none = judge.harmless(
                mind.memory.losses(before),
                mind.memory.losses([mine]),
                ended=mine[1] <= newest_ms,
            )
            if none is None:
                continue
            span.judged = True
            mind.judged[none] += 1
            if not none:
                mind.regimes.confirm(span)
                continue
            mind.columns.suppress(span.raised)
            gone = mind.regimes.merge(span)
            if mind.regimes.known.pop(gone, None) is not None:
                self._forget(gone)
            self._say(
                place,
                "change-withdrawn",
                f"regime {gone} is regime {span.number}: on labelled rows nothing that the models "
                "know has changed",
                alarm_id=_alarm(gone),
                regime=gone,
                is_regime=span.number,
            )
        if mind.regimes.now != now:
            mind.is_open = False
            mind.labels_now = mind.labelled
            mind.mine = Due(mind.labels_now, fresh=mind.labels_now)

    def recognise(self) -> Recognised | None:
        """The regime whose features looked like these, where one did: the present one from now."""
        mind = self._mind
        if not mind.regimes.known or not mind.comes_to(RECOGNISE_AT) or not mind.recent:
            return None
        if not mind.regimes.raised:
            return None  # labels alone told it from the one before: features cannot
        found = mind.regimes.recognise(mind.recent.rows, with_left=mind.age >= LEFT_FROM)
        if found is None:
            return None
        number, p = found
        alarm = _alarm(mind.regimes.now)
        if number == mind.regimes.left:  # for a moment only
            mind.columns.suppress(mind.regimes.raised)
            mind.judged[True] += 1
        known = mind.regimes.back(number)
        mind.is_open, mind.is_recognised = False, True
        mind.mine = Due(mind.labelled)
        # Numbers of then, but for those that have gone on to learn from all since.
        mind.pool.take(known.in_force, self._lasting)
        if mind.pool.lent is not None and mind.guesses.nats <= DISTRUST / 2:
            mind.pool.take_back()  # to a guess, and labels have spoken against such since
        return Recognised(number, p, alarm, known.in_force)

    def doubt(self, place: Place, in_force: InForce) -> None:
        """A few rows may look like a regime that more of them are not of: it is another then."""
        mind = self._mind
        now = mind.regimes.now
        if not mind.is_recognised or not mind.comes_to(RECOGNISE_AT):
            return
        if now not in mind.regimes.known or not mind.recent:
            return
        then = mind.regimes.known[now].sample
        p = fits(mind.recent.rows, Sample(then, len(then)))
        if p < CHANGED_P:
            why = [f"the rows are not those of regime {now} after all (p {p:.1g})"]
            change = Change(len(mind.recent), why, mind.regimes.raised)
            self.begin(mind.regimes.start_ms, change, place, in_force)
            mind.labels_now = mind.labelled

    def _keep(self, known: Known) -> None:
        now = self._mind.regimes.now
        for number in self._mind.regimes.leave(known):
            self._forget(number)
        value = known.to_bytes()
        about = regimes.record(
            known, self._manifest.model_version, self._manifest.base_sha256, states.sha256(value)
        )
        self._out.registry.append((f"{REGIME}{now}", value, about))

    def _forget(self, number: int) -> None:
        self._out.registry.append((f"{REGIME}{number}", None, b"{}"))


def _alarm(regime: int) -> str:
    """What every event about one change is found by."""
    return f"change-{regime}"
