"""The language of rules: parsed here, never evaluated as code.

A condition is made of comparisons (< <= > >=) of features and numbers with + - * / and parentheses,
joined by `and`, `or`, `not`; they bind as in Python. It is worked out in float32, as the features
are: -1.5 must mean the same to the model and to the rule. A comparison with what has no value
(0 / 0) is false.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from consumer.columns import Float32
from consumer.errors import ModelError

# No one can read a longer one, and deeper ones would exhaust Python's own stack.
LONGEST, DEEPEST = 1_000, 20
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
}
_WORDS = ("and", "or", "not")
_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.])"
_NAME = r"[^\W\d][\w.]*"
_SIGN = r"<=|>=|[<>+\-*/()]"


@dataclass(frozen=True, slots=True)
class Condition:
    """A part of a rule: what it reads, in one way of writing it, and how it is worked out."""

    text: str
    is_true_or_false: bool
    of: Callable[[Float32], Any]  # x: (rows, features) -> (rows,), or a number


def parse(text: str, features: Sequence[str]) -> Condition:
    """Read a condition such as `V14 < -1.5 and amount > 100`.

    A feature of any name is found by its name: of several the longest.

    >>> parse("a-b<2 or (a  > .5)", ["a", "b"]).text
    'a - b < 2 or (a > 0.5)'

    Raises: ModelError, naming the text, the place in it, and what was expected there.
    """
    return _Parser(text, features).whole()


class _Parser:
    """Recursive descent: `or` < `and` < `not` < comparison < + - < * / < sign < number."""

    def __init__(self, text: str, features: Sequence[str]) -> None:
        self._text = text
        self._features = list(features)
        self._depth = 0
        if len(text) > LONGEST:
            raise ModelError(f"rule {text[:40]!r}…: longer than {LONGEST:,} characters")
        odd = sorted((f for f in features if not re.fullmatch(_NAME, f)), key=len, reverse=True)
        names = "".join(f"{re.escape(name)}(?![\\w.])|" for name in odd)
        token = re.compile(rf"\s*(?:(?P<name>{names}{_NAME})|(?P<number>{_NUMBER})|({_SIGN}))")
        self._tokens: list[tuple[str, str, int]] = []  # kind, text, from which character on
        at, end = 0, len(text.rstrip())
        while at < end:
            found = token.match(text, at)
            if found is None:
                rest = text[at:].strip()
                raise self._error(f"{rest.split()[0]!r} is no feature, number or operator")
            kind = found.lastgroup or "sign"
            self._tokens.append((kind, found[0].strip(), found.end()))
            at = found.end()
        self._at = 0

    def whole(self) -> Condition:
        found = self._either()
        if self._at < len(self._tokens):
            raise self._error(f"{self._tokens[self._at][1]!r} is not expected{self._where()}")
        if not found.is_true_or_false:
            raise self._error("expected a comparison, such as FEATURE < NUMBER (or <=, >, >=)")
        return found

    def _error(self, why: str) -> ModelError:
        return ModelError(f"rule {self._text!r}: {why}")

    def _where(self) -> str:
        return f" after {self._tokens[self._at - 1][1]!r}" if self._at else " at the beginning"

    def _next(self, *wanted: str) -> str | None:
        if self._at < len(self._tokens) and self._tokens[self._at][1] in wanted:
            self._at += 1
            return self._tokens[self._at - 1][1]
        return None

    def _inner(self, read: Callable[[], Condition]) -> Condition:
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._error(f"nested more than {DEEPEST} deep")
        found = read()
        self._depth -= 1
        return found

    def _either(self) -> Condition:
        found = self._both()
        while self._next("or"):
            found = self._two(found, "or", self._both(), np.logical_or)
        return found

    def _both(self) -> Condition:
        found = self._not()
        while self._next("and"):
            found = self._two(found, "and", self._not(), np.logical_and)
        return found

    def _not(self) -> Condition:
        if not self._next("not"):
            return self._compared()
        of = self._typed(self._inner(self._not), "not", True)
        return Condition(f"not {of.text}", True, lambda x: np.logical_not(of.of(x)))

    def _compared(self) -> Condition:
        left = self._sum()
        sign = self._next(*_COMPARE)
        if sign is None:
            return left
        found = self._two(left, sign, self._sum(), _COMPARE[sign])
        if again := self._next(*_COMPARE):
            raise self._error(f"two comparisons in a row ({sign} and {again}): join them by `and`")
        return found

    def _sum(self) -> Condition:
        found = self._product()
        while sign := self._next("+", "-"):
            found = self._two(found, sign, self._product(), _ARITHMETIC[sign])
        return found

    def _product(self) -> Condition:
        found = self._signed()
        while sign := self._next("*", "/"):
            found = self._two(found, sign, self._signed(), _ARITHMETIC[sign])
        return found

    def _signed(self) -> Condition:
        if not self._next("-"):
            return self._least()
        of = self._typed(self._inner(self._signed), "-", False)
        return Condition(f"-{of.text}", False, lambda x: np.negative(of.of(x)))

    def _least(self) -> Condition:
        if self._next("("):
            inner = self._inner(self._either)
            if not self._next(")"):
                raise self._error(f"expected ){self._where()}")
            return Condition(f"({inner.text})", inner.is_true_or_false, inner.of)
        if self._at == len(self._tokens):
            raise self._error(f"expected a feature or a number{self._where()}, found the end")
        kind, text, _ = self._tokens[self._at]
        if kind == "sign" or text in _WORDS:
            raise self._error(f"expected a feature or a number{self._where()}, found {text!r}")
        self._at += 1
        return self._number(text) if kind == "number" else self._feature(text)

    def _number(self, text: str) -> Condition:
        with np.errstate(over="ignore"):
            value = np.float32(text)
        if not np.isfinite(value):
            raise self._error(f"the number {text} must be finite")
        return Condition(repr(float(text)).removesuffix(".0"), False, lambda _: value)

    def _feature(self, name: str) -> Condition:
        if name not in self._features:
            raise self._error(f"no feature {name!r} among {', '.join(self._features)}")
        column = self._features.index(name)
        return Condition(name, False, lambda x: x[:, column])

    def _two(
        self, left: Condition, sign: str, right: Condition, of: Callable[[Any, Any], Any]
    ) -> Condition:
        joins = sign in _WORDS
        one, other = self._typed(left, sign, joins), self._typed(right, sign, joins)
        return Condition(
            f"{one.text} {sign} {other.text}",
            joins or sign in _COMPARE,
            lambda x: of(one.of(x), other.of(x)),
        )

    def _typed(self, one: Condition, sign: str, is_true_or_false: bool) -> Condition:
        if one.is_true_or_false != is_true_or_false:
            wanted = "comparisons" if is_true_or_false else "numbers"
            raise self._error(f"{sign!r} joins {wanted}, and {one.text!r} is none")
        return one
