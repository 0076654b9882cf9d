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

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from consumer import metrics
from consumer.columns import Labelled
from consumer.errors import RegistryError
from consumer.events import Events
from consumer.evidence import Evidence
from consumer.experts.base import Learning, State
from consumer.experts.base import Memory as ExpertMemory
from consumer.hedge import gate, probes, weights
from consumer.hedge.change import Change
from consumer.hedge.changes import Changes
from consumer.hedge.consent import Consent
from consumer.hedge.doubt import Doubt
from consumer.hedge.due import Budget, Request
from consumer.hedge.guess import Guesser
from consumer.hedge.healer import HARMS, Heal, Healer, HealRequest
from consumer.hedge.memory import in_order, relabelled
from consumer.hedge.mind import Mind
from consumer.hedge.pool import Pool
from consumer.hedge.probes import Probes
from consumer.hedge.process import HealingProcess
from consumer.hedge.unlabelled import Unlabelled
from consumer.mixture import FROZEN, Mixture, flat
from consumer.model_directory import Model
from consumer.outputs import Outputs
from consumer.policy import Idle, Memories, MonitorBatch, Policy
from consumer.registry import InForce, Place, Registry
from consumer.segments import Segments
from consumer.settings import Settings
from consumer.worker import HealResult

# With so many labelled rows and so little skill, there is no signal left to heal towards.
SIGNAL_ROWS, SIGNAL_SKILL = 300, 0.1


