"""Rules that a domain expert states: where one holds it says fraud.

Where the model is sure of the opposite of a rule, that is a conflict: a signal that needs no label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumer import rule_text
from consumer.columns import Float32, Float64
from consumer.errors import ModelError
from consumer.rule_text import Condition


@dataclass(frozen=True)
class Rule:
    """`condition` says fraud, and counts `weight` times."""

    name: str
    condition: Condition
    weight: float = 1.0

    def __str__(self) -> str:
        return self.name


def parse(text: str, features: Sequence[str], name: str | None = None, weight: float = 1.0) -> Rule:
    """Read a rule such as `V14 < -1.5`; without a name it is called as it reads.

    >>> str(parse("V14<-1.5", ["V14"]))
    'V14 < -1.5'

    Raises: ModelError, see `consumer.rule_text.parse`.
    """
    condition = rule_text.parse(text, features)
    return Rule(condition.text if name is None else name, condition, weight)


class Rules:
    """Several rules over one feature list; any that fires says fraud.

    A row counts as much as the heaviest rule that fires on it.
    """

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        """Raises: ModelError where two have one name."""
        names = [rule.name for rule in rules]
        for name in names:
            if names.count(name) > 1:
                raise ModelError(f"two rules are called {name!r}: give each a name of its own")
        self.rules = tuple(rules)
        self._weight = np.array([rule.weight for rule in rules])

    def __len__(self) -> int:
        return len(self.rules)

    def fired(self, x: Float32) -> NDArray[np.bool_]:
        """Which rule fires on which row of `x: (rows, features)`: (rows, rules)."""
        fired = np.zeros((len(x), len(self.rules)), dtype=np.bool_)
        with np.errstate(all="ignore"):  # of a division by 0, say
            for column, rule in enumerate(self.rules):
                fired[:, column] = rule.condition.of(x)
        return fired

    def heaviest(self, fired: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Which of the rules that fired weighs most, (rows,); -1 where none did.

        `fired: (rows, rules)`.
        """
        if not self.rules:
            return np.full(len(fired), -1)
        found = np.where(fired, self._weight, -1.0).argmax(axis=1)
        return np.where(fired.any(axis=1), found, -1)

    def weights(self, fired: NDArray[np.bool_]) -> Float64:
        """What each row counts, (rows,): 1 where no rule fired. `fired: (rows, rules)`."""
        return np.append(self._weight, 1.0)[self.heaviest(fired)]

    def weight_of(self, counts: Mapping[str, int]) -> float:
        """Of rows counted by the name of their heaviest rule."""
        return sum(rule.weight * counts.get(rule.name, 0) for rule in self.rules)
