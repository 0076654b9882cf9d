"""The stages without Kafka: columns in, outputs out, in the order of event time.

What a consumer with `--until-end` and inline healing would publish of the same records, in the same
process: for tests, for studies, for trying a change on a stream that lies in a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import TracebackType

from consumer.columns import Labels, Transactions
from consumer.model_directory import Model
from consumer.order import Lane, Sequencer
from consumer.outputs import Outputs
from consumer.pipeline import Pipeline
from consumer.settings import Settings

Chunk = tuple[Transactions | None, Labels | None]


def _nothing() -> None:
    """There is nobody to answer while an inline heal is waited for."""


class Driver:
    """One partition, from its beginning to its end."""

    def __init__(self, settings: Settings, model: Model) -> None:
        """`settings.heal.mode` should be inline: threaded, outputs depend on the machine's speed.

        Raises: RegistryError, ModelError.
        """
        self.pipeline = Pipeline(settings, model)
        self._sequencer: Sequencer[None] = Sequencer(
            self.pipeline, "event_time", _nothing, self.pipeline.committed
        )
        self._lane = self._sequencer.lanes[0] = Lane()
        self._now_ms = 0

    def __enter__(self) -> Driver:
        self.pipeline.start(None, self._now_ms)
        self.pipeline.assign([0], self._now_ms)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.pipeline.healing.close(2.0)

    def run(self, chunks: Iterable[Chunk], take: Callable[[Outputs], None]) -> None:
        """Feed chunks of transactions and labels, both in time order; `take` gets what comes of it.

        A chunk need not hold both; a label may come in a later chunk than rows it is older than.
        """
        for transactions, labels in chunks:
            if transactions is not None and len(transactions):
                read = int(transactions.offset[-1]) + 1
                self._lane.transactions.put(transactions, [], read)
            if labels is not None and len(labels):
                self._lane.labels.put(labels, [], int(labels.offset[-1]) + 1)
            self._turn(take)
        self._lane.transactions.at_end = self._lane.labels.at_end = True
        self._turn(take)
        self.pipeline.settle(_nothing)
        take(self.pipeline.take())

    def _turn(self, take: Callable[[Outputs], None]) -> None:
        self._sequencer.run()
        take(self.pipeline.take())
