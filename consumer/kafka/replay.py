"""What replaying dead letters needs of Kafka: originals by their place, and one transaction.

To an input topic nothing of ours writes by itself: this is called for a person's explicit command.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from consumer.errors import FencedError, KafkaUnavailableError
from consumer.kafka import client
from consumer.kafka.record import Record, record
from consumer.kafka.sink import Sink
from consumer.sections import Kafka
from consumer.settings import Settings

# Makes the transactional id <application_id>-dead-letters-replay: the same for every replay of an
# application, so that of two at once the newer fences the older.
INSTANCE = "dead-letters-replay"

Place = tuple[str, int, int]  # topic, partition, offset

# Key, headers and the batch's own header beside the value; librdkafka's default allows 1 MB in all.
_BESIDE_VALUE_BYTES = 1_000_000
_LARGEST = 1_000_000_000  # what librdkafka takes for message.max.bytes


class Replay:
    """Produces again to the topics that records came from, all of it or nothing."""

    def __init__(self, settings: Settings) -> None:
        """Connect; a replay that runs elsewhere is fenced off, and what it has not committed gone.

        Raises: KafkaUnavailableError where the broker does not answer.
        """
        limit = min(_LARGEST, settings.input.max_message_bytes + _BESIDE_VALUE_BYTES)
        kafka = settings.kafka.model_copy(
            update={"properties": {"message.max.bytes": limit, **settings.kafka.properties}}
        )
        client.connect(client.admin(kafka), kafka)
        # All or nothing, whatever the consumer's own delivery is.
        ours = {"instance_id": INSTANCE, "kafka": kafka, "delivery": "exactly_once"}
        self._sink = Sink(settings.model_copy(update=ours))

    def __enter__(self) -> Replay:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sink.close()

    def produce(self, records: Sequence[Record]) -> None:
        """Produce records to their topics in one transaction, each where its key belongs.

        A record without a key goes to the partition it came from.

        Raises: FencedError where another replay took over; KafkaUnavailableError where the
        transaction had to be aborted. Nothing is visible then.
        """
        try:
            self._sink.begin()
            for one in records:
                self._sink.produce(
                    one.topic,
                    one.key,
                    one.value,
                    partition=one.partition if one.key is None else -1,
                    headers=one.headers,
                )
            self._sink.commit([], None)
        except FencedError as error:
            raise FencedError(
                "another replay of these dead letters began meanwhile and has taken over; nothing "
                "of this one is visible"
            ) from error
        except KafkaUnavailableError as error:
            raise KafkaUnavailableError(f"nothing was replayed: {error}") from error


def fetch(kafka: Kafka, places: Iterable[Place]) -> dict[Place, Record]:
    """The records at these places, those that are still there.

    Raises: KafkaUnavailableError where a topic does not exist or the broker falls silent.
    """
    wanted = sorted(set(places))
    if not wanted:
        return {}
    reader = client.build(
        Consumer,
        client.properties(
            kafka,
            {
                "group.id": f"reflexive-{INSTANCE}",  # assign() asks for a name; it is never joined
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",  # an offset that retention took is an answer
            },
        ),
    )
    try:
        counts = {topic: client.partitions_of(reader, kafka, topic) for topic, _, _ in wanted}
        found = {
            place: _at(reader, kafka, place) for place in wanted if place[1] < counts[place[0]]
        }
    finally:
        reader.close()
    return {place: one for place, one in found.items() if one is not None}


def _at(reader: Any, kafka: Kafka, place: Place) -> Record | None:
    reader.assign([TopicPartition(*place)])
    deadline = time.monotonic() + kafka.connect_timeout_s
    while time.monotonic() < deadline:
        message = reader.poll(0.1)
        if message is None:
            continue
        error = message.error()
        if (message.topic(), message.partition()) != place[:2]:
            continue  # of the place before
        if error is None:
            one = record(message)
            if one.offset < place[2]:
                continue
            return one if one.offset == place[2] else None
        if error.code() in (KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET):
            return None
        raise KafkaUnavailableError(f"reading {place[0]}[{place[1]}]: {error.str()}")
    raise KafkaUnavailableError(
        f"{place[0]}[{place[1]}] at {kafka.bootstrap_servers}: offset {place[2]} was not answered "
        f"within {kafka.connect_timeout_s:g} s. Is the broker up?"
    )
