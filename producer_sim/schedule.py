"""Transactions and labels as one sequence of messages, in the order of event time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from producer_sim import encode
from producer_sim.labels import Labelling, Labels
from producer_sim.rows import Int64, Transactions


@dataclass(frozen=True, slots=True)
class Messages:
    """Consecutive messages of the two topics."""

    is_label: list[bool]
    keys: list[str]
    values: list[str]

    def __len__(self) -> int:
        return len(self.keys)


def schedule(chunks: Iterable[Transactions], labelling: Labelling) -> Iterator[Messages]:
    """The label of a transaction at time t goes out when the stream reaches t + delay.

    At a tie the transaction goes first. Labels of after the last transaction go out at the end,
    in order: nothing is withheld.
    """
    waiting: deque[Labels] = deque()  # one delay for all: in order as they are appended
    for chunk in chunks:
        waiting.append(labelling.of(chunk))
        # A label at the very time of the last row waits: the next chunk may begin with that time.
        due = Labels.joined(_before(waiting, int(chunk.times[-1])))
        # Stable, and the transactions come first: so they do at a tie.
        order = np.argsort(np.concatenate([chunk.times, due.labelled_at]), kind="stable")
        yield _messages(chunk, due, order)
    while waiting:
        yield _labels_alone(waiting.popleft())


def _before(waiting: deque[Labels], time: int) -> list[Labels]:
    """Takes the labels of before `time` from the head of those that are waiting."""
    taken = []
    while waiting:
        head = waiting.popleft()
        due = int(np.searchsorted(head.labelled_at, time))
        taken.append(head.part(0, due))
        if due < len(head):
            waiting.appendleft(head.part(due))
            break
    return taken


def _messages(chunk: Transactions, labels: Labels, order: Int64) -> Messages:
    keys = chunk.ids + labels.ids.to_pylist()
    values = encode.transactions(chunk) + encode.labels(labels)
    return Messages(
        is_label=(order >= len(chunk)).tolist(),
        keys=[keys[place] for place in order.tolist()],
        values=[values[place] for place in order.tolist()],
    )


def _labels_alone(labels: Labels) -> Messages:
    return Messages([True] * len(labels), labels.ids.to_pylist(), encode.labels(labels))
