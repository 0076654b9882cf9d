"""The ring of held rows: what comes to lie where."""

import numpy as np

from consumer.held_rows import HeldRows
from consumer.join_record import id_hashes, row_type


def append(held, first, last):
    numbers = np.arange(first, last)
    rows = np.zeros(len(numbers), held.rows.dtype)
    rows["n"] = rows["clock"] = numbers
    assert held.append(rows, hashes(first, last)) == 0


def hashes(first, last):
    return id_hashes(str(number).encode() for number in range(first, last))


def test_a_ring_that_has_turned_grows_without_losing_a_row():
    held = HeldRows(row_type(2), 10_000)
    append(held, 0, 1_000)
    held.drop_before(900)
    append(held, 1_000, 1_900)  # past the end of the first 1,024 places, to the front
    assert len(held.rows) == 1_024

    append(held, 1_900, 2_700)

    assert len(held.rows) == 2_048
    found = held.take(held.find(hashes(900, 2_700)))
    assert found["n"].tolist() == list(range(900, 2_700))
    assert held.rows["n"][held.places()].tolist() == list(range(900, 2_700))
    assert (held.find(hashes(0, 900)) == -1).all()
