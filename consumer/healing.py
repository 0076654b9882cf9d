"""From evidence to the adapter in force: request, heal, snapshot, watch its health, roll back.

This is the published policy (`paper`): every labelled batch under an alarm is healed on, every heal
that is finite is deployed, and the health monitor decides afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from consumer import metrics
from consumer.errors import RegistryError
from consumer.events import Events
from consumer.evidence import Evidence
from consumer.heal import Healed, Healer, Moments
from consumer.health import Health, Verdict
from consumer.model_directory import Model
from consumer.outputs import Outputs
from consumer.registry import Place, Registry, Snapshot
from consumer.score import Scorer
from consumer.settings import Settings
from consumer.threshold import Thresholds
from consumer.worker import HealRequest, HealResult, Worker

HEALTHY, DRIFTING, HEALING, ROLLED_BACK = "HEALTHY", "DRIFTING", "HEALING", "ROLLED_BACK"

# While the loop waits for an inline heal it must keep polling, or the group would evict it.
WAIT_S = 0.05
Idle = Callable[[], None]


class Healing:
    """Owns the worker, the registry and the adapter deployed; used from the loop's thread only."""

    def __init__(
        self, settings: Settings, model: Model, registry: Registry, events: Events, out: Outputs
    ) -> None:
        self._model = model
        self._registry = registry
        self._events = events
        self._out = out
        self._scorer = Scorer(model)
        self._health = Health(settings.health.window, settings.health.min_updates)
        self._inline = settings.heal.mode == "inline"
        healer = Healer(model.module, model.rules, settings.heal.steps, settings.heal.learning_rate)
        self._worker = Worker(healer, low_priority=not self._inline)
        self._in_flight: Evidence | None = None
        self._waiting: Evidence | None = None
        self._moments: Moments | None = None
        self._alarm = False
        self.state = HEALTHY
        self.deployed: Snapshot
        self.heals_here = False  # of several replicas one heals
        self.thresholds = Thresholds.of(settings)
        self.rolled_back = False
        self.heals = 0
        self.rollbacks = 0

    def start(self, deployed: Snapshot | None) -> None:
        """Begin with a restored state, or with the model's own as the first snapshot."""
        self.deployed = deployed or self._snapshot(
            "base", self._model.base_adapter, parent=None, reason="the model as trained"
        )

    def watch(self, alarm: bool, place: Place) -> None:
        """Take note whether an alarm is raised on any partition."""
        self._alarm = alarm
        self._move(place)

    def labelled_batch(self, evidence: Evidence, idle: Idle) -> None:
        """Take a labelled batch: heal on it under an alarm, else only watch its health."""
        if not (evidence.reasons and self.heals_here):
            self._without_heal(evidence, "none")
            return
        self._events_at(
            evidence,
            "heal-requested",
            f"heal requested on labelled batch {evidence.batch} of {_name(evidence.place)}",
            rows=len(evidence.rows),
            reasons=list(evidence.reasons),
        )
        if self._in_flight is not None:
            if self._waiting is not None:
                self._discard(self._waiting, f"replaced by labelled batch {evidence.batch}")
            self._waiting = evidence
            return
        self._submit(evidence)
        self._move(evidence.place)
        if self._inline:
            self.settle(idle)

    def collect(self) -> None:
        """Admit a finished heal, if there is one: never waits."""
        result = self._worker.take()
        if result is not None:
            self._finish(result)

    def settle(self, idle: Idle) -> None:
        """Wait until nothing is requested any more, calling `idle` again and again."""
        while self._in_flight is not None:
            result = self._worker.take(WAIT_S)
            if result is not None:
                self._finish(result)
            else:
                idle()

    def drop(self, partition: int, why: str) -> None:
        """Forget what is requested on rows of a partition that is no longer ours."""
        if self._waiting is not None and self._waiting.place.partition == partition:
            self._discard(self._waiting, why)
            self._waiting = None
        if self._in_flight is not None and self._in_flight.place.partition == partition:
            dropped = self._in_flight
            self._discard(dropped, why)
            self._worker.cancel()
            self._next()
            self._move(dropped.place)

    def follow(self, deployed: Snapshot) -> None:
        """Another replica has deployed a snapshot: batches begin with it from now on."""
        self.deployed = deployed

    def take_over(
        self,
        state: Mapping[str, Any] | None,
        moments: Moments | None,
        open_requests: Sequence[Evidence],
    ) -> None:
        """Heal from where the healer before us was at its last commit.

        What it had requested is requested again; that was said already.
        """
        if state is None:
            return
        self._moments = moments
        self._health.load(state["health"])
        self.state, self.rolled_back = state["state"], state["rolled_back"]
        self._alarm = state["alarm"]
        self.heals, self.rollbacks = state["heals"], state["rollbacks"]
        if open_requests:
            self._submit(open_requests[0])
            self._waiting = open_requests[1] if len(open_requests) > 1 else None

    def checkpoint(self) -> dict[str, Any]:
        """What `take_over` needs, but for the moments and the open requests."""
        return {
            "health": self._health.state(),
            "state": self.state,
            "rolled_back": self.rolled_back,
            "alarm": self._alarm,
            "heals": self.heals,
            "rollbacks": self.rollbacks,
        }

    @property
    def moments(self) -> Moments | None:
        """The optimiser's, after the last heal that was deployed."""
        return self._moments

    @property
    def open_requests(self) -> tuple[Evidence, ...]:
        """The heal in flight, then the one that waits."""
        return tuple(e for e in (self._in_flight, self._waiting) if e is not None)

    def retire(self) -> None:
        """Another replica heals from now on."""
        self.heals_here = False
        for evidence in (self._waiting, self._in_flight):
            if evidence is not None:
                self.drop(evidence.place.partition, "another replica heals now")

    def close(self, timeout_s: float) -> None:
        """End the worker; a heal in flight is discarded whole."""
        for evidence in (self._in_flight, self._waiting):
            if evidence is not None:
                self._discard(evidence, "the consumer stops")
        self._in_flight = self._waiting = None
        self._worker.close(timeout_s)

    def _submit(self, evidence: Evidence) -> None:
        self._in_flight = evidence
        self._worker.submit(
            HealRequest(
                evidence.rows,
                self.thresholds.watch_conflict_probability,
                self.deployed.adapter,
                self._moments,
            )
        )

    def _next(self) -> None:
        self._in_flight = None
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self._submit(waiting)

    def _finish(self, result: HealResult) -> None:
        evidence = self._in_flight
        assert evidence is not None
        if result.healed is None:
            self._discard(evidence, result.reason)
        else:
            self._deploy(evidence, result.healed)
        self._next()
        self._move(evidence.place)

    def _deploy(self, evidence: Evidence, healed: Healed) -> None:
        rows, place = evidence.rows, evidence.place
        threshold = self.thresholds.decision_threshold
        in_force = metrics.figures(healed.score, rows.is_fraud, threshold)
        reason = "; ".join(evidence.reasons)
        parent = self.deployed.version
        try:
            before = self._snapshot(
                "pre-heal", self.deployed.adapter, parent=parent, reason=reason, evidence=evidence
            )
            self.deployed = self._snapshot(
                "post-heal",
                healed.adapter,
                parent=before.version,
                reason=reason,
                evidence=evidence,
                figures=in_force,
            )
        except RegistryError as error:
            self._discard(evidence, str(error))
            return
        self._moments = healed.moments
        self.heals += 1
        self.rolled_back = False
        self._events_at(
            evidence,
            "heal-deployed",
            f"heal of labelled batch {evidence.batch} of {_name(place)} deployed "
            f"as v{self.deployed.version}",
            version=self.deployed.version,
            parent=parent,
            pre_heal_version=before.version,
            loss_before=healed.loss_before,
            loss_after=healed.loss_after,
            positive_weight=healed.positive_weight,
            rows=len(rows),
            in_force=in_force,
        )
        self._health.update(_number(in_force, "accuracy"), _number(in_force, "f1"), after_heal=True)
        verdict = self._health.check(
            f1_drop=self.thresholds.health_f1_drop,
            accuracy_drop=self.thresholds.health_accuracy_drop,
        )
        if verdict is not None and verdict.reasons:
            self._roll_back(evidence, verdict)
            score, _ = self._scorer(rows.x, self.deployed.adapter)
            in_force = metrics.figures(score, rows.is_fraud, threshold)
        self._out.deployed.append(self.deployed.version)
        self._labelled_event(evidence, "rollback" if self.rolled_back else "heal", in_force)

    def _move(self, place: Place) -> None:
        """Say so where the state has changed."""
        if self._in_flight is not None:
            state = HEALING
        elif self.rolled_back:
            state = ROLLED_BACK
        else:
            state = DRIFTING if self._alarm else HEALTHY
        if state == self.state:
            return
        before, self.state = self.state, state
        self._out.events.append(
            self._events.at(
                place,
                "state-changed",
                f"{before} -> {state}",
                detail=f"{before} {state}",
                from_state=before,
                to_state=state,
                adapter_version=self.deployed.version,
            )
        )

    def _roll_back(self, evidence: Evidence, verdict: Verdict) -> None:
        best = self._registry.best
        assert best is not None  # a post-heal snapshot was taken a moment ago
        self.deployed = best
        self.rolled_back = True
        self.rollbacks += 1
        self._events_at(
            evidence,
            "rollback",
            f"rolled back to v{best.version}: {'; '.join(verdict.reasons)}",
            restored_version=best.version,
            restored_f1=best.f1,
            baseline_f1=verdict.baseline_f1,
            baseline_accuracy=verdict.baseline_accuracy,
            window_f1=verdict.window_f1,
            window_accuracy=verdict.window_accuracy,
            reasons=list(verdict.reasons),
        )

    def _discard(self, evidence: Evidence, why: str) -> None:
        self._events_at(
            evidence,
            "heal-discarded",
            f"heal of labelled batch {evidence.batch} of {_name(evidence.place)} discarded: {why}",
            reason=why,
        )
        self._without_heal(evidence, "discard")

    def _without_heal(self, evidence: Evidence, action: str) -> None:
        rows = evidence.rows
        found = metrics.figures(rows.score, rows.is_fraud, rows.threshold)
        self._health.update(_number(found, "accuracy"), _number(found, "f1"), after_heal=False)
        self._labelled_event(evidence, action, found)

    def _labelled_event(self, evidence: Evidence, action: str, in_force: dict[str, Any]) -> None:
        """Figures of the batch: prequential healed and frozen, and of what is now in force."""
        rows = evidence.rows
        healed = metrics.figures(rows.score, rows.is_fraud, rows.threshold)
        frozen = metrics.figures(rows.shadow, rows.is_fraud, rows.threshold)
        self._events_at(
            evidence,
            "batch-labelled",
            f"labelled batch {evidence.batch} of {_name(evidence.place)}: accuracy "
            f"{healed['accuracy']:.3f}, frozen {frozen['accuracy']:.3f}; {action}",
            rows=len(rows),
            action=action,
            healed=healed,
            frozen=frozen,
            in_force=in_force,
        )

    def _events_at(self, evidence: Evidence, kind: str, message: str, /, **fields: Any) -> None:
        self._out.events.append(
            self._events.at(
                evidence.place,
                kind,
                message,
                labelled_batch=evidence.batch,
                state=self.state,
                adapter_version=self.deployed.version,
                **fields,
            )
        )

    def _snapshot(
        self,
        kind: Any,
        adapter: Any,
        *,
        parent: int | None,
        reason: str,
        evidence: Evidence | None = None,
        figures: dict[str, Any] | None = None,
    ) -> Snapshot:
        self._model.check_base()
        snapshot = self._registry.snapshot(
            kind,
            adapter,
            parent=parent,
            reason=reason,
            place=evidence.place if evidence else None,
            batch=evidence.batch if evidence else None,
            figures=figures,
        )
        self._out.snapshots.append(snapshot)
        return snapshot


def _number(figures: dict[str, Any], name: str) -> float:
    return float(figures[name] or 0.0)


def _name(place: Place) -> str:
    return f"{place.topic}[{place.partition}]"
