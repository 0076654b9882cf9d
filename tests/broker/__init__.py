"""A real Kafka broker for the tests, and Kafka's own console consumer to read it with.

with real_broker() as broker:
    broker.bootstrap  # such as 127.0.0.1:41873
"""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.broker import tools
from tests.broker.docker import IMAGE, DockerServer
from tests.broker.java import JavaServer, java

__all__ = ["Broker", "console_consumer", "real_broker"]

# From a cold disk on two busy cores a broker answers after 4 to 10 s.
START_WITHIN_S = 60


class Server(Protocol):
    """What runs one broker; its data survives `stop` and `kill` until `remove`."""

    def start(self) -> None: ...
    def running(self) -> bool: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...
    def log(self) -> str: ...
    def remove(self) -> None: ...


class Broker:
    """One broker at `bootstrap`, which keeps its address and its data over every restart.

    Without a `server` it is not ours: a test that stops, restarts or kills it is skipped.
    """

    def __init__(self, bootstrap: str, server: Server | None = None) -> None:
        self.bootstrap = bootstrap
        self._server = server

    def __enter__(self) -> "Broker":
        if self._server is not None:
            try:
                self.start()
            except BaseException:
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            if self._server.running():
                self._server.stop()
            self._server.remove()

    def start(self) -> None:
        """Starts the broker and returns once it answers.

        Raises: RuntimeError, with the broker's log, when it ends or stays silent.
        """
        server = self._ours()
        server.start()
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        deadline = time.monotonic() + START_WITHIN_S
        while server.running() and time.monotonic() < deadline:
            try:
                if admin.list_topics(timeout=1).brokers:
                    return
            except KafkaException:
                time.sleep(0.1)
        raise RuntimeError(f"the test broker did not start; its log:\n{server.log()}")

    def stop(self) -> None:
        """Shuts the broker down in good order."""
        self._ours().stop()

    def kill(self) -> None:
        """Ends the broker at once, as a power cut would."""
        self._ours().kill()

    def restart(self) -> None:
        """Stops in good order and starts again."""
        self.stop()
        self.start()

    def _ours(self) -> Server:
        if self._server is None:
            pytest.skip("KAFKA_BOOTSTRAP names a broker that is not the tests' to stop")
        return self._server


@contextmanager
def real_broker() -> Iterator[Broker]:
    """A running broker by the first way this machine offers; stopped and removed at the end.

    Raises: RuntimeError, saying how to get one, where there is none.
    """
    way = tools.way()
    if way is None:
        raise RuntimeError(tools.how_to_get_one())
    if way == "external":
        yield Broker(os.environ["KAFKA_BOOTSTRAP"])
        return
    with tempfile.TemporaryDirectory(prefix="reflexive-kafka-") as home:
        port = free_port()
        properties = server_properties(port)
        kind = JavaServer if way == "java" else DockerServer
        with Broker(f"127.0.0.1:{port}", kind(Path(home), port, properties)) as broker:
            yield broker


def console_consumer(
    bootstrap: str, topic: str, max_messages: int, timeout_s: float = 20
) -> list[str]:
    """The first values of a topic as Kafka's own console consumer shows them, read committed.

    Returns fewer than `max_messages` once nothing has come for `timeout_s`.
    """
    arguments = [
        *("--bootstrap-server", bootstrap),
        *("--topic", topic, "--from-beginning"),
        *("--isolation-level", "read_committed"),
        *("--max-messages", str(max_messages)),
        *("--timeout-ms", str(round(timeout_s * 1000))),
    ]
    if tools.java_tools():
        command = java("org.apache.kafka.tools.consumer.ConsoleConsumer", *arguments)
    else:
        script = "/opt/kafka/bin/kafka-console-consumer.sh"
        command = ["docker", "run", "--rm", "--network", "host", IMAGE, script, *arguments]
    # Twice the silence allowed: the first is the consumer's own, the rest is for the JVM to start.
    shown = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=2 * timeout_s + 30
    )
    return shown.stdout.splitlines()


def free_port() -> int:
    """A port free together with the next one, which the controller takes."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def server_properties(port: int) -> str:
    """A single node, broker and controller in one, made to start fast and to hold little."""
    return f"""\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{port + 1}
controller.listener.names=CONTROLLER
inter.broker.listener.name=BROKER
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT

# With one node the defaults (3 replicas, 2 in sync) would never be met.
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1

# 50 partitions each by default: seconds of the first group's and first transaction's time.
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4

group.initial.rebalance.delay.ms=0
message.max.bytes=2097152
"""
