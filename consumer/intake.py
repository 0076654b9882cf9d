"""From records to rows: decoded, the unreadable set aside, and a flood of them stopped."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from consumer.breaker import Breaker, Trip
from consumer.columns import Labels, Transactions
from consumer.decode import LabelDecoder, TransactionDecoder
from consumer.errors import FloodError
from consumer.kafka.dead_letters import DeadLetter
from consumer.kafka.record import Run
from consumer.kafka.source import Polled
from consumer.model_directory import Model
from consumer.partitioner import Guess, mismatch
from consumer.profile import Stage, off
from consumer.segments import Segments
from consumer.settings import Settings

# Keys of a poll that the partitioner is guessed from: fifty distinct ones are enough.
GUESS_KEYS = 200

TopicPartition = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Taken:
    """What consecutive records of one partition came to."""

    rows: Transactions | Labels
    letters: list[tuple[int, DeadLetter]]  # by offset
    read: int  # offset after the last record that counts
    trip: Trip | None  # the circuit breaker tripped at that record: those behind it do not count


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a poll came to."""

    taken: dict[TopicPartition, Taken] = field(default_factory=dict)
    ends: Sequence[TopicPartition] = ()  # these are read to their end
    mismatches: list[str] = field(default_factory=list)  # of how keys were placed

    def any(self) -> bool:
        """Did anything come?"""
        return bool(self.taken or self.ends or self.mismatches)


class Intake:
    """Reads the messages of both inputs; one circuit breaker a topic's partition."""

    def __init__(
        self, settings: Settings, model: Model, partitions: int, stage: Stage = off
    ) -> None:
        """`partitions`: of each of the two topics."""
        self._stage = stage
        given = settings.input
        self._transactions = given.transactions.topic
        self._limits = settings.dead_letters
        segments = Segments(settings.segments, model.features)
        self._decode_transactions = TransactionDecoder(
            given.transactions,
            model.features,
            given.max_message_bytes,
            segments.read if segments.columns else None,
        )
        self._decode_labels = LabelDecoder(given.labels, given.max_message_bytes)
        self._breakers: dict[TopicPartition, Breaker] = {}
        self._guesses = {
            topic: Guess(partitions) for topic in (given.transactions.topic, given.labels.topic)
        }
        self.flooded: dict[TopicPartition, Trip] = {}  # nothing more is read from these

    def decode(self, polled: Polled, ours: Collection[int], now_ms: int) -> Decoded:
        """Decode what was polled of partitions that are `ours` and not flooded.

        Of others nothing is lost: who has them now reads them again.
        """
        found = Decoded(ends=polled.ends)
        for (topic, partition), records in polled.records.items():
            if partition not in ours or (topic, partition) in self.flooded:
                continue
            mismatch = self.mismatch(topic, partition, records)
            if mismatch is not None:
                found.mismatches.append(mismatch)
            with self._stage("decode"):
                found.taken[topic, partition] = self.take(topic, partition, records, now_ms)
        return found

    def take(self, topic: str, partition: int, records: Run, now_ms: int) -> Taken:
        """Decode consecutive records of a partition that is not flooded."""
        values, offsets = records.values, records.offsets
        decode = self._decode_transactions if topic == self._transactions else self._decode_labels
        rows, rejected = decode(partition, values, offsets, now_ms)
        bad = np.zeros(len(records), np.bool_)
        bad[[one.index for one in rejected]] = True
        trip = self._breaker(topic, partition).check(offsets, bad)
        if trip is not None:
            self.flooded[topic, partition] = trip
            rows = rows.rows(0, int(np.searchsorted(rows.offset, trip.offset, side="right")))
            rejected = [one for one in rejected if one.index <= trip.index]
        letters = [
            (int(offsets[one.index]), DeadLetter(records[one.index], one.kind, one.reason))
            for one in rejected
        ]
        read = (trip.offset if trip is not None else int(offsets[-1])) + 1
        return Taken(rows, letters, read, trip)

    def mismatch(self, topic: str, partition: int, records: Run) -> str | None:
        """Were both topics' keys placed by the same partitioner? Said once where they were not."""
        guess = self._guesses[topic]
        if guess.name is not None:
            return None
        for key in records.keys(GUESS_KEYS):
            guess.see(key, partition)
        transactions, labels = self._guesses.values()
        return mismatch(transactions, labels)

    def refuse_flood(self) -> None:
        """Raises: FloodError where a partition is flooded."""
        if self.flooded:
            trips = (f"{t}[{number}]: {trip.reason}" for (t, number), trip in self.flooded.items())
            raise FloodError(
                f"{'; '.join(trips)}. What was read is committed; repair the producer or the "
                "settings of the format, or let all through with dead_letters.max_run=0 and "
                "max_share=1"
            )

    def forget(self, partitions: Sequence[int]) -> None:
        """Begin anew where these partitions come back."""
        for places in (self._breakers, self.flooded):
            for place in [place for place in places if place[1] in partitions]:
                del places[place]

    def _breaker(self, topic: str, partition: int) -> Breaker:
        place = (topic, partition)
        if place not in self._breakers:
            limits = self._limits
            self._breakers[place] = Breaker(max_run=limits.max_run, max_share=limits.max_share)
        return self._breakers[place]
