"""The thresholds in force, and the file through which operations change them.

`report` writes `threshold_config.json`; an edited one is applied at start and on SIGHUP, whole or
not at all, as a command that is recorded with who, why, from what and to what.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from consumer import costs
from consumer.command import SetThresholds
from consumer.errors import ThresholdError
from consumer.settings import Settings

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Every threshold that may change while running; names as in the settings."""

    watch_fidi_z: float
    watch_conflict_probability: float
    watch_conflicts: float
    health_f1_drop: float
    health_accuracy_drop: float
    decision_threshold: float
    decision_decline_threshold: float

    @staticmethod
    def of(settings: Settings) -> Thresholds:
        """Those the settings give; `from_costs`: for a fraud that costs `cost.missed_fraud`."""
        decision, cost = settings.decision, settings.cost
        threshold, decline = decision.threshold, decision.decline_threshold
        if decision.from_costs:
            low, high = costs.bounds(cost.missed_fraud, cost.false_alarm[0], cost.review)
            threshold, decline = float(low), float(high)
        return Thresholds(
            settings.watch.fidi_z,
            settings.watch.conflict_probability,
            settings.watch.conflicts,
            settings.health.f1_drop,
            settings.health.accuracy_drop,
            threshold,
            decline,
        )

    @property
    def decision(self) -> tuple[float, float]:
        """Of the decision: flagged from the first on, declined without review from the second."""
        return self.decision_threshold, self.decision_decline_threshold

    def named(self) -> dict[str, float]:
        """By their setting's dotted name."""
        return {name.replace("_", ".", 1): value for name, value in asdict(self).items()}

    def changed(self, values: Mapping[str, Any]) -> Thresholds:
        """With some replaced, by dotted name.

        Raises: ThresholdError, naming the threshold and what it must be.
        """
        known = self.named()
        for name, value in values.items():
            if name not in known:
                raise ThresholdError(
                    f"there is no threshold {name!r}; there are {', '.join(sorted(known))}"
                )
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ThresholdError(f"threshold {name}: {value!r} is not a number")
            most = float("inf") if name in ("watch.fidi_z", "watch.conflicts") else 1.0
            if not 0 <= value <= most:
                raise ThresholdError(f"threshold {name}: {value} lies outside 0..{most:g}")
        after = replace(self, **{n.replace(".", "_", 1): float(v) for n, v in values.items()})
        if after.decision_decline_threshold < after.decision_threshold:
            raise ThresholdError(
                "threshold decision.decline_threshold "
                f"{after.decision_decline_threshold} lies below decision.threshold "
                f"{after.decision_threshold}"
            )
        return after


def read_command(file: Path, why: str, now_ms: int) -> SetThresholds:
    """Read an edited `threshold_config.json`.

    Raises: ThresholdError, naming the file and what is wrong with it.
    """
    try:
        data = file.read_bytes()
        content = orjson.loads(data)
    except OSError as error:
        raise ThresholdError(f"{file}: {error.strerror}") from error
    except orjson.JSONDecodeError as error:
        raise ThresholdError(f"{file}: not JSON ({error})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ThresholdError(f'{file}: expected {{"format": {FORMAT}, "thresholds": {{…}}}}')
    thresholds = content.get("thresholds")
    if not isinstance(thresholds, dict):
        raise ThresholdError(f"{file}: 'thresholds' must be an object of numbers by name")
    identity = hashlib.sha256(data + str(now_ms).encode()).hexdigest()[:16]
    try:
        return SetThresholds(
            command_id=identity,
            issued_at=now_ms,
            issued_by=file.name,
            why=why,
            thresholds=thresholds,
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ThresholdError(f"{file}: {where}: {first['msg']}") from error
