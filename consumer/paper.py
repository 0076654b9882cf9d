"""The published policy, `paper`: every labelled batch under an alarm is healed on.

Every heal that is finite is deployed, and the health monitor decides afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consumer import metrics
from consumer.errors import RegistryError
from consumer.events import Events
from consumer.evidence import Evidence
from consumer.heal import Healed, Healer, Moments
from consumer.health import Health, Verdict
from consumer.model_directory import Model
from consumer.outputs import Outputs
from consumer.policy import Idle, Memories, Policy, name_of
from consumer.registry import InForce, Registry
from consumer.settings import Settings
from consumer.worker import HealRequest, HealResult


class Paper(Policy):
    """One adapter, healed five steps at a time."""

    takes_back = True

    def __init__(
        self, settings: Settings, model: Model, registry: Registry, events: Events, out: Outputs
    ) -> None:
        healer = Healer(model.module, model.rules, settings.heal.steps, settings.heal.learning_rate)
        super().__init__(settings, model, registry, events, out, healer)
        self._health = Health(settings.health.window, settings.health.min_updates)
        self._in_flight: Evidence | None = None
        self._waiting: Evidence | None = None
        self.waits = self._inline
        self._moments: Moments | None = None

    @property
    def healing(self) -> bool:
        """Is a heal under way or waiting?"""
        return self._in_flight is not None

    def labelled_batch(self, evidence: Evidence, idle: Idle) -> None:
        """Take a labelled batch: heal on it under an alarm, else only watch its health."""
        if not (evidence.reasons and self.heals_here and self.control.may_heal):
            self._without_heal(evidence, "none")
            return
        self._events_of(
            evidence,
            "heal-requested",
            f"heal requested on labelled batch {evidence.batch} of {name_of(evidence.place)}",
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

    def take_over(self, state: Mapping[str, Any] | None, memories: Memories) -> None:
        """Heal from where the healer before us was at its last commit."""
        super().take_over(state, memories)
        if state is None or "health" not in state:
            return
        self._moments = memories.moments
        self._health.load(state["health"])
        if memories.open_requests:
            self._submit(memories.open_requests[0])
            self._waiting = memories.open_requests[1] if len(memories.open_requests) > 1 else None

    def checkpoint(self) -> dict[str, Any]:
        """What `take_over` needs, but for the moments and the open requests."""
        return {**super().checkpoint(), "health": self._health.state()}

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
        super().close(timeout_s)

    def _submit(self, evidence: Evidence) -> None:
        self._in_flight = evidence
        self._worker.submit(
            HealRequest(
                evidence.rows,
                self.thresholds.watch_conflict_probability,
                self.deployed.snapshot.adapter,
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
        elif self.control.pinned:
            self._discard(evidence, "another version is pinned")
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
            where: dict[str, Any] = {"place": place, "batch": evidence.batch, "reason": reason}
            before = self._snapshot(
                "pre-heal", self.deployed.snapshot.adapter, parent=parent, **where
            )
            after = self._snapshot(
                "post-heal", healed.adapter, parent=before.version, figures=in_force, **where
            )
        except RegistryError as error:
            self._discard(evidence, str(error))
            return
        self.deployed = InForce(after)
        self._moments = healed.moments
        self.heals += 1
        self.rolled_back = False
        self._events_of(
            evidence,
            "heal-deployed",
            f"heal of labelled batch {evidence.batch} of {name_of(place)} deployed "
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
        if self.takes_back and verdict is not None and verdict.reasons:
            self._roll_back(evidence, verdict)
            score = self._scorer.in_force(rows.x, self.deployed)
            in_force = metrics.figures(score, rows.is_fraud, threshold)
        self._out.deployed.append(self.deployed)
        self._labelled_event(evidence, "rollback" if self.rolled_back else "heal", in_force)

    def _roll_back(self, evidence: Evidence, verdict: Verdict) -> None:
        best = self._registry.best
        assert best is not None  # a post-heal snapshot was taken a moment ago
        self.deployed = InForce(best)
        self.rolled_back = True
        self.rollbacks += 1
        self._events_of(
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
        self._events_of(
            evidence,
            "heal-discarded",
            f"heal of labelled batch {evidence.batch} of {name_of(evidence.place)} discarded: "
            f"{why}",
            reason=why,
        )
        self._without_heal(evidence, "discard")

    def _without_heal(self, evidence: Evidence, action: str) -> None:
        rows = evidence.rows
        found = metrics.of_decisions(rows.score, rows.is_fraud, rows.decision)
        self._health.update(_number(found, "accuracy"), _number(found, "f1"), after_heal=False)
        self._labelled_event(evidence, action, found)


def _number(figures: dict[str, Any], name: str) -> float:
    return float(figures[name] or 0.0)
