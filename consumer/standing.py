"""Where the healer stands, from its checkpoint, and orders to it: no model is needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from consumer import command
from consumer.errors import KafkaUnavailableError
from consumer.events import iso8601
from consumer.kafka import client, topics
from consumer.kafka.reader import Reader
from consumer.pipeline import HEALER
from consumer.settings import Settings

SENT_S = 10


def read(settings: Settings) -> dict[str, Any]:
    """State, version, what waits, what is held: at the last commit; and when that was.

    `waiting`: offsets from there to the ends of the inputs, by topic, transactions' markers too.

    Raises: KafkaUnavailableError where this application has not consumed yet.
    """
    topic = topics.written(settings, "checkpoints")
    committed_ms, healing, waiting = 0, None, Counter[str]()
    with Reader(settings.kafka) as reader:
        for number in range(
            client.partitions_of(client.admin(settings.kafka), settings.kafka, topic)
        ):
            for last in reader.last(topic, number, 1):
                committed_ms = max(committed_ms, last.timestamp()[1])
                checkpoint = orjson.loads(last.value() or b"{}")
                healing = checkpoint.get("healing") if number == HEALER else healing
                for source, at in checkpoint.get("positions", {}).items():
                    waiting[source] += max(0, reader.end(source, number) - at)
    if healing is None:
        raise KafkaUnavailableError(
            f"{topic}[{HEALER}] holds no checkpoint of a healer yet; is the consumer running?"
        )
    control = healing["control"]
    return {
        "application_id": settings.application_id,
        "committed_at": iso8601(committed_ms),
        "waiting": dict(waiting),
        "state": healing["state"],
        "adapter_version": healing["version"],
        "heals": healing["heals"],
        "rollbacks": healing["rollbacks"],
        "paused": control["paused"],
        "pinned": control["pinned"],
        "pending_approvals": [
            {
                "id": one["id"],
                "what": one["what"],
                "asked_at": iso8601(one["asked_ms"]),
                "expires_at": iso8601(one["expires_ms"]),
                "version": one["version"],
                "evidence": one["evidence"],
            }
            for one in control["waiting"]
        ],
    }


def text(found: Mapping[str, Any]) -> str:
    """The same for a person."""
    return "\n".join(_lines(found))


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    held = [name for name in ("paused", "pinned") if found[name]]
    yield (
        f"{found['application_id']}: {found['state']}, v{found['adapter_version']} in force"
        f"{', ' + ' and '.join(held) if held else ''}; {found['heals']} heals, "
        f"{found['rollbacks']} rollbacks"
    )
    left = (f"{count:,} offsets of {topic}" for topic, count in sorted(found["waiting"].items()))
    yield f"last commit {found['committed_at']}; to be read since: {', '.join(left) or 'nothing'}"
    for one in found["pending_approvals"]:
        yield f"{one['id']} waits until {one['expires_at']}: {one['what']}"
        for verdict in one["evidence"].get("gate", ()):
            yield (
                f"  {verdict['expert']}: {verdict['reason']} (loss lower by "
                f"{verdict['gain']:.4f} ± {verdict['error']:.4f} on {verdict['rows']} rows)"
            )
    if not found["pending_approvals"]:
        yield "nothing waits for approval"


def send(settings: Settings, order: Mapping[str, Any]) -> None:
    """Write an order to the commands topic, signed where there is a key.

    Raises: CommandError where it is none; KafkaUnavailableError where it cannot be written.
    """
    value = command.parse(orjson.dumps(order)).value
    headers: list[tuple[str, str | bytes | None]] = []
    if settings.commands.key_file is not None:
        key = command.read_key(settings.commands.key_file)
        headers.append((command.SIGNATURE, command.signature(value, key)))
    topic = topics.written(settings, "commands")
    producer = client.producer(settings.kafka)
    failed: list[str] = []
    producer.produce(
        topic,
        key=str(order["command_id"]),
        value=value,
        headers=headers,
        partition=0,
        on_delivery=lambda error, _: failed.append(error.str()) if error else None,
    )
    if producer.flush(SENT_S) or failed:
        why = failed[0] if failed else f"no answer within {SENT_S} s"
        raise KafkaUnavailableError(f"{topic}: the order was not taken: {why}")
