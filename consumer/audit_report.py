"""What was decided in a period, on what evidence: one HTML page that needs nothing else.

Whatever comes from a topic is text, and goes into the page escaped (`consumer/markup.py`).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from consumer import audit_events, chain, export, plain_words, restore
from consumer.audit_events import Checked, event_of
from consumer.errors import DataError
from consumer.kafka import topics
from consumer.kafka.reader import read_all
from consumer.markup import Markup, joined, printable, table, tag
from consumer.pipeline import HEALER
from consumer.plots.timeline import Timeline, svg
from consumer.restore import Activations
from consumer.settings import Settings

Event = Mapping[str, Any]

# Said in the line below a decision's heading; all else that it holds is its evidence.
_ABOUT = {"topic", "partition", "offset", "sequence", "previous", "state", "adapter_version"}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }
h1, h2, h3 { line-height: 1.2 } h3 { margin-bottom: .2rem }
article { border-top: 1px solid #d9d9d9; padding: .4rem 0 }
article.in-force { border-left: 4px solid #009e73; padding-left: .8rem }
article.taken-back { border-left: 4px solid #d55e00; padding-left: .8rem }
article.refused { border-left: 4px solid #6b6b6b; padding-left: .8rem }
article.change-seen { border-left: 4px solid #e69f00; padding-left: .8rem }
article.ordered { border-left: 4px solid #cc79a7; padding-left: .8rem }
.about { color: #6b6b6b; font-size: .87em } .bad { color: #b00020; font-weight: 600 }
table { border-collapse: collapse; margin: .3rem 0 .6rem } th { text-align: left; color: #6b6b6b }
td, th { padding: .1rem .9rem .1rem 0; vertical-align: top; font-weight: normal }
svg { width: 100%; height: auto } code { overflow-wrap: anywhere }
"""  # noqa: E501
# Nothing may be loaded and nothing may run, whatever the page holds.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


@dataclass(frozen=True, slots=True)
class Period:
    """Event time: `start` inclusive, `end` exclusive; None leaves a side open."""

    start: datetime | None = None
    end: datetime | None = None

    def __contains__(self, time: datetime) -> bool:
        return (self.start is None or time >= self.start) and (self.end is None or time < self.end)


def write(settings: Settings, period: Period, file: Path) -> tuple[int, Checked]:
    """Write the page; how many decisions it holds, and what is wrong with their chain.

    Raises: KafkaUnavailableError where a topic cannot be read, DataError where the file cannot be
    written.
    """
    checked = audit_events.audit(settings)
    records = read_all(settings.kafka, topics.written(settings, "events"))
    events = export.unique(event for event in map(event_of, records) if event is not None)
    content = page(settings, events, checked, restore.activations(settings), period)
    try:
        file.write_text(content, encoding="utf-8")
    except OSError as error:
        raise DataError(f"report {file}: {error.strerror}. Name another: --report") from error
    return len(_decisions(events, period)), checked


