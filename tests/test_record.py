"""What counted before labels did, and what labels said of it."""

import numpy as np
import orjson
import pytest

from consumer.hedge.record import Record


def test_a_record_knows_which_rows_counted_on_what_and_what_labels_have_not_said_yet():
    record = Record()
    record.note(100, 0.0)
    record.note(200, 0.4)  # rows after 200
    record.charge(3.0)
    record.note(300, 0.4)
    record.charge(5.0)
    record.note(400, 0.1)
    record.charge(2.0)
    record.note(500, 0.0)
    again = Record()
    again.load(orjson.loads(orjson.dumps(record.state())))

    for each in (record, again):
        shares = each.shares(np.array([200, 201, 400, 401, 500, 501]))
        assert shares.tolist() == [0.0, 0.4, 0.4, 0.1, 0.1, 0.0]
        assert each.share == 0.0
        assert each.pending(0, 600) == pytest.approx(10.0)
        # Half of the first 200 ms is labelled, or all of it, or everything.
        assert each.pending(300, 600) == pytest.approx(4.0 + 2.0)
        assert each.pending(400, 600) == pytest.approx(2.0)
        assert each.pending(500, 600) == 0.0


def test_where_event_time_stands_still_or_goes_back_nothing_of_a_record_is_lost():
    record = Record()
    record.note(500, 0.4)
    record.charge(3.0)
    record.note(500, 0.4)
    assert record.pending(-(2**62), 500) == 3.0
    record.charge(2.0)
    record.note(200, 0.0)  # the batch's last row was late
    record.note(300, 0.4)
    record.charge(1.0)
    record.note(600, 0.0)
    assert record.pending(-(2**62), 600) == 6.0
    assert record.shares(np.array([400, 500, 501, 600])).tolist() == [0.0, 0.0, 0.4, 0.4]


def test_a_record_is_what_labels_said_against_it_and_half_is_forgotten():
    record = Record()
    record.judge(5.0, rows=10)
    assert record.nats == 0.0  # what speaks for it is not saved up
    record.judge(-20.0, rows=10)
    record.judge(5.0, rows=0)
    assert record.nats == -15.0
    record.judge(0.0, rows=10_000)
    assert record.nats == -7.5
