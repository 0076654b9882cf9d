"""Where the time of a run goes: microseconds a row by stage, told by the process itself.

Off, a stage costs entering and leaving an object that does nothing, some 0.1 µs a chunk; on, it
costs two readings of a clock a chunk. Rows are never timed one by one.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import orjson

# In the order of a row's way. `other` is what lies between them.
Name = Literal[
    "wait",  # for a message where none is there, for heals at the end
    "poll",
    "decode",
    "order",
    "score",
    "watch",
    "join",
    "heal",
    "encode",
    "produce",
    "commit",
    "other",
]
STAGES: tuple[Name, ...] = Name.__args__  # type: ignore[attr-defined]
Stage = Callable[[Name], AbstractContextManager[None]]

_NOTHING = nullcontext()


def off(_: Name) -> AbstractContextManager[None]:
    """The stage of a run that is not profiled."""
    return _NOTHING


@dataclass(slots=True)
class _In:
    """Inside it, time is a stage's."""

    profile: Profile
    stage: Name

    def __enter__(self) -> None:
        self.profile.enter(self.stage)

    def __exit__(self, *_: object) -> None:
        self.profile.leave()


class Profile:
    """From `begin` on every nanosecond is one stage's: the innermost one's.

    For one thread. What librdkafka's threads take of the processor is in the process's own time,
    and in no stage; what the process that heals took is told by itself, once it has ended.

    >>> ticks = iter([0, 0, 10, 40, 45, 60])
    >>> profile = Profile(lambda: next(ticks))
    >>> profile.begin()
    >>> with profile("join"):
    ...     with profile("score"):
    ...         pass
    >>> {name: ns for name, ns in profile.ns().items() if ns}
    {'score': 30, 'join': 15, 'other': 15}
    """

    def __init__(self, clock: Callable[[], int] = time.perf_counter_ns) -> None:
        self._clock = clock
        self._stages = {name: _In(self, name) for name in STAGES}
        self._ns = dict.fromkeys(STAGES, 0)
        self._inside: list[Name] = []
        self._since: int | None = None
        self._cpu_before = 0
        self._committed_ns = 0
        self.rows = 0  # scored

    def __call__(self, stage: Name) -> AbstractContextManager[None]:
        """A context whose time is the stage's; one inside another takes its time from it."""
        return self._stages[stage]

    def begin(self) -> None:
        """The first records are there; called again it does nothing."""
        if self._since is None:
            self._since = self._clock()
            self._cpu_before = time.process_time_ns()

    def committed(self) -> None:
        """Take note that all rows so far are."""
        self._committed_ns = sum(self.ns().values())

    def enter(self, stage: Name) -> None:
        """The stage begins; the one around it rests."""
        self._count()
        self._inside.append(stage)

    def leave(self) -> None:
        """The innermost stage has ended."""
        self._count()
        self._inside.pop()

    def ns(self) -> dict[Name, int]:
        """Nanoseconds by stage until now."""
        self._count()
        return dict(self._ns)

    def json(self) -> str:
        """Rows, seconds (also to the last commit), processor seconds (heals apart), by stage."""
        ns = self.ns()
        figures = {
            "rows": self.rows,
            "seconds": sum(ns.values()) / 1e9,
            "committed_seconds": self._committed_ns / 1e9,
            "cpu_seconds": self._cpu_ns() / 1e9,
            "heal_cpu_seconds": _cpu_of_heals_s(),
            "stages": {name: each / 1e9 for name, each in ns.items()},
        }
        return orjson.dumps(figures).decode()

    def table(self) -> str:
        """For a person: a line a stage, and what they come to."""
        ns = self.ns()
        total, rows = sum(ns.values()), max(self.rows, 1)
        lines = [f"{'stage':<8} {'µs/row':>8} {'share':>7}"]
        for name, each in ns.items():
            share = each / max(total, 1)
            lines.append(f"{name:<8} {each / 1000 / rows:>8.3f} {share:>7.1%}")
        rate = self.rows / max(total / 1e9, 1e-9)
        lines += [
            f"{'all':<8} {total / 1000 / rows:>8.3f} {1:>7.1%}",
            f"{self.rows:,} rows in {total / 1e9:.1f} s: {rate:,.0f} rows/s; processor time of its "
            f"threads {self._cpu_ns() / 1000 / rows:.3f} µs/row",
        ]
        return "\n".join(lines)

    def _cpu_ns(self) -> int:
        return time.process_time_ns() - self._cpu_before if self._since is not None else 0

    def _count(self) -> None:
        if self._since is not None:
            now = self._clock()
            self._ns[self._inside[-1] if self._inside else "other"] += now - self._since
            self._since = now


def _cpu_of_heals_s() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime
