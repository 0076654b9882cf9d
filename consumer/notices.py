"""What is said of a partition in events: its monitor batches, its figures, what is in the way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from consumer.breaker import Trip
from consumer.events import Event, Events
from consumer.partition import DeadLetters, Partition
from consumer.registry import Place
from consumer.rule_evidence import Disagreement
from consumer.running import Measured, Window
from consumer.signals import Signal

# What became of labels that did not simply join, and what a person can do where it happens often.
TROUBLE = {
    "duplicate": "the producer of labels sends them more than once",
    "corrected": "a source often changes its mind",
    "conflict": "sources of labels disagree",
    "outdated": "labels of one source come out of order",
    "orphan": "their transactions never came: is it the right topic, and the same id?",
    "early_dropped": "labels run far ahead of their transactions",
    "too_late": "labels come after join.horizon_days",
}
# Of so many labels in a row, more than this share in one kind of trouble is said.
LABEL_WINDOW = 1_000
LABEL_SHARE = 0.05


def monitored(
    events: Events, part: Partition, signal: Signal, *, raised: bool, rows: int
) -> Iterator[Event]:
    """One metric event a batch, and an alert where the alarm was raised or has ended."""
    assert part.place is not None
    assert part.active is not None
    place, name = part.place, _name(part.place)
    common: dict[str, Any] = {
        "batch": part.batches,
        "z": signal.z,
        "conflicts": signal.conflicts.rows,
        "state": part.state,
        "adapter_version": part.active.version,
    }
    yield events.at(
        place,
        "batch-monitored",
        f"monitored batch {part.batches} of {name}",
        first_offset=part.first_offset,
        rows=rows,
        fidi=signal.fidi,
        rules=signal.conflicts.by_rule,
        alarm=signal.alarm,
        **common,
    )
    if signal.alarm and not raised:
        reasons = list(signal.reasons)
        message = f"drift on {name}: {'; '.join(reasons)}"
        yield events.at(place, "drift-detected", message, reasons=reasons, **common)
    elif raised and not signal.alarm:
        yield events.at(place, "drift-recovered", f"no more drift on {name}", **common)


def dead_letters(events: Events, dead: DeadLetters) -> Event:
    """How many there were so far, and why."""
    assert dead.at is not None
    kinds = ", ".join(f"{count} {kind}" for kind, count in dead.counts.most_common())
    return events.at(
        dead.at,
        "dead-letters",
        f"{dead.counts.total()} dead letters so far from {_name(dead.at)}: {kinds}",
        counts=dict(dead.counts),
    )


def flood(events: Events, place: Place, trip: Trip) -> Event:
    """The circuit breaker has tripped."""
    return events.at(
        place,
        "dead-letter-flood",
        f"{_name(place)} is paused: {trip.reason}. Repair its producer or the settings of its "
        "format, then start again; dead_letters.max_run and max_share = 0 and 1 let all through",
        reasons=[trip.reason],
        counts={"bad": trip.bad, "rows": trip.rows, "run": trip.run},
    )


def labels_in_trouble(
    events: Events, place: Place, before: Counter[str], now: Counter[str]
) -> Iterator[Event]:
    """Each kind of trouble that more than `LABEL_SHARE` of the last window of labels were in."""
    for kind, meaning in TROUBLE.items():
        count = now[kind] - before[kind]
        if count > LABEL_SHARE * LABEL_WINDOW:
            yield events.at(
                place,
                "labels-in-trouble",
                f"{count} of the last {LABEL_WINDOW:,} labels of {_name(place)} are {kind}: "
                f"{meaning}",
                detail=kind,
                counts={kind: count},
                reasons=[meaning],
            )


def rules_disagree(events: Events, place: Place, found: Iterable[Disagreement]) -> Iterator[Event]:
    """Rules that labels speak against."""
    for one in found:
        rule, counts = one.rule, one.counts
        yield events.at(
            place,
            "rule-disagrees",
            f"rule {rule.name!r} says fraud and labels of {_name(place)} do not: "
            f"{counts.right} of the {counts.fired:,} rows it fired on were, and by chance "
            f"{counts.by_chance:.1f} would have been; mend or remove it in model.toml",
            detail=rule.name,
            rule=rule.name,
            when=rule.condition.text,
            counts={
                "rows": counts.rows,
                "frauds": counts.frauds,
                "fired": counts.fired,
                "right": counts.right,
            },
        )


def prequential(
    events: Events,
    place: Place,
    window: Window,
    reviews: Mapping[str, int],
    *,
    conditional: bool,
) -> Event:
    """Figures of both models over a window of joined rows, and over all of them.

    `reviews`: of all rows scored so far; empty where there is no limit. `conditional`: only of rows
    that were chosen to be labelled, nobody knows how.
    """
    healed, frozen = window.healed.figures, window.frozen.figures
    return events.at(
        place,
        "prequential",
        f"{healed['rows']:,.0f} labelled rows of {_name(place)}: log loss "
        f"{healed['log_loss']:.4f}, frozen {frozen['log_loss']:.4f}"
        f"{' (conditional: of those chosen to be labelled alone)' if conditional else ''}",
        conditional=conditional,
        window=window.number,
        healed=healed,
        frozen=frozen,
        healed_so_far=window.healed_so_far.figures,
        frozen_so_far=window.frozen_so_far.figures,
        standard_errors=_errors(window),
        **_segments(window),
        **_reviews(reviews),
    )


def _segments(window: Window) -> dict[str, Any]:
    return {"segments": window.segments} if window.segments else {}


def _reviews(reviews: Mapping[str, int]) -> dict[str, Any]:
    return {"reviews": reviews} if reviews else {}


def _errors(window: Window) -> dict[str, Any] | None:
    """Only where rows were sampled: otherwise all rows were counted, and nothing was estimated."""
    measured: dict[str, Measured] = {
        "healed": window.healed,
        "frozen": window.frozen,
        "healed_so_far": window.healed_so_far,
        "frozen_so_far": window.frozen_so_far,
    }
    found = {name: one.standard_errors for name, one in measured.items() if one.standard_errors}
    return found or None


def _name(place: Place) -> str:
    return f"{place.topic}[{place.partition}]"
