"""Plots 1, 2 and 4: how right the decisions were, batch by batch, beside the frozen model's."""

from __future__ import annotations

from typing import Any

import numpy as np

from consumer.plots import style, words
from consumer.plots.story import Story


def accuracy(story: Story) -> style.Frame:
    """1: accuracy over batches with shadow and clean line."""
    frame = style.Frame(_accuracy_title(story), _subtitle(story, story.noise))
    axes = frame.axes()
    axes.set_ylabel("accuracy (% of labelled rows)")
    style.percent(axes)
    table, x = story.table, story.x
    drawn = [
        style.curve(axes, x, table.numbers("accuracy"), style.HEALED),
        style.curve(axes, x, table.numbers("shadow_accuracy"), style.FROZEN),
    ]
    if story.clean is not None and "accuracy" in story.clean.figures:
        drawn.append(_clean_line(axes, story, "accuracy", 100, ".1f", "%"))
    if story.stages is not None:
        share = story.stages.approve_all.accuracy
        name = f"{style.APPROVE_ALL.name} ({100 * share:.1f}%)"
        drawn.append(style.level(axes, share, style.APPROVE_ALL, name))
    style.over_batches(axes, x, story.x_label, smooth=True)
    frame.legend(drawn)
    return frame


def f1(story: Story) -> style.Frame:
    """2: F1 over batches, rollbacks marked."""
    frame = style.Frame(_f1_title(story), _subtitle(story, "F1 is 0 where no fraud is caught"))
    axes = frame.axes()
    axes.set_ylabel("F1 (0 to 1)")
    table, x = story.table, story.x
    drawn = [
        style.curve(axes, x, table.numbers("f1"), style.HEALED),
        style.curve(axes, x, table.numbers("shadow_f1"), style.FROZEN),
    ]
    in_force = table.numbers("in_force_f1")
    # Without a heal it is the healed line once more; in a crowd it would hide the other two.
    if story.totals["heal-deployed"] and len(x) <= style.CROWDED and np.isfinite(in_force).any():
        drawn.append(style.curve(axes, x, in_force, style.IN_FORCE))
    if story.clean is not None and "f1" in story.clean.figures:
        drawn.append(_clean_line(axes, story, "f1", 1, ".3f", ""))
    top = min(1.05, 1.15 * max(0.1, *(float(np.nanmax(d.get_ydata())) for d in drawn)))
    axes.set_ylim(0, top)
    rolled_back = x[story.decided["rollback"] > 0]
    if len(rolled_back):
        axes.vlines(rolled_back, 0, top, color=style.PURPLE, linewidth=1.0, alpha=0.6, zorder=1)
        drawn += axes.plot(
            rolled_back,
            np.full(len(rolled_back), 0.97 * top),
            linestyle="none",
            marker="v",
            markersize=8,
            color=style.PURPLE,
            markeredgecolor=style.INK,
            markeredgewidth=0.6,
            label="rollback",
        )
    style.over_batches(axes, x, story.x_label, smooth=True)
    frame.legend(drawn)
    return frame


def lift(story: Story) -> style.Frame:
    """4: accuracy of the healed minus that of the frozen model, as bars with their mean."""
    gained = 100 * story.table.numbers("lift")
    known = gained[np.isfinite(gained)]
    mean, wins = float(known.mean()), int((known > 0).sum())
    frame = style.Frame(
        _lift_title(known),
        _subtitle(story, f"healed ahead in {wins:,} of {len(known):,} batches"),
    )
    axes = frame.axes()
    axes.set_ylabel("lift (points of accuracy, healed − frozen)")
    x = story.x
    drawn: list[Any] = []
    for name, better, colour, hatch in (
        ("healed is better", gained > 0, style.BLUE, None),
        ("frozen is better", gained < 0, style.VERMILLION, "////"),
    ):
        if better.any():
            height = np.where(better, gained, 0.0)
            drawn.append(style.bars(axes, x, height, name=name, hatch=hatch, color=colour))
    axes.axhline(0, color=style.INK, linewidth=0.9)
    drawn.append(
        axes.axhline(
            mean,
            color=style.INK,
            linestyle="--",
            linewidth=1.4,
            label=f"mean {words.signed(mean, 1)}",
        )
    )
    low, high = min(0.0, float(known.min())), max(0.0, float(known.max()))
    air = max(1.0, 0.07 * (high - low))
    axes.set_ylim(low - air if low < 0 or high == 0 else 0, high + air)
    style.over_batches(axes, x, story.x_label)
    frame.legend(drawn)
    return frame


def _clean_line(axes: Any, story: Story, figure: str, times: int, form: str, unit: str) -> Any:
    assert story.clean is not None
    value = story.clean.figures[figure]
    return style.level(
        axes, value, style.CLEAN, f"{story.clean.name} ({times * value:{form}}{unit})"
    )


def _subtitle(story: Story, more: str) -> str:
    assert story.stages is not None
    return f"prequential: each score was made before its label was known · {more}"


def _since(story: Story) -> str:
    assert story.stages is not None
    return "after the first alarm" if story.stages.since == "alarm" else "over the whole stream"


def _lift_title(known: Any) -> str:
    if not known.any():
        return f"No lift: healed and frozen are equally right in all {len(known):,} batches"
    spread = f"least {words.signed(known.min(), 0)}, most {words.signed(known.max(), 0)}"
    mean = words.signed(float(known.mean()), 1)
    return f"Lift: {mean} points of accuracy a batch on average ({spread})"


def _accuracy_title(story: Story) -> str:
    assert story.stages is not None
    healed, frozen = story.stages.healed.accuracy, story.stages.frozen.accuracy
    return (
        f"Accuracy {_since(story)}: healed {100 * healed:.1f}%, frozen {100 * frozen:.1f}% "
        f"({words.signed(100 * (healed - frozen), 1)} points)"
    )


def _f1_title(story: Story) -> str:
    assert story.stages is not None
    healed, frozen = story.stages.healed.f1, story.stages.frozen.f1
    rollbacks = words.count(story.totals["rollback"], "rollback")
    return f"F1 {_since(story)}: healed {healed:.3f}, frozen {frozen:.3f}; {rollbacks}"
