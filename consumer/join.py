"""Scored transactions wait here for their labels: a sample that fits the budget and the horizon.

Everything is decided at exact rows, so that neither the chunks in which rows come nor a restart
changes a result. The clock is the latest event time of all rows seen. A row can be joined until the
clock is `horizon_ms` past the row's own, and is known for an eighth of that longer, to tell a late
label from an unknown one. Rows leave, the load is measured and the level of sampling is set (see
`sampling`) whenever the number of rows seen passes a multiple of a step.

What is kept is told as records of a changelog (see `join_record`); `join_restore` makes the same
join of them. Rows that leave by the horizon or by sampling are not told: the same rules find them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from consumer import join_restore
from consumer.columns import Int64, Labelled, Labels, Matched, Scores
from consumer.early_labels import EarlyLabels, as_labels, verdict
from consumer.held_rows import HeldRows
from consumer.id_index import Hashes, distinct, repeated
from consumer.join_record import (
    UNLABELLED,
    Change,
    Early,
    blocks,
    id_hashes,
    labelled,
    opaque,
    row_type,
    scored,
    source_codes,
    taken,
    write_labels,
)
from consumer.sampling import HIGHEST, Sampling

# Rows between two rounds of housekeeping, and the most that are taken in at once: what that costs
# beside the rows themselves is spread over many, and at a budget of a million rows the level is
# still decided 250 times before it is full.
STEP = 4096


class Join:
    """The join of one partition. Each rule has a counter in `counts`:

    - `matched`: a label met its transaction.
    - `duplicate`: the same label again, from whomever.
    - `corrected`: another label from the same source, not older: the new one stands.
    - `outdated`: another label from the same source, older than the one that stands.
    - `conflict`: another source disagrees: the one of higher precedence stands, of equal ones the
      later label, at equal times the first.
    - `confirmed`: the same label from a source of higher precedence, which stands from now on.
    - `chosen`: a label that tells with which propensity it was asked for.
    - `too_late`: a label for a transaction past the horizon.
    - `unsampled`: a label for a transaction that the sample leaves out.
    - `early`: a label came first and waits; these follow the rules above among themselves.
    - `early_dropped`: it gave way to newer ones; `orphan`: a day on its transaction had not come.
    - `expired`: a transaction left unlabelled by the horizon; `thinned`: by a raise of the level.
    - `reused_id`: a second transaction of an id: labels go to the newer one.
    - `other_model`: a record of another feature list or format, dropped at restore.
    """

    def __init__(
        self,
        partition: int,
        features: int,
        max_rows: int,
        horizon_ms: int,
        schema: int = 0,
        precedence: Sequence[str] = (),
        groups: int = 0,
        declared: int = 0,
    ) -> None:
        """`schema`: `join_record.schema_of` the features. `precedence`: sources, highest first.

        `groups`: columns of the message that segments are told by, `declared`: their hash.
        """
        ranks = {name: rank for rank, name in enumerate(precedence)}
        # In the rows' records a source is a code, of early labels it is the name.
        self._ranks = {code: ranks[name] for name, code in source_codes(ranks).items() if name}
        self.counts = Counter[str]()
        self.seen = 0
        self.clock = 0
        self.schema = schema
        self.declared = declared
        self.sampling = Sampling(horizon_ms)
        self.held = HeldRows(row_type(features, groups), max_rows)
        self.early = EarlyLabels(max_rows, self.counts, ranks)
        self._partition = partition
        self._max_rows = max_rows
        self._horizon_ms = horizon_ms
        self.known_ms = horizon_ms * 9 // 8
        self._step = max(1, min(STEP, max_rows // 8))
        self.tidied = 0  # the clock at the last housekeeping
        self._changes: list[Change] = []

    def __len__(self) -> int:
        return self.held.count

    def changes(self) -> list[Change]:
        """Records of the changelog since the last call, in order (see `join_record`)."""
        changes, self._changes = self._changes, []
        return changes

    def add(self, scores: Scores) -> Labelled | None:
        """Keep scored rows; returns those whose label had come before them."""
        rows, first = scores.transactions, self.seen
        if not len(rows):
            return None
        if first == 0:
            self.clock = self.tidied = int(rows.event_time[0])
            self.sampling.begin(self.clock)
        clocks = np.maximum(np.maximum.accumulate(rows.event_time), self.clock)
        hashes = id_hashes(map(str.encode, rows.ids))
        found: list[Labelled] = []
        start = 0
        while start < len(rows):
            stop = min(len(rows), start + self._step - self.seen % self._step)
            while start < stop:
                kept = np.flatnonzero(hashes[start:stop] <= np.uint64(self.sampling.limit)) + start
                room = self._max_rows - len(self)
                if room <= 0 and len(kept):
                    start = int(kept[0])
                    if self.held.find(hashes[start : start + 1])[0] < 0:
                        self.clock = int(clocks[start])
                        while len(self) >= self._max_rows and self.sampling.level < HIGHEST:
                            self._raise(self.sampling.level + 1, first + start)
                        continue
                    room = 1  # it takes the room of the older one of its id
                fit = kept[:room]
                start = stop if len(fit) == len(kept) else int(fit[-1]) + 1
                if len(fit):
                    found += self._keep(scores, fit, first + fit, clocks[fit], hashes[fit])
            self.seen, self.clock = first + stop, int(clocks[stop - 1])
            if self.seen % self._step == 0:
                self._tidy()
        return Labelled.concatenate(found) if found else None

    def match(self, labels: Labels) -> Matched:
        """Join labels to their transactions; the rest waits or is counted."""
        hashes = id_hashes(map(str.encode, labels.ids))
        propensities = labels.propensities
        self._count("chosen", ~np.isnan(propensities))
        places = self.held.find(hashes)
        there = places >= 0
        rows = self.held.take(places)  # where not `there`, of no meaning
        known = there & (rows["clock"] >= self.clock - self.known_ms)
        joinable = known & (rows["clock"] >= self.clock - self._horizon_ms)
        outside = ~there & (hashes > np.uint64(self.sampling.limit))
        self._count("too_late", known & ~joinable)
        self._count("unsampled", outside)
        alone = joinable & (rows["label"] == UNLABELLED) & ~repeated(places)
        joined = np.flatnonzero(alone)
        codes = source_codes(labels.source)
        come = taken(rows, joined)
        write_labels(come, labels, joined, codes)
        self.held.write(places[joined], come)
        self._count("matched", alone)

        # Labels that wait, or that meet another one: in order, for each may decide the next.
        again: list[int] = []
        corrected: list[int] = []
        was: list[int] = []
        for index in np.flatnonzero(~(alone | outside | (known & ~joinable))).tolist():
            name, source = labels.ids[index], labels.source[index]
            new = (int(labels.is_fraud[index]), int(labels.labelled_at[index]), codes[source])
            if not joinable[index]:
                if there[index]:
                    self._forget(hashes[index : index + 1])
                early = Early(name, new[1], new[0], source, float(propensities[index]))
                self._changes += self.early.wait(int(hashes[index]), early)
                continue
            row = self.held.rows[places[index] : places[index] + 1]
            old = (int(row["label"][0]), int(row["labelled_at"][0]), int(row["source"][0]))
            rule, stands = (
                ("matched", True) if old[0] == UNLABELLED else verdict(old, new, self._ranks)
            )
            self.counts[rule] += 1
            if stands:
                row["label"], row["labelled_at"], row["source"] = new
                if rule == "matched":  # later ones correct what was asked for then
                    row["propensity"] = propensities[index]
                if rule == "matched":
                    again.append(index)
                else:
                    corrected.append(index)
                    was.append(old[0])
        joined = np.sort(np.concatenate([joined, np.array(again, np.int64)]))
        changed = np.array(corrected, np.int64)
        told = distinct(places[np.concatenate([joined, changed])])
        self._changes += blocks(self.held.take(told), self.held.hashes_at(told))
        return Matched(
            labelled(labels, joined, self.held.take(places[joined])),
            labelled(labels, changed, self.held.take(places[changed])),
            np.array(was, np.int8),
            np.searchsorted(joined, changed),
        )

    replay = join_restore.replay
    resume = join_restore.resume
    state = join_restore.state
    columns = join_restore.columns
    load = join_restore.load

    def _keep(
        self, scores: Scores, places: Int64, n: Int64, clock: Int64, hashes: Hashes
    ) -> list[Labelled]:
        """Hold some of the scored rows; returns those whose label had come."""
        rows = scored(self.held.rows.dtype, self.schema, scores, places)
        rows["n"], rows["clock"] = n, clock
        rows["level"], rows["declared"] = self.sampling.level, self.declared
        found = []
        if met := self.early.meet(hashes):
            labels, all_of = as_labels(self._partition, list(met.values())), np.arange(len(met))
            come = taken(rows, np.array(list(met)))
            write_labels(come, labels, all_of, source_codes(labels.source))
            opaque(rows)[list(met)] = opaque(come)
            found = [labelled(labels, all_of, come)]
            self.counts["matched"] += len(met)
        self._changes += blocks(rows, hashes)
        if reused := self.held.append(rows, hashes):
            self.counts["reused_id"] += reused
        return found

    def _forget(self, hashes: Hashes) -> None:
        """Let a row go that is past being known: a label of its id takes its record's place."""
        places = self.held.find(hashes)
        if places[0] >= 0:
            self._count_leaving(places)
            self.held.leave(hashes)

    def _tidy(self) -> None:
        horizon = self.clock - self._horizon_ms
        self._count_leaving(self.held.places(self.tidied - self._horizon_ms, horizon))
        self.held.drop_before(self.clock - self.known_ms)
        self.tidied = self.clock
        self._changes += self.early.overdue(self.clock)
        self.sampling.observe(self._step, self.clock)
        level = self.sampling.wanted(self.clock, self._max_rows)
        if level > self.sampling.level:
            self._raise(level, self.seen)
        self.sampling.level = level

    def _raise(self, level: int, n: int) -> None:
        self.sampling.lift(level, n)
        places = self.held.places()
        leaves = self.held.hashes_at(places) > np.uint64(self.sampling.limit)
        self._count_leaving(places[leaves])
        self.held.keep(places[~leaves])
        levels = self.held.rows["level"][: len(self)]
        np.maximum(levels, level, out=levels)
        self._changes += self.early.outside(self.sampling.limit)

    def _count_leaving(self, places: Int64) -> None:
        """Count the unlabelled among rows, but for those counted at a housekeeping before."""
        rows = self.held.rows
        clock = rows["clock"][places]
        counted = clock < self.tidied - self._horizon_ms
        expired = clock < self.clock - self._horizon_ms
        unlabelled = rows["label"][places] == UNLABELLED
        self._count("expired", unlabelled & expired & ~counted)
        self._count("thinned", unlabelled & ~expired)

    def _count(self, rule: str, which: NDArray[np.bool_]) -> None:
        if rows := int(np.count_nonzero(which)):
            self.counts[rule] += rows
