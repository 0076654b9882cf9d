"""How every plot looks: one frame, one meaning a colour, nothing told by colour alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from consumer.columns import Float64

DPI = 150
WIDTH, HEIGHT = 10.0, 5.8  # inches: 1500 x 870 pixels
TALL = (12.0, 8.6)
_MARGIN = 0.3  # inches

# Okabe and Ito's palette is told apart under every common colour blindness.
# Source: https://jfly.uni-koeln.de/color/
BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
ORANGE, SKY, PURPLE = "#E69F00", "#56B4E9", "#CC79A7"
INK, GREY, PALE = "#222222", "#6B6B6B", "#D9D9D9"

# Beyond so many batches a marker a batch runs into the next at this width, and a line of single
# batches hides its own course: a moving mean is drawn over it.
CROWDED = 80
POINTS = 40

_RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#E6E6E6",
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "hatch.linewidth": 0.8,
    "legend.frameon": False,
}


@dataclass(frozen=True, slots=True)
class Look:
    """One thing's colour, line and marker, the same in every plot."""

    name: str
    colour: str
    line: Any  # matplotlib's name of it, or (offset, (on, off))
    marker: str
    width: float = 1.8


HEALED = Look("healed model", BLUE, "-", "o", 2.2)
FROZEN = Look("frozen model", VERMILLION, "--", "s")
SIGNAL = Look("z", INK, "-", "D", 1.6)
CLEAN = Look("clean", GREEN, ":", "")
APPROVE_ALL = Look("approving everything", GREY, "-.", "", 1.2)
IN_FORCE = Look("in force after the heal (in-sample)", SKY, (0, (1, 1.2)), "", 1.4)


