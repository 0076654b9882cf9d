"""Where a running consumer stands: plain figures for a live view or a log line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Batch:
    """One monitor batch as a person would follow it."""

    batch: int
    z: float
    conflicts: int
    state: str


@dataclass(frozen=True, slots=True)
class Status:
    """Totals of the partitions that are ours, since the application first ran; restarts included.

    Accuracies are prequential, on the joined rows (0 without any).
    """

    state: str
    adapter_version: int
    partitions: int
    rows: int
    labelled: int
    accuracy: float
    shadow_accuracy: float
    heals: int
    rollbacks: int
    batches: int
    last: Batch | None
    dead_letters: int = 0
    labels: Mapping[str, int] = field(default_factory=dict)  # what became of them, by kind
    beyond: int = 0  # rows to be reviewed that the hour had no room for
    ready: bool = False  # partitions are assigned and restored
    lag: Mapping[str, int] = field(default_factory=dict)  # offsets behind the ends, by input topic
    paused: Mapping[str, str] = field(default_factory=dict)  # flooded partitions, and why
    polled_s: float = 0.0  # seconds since the last poll: how a probe tells busy from stuck

    @property
    def lift(self) -> float:
        """Healed minus frozen accuracy."""
        return self.accuracy - self.shadow_accuracy

    def summary(self) -> dict[str, object]:
        """For one log line."""
        return {
            "rows": self.rows,
            "labelled": self.labelled,
            "dead_letters": self.dead_letters,
            **({"beyond_reviews": self.beyond} if self.beyond else {}),
            "lag": sum(self.lag.values()),
            "batches": self.batches,
            "heals": self.heals,
            "rollbacks": self.rollbacks,
            "adapter_version": self.adapter_version,
            "state": self.state,
            "accuracy": round(self.accuracy, 4) if self.labelled else None,
            "shadow_accuracy": round(self.shadow_accuracy, 4) if self.labelled else None,
        }