class Hedge(Policy):
    """Used from the loop's thread only; experts learn on the worker's."""

    remembers = True

    def __init__(
        self, settings: Settings, model: Model, registry: Registry, events: Events, out: Outputs
    ) -> None:
        self._segments = Segments(settings.segments, model.features)
        self._process: HealingProcess | None = None
        if settings.heal.mode == "threaded" and model.directory is not None:
            self._process = HealingProcess(settings, model)
        healer = self._process or Healer(Mixture(model), self._segments, model.trained)
        here = self._process is None
        super().__init__(settings, model, registry, events, out, healer, heals_on_thread=here)
        self._mixture = Mixture(model)
        self._guesser = Guesser(model, self._mixture)
        self._probes = None
        if model.trained is not None and model.manifest.reference.outputs:
            self._probes = Probes(self._mixture.base, model.trained)
        self._budget = Budget(settings.heal.max_per_hour)
        self._consent = Consent(self.control, self._say)
        self._begin(Pool())

    def _begin(self, pool: Pool) -> None:
        """With nothing in mind but who is admitted."""
        model, say = self._model, self._say
        mind = Mind(pool, probes.watched(model, outputs=self._probes is not None))
        self._mind = mind
        self._changes = Changes(
            mind,
            self._probes,
            self._mixture.lasting,
            model.manifest,
            self._consent,
            self._out,
            say,
        )
        sd = np.asarray(model.manifest.reference.sd, np.float64)
        self._unlabelled = Unlabelled(mind, self._guesser, sd, self._consent, say)
        self._doubt = Doubt(mind, self._mixture, model.features, self._consent, say)
        self._pending: list[Labelled] = []  # joined since the last batch ended
        self._request: Request | None = None  # the heal in flight
        self._asked: Request | None = None

    # --- What it is told ---

    def start(self, deployed: InForce | None) -> None:
        """Begin with what was deployed last, or with the frozen model alone."""
        if deployed is None:
            deployed = InForce(self._base(), {FROZEN: 1.0})
        elif not deployed.weights:  # another policy's
            deployed = InForce(deployed.snapshot, {FROZEN: 1.0})
        self.follow(deployed)

    def take_charge(self) -> None:
        """Of several replicas this one heals from now on."""
        super().take_charge()
        if self._process is not None:
            with suppress(OSError):  # the heal that asks for it says so
                self._process.start()

    def close(self, timeout_s: float) -> None:
        """End the worker; a heal in flight is discarded whole."""
        super().close(timeout_s)
        if self._process is not None:
            self._process.close()

    def follow(self, deployed: InForce) -> None:
        """Another replica has deployed."""
        if deployed.weights:
            self.deployed = deployed
            self._mind.pool.take(deployed)

    @property
    def _drifts(self) -> bool:
        return self._alarm or self._mind.is_open

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
        self._mind.memory.correct(rows)
        self._mind.ripening.correct(rows)
        self._pending = [relabelled(each, rows) for each in self._pending]

    def batch_ended(self, batches: Sequence[MonitorBatch], idle: Idle) -> None:
        """Weigh, look for a change, answer it, and ask for a heal where there is enough new."""
        if not self.heals_here:
            return
        place, now_ms = batches[-1].place, batches[-1].start_ms
        changes = [self._weigh(place), *self._changes.look(batches)]
        for start_ms, change in filter(None, changes):
            self._changes.begin(start_ms, change, place, self.deployed)
        self._changes.doubt(place, self.deployed)
        self._doubt.charge(batches)
        if not self.control.pinned:
            self._recognise(place)
            self._unlabelled.guess(place)
            self._doubt.look(place)
            self._put_in_force(place)
        self._unlabelled.remember(place, self.deployed)
        self._doubt.remember(place, self.deployed)
        if self._may_heal(now_ms, place):
            self._heal(place, now_ms, idle)
        self._move(place)

    def _say(
        self, place: Place, kind: str, message: str, /, detail: str = "", **fields: Any
    ) -> None:
        """With the regime that it is said in: what is healed is linked to the change by it."""
        of = {"regime": self._mind.regimes.now}
        super()._say(place, kind, message, detail=detail, **of | fields)

    # --- Labels ---

    def _weigh(self, place: Place) -> tuple[int, Change] | None:
        """Let the weights follow what labels say; the change that their loss shows."""
        pending, self._pending = self._pending, []
        for rows in pending:
            self._mind.memory.add(rows)
            self._mind.labels_ever = True
        pending = self._ripe(pending, place.time_ms)
        # At once: a restart brings them back in other parts.
        self._unlabelled.judge(pending)
        self._doubt.judge(pending)
        mine, others = [], []
        for rows in pending:
            regime = self._mind.regimes.of(rows.event_time)
            is_mine = regime == self._mind.regimes.now
            mine.append(rows.only(is_mine))
            # Of an earlier one: they count as long as nobody knows that this one is another.
            others.append(rows.only(~is_mine & ~self._mind.regimes.are_other(regime)))
        if any(map(len, others)):
            self._follow(others, place)
        mine = [rows for rows in mine if len(rows)]
        if not mine:
            return None
        # But of rows that lie beyond theirs they say nothing.
        if not self._mind.is_beyond:
            self._mind.pool.keep_lent()
        mean, weighed, frauds = self._follow(mine, place)
        count = sum(map(len, mine))
        self._mind.labels_now += count
        self._mind.mine.add(count)
        first_ms = min(int(rows.event_time.min()) for rows in mine)
        return self._mind.loss.add(mean, weighed, frauds, first_ms)

    def _ripe(self, pending: Sequence[Labelled], now_ms: int) -> list[Labelled]:
        """Rows to be counted from now on."""
        mind = self._mind
        ripe = mind.ripening.take(pending, now_ms)
        mind.count_until()
        for rows in ripe:
            mind.all.add(len(rows))
        return ripe

    def _follow(self, labelled: Sequence[Labelled], place: Place) -> tuple[float, int, int]:
        """Weigh by these rows; the mixture's mean loss on them, how many, and how many fraud."""
        x, y, weight = in_order(labelled)
        pool = self._mind.pool
        p = self._mixture.probabilities(x, {name: pool.states[name] for name in pool.earned})
        mixed = weights.of(pool.earned) @ p
        before = pool.earned[FROZEN]
        pool.follow(p, y, weight / weight.mean(), changed=self._mind.has_changed)
        is_back = before < 0.5 <= pool.earned[FROZEN]
        if self.heals and is_back and not self.control.pinned:
            self._rolled_back(place, before)
        mean = float(np.average(weights.loss(mixed, y), weights=weight))
        return round(mean, 6), len(y), int(y.sum())

    def _rolled_back(self, place: Place, before: float) -> None:
        self.rolled_back = True
        self.rollbacks += 1
        self._say(
            place,
            "rollback",
            "the frozen model decides again: labels speak against what was healed",
            restored_version=self.deployed.version,
            reasons=[
                f"weight of the frozen model {before:.3f} -> {self._mind.pool.earned[FROZEN]:.3f}"
            ],
            weights=self._mind.pool.weights,
        )
        self._move(place)

    def _recognise(self, place: Place) -> None:
        """Take back what was in force in a regime whose features looked like these."""
        found = self._changes.recognise()
        if found is None:
            return
        is_guess = self._unlabelled.expert is not None
        self.deployed = InForce(found.in_force.snapshot, self._mind.pool.counting, is_guess)
        self._out.deployed.append(self.deployed)
        self._put_in_force(place, f"regime {found.number} is back")
        self._say(
            place,
            "regime-recognised",
            f"regime {found.number} is back (p {found.p:.2g}): v{self.deployed.version} with the "
            "weights of then is in force",
            alarm_id=found.alarm_id,
            regime=found.number,
            p=found.p,
            version=self.deployed.version,
            weights=self._mind.pool.weights,
        )

    # --- Heals ---

    @property
    def healing(self) -> bool:
        """Is a heal under way?"""
        return self._request is not None

    def _may_heal(self, now_ms: int, place: Place) -> bool:
        """Are there enough labelled rows that are new, and is there a heal left in this hour?"""
        if self._request is not None or not (self._mind.mine.is_due or self._mind.all.is_due):
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
        self._changes.confirm(place)
        wanted: list[ExpertMemory] = []
        if self._mind.mine.is_due:
            self._mind.mine.fresh = 0
            wanted.append("regime")
        if self._mind.all.is_due:
            self._mind.all.fresh = 0
            wanted.append("all")
        if self._submit(Request(place, self._mind.regimes.now, wanted)):
            self._budget.spend(now_ms)
            self._move(place)
            if self._inline:
                self.settle(idle)

    def _submit(self, request: Request) -> bool:
        rows: dict[ExpertMemory, Learning] = {}
        for wanted in request.wanted:
            of_regime = wanted == "regime"
            memory = self._mind.memory
            found = memory.learning(self._mind.regimes.spans()) if of_regime else memory.all()
            if found is not None and not gate.enough(found.y, changed=self._mind.has_changed):
                rows[wanted] = found
        if not rows:
            return False
        self._request = request
        pool = dict(self._mind.pool.states)
        newest = self._mind.recent.rows
        self._worker.submit(HealRequest(rows, pool, self._mind.batches, newest))
        return True

    def _finish(self, result: HealResult) -> None:
        assert self._request is not None
        request, self._request = self._request, None
        place = request.place
        heal: Heal | None = result.healed
        is_late = request.regime != self._mind.regimes.now
        if heal is not None and heal.reach is not None:
            self._mind.reach = heal.reach
        if heal is not None and is_late:
            heal = heal.only(self._mixture.lasting)
        elif heal is not None and not self.control.pinned:
            self._put_out(place, heal)
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
                self._mind.is_open = self._mind.is_open and is_late
            self._signal(place, heal)
        self._move(place)

    def _put_out(self, place: Place, heal: Heal) -> None:
        """Who harms a segment has no weight any more, whatever the others gain by it."""
        pool = self._mind.pool
        gone = [name for name in heal.harmful if name in pool.states and name not in heal.states]
        if not gone:
            return
        for name in gone:
            pool.leave(name)
        self._put_in_force(place)
        self._say(
            place,
            "heal-withdrawn",
            f"{', '.join(gone)}: a segment fares worse with it than with the frozen model",
            detail="segment",  # a guess may have been withdrawn there, batches ago
            reasons=[f"{name} {HARMS}{', '.join(heal.harmful[name])}" for name in gone],
            weights=pool.weights,
        )

    def _deploy_heal(
        self, place: Place, states: Mapping[str, State], told: Mapping[str, Any], **by: Any
    ) -> bool:
        """Admit what the gate, with the figures `told`, has let pass; False where it is refused."""
        parent, mind = self.deployed.version, self._mind
        evidence = {
            each["expert"]: gate.evidence(each["rows"], each["gain"], each["error"])
            for each in told["gate"]
            if each["expert"] in states
        }
        new = {name: e for name, e in evidence.items() if name not in mind.pool.states}
        # What the others' weights say is of numbers of another regime, until they have learnt once.
        known = {*new, *self._mixture.lasting}
        again = {name: e for name, e in evidence.items() if name not in known}
        for name, state in states.items():
            mind.pool.put(name, state)
        if new:
            mind.pool.admit(new, changed=mind.has_changed)
        if again and mind.has_changed and not (mind.is_recognised or mind.has_learnt):
            mind.pool.learnt_anew(again)
        mind.has_learnt = mind.has_learnt or not states.keys() <= {*self._mixture.lasting}
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
            weights=self._mind.pool.weights,
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
            self._mind.is_open = False

    def _restore(self, in_force: InForce) -> None:
        weights = dict(in_force.weights) or {FROZEN: 1.0}
        found = InForce(in_force.snapshot, weights, in_force.provisional)
        self._mind.pool.return_to(found)
        super()._restore(found)

    def _discard(self, place: Place, why: str, told: dict[str, Any]) -> None:
        self._say(place, "heal-discarded", f"heal discarded: {why}", reason=why, **told)

    def _signal(self, place: Place, heal: Heal) -> None:
        if self._mind.signal_lost or heal.rows < SIGNAL_ROWS:
            return
        if heal.skill is None or heal.skill >= SIGNAL_SKILL:
            return
        self._mind.signal_lost = True
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
        snapshot, provisional = self.deployed.snapshot, self._unlabelled.expert is not None
        if self._mind.pool.is_new:
            try:
                snapshot = self._snapshot(
                    "pool",
                    flat(self._mind.pool.states),
                    parent=self.deployed.version,
                    reason=reason,
                    place=place,
                )
            except RegistryError as error:
                self._mind.pool.return_to(self.deployed)
                self._discard(place, str(error), {})
                return False
        elif provisional == self.deployed.provisional and not self._mind.pool.has_moved(
            self.deployed.weights
        ):
            return True
        self._mind.pool.is_new = False
        self.deployed = InForce(snapshot, self._mind.pool.counting, provisional)
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
        self._mind.memory.drop(partition)
        self._mind.ripening.drop(partition)
        self._pending = [rows for rows in self._pending if rows.partition != partition]
        self._mind.recent.drop(partition)

    def retire(self) -> None:
        """Another replica heals from now on: what was in mind here is its."""
        self.heals_here = False
        if self._request is not None:
            self.drop(self._request.place.partition, "another replica heals now")
        if self._process is not None:
            self._process.close()
        self._begin(self._mind.pool)

    def bring_back(self, rows: Labelled | None, unweighed: int) -> None:
        """Labelled rows of a partition as its last commit left them, the last ones not weighed."""
        if rows is None:
            return
        known = max(0, len(rows) - unweighed)
        self._mind.memory.add(rows.rows(0, known))
        self._mind.ripening.bring_back(rows.rows(0, known))
        if unweighed:
            self._pending.append(rows.rows(known, len(rows)))

    def remembered(self, partition: int) -> tuple[int, int]:
        """Labelled rows that a restart has to bring back, and how many of them are not weighed."""
        waiting = sum(len(rows) for rows in self._pending if rows.partition == partition)
        return self._mind.memory.count(partition) + waiting, waiting

    def checkpoint(self) -> dict[str, Any]:
        """What `take_over` needs, but for its memories."""
        return {
            **super().checkpoint(),
            "hedge": {
                **self._mind.state(),
                "budget": [self._budget.begun, self._budget.is_spent],
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
        self._mind.load(mine, memories, self.deployed)
        self._budget.begun, self._budget.is_spent = mine["budget"]
        self._consent.load(memories.snapshots)
        asked = mine["request"]
        if asked is not None:
            self._asked = Request(Place(**asked["place"]), asked["regime"], asked["wanted"])

    def resume(self) -> None:
        """Ask again for a heal that was open at the last commit, once its rows are back."""
        asked, self._asked = self._asked, None
        if asked is not None and not self._submit(asked):
            self._move(asked.place)
