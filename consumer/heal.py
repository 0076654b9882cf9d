"""One heal: a few Adam steps on the adapter alone, over one labelled batch.

Source: the published experiment. Free functions over plain tensors; nothing here knows a thread.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own name for it
from numpy.typing import NDArray
from torch import Tensor

from consumer.columns import Float32, Int8
from consumer.model import AdapterState, Healable
from consumer.rules import Rules

# The article's weights and its guard against log(0).
REAL, CONSISTENCY, ENTROPY = 0.70, 0.24, 0.03
EPSILON = 1e-8
# Below the least normal float32 a probability counts as that: the logit of 0 is not finite, and one
# such row would make every parameter so.
TINY = 1.2e-38
# Its weight of a positive: 2 + 10 * (share of fraud among conflicts - .10), from 1 up to 4.
WEIGHT_BASE, WEIGHT_SLOPE, WEIGHT_SHARE, WEIGHT_MOST = 2.0, 10.0, 0.10, 4.0


# Adam's usual constants, and what it remembers of a parameter from one heal to the next.
BETA_1, BETA_2, ADAM_EPSILON = 0.9, 0.999, 1e-8
_REMEMBERED = ("step", "exp_avg", "exp_avg_sq")
Moments = Mapping[str, Tensor]  # by parameter and what is remembered: "gate.weight.exp_avg"


@dataclass(frozen=True, slots=True)
class Healed:
    """A candidate adapter and what the heal did on its own rows (in-sample figures)."""

    adapter: AdapterState
    moments: Moments
    score: Float32  # (rows,) of the candidate on the rows it was healed on
    loss_before: float
    loss_after: float
    positive_weight: float


class DivergedError(Exception):
    """The heal produced a number that is not finite; its adapter is discarded whole."""


class CancelledError(Exception):
    """The heal was told to end before it was done; its adapter is discarded whole."""


def never() -> bool:
    """Go on to the end."""
    return False


def positive_weight(label: Tensor, conflict: Tensor) -> float:
    """Weight of a fraud row in the real loss: more where conflicts turned out to be fraud.

    `label`, `conflict`: (rows,).
    """
    share = label[conflict].mean().item() if bool(conflict.any()) else 0.0
    if share < WEIGHT_SHARE:
        return 1.0
    return min(WEIGHT_BASE + WEIGHT_SLOPE * (share - WEIGHT_SHARE), WEIGHT_MOST)


@dataclass(frozen=True, slots=True)
class Stated:
    """What rules say of rows."""

    target: Tensor  # (rows,) 1 where one says fraud, else 0
    weight: Tensor | None  # (rows,) of the heaviest that does; None: 1 throughout

    @staticmethod
    def of(rules: Rules, fired: NDArray[np.bool_]) -> Stated | None:
        """None without rules. `fired: (rows, rules)`."""
        if not len(rules):
            return None
        weights = rules.weights(fired)
        even = bool((weights == 1).all())
        return Stated(
            torch.from_numpy(fired.any(axis=1)).float(),
            None if even else torch.from_numpy(weights.astype(np.float32)),
        )


def heal_loss(p: Tensor, label: Tensor, rule: Stated | None, weight: float) -> Tensor:
    """real + consistency + entropy; without rules the consistency term is off.

    `p`, `label`: (rows,) probabilities, 0/1 labels.
    """
    logit = torch.log(p.clamp_min(TINY) / (1 - p + EPSILON))
    real = F.binary_cross_entropy_with_logits(logit, label, pos_weight=torch.tensor(weight))
    entropy = -(p * torch.log(p + EPSILON) + (1 - p) * torch.log(1 - p + EPSILON)).mean()
    if rule is None:
        return REAL * real + ENTROPY * entropy
    consistency = F.binary_cross_entropy(p, rule.target, rule.weight)
    return REAL * real + CONSISTENCY * consistency + ENTROPY * entropy


@torch.no_grad()
def adam_step(
    parameters: Mapping[str, Tensor], gradients: Sequence[Tensor], moments: Moments, rate: float
) -> None:
    """Move `parameters` and `moments` in place, bit for bit as `torch.optim.Adam` does.

    Making torch's own imports its compiler: 2 s of CPU and 160 MB, which at the worker's priority,
    beside a busy loop, held up the first heal of a process for 4 to 13 s.

    Source: Kingma and Ba, "Adam" (2015), algorithm 1; in the order of torch/optim/adam.py.
    """
    for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
        step, mean, square = (moments[f"{name}.{what}"] for what in _REMEMBERED)
        step += 1
        mean.lerp_(gradient, 1 - BETA_1)
        square.mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
        times = step.item()
        spread = (square.sqrt() / (1 - BETA_2**times) ** 0.5).add_(ADAM_EPSILON)
        parameter.addcdiv_(mean, spread, value=-(rate / (1 - BETA_1**times)))


def heal_step(
    module: Healable,
    parameters: Mapping[str, Tensor],
    moments: Moments,
    rate: float,
    h: Tensor,
    label: Tensor,
    rule: Stated | None,
    weight: float,
) -> float:
    """One step on representations `h: (rows, …)`; returns the loss before it."""
    loss = heal_loss(module.decide(h), label, rule, weight)
    adam_step(parameters, torch.autograd.grad(loss, list(parameters.values())), moments, rate)
    return float(loss.item())


class Healer:
    """Heals on a copy of the model, from a start that is given to an end that is handed back.

    The optimiser's moments persist over heals, as published: the caller keeps them, so that a heal
    which is discarded leaves nothing behind.
    """

    def __init__(self, module: Healable, rules: Rules, steps: int, rate: float) -> None:
        self._module = copy.deepcopy(module)
        self._module.freeze_for_healing()
        self._rules = rules
        self._steps = steps
        self._rate = rate

    def heal(
        self,
        start: AdapterState,
        x: Float32,
        label: Int8,
        conflict_probability: float,
        cancelled: Callable[[], bool] = never,
        *,
        moments: Moments | None = None,
    ) -> Healed:
        """Heal from `start` on labelled rows `x: (rows, features)`, `label: (rows,)`.

        `moments`: those of the heal before; None for the first one.
        Raises: DivergedError where a parameter is no longer finite; CancelledError where
        `cancelled`, asked before every step, says so.
        """
        module = self._module
        parameters = module.adapter_parameters()
        moments = {name: kept.clone() for name, kept in (moments or _none(parameters)).items()}
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(start[name])
            # The backbone is frozen: one pass serves every step.
            h = module.represent(torch.from_numpy(x))  # (rows, …)
            p = module.decide(h)
        y = torch.from_numpy(label.astype(np.float32))
        each = self._rules.fired(x)  # (rows, rules)
        fired = torch.from_numpy(each.any(axis=1))  # (rows,)
        rule = Stated.of(self._rules, each)
        weight = positive_weight(y, fired & (p < conflict_probability))
        first = 0.0
        for number in range(self._steps):
            if cancelled():
                raise CancelledError
            try:
                loss = heal_step(module, parameters, moments, self._rate, h, y, rule, weight)
            except RuntimeError as error:  # torch refuses a probability that is not a number
                raise DivergedError(f"{error} in step {number + 1}") from error
            if not math.isfinite(loss):
                raise DivergedError(f"loss {loss} before step {number + 1}")
            first = first if number else loss
        with torch.no_grad():
            score = module.decide(h)
            after = heal_loss(score, y, rule, weight).item()
        adapter = module.adapter_state()
        finite = all(bool(torch.isfinite(tensor).all()) for tensor in adapter.values())
        if not finite or not math.isfinite(after):
            raise DivergedError(f"loss {first:.4f} became {after:.4f}")
        return Healed(adapter, moments, score.numpy(), first, after, weight)


def _none(parameters: Mapping[str, Tensor]) -> Moments:
    """Before the first heal."""
    return {
        f"{name}.{what}": torch.tensor(0.0) if what == "step" else torch.zeros_like(parameter)
        for name, parameter in parameters.items()
        for what in _REMEMBERED
    }
