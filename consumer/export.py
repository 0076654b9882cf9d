"""From decoded messages to the tables and files of a report; knows no Kafka and draws nothing."""

from __future__ import annotations

import csv
import json
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from consumer import metrics
from consumer.columns import Float64, Int64
from consumer.prequential import Prequential
from consumer.sections import Cost
from consumer.settings import Settings
from consumer.threshold import Thresholds

Event = Mapping[str, Any]
Cell = str | int | float | bool | None
Row = dict[str, Cell]

# Events that say which thresholds hold from there on.
_SETTING = ("consumer-started", "thresholds-changed")

# Several labelled batches may end within one monitor batch when late labels come in a burst: the
# row then names the action that changed most.
_WEIGHTIEST = ("rollback", "heal", "discard", "none")


def unique(events: Iterable[Event]) -> list[Event]:
    """Events in the order they came; of those with one id (a replayed stream) the last one."""
    by_id: dict[str, Event] = {}
    for event in events:
        by_id.pop(event["event"]["id"], None)
        by_id[event["event"]["id"]] = event
    return list(by_id.values())


def of(events: Iterable[Event], action: str) -> list[Event]:
    """Events of one action."""
    return [event for event in events if event["event"]["action"] == action]


def decisions(events: Iterable[Event]) -> list[Event]:
    """What `events.json` holds: every event that is not a measurement."""
    return [event for event in events if event["event"]["kind"] != "metric"]


def thresholds(events: Sequence[Event], settings: Settings) -> dict[str, float]:
    """The thresholds in force after the last event; without events those of the settings."""
    found = Thresholds.of(settings).named()
    for event in events:
        if event["event"]["action"] in _SETTING:
            given = event["reflexive"].get("thresholds_to", {})
            found |= {name: given[name] for name in found if name in given}
    return found


def columns(false_alarm: Iterable[float]) -> list[str]:
    """Columns of metrics.csv, in order."""
    costs = [f"{whose}cost_{price(p)}" for p in false_alarm for whose in ("", "shadow_")]
    return [
        *("partition", "batch", "first_offset", "last_offset", "event_time_end", "rows"),
        *("labelled_rows", "z", "conflicts", "alarm", "state", "adapter_version", "action"),
        *metrics.FIGURES,
        *(f"shadow_{name}" for name in metrics.FIGURES),
        "lift",
        *costs,
        *("in_force_accuracy", "in_force_f1"),
    ]


def price(value: float) -> str:
    """A price as a column is named after it: 15.0 -> 15, 0.5 -> 0.5."""
    return str(int(value)) if value.is_integer() else repr(value)


def in_order(events: Iterable[Event]) -> list[Event]:
    """`batch-monitored` events by the event time at which their batches ended."""
    return sorted(
        of(events, "batch-monitored"),
        key=lambda e: (
            datetime.fromisoformat(e["@timestamp"]),
            e["reflexive"]["partition"],
            e["reflexive"]["batch"],
        ),
    )


def fidi(events: Sequence[Event], limit: float) -> tuple[list[float], str]:
    """`watch.fidi_z` at each batch (in the order of metrics.csv), and what passed it first.

    `limit`: what holds before any event says otherwise. The feature is "" if none ever passed.
    """
    at_batch: dict[str, float] = {}
    for event in events:  # in the order in which they were decided
        own = event["reflexive"]
        if event["event"]["action"] == "batch-monitored":
            at_batch[event["event"]["id"]] = limit
        elif event["event"]["action"] in _SETTING:
            limit = own.get("thresholds_to", {}).get("watch.fidi_z", limit)
    batches = in_order(events)
    limits = [at_batch[event["event"]["id"]] for event in batches]
    for event, passed in zip(batches, limits, strict=True):
        moved = event["reflexive"].get("fidi", {})
        if event["reflexive"]["z"] > passed and moved:
            return limits, max(moved, key=moved.__getitem__)
    return limits, ""


