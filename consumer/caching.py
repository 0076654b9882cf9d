"""Copies of the joins on a local disk: they save a restart time, and may be lost at any moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import structlog

from consumer import join_cache
from consumer.join import Join
from consumer.join_cache import Columns
from consumer.join_record import BLOCK, schema_of
from consumer.kafka.reader import Reader
from consumer.model_directory import Model
from consumer.segments import Segments
from consumer.settings import Settings

log = structlog.get_logger()

# A copy of a million rows is 160 MB: written so seldom it costs nothing, and a restart after a
# crash reads five minutes of the changelog behind it.
EVERY_S = 300.0
# A shutdown waits so long for the disk: five seconds are promised. Half a file is no file.
WAIT_S = 2.0
# Column that says up to which offset of the changelog the others have it.
_OFFSET = "changelog_offset"


class JoinCaches:
    """The copies of one process's partitions; without a folder there are none."""

    def __init__(self, settings: Settings, model: Model) -> None:
        self._folder = settings.join.cache_dir
        self._settings = settings
        declared = Segments(settings.segments, model.features).declared
        self._schema = f"{BLOCK:x}-{schema_of(model.features)}-{declared}"
        self._topic = settings.topic("pending")
        self._written_at = time.monotonic()
        self._thread: threading.Thread | None = None

    @property
    def due(self) -> bool:
        """Is it time to write again?"""
        return self._folder is not None and time.monotonic() - self._written_at > EVERY_S

    def read(self, reader: Reader, number: int) -> tuple[Columns | None, int]:
        """The copy of a partition's join, and the offset of the changelog to go on from."""
        if self._folder is None:
            return None, 0
        path = self._path(self._folder, number)
        found = join_cache.load(path, self._meta(reader, number))
        if isinstance(found, str):
            # None is there at the first start; one that is there and of no use is a disk's fault.
            say = log.warning if path.exists() else log.info
            say("the join is restored from its changelog", partition=number, reason=found)
            return None, 0
        offset = int(found.pop(_OFFSET)[0])
        if offset > reader.end(self._topic, number):
            log.warning("a join's cache is ahead of its changelog: not used", partition=number)
            return None, 0
        return found, offset

    def write(self, joins: Mapping[int, Join], *, wait: bool) -> None:
        """Copy the joins as they were committed just now; `wait` a while for the disk."""
        if self._folder is None:
            return
        if self._thread is not None and self._thread.is_alive():
            if not wait:
                return
            self._thread.join(WAIT_S)
        self._written_at = time.monotonic()
        copies = []
        with Reader(self._settings.kafka) as reader:
            for number, join in joins.items():
                columns = join.columns()
                columns[_OFFSET] = np.array([reader.end(self._topic, number)], np.int64)
                path = self._path(self._folder, number)
                copies.append((path, columns, self._meta(reader, number)))
        self._thread = threading.Thread(target=self._save, args=(copies,), daemon=True)
        self._thread.start()
        if wait:
            self._thread.join(WAIT_S)

    def _save(self, copies: list[tuple[Path, Columns, dict[str, str]]]) -> None:
        for path, columns, meta in copies:
            try:
                join_cache.save(path, columns, meta)
            except OSError as error:
                log.warning(
                    "a join's cache cannot be written; a restart will read the changelog instead",
                    path=str(path),
                    reason=error.strerror,
                )
                return

    def _path(self, folder: Path, number: int) -> Path:
        return folder / f"{self._topic}-{number}.join"

    def _meta(self, reader: Reader, number: int) -> dict[str, str]:
        return {
            "cluster": reader.cluster_id(),
            "topic": self._topic,
            "partition": str(number),
            "schema": self._schema,
        }