class Frame:
    """A figure with its finding above, what it shows below that, and the legend under both.

    Distances from the edges are in inches, so that tall frames look like wide ones.
    """

    def __init__(self, title: str, subtitle: str, size: tuple[float, float] = (WIDTH, HEIGHT)):
        self.figure = Figure(figsize=size, dpi=DPI, facecolor="white")
        FigureCanvasAgg(self.figure)
        self._width, self._height = size
        self._write(title, 0.42, 14.5, weight="bold")
        self._write(subtitle, 0.70, 9.5, color=GREY)

    def _write(self, text: str, from_top: float, size: float, **look: Any) -> None:
        written = self.figure.text(
            _MARGIN / self._width, 1 - from_top / self._height, text, fontsize=size, **look
        )
        room = (self._width - 2 * _MARGIN) * DPI
        taken = written.get_window_extent().width
        if taken > room:
            written.set_fontsize(size * room / taken)

    def axes(self, *, left: float = 0.85, right: float = 0.3, top: float = 1.3) -> Axes:
        """The one pair of axes, so many inches from the edges."""
        return self.figure.add_axes(
            (
                left / self._width,
                0.65 / self._height,
                1 - (left + right) / self._width,
                1 - (0.65 + top) / self._height,
            )
        )

    def grid(self, rows: int, columns: int) -> Any:
        """Several pairs of axes."""
        return self.figure.subplots(
            rows,
            columns,
            gridspec_kw={
                "left": 0.75 / self._width,
                "right": 1 - 0.65 / self._width,
                "bottom": 0.65 / self._height,
                "top": 1 - 1.6 / self._height,
                "wspace": 0.24,
                "hspace": 0.38,
            },
        )

    def legend(self, handles: Sequence[Any]) -> None:
        """Between titles and axes, where no data can be; in two rows if one is too narrow."""
        for columns in (len(handles), -(-len(handles) // 2)):
            legend = self.figure.legend(
                handles=handles,
                loc="upper left",
                bbox_to_anchor=((_MARGIN - 0.08) / self._width, 1 - 0.8 / self._height),
                ncols=columns,
                borderpad=0.2,
                labelspacing=0.35,
                columnspacing=1.8,
                handlelength=2.6,
            )
            if legend.get_window_extent().width <= (self._width - _MARGIN) * DPI:
                return
            legend.remove()
        self.figure.legends.append(legend)

    def save(self, file: Path) -> None:
        """Write the PNG; the same figure gives the same bytes."""
        self.figure.savefig(file, dpi=DPI, metadata={"Software": None})


@contextmanager
def styled() -> Iterator[None]:
    """Draw and save in here: a matplotlibrc of the user's must not change what a report shows."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)  # type: ignore[arg-type] # its keys are one Literal of all names
        yield


def curve(axes: Axes, x: Float64, y: Float64, look: Look, *, smooth: bool = True) -> Any:
    """Draw one value a batch; over many batches their moving mean, single ones pale behind it."""
    every = max(1, 2 * len(x) // POINTS) if len(x) > CROWDED else 1
    if smooth and len(x) > CROWDED:
        axes.plot(x, y, color=look.colour, alpha=0.25, linewidth=0.8)
        y = moving_mean(y, window(len(x)))
    (drawn,) = axes.plot(
        x,
        y,
        color=look.colour,
        linestyle=look.line,
        linewidth=look.width,
        marker=look.marker or None,
        markersize=4.5,
        markevery=every,
        markeredgecolor="white",
        markeredgewidth=0.5,
        clip_on=False,  # a marker at 0 or at 100 % is drawn whole
        label=look.name,
    )
    return drawn


def window(batches: int) -> int:
    """Batches in the moving mean of `curve`."""
    return -(-batches // POINTS) if batches > CROWDED else 1


def bars(axes: Axes, x: Float64, y: Float64, *, name: str, hatch: str | None, **look: Any) -> Any:
    """Draw one bar a batch; over many batches one filled outline: a patch each takes seconds."""
    if len(x) > CROWDED:
        return axes.fill_between(x, y, step="mid", linewidth=0, label=name, **look)
    known = np.isfinite(y) & (y != 0)
    return axes.bar(
        x[known], y[known], 0.78, hatch=hatch, edgecolor="white", linewidth=0, label=name, **look
    )


def level(axes: Axes, y: float, look: Look, name: str) -> Any:
    """Draw a line across at one height."""
    return axes.axhline(
        y, color=look.colour, linestyle=look.line, linewidth=look.width, label=name, zorder=1.5
    )


def moving_mean(y: Float64, last: int) -> Float64:
    """Mean of what is known of the last so many values; NaN where nothing is.

    >>> moving_mean(np.array([1.0, np.nan, 3.0, 5.0]), 2)
    array([1., 1., 3., 4.])
    """
    known = np.isfinite(y)
    total = np.cumsum(np.concatenate([np.zeros(last), np.where(known, y, 0.0)]))
    count = np.cumsum(np.concatenate([np.zeros(last), known]))
    counts = count[last:] - count[:-last]
    sums = total[last:] - total[:-last]
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def over_batches(axes: Axes, x: Float64, label: str, *, smooth: bool = False) -> None:
    """Ticks at whole batches, half a batch of air at both ends; `smooth` where `curve` was."""
    if smooth and len(x) > CROWDED:
        label += f" · bold: mean of the last {window(len(x))}"
    axes.set_xlim(x[0] - 0.5, x[-1] + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=12, steps=[1, 2, 5, 10]))
    axes.set_xlabel(label)


def percent(axes: Axes) -> None:
    """A share from 0 to 100 %."""
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def shade(axes: Axes, x: Float64, where: Any, **look: Any) -> None:
    """Shade the batches where something holds, edge to edge."""
    bars = [(x[begin] - 0.5, x[end - 1] - x[begin] + 1.0) for begin, end in runs(where)]
    axes.broken_barh(bars, (0, 1), transform=axes.get_xaxis_transform(), zorder=0.5, **look)


def runs(where: Any) -> list[tuple[int, int]]:
    """Stretches of True as (begin, end), the end outside.

    >>> runs([True, True, False, True])
    [(0, 2), (3, 4)]
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], np.asarray(where, bool), [False]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def say(axes: Axes, text: str) -> None:
    """Say across empty axes why they are empty."""
    axes.set_axis_off()
    axes.text(
        0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=13, color=GREY
    )
