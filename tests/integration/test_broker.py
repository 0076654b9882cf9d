"""The test broker itself: what the other integration tests take for granted."""

from confluent_kafka import Producer

from tests.broker import Broker, console_consumer
from tests.conftest import CreateTopics, Names


def transactional(broker: Broker, transactional_id: str) -> Producer:
    producer = Producer(
        {"bootstrap.servers": broker.bootstrap, "transactional.id": transactional_id}
    )
    producer.init_transactions(30)
    return producer


def test_a_foreign_client_reads_what_was_committed_and_only_that(
    broker: Broker, names: Names, create_topics: CreateTopics
) -> None:
    create_topics(names.transactions)
    producer = transactional(broker, names.application_id)

    producer.begin_transaction()
    producer.produce(names.transactions, b"aborted")
    producer.flush(30)
    producer.abort_transaction(30)
    producer.begin_transaction()
    producer.produce(names.transactions, b"committed")
    producer.commit_transaction(30)

    # Three are asked for, so that a second one would be seen.
    shown = console_consumer(broker.bootstrap, names.transactions, max_messages=3, timeout_s=5)
    assert shown == ["committed"]


def test_what_was_committed_outlives_a_kill_and_a_restart(
    broker: Broker, names: Names, create_topics: CreateTopics
) -> None:
    create_topics(names.transactions)
    producer = transactional(broker, names.application_id)

    for end in (broker.kill, broker.stop):
        producer.begin_transaction()
        producer.produce(names.transactions, f"before {end.__name__}".encode())
        producer.commit_transaction(30)
        end()
        broker.start()

    shown = console_consumer(broker.bootstrap, names.transactions, max_messages=2)
    assert shown == ["before kill", "before stop"]
