"""The label-delay run as Markdown: where labels went, memory over time, figures side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.markdown import table
from benchmarks.processes import Sample, Watched
from consumer.join_record import row_type
from consumer.running import Measured, Running
from consumer.settings import Settings

WANTED = 0.999  # of all labels are to be joined where there is room for every row
# Every label has one of these fates; what is left over waits for its transaction.
FATES = (
    *("matched", "unsampled", "too_late", "duplicate", "corrected", "outdated", "conflict"),
    *("orphan", "early_dropped"),
)
# And of the transactions: without a label at the horizon, out of the sample, a second of their id.
LEFT = ("expired", "thinned", "reused_id")
FIGURES = (
    *("log_loss", "average_precision", "brier", "accuracy", "precision", "recall", "f1"),
    "recall_at_capacity",
)
SHOWN = 12  # lines of the table of memory
Line = Sequence[str]


@dataclass(frozen=True, slots=True)
class Ran:
    """A run that has ended, and its last checkpoint."""

    settings: Settings
    watched: Watched
    checkpoint: dict[str, Any]

    @property
    def state(self) -> dict[str, Any]:
        """Of the pipeline."""
        found: dict[str, Any] = self.checkpoint["pipeline"]
        return found

    @property
    def counts(self) -> dict[str, int]:
        """Of the join."""
        counts = self.state["join"]["counts"]
        return {name: counts.get(name, 0) for name in (*FATES, *LEFT)}

    @property
    def waits(self) -> int:
        """Labels that nothing has become of yet."""
        return int(self.state["labels"] - sum(self.counts[fate] for fate in FATES))

    @property
    def joined_share(self) -> float:
        """Of the labels read."""
        return self.counts["matched"] / max(1, int(self.state["labels"]))

    @property
    def measured(self) -> tuple[Measured, Measured]:
        """Healed and frozen, over all joined rows."""
        running = Running(self.settings.prequential.window_rows, self.settings.cost)
        running.load(self.state["running"])
        return running.so_far()


def lines(whole: Ran, sampled: Ran, features: int) -> Iterator[str]:
    """The report below its heading."""
    yield from _ledger(whole, sampled)
    yield from _memory(whole, sampled, features)
    yield "## Figures"
    yield ""
    weight = sampled.measured[1].figures["weight"]
    yield (
        f"Prequential, over every labelled row; the {sampled.counts['matched']:,} rows of the "
        f"sample stand for {weight:,.0f}. ± is the standard error that the run itself tells, and "
        "the last column how many of them the two runs lie apart."
    )
    yield ""
    for name, index, why in (
        (
            "Frozen model",
            1,
            "It scores a row alike in both runs: this is what sampling alone does to the figures",
        ),
        (
            "Healed model",
            0,
            "Two models: of a sample come fewer labelled batches, on other rows, and so other "
            "heals. This difference is one of heals first",
        ),
    ):
        found = list(_compared(whole, sampled, index))
        apart = [float(line[-1]) for line in found if line[-1] != "–"]
        yield f"**{name}**"
        yield ""
        yield from table(["figure", "all rows", "sampled", "±", "apart by"], found)
        yield (
            f"{why}. {sum(each <= 2 for each in apart)} of {len(apart)} figures lie within 2 "
            f"standard errors, the farthest is {max(apart, default=0):.1f} apart."
        )
        yield ""


def _ledger(whole: Ran, sampled: Ran) -> Iterator[str]:
    yield "## Labels"
    yield ""
    rows: list[tuple[str, Callable[[Ran], str]]] = [
        ("room (`join.max_rows`)", lambda ran: f"{ran.settings.join.max_rows:,}"),
        ("transactions scored", lambda ran: f"{ran.state['scored']:,}"),
        ("labels read", lambda ran: f"{ran.state['labels']:,}"),
        ("**joined**", lambda ran: f"**{ran.joined_share:.3%}**"),
        *((f"`{fate}`", lambda ran, fate=fate: f"{ran.counts[fate]:,}") for fate in FATES),
        ("still waiting", lambda ran: f"{ran.waits:,}"),
        *((f"rows `{name}`", lambda ran, name=name: f"{ran.counts[name]:,}") for name in LEFT),
        ("a row of the sample stands for", lambda ran: f"{2 ** ran.state['join']['level']}"),
        ("heals", lambda ran: f"{ran.checkpoint['healing']['heals']:,}"),
        ("seconds, start and stop included", lambda ran: f"{ran.watched.seconds:.0f}"),
        ("transactions a second", lambda ran: f"{ran.state['scored'] / ran.watched.seconds:,.0f}"),
        ("most memory while it read, MB", lambda ran: f"{_highest(ran):.0f}"),
        ("most memory, its end included, MB", lambda ran: f"{ran.watched.peak_mb:.0f}"),
    ]
    yield from table(
        ["", "all rows", "sampled"], [[name, of(whole), of(sampled)] for name, of in rows]
    )


def _memory(whole: Ran, sampled: Ran, features: int) -> Iterator[str]:
    yield "## Memory"
    yield ""
    yield "Resident memory while it runs, in MB:"
    yield ""
    at = np.linspace(0, whole.state["scored"], SHOWN + 1)[1:]
    yield from table(
        ["transactions committed", "all rows", "sampled"],
        [
            [f"{rows:,.0f}", *(f"{_resident(ran.watched.samples, rows):.0f}" for ran in both)]
            for both in [(whole, sampled)]
            for rows in at.tolist()
        ],
    )
    held = whole.counts["matched"] - sampled.counts["matched"]
    # Beside each record its id's hash and a mark, 9 bytes; the index from hash to place.
    size = row_type(features).itemsize + 9
    half = [_growth(ran) for ran in (whole, sampled)]
    yield (
        f"Over the second half of the stream it grew by {half[0]:+.0f} MB with room for all rows "
        f"and by {half[1]:+.0f} MB sampled. The most that each run held differs by "
        f"{_highest(whole) - _highest(sampled):.0f} MB while it read, by "
        f"{whole.watched.peak_mb - sampled.watched.peak_mb:.0f} MB with its end, when Python takes "
        f"its modules apart. {held:,} more rows of {size} bytes are {held * size / 1e6:.0f} MB, to "
        "which come the index of ids and, whenever the columns double, the old ones beside the new."
    )
    yield ""


def _highest(ran: Ran) -> float:
    """MB until the last transaction was committed, but for what rose and fell between two looks."""
    total = ran.state["scored"]
    return max(sample.resident_mb for sample in ran.watched.samples if sample.rows < total)


def _resident(samples: list[Sample], rows: float) -> float:
    """The first time that so many transactions were committed."""
    return next((s.resident_mb for s in samples if s.rows >= rows), samples[-1].resident_mb)


def _growth(ran: Ran) -> float:
    """MB over the second half of the transactions: medians of its first and last tenth."""
    rows = np.array([sample.rows for sample in ran.watched.samples])
    memory = np.array([sample.resident_mb for sample in ran.watched.samples])
    total = ran.state["scored"]
    first = memory[(rows >= 0.50 * total) & (rows < 0.55 * total)]
    last = memory[(rows >= 0.95 * total) & (rows < total)]
    return float(np.median(last) - np.median(first)) if len(first) and len(last) else float("nan")


def _compared(whole: Ran, sampled: Ran, index: int) -> Iterator[Line]:
    full, part = whole.measured[index], sampled.measured[index]
    assert part.standard_errors is not None, "the smaller room holds all rows too"
    errors = part.standard_errors
    named = [(name, full.figures[name], part.figures[name], errors[name]) for name in FIGURES]
    cost = sampled.settings.cost
    for number, price in enumerate(cost.false_alarm):
        values = [found["expected_cost"][number] for found in (full.figures, part.figures, errors)]
        named.append((f"expected_cost at {cost.missed_fraud:g}/{price:g}", *values))
    for name, theirs, ours, error in named:
        apart = (
            "–"
            if not error or theirs is None or ours is None
            else f"{abs(ours - theirs) / error:.2f}"
        )
        yield [f"`{name}`", *(_number(value) for value in (theirs, ours, error)), apart]


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.5f}"
