"""One run: the broker, the progress bar, the stop, the closing line."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import rich.console
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from consumer import logs, settings
from consumer.errors import DataError
from producer_sim.publish import Pace, Publisher
from producer_sim.replay import Malformed
from producer_sim.schedule import Messages
from producer_sim.topics import prepare

# As a shell reports a program that an interrupt has ended: 128 + SIGINT.
STOPPED = 130


@dataclass(frozen=True, slots=True)
class Target:
    """Where to publish; None is "as the settings say"."""

    settings_file: Path | None
    bootstrap_servers: str | None
    transactions_topic: str | None
    labels_topic: str | None
    partitions: int

    def load(self) -> settings.Settings:
        """The settings in force."""
        return settings.load(
            self.settings_file,
            {
                "kafka.bootstrap_servers": self.bootstrap_servers,
                "input.transactions.topic": self.transactions_topic,
                "input.labels.topic": self.labels_topic,
            },
        )


class Console:
    """Standard error, for people."""

    def __init__(self) -> None:
        self._rich = rich.console.Console(stderr=True)

    def say(self, text: str) -> None:
        """One line, as it is; above a progress bar where there is one."""
        self._rich.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def progress(self, total: int | None) -> Iterator[Callable[[int], None]]:
        """A bar on a terminal, nothing elsewhere; gives what is to be told the rows done."""
        columns = (BarColumn(), MofNCompleteColumn(), "transactions", TimeElapsedColumn())
        shown = self._rich.is_terminal
        with Progress(*columns, console=self._rich, transient=True, disable=not shown) as bar:
            task = bar.add_task("", total=total)
            yield lambda done: bar.update(task, completed=done)


def run(
    messages: Iterable[Messages],
    target: Target,
    rate: float | None,
    console: Console,
    total: int | None,
    malformed: Malformed | None = None,
) -> None:
    """Publish all of it, or up to an interrupt; a second interrupt does not wait.

    `total`: transactions, for the progress bar. `malformed`: for the closing line.

    Raises: KafkaUnavailableError; DataError after what came before it has been published;
    typer.Exit after an interrupt.
    """
    loaded = target.load()
    logs.configure(loaded.log)
    transactions, labels = loaded.input.transactions.topic, loaded.input.labels.topic
    topics = prepare(loaded.kafka, transactions, labels, target.partitions)
    for note in topics.notes:
        console.say(note)
    publisher = Publisher(loaded.kafka, topics, Pace(rate))
    begun = time.monotonic()

    def close(prefix: str) -> None:
        publisher.finish()
        seconds = time.monotonic() - begun
        left_out = (
            f"; {malformed.rows:,} malformed rows left out" if malformed and malformed.rows else ""
        )
        console.say(
            f"{prefix}published {publisher.transactions:,} transactions to {transactions!r} and "
            f"{publisher.labels:,} labels to {labels!r} in {seconds:.1f} s "
            f"({publisher.transactions / seconds:,.0f} transactions a second){left_out}"
        )

    with _stopping(publisher):
        try:
            with console.progress(total) as progress:
                publisher.publish(messages, progress)
        except DataError:
            close("not all: ")
            raise
        close("stopped: " if publisher.stopped else "")
    if publisher.stopped:
        raise typer.Exit(STOPPED)


@contextmanager
def _stopping(publisher: Publisher) -> Iterator[None]:
    """The first interrupt asks the publisher to stop; the second is as it was before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(*_: object) -> None:
        publisher.stopped = True
        restore()

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        restore()
