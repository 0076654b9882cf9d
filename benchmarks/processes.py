"""The consumer as a process of its own, watched from outside: seconds, memory, rows committed."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition

from consumer.kafka import client
from consumer.settings import Settings

# The kernel keeps the peak: only what a process adds in its last tenth of a second is missed.
LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Sample:
    """A process at one moment."""

    seconds: float  # since its start
    rows: int  # transactions of partition 0 committed
    resident_mb: float


@dataclass(frozen=True, slots=True)
class Watched:
    """A process that has ended well."""

    seconds: float  # from its start to its end
    peak_mb: float  # most resident memory at any time
    samples: list[Sample]


def command(settings: Settings, model: Path, *more: str) -> list[str]:
    """`python -m consumer run --until-end` on the topics of these settings."""
    names = settings.input
    return [
        *(sys.executable, "-m", "consumer", "run", "--until-end", "--model", str(model)),
        *("--bootstrap-servers", settings.kafka.bootstrap_servers),
        *("--application-id", settings.application_id),
        *("--transactions-topic", names.transactions.topic),
        *("--labels-topic", names.labels.topic),
        *more,
    ]


def watch(
    settings: Settings, model: Path, log: Path, *more: str, kill_at: int | None = None
) -> Watched:
    """Run it to its end; what it says goes to `log`. `kill_at`: SIGKILL after so many rows.

    Raises: RuntimeError with the end of its log where it fails.
    """
    # Read uncommitted: to wait until a commit is through would slow the reader and not the process.
    own = {"group.id": settings.application_id, "isolation.level": "read_uncommitted"}
    group = client.build(Consumer, client.properties(settings.kafka, own))  # asked, never joined
    places = [TopicPartition(settings.input.transactions.topic, 0)]
    samples, peak_mb = [], 0.0
    begun = time.monotonic()
    try:
        with log.open("wb") as said:
            process = subprocess.Popen(command(settings, model, *more), stderr=said)
            try:
                while process.poll() is None:
                    resident_mb, highest_mb = memory_mb(process.pid)
                    peak_mb = max(peak_mb, highest_mb)
                    rows = max(0, *committed(group, places))
                    if highest_mb:
                        samples.append(Sample(time.monotonic() - begun, rows, resident_mb))
                    if kill_at is not None and rows >= kill_at:
                        process.kill()
                    time.sleep(LOOK_S)
            finally:
                process.kill()
                process.wait()
        if process.returncode != 0 and kill_at is None:
            end = log.read_text(errors="replace").splitlines()[-5:]
            raise RuntimeError("the consumer failed: " + " / ".join(end))
    finally:
        group.close()
    return Watched(time.monotonic() - begun, peak_mb, samples)


def machine() -> str:
    """Where figures were taken, and what else it had to do then."""
    cpu = platform.processor() or platform.machine()
    about = Path("/proc/cpuinfo")
    if about.exists():
        names = [line for line in about.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].partition(": ")[2] if names else cpu
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    versions = ", ".join(f"{name} {version(name)}" for name in ("confluent-kafka", "torch"))
    return (
        f"{os.cpu_count()} × {cpu}, {memory_gb:.0f} GB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, {versions}; broker on the same machine; load average "
        f"before the run {os.getloadavg()[0]:.1f}"
    )


def committed(group: Consumer, places: list[TopicPartition]) -> list[int]:
    """Offsets; waits while a broker that has just started finds out who keeps the group."""
    while True:
        try:
            return [place.offset for place in group.committed(places, timeout=10)]
        except KafkaException as error:
            if error.args[0].code() not in client.COORDINATOR_MOVES:
                raise
            time.sleep(client.RETRY_S)


def memory_mb(process: int) -> tuple[float, float]:
    """Resident memory in MB, now and at most; 0 of a process that is ending."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0, 0.0
    found = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
    return int(found.get("VmRSS", 0)) * 1024 / 1e6, int(found.get("VmHWM", 0)) * 1024 / 1e6
