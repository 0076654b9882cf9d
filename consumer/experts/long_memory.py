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
    # To the end of four epochs, at a rate that falls to 0: held rows do nothing but judge. Eight
    # epochs a heal learn some rows by heart, two leave much unlearnt.
    rate, falls, batch, epochs, most_steps, looks, patience = 4e-3, True, 512, 4, 2_000, 0, 0
