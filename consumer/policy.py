"""What every policy shares: the worker, the registry, what is in force, the states, the events.

A policy decides what to heal on, what of it counts, and when to take it back. It is told of monitor
batches and of labelled rows, and what it puts in force counts from the next batch on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consumer import metrics
from consumer.columns import Float32, Labelled
from consumer.command import Approve, Command, Pause, Pin, Reject, Resume, Rollback
from consumer.control import Control
from consumer.events import Events
from consumer.evidence import Evidence
from consumer.heal import Moments
from consumer.model_directory import Model
from consumer.outputs import Outputs
from consumer.registry import InForce, Place, Registry, Snapshot
from consumer.score import Scorer
from consumer.settings import Settings
from consumer.threshold import Thresholds
from consumer.worker import HealResult, Worker

HEALTHY, DRIFTING, HEALING, ROLLED_BACK = "HEALTHY", "DRIFTING", "HEALING", "ROLLED_BACK"

# While the loop waits for an inline heal it must keep polling, or the group would evict it.
WAIT_S = 0.05
Idle = Callable[[], None]


@dataclass(frozen=True, slots=True)
class MonitorBatch:
    """A monitor batch that has ended."""

    x: Float32  # (rows, features)
    first_offset: int
    start_ms: int  # event time of the first row
    place: Place  # of the last row
    part: bool = False  # of one that a change cut short, or of what was left of it

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, slots=True)
class Memories:
    """What the topics hold of what a policy had in mind at its last commit."""

    moments: Moments | None = None
    open_requests: Sequence[Evidence] = ()
    # Values and manifests of the regimes that were left.
    regimes: Mapping[int, tuple[bytes, Mapping[str, Any]]] = field(default_factory=dict)
    snapshots: Mapping[int, Snapshot] = field(default_factory=dict)
    batches: Sequence[MonitorBatch] = ()  # as asked for by `recent`


class Policy(ABC):
    """Used from the loop's thread only."""

    waits = False  # with a labelled batch, for its heal
    remembers = False  # labelled rows and monitor batches, which a restart has to bring back

    def __init__(
        self,
        settings: Settings,
        model: Model,
        registry: Registry,
        events: Events,
        out: Outputs,
        healer: Any,
        *,
        heals_on_thread: bool = True,
    ) -> None:
        """`healer`: what requests are run with, on the worker's thread or in another process."""
        self._model = model
        self._registry = registry
        self._events = events
        self._out = out
        self._scorer = Scorer(model)
        self._inline = settings.heal.mode == "inline"
        # Who only waits for another process never holds up this one, and must not be late itself.
        self._worker = Worker(healer, low_priority=heals_on_thread and not self._inline)
        self._alarm = False
        self.state = HEALTHY
        self.deployed: InForce
        self.heals_here = False  # of several replicas one heals
        given = settings.heal
        self.control = Control(
            required=given.approval == "required", timeout_s=given.approval_timeout_s
        )
        self._approves_late = given.approval_on_timeout == "approve"
        self.thresholds = Thresholds.of(settings)
        self.rolled_back = False
        self.heals = 0
        self.rollbacks = 0

    # --- What it is told ---

    def start(self, deployed: InForce | None) -> None:
        """Begin with a restored state, or with the model's own as the first snapshot."""
        if deployed is not None and not deployed.weights:
            self.deployed = deployed
        else:
            self.deployed = InForce(self._base())

    def watch(self, alarm: bool, place: Place) -> None:
        """Take note whether an alarm is raised on any partition."""
        self._alarm = alarm
        for late in self.control.expired(place.time_ms) if self.heals_here else ():
            self._say(
                place,
                "approval-expired",
                f"nobody has answered to {late.id}: it is "
                f"{'approved' if self._approves_late else 'rejected'}, as the settings say",
                approval_id=late.id,
            )
            self._answer(late.id, place, approved=self._approves_late)
        self._move(place)

    @abstractmethod
    def labelled_batch(self, evidence: Evidence, idle: Idle) -> None:
        """Take a labelled batch."""

    def joined(self, rows: Labelled) -> None:
        """Take rows whose labels have come, whether they fill a labelled batch or not."""

    def corrected(self, rows: Labelled) -> None:
        """Take rows, joined before, whose labels have changed."""

    def batch_ended(self, batches: Sequence[MonitorBatch], idle: Idle) -> None:
        """Take a monitor batch: as two, where a change began within it."""

    # --- Orders from people ---

    def command(self, order: Command, place: Place, named: InForce | None = None) -> None:
        """Follow an order; one that cannot be followed changes nothing and is said.

        `named`: the version that the order names, with the weights it had.
        """
        by = {"command_id": order.command_id, "issued_by": order.issued_by, "reason": order.why}
        who = f"by {order.issued_by} ({order.why})"
        if isinstance(order, Approve | Reject):
            self._answered(order, place, who, by)
        elif isinstance(order, Pause):
            self.control.paused = True
            self._say(place, "paused", f"healing paused {who}", **by)
        elif isinstance(order, Resume):
            self.control.paused = self.control.pinned = False
            self._say(place, "resumed", f"healing resumed {who}", **by)
        elif isinstance(order, Pin | Rollback):
            version = order.version
            if version is not None and named is None:
                self.refuse(place, f"version {version} was never in force", by)
                return
            if named is not None:
                self._restore(named)
            if isinstance(order, Pin):
                self.control.pinned = True
                what = f"v{self.deployed.version} pinned {who}: nothing else counts until resumed"
                self._say(place, "pinned", what, version=self.deployed.version, **by)
            else:
                self.rolled_back = True
                self.rollbacks += 1
                what = f"rolled back to v{self.deployed.version} {who}"
                self._say(place, "rollback", what, restored_version=self.deployed.version, **by)
        self._move(place)

    def refuse(self, place: Place, why: str, by: Mapping[str, Any]) -> None:
        """Say that an order cannot be followed."""
        self.control.forget(by.get("command_id", ""))
        self._say(place, "command-refused", f"command refused: {why}", **{**by, "reason": why})

    def _answered(
        self, order: Approve | Reject, place: Place, who: str, by: Mapping[str, Any]
    ) -> None:
        waiting = self.control.waiting.get(order.approval_id)
        if waiting is None:
            self.refuse(place, f"nothing waits for approval as {order.approval_id!r}", by)
            return
        approved = isinstance(order, Approve)
        action = "approved" if approved else "rejected"
        what = f"{waiting.id} {action} {who}: {waiting.what}"
        self._say(place, action, what, approval_id=waiting.id, **by)
        self._answer(waiting.id, place, approved=approved)

    def _answer(self, approval_id: str, place: Place, *, approved: bool) -> None:
        """What waited counts, or is gone."""
        self.control.answer(approval_id, approved=approved)

    def _restore(self, in_force: InForce) -> None:
        """Put in force what was before."""
        self.deployed = in_force
        self._out.deployed.append(in_force)

    # --- Heals ---

    @property
    @abstractmethod
    def healing(self) -> bool:
        """Is a heal under way or waiting?"""

    @abstractmethod
    def _finish(self, result: HealResult) -> None:
        """Take the result of the heal in flight."""

    def collect(self) -> None:
        """Admit a finished heal, if there is one: never waits."""
        result = self._worker.take()
        if result is not None:
            self._finish(result)

    def settle(self, idle: Idle) -> None:
        """Wait until nothing is requested any more, calling `idle` again and again."""
        while self.healing:
            result = self._worker.take(WAIT_S)
            if result is not None:
                self._finish(result)
            else:
                idle()

    @abstractmethod
    def drop(self, partition: int, why: str) -> None:
        """Forget what there is of a partition that is no longer ours."""

    @abstractmethod
    def retire(self) -> None:
        """Another replica heals from now on."""

    def take_charge(self) -> None:
        """Of several replicas this one heals from now on."""
        self.heals_here = True

    def follow(self, deployed: InForce) -> None:
        """Another replica has deployed: batches begin with it from now on."""
        self.deployed = deployed

    def close(self, timeout_s: float) -> None:
        """End the worker; a heal in flight is discarded whole."""
        self._worker.close(timeout_s)

    # --- Over a restart ---

    def take_over(self, state: Mapping[str, Any] | None, memories: Memories) -> None:
        """Heal from where the healer before us was at its last commit.

        What it had requested is requested again; that was said already.
        """
        if state is None:
            return
        self.control.load(state["control"])
        if "state" not in state:
            return  # of another model's healer: orders alone
        self.state, self.rolled_back = state["state"], state["rolled_back"]
        self._alarm = state["alarm"]
        self.heals, self.rollbacks = state["heals"], state["rollbacks"]

    def checkpoint(self) -> dict[str, Any]:
        """What `take_over` needs, but for its memories."""
        return {
            "state": self.state,
            "rolled_back": self.rolled_back,
            "alarm": self._alarm,
            "heals": self.heals,
            "rollbacks": self.rollbacks,
            "version": self.deployed.version,
            "control": self.control.state(),
        }

    @staticmethod
    def recent(state: Mapping[str, Any] | None) -> Sequence[tuple[int, int, int]]:
        """Monitor batches that `take_over` wants back: partition, first and last offset."""
        return []

    def bring_back(self, rows: Labelled | None, unweighed: int) -> None:
        """Take back labelled rows of a partition, the last `unweighed` as if just joined."""

    def remembered(self, partition: int) -> tuple[int, int]:
        """Labelled rows that a restart has to bring back, and how many of them are `unweighed`."""
        return 0, 0

    def resume(self) -> None:
        """Ask again for what was open at the last commit, once all is back."""

    @property
    def moments(self) -> Moments | None:
        """The optimiser's, after the last heal that was deployed."""
        return None

    @property
    def open_requests(self) -> tuple[Evidence, ...]:
        """The heal in flight, then the one that waits."""
        return ()

    # --- For policies ---

    def _base(self) -> Snapshot:
        return self._snapshot(
            "base", self._model.base_adapter, parent=None, reason="the model as trained"
        )

    @property
    def _drifts(self) -> bool:
        """Is an alarm raised that nothing has answered?"""
        return self._alarm

    def _move(self, place: Place) -> None:
        """Say so where the state has changed."""
        if self.healing:
            state = HEALING
        elif self.rolled_back:
            state = ROLLED_BACK
        else:
            state = DRIFTING if self._drifts else HEALTHY
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

    def _labelled_event(self, evidence: Evidence, action: str, in_force: dict[str, Any]) -> None:
        """Figures of the batch: prequential healed and frozen, and of what is now in force."""
        rows = evidence.rows
        healed = metrics.of_decisions(rows.score, rows.is_fraud, rows.decision)
        frozen = metrics.of_decisions(rows.shadow, rows.is_fraud, rows.shadow_decision)
        self._events_of(
            evidence,
            "batch-labelled",
            f"labelled batch {evidence.batch} of {name_of(evidence.place)}: accuracy "
            f"{healed['accuracy']:.3f}, frozen {frozen['accuracy']:.3f}; {action}",
            rows=len(rows),
            action=action,
            healed=healed,
            frozen=frozen,
            in_force=in_force,
        )

    def _events_of(self, evidence: Evidence, kind: str, message: str, /, **fields: Any) -> None:
        self._say(evidence.place, kind, message, labelled_batch=evidence.batch, **fields)

    def _say(
        self, place: Place, kind: str, message: str, /, detail: str = "", **fields: Any
    ) -> None:
        self._out.events.append(
            self._events.at(
                place,
                kind,
                message,
                detail=detail,
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
        place: Place | None = None,
        batch: int | None = None,
        figures: dict[str, Any] | None = None,
    ) -> Snapshot:
        self._model.check_base()
        snapshot = self._registry.snapshot(
            kind,
            adapter,
            parent=parent,
            reason=reason,
            place=place,
            batch=batch,
            figures=figures,
        )
        self._out.snapshots.append(snapshot)
        return snapshot


def name_of(place: Place) -> str:
    """Topic and partition, for a person."""
    return f"{place.topic}[{place.partition}]"
