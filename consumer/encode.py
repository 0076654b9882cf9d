"""From columns to the bytes of messages, a line of JSON each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import orjson

from consumer.columns import Labelled, Scores
from consumer.events import Event
from consumer.registry import Snapshot


def scores(batch: Scores, topic: str, model_version: str) -> Iterator[tuple[str, bytes]]:
    """(key, value) of each score, in the order of the transactions."""
    rows = batch.transactions
    score64 = batch.score.astype(np.float64)  # as it is published, against the published threshold
    decision = np.where(
        score64 >= batch.decline_threshold,
        "decline",
        np.where(score64 >= batch.threshold, "review", "approve"),
    ).tolist()
    shared = {
        "model_version": model_version,
        "adapter_version": batch.adapter_version,
        "provisional": batch.provisional,
        "state": batch.state,
        "topic": topic,
        "partition": rows.partition,
    }
    threshold: list[float] = np.broadcast_to(batch.threshold, len(batch)).tolist()
    for name, time_ms, score, shadow, verdict, limit, offset in zip(
        rows.ids,
        rows.event_time.tolist(),
        batch.score.tolist(),
        batch.shadow.tolist(),
        decision,
        threshold,
        rows.offset.tolist(),
        strict=True,
    ):
        yield (
            name,
            orjson.dumps(
                {
                    "transaction_id": name,
                    "event_time": time_ms,
                    "score": score,
                    "shadow_score": shadow,
                    "decision": verdict,
                    "threshold": limit,
                    **shared,
                    "offset": offset,
                }
            ),
        )


def labelled(
    batch: Labelled, topic: str, features: Sequence[str], *, correction: bool = False
) -> Iterator[tuple[str, bytes]]:
    """(key, value) of each joined row, in the order in which the labels came.

    `correction`: the row was joined before, with another label.
    """
    for index, name in enumerate(batch.ids):
        event_time, labelled_at = int(batch.event_time[index]), int(batch.labelled_at[index])
        yield (
            name,
            orjson.dumps(
                {
                    "transaction_id": name,
                    "event_time": event_time,
                    "labelled_at": labelled_at,
                    "delay_ms": labelled_at - event_time,
                    "is_fraud": int(batch.is_fraud[index]),
                    "source": batch.source[index],
                    "features": dict(zip(features, batch.x[index].tolist(), strict=True)),
                    "score": float(batch.score[index]),
                    "shadow_score": float(batch.shadow[index]),
                    "threshold": float(batch.threshold[index]),
                    "adapter_version": int(batch.adapter_version[index]),
                    "weight": float(batch.weight[index]),
                    "correction": correction,
                    "topic": topic,
                    "partition": batch.partition,
                    "offset": int(batch.offset[index]),
                }
            ),
        )


def manifest(snapshot: Snapshot) -> bytes:
    """Value of a registry record's header `manifest`."""
    return orjson.dumps(dict(snapshot.manifest))


def event(event: Event) -> bytes:
    """Value of an event's record."""
    return orjson.dumps(event)
