"""Was a change one? What labels say of it once they have come.

A day and a night differ, and fraud stays what it is: then rows before the change teach as much as
those after it. The frozen model is the measure: where it errs as much after the change as before,
what it knows has not changed. So does the mixture: what it has learnt has not changed either.
"""

from __future__ import annotations

import numpy as np

from consumer.columns import Float64

ROWS = 100  # labelled, on both sides, at least
SAME = 0.25  # of the loss before: by less it stayed the same
SAME_SE, CHANGED_SE = 1.0, 2.5


def harmless(before: Float64, after: Float64, *, ended: bool) -> bool | None:
    """Did the losses stay? None where nobody can tell yet.

    `before` and `after`: (3, rows), losses of the frozen model and of the mixture, and the rows'
    weights. `ended`: there will be no more rows after; no harm that shows is none then.
    """
    if min(before.shape[1], after.shape[1]) < ROWS:
        return True if ended else None
    is_same = True
    for n, both_ways in ((0, True), (1, False)):
        mean, error = _mean(before[n], before[2])
        mean_after, error_after = _mean(after[n], after[2])
        error = float(np.hypot(error, error_after))
        moved = abs(mean_after - mean) if both_ways else mean_after - mean
        if moved > CHANGED_SE * error and moved > SAME * mean:
            return False
        is_same &= moved + SAME_SE * error <= SAME * mean
    return True if is_same or ended else None


def _mean(loss: Float64, weight: Float64) -> tuple[float, float]:
    """And its standard error."""
    share = weight / weight.sum()
    mean = float(share @ loss)
    return mean, float(np.sqrt(share**2 @ (loss - mean) ** 2))
