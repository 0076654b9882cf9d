"""The same numbers as `tuned`, learnt from all that is remembered: where only features change.

A day and a night, a season, a feature that fills up: regimes differ and fraud stays what it is.
Small heals that begin where the last one ended beat now and then beginning anew.
"""

from __future__ import annotations

from consumer.experts.base import Memory
from consumer.experts.tuned import Tuned


class LongMemory(Tuned):
    """Scale, shift and adapter, over every labelled row that is remembered."""

    name = "long_memory"
    learns_from: Memory = "all"
    rate, falls, batch, epochs, most_steps, looks, patience = 4e-3, True, 512, 2, 1_000, 4, 4
    # Two epochs of 20,000 rows are 80 steps, and it hardly moves; a worker has the seconds that 600
    # take. Of fewer than `MANY` rows, 25 epochs of them, it would learn some by heart.
    least_steps = 600
