"""What the stages hand back: everything that one Kafka transaction will hold, offsets apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields

from consumer.columns import Labelled, Scores
from consumer.command import SetThresholds
from consumer.events import Event
from consumer.join_record import Change
from consumer.registry import Activation, InForce, Snapshot


@dataclass(slots=True)
class Outputs:
    """Grows while stages run, each list in the order of the decisions; taken whole by the loop."""

    scores: list[Scores] = field(default_factory=list)
    labelled: list[Labelled] = field(default_factory=list)
    # Joined before, with another label; after how many of `labelled`.
    corrected: list[tuple[int, Labelled]] = field(default_factory=list)
    pending: list[tuple[int, list[Change]]] = field(default_factory=list)  # of a partition's join
    snapshots: list[Snapshot] = field(default_factory=list)
    activations: list[Activation] = field(default_factory=list)
    deployed: list[InForce] = field(default_factory=list)  # the last one counts
    # Other records of the registry: key, value, manifest.
    registry: list[tuple[str, bytes | None, bytes]] = field(default_factory=list)
    commands: list[SetThresholds] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def any(self) -> bool:
        """Is there anything?"""
        return any(getattr(self, each.name) for each in fields(self))

    def joined(self) -> Iterator[tuple[Labelled, bool]]:
        """Rows and whether they are corrections, in the order in which their labels came."""
        done = 0
        for before, rows in self.corrected:
            yield from ((each, False) for each in self.labelled[done:before])
            yield rows, True
            done = before
        yield from ((each, False) for each in self.labelled[done:])

    def take(self) -> Outputs:
        """Hand over what there is and begin anew."""
        taken = Outputs(**{each.name: getattr(self, each.name) for each in fields(self)})
        for each in fields(self):
            setattr(self, each.name, [])
        return taken
