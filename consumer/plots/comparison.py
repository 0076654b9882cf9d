"""Plots 5 and 6: stages beside each other, and what the registry holds."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from consumer.plots import style, words
from consumer.plots.story import Story

NAMES = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "F1"}


def stages(story: Story) -> style.Frame:
    """5: clean, frozen and healed, with the two models that know nothing."""
    found = story.stages
    assert found is not None
    since = (
        "after the first alarm" if found.since == "alarm" else "over the whole stream (no alarm)"
    )
    frame = style.Frame(
        _stages_title(story),
        f"frozen and healed: the same {found.rows:,} labelled rows {since}, prequential",
    )
    axes = frame.axes()
    sides: list[tuple[str, Any, str, str | None]] = []
    if story.clean is not None:
        sides.append((story.clean.name, story.clean.figures.get, style.GREEN, "...."))
    sides.append(("frozen model", lambda f: getattr(found.frozen, f), style.VERMILLION, "////"))
    sides.append(("healed model", lambda f: getattr(found.healed, f), style.BLUE, None))
    width = 0.8 / len(sides)
    drawn: list[Any] = []
    for side, (name, figure, colour, hatch) in enumerate(sides):
        height = [figure(f) for f in NAMES]
        at = [i - 0.4 + (side + 0.5) * width for i in range(len(NAMES))]
        known = [(a, h) for a, h in zip(at, height, strict=True) if h is not None]
        bars = axes.bar(
            [a for a, _ in known],
            [h for _, h in known],
            width=0.92 * width,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0,
            label=name,
        )
        axes.bar_label(bars, fmt="%.3f", fontsize=9, padding=2)
        drawn.append(bars)
    for name, counts, marker in (
        ("approving everything", found.approve_all, "D"),
        ("flagging everything", found.flag_all, "X"),
    ):
        drawn += axes.plot(
            np.arange(len(NAMES)) + 0.46,
            [getattr(counts, f) for f in NAMES],
            linestyle="none",
            marker=marker,
            markersize=8,
            color="white",
            markeredgecolor=style.INK,
            markeredgewidth=1.2,
            clip_on=False,
            zorder=3,
            label=name,
        )
    axes.set_xticks(range(len(NAMES)), list(NAMES.values()), fontsize=11)
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, 1.06)
    axes.set_yticks(np.arange(0, 1.01, 0.2))
    axes.set_ylabel("figure (0 to 1)")
    frame.legend(drawn)
    return frame


def registry(story: Story) -> style.Frame:
    """6: version against F1 of the snapshots taken after heals, restored ones ringed."""
    healed = [
        s
        for s in story.snapshots
        if s["kind"] == "post-heal" and (s["figures"] or {}).get("f1") is not None
    ]
    if not healed:
        frame = style.Frame(
            f"The registry holds {words.count(len(story.snapshots), 'snapshot')}, none of a heal",
            "a snapshot is taken before and after each heal",
        )
        style.say(frame.axes(), "no heal was deployed")
        return frame
    version = np.array([s["version"] for s in healed], float)
    f1 = np.array([s["figures"]["f1"] for s in healed])
    accuracy = np.array([s["figures"]["accuracy"] for s in healed])
    best = int(np.argmax(f1))
    frame = style.Frame(
        f"Best of {words.count(len(healed), 'healed snapshot')}: v{version[best]:.0f}, F1 "
        f"{f1[best]:.3f}; {len(story.restored) or 'none'} restored",
        "figures of each snapshot on the labelled batch it was healed on (in-sample): "
        "not what it scores later",
    )
    axes = frame.axes(right=1.3)
    low, high = float(accuracy.min()), float(accuracy.max())
    size = 50 + 190 * (accuracy - low) / max(high - low, 1e-9)
    dots = axes.scatter(
        version,
        f1,
        s=size,
        c=accuracy,
        cmap="cividis",
        edgecolor=style.INK,
        linewidth=0.6,
        zorder=3,
        clip_on=False,
    )
    bar = frame.figure.colorbar(dots, cax=axes.inset_axes((1.015, 0.0, 0.02, 1.0)))
    bar.set_label("accuracy on that batch (larger and lighter: higher)")
    bar.outline.set_visible(False)
    axes.annotate(
        f"v{version[best]:.0f}",
        (version[best], f1[best]),
        xytext=(0, 15),
        textcoords="offset points",
        ha="center",
        weight="bold",
    )
    ringed = np.isin(version, list(story.restored))
    if ringed.any():
        axes.scatter(
            version[ringed],
            f1[ringed],
            s=size[ringed] + 260,
            facecolor="none",
            edgecolor=style.PURPLE,
            linewidth=2.2,
            zorder=4,
            clip_on=False,
        )
    axes.set_ylim(0, 1.18 * max(float(f1.max()), 0.1))
    axes.set_ylabel("F1 on the batch it was healed on (0 to 1)")
    style.over_batches(axes, version, "snapshot version")
    axes.set_xlim(version[0] - 1.5, version[-1] + 1.5)
    frame.legend(_registry_legend(bool(ringed.any())))
    return frame


def _registry_legend(ringed: bool) -> list[Any]:
    dot: dict[str, Any] = {"linestyle": "none", "marker": "o", "markeredgecolor": style.INK}
    found = [Line2D([], [], **dot, color="#7C7B78", markersize=9, label="snapshot after a heal")]
    if ringed:
        found.append(
            Line2D(
                [],
                [],
                linestyle="none",
                marker="o",
                markersize=14,
                markerfacecolor="none",
                markeredgecolor=style.PURPLE,
                markeredgewidth=2.2,
                label="restored by a rollback",
            )
        )
    return found


def _stages_title(story: Story) -> str:
    found = story.stages
    assert found is not None
    healed, frozen = found.healed, found.frozen
    better = [n for f, n in NAMES.items() if getattr(healed, f) > getattr(frozen, f)]
    worse = [n for f, n in NAMES.items() if getattr(healed, f) < getattr(frozen, f)]
    if not better and not worse:
        return "Healed and frozen model decide alike"
    if not worse:
        return f"Healed is ahead of frozen in {words.listed(better)}"
    if not better:
        return f"Healed is behind frozen in {words.listed(worse)}"
    return f"Healed is ahead of frozen in {words.listed(better)}, behind in {words.listed(worse)}"
