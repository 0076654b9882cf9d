"""Partitioners told apart by where keys lie; that these hashes are the real ones: integration."""

import pytest

from consumer.partitioner import MIN_KEYS, PARTITIONERS, Guess, crc32, fnv1a, mismatch, murmur2

NAMES = sorted(PARTITIONERS)
KEYS = [f"t-{number:06d}".encode() for number in range(200)]


def guess(name, partitions=6, keys=KEYS, *, only=None):
    """What is made of keys that `name` placed; `only`: seen in one partition alone."""
    made = Guess(partitions)
    for key in keys:
        partition = PARTITIONERS[name](key) % partitions
        if only is None or partition == only:
            made.see(key, partition)
    return made


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        # UtilsTest.testMurmur2 of Apache Kafka, after toPositive
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_that_of_javas_client(key, hashed):
    assert murmur2(key) == hashed & 0x7FFFFFFF


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        # the unit test of librdkafka's rdfnv1a.c
        (b"kafka", 0xD33C4E1),
        (b"giberish123456789", 0x77A58295),
        (b"1234", 0x23BDD03),
        (b"234", 0x2DEA3CD2),
        (b"34", 0x740FA83E),
        (b"4", 0x310CA263),
        (b"", 0x7EE3623B),
    ],
)
def test_fnv1a_is_that_of_librdkafka(key, hashed):
    assert fnv1a(key) == hashed


def test_crc32_is_that_of_the_catalogues_check_value():
    assert crc32(b"123456789") == 0xCBF43926


@pytest.mark.parametrize("partitions", [2, 3, 6, 48])
@pytest.mark.parametrize("name", NAMES)
def test_each_partitioner_is_told_from_the_others(name, partitions):
    assert guess(name, partitions).name == name


@pytest.mark.parametrize("name", NAMES)
def test_one_partition_of_several_is_enough(name):
    assert guess(name, 2, only=1).name == name


def test_fewer_than_50_distinct_keys_say_nothing():
    few = KEYS[: MIN_KEYS - 1]

    assert guess("murmur2_random", keys=few * 10).name is None
    assert guess("murmur2_random", keys=[*few, KEYS[MIN_KEYS]]).name == "murmur2_random"


def test_one_partition_in_all_says_nothing():
    assert guess("murmur2_random", 1).name is None


def test_one_key_that_lies_elsewhere_leaves_no_answer():
    made = guess("murmur2_random")
    assert made.name is not None

    made.see(b"other", (murmur2(b"other") + 1) % 6)

    assert made.name is None
    made.see(b"another", murmur2(b"another") % 6)
    assert made.name is None


def test_absent_and_empty_keys_are_placed_at_random_and_are_no_evidence():
    made = guess("consistent_random", keys=KEYS[: MIN_KEYS - 1])

    for partition in range(6):
        made.see(None, partition)
        made.see(b"", partition)
    assert made.name is None

    made.see(b"last", crc32(b"last") % 6)
    assert made.name == "consistent_random"


def test_what_differs_is_named_with_what_to_do():
    found = mismatch(guess("murmur2_random"), guess("consistent_random"))

    assert found == (
        "transactions are placed by the partitioner murmur2_random, labels by consistent_random: "
        "the label of an id lies in another partition than its transaction and never joins. Set "
        "partitioner=murmur2_random (Java's default) in the producer of labels"
    )


def test_both_producers_are_named_where_neither_is_javas():
    found = mismatch(guess("fnv1a_random"), guess("consistent_random"))

    assert found is not None
    assert found.endswith("in the producer of transactions and of labels")


def test_nothing_is_said_of_what_agrees_or_is_not_known():
    known, unknown = guess("fnv1a_random"), Guess(6)

    assert mismatch(known, guess("fnv1a_random")) is None
    assert mismatch(known, unknown) is None
    assert mismatch(unknown, known) is None
