"""What the tests share: one broker a session, and names that no other test uses."""

import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.broker import Broker, real_broker
from tests.pipelines import Gate, held

LONGEST = ("test_kill.py", "test_people.py", "test_outage.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes minutes: at the end all would wait for it."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """A running broker, started for the first test that asks."""
    with real_broker() as running:
        yield running


@dataclass(frozen=True)
class Names:
    """The names one test uses on the shared broker."""

    application_id: str
    transactions: str
    labels: str


@pytest.fixture
def names(request: pytest.FixtureRequest) -> Names:
    """Unique to the test and to the run: a broker named by `KAFKA_BOOTSTRAP` outlives both."""
    test = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    unique = f"{test[:60]}-{uuid.uuid4().hex[:8]}"
    return Names(f"{unique}-app", f"{unique}-transactions", f"{unique}-labels")


CreateTopics = Callable[..., None]


@pytest.fixture
def create_topics(broker: Broker) -> CreateTopics:
    """`create_topics("a", "b", partitions=3)` returns once the topics exist."""

    def create(*topics: str, partitions: int = 1, config: dict[str, str] | None = None) -> None:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        wanted = [NewTopic(name, partitions, 1, config=config or {}) for name in topics]
        for created in admin.create_topics(wanted, operation_timeout=30).values():
            created.result()

    return create


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Heals begin, and wait until the gate is opened."""
    found = Gate()
    monkeypatch.setattr("consumer.paper.Healer", held(found))
    return found