def page(
    settings: Settings,
    events: Sequence[Event],
    checked: Checked,
    activations: Mapping[int, Activations],
    period: Period,
) -> str:
    """The page, of all events in the order of their topic."""
    decisions = _decisions(events, period)
    windows = [event for event in export.of(events, "prequential") if _time(event) in period]
    windows.sort(key=_time)
    in_force = _in_force(events, activations, period)
    body = [
        tag("h1", f"What {settings.application_id} decided, and why"),
        _summary(settings, events, decisions, windows, in_force, checked, period),
        tag("h2", "Loss, cost and weights"),
        _plot(settings, decisions, windows, in_force),
        tag("h2", "Decisions, oldest first"),
        *map(_section, decisions),
    ]
    head = [
        Markup('<meta charset="utf-8"/>'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"/>'),
        tag("title", f"Audit report: {settings.application_id}"),
        tag("style", Markup(_STYLE)),
    ]
    return "<!DOCTYPE html>\n" + tag("html", tag("head", *head), tag("body", *body), lang="en")


# --- Summary ---


def _summary(
    settings: Settings,
    events: Sequence[Event],
    decisions: Sequence[Event],
    windows: Sequence[Event],
    in_force: Sequence[tuple[datetime, Mapping[str, Any]]],
    checked: Checked,
    period: Period,
) -> Markup:
    times = [_time(event) for event in [*decisions, *windows]]
    start = period.start or min(times, default=None)
    end = period.end or max(times, default=None)
    until = [event for event in events if period.end is None or _time(event) < period.end]
    counts = Counter(plain_words.of(event["event"]["action"]).title for event in decisions)
    rows = [
        ("Period", f"{_clock(start)} to {_clock(end)}"),
        ("Decisions", f"{len(decisions):,}" if decisions else "none in this period"),
        ("Chain of decisions", _chain(checked)),
        *_figures(settings, windows),
        ("Versions in force on partition 0", _versions(in_force)),
        ("Thresholds at the end", table(_pairs(export.thresholds(until, settings)))),
        ("What happened", table((f"{count:,}", title) for title, count in counts.most_common())),
    ]
    note = (
        "Times are those of the stream, in UTC; of orders by people, those of the clock. "
        "The chain is checked over the whole topic, whatever the period."
    )
    return joined([table(rows), tag("p", note, class_="about")])


def _chain(checked: Checked) -> Markup:
    said = (
        f"{checked.decisions:,} decisions, the last one {checked.head.sequence} with SHA-256 "
        f"{checked.head.sha256}; {checked.doubled:,} there twice, {checked.outside:,} outside the "
        f"chain, {checked.gone:,} before the topic's beginning"
    )
    if not checked.wrong:
        return joined([tag("b", "whole"), ": ", tag("code", said)])
    lines = (tag("li", line) for line in checked.wrong)
    return joined([tag("span", "not whole", class_="bad"), ": ", said, tag("ul", *lines)])


def _figures(settings: Settings, windows: Sequence[Event]) -> list[tuple[str, str]]:
    """Over the windows that ended in the period; each figure healed, then frozen."""
    found = [
        (_figure(own, "log_loss"), _figure(own, "weight"), _cost(own))
        for event in windows
        for own in (event["reflexive"].get("healed"), event["reflexive"].get("frozen"))
    ]
    rows = sum(weight for _, weight, _ in found[::2])
    if not rows or math.isnan(rows):
        return [("Labelled rows", "no window of them ended in this period")]
    healed, frozen = (
        (sum(loss * weight for loss, weight, _ in side) / rows, sum(cost for *_, cost in side))
        for side in (found[::2], found[1::2])
    )
    return [
        (
            "Labelled rows",
            f"{rows:,.0f} in {len(windows):,} full windows, each row judged by what was known when "
            "it came",
        ),
        ("Log loss", f"healed {healed[0]:.4f}, frozen {frozen[0]:.4f} (lower is better)"),
        ("Cost", f"healed {healed[1]:,.0f}, frozen {frozen[1]:,.0f} ({_prices(settings)})"),
    ]


def _versions(in_force: Sequence[tuple[datetime, Mapping[str, Any]]]) -> Markup:
    changes: list[tuple[datetime, Mapping[str, Any]]] = []
    for time, record in in_force:
        if not changes or _version(changes[-1][1]) != _version(record):
            changes.append((time, record))
    if not changes:
        return tag("span", "no batch began in this period")
    first, last = (_version(changes[at][1]) for at in (0, -1))
    every = table((_version(record), f"from {_clock(time)}") for time, record in changes)
    return tag(
        "details", tag("summary", f"first {first}, last {last}: all {len(changes):,}"), every
    )


def _version(record: Mapping[str, Any]) -> str:
    return f"v{record.get('version')}" + (" (provisional)" if record.get("provisional") else "")


# --- Plot ---


def _plot(
    settings: Settings,
    decisions: Sequence[Event],
    windows: Sequence[Event],
    in_force: Sequence[tuple[datetime, Mapping[str, Any]]],
) -> Markup:
    losses, costs = [], []
    for event in windows:
        both = [event["reflexive"].get(side) for side in ("healed", "frozen")]
        loss = [_figure(one, "log_loss") for one in both]
        cost = [_cost(one) / max(_figure(one, "weight"), 1) * 1_000 for one in both]
        losses.append((_time(event), loss[0], loss[1]))
        costs.append((_time(event), cost[0], cost[1]))
    marks: dict[str, list[datetime]] = {group: [] for group in plain_words.GROUPS}
    for event in decisions:
        if group := plain_words.of(event["event"]["action"]).group:
            marks[group].append(_time(event))
    weights = [
        (time, {printable(str(name)): _number(weight) for name, weight in own.items()})
        for time, record in in_force
        if (own := record.get("weights"))
    ]
    price = f"{settings.cost.false_alarm[0]:,g}"
    drawn = svg(Timeline(losses, costs, price, weights, marks))
    return Markup(drawn) if drawn else tag("p", "Nothing to draw: no labelled rows, no weights.")


def _in_force(
    events: Iterable[Event], activations: Mapping[int, Activations], period: Period
) -> list[tuple[datetime, Mapping[str, Any]]]:
    """What was in force on the healer's partition, from the end of which batch: two, if cut."""
    known = activations.get(HEALER, Activations())
    return [
        (_time(event), record)
        for event in export.in_order(events)
        if (own := event["reflexive"])["partition"] == HEALER and _time(event) in period
        for record in known.records[
            bisect_left(known.offsets, own["first_offset"]) : bisect_right(
                known.offsets, own["offset"]
            )
        ]
    ]


# --- Decisions ---


def _decisions(events: Iterable[Event], period: Period) -> list[Event]:
    return [event for event in events if chain.is_decision(event) and _time(event) in period]


def _section(event: Event) -> Markup:
    own, plain = event["reflexive"], plain_words.of(event["event"]["action"])
    number = own.get("sequence")
    about = [
        _clock(_time(event)),
        "outside the chain" if number is None else f"decision {number}",
        f"event {event['event']['id']}",
    ]
    if "topic" in own:
        about.append(f"{own['topic']}[{own.get('partition')}] offset {own.get('offset')}")
    if "state" in own:
        about.append(f"state {own['state']}")
    if "adapter_version" in own:
        about.append(f"v{own['adapter_version']} in force")
    evidence = {n.replace("_", " "): value for n, value in own.items() if n not in _ABOUT}
    return tag(
        "article",
        tag("h3", plain.title),
        tag("p", " · ".join(about), class_="about"),
        tag("p", tag("b", event["message"]), *([" ", plain.meaning] if plain.meaning else [])),
        *([table(_pairs(evidence))] if evidence else []),
        class_=plain.group.replace(" ", "-") or "other",
    )


def _pairs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name, _value(value)) for name, value in values.items()]


