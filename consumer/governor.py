"""The thresholds in force: set by people's orders, and by the controller, which it hosts.

The controller is fed joined rows. Windows alternate: on one it proposes, on the next it says
whether what it last put in force has made things worse. Every answer is an event; what changes is
in force from the next row on, and on the registry topic, from where a restart and the replicas that
do not heal take it. So is what people order over the commands topic, whether the controller is on
or not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

import orjson

from consumer import costs, states
from consumer.columns import Labelled
from consumer.command import SetThresholds
from consumer.controller import Answer, Controller
from consumer.errors import SettingsError, ThresholdError
from consumer.events import Events
from consumer.model_directory import Model
from consumer.outputs import Outputs
from consumer.policy import Policy
from consumer.registry import THRESHOLDS, Place
from consumer.settings import Settings

# Rows of a window: 340 of them judge, some 50 frauds where 15% are. A window ends where a labelled
# batch does, so one of larger batches is longer.
WINDOW_ROWS = 1_000

_DECISION = ("decision.threshold", "decision.decline_threshold")  # they bound each other
# In the registry's record: people have ordered some of it, so it holds without a controller too.
ORDERED = "ordered"

_MEANING = {
    "accept": "on rows held out it is cheaper",
    "reject": "on rows held out it is no cheaper",
    "rollback": "rows since cost more than they would have before",
    "stable": "rows since cost no more than they would have before",
    "insufficient_data": "too few rows, or of one label alone",
    "no_prior": "nothing was changed that could be taken back",
}


class Governor:
    """By itself it decides nothing but where `decision.controller` is on and this replica heals."""

    def __init__(
        self, settings: Settings, model: Model, events: Events, out: Outputs, healing: Policy
    ) -> None:
        """Raises: SettingsError where every transaction has thresholds of its own."""
        if settings.decision.controller and settings.by_amount:
            raise SettingsError(
                "setting decision.controller: it moves one threshold for all, but with "
                "decision.from_costs and cost.amount_feature every transaction has its own"
            )
        self._on = settings.decision.controller
        self._by_amount = settings.by_amount
        self._cost = settings.cost
        self._model = model
        self._events = events
        self._out = out
        self._healing = healing
        self._standing: dict[str, float] = {}  # the registry's record
        self._begin()

    def begin(self, state: Mapping[str, Any] | None) -> None:
        """Decide here from now on, from where the one before was at its last commit."""
        self._begin()
        if state is not None:
            self._controller.load(state)
            self._judges = state["judges"]

    def state(self) -> dict[str, Any]:
        """What `begin` needs, 40 KB at most; empty where the controller is off."""
        if not self._on:
            return {}
        return {"controller": {**self._controller.state(), "judges": self._judges}}

    def follow(self, standing: Mapping[str, float] | None) -> None:
        """Take the registry topic's record of thresholds, once."""
        if standing is None or standing == self._standing:
            return
        if self._on or ORDERED in standing:
            self._standing = dict(standing)
            values = {name: value for name, value in standing.items() if name != ORDERED}
            self._healing.thresholds = self._healing.thresholds.changed(values)

    def labelled(self, rows: Labelled, place: Place) -> None:
        """Take a labelled batch; where it fills the window, decide."""
        if not (self._on and self._healing.heals_here):
            return
        missed = costs.amounts(self._cost, self._model.features, rows.x)
        self._controller.observe(rows.score, rows.is_fraud, rows.weight, missed)
        if len(self._controller) < WINDOW_ROWS:
            return
        low, high = self._healing.thresholds.decision
        prior = self._controller.prior
        # After a restart with other settings as well.
        if low != self._controller.threshold or (prior is not None and low < high < prior):
            self._controller.ordered(low)
        if self._judges:
            answer = self._controller.evaluate_regression()
        else:
            # Between the two lie reviews: where there are none, both move.
            answer = self._controller.propose(below=high if low < high else float("inf"))
        self._judges = not self._judges
        self._say(answer, place)

    def apply(self, command: SetThresholds, now_ms: int, *, recorded: bool = False) -> None:
        """Set thresholds as a person has ordered; a wrong order changes nothing and is said.

        `recorded`: over the commands topic, for every replica and for those that start later.
        """
        before = self._healing.thresholds
        try:
            after = before.changed(command.thresholds)
            if self._by_amount and after.decision != before.decision:
                raise ThresholdError(
                    "decision.threshold and decision.decline_threshold follow from each "
                    "transaction's amount (decision.from_costs)"
                )
        except ThresholdError as error:
            self._healing.control.forget(command.command_id)
            self.refuse(str(error), now_ms)
            return
        old, new = before.named(), after.named()
        changed = sorted(name for name in new if new[name] != old[name])
        if changed:
            self._healing.thresholds = after
        if after.decision != before.decision:
            self._controller.ordered(after.decision[0])
        # What holds here already need not hold for a replica that was started with other settings.
        if self._healing.heals_here and (recorded or (changed and self._on)):
            self._remember(command.thresholds if recorded else _DECISION, ordered=recorded)
        if not changed:
            return
        if not recorded:
            self._out.commands.append(command)
        self._out.events.append(
            self._events.of_process(
                now_ms,
                "thresholds-changed",
                f"thresholds changed by {command.issued_by} ({command.why}): "
                + ", ".join(f"{name} {old[name]:g} -> {new[name]:g}" for name in changed),
                command_id=command.command_id,
                reason=command.why,
                thresholds_from={name: old[name] for name in changed},
                thresholds_to={name: new[name] for name in changed},
            )
        )

    def refuse(self, why: str, now_ms: int) -> None:
        """Say that an order to set thresholds cannot be followed."""
        message = f"thresholds unchanged: {why}"
        event = self._events.of_process(now_ms, "thresholds-refused", message, reason=why)
        self._out.events.append(event)

    def _begin(self) -> None:
        threshold, _ = self._healing.thresholds.decision
        self._controller = Controller(threshold, self._cost.missed_fraud, self._cost.false_alarm[0])
        self._judges = False  # is the next question one of regression?

    def _say(self, answer: Answer, place: Place) -> None:
        why = f"{answer.answer}: {_MEANING[answer.answer]}"
        figures = asdict(answer)
        if not answer.changed:
            self._out.events.append(
                self._events.at(
                    place,
                    "threshold-judged",
                    f"threshold stays {answer.threshold:.4g} ({why})",
                    controller=figures,
                )
            )
            return
        before = self._healing.thresholds.named()
        changed = {"decision.threshold": answer.threshold}
        if before["decision.decline_threshold"] == before["decision.threshold"]:
            changed["decision.decline_threshold"] = answer.threshold
        self._healing.thresholds = self._healing.thresholds.changed(changed)
        event = self._events.at(
            place,
            "thresholds-changed",
            f"thresholds changed by controller ({why}): "
            + ", ".join(f"{name} {before[name]:.4g} -> {to:.4g}" for name, to in changed.items()),
            reason=why,
            thresholds_from={name: before[name] for name in changed},
            thresholds_to=changed,
            controller=figures,
        )
        self._out.events.append(event)
        identity = event["event"]["id"]
        self._out.commands.append(
            SetThresholds(
                command_id=identity,
                issued_at=place.time_ms,
                issued_by="controller",
                why=why,
                thresholds=changed,
            )
        )
        self._remember(_DECISION)

    def _remember(self, names: Collection[str], *, ordered: bool = False) -> None:
        now = self._healing.thresholds.named()
        both = _DECISION if any(name in _DECISION for name in names) else ()
        self._standing = self._standing | {name: now[name] for name in (*names, *both)}
        if ordered:
            self._standing[ORDERED] = True
        value = orjson.dumps(self._standing)
        manifest = {
            "base_sha256": self._model.manifest.base_sha256,
            "sha256": states.sha256(value),
        }
        self._out.registry.append((THRESHOLDS, value, orjson.dumps(manifest)))
