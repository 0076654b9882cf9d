"""Which partitioner placed these keys?

A label meets its transaction only in the partition of the same number. Two producers with different
partitioners put one id into two partitions, and nothing fails: labels just never join.

The names are librdkafka's. Keys that are absent or empty are placed at random and say nothing.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

# A wrong partitioner agrees by chance on n keys with probability partitions^-n: 2^-50 = 1e-15 for
# the fewest partitions that can tell anything.
MIN_KEYS = 50

_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    """Where Java's clients put a key, before the modulo: 31 bits, as of `toPositive(murmur2(key))`.

    Source: org.apache.kafka.common.utils.Utils.murmur2 and toPositive; librdkafka's rdmurmur2.c.

    >>> murmur2(b"t-000001") % 6
    1
    """
    length = len(key)
    hashed = (0x9747B28C ^ length) & _MASK
    whole = length - length % 4
    for start in range(0, whole, 4):
        k = int.from_bytes(key[start : start + 4], "little") * _M & _MASK
        k = (k ^ (k >> 24)) * _M & _MASK
        hashed = (hashed * _M & _MASK) ^ k
    if whole < length:
        hashed = (hashed ^ int.from_bytes(key[whole:], "little")) * _M & _MASK
    hashed = (hashed ^ (hashed >> 13)) * _M & _MASK
    return (hashed ^ (hashed >> 15)) & 0x7FFFFFFF


def crc32(key: bytes) -> int:
    """Where librdkafka puts a key by default (`consistent_random`), before the modulo.

    Source: https://github.com/confluentinc/librdkafka/blob/master/src/rdkafka_msg.c

    >>> crc32(b"t-000001") % 6
    4
    """
    return zlib.crc32(key)


def fnv1a(key: bytes) -> int:
    """Where Sarama puts a key by default, before the modulo: |FNV-1a as a signed 32-bit number|.

    Source: https://github.com/confluentinc/librdkafka/blob/master/src/rdfnv1a.c

    >>> fnv1a(b"t-000001") % 6
    1
    """
    hashed = 0x811C9DC5
    for byte in key:
        hashed = (hashed ^ byte) * 0x01000193 & _MASK
    return hashed if hashed < 1 << 31 else (1 << 32) - hashed


PARTITIONERS: dict[str, Callable[[bytes], int]] = {
    "murmur2_random": murmur2,
    "consistent_random": crc32,
    "fnv1a_random": fnv1a,
}


class Guess:
    """The partitioner of one topic, from keys and where they lay.

    Keys of some of its partitions are enough, even of a single one.

    >>> guess = Guess(partitions=6)
    >>> for number in range(50):
    ...     key = b"t-%d" % number
    ...     guess.see(key, crc32(key) % 6)
    >>> guess.name
    'consistent_random'
    """

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._left = dict(PARTITIONERS)  # those that explain every key so far
        self._keys: set[bytes] = set()  # distinct ones, until there are enough

    def see(self, key: bytes | None, partition: int) -> None:
        """Take one record's key and the partition it was read from."""
        if not key or not self._left or self._partitions == 1:
            return
        for name, place in list(self._left.items()):
            if place(key) % self._partitions != partition:
                del self._left[name]
        if len(self._keys) < MIN_KEYS:  # the same key again is no further evidence
            self._keys.add(key)

    @property
    def name(self) -> str | None:
        """The only partitioner that explains all keys seen.

        None where there is no such one, several, fewer than `MIN_KEYS` distinct keys, or a single
        partition, which any partitioner explains.
        """
        enough = len(self._keys) == MIN_KEYS and self._partitions > 1
        return next(iter(self._left)) if enough and len(self._left) == 1 else None


def mismatch(transactions: Guess, labels: Guess) -> str | None:
    """One line for a person, where both topics are certain and differ; else None."""
    ours, theirs = transactions.name, labels.name
    if ours is None or theirs is None or ours == theirs:
        return None
    wrong = [
        side
        for side, name in (("transactions", ours), ("labels", theirs))
        if name != "murmur2_random"
    ]
    return (
        f"transactions are placed by the partitioner {ours}, labels by {theirs}: the label of an "
        "id lies in another partition than its transaction and never joins. Set "
        f"partitioner=murmur2_random (Java's default) in the producer of {' and of '.join(wrong)}"
    )
