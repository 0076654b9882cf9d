"""What the stages hand back: everything that one Kafka transaction will hold, offsets apart."""

from __future__ import annotations

from dataclasses import dataclass, field

from consumer.columns import Labelled, Scores
from consumer.events import Event
from consumer.registry import Activation, Snapshot
from consumer.threshold import Command


@dataclass(slots=True)
class Outputs:
    """Grows while stages run, each list in the order of the decisions; taken whole by the loop."""

    scores: list[Scores] = field(default_factory=list)
    labelled: list[Labelled] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    activations: list[Activation] = field(default_factory=list)
    deployed: list[int] = field(default_factory=list)  # versions, the last one counts
    commands: list[Command] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def any(self) -> bool:
        """Is there anything?"""
        return bool(
            self.scores
            or self.labelled
            or self.snapshots
            or self.activations
            or self.deployed
            or self.commands
            or self.events
        )

    def take(self) -> Outputs:
        """Hand over what there is and begin anew."""
        taken = Outputs(
            self.scores,
            self.labelled,
            self.snapshots,
            self.activations,
            self.deployed,
            self.commands,
            self.events,
        )
        self.scores, self.labelled, self.snapshots = [], [], []
        self.activations, self.deployed, self.commands, self.events = [], [], [], []
        return taken
