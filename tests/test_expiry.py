"""What the registry topic forgets: never what a score younger than the horizon was made with."""

import orjson

from consumer.expiry import Expiry

HORIZON_MS = 1_000


def seen(*records):
    expiry = Expiry(HORIZON_MS)
    for place, time_ms in records:
        expiry.saw(f"active/{place}", b"{}", time_ms)
    return expiry


def told(records):
    return [(key, value and orjson.loads(value)) for key, value in records]


def test_the_last_one_before_the_horizon_stays_in_force():
    expiry = seen(("t/0/0", 0), ("t/0/100", 100), ("t/0/200", 200), ("t/0/300", 900))

    assert told(expiry.due(1_150)) == [("active/t/0/0", None), ("expired/t/0", {"before": 100})]
    assert told(expiry.due(1_150)) == []  # each once
    assert told(expiry.due(9_999)) == [
        ("active/t/0/100", None),
        ("active/t/0/200", None),
        ("expired/t/0", {"before": 300}),
    ]


def test_each_partition_by_itself():
    expiry = seen(("t/0/0", 0), ("t/1/0", 0), ("t/1/50", 10))

    assert told(expiry.due(2_000)) == [("active/t/1/0", None), ("expired/t/1", {"before": 50})]


def test_what_is_forgotten_already_is_not_forgotten_again_after_a_restart():
    expiry = seen(("t/0/0", 0), ("t/0/100", 100), ("t/0/200", 200))
    expiry.saw("active/t/0/0", None, 1_500)

    assert told(expiry.due(1_150)) == []
    assert told(expiry.due(1_250))[0] == ("active/t/0/100", None)
