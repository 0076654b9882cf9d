"""The policy `hedge`: experts weighed by evidence, over the regimes that a stream goes through.

    monitor batch ends ─ labels joined since ─▶ weights ─▶ did the loss change?
                       ─ features ───────────▶ did they change? ─▶ a new regime: only its rows teach
                                               ─ has it been here before? ─▶ what was in force then
                                               ─ did all rows only move? ──▶ alignment, provisional
                       ─ enough new labels ──▶ worker: experts learn ─ gate ─▶ admitted to the pool

An admitted expert is one more member of the mixture; rolling back is its weight leaving. The frozen
model is always a member.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from consumer import metrics, states
from consumer.columns import Float64, Labelled
from consumer.errors import RegistryError
from consumer.events import Events
from consumer.evidence import Evidence
from consumer.experts.base import Learning, State
from consumer.experts.base import Memory as ExpertMemory
from consumer.hedge import gate, judge, probes, regimes, weights
from consumer.hedge.change import Change, LabelledLoss
from consumer.hedge.consent import Consent
from consumer.hedge.due import Budget, Due, Request
from consumer.hedge.guess import GUESSES, Guess, Guesser
from consumer.hedge.healer import Heal, HealRequest
from consumer.hedge.memory import Memory, in_order, relabelled
from consumer.hedge.pool import Pool
from consumer.hedge.probes import Probes
from consumer.hedge.recent import Recent
from consumer.hedge.regimes import Known, Regimes
from consumer.mixture import FROZEN, Mixture, flat
from consumer.model_directory import Model
from consumer.outputs import Outputs
from consumer.policy import Idle, Memories, MonitorBatch, Policy
from consumer.reference import Sample, fits
from consumer.registry import REGIME, InForce, Place, Registry
from consumer.segments import Segments
from consumer.settings import Settings
from consumer.worker import HealResult

BASE_RATE = "base_rate"
# Batches since a change after which the regimes that were left are compared with it.
RECOGNISE_AT = (1, 2, 3, 5, 8)
# The regime just left is the likeliest to look the same a moment later: not before so many.
LEFT_FROM = 5
# What an expert without a label gets: all but a trace, or the change would decide anyway.
PROVISIONAL = 0.998
UNSURE = 0.4  # of the base rate, where nothing else is known
CHANGED_P = 1e-4  # at most so likely rows are those of the regime before: the change is sure
GUESSED_ROWS = 100  # fewer look like anything
ABSTAIN_FROM = 3  # batches after a change
# With so many labelled rows and so little skill, there is no signal left to heal towards.
SIGNAL_ROWS, SIGNAL_SKILL = 300, 0.1


class Hedge(Policy):
    """Used from the loop's thread only; experts learn on the worker's."""

    remembers = True

    def __init__(
        self, settings: Settings, model: Model, registry: Registry, events: Events, out: Outputs
    ) -> None:
        # The worker has one of its own: while an expert's numbers pass through a network, it holds
        # them in place of its own, for every thread.
        super().__init__(settings, model, registry, events, out, Mixture(model))
        self._mixture = Mixture(model)
        reference = model.manifest.reference
        self._sd: Float64 = np.asarray(reference.sd, np.float64)
        self._guesser = Guesser(model, self._mixture)
        self._probes = None
        if model.trained is not None and reference.outputs:
            self._probes = Probes(self._mixture.base, model.trained)
        self._segments = Segments(settings.segments, model.features)
        self._budget = Budget(settings.heal.max_per_hour)
        self._pool = Pool()
        self._consent = Consent(self.control, self._say)
        self._labels_now = 0
        self._is_open: bool
        self._pending: list[Labelled]
        self._recent: Recent
        self._mine: Due
        self._all: Due
        self._request: Request | None
        self._asked: Request | None
        self._forget()

    # --- What it is told ---

    def start(self, deployed: InForce | None) -> None:
        """Begin with what was deployed last, or with the frozen model alone."""
        if deployed is None:
            deployed = InForce(self._base(), {FROZEN: 1.0})
        elif not deployed.weights:  # another policy's
            deployed = InForce(deployed.snapshot, {FROZEN: 1.0})
        self.follow(deployed)

    def follow(self, deployed: InForce) -> None:
        """Another replica has deployed."""
        if deployed.weights:
            self.deployed = deployed
            self._pool.take(deployed)

    @property
    def _drifts(self) -> bool:
        return self._alarm or self._is_open

    def labelled_batch(self, evidence: Evidence, idle: Idle) -> None:
        """Only its figures are said: what labels teach was learnt when they came."""
        rows = evidence.rows
        score = self._scorer.in_force(rows.x, self.deployed)
        in_force = metrics.figures(score, rows.is_fraud, rows.threshold)
        self._labelled_event(evidence, "none", in_force)

    def joined(self, rows: Labelled) -> None:
        """Keep rows until the batch ends."""
        if self.heals_here:
            self._pending.append(rows)

    def corrected(self, rows: Labelled) -> None:
        """Learn the new label from the next heal on."""
        self._memory.correct(rows)
        self._pending = [relabelled(each, rows) for each in self._pending]

    def batch_ended(self, batch: MonitorBatch, idle: Idle) -> None:
        """Weigh, look for a change, answer it, and ask for a heal where there is enough new."""
        if not self.heals_here:
            return
        self._batches += 1
        place = batch.place
        changes = [self._weigh(place), self._look(batch)]
        for start_ms, change in filter(None, changes):
            self._change(start_ms, change, place)
        if not self.control.pinned:
            self._recognise(place)
            self._guess(place)
            self._doubt(place)
            self._put_in_force(place)
        if self._may_heal(batch.start_ms, place):
            self._heal(place, batch.start_ms, idle)
        self._move(place)

    # --- Labels ---

    def _weigh(self, place: Place) -> tuple[int, Change] | None:
        """Let the weights follow what labels say; the change that their loss shows."""
        pending, self._pending = self._pending, []
        for rows in pending:
            self._memory.add(rows)
            self._all.add(len(rows))
            self._labels_ever = True
        mine, others = [], []
        for rows in pending:
            regime = self._regimes.of(rows.event_time)
            is_mine = regime == self._regimes.now
            mine.append(rows.only(is_mine))
            # Of an earlier one: they count as long as nobody knows that this one is another.
            others.append(rows.only(~is_mine & ~self._regimes.are_other(regime)))
        if any(map(len, others)):
            self._follow(others, place)
        mine = [rows for rows in mine if len(rows)]
        if not mine:
            return None
        self._pool.keep_lent()
        mean, count, frauds = self._follow(mine, place)
        self._labels_now += count
        self._mine.add(count)
        first_ms = min(int(rows.event_time.min()) for rows in mine)
        return self._loss.add(mean, count, frauds, first_ms)

    def _follow(self, labelled: Sequence[Labelled], place: Place) -> tuple[float, int, int]:
        """Weigh by these rows; the mixture's mean loss on them, how many, and how many fraud."""
        x, y, weight = in_order(labelled)
        pool = self._pool
        p = self._mixture.probabilities(x, {name: pool.states[name] for name in pool.earned})
        mixed = weights.of(pool.earned) @ p
        before = pool.earned[FROZEN]
        pool.follow(p, y, weight / weight.mean())
        is_back = before < 0.5 <= pool.earned[FROZEN]
        if self.heals and is_back and not self.control.pinned:
            self._rolled_back(place, before)
        return round(float(weights.loss(mixed, y).mean()), 6), len(y), int(y.sum())

    def _rolled_back(self, place: Place, before: float) -> None:
        self.rolled_back = True
        self.rollbacks += 1
        self._say(
            place,
            "rollback",
            "the frozen model decides again: labels speak against what was healed",
            restored_version=self.deployed.version,
            reasons=[f"weight of the frozen model {before:.3f} -> {self._pool.earned[FROZEN]:.3f}"],
            weights=self._pool.weights,
        )
        self._move(place)

    # --- Changes ---

    def _look(self, batch: MonitorBatch) -> tuple[int, Change] | None:
        """Take a batch's features; the change they show."""
        self._recent.add(batch)
        means = batch.x.mean(axis=0, dtype=np.float64)
        if self._probes is not None:
            means = np.concatenate([means, self._probes(batch.x).mean(axis=0)])
        change = self._columns.add(means, len(batch))
        if change is None:
            return None
        return self._recent.start_ms(change.batches), change

    def _change(self, start_ms: int, change: Change, place: Place) -> None:
        """A new regime began at `start_ms`: what was in force may come back one day."""
        self._consent.void(place)
        old, new = self._recent.cut(start_ms), len(self._recent)
        left = self._regimes.now
        if len(old) >= LEFT_FROM + 3:
            self._keep(
                Known(np.concatenate(old), InForce(self.deployed.snapshot, self._pool.weights))
            )
        self._regimes.change(start_ms, change.raised)
        self._changed_at = self._batches - new
        self._columns.cut(new)
        self._loss.cut()
        self._labels_now = 0
        self._mine = Due(self._memory.count_in(self._regimes.spans()))
        self._unsure = self._abstained = self._signal_lost = False
        self._is_open = True
        self._pool.leave(BASE_RATE)
        self._say(
            place,
            "regime-changed",
            f"regime {self._regimes.now} began {new} batches ago: {'; '.join(change.why)}",
            alarm_id=_alarm(self._regimes.now),
            reasons=list(change.why),
            regime=self._regimes.now,
            left=left,
            since_ms=start_ms,
        )

    def _confirm(self, place: Place) -> None:
        """Take back changes that labels do not confirm: rows before them teach again."""
        now, newest_ms = self._regimes.now, self._memory.newest_ms
        for span, before, mine in list(self._regimes.open_changes()):
            if newest_ms < span.start_ms:
                break  # nor has a label come of any later one
            none = judge.harmless(
                self._memory.losses(before),
                self._memory.losses([mine]),
                ended=mine[1] <= newest_ms,
            )
            if none is None:
                continue
            span.judged = True
            self._judged[none] += 1
            if not none:
                self._regimes.confirm(span)
                continue
            self._columns.suppress(span.raised)
            gone = self._regimes.merge(span)
            if self._regimes.known.pop(gone, None) is not None:
                self._forget_regime(gone)
            self._say(
                place,
                "change-withdrawn",
                f"regime {gone} is regime {span.number}: on labelled rows nothing that the models "
                "know has changed",
                alarm_id=_alarm(gone),
                regime=gone,
                is_regime=span.number,
            )
        if self._regimes.now != now:
            self._is_open = False
            rows = self._memory.count_in(self._regimes.spans())
            self._mine = Due(rows, fresh=rows)
            self._labels_now = rows

    def _forget_regime(self, number: int) -> None:
        self._out.registry.append((f"{REGIME}{number}", None, b"{}"))

    def _keep(self, known: Known) -> None:
        now = self._regimes.now
        for number in self._regimes.leave(known):
            self._forget_regime(number)
        value = known.to_bytes()
        manifest = self._model.manifest
        about = regimes.record(
            known, manifest.model_version, manifest.base_sha256, states.sha256(value)
        )
        self._out.registry.append((f"{REGIME}{now}", value, about))

    @property
    def _age(self) -> int:
        """Batches of the present regime; 0 where there was no change yet."""
        return self._batches - self._changed_at if self._changed_at else 0

    def _recognise(self, place: Place) -> None:
        """Take back what was in force in a regime whose features looked like these."""
        if not self._regimes.known or self._age not in RECOGNISE_AT or not self._recent:
            return
        if not self._regimes.raised:
            return  # labels alone told it from the one before: features cannot
        rows = self._recent.rows
        found = self._regimes.recognise(rows, with_left=self._age >= LEFT_FROM)
        if found is None:
            return
        number, p = found
        alarm = _alarm(self._regimes.now)
        if number == self._regimes.left:  # for a moment only
            self._columns.suppress(self._regimes.raised)
            self._judged[True] += 1
        known = self._regimes.back(number)
        self._is_open = False
        self._mine = Due(self._memory.count_in(self._regimes.spans()))
        self._pool.take(known.in_force)
        self.deployed = known.in_force
        self._out.deployed.append(self.deployed)
        self._say(
            place,
            "regime-recognised",
            f"regime {number} is back (p {p:.2g}): v{known.in_force.version} with the weights of "
            "then is in force",
            alarm_id=alarm,
            regime=number,
            p=p,
            version=known.in_force.version,
            weights=self._pool.weights,
        )

    # --- Without labels ---

    def _guess(self, place: Place) -> None:
        """Undo what all rows went through, as long as they are then as they were in training."""
        if not self._guesser.knows_training or not self._recent:
            return
        rows = self._recent.steady(self._sd)
        if len(rows) < GUESSED_ROWS:
            return
        held = self._provisional
        is_moved = self._guesser.is_moved(rows, held)
        found = self._guesser.guess(rows, held) if is_moved else None
        if found is None:
            self._unguessed(place, is_moved=is_moved)
            return
        counts = not self._labels_now and self._changed_at > 0 and found.expert != held
        asks = counts and found.is_safe
        regime = self._regimes.now
        if not self._consent.given(found.expert, regime, found.told, place, ask=asks):
            return
        self._set_guess(found)
        if not counts:
            return
        if not found.is_safe:
            self._withdraw(place)
            self._abstain(place, found.told)
            return
        self._pool.lend(found.expert, PROVISIONAL)
        self._is_open = False
        self._say(
            place,
            "heal-provisional",
            f"{found.told}: undone, provisionally",
            reasons=[found.told],
            weights=self._pool.weights,
        )

    def _abstain(self, place: Place, why: str) -> None:
        """Say once a regime that nothing can be healed without labels."""
        if self._abstained or self._age < ABSTAIN_FROM:
            return
        self._abstained = True
        self._say(
            place,
            "cannot-heal",
            f"{why}, and no label of it has come: nothing is healed until labels come",
            regime=self._regimes.now,
        )

    def _set_guess(self, found: Guess) -> None:
        held = self._pool.states.get(found.expert)
        if held is not None and not self._guesser.has_moved(found, held):
            return
        self._pool.put(found.expert, found.state)
        if held is None:
            # Its weight comes with labels, or is lent where there are none.
            self._pool.admit({found.expert: -math.inf})

    @property
    def _provisional(self) -> str | None:
        """The expert that counts though no label has confirmed it."""
        lent = self._pool.lent
        return lent[0] if lent is not None and lent[0] in GUESSES else None

    def _withdraw(self, place: Place) -> None:
        """A provisional heal makes no sense any more."""
        if self._provisional is None:
            return
        self._pool.leave(self._provisional)
        self._is_open = True
        self._say(
            place,
            "heal-withdrawn",
            "the rows no longer look as if they had only moved: the provisional heal is gone",
            weights=self._pool.weights,
        )

    def _unguessed(self, place: Place, *, is_moved: bool) -> None:
        self._withdraw(place)
        guessed = any(name in self._pool.states for name in GUESSES)
        if is_moved and self._labels_now == 0 and not guessed:
            self._abstain(place, "the stream has changed, not only moved")

    def _doubt(self, place: Place) -> None:
        """A change is sure, and labels of it are on their way: be less sure until they come."""
        if self._unsure or not self._changed_at or self._labels_now or not self._labels_ever:
            return
        if not self._recent:
            return  # the change lies within the newest batch
        known = self._regimes.known
        left = self._regimes.left
        if self._provisional or self._regimes.now in known or left not in known:
            return
        rows = self._recent.rows
        then = known[left].sample
        p = fits(rows, Sample(then, len(then)))
        if p >= CHANGED_P:
            return
        what = "draw scores towards the base rate until labels of the change come"
        if not self._consent.given(BASE_RATE, self._regimes.now, what, place, ask=True):
            return
        self._unsure = True
        self._pool.put(BASE_RATE, self._mixture.experts[BASE_RATE].cold(self._mixture.base))
        # How often was it right to doubt?
        harmful, harmless = self._judged
        self._pool.lend(BASE_RATE, UNSURE * (1 + harmful) / (1 + harmful + harmless))
        self._say(
            place,
            "less-sure",
            f"the change is sure (p {p:.1g}) and no label of it has come: scores are drawn towards "
            "the base rate until labels come",
            p=p,
            weights=self._pool.weights,
        )

    # --- Heals ---

    @property
    def healing(self) -> bool:
        """Is a heal under way?"""
        return self._request is not None

    def _may_heal(self, now_ms: int, place: Place) -> bool:
        """Are there enough labelled rows that are new, and is there a heal left in this hour?"""
        if self._request is not None or not (self._mine.is_due or self._all.is_due):
            return False
        if not self.control.may_heal:
            return False
        budget = self._budget
        if budget.allows(now_ms):
            budget.is_spent = False
            return True
        if not budget.is_spent:
            budget.is_spent = True
            self._say(
                place,
                "heal-postponed",
                f"{len(budget.begun)} heals within an hour are as many as heal.max_per_hour allows",
                heals=len(budget.begun),
            )
        return False

    def _heal(self, place: Place, now_ms: int, idle: Idle) -> None:
        self._confirm(place)
        wanted: list[ExpertMemory] = []
        if self._mine.is_due:
            self._mine.fresh = 0
            wanted.append("regime")
        if self._all.is_due:
            self._all.fresh = 0
            wanted.append("all")
        if self._submit(Request(place, self._regimes.now, wanted)):
            self._budget.spend(now_ms)
            self._move(place)
            if self._inline:
                self.settle(idle)

    def _submit(self, request: Request) -> bool:
        rows: dict[ExpertMemory, Learning] = {}
        changed = self._changed_at > 0
        for wanted in request.wanted:
            of_regime = wanted == "regime"
            memory = self._memory
            found = memory.learning(self._regimes.spans()) if of_regime else memory.all()
            if found is not None and not gate.enough(found.y, changed=changed):
                rows[wanted] = found
        if not rows:
            return False
        self._request = request
        pool = dict(self._pool.states)
        self._worker.submit(HealRequest(rows, pool, self._batches, self._segments))
        return True

    def _finish(self, result: HealResult) -> None:
        assert self._request is not None
        request, self._request = self._request, None
        place = request.place
        heal: Heal | None = result.healed
        is_late = request.regime != self._regimes.now
        if heal is not None and is_late:
            heal = heal.outlasting(self._mixture.experts)
        if heal is None:
            self._discard(place, result.reason, {})
        elif is_late and not heal.states:
            self._discard(place, "the regime has changed meanwhile", {})
        elif self.control.pinned:
            self._discard(place, "another version is pinned", heal.told)
        elif not heal.states:
            self._discard(place, heal.refused, heal.told)
            self._signal(place, heal)
        else:
            if self.control.required:
                self._ask(place, heal)
            elif self._deploy_heal(place, heal.states, heal.told):
                self._is_open = self._is_open and is_late
            self._signal(place, heal)
        self._move(place)

    def _deploy_heal(
        self, place: Place, states: Mapping[str, State], told: Mapping[str, Any], **by: Any
    ) -> bool:
        """Admit what the gate, with the figures `told`, has let pass; False where it is refused."""
        parent = self.deployed.version
        new = {
            each["expert"]: gate.evidence(each["rows"], each["gain"], each["error"])
            for each in told["gate"]
            if each["expert"] in states and each["expert"] not in self._pool.states
        }
        for name, state in states.items():
            self._pool.put(name, state)
        if new:
            self._pool.admit(new)
        if not self._put_in_force(place, f"heal: {', '.join(states)}"):
            return False
        self.heals += 1
        self.rolled_back = False
        self._say(
            place,
            "heal-deployed",
            f"healed on {told['rows']} labelled rows: {', '.join(states)} in force as "
            f"v{self.deployed.version}",
            version=self.deployed.version,
            parent=parent,
            weights=self._pool.weights,
            **told,
            **by,
        )
        return True

    # --- Approval ---

    def _ask(self, place: Place, heal: Heal) -> None:
        """A person decides: until then what was healed has no weight."""
        names = ", ".join(heal.states)
        try:
            candidate = self._snapshot(
                "candidate",
                flat(heal.states),
                parent=self.deployed.version,
                reason=f"heal: {names}; waits for approval",
                place=place,
            )
        except RegistryError as error:
            self._discard(place, str(error), heal.told)
            return
        what = f"healed on {heal.rows} labelled rows: {names}"
        self._consent.ask(place, candidate, what, heal.told)

    def _answer(self, approval_id: str, place: Place, *, approved: bool) -> None:
        waiting, states = self._consent.answer(approval_id, approved=approved)
        if waiting is None or waiting.version is None:
            return  # what was asked for permission finds it with the next batch
        if not approved or states is None:
            self._discard(place, f"{approval_id} was not approved", dict(waiting.evidence))
        elif self._deploy_heal(place, states, waiting.evidence, approval_id=approval_id):
            self._is_open = False

    def _restore(self, in_force: InForce) -> None:
        weights = dict(in_force.weights) or {FROZEN: 1.0}
        found = InForce(in_force.snapshot, weights, in_force.provisional)
        self._pool.take(found)
        super()._restore(found)

    def _discard(self, place: Place, why: str, told: dict[str, Any]) -> None:
        self._say(place, "heal-discarded", f"heal discarded: {why}", reason=why, **told)

    def _signal(self, place: Place, heal: Heal) -> None:
        if self._signal_lost or heal.rows < SIGNAL_ROWS:
            return
        if heal.skill is None or heal.skill >= SIGNAL_SKILL:
            return
        self._signal_lost = True
        self._say(
            place,
            "signal-lost",
            f"on {heal.rows} labelled rows no expert tells fraud from the rest (skill "
            f"{heal.skill:.2f}): scores are calibrated, but features that tell are gone",
            rows=heal.rows,
            skill=heal.skill,
        )

    # --- In force ---

    def _put_in_force(self, place: Place, reason: str = "alignment") -> bool:
        """Deploy numbers that are new, or weights that moved; False where a snapshot is refused."""
        snapshot, provisional = self.deployed.snapshot, self._provisional is not None
        if self._pool.is_new:
            try:
                snapshot = self._snapshot(
                    "pool",
                    flat(self._pool.states),
                    parent=self.deployed.version,
                    reason=reason,
                    place=place,
                )
            except RegistryError as error:
                self._pool.take(self.deployed)
                self._discard(place, str(error), {})
                return False
        elif provisional == self.deployed.provisional and not self._pool.has_moved(
            self.deployed.weights
        ):
            return True
        self._pool.is_new = False
        self.deployed = InForce(snapshot, dict(self._pool.weights), provisional)
        self._out.deployed.append(self.deployed)
        return True

    # --- Replicas and restarts ---

    def drop(self, partition: int, why: str) -> None:
        """Forget the rows of a partition; a heal in flight learnt from them as well."""
        if self._request is not None:
            self._worker.cancel()
            place, self._request = self._request.place, None
            self._discard(place, why, {})
            self._move(place)
        self._memory.drop(partition)
        self._pending = [rows for rows in self._pending if rows.partition != partition]
        self._recent.drop(partition)

    def retire(self) -> None:
        """Another replica heals from now on: what was in mind here is its."""
        self.heals_here = False
        if self._request is not None:
            self.drop(self._request.place.partition, "another replica heals now")
        self._forget()

    def bring_back(self, rows: Labelled | None, unweighed: int) -> None:
        """Labelled rows of a partition as its last commit left them, the last ones not weighed."""
        if rows is None:
            return
        known = max(0, len(rows) - unweighed)
        self._memory.add(rows.rows(0, known))
        if unweighed:
            self._pending.append(rows.rows(known, len(rows)))

    def remembered(self, partition: int) -> tuple[int, int]:
        """Labelled rows that a restart has to bring back, and how many of them are not weighed."""
        waiting = sum(len(rows) for rows in self._pending if rows.partition == partition)
        return self._memory.count(partition) + waiting, waiting

    def checkpoint(self) -> dict[str, Any]:
        """What `take_over` needs, but for its memories."""
        return {
            **super().checkpoint(),
            "hedge": {
                "pool": self._pool.state(),
                "features": self._columns.state(),
                "loss": self._loss.state(),
                "regimes": self._regimes.state(),
                "recent": self._recent.places(),
                "batches": self._batches,
                "changed_at": self._changed_at,
                "labels": [self._labels_ever, self._labels_now],
                "due": [self._mine, self._all],
                "judged": self._judged,
                "budget": [self._budget.begun, self._budget.is_spent],
                "said": [self._is_open, self._unsure, self._abstained, self._signal_lost],
                "request": self._request,
            },
        }

    @staticmethod
    def recent(state: Mapping[str, Any] | None) -> Sequence[tuple[int, int, int]]:
        """Monitor batches that `take_over` wants back: partition, first and last offset."""
        found = (state or {}).get("hedge", {}).get("recent", [])
        return [(partition, first, last) for partition, first, last in found]

    def take_over(self, state: Mapping[str, Any] | None, memories: Memories) -> None:
        """Go on from where the healer before us was at its last commit."""
        super().take_over(state, memories)
        if state is None or "hedge" not in state:
            return
        mine = state["hedge"]
        self._pool.load(mine["pool"], self.deployed)
        self._columns.load(mine["features"])
        self._loss.load(mine["loss"])
        self._regimes.load(mine["regimes"], memories.regimes, memories.snapshots)
        self._recent = Recent(memories.batches)
        self._batches, self._changed_at = mine["batches"], mine["changed_at"]
        self._labels_ever, self._labels_now = mine["labels"]
        self._mine, self._all = (Due(**each) for each in mine["due"])
        self._judged = list(mine["judged"])
        self._budget.begun, self._budget.is_spent = mine["budget"]
        self._is_open, self._unsure, self._abstained, self._signal_lost = mine["said"]
        self._consent.load(memories.snapshots)
        asked = mine["request"]
        if asked is not None:
            self._asked = Request(Place(**asked["place"]), asked["regime"], asked["wanted"])

    def resume(self) -> None:
        """Ask again for a heal that was open at the last commit, once its rows are back."""
        asked, self._asked = self._asked, None
        if asked is not None and not self._submit(asked):
            self._move(asked.place)

    def _forget(self) -> None:
        self._columns = probes.watched(self._model, outputs=self._probes is not None)
        self._loss = LabelledLoss()
        self._memory = Memory()
        self._regimes = Regimes()
        self._pending = []  # joined since the last batch ended
        self._recent = Recent()  # since the change
        self._batches = 0
        self._changed_at = 0  # batches, when the present regime began; 0: none ever did
        self._labels_ever = False
        self._labels_now = 0  # of the present regime
        self._mine, self._all = Due(), Due()  # of the present regime, and of all
        self._judged = [0, 0]  # changes that labels have judged: harmful ones, harmless ones
        self._is_open = False  # a change that nothing has answered yet
        self._unsure = False  # the base rate was let in, in this regime
        self._abstained = False  # and it was said that nothing can be healed
        self._signal_lost = False
        self._request = None  # the heal in flight
        self._asked = None


def _alarm(regime: int) -> str:
    """What every event about one change is found by."""
    return f"change-{regime}"
