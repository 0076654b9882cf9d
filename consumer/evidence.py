"""Labelled batches that a heal was requested on: what they are, and as bytes for a restart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import orjson
import safetensors.numpy
from safetensors import SafetensorError

from consumer.columns import Labelled
from consumer.decision import decided
from consumer.errors import RegistryError
from consumer.registry import Place


@dataclass(frozen=True, slots=True)
class Evidence:
    """A labelled batch: consecutive joined rows of one partition, its number and its place."""

    rows: Labelled
    batch: int
    place: Place
    reasons: tuple[str, ...]  # why an alarm is raised; empty: there is none


_ARRAYS = tuple(
    field.name for field in fields(Labelled) if field.name not in ("partition", "ids", "source")
)


def _rows(
    arrays: Mapping[str, np.ndarray[Any, Any]], number: int
) -> dict[str, np.ndarray[Any, Any]]:
    """The columns of one request; those of a version before say neither decisions nor groups."""
    found = {name: arrays.get(f"{number}.{name}") for name in _ARRAYS}
    none = np.zeros((len(arrays[f"{number}.score"]), 0), np.uint8)
    before = {
        "decision": decided(arrays[f"{number}.score"], arrays[f"{number}.threshold"]),
        "shadow_decision": decided(arrays[f"{number}.shadow"], arrays[f"{number}.threshold"]),
        "groups": none,
    }
    return {name: before[name] if had is None else had for name, had in found.items()}


def to_bytes(open_requests: Sequence[Evidence]) -> bytes:
    """Serialise: safetensors, the words as JSON in their metadata."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    words: list[dict[str, Any]] = []
    for number, one in enumerate(open_requests):
        for name in _ARRAYS:
            arrays[f"{number}.{name}"] = np.ascontiguousarray(getattr(one.rows, name))
        words.append(
            {
                "partition": one.rows.partition,
                "ids": list(one.rows.ids),
                "source": list(one.rows.source),
                "batch": one.batch,
                "place": one.place,
                "reasons": one.reasons,
            }
        )
    return safetensors.numpy.save(arrays, {"requests": orjson.dumps(words).decode()})


def from_bytes(data: bytes) -> list[Evidence]:
    """Read them back.

    Raises: RegistryError where the bytes are not what `to_bytes` made.
    """
    try:
        arrays = safetensors.numpy.load(data)
        length = int.from_bytes(data[:8], "little")
        words = orjson.loads(orjson.loads(data[8 : 8 + length])["__metadata__"]["requests"])
        return [
            Evidence(
                Labelled(
                    partition=one["partition"],
                    ids=one["ids"],
                    source=one["source"],
                    **_rows(arrays, number),
                ),
                one["batch"],
                Place(**one["place"]),
                tuple(one["reasons"]),
            )
            for number, one in enumerate(words)
        ]
    except (SafetensorError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise RegistryError(f"registry record requests is not readable: {error}") from error
