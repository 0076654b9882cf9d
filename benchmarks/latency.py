"""From a transaction's being sent to its score's being readable; and what healing costs.

    make latency

At 2,000 transactions a second a reader waits for every score as those downstream do, read
committed, under both deliveries. Then the same with a heal nearly always open, and without one, in
turns: latency at the same pace, and messages a second over a backlog.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import orjson
from confluent_kafka.cimpl import NewTopic

from benchmarks import arguments, arrivals, live, processes, runs, streams
from benchmarks.arrivals import Arrivals
from benchmarks.delivery import AT_LEAST, ONCE, interval
from benchmarks.live import HERE
from benchmarks.markdown import spread, table
from consumer.kafka import client, topics
from consumer.kafka.reader import read_all
from consumer.settings import Settings
from producer_sim.labels import Labelling
from producer_sim.rows import Transactions
from producer_sim.scenarios import Scenario, stream
from tests.broker import real_broker

OUT = HERE / "docs" / "results" / "latency.md"
WARM_UP_S = 3
EVENT_RATE = 20_000  # of the backlog, a second of event time
# Every label comes, so that there is always enough that is new to learn from.
ALL = Labelling(delay_ms=1_000)
HEALING, AT_REST = "healing", "at rest"
# As many as there are labels for, and not some hundreds an hour of event time.
OFTEN = ("--set", "heal.max_per_hour=1000000")
# The state that a score holds is that of the start of its monitor batch.
OPEN = b'"state":"HEALING"'
ENDS = (b'"action":"heal-deployed"', b'"action":"heal-discarded"')


@dataclass(frozen=True, slots=True)
class Ran:
    """One run: its figure, and in which share of it a heal was open."""

    value: float
    healing: float
    heals: int


@dataclass(frozen=True, slots=True)
class Pace:
    """What is sent in each run that is paced."""

    rate: int
    seconds: int

    def rows(self) -> Transactions:
        """Warm-up and run, dated from now on."""
        count = self.rate * (self.seconds + WARM_UP_S)
        whole = streams.whole(stream(Scenario.none, 42, rows=count))
        (dated,) = streams.paced([whole], self.rate, time.time_ns() // 1_000_000)
        return dated


def at_pace(
    found: Settings, folder: Path, pace: Pace, labelling: Labelling, *more: str, rest: bool = False
) -> Arrivals:
    """One run on topics of its own, with the consumer started for it; `rest`: no heal begins."""
    names = (found.input.transactions.topic, found.input.labels.topic)
    topics.create(client.admin(found.kafka), found.kafka, [NewTopic(name, 1, 1) for name in names])
    if rest:
        paused(found)
    rows = pace.rows()
    with live.started(
        found, folder / "model", folder / f"{found.application_id}.log", *more
    ) as consumer:
        took = arrivals.send_and_read(
            found,
            rows,
            pace.rate,
            pace.rate * WARM_UP_S,
            labelling,
            lambda: consumer.process.poll() is None,
        )
        consumer.stop()
    return took


def deliveries(
    bootstrap: str, folder: Path, name: str, pace: Pace, repetitions: int
) -> dict[str, list[Arrivals]]:
    """Both in turns, a tenth of the labels coming."""
    found: dict[str, list[Arrivals]] = {AT_LEAST: [], ONCE: []}
    for number in range(repetitions):
        for delivery in found if number % 2 == 0 else reversed(found):
            of = f"{name}-{delivery.replace('_', '-')}-{number}"
            more = ("--set", f"delivery={delivery}")
            run = streams.settings(bootstrap, of, "run")
            took = at_pace(run, folder, pace, streams.TENTH, *more)
            found[delivery].append(took)
            about = f"p50 {took.quantile(0.5):.1f} ms, p99 {took.quantile(0.99):.1f} ms"
            print(f"{of}: {about}, {took.sent_per_s:,.0f}/s sent", flush=True)
    return found


def paused(found: Settings) -> None:
    """Order, before the consumer starts, that no heal begins; all else goes on."""
    topics.ensure(found)
    runs.command(
        *("consumer", "pause", "--why", "measured at rest"),
        *("--bootstrap-servers", found.kafka.bootstrap_servers),
        *("--application-id", found.application_id),
    )


def healed(found: Settings) -> tuple[float, int]:
    """The share of the scores that were made while a heal was open, and how many heals ended."""
    states = [
        OPEN in (record.value or b"") for record in read_all(found.kafka, found.topic("scores"))
    ]
    events = (r.value or b"" for r in read_all(found.kafka, found.topic("events")))
    return sum(states) / len(states), sum(any(end in event for end in ENDS) for event in events)


def while_healing(
    bootstrap: str, folder: Path, name: str, pace: Pace, rows: int, repetitions: int
) -> tuple[dict[str, list[Ran]], dict[str, list[Ran]]]:
    """Messages a second over a backlog, and p99 in ms at the pace: healing and at rest in turns."""
    backlog = streams.settings(bootstrap, name, "backlog")
    chunks = streams.paced(stream(Scenario.none, 42, rows=rows), EVENT_RATE, streams.START_MS)
    streams.publish(backlog, chunks)
    rates: dict[str, list[Ran]] = {HEALING: [], AT_REST: []}
    tails: dict[str, list[Ran]] = {HEALING: [], AT_REST: []}
    for number in range(repetitions):
        for kind in rates if number % 2 == 0 else reversed(rates):
            of = f"{kind.replace(' ', '-')}-{number}"
            found, log = streams.settings(bootstrap, name, of), folder / f"{of}.log"
            if kind == AT_REST:
                paused(found)
            run = live.run(found, folder / "model", rows, log, *OFTEN, most_s=1_800)
            streams.counted(found, rows)
            rates[kind].append(Ran(run.rate, *healed(found)))
            found = streams.settings(bootstrap, f"{name}-{of}", "run")
            took = at_pace(found, folder, pace, ALL, *OFTEN, rest=kind == AT_REST)
            tails[kind].append(Ran(took.quantile(0.99), *healed(found)))
            about = f"{run.rate:,.0f}/s over {run.seconds:.0f} s, p99 {took.quantile(0.99):.1f} ms"
            open_ = f"{rates[kind][-1].healing:.0%} and {tails[kind][-1].healing:.0%}"
            print(f"{of}: {about}; a heal open for {open_} of the scores", flush=True)
    return rates, tails


def delivery_lines(found: Mapping[str, Sequence[Arrivals]]) -> list[list[str]]:
    """Lines of a table."""
    return [
        [
            delivery,
            *(spread([run.quantile(q) for run in several], ".1f") for q in (0.5, 0.99, 0.999, 1.0)),
            f"{sum(len(run.latency_ms) for run in several):,}",
            f"{median(run.sent_per_s for run in several):,.0f}",
        ]
        for delivery, several in found.items()
    ]


def healing_line(what: str, form: str, found: Mapping[str, Sequence[Ran]]) -> list[str]:
    """One line of a table: ratios are of runs of the same round."""
    pairs = list(zip(found[HEALING], found[AT_REST], strict=True))
    ratios = [one.value / other.value for one, other in pairs]
    return [
        what,
        *(f"{median(run.value for run in found[kind]):{form}}" for kind in (HEALING, AT_REST)),
        f"**{median(ratios):.3f}**",
        "{:.3f} to {:.3f}".format(*interval(ratios)),
        *(f"{median(run.healing for run in found[kind]):.0%}" for kind in (HEALING, AT_REST)),
        *(f"{median(run.heals for run in found[kind]):.0f}" for kind in (HEALING, AT_REST)),
    ]


def main() -> None:
    """Run, print, write."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.latency")
    options.add_argument(
        "--rate", type=arguments.positive, default=2_000, help="a second; default 2,000"
    )
    options.add_argument(
        "--seconds", type=arguments.positive, default=30, help="of a paced run; default 30"
    )
    options.add_argument(
        "--rows",
        type=arguments.positive,
        default=1_500_000,
        help="backlog; default 1,500,000",
    )
    options.add_argument(
        "--repetitions", type=arguments.positive, default=6, help="of each kind; default 6"
    )
    options.add_argument("--out", type=Path, default=OUT, help="the report; default in docs/")
    given = options.parse_args()
    about, name = processes.machine(), f"latency-{uuid.uuid4().hex[:8]}"
    pace = Pace(given.rate, given.seconds)
    with real_broker() as broker, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        streams.model(folder)
        both = deliveries(broker.bootstrap, folder, name, pace, given.repetitions)
        rates, tails = while_healing(
            broker.bootstrap, folder, name, pace, given.rows, given.repetitions
        )
    text = "\n".join(
        [
            "# From sending to reading, and what healing costs",
            "",
            "    make latency",
            "",
            f"Taken on {about}.",
            "",
            f"{given.rate:,} transactions of ten features a second for {given.seconds} s a run, "
            f"after {WARM_UP_S} s that are not counted; {given.repetitions} rounds, the kinds in "
            "turns, the consumer started anew for each. From the moment a message is handed to the "
            "client until a read-committed reader has its score, both in one process; every score "
            "is awaited. Everything works: join, monitors, shadow, hedge of experts, events; a "
            "commit every 100 ms. Milliseconds, medians of the runs and, in brackets, their span.",
            "",
            *table(
                ["delivery", "p50", "p99", "p99.9", "longest", "scores", "sent a second"],
                delivery_lines(both),
            ),
            "## While it heals",
            "",
            f"Exactly once. {given.rows:,} transactions published before (a tenth labelled), and "
            f"{given.rate:,} a second (all labelled): with heals as often as there is something "
            "new to learn from, and paused by an order, in turns. The interval holds the median "
            "ratio 19 times of 20 (of fewer than 6 runs: all of them). Last, the share of the "
            "scores that were made while a heal was open, and the heals that ended in a run.",
            "",
            *table(
                [
                    *("", HEALING, AT_REST, "ratio", "its interval"),
                    *("open, healing", "open, at rest", "heals, healing", "heals, at rest"),
                ],
                [
                    healing_line("messages/s, backlog", ",.0f", rates),
                    healing_line("p99 ms, at the pace", ".1f", tails),
                ],
            ),
        ]
    )
    print(text)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(text)
    figures = {
        "command": " ".join(["python -m benchmarks.latency", *sys.argv[1:]]),
        "machine": about,
        "deliveries": {
            kind: [{f"p{100 * q:g}": run.quantile(q) for q in (0.5, 0.99, 0.999, 1.0)} for run in r]
            for kind, r in both.items()
        },
        "messages_per_s": rates,
        "p99_ms": tails,
    }
    indented = orjson.dumps(figures, option=orjson.OPT_INDENT_2)
    given.out.with_suffix(".json").write_bytes(indented + b"\n")


if __name__ == "__main__":
    main()
