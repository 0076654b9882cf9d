"""Joins a group and leaves it at once, over and over: `python -m tests.integration.leaving`.

A process of its own, because where that hangs all of Python hangs with it.
"""

import random
import sys
import time
from collections.abc import Sequence

from consumer.kafka.source import Source
from tests.conftest import Names
from tests.integration import consuming

ROUNDS = 150


class Nothing:
    """Has nothing to begin with and nothing to give back."""

    def assigned(
        self, partitions: Sequence[int], committed: dict[tuple[str, int], int]
    ) -> dict[tuple[str, int], int]:
        return {}

    def revoked(self, partitions: Sequence[int]) -> None:
        pass


def main(bootstrap: str, *names: str) -> None:
    """Leave just before, while and just after the group answers, at some 50 to 100 ms."""
    settings = consuming.settings(bootstrap, Names(*names))
    for _ in range(ROUNDS):
        source = Source(settings, Nothing())
        time.sleep(random.uniform(0.03, 0.15))
        source.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
