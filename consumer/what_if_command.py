"""The `what-if` command: past decisions at other prices, from the joined rows."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import orjson
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from consumer.errors import DataError
from consumer.kafka import topics
from consumer.kafka.reader import read_objects
from consumer.prequential import prequential
from consumer.settings import Settings
from consumer.what_if import Outcome, WhatIf, what_if


def run(settings: Settings, *, json: bool) -> None:
    """Print what the joined rows cost by `settings.cost`.

    Raises: KafkaUnavailableError where nothing was consumed as this application, DataError where no
    label has been joined yet.
    """
    cost = settings.cost
    topic = topics.written(settings, "labelled")
    rows = prequential(read_objects(settings.kafka, topic), cost)
    if not len(rows):
        raise DataError(f"no labelled rows yet: topic {topic!r} is empty. Send labels.")
    found = what_if(rows, cost.false_alarm, cost.review)
    missed = cost.amount_feature or cost.missed_fraud
    if json:
        typer.echo(orjson.dumps(as_object(found, missed, cost.review)))
        return
    console = Console()
    if not console.is_terminal:  # a file has room for every digit
        console = Console(width=160)
    console.print(table(found, missed, cost.review))
    console.print(verdict(found), soft_wrap=True)


def as_object(found: WhatIf, missed: float | str, review: float | None = None) -> dict[str, Any]:
    """For machines; `missed_fraud` is a price, or the name of the feature that holds it."""
    sides = {name: _plain(getattr(found, name)) for name in ("healed", "frozen")}
    return {**asdict(found), **sides, "missed_fraud": missed, "review": review}


def _plain(one: Outcome) -> dict[str, Any]:
    prices = [asdict(at) for at in one.prices]
    money = {"missed": one.missed, "reviewed": one.reviewed}
    return {**one.counts._asdict(), **money, "prices": prices}


def table(found: WhatIf, missed: float | str, review: float | None = None) -> Table:
    """A line for each model and price, within 80 columns."""
    each = missed if isinstance(missed, str) else f"{missed:,g}"
    stand_for = "" if found.weight == found.rows else f", which stand for {found.weight:,.0f}"
    people = ""
    if found.healed.reviewed or found.frozen.reviewed:
        price = "counted as declined" if review is None else f"at {review:,g} each"
        people = (
            f"\n{found.healed.reviewed:,.0f} of them reviewed, by the frozen model "
            f"{found.frozen.reviewed:,.0f}: {price}"
        )
    shown = Table(
        title=f"{found.rows:,} labelled rows{stand_for}; a missed fraud costs {each}{people}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        pad_edge=False,
    )
    shown.add_column("model", no_wrap=True)
    for heading in ("TP", "TN", "FP", "FN", "an FP", "cost", "cheapest at", "cost there"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for name, one in (("healed", found.healed), ("frozen", found.frozen)):
        counts = one.counts
        head = [name, *(f"{n:,.0f}" for n in (counts.tp, counts.tn, counts.fp, counts.fn))]
        for at in one.prices:
            shown.add_row(
                *head,
                f"{at.false_alarm:,g}",
                f"{at.cost:,.0f}",
                f"{at.threshold:.4f}",
                f"{at.cost_there:,.0f}",
            )
            head = [""] * 5
    return shown


def verdict(found: WhatIf) -> str:
    """Which is the cheaper one, and from which price on."""
    parts = []
    for healed, frozen in zip(found.healed.prices, found.frozen.prices, strict=True):
        lead = frozen.cost - healed.cost
        cheaper = "healed is" if lead > 0 else "frozen is" if lead < 0 else "neither is"
        parts.append(f"at an FP of {healed.false_alarm:,g} {cheaper} the cheaper one")
    if found.break_even is None:
        parts.append("no price of an FP makes them equal")
    else:
        parts.append(
            f"both cost the same at an FP of {found.break_even:,.2f}, above it "
            f"{found.cheaper_above} is cheaper"
        )
    return (
        f"{'; '.join(parts)}. The cheapest thresholds (one for all, no reviews) are chosen "
        "on these very rows."
    )
