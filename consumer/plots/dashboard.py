"""Plot 8: a run at a glance, in four panels, from metrics.csv alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from consumer.columns import Float64
from consumer.export import Table
from consumer.plots import style, words

_COST = "shadow_cost_"
_SUBTITLE = (
    "over every batch with labels, drawn from metrics.csv · prequential: each score was made "
    "before its label was known"
)


def dashboard(table: Table, x: Float64, x_label: str) -> style.Frame:
    """8: accuracy, log loss, expected cost so far, and the drift signals."""
    frame = style.Frame(_title(table), _SUBTITLE, style.TALL)
    (accuracy, loss), (cost, signals) = frame.grid(2, 2)
    _pair(accuracy, table, x, "accuracy", "Accuracy (% of labelled rows)")
    style.percent(accuracy)
    _pair(loss, table, x, "log_loss", "Log loss (nats a row; lower is better)")
    loss.set_ylim(bottom=0)
    _costs(cost, table, x)
    _signals(signals, table, x)
    for axes in (accuracy, loss, cost, signals):
        style.over_batches(axes, x, x_label, smooth=axes in (accuracy, loss))
        axes.xaxis.label.set_fontsize(8.5)
    alarm = [Patch(facecolor=style.ORANGE, alpha=0.3, label="alarm")]
    frame.legend(
        [_key(style.HEALED), _key(style.FROZEN), *(alarm if table.flags("alarm").any() else [])]
    )
    return frame


def _key(look: style.Look) -> Line2D:
    return Line2D(
        [],
        [],
        color=look.colour,
        linestyle=look.line,
        marker=look.marker,
        linewidth=look.width,
        label=look.name,
    )


def _pair(axes: Axes, table: Table, x: Float64, figure: str, title: str) -> None:
    _head(axes, title)
    _alarms(axes, table, x)
    if not np.isfinite(table.numbers(figure)).any():
        style.say(axes, "no labelled rows")
        return
    style.curve(axes, x, table.numbers(figure), style.HEALED)
    style.curve(axes, x, table.numbers(f"shadow_{figure}"), style.FROZEN)


def _costs(axes: Axes, table: Table, x: Float64) -> None:
    prices = [name.removeprefix(_COST) for name in table.cells if name.startswith(_COST)]
    _head(axes, "Expected cost so far, by the price of a false alarm")
    _alarms(axes, table, x)
    if not prices or not np.isfinite(table.numbers("accuracy")).any():
        style.say(axes, "no labelled rows" if prices else "no price of a false alarm is set")
        return
    # More than two prices would be more than four lines: the least and the most frame the rest.
    shown = sorted({min(prices, key=float), max(prices, key=float)}, key=float)
    ends: list[tuple[float, str, str]] = []
    for price, width in zip(shown, (1.2, 2.4), strict=False):
        for look, prefix in ((style.HEALED, "cost_"), (style.FROZEN, _COST)):
            total = np.nancumsum(table.numbers(f"{prefix}{price}"))
            axes.plot(x, total, color=look.colour, linestyle=look.line, linewidth=width)
            ends.append((float(total[-1]), f"at {price}", look.colour))
    axes.set_ylim(bottom=0)
    axes.set_ylabel("cost (currency of the settings)")
    axes.yaxis.set_major_formatter(FuncFormatter(_short))
    top = axes.get_ylim()[1]
    place = np.inf
    for value, text, colour in sorted(ends, reverse=True):
        place = min(value, place - 0.055 * top)  # a label's height, so that none covers another
        axes.annotate(
            text,
            (1.0, place),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
            color=colour,
            annotation_clip=False,
        )


def _signals(axes: Axes, table: Table, x: Float64) -> None:
    _head(axes, "Drift signals")
    _alarms(axes, table, x)
    style.curve(axes, x, table.numbers("z"), style.SIGNAL, smooth=False)
    axes.set_ylabel("z (line, training sigmas)")
    axes.set_ylim(0, 1.15 * max(1.0, float(table.numbers("z").max())))
    conflicts = axes.twinx()
    style.bars(
        conflicts,
        x,
        table.numbers("conflicts"),
        name="conflicts",
        hatch=None,
        color=style.GREY,
        alpha=0.45,
    )
    conflicts.set_ylabel("rule conflicts (bars, rows)")
    conflicts.yaxis.set_major_locator(MaxNLocator(integer=True))
    conflicts.set_ylim(0, 1.6 * max(5.0, float(table.numbers("conflicts").max())))
    conflicts.grid(visible=False)
    conflicts.spines["right"].set_visible(True)
    axes.set_zorder(conflicts.get_zorder() + 1)
    axes.patch.set_visible(False)


def _alarms(axes: Axes, table: Table, x: Float64) -> None:
    style.shade(axes, x, table.flags("alarm"), color=style.ORANGE, alpha=0.13, linewidth=0)


def _head(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, weight="bold")


def _short(value: float, _: Any) -> str:
    for size, unit in ((1e9, " bn"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _title(table: Table) -> str:
    rows = table.numbers("labelled_rows")
    known = rows > 0
    if not known.any():
        return f"{len(table):,} batches scored, no labelled rows yet"

    def change(figure: str) -> float:
        healed, frozen = table.numbers(figure)[known], table.numbers(f"shadow_{figure}")[known]
        return float(np.average(healed - frozen, weights=rows[known]))

    said = [
        f"accuracy {words.signed(100 * change('accuracy'), 1)} points",
        f"log loss {words.signed(change('log_loss'), 2)}",
    ]
    for name in table.cells:
        if name.startswith(_COST):
            price = name.removeprefix(_COST)
            frozen = np.nansum(table.numbers(name))
            healed = np.nansum(table.numbers(f"cost_{price}"))
            if frozen:
                said.append(f"cost at {price} {words.signed(100 * (healed / frozen - 1), 0)}%")
    return f"Healed against frozen: {', '.join(said[:4])}"