def _value(value: Any) -> str:
    """Anything that JSON holds, for a person."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "unknown"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return table(_pairs(value))
    if isinstance(value, list) and value and all(isinstance(one, Mapping) for one in value):
        names = list(dict.fromkeys(name for one in value for name in one))
        rows = ([_value(one[name]) if name in one else "" for name in names] for one in value)
        return table(rows, [name.replace("_", " ") for name in names])
    if isinstance(value, list):
        return joined(tag("div", _value(one)) for one in value)
    return str(value)


# --- Figures ---


def _figure(figures: Any, name: str) -> float:
    return _number(figures.get(name)) if isinstance(figures, Mapping) else math.nan


def _cost(figures: Any) -> float:
    """At the price of a false alarm that decides."""
    costs = figures.get("expected_cost") if isinstance(figures, Mapping) else None
    return _number(costs[0]) if isinstance(costs, list) and costs else math.nan


def _prices(settings: Settings) -> str:
    cost = settings.cost
    missed = cost.amount_feature or f"{cost.missed_fraud:,g}"
    return f"missed fraud {missed}, false alarm {cost.false_alarm[0]:,g}"


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _time(event: Event) -> datetime:
    return datetime.fromisoformat(event["@timestamp"])


def _clock(time: datetime | None) -> str:
    return "unknown" if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
