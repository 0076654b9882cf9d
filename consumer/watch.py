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

    def __init__(self, settings: Settings, model: Model, *, ends_early: bool = False) -> None:
        """`ends_early`: a batch ends where its rows show a change, and what is left is another."""
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
        if ends_early:
            self._onset = Onset(manifest.reference, settings.batch.rows)
        self.rows = 0  # in the batch so far
        self.is_rest = False  # of a batch that ended early

    @property
    def change(self) -> int | None:
        """How many rows of the batch so far come before a change that its last ones show."""
        return None if self._onset is None else self._onset.begins

    @property
    def is_whole(self) -> bool:
        """Is this one batch, with all the rows that it has at least?"""
        return self._cutter.is_complete and not self.is_rest

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

    def end(self, thresholds: Thresholds) -> Signal:
        """End the batch and judge it."""
        batches = self.rows / self._cutter.rows
        self.rows, ended = 0, self._cutter.is_complete
        self.is_rest = not ended
        if self._onset is not None:
            self._onset.end(whole=ended)
        if ended:
            self._cutter.end()
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
            "is_rest": self.is_rest,
            "fidi": self._fidi.state(),
            "conflicts": [
                self._conflicts.rows,
                self._conflicts.by_rule,
                self._conflicts.heaviest,
            ],
        }

    def load(self, state: Mapping[str, Any], x: Float32 | None = None) -> None:
        """Go on from a state; where other features were watched, begin anew.

        `x: (rows, features)`: of the batch so far, where they can still be read.
        """
        if state["features"] != self._features:
            return
        self._cutter.load(state["cutter"])
        self.rows, self.is_rest = state["rows"], state["is_rest"]
        if self._onset is not None:
            if state["onset"] is not None:
                self._onset.load(state["onset"])
            if x is not None:
                self._onset.take(x)
            elif self.rows:
                self._onset.skip()
        self._fidi.load(state["fidi"])
        self._conflicts = Conflicts(*state["conflicts"])
