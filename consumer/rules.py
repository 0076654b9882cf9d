"""Rules a domain expert states: one feature against one number says fraud.

They are parsed, never evaluated as code. Where the model is sure of the opposite of a rule, that is
a conflict: a signal that needs no label.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumer.columns import Float32
from consumer.errors import ModelError

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_PATTERN = re.compile(r"^\s*(?P<feature>\S+)\s*(?P<op><=|>=|<|>)\s*(?P<value>\S+)\s*$")


@dataclass(frozen=True, slots=True)
class Rule:
    """`feature op value` says fraud."""

    feature: str
    op: str
    value: float

    def __str__(self) -> str:
        return f"{self.feature} {self.op} {repr(self.value).removesuffix('.0')}"


def parse(text: str) -> Rule:
    """Read a rule such as `V14 < -1.5`.

    >>> str(parse("V14 < -1.5"))
    'V14 < -1.5'

    Raises: ModelError where it is not FEATURE, one of < <= > >=, NUMBER.
    """
    found = _PATTERN.match(text)
    if found is None:
        raise ModelError(f"rule {text!r}: expected FEATURE < NUMBER (or <=, >, >=)")
    try:
        value = float(found["value"])
    except ValueError:
        raise ModelError(f"rule {text!r}: {found['value']!r} is not a number") from None
    if not np.isfinite(value):
        raise ModelError(f"rule {text!r}: the number must be finite")
    return Rule(found["feature"], found["op"], value)


class Rules:
    """Several rules over one feature list; any that fires says fraud."""

    def __init__(self, rules: Sequence[Rule], features: Sequence[str]) -> None:
        """Raises: ModelError where a rule names an unknown feature."""
        for rule in rules:
            if rule.feature not in features:
                raise ModelError(
                    f"rule {str(rule)!r}: no feature {rule.feature!r} among {', '.join(features)}"
                )
        self.rules = tuple(rules)
        self._columns = [list(features).index(rule.feature) for rule in rules]

    def __len__(self) -> int:
        return len(self.rules)

    def fired(self, x: Float32) -> NDArray[np.bool_]:
        """Which rule fires on which row of `x: (rows, features)`: (rows, rules)."""
        fired = np.zeros((len(x), len(self.rules)), dtype=np.bool_)
        for column, (rule, feature) in enumerate(zip(self.rules, self._columns, strict=True)):
            # In float32, as the feature is: -1.5 must mean the same to the model and to the rule.
            fired[:, column] = _OPERATORS[rule.op](x[:, feature], np.float32(rule.value))
        return fired
