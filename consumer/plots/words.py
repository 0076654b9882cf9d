"""Numbers as the titles say them."""

from __future__ import annotations

from collections.abc import Sequence


def count(number: int, one: str) -> str:
    """A number with its noun.

    >>> count(0, "heal"), count(1, "heal"), count(2500, "batch")
    ('no heals', '1 heal', '2,500 batches')
    """
    many = "es" if one.endswith("ch") else "s"
    return f"{format(number, ',') if number else 'no'} {one}{'' if number == 1 else many}"


def signed(value: float, decimals: int) -> str:
    """A difference, with a minus sign as long as the plus.

    >>> signed(22.28, 1), signed(-3, 0)
    ('+22.3', '−3')
    """
    rounded = round(value, decimals) + 0.0  # never −0
    return f"{rounded:+,.{decimals}f}".replace("-", "−")


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> listed(["accuracy"]), listed(["accuracy", "recall", "F1"])
    ('accuracy', 'accuracy, recall and F1')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
