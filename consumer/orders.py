"""The commands topic, as the healer reads it: each record once, from where the last commit was."""

from __future__ import annotations

from consumer import command
from consumer.command import Command, Pin, Rollback
from consumer.kafka.reader import Follower, read_all
from consumer.kafka.record import Record
from consumer.model_directory import Model
from consumer.registry import InForce
from consumer.restore import last_in_force, snapshots
from consumer.settings import Settings


class Orders:
    """What people order, while we are the healer."""

    def __init__(self, settings: Settings, model: Model, start: int) -> None:
        """`start`: offset of the first record that was not followed yet.

        Raises: CommandError where the key cannot be read.
        """
        self._settings = settings
        self._model = model
        file = settings.commands.key_file
        self._key = None if file is None else command.read_key(file)
        self._follower = Follower(settings.kafka, settings.topic("commands"), start)

    def added(self) -> list[Record]:
        """Records that have come since, without waiting; those that only tell are left out."""
        return [
            record
            for record in self._follower.added()
            if not any(name == command.APPLIED_BY for name, _ in record.headers)
        ]

    def read(self, record: Record) -> Command:
        """What it orders.

        Raises: CommandError where it is not readable, or not signed as it must be.
        """
        command.check(record.value, dict(record.headers).get(command.SIGNATURE), self._key)
        return command.parse(record.value)

    def named(self, order: Command) -> InForce | None:
        """The version that an order names, with the weights it had; None where it never counted."""
        version = order.version if isinstance(order, Pin | Rollback) else None
        if version is None:
            return None
        snapshot = snapshots(self._settings, self._model).get(version)
        if snapshot is None or snapshot.kind == "candidate":
            return None
        if snapshot.kind != "pool":
            return InForce(snapshot)
        registry = read_all(self._settings.kafka, self._settings.topic("registry"))
        return last_in_force(registry, snapshot)

    def close(self) -> None:
        """Let go of the topic."""
        self._follower.close()
