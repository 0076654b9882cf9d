"""The messages of an invented run, as the consumer would have left them on its topics.

Scores are drawn, not computed: the frozen model keeps flagging after the drift, the healed one
learns to flag less, in about the proportions of the published run.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from consumer import metrics
from consumer.events import iso8601

TOPIC = "transactions"
START_MS = 1_767_225_600_000
# Means of the logits, spread 1: before the drift both models decide alike.
CLEAN = {"fraud": 0.6, "legit": -1.8}
FROZEN = {"fraud": 1.05, "legit": 0.32}
HEALED = {"fraud": -0.41, "legit": -0.81}


@dataclass
class ARun:
    """Call `batch` again and again, then read the lists."""

    seed: int = 42
    rows: int = 100
    partition: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    labelled: list[dict[str, Any]] = field(default_factory=list)
    manifests: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)
        self.batches = 0
        self.version = 1
        self.restored: int | None = None
        self._snapshot("base", None)

    def started(self, thresholds: dict[str, float]) -> None:
        """The consumer's start, with the thresholds in force."""
        self._event("event", "consumer-started", START_MS, thresholds_to=thresholds)

    def thresholds_changed(self, before: dict[str, float], after: dict[str, float]) -> None:
        """An order of operations."""
        self._event(
            "event",
            "thresholds-changed",
            START_MS,
            command_id="6d1f0c2b9a7e4c55",
            reason="SIGHUP",
            thresholds_from=before,
            thresholds_to=after,
        )

    def batch(
        self,
        *,
        z: float = 0.4,
        conflicts: int = 1,
        alarm: bool = False,
        action: str = "none",
        state: str | None = None,
        labelled: int | None = None,
        weight: float = 1.0,
    ) -> None:
        """One monitor batch, the first `labelled` of its rows (all if None) with labels."""
        first = self.batches * self.rows
        last = first + self.rows - 1
        self.batches += 1
        known = self.rows if labelled is None else labelled
        now = self._time(last)
        state = state or ("DRIFTING" if alarm else "HEALTHY")
        own = {"offset": last, "topic": TOPIC, "partition": self.partition}
        own |= {"state": state, "adapter_version": self.restored or self.version}
        self._event(
            "metric",
            "batch-monitored",
            now,
            **own,
            batch=self.batches,
            first_offset=first,
            rows=self.rows,
            z=z,
            fidi={"V3": 0.1, "V14": z},
            conflicts=conflicts,
            rules={"V14 < -1.5": conflicts},
            alarm=alarm,
        )
        label = (self.random.random(known) < 0.15).astype(int)
        score = self._scores(label, HEALED if self.version > 1 else FROZEN if alarm else CLEAN)
        shadow = self._scores(label, FROZEN) if alarm else score
        for row in range(known):
            offset = first + row
            self.labelled.append(
                {
                    "transaction_id": f"seed-42-{self.partition}-{offset:07d}",
                    "event_time": self._time(offset),
                    "labelled_at": self._time(offset),
                    "delay_ms": 0,
                    "is_fraud": int(label[row]),
                    "source": "chargeback",
                    "features": {"V14": 0.5},
                    "score": float(score[row]),
                    "shadow_score": float(shadow[row]),
                    "threshold": 0.5,
                    "decision": "approve" if score[row] < 0.5 else "decline",
                    "shadow_decision": "approve" if shadow[row] < 0.5 else "decline",
                    "adapter_version": self.version,
                    "weight": weight,
                    "segments": [],
                    "correction": False,
                    "topic": TOPIC,
                    "partition": self.partition,
                    "offset": offset,
                }
            )
        if known:
            self._decide(action, score, shadow, label, own | {"offset": first + known - 1})

    def _decide(self, action: str, score: Any, shadow: Any, label: Any, own: Any) -> None:
        healed = metrics.figures(score, label, 0.5)
        # After a heal the rows it learnt from look better than they did before.
        improved = metrics.figures(np.clip(score + 0.1 * (2 * label - 1), 0, 1), label, 0.5)
        in_force = improved if action in ("heal", "rollback") else healed
        now = self._time(own["offset"])
        if action in ("heal", "rollback"):
            self.version += 2
            self._snapshot("pre-heal", own)
            self._snapshot("post-heal", own, in_force)
            self.restored = None
            self._event("event", "heal-deployed", now, **own, labelled_batch=self.batches)
        if action == "discard":
            reason = "not finite"
            self._event(
                "event", "heal-discarded", now, **own, labelled_batch=self.batches, reason=reason
            )
        if action == "rollback":
            healed_ones = [m for m in self.manifests if m["kind"] == "post-heal"]
            best = max(healed_ones, key=lambda m: m["figures"]["f1"])
            self.restored = best["version"]
            self._event(
                "event",
                "rollback",
                now,
                **own,
                labelled_batch=self.batches,
                restored_version=best["version"],
            )
        self._event(
            "metric",
            "batch-labelled",
            now,
            **own,
            labelled_batch=self.batches,
            rows=len(label),
            action=action,
            healed=healed,
            frozen=metrics.figures(shadow, label, 0.5),
            in_force=in_force,
        )

    def _scores(self, label: Any, mean: dict[str, float]) -> Any:
        # Each batch has a drift of its own, so that batches differ by more than chance.
        sway = 0.25 * self.random.standard_normal()
        centre = np.where(label == 1, mean["fraud"], mean["legit"]) + sway
        logit = centre + self.random.standard_normal(len(label))
        return (1 / (1 + np.exp(-logit))).astype(np.float32)

    def _time(self, offset: int) -> int:
        return START_MS + 100 * offset

    def _event(self, kind: str, action: str, time_ms: int, /, **fields: Any) -> None:
        identity = f"{self.partition}/{len(self.events)}/{action}"
        self.events.append(
            {
                "@timestamp": iso8601(time_ms),
                "message": action,
                "ecs": {"version": "9.2.0"},
                "event": {
                    "id": hashlib.sha256(identity.encode()).hexdigest()[:32],
                    "kind": kind,
                    "category": ["process"],
                    "type": ["info"],
                    "action": action,
                    "outcome": "success",
                    "dataset": "reflexive.events",
                },
                "service": {"name": "reflexive", "version": "0.1.0"},
                "reflexive": fields,
            }
        )

    def _snapshot(self, kind: str, own: Any, figures: Any = None) -> None:
        version = len(self.manifests) + 1
        self.manifests.append(
            {
                "version": version,
                "kind": kind,
                "parent": version - 1 or None,
                "sha256": "a" * 64,
                "base_sha256": "b" * 64,
                "model_version": "3f2a91c04d5e",
                "reason": "invented",
                "topic": own and own["topic"],
                "partition": own and own["partition"],
                "offset": own and own["offset"],
                "batch": own and self.batches,
                "taken_at": own and self._time(own["offset"]),
                "figures": figures,
                "bytes": 33_700,
            }
        )


def published(seed: int = 42) -> ARun:
    """25 batches like the published ones: z passes 1 in batch 3, every batch is healed on."""
    run = ARun(seed)
    for number in range(1, 26):
        z = 0.0 if number < 3 else 1.43 + 0.01 * (number % 5)
        conflicts = int(run.random.integers(2, 28))
        run.batch(z=z, conflicts=conflicts, alarm=z > 1 or conflicts >= 5, action="heal")
    return run
