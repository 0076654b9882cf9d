"""One heal: every expert that learns from labels learns, and the gate judges what came of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray

from consumer import states
from consumer.columns import Float32
from consumer.experts import Expert, Learner, State
from consumer.experts.base import Learning, Memory, View
from consumer.frames import Arrays
from consumer.heal import CancelledError
from consumer.hedge import gate
from consumer.hedge.gate import Seen, Verdict
from consumer.mixture import FROZEN, Mixture, apart, flat
from consumer.reference import Trained, reach
from consumer.segments import Segments

HARMS, STRAYS = "harms ", "strays: "


@dataclass(frozen=True, slots=True)
class Heal:
    """What became of each expert, and how much there is to know at all."""

    states: Mapping[str, State]  # of the candidates that were admitted
    verdicts: tuple[Verdict, ...]
    rows: int
    frauds: int
    # Of the best candidate on the regime's rows: 1 - its loss / that of the base rate.
    skill: float | None
    # Of the pool, who fares worse than the frozen model on a segment's rows: on which.
    harmful: Mapping[str, Sequence[str]]
    # (2, features): how far labelled rows go; None where those of the present regime alone taught.
    reach: Float32 | None

    @property
    def told(self) -> dict[str, Any]:
        """For an event: what the gate was shown, and what it said."""
        return {
            "gate": [asdict(verdict) for verdict in self.verdicts],
            "rows": self.rows,
            "frauds": self.frauds,
            **({} if self.skill is None else {"skill": self.skill}),
        }

    @property
    def refused(self) -> str:
        """Why no candidate was admitted."""
        found = sorted({v.reason for v in self.verdicts if v.reason.startswith((HARMS, STRAYS))})
        return "; ".join(found) or "no candidate is better by more than noise"

    def only(self, lasting: Collection[str]) -> Heal:
        """Without what was learnt of a regime alone, which is not the present one any more."""
        return replace(self, states={n: s for n, s in self.states.items() if n in lasting})

    def framed(self) -> tuple[dict[str, Any], Arrays]:
        """For another process: what JSON tells, and arrays."""
        about = {**self.told, "skill": self.skill, "harmful": dict(self.harmful)}
        far: Arrays = {} if self.reach is None else {"reach": self.reach}
        arrays: Arrays = {"states": _to_array(self.states), **far}
        return {**about, "names": list(self.states)}, arrays

    @classmethod
    def of_frame(cls, about: Mapping[str, Any], arrays: Arrays) -> Self:
        """What `framed` told."""
        return cls(
            _of_array(arrays["states"], about["names"]),
            tuple(Verdict(**each) for each in about["gate"]),
            about["rows"],
            about["frauds"],
            about["skill"],
            about["harmful"],
            arrays.get("reach"),
        )


@dataclass(frozen=True, slots=True)
class HealRequest:
    """Learn from these rows; `pool`: the experts' numbers, of those that are admitted.

    `newest: (rows, features)`: what the stream looks like today, without labels; may be none.
    """

    rows: Mapping[Memory, Learning]  # at least one of them
    pool: Mapping[str, State]
    seed: int
    newest: Float32

    def run(self, healer: Heals, cancelled: Callable[[], bool]) -> Heal:
        """On the worker's thread. Raises: CancelledError."""
        return healer.heal(self, cancelled)

    def framed(self) -> tuple[dict[str, Any], Arrays]:
        """For another process: what JSON tells, and arrays."""
        arrays = {
            f"{memory}/{each.name}": getattr(rows, each.name)
            for memory, rows in self.rows.items()
            for each in fields(Learning)
        }
        about = {"memories": list(self.rows), "seed": self.seed, "names": list(self.pool)}
        return about, {**arrays, "states": _to_array(self.pool), "newest": self.newest}

    @classmethod
    def of_frame(cls, about: Mapping[str, Any], arrays: Arrays) -> Self:
        """What `framed` told."""
        rows = {
            memory: Learning(*(arrays[f"{memory}/{each.name}"] for each in fields(Learning)))
            for memory in about["memories"]
        }
        pool = _of_array(arrays["states"], about["names"])
        return cls(rows, pool, about["seed"], arrays["newest"])


class Heals(Protocol):
    """Who heals: here, or in a process of its own."""

    def heal(self, request: HealRequest, cancelled: Callable[[], bool]) -> Heal:
        """Raises: CancelledError; FailedError."""


