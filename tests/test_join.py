"""The join of scores and labels: who meets whom, what is counted, what is held and told."""

import numpy as np
import pytest

from consumer.join_record import EARLY, blocks, id_hashes, row_type
from consumer.settings import DAY_MS
from tests.joining import HORIZON_MS, join, labels, matched, offsets, plain, scores, told


def row_of(name, changes):
    """The kept row of an id in the changelog."""
    return told(changes)[int(id_hashes([name.encode()])[0])]


def names(count, level=0, start=0):
    """Ids whose hashes are kept at `level` and not at the next; level 0: the upper half."""
    found, number = [], start
    while len(found) < count:
        name = f"name-{number}"
        number += 1
        high = int(id_hashes([name.encode()])[0])
        if 2**64 >> (level + 1) <= high < 2**64 >> level:
            found.append(name)
    return found


def test_a_label_meets_its_row_with_everything_that_was_scored():
    held = join()
    held.add(scores(["a", "b"], first_offset=40, version=7))

    found = held.match(labels(["b"], labelled_at=77)).joined

    assert (found.partition, found.ids, found.source) == (3, ["b"], ["analyst"])
    assert (found.offset.tolist(), found.event_time.tolist()) == ([41], [41_000])
    assert (found.labelled_at.tolist(), found.is_fraud.tolist()) == ([77], [1])
    assert found.x.tolist() == [[41.0, -41.0]]
    assert found.score.tolist() == pytest.approx([41e-6])
    assert found.shadow.tolist() == pytest.approx([20.5e-6])
    assert (found.threshold.tolist(), found.adapter_version.tolist()) == ([0.5], [7])
    assert found.weight.tolist() == [1.0]
    assert held.counts == {"matched": 1}


def test_joined_rows_come_in_the_order_of_the_labels():
    held = join()
    held.add(scores("abcd"))

    assert held.match(labels("dab")).joined.ids == ["d", "a", "b"]


def test_an_early_label_waits_for_its_transaction():
    held = join()

    assert matched(held.match(labels(["b"], labelled_at=5))) == [[], [], []]
    found = held.add(scores("abc"))

    assert (found.ids, found.labelled_at.tolist(), found.source) == (["b"], [5], ["analyst"])
    assert held.counts == {"early": 1, "matched": 1}
    assert held.match(labels("b", is_fraud=0, labelled_at=6)).was.tolist() == [1]


@pytest.mark.parametrize(
    ("again", "rule", "stands"),
    [
        (labels("a", is_fraud=1, labelled_at=99), "duplicate", False),
        (labels("a", is_fraud=1, labelled_at=99, source="bank"), "duplicate", False),
        (labels("a", is_fraud=0, labelled_at=50), "corrected", True),
        (labels("a", is_fraud=0, labelled_at=51), "corrected", True),
        (labels("a", is_fraud=0, labelled_at=49), "outdated", False),
        (labels("a", is_fraud=0, labelled_at=51, source="bank"), "conflict", True),
        (labels("a", is_fraud=0, labelled_at=51, source=None), "conflict", True),
        (labels("a", is_fraud=0, labelled_at=50, source="bank"), "conflict", False),
        (labels("a", is_fraud=0, labelled_at=49, source="bank"), "conflict", False),
    ],
)
@pytest.mark.parametrize("early", [False, True])
def test_a_second_label_of_a_transaction(again, rule, stands, early):
    held = join()
    first = labels("a", is_fraud=1, labelled_at=50)
    if early:
        held.match(first)
        assert matched(held.match(again)) == [[], [], []]
        found = held.add(scores("a"))
        assert found.is_fraud.tolist() == [0 if stands else 1]
        assert held.counts == {"early": 1, rule: 1, "matched": 1}
    else:
        held.add(scores("a"))
        held.match(first)
        found = held.match(again)
        assert offsets(found.joined) == []
        assert found.corrected.is_fraud.tolist() == ([0] if stands else [])
        assert found.corrected.labelled_at.tolist() == ([again.labelled_at[0]] if stands else [])
        assert found.was.tolist() == ([1] if stands else [])
        assert held.counts == {"matched": 1, rule: 1}
    # What stands is what the next label is held against.
    held.match(labels("a", is_fraud=0 if stands else 1, labelled_at=0))
    assert held.counts["duplicate"] == (2 if rule == "duplicate" else 1)


def test_labels_of_one_call_meet_in_their_order():
    held = join()
    held.add(scores("ab"))

    found = held.match(
        labels(["a", "b", "a", "a"], is_fraud=[1, 1, 0, 1], labelled_at=[5, 5, 6, 7])
    )

    assert found.joined.ids == ["a", "b"]
    assert found.joined.is_fraud.tolist() == [1, 1]
    assert (found.corrected.ids, found.corrected.is_fraud.tolist()) == (["a", "a"], [0, 1])
    assert found.was.tolist() == [1, 0]


def test_a_label_goes_to_the_newer_row_of_a_reused_id():
    held = join()
    held.add(scores("aba"))
    held.add(scores("ac", first_offset=3))

    assert offsets(held.match(labels("a")).joined) == [3]
    assert held.counts == {"reused_id": 2, "matched": 1}
    assert len(held) == 3


