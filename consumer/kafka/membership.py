"""Given up by the group, or replaced in it? Without a transactional id only the group can tell."""

from __future__ import annotations

import time

from confluent_kafka import KafkaException

from consumer.errors import FencedError, KafkaUnavailableError
from consumer.kafka import client
from consumer.kafka.source import SESSION_MS
from consumer.settings import Settings

# A member that is gone is forgotten after a session without a word; half of one for the asking.
FORGOTTEN_S = 1.5 * SESSION_MS / 1000


def wait_until_forgotten(settings: Settings) -> None:
    """Once we have left without a word: until the group has no member of our instance id.

    Raises: FencedError where it still has one then: that is another process. KafkaUnavailableError
    where the group does not tell.
    """
    admin, instance = client.admin(settings.kafka), settings.transactional_id
    deadline = time.monotonic() + FORGOTTEN_S
    while True:
        (told,) = admin.describe_consumer_groups([settings.application_id]).values()
        try:
            members = told.result(settings.kafka.connect_timeout_s).members
        except (KafkaException, TimeoutError) as error:
            raise KafkaUnavailableError(
                f"the members of group {settings.application_id!r} cannot be read: {error}"
            ) from error
        if not any(member.group_instance_id == instance for member in members):
            return
        if time.monotonic() > deadline:
            raise FencedError(
                f"another process runs with instance id {instance!r} and has taken over; "
                "give each process its own --instance-id"
            )
        time.sleep(0.5)