@dataclass(frozen=True, slots=True)
class Healer:
    """Heals where it is called."""

    mixture: Mixture  # its own: while an expert learns, its network holds that one's numbers
    segments: Segments
    trained: Trained | None

    def heal(self, request: HealRequest, cancelled: Callable[[], bool]) -> Heal:
        """Every expert that learns from labels learns. Raises: CancelledError."""
        mixture, base = self.mixture, self.mixture.base
        admitted: dict[str, State] = {}
        verdicts: list[Verdict] = []
        skills: list[float] = []
        newest = View.of(base, request.newest)
        for name, expert in mixture.experts.items():
            if cancelled():
                raise CancelledError
            if not isinstance(expert, Learner) or expert.learns_from not in request.rows:
                continue
            rows = request.rows[expert.learns_from]
            start = request.pool.get(name)
            fitted = expert.fit(base, start or expert.cold(base), rows, request.seed)
            if any(not bool(torch.isfinite(t).all()) for t in fitted.state.values()):
                verdicts.append(Verdict(name, False, "diverged", len(rows), 0.0, 0.0))
                continue
            judged = fitted.judged
            y, weight = rows.y[judged], rows.weight[judged]
            view = View.of(base, rows.x[judged])
            # A fit that judged each row without it is compared with a model that never saw them.
            folded = len(judged) == len(rows)
            against = name if start is not None and not folded else FROZEN
            with torch.no_grad():
                frozen = view.frozen.numpy()
                if fitted.before is not None:
                    in_force = fitted.before
                else:
                    state = request.pool.get(against, {})
                    in_force = mixture.experts[against].logit(state, view).numpy()
            grows = against == name and expert.learns_from == "all"
            margin = gate.MARGIN_SE_TO_GROW if grows else gate.MARGIN_SE
            verdict = gate.judge(name, fitted.logit, in_force, y, weight, margin)
            segments = self.segments.of(rows.x[judged], rows.groups[judged])
            harmed = gate.harmed(segments, fitted.logit, frozen, y, weight)
            seen = Seen.of(fitted.logit, weight), Seen.of(frozen, weight)
            if harmed:
                against_it = f"{HARMS}{', '.join(harmed)}"
            else:
                against_it = _straying(expert, fitted.state, newest, *seen)
            if verdict.admitted and against_it:
                verdict = replace(verdict, admitted=False, reason=against_it)
            verdicts.append(verdict)
            if verdict.admitted:
                admitted[name] = fitted.state
            if expert.learns_from == "regime":
                skills.append(gate.skill(fitted.logit, y, weight))
        rows = request.rows["regime" if "regime" in request.rows else "all"]
        skill = max([0.0, *skills]) if skills else None
        harmful = self._harmful(request.pool, rows)
        every = request.rows.get("all")
        far = None if every is None else reach(every.x, self.trained)
        frauds = int(rows.y.sum())
        return Heal(admitted, tuple(verdicts), len(rows), frauds, skill, harmful, far)

    def _harmful(self, pool: Mapping[str, State], rows: Learning) -> dict[str, list[str]]:
        """Admitted when a segment had too few rows to tell, or when it fared otherwise."""
        segments = list(self.segments.of(rows.x, rows.groups))
        if not segments:
            return {}
        view = View.of(self.mixture.base, rows.x)
        found = {}
        for name, state in pool.items():
            with torch.no_grad():
                logit = self.mixture.experts[name].logit(state, view).numpy()
            worse = gate.harmed(segments, logit, view.frozen.numpy(), rows.y, rows.weight)
            if worse:
                found[name] = worse
        return found


def _straying(expert: Expert, state: State, newest: View, seen: Seen, frozen_seen: Seen) -> str:
    """How a candidate strays on the newest rows; empty where it does not, or there are none."""
    if not len(newest.x):
        return ""
    with torch.no_grad():
        now = Seen.of(expert.logit(state, newest).numpy())
        frozen_now = Seen.of(newest.frozen.numpy())
    if not gate.strays(seen, now, frozen_seen, frozen_now):
        return ""
    many, few = f"{now.share:.1%}", f"{seen.share:.1%}"
    return f"{STRAYS}takes {many} of the newest rows for fraud, {few} of those it was judged on"


def _to_array(pool: Mapping[str, State]) -> NDArray[np.uint8]:
    return np.frombuffer(states.to_bytes(flat(pool)), np.uint8)


def _of_array(array: NDArray[np.uint8], names: Collection[str]) -> dict[str, State]:
    """Experts in the order of their names, those without numbers too."""
    data = array.tobytes()
    found = apart(states.from_bytes(data, states.sha256(data), "experts"))
    return {name: found.get(name, {}) for name in names}
