"""Loss, cost and weights over the time of an audit report, with the decisions marked."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from consumer.plots import style

# Beyond so many marks of a group they hide what they stand in.
MOST_MARKS = 150
_COLOURS = (style.ORANGE, style.GREEN, style.VERMILLION, style.GREY, style.PURPLE)
# Text stays text, and a dollar sign no formula; ids are the same each time.
_SVG: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "reflexive",
    "text.parse_math": False,
}
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


_Panel = Callable[[Any, Sequence[Any]], None]


@dataclass(frozen=True, slots=True)
class Timeline:
    """What is drawn; each list in the order of time."""

    losses: Sequence[tuple[datetime, float, float]]  # of a window: healed, frozen
    costs: Sequence[tuple[datetime, float, float]]  # a 1,000 rows
    price: str  # of a false alarm, in the costs
    weights: Sequence[tuple[datetime, Mapping[str, float]]]  # of experts, from then on
    marks: Mapping[str, Sequence[datetime]]  # by group; their order gives the colours


def svg(found: Timeline) -> str:
    """One SVG element; empty where there is nothing to draw."""
    every: tuple[tuple[str, _Panel, Sequence[Any]], ...] = (
        ("log loss", _compared, found.losses),
        (f"cost a 1,000 rows\n(false alarm: {found.price})", _compared, found.costs),
        ("weight", _weights, found.weights),
    )
    panels = [panel for panel in every if panel[2]]
    if not panels:
        return ""
    with style.styled(), mpl.rc_context(_SVG):
        figure = Figure(figsize=(style.WIDTH, 0.9 + 2.3 * len(panels)), layout="constrained")
        FigureCanvasSVG(figure)
        columns = list(figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0])
        for axes, (name, draw, rows) in zip(columns, panels, strict=True):
            draw(axes, rows)
            axes.set_ylabel(name)
            axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
        if marked := _marks(columns, found.marks):
            figure.legend(handles=marked, loc="outside upper left", ncols=len(marked))
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata=_NO_METADATA)
    return out.getvalue()[out.getvalue().index("<svg") :]


def _compared(axes: Any, rows: Sequence[tuple[datetime, float, float]]) -> None:
    times, healed, frozen = zip(*rows, strict=True)
    for look, values in ((style.HEALED, healed), (style.FROZEN, frozen)):
        axes.plot(times, values, color=look.colour, ls=look.line, lw=look.width, label=look.name)
    axes.set_ylim(0, None)


def _weights(axes: Any, rows: Sequence[tuple[datetime, Mapping[str, float]]]) -> None:
    names = list(dict.fromkeys(name for _, weights in rows for name in weights))
    values = [[weights.get(name, 0.0) for _, weights in rows] for name in names]
    colours = mpl.colormaps["tab20"].colors  # type: ignore[attr-defined]
    axes.stackplot([time for time, _ in rows], values, labels=names, colors=colours, step="post")
    axes.set_ylim(0, 1)


def _marks(every: Sequence[Any], marks: Mapping[str, Sequence[datetime]]) -> list[Any]:
    handles = []
    for (group, times), colour in zip(marks.items(), _COLOURS, strict=True):
        if not times:
            continue
        shown = times[:: math.ceil(len(times) / MOST_MARKS)]
        for axes in every:
            lines = [axes.axvline(time, color=colour, lw=0.8, ls=":") for time in shown]
        lines[0].set_label(f"{group} ({len(times):,})")
        handles.append(lines[0])
    return handles