def metrics_rows(events: Sequence[Event], labelled: Prequential, cost: Cost) -> list[Row]:
    """One row a monitor batch, with the figures of its labelled rows.

    `action` is that of the labelled batch whose last row lies in the monitor batch; `in_force_…`
    are its figures too, where it also bears the same number: as published, the same rows.
    """
    ended = _Ended(of(events, "batch-labelled"))
    rows: list[Row] = []
    for event in in_order(events):
        batch = event["reflexive"]
        partition, first, last = batch["partition"], batch["first_offset"], batch["offset"]
        own = labelled[labelled.between(partition, first, last)]
        decided = ended.within(partition, first, last)
        in_force: Event = next(
            (d["in_force"] for d in decided if d["labelled_batch"] == batch["batch"]), {}
        )
        row: Row = {
            "partition": partition,
            "batch": batch["batch"],
            "first_offset": first,
            "last_offset": last,
            "event_time_end": event["@timestamp"],
            "rows": batch["rows"],
            "labelled_rows": len(own),
            "z": batch["z"],
            "conflicts": batch["conflicts"],
            "alarm": batch["alarm"],
            "state": batch["state"],
            "adapter_version": batch["adapter_version"],
            "action": min((d["action"] for d in decided), key=_WEIGHTIEST.index, default=""),
            "in_force_accuracy": in_force.get("accuracy"),
            "in_force_f1": in_force.get("f1"),
        }
        rows.append(row | (_judged(own, cost) if len(own) else {}))
    return rows


def decided(events: Sequence[Event], action: str) -> Int64:
    """(batches,) How many events of an action the labels of each batch led to."""
    ended = _Ended(of(events, action))
    batches = [event["reflexive"] for event in in_order(events)]
    return np.array(
        [len(ended.within(b["partition"], b["first_offset"], b["offset"])) for b in batches],
        np.int64,
    )


class _Ended:
    """What events on labelled batches say, by the place of the last row of their batches."""

    def __init__(self, events: Iterable[Event]) -> None:
        said = [event["reflexive"] for event in events]
        self._said = sorted(said, key=lambda s: (s["partition"], s["offset"]))
        self._place = [(s["partition"], s["offset"]) for s in self._said]

    def within(self, partition: int, first_offset: int, last_offset: int) -> list[Event]:
        low = bisect_left(self._place, (partition, first_offset))
        return self._said[low : bisect_right(self._place, (partition, last_offset))]


def _judged(rows: Prequential, cost: Cost) -> Row:
    healed, frozen = rows.figures()
    found: Row = {name: healed[name] for name in metrics.FIGURES}
    found |= {f"shadow_{name}": frozen[name] for name in metrics.FIGURES}
    counts, shadow_counts = rows.healed(), rows.frozen()
    found["lift"] = counts.accuracy - shadow_counts.accuracy
    healed_bill, frozen_bill = rows.bills(cost.review)
    for p in cost.false_alarm:
        found[f"cost_{price(p)}"] = healed_bill.at(p)
        found[f"shadow_cost_{price(p)}"] = frozen_bill.at(p)
    return found


def write_metrics(file: Path, rows: Iterable[Row], names: Sequence[str]) -> None:
    """Write metrics.csv: a number reads back as the same number, an unknown one is blank."""
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([_cell(row.get(name)) for name in names] for row in rows)


def _cell(value: Cell) -> str:
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class Table:
    """metrics.csv as it was written: a list of cells a column."""

    cells: Mapping[str, Sequence[str]]

    def __len__(self) -> int:
        return len(next(iter(self.cells.values()), ()))

    def texts(self, name: str) -> list[str]:
        """A column as it stands."""
        return list(self.cells[name])

    def numbers(self, name: str) -> Float64:
        """A column of numbers, NaN where it is blank."""
        return np.array([float(c) if c else np.nan for c in self.cells[name]], np.float64)

    def flags(self, name: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """A column of true and false."""
        return np.array([c == "true" for c in self.cells[name]], bool)


def read_metrics(file: Path) -> Table:
    """Read metrics.csv back."""
    with file.open(encoding="utf-8", newline="") as source:
        names, *rows = csv.reader(source)
    return Table({name: [row[i] for row in rows] for i, name in enumerate(names)})


def write_json(file: Path, content: object) -> None:
    """Write readable JSON: operations edit threshold_config.json by hand."""
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
