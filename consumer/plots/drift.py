"""Plots 3 and 7: what the monitors saw, and what state the healing loop was in."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.patches import Patch

from consumer.plots import style, words
from consumer.plots.story import Story

# Bottom to top as trouble grows; a hatch each, so that no band is told by colour alone.
STATES = (
    ("HEALTHY", style.GREEN, None),
    ("DRIFTING", style.ORANGE, "////"),
    ("HEALING", style.SKY, "...."),
    ("ROLLED_BACK", style.PURPLE, "xxxx"),
)
MARKS = (
    ("heal-deployed", "heal deployed", "^", style.BLUE),
    ("rollback", "rollback", "v", style.PURPLE),
    ("heal-discarded", "heal discarded", "X", style.VERMILLION),
)


def z_score(story: Story) -> style.Frame:
    """3: z with its threshold, alarmed batches shaded."""
    x, z = story.x, story.table.numbers("z")
    alarm = story.table.flags("alarm")
    frame = style.Frame(
        _drift_title(story),
        "FIDI: distance of the recent batch means from the training mean, "
        "of the feature that moved most",
    )
    axes = frame.axes()
    axes.set_ylabel("z (training standard deviations)")
    drawn: list[Any] = [
        style.curve(axes, x, z, style.SIGNAL, smooth=False),
        *axes.step(
            np.append(x - 0.5, x[-1] + 0.5),
            np.append(story.limit, story.limit[-1]),
            where="post",
            color=style.VERMILLION,
            linestyle="--",
            linewidth=1.6,
            label=_limit_name(story),
        ),
    ]
    over = z > story.limit
    style.shade(axes, x, alarm & over, color=style.ORANGE, alpha=0.17, linewidth=0)
    style.shade(
        axes,
        x,
        alarm & ~over,
        facecolor="none",
        edgecolor=style.ORANGE,
        hatch="////",
        alpha=0.35,
        linewidth=0,
    )
    axes.set_ylim(0, 1.12 * float(max(z.max(), story.limit.max())))
    style.over_batches(axes, x, story.x_label)
    frame.legend([*drawn, *_shades(alarm & over, alarm & ~over)])
    return frame


def states(story: Story) -> style.Frame:
    """7: four states as bands over batches, heals and rollbacks marked above."""
    x = story.x
    state = np.array(story.table.texts("state"))
    frame = style.Frame(
        _state_title(story, state),
        "state when each batch began, or was cut · a mark stands at the batch whose labels led to "
        "the decision",
    )
    axes = frame.axes(left=1.45, top=1.0)
    lanes: list[str] = []
    for lane, (name, colour, hatch) in enumerate(STATES):
        where = state == name
        axes.axhspan(lane - 0.4, lane + 0.4, color=style.PALE, alpha=0.35, linewidth=0, zorder=0.5)
        bars = [(x[begin] - 0.5, x[end - 1] - x[begin] + 1.0) for begin, end in style.runs(where)]
        axes.broken_barh(
            bars, (lane - 0.4, 0.8), facecolor=colour, hatch=hatch, edgecolor="white", linewidth=0
        )
        lanes.append(f"{name}\n{words.count(int(where.sum()), 'batch')}")
    axes.axhline(len(STATES) - 0.5, color=style.GREY, linewidth=0.8)
    for action, label, marker, colour in MARKS:
        if action == "heal-discarded" and not story.totals[action]:
            continue
        at = x[story.decided[action] > 0]
        axes.plot(
            at,
            np.full(len(at), len(lanes)),
            linestyle="none",
            marker=marker,
            markersize=9 if len(x) <= style.CROWDED else 6,
            color=colour,
            markeredgecolor=style.INK,
            markeredgewidth=0.6,
        )
        lanes.append(f"{label}\n{story.totals[action] or 'none'}")
    axes.set_yticks(range(len(lanes)), lanes)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-0.55, len(lanes) - 0.45)
    axes.grid(visible=False)
    style.over_batches(axes, x, story.x_label)
    return frame


def _shades(by_z: Any, by_conflicts: Any) -> list[Any]:
    found = []
    if by_z.any():
        found.append(Patch(facecolor=style.ORANGE, alpha=0.3, label="alarm"))
    if by_conflicts.any():
        found.append(
            Patch(
                facecolor="none",
                edgecolor=style.ORANGE,
                hatch="////",
                alpha=0.7,
                linewidth=0,
                label="alarm by rule conflicts alone",
            )
        )
    return found


def _limit_name(story: Story) -> str:
    first, last = story.limit[0], story.limit[-1]
    return f"threshold {first:.2f}" if first == last else f"threshold {first:.2f}, then {last:.2f}"


def _drift_title(story: Story) -> str:
    x, z = story.x, story.table.numbers("z")
    over = np.flatnonzero(z > story.limit)
    alarms = int(story.table.flags("alarm").sum())
    if len(over):
        feature = f"{story.feature} " if story.feature else ""
        return (
            f"Drift: {feature}passes its threshold in batch {x[over[0]]:,.0f} and is above it in "
            f"{len(over):,} of {len(x):,} batches"
        )
    if alarms:
        return (
            f"z stays below its threshold; conflicts alone alarm {alarms:,} of {len(x):,} batches"
        )
    return f"No drift: z stays below its threshold in all {len(x):,} batches (most {z.max():.2f})"


def _state_title(story: Story, state: Any) -> str:
    healthy = int((state == "HEALTHY").sum())
    heals = words.count(story.totals["heal-deployed"], "heal")
    rollbacks = words.count(story.totals["rollback"], "rollback")
    return f"HEALTHY in {healthy:,} of {len(state):,} batches; {heals}, {rollbacks}"