def test_a_transaction_can_be_joined_until_its_horizon_and_is_known_an_eighth_longer():
    for past, rule in [
        (HORIZON_MS, "matched"),
        (HORIZON_MS + 1, "too_late"),
        (HORIZON_MS * 9 // 8, "too_late"),
        (HORIZON_MS * 9 // 8 + 1, "early"),
    ]:
        held = join()
        held.add(scores("a", event_time=0))
        held.add(scores("b", first_offset=1, event_time=past))
        held.match(labels("a"))
        assert held.counts[rule] == 1, past


def test_the_clock_is_the_latest_event_time_and_a_late_row_has_the_clock_it_came_at():
    held = join()
    held.add(scores("a", event_time=HORIZON_MS))
    held.add(scores("b", first_offset=1, event_time=0))  # late, and yet it can be joined as long
    held.add(scores("c", first_offset=2, event_time=2 * HORIZON_MS))

    assert held.match(labels("abc")).joined.ids == ["a", "b", "c"]


def test_rows_unlabelled_at_the_horizon_are_counted_and_later_leave():
    held = join(max_rows=16)  # housekeeping every 2 rows
    held.add(scores("abcd", event_time=0))
    held.match(labels("a"))

    held.add(scores("ef", first_offset=4, event_time=HORIZON_MS + 1))
    assert (held.counts["expired"], len(held)) == (3, 6)
    held.add(scores("gh", first_offset=6, event_time=HORIZON_MS * 9 // 8 + 1))
    assert (held.counts["expired"], len(held)) == (3, 4)


def test_an_early_label_whose_transaction_does_not_come_within_a_day_is_an_orphan():
    held = join(max_rows=8)  # housekeeping every row
    held.match(labels("ab", labelled_at=[0, 1]))

    held.add(scores("c", event_time=DAY_MS))
    assert "orphan" not in held.counts
    held.add(scores("d", first_offset=1, event_time=DAY_MS + 1))

    assert held.counts == {"early": 2, "orphan": 1}
    assert offsets(held.add(scores("ab", first_offset=2, event_time=DAY_MS + 1))) == [3]


def test_at_their_budget_the_first_of_the_early_labels_gives_way():
    held = join(max_rows=5_000)
    ids = [str(number) for number in range(1025)]  # a tenth is less than 1,024, which may wait
    held.match(labels(ids))

    assert offsets(held.add(scores(["0"]))) == []
    assert offsets(held.add(scores(["1"], first_offset=1))) == [1]
    assert held.counts["early_dropped"] == 1


def test_at_the_budget_the_upper_half_of_the_hashes_leaves_and_the_rest_weighs_double():
    low, high = names(3, level=1), names(2, level=0)
    held = join(max_rows=4)
    held.add(scores([*low[:2], *high], event_time=0))
    held.match(labels([low[0], high[0]]))

    held.add(scores([low[2]], first_offset=4, event_time=0))

    assert len(held) == 3
    assert held.counts == {"matched": 2, "thinned": 1}
    found = held.match(labels([low[1], high[1], low[2]])).joined
    assert (offsets(found), found.weight.tolist()) == ([1, 4], [2.0, 2.0])
    assert held.counts["unsampled"] == 1
    held.add(scores([high[0]], first_offset=5, event_time=0))
    assert len(held) == 3


def test_a_row_that_had_expired_is_not_thinned_as_well():
    high, low = names(4, level=0), names(1, level=1)
    held = join(max_rows=4)  # housekeeping every row
    held.add(scores(high[:3], event_time=0))
    held.add(scores(high[3:], first_offset=3, event_time=HORIZON_MS + 1))
    assert held.counts == {"expired": 3}

    held.add(scores(low, first_offset=4, event_time=HORIZON_MS + 1))

    assert (held.counts, len(held)) == ({"expired": 3, "thinned": 1}, 1)


def test_an_early_label_that_a_raise_leaves_out_is_unsampled():
    low, high = names(3, level=1), names(1, level=0)
    held = join(max_rows=2)
    held.match(labels(high))
    held.changes()

    held.add(scores(low, event_time=0))

    assert held.counts["unsampled"] == 1
    assert (high[0].encode(), None) in held.changes()


def test_the_level_follows_the_load_before_the_budget_is_reached_and_falls_when_it_is_low():
    held = join(max_rows=8_192)  # housekeeping every 1,024 rows
    ids = [str(number) for number in range(80_000)]
    start = 0

    def rows(count, apart_ms):
        nonlocal start
        part = range(start, start + count)
        times = rows.clock + apart_ms * np.arange(1, count + 1)
        rows.clock = int(times[-1])
        start += count
        held.add(scores([ids[number] for number in part], part[0], event_time=times))

    rows.clock = 0
    rows(900, 1)  # less than a 64th of the horizon: no projection
    assert held.state()["level"] == 0
    rows(1_148, 1)  # 64,000 rows a horizon: an eighth fits
    assert held.state()["level"] == 3
    assert len(held) == pytest.approx(2_048 / 8, rel=0.2)
    rows(62_000, 1)
    assert held.state()["level"] == 3
    assert held.state()["raises"] == [[1024, 3]]
    rows(4_000, 40)  # 1,600 rows a horizon, as soon as the horizon before has passed
    assert held.state()["level"] == 0


def test_a_kept_row_is_told_when_added_and_whole_again_when_labelled_or_corrected():
    held = join()
    held.add(scores("ab", first_offset=40, version=7))
    first = held.changes()
    assert len(first) == 1
    assert held.changes() == []

    row = row_of("b", first)
    assert row["schema"] == 77
    assert [row[name] for name in ("n", "event_time", "clock", "offset", "version")] == [
        *(1, 41_000, 41_000, 41, 7)
    ]
    assert (row["level"], row["label"], row["source"]) == (0, -1, 0)
    assert row["x"].tolist() == [41.0, -41.0]

    held.match(labels("a", labelled_at=77))
    then = row_of("a", held.changes())
    held.match(labels("a", labelled_at=78))
    assert held.changes() == []  # a duplicate is not told
    held.match(labels("a", is_fraud=0, labelled_at=79, source=None))
    now = row_of("a", held.changes())
    assert [then[name] for name in ("label", "labelled_at")] == [1, 77]
    assert [now[name] for name in ("label", "labelled_at", "source")] == [0, 79, 0]
    assert then["source"] != 0
    assert now["x"].tolist() == row_of("a", first)["x"].tolist()


def test_a_thousand_rows_are_few_records_and_none_is_larger_than_a_topic_takes():
    held = join(max_rows=20_000)
    ids = [str(number) for number in range(20_000)]
    held.add(scores(ids, event_time=0))
    held.match(labels(ids))

    changes = held.changes()

    assert len(changes) < 60
    assert max(len(value) for _, value in changes) < 300_000
    assert len({key for key, _ in changes}) == len(changes)
    assert {key[:1] for key, _ in changes} == {b"\xff"}  # no id of UTF-8 begins so


def test_an_early_label_is_told_and_then_its_row_with_it():
    held = join(max_rows=8)
    held.match(labels("ab", labelled_at=5))
    waits = held.changes()
    held.add(scores("a", event_time=0))
    came = held.changes()
    held.add(scores("c", first_offset=1, event_time=DAY_MS + 6))
    dropped = held.changes()

    assert [(key, value[0]) for key, value in waits] == [(b"a", EARLY), (b"b", EARLY)]
    assert row_of("a", came)["label"] == 1
    assert dropped[1:] == [(b"b", None)]


def test_rows_of_another_model_and_rows_past_the_committed_offset_are_not_restored():
    of_other, ours = join(schema=1), join()
    of_other.add(scores("ab"))
    ours.add(scores("bcd", first_offset=2))
    log = [*of_other.changes(), *ours.changes(), (b"e", b"\x7fwhatever"), (b"f", b"")]

    restored = join()
    restored.replay([key for key, _ in log], [value for _, value in log], 4)
    restored.resume(ours.state())

    assert len(restored) == 2
    assert offsets(restored.match(labels("abcd")).joined) == [2, 3]
    assert restored.counts == {"other_model": 4, "early": 2, "matched": 2}


def test_rows_of_another_number_of_features_are_passed_over_whole():
    restored = join()
    restored.replay(
        *zip(*blocks(np.zeros(2, row_type(5)), id_hashes([b"a", b"b"])), strict=True), 4
    )

    assert (len(restored), restored.counts) == (0, {"other_model": 2})


def test_growing_keeps_what_is_held():
    held = join(max_rows=5_000)
    ids = [str(number) for number in range(4_500)]
    for start in range(0, 4_500, 700):  # past 1,024, 2,048 and 4,096 rows
        held.add(scores(ids[start : start + 700], start, event_time=0))

    found = held.match(labels(ids)).joined

    assert found.offset.tolist() == list(range(4_500))
    assert found.x[:, 1].tolist() == [-number for number in range(4_500)]


def test_the_ring_turns_and_holes_are_packed_without_losing_a_row():
    held = join(max_rows=2_000)
    for turn in range(60):  # 200 new ids and 200 reused ones a turn; 20 turns a horizon
        ids = [f"{turn}-{n}" for n in range(50)] + [f"again-{n}" for n in range(200)]
        held.add(scores(ids, 250 * turn, event_time=3_200 * turn))

    assert len(held) <= 2_000
    assert held.state()["level"] == 0 or held.counts["thinned"]
    found = held.match(labels([f"again-{n}" for n in range(200)]))
    kept = len(found.joined) + held.counts["unsampled"]
    assert kept == 200
    assert all(offset >= 250 * 59 for offset in offsets(found.joined))


def test_empty_calls_do_nothing():
    held = join()
    assert held.add(scores([])) is None
    assert matched(held.match(labels([]))) == [[], [], []]
    held.replay([], [], 0)
    assert (held.changes(), plain(None), len(held)) == ([], [], 0)
