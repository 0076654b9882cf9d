"""The nine plots of a report. `draw` writes them; nothing here knows Kafka or a display."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from consumer.plots import accuracy, comparison, cost, drift, style
from consumer.plots.dashboard import dashboard
from consumer.plots.story import Story

__all__ = ["NAMES", "Story", "draw"]

_Plot = Callable[[Story], style.Frame]

# File name, title where it stays empty, plot, and whether it needs labelled rows.
_PLOTS: tuple[tuple[str, str, _Plot, bool], ...] = (
    ("1_accuracy.png", "Accuracy over batches", accuracy.accuracy, True),
    ("2_f1.png", "F1 over batches", accuracy.f1, True),
    ("3_z_score.png", "Drift signal over batches", drift.z_score, False),
    ("4_lift.png", "Lift of the healed over the frozen model", accuracy.lift, True),
    ("5_stages.png", "Clean, frozen and healed", comparison.stages, True),
    ("6_registry.png", "Snapshots of the registry", comparison.registry, False),
    ("7_states.png", "States of the healing loop", drift.states, False),
    ("8_dashboard.png", "Dashboard", lambda s: dashboard(s.table, s.x, s.x_label), False),
    ("9_cost.png", "Cost over thresholds", cost.cost, True),
)
NAMES = tuple(name for name, *_ in _PLOTS)


def draw(story: Story, folder: Path) -> list[Path]:
    """Write the nine PNG files; where there is nothing to show a plot says what is missing."""
    written = []
    for name, title, plot, needs_labels in _PLOTS:
        with style.styled():
            if not len(story.table) and plot is not comparison.registry:
                frame = _empty(title, "no monitor batch has ended yet")
            elif needs_labels and not story.labelled:
                frame = _empty(title, "no labelled rows")
            else:
                frame = plot(story)
            frame.save(folder / name)
        written.append(folder / name)
    return written


def _empty(title: str, why: str) -> style.Frame:
    frame = style.Frame(title, "")
    style.say(frame.axes(), why)
    return frame
