"""Plot 9: what the labelled rows would have cost at every threshold."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from consumer.plots import style
from consumer.plots.story import Story

# Where a missed fraud costs hundreds of false alarms the cheapest threshold lies near 0, and near 1
# where it is the other way round: an axis in odds shows both.
_ENDS = 1e-4
_TICKS = (0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)


def cost(story: Story) -> style.Frame:
    """9: cost over thresholds, a panel for each price of a false alarm."""
    found = story.costs
    assert found is not None
    frame = style.Frame(
        _title(story),
        "the same labelled rows, prequential · a ring marks the cheapest threshold, chosen on "
        "these very rows",
    )
    odds = np.linspace(np.log(_ENDS), -np.log(_ENDS), 500)
    threshold = 1 / (1 + np.exp(-odds))  # (500,)
    looks = ((style.HEALED, found.healed), (style.FROZEN, found.frozen))
    panels = frame.grid(1, len(found.prices))
    for axes, price in zip(np.atleast_1d(panels), found.prices, strict=True):
        axes.set_xscale("logit")
        for look, curve in looks:
            axes.plot(
                threshold,
                curve.at(threshold, price),
                color=look.colour,
                linestyle=look.line,
                linewidth=look.width,
            )
            best = np.clip(curve.cheapest(price), _ENDS, 1 - _ENDS)
            axes.plot(
                best,
                curve.at(np.array([best]), price),
                linestyle="none",
                marker="o",
                markersize=9,
                markerfacecolor="none",
                markeredgecolor=look.colour,
                markeredgewidth=1.8,
                clip_on=False,
            )
        if found.in_force is not None:
            axes.axvline(
                np.clip(found.in_force, _ENDS, 1 - _ENDS),
                color=style.INK,
                linestyle=":",
                linewidth=1.6,
            )
        axes.set_xlim(_ENDS, 1 - _ENDS)
        axes.set_ylim(bottom=0)
        axes.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS], fontsize=8.5)
        axes.minorticks_off()
        axes.set_xlabel("threshold (on a scale of odds)")
        axes.set_title(f"a false alarm costs {price:,g}", fontsize=10.5)
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
        axes.tick_params(axis="y", labelsize=8.5)
    frame.legend(_handles(story))
    return frame


def _title(story: Story) -> str:
    found = story.costs
    assert found is not None
    if found.in_force is None:
        return "Cost over thresholds; in force is one for each amount"
    return f"Cost over thresholds; in force is {found.in_force:.4g}"


def _handles(story: Story) -> list[Any]:
    assert story.costs is not None
    handles = [
        Line2D(
            [], [], color=look.colour, linestyle=look.line, linewidth=look.width, label=look.name
        )
        for look in (style.HEALED, style.FROZEN)
    ]
    if story.costs.in_force is not None:
        handles.append(
            Line2D([], [], color=style.INK, linestyle=":", linewidth=1.6, label="in force")
        )
    return handles
