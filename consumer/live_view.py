"""A live view for the terminal: state, signals, lift, heals and throughput while the loop runs."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType

from rich.align import Align
from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from consumer.status import Status

_BARS = "▁▂▃▄▅▆▇█"
_STYLE = {
    "HEALTHY": "bold green",
    "DRIFTING": "bold yellow",
    "HEALING": "bold cyan",
    "ROLLED_BACK": "bold magenta",
}
_KEPT = 60  # batches in a sparkline: what fits beside its label in 80 columns
_RATE_WINDOW_S = 2.0


class LiveView:
    """Shows each status handed to `update`; drawing happens on rich's own thread."""

    def __init__(self) -> None:
        self._status: Status | None = None
        self._z: deque[float] = deque(maxlen=_KEPT)
        self._conflicts: deque[float] = deque(maxlen=_KEPT)
        self._lift: deque[float] = deque(maxlen=_KEPT)
        self._states: deque[str] = deque(maxlen=_KEPT)
        self._seen: deque[tuple[float, int]] = deque()
        self._live = Live(self, refresh_per_second=8, transient=False)

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def update(self, status: Status) -> None:
        """Take the newest status."""
        before, self._status = self._status, status
        now = time.monotonic()
        self._seen.append((now, status.rows))
        while self._seen[0][0] < now - _RATE_WINDOW_S:
            self._seen.popleft()
        if status.last is not None and (before is None or before.batches != status.batches):
            self._z.append(status.last.z)
            self._conflicts.append(status.last.conflicts)
            self._lift.append(status.lift)
            self._states.append(status.last.state)

    def __rich__(self) -> RenderableType:
        status = self._status
        if status is None:
            return Panel("waiting for the first transaction …", title="Reflexive")
        head = Table.grid(expand=True)
        for _ in range(4):
            head.add_column(ratio=1)
        head.add_row(
            Text(status.state, style=_STYLE[status.state]),
            f"adapter v{status.adapter_version}",
            f"{status.rows:,} scored",
            f"{self._rate():,.0f} rows/s",
        )
        head.add_row(
            f"{status.heals} heals",
            f"{status.rollbacks} rollbacks",
            f"{status.labelled:,} labelled",
            f"{status.dead_letters:,} dead letters",
        )
        beyond = [Text(f"{status.beyond:,} beyond reviews")] if status.beyond else []
        behind = f"{sum(status.lag.values()):,} behind"
        head.add_row(behind, *[*beyond, *_shortened(status.paused)][:3])
        lines = Table.grid(padding=(0, 2))
        lines.add_column(justify="right")
        lines.add_column()
        lines.add_column(justify="right")
        last = status.last
        lines.add_row("drift z", sparkline(self._z), f"{last.z:.2f}" if last else "")
        lines.add_row("conflicts", sparkline(self._conflicts), str(last.conflicts) if last else "")
        lines.add_row("lift", sparkline(self._lift), f"{100 * status.lift:+.1f} points")
        lines.add_row("state", self._timeline(), "")
        accuracy = "no labels yet"
        if status.labelled:
            accuracy = (
                f"accuracy before the label was known: healed {status.accuracy:.3f}, "
                f"frozen {status.shadow_accuracy:.3f}"
            )
        return Panel(Group(head, Text(), lines, Text(), Align.left(accuracy)), title="Reflexive")

    def _rate(self) -> float:
        (first, rows), (last, now) = self._seen[0], self._seen[-1]
        return (now - rows) / (last - first) if last > first else 0.0

    def _timeline(self) -> Text:
        text = Text()
        for state in self._states:
            text.append(state[0] if state != "HEALING" else "+", style=_STYLE[state])
        return text


def _shortened(paused: Mapping[str, str]) -> list[Text]:
    """Where reading was stopped by a flood, in red; room for three of them."""
    return [Text(f"paused: {place}", style="bold red") for place in list(paused)[:3]]


def sparkline(values: deque[float]) -> str:
    """A bar a value, from the least to the most shown (0 is always in range).

    >>> sparkline(deque([0.0, 1.0, 2.0]))
    '▁▄█'
    """
    if not values:
        return ""
    low, high = min(0.0, *values), max(0.0, *values)
    span = (high - low) or 1.0
    return "".join(_BARS[int((v - low) / span * (len(_BARS) - 1))] for v in values)
