"""One heal: every expert that learns from labels learns, and the gate judges what came of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from consumer.experts import Learner, State
from consumer.experts.base import Learning, Memory, View
from consumer.heal import CancelledError
from consumer.hedge import gate
from consumer.hedge.gate import Verdict
from consumer.hedge.memory import MANY
from consumer.mixture import FROZEN, Mixture
from consumer.segments import Segments

HARMS = "harms "


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
        harms = sorted({v.reason for v in self.verdicts if v.reason.startswith(HARMS)})
        return "; ".join(harms) or "no candidate is better by more than noise"

    def only(self, lasting: Collection[str]) -> Heal:
        """Without what was learnt of a regime alone, which is not the present one any more."""
        return replace(self, states={n: s for n, s in self.states.items() if n in lasting})


@dataclass(frozen=True, slots=True)
class HealRequest:
    """Learn from these rows; `pool`: the experts' numbers, of those that are admitted."""

    rows: Mapping[Memory, Learning]  # at least one of them
    pool: Mapping[str, State]
    seed: int
    segments: Segments

    def run(self, mixture: Mixture, cancelled: Callable[[], bool]) -> Heal:
        """On the worker's thread. Raises: CancelledError."""
        base = mixture.base
        states: dict[str, State] = {}
        verdicts: list[Verdict] = []
        skills: list[float] = []
        for name, expert in mixture.experts.items():
            if cancelled():
                raise CancelledError
            if not isinstance(expert, Learner) or expert.learns_from not in self.rows:
                continue
            rows = self.rows[expert.learns_from]
            start = self.pool.get(name)
            fitted = expert.fit(base, start or expert.cold(base), rows, self.seed)
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
                state = start if against == name and start is not None else {}
                in_force = mixture.experts[against].logit(state, view).numpy()
                frozen = view.frozen.numpy()
            grows = against == name and len(rows) >= MANY
            margin = 0.0 if grows else gate.MARGIN_SE
            verdict = gate.judge(name, fitted.logit, in_force, y, weight, margin)
            segments = self.segments.of(rows.x[judged], rows.groups[judged])
            harmed = gate.harmed(segments, fitted.logit, frozen, y, weight)
            if verdict.admitted and harmed:
                reason = f"{HARMS}{', '.join(harmed)}"
                verdict = replace(verdict, admitted=False, reason=reason)
            verdicts.append(verdict)
            if verdict.admitted:
                states[name] = fitted.state
            if expert.learns_from == "regime":
                skills.append(gate.skill(fitted.logit, y, weight))
        rows = self.rows["regime" if "regime" in self.rows else "all"]
        skill = max([0.0, *skills]) if skills else None
        harmful = self._harmful(mixture, rows)
        return Heal(states, tuple(verdicts), len(rows), int(rows.y.sum()), skill, harmful)

    def _harmful(self, mixture: Mixture, rows: Learning) -> dict[str, list[str]]:
        """Admitted when a segment had too few rows to tell, or when it fared otherwise."""
        segments = list(self.segments.of(rows.x, rows.groups))
        if not segments:
            return {}
        view = View.of(mixture.base, rows.x)
        found = {}
        for name, state in self.pool.items():
            with torch.no_grad():
                logit = mixture.experts[name].logit(state, view).numpy()
            worse = gate.harmed(segments, logit, view.frozen.numpy(), rows.y, rows.weight)
            if worse:
                found[name] = worse
        return found
