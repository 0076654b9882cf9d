"""The monitor batch of one partition: where it ends, and what it says then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consumer import signals
from consumer.batch import BatchCutter
from consumer.columns import Float32, Int64
from consumer.model import columns_of
from consumer.model_directory import Model
from consumer.onset import Onset
from consumer.settings import Settings
from consumer.signals import Conflicts, Fidi, Signal
from consumer.threshold import Thresholds


class Watch:
    """Takes scored rows as they come. It keeps sums and no rows, so it fits in a checkpoint."""

    def __init__(self, settings: Settings, model: Model, *, cuts: bool = False) -> None:
        """`cuts`: a batch is cut where its rows show a change."""
        manifest = model.manifest
        columns = columns_of(manifest.fidi.features, manifest.features)
        self._rules = model.rules
        self._features = list(manifest.fidi.features)
        self._cutter = BatchCutter(settings.batch.rows, round(settings.batch.span_s * 1000))
        self._fidi = Fidi(
            manifest.fidi.features,
            columns,
            [manifest.reference.mean[column] for column in columns],
            [manifest.reference.sd[column] for column in columns],
            window=settings.watch.fidi_window,
            warmup=settings.watch.fidi_warmup,
        )
        self._conflicts = Conflicts()
        self._onset = None
        if cuts:
            self._onset = Onset(manifest.reference, settings.batch.rows)
        self.rows = 0  # in the batch so far, since it was cut

    @property
    def seen(self) -> int:
        """Rows in the batch so far."""
        return self._cutter.seen

    @property
    def change(self) -> int | None:
        """How many rows of the batch so far come before a change that its last ones show."""
        return None if self._onset is None else self._onset.begins

    @property
    def is_whole(self) -> bool:
        """Has the batch all the rows that it should have, and was never cut?"""
        return self._cutter.is_complete and self.rows == self.seen

    def rows_to_end(self, event_time: Int64) -> int | None:
        """How many of the coming records end the batch; None where not all of them do."""
        return self._cutter.cut(event_time)

    def rows_to_change(self, x: Float32) -> int | None:
        """How many of the coming rows of the batch, `x: (rows, features)`, show a change."""
        return None if self._onset is None else self._onset.find(x)

    def take(
        self, event_time: Int64, x: Float32, score: Float32, conflict_probability: float
    ) -> None:
        """Count rows into the batch: `x: (rows, features)`, the others (rows,)."""
        self.rows += len(x)
        self._cutter.take(event_time)
        if self._onset is not None:
            self._onset.take(x)
        self._fidi.take(x)
        self._conflicts += signals.conflicts(self._rules, x, score, conflict_probability)

    def end(self, thresholds: Thresholds) -> Signal | None:
        """End the batch and judge it; or cut it, where it is not complete: None."""
        self.rows = 0
        if self._onset is not None and not self._cutter.is_complete:
            self._onset.cut()
            return None
        batches = self._cutter.seen / self._cutter.rows
        self._cutter.end()
        if self._onset is not None:
            self._onset.end()
        found, self._conflicts = self._conflicts, Conflicts()
        return signals.judge(
            self._fidi.end(),
            found,
            self._rules.weight_of(found.heaviest),
            z_threshold=thresholds.watch_fidi_z,
            # Where a second holds more rows than a batch has at least, it holds more conflicts.
            conflict_threshold=thresholds.watch_conflicts * batches,
        )

    def state(self) -> dict[str, Any]:
        """What a restart needs."""
        return {
            "features": self._features,
            "cutter": self._cutter.state(),
            "onset": None if self._onset is None else self._onset.state(),
            "rows": self.rows,
            "fidi": self._fidi.state(),
            "conflicts": [
                self._conflicts.rows,
                self._conflicts.by_rule,
                self._conflicts.heaviest,
            ],
        }

    def load(self, state: Mapping[str, Any], x: Float32 | None = None) -> None:
        """Go on from a state; where other features were watched, begin anew.

        `x: (rows, features)`: those of its rows that can still be read.
        """
        if state["features"] != self._features:
            return
        self._cutter.load(state["cutter"])
        self.rows = state["rows"]
        if self._onset is not None:
            if state["onset"] is not None:
                self._onset.load(state["onset"])
            if x is not None and len(x) == self.seen:
                self._onset.take(x)
            elif self.seen:
                self._onset.cut()
        self._fidi.load(state["fidi"])
        self._conflicts = Conflicts(*state["conflicts"])
