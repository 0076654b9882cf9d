"""Does a rule say what matured labels say? Counted over joined rows, one partition's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import sqrt
from operator import attrgetter
from typing import Any

from consumer.columns import Labelled
from consumer.rules import Rule, Rules

# A rule that says fraud is worth stating where fraud is at least so many times as frequent as
# among all rows. One that is not is told by so many standard errors: by chance, one in 740 looks.
WORTH, SURE_SE = 2.0, 3.0
# Better than chance by this is no disagreement, however little it is.
BETTER_SE = 2.0
# As many frauds as would be among its rows by chance alone, before a rule is taken to be right: the
# first of them proves nothing. At 4% of fraud that is 125 rows on which it fires.
LEAST_BY_CHANCE = 5.0


@dataclass(slots=True)
class Counts:
    """Of one rule, since it was last judged."""

    rows: int = 0
    frauds: int = 0
    fired: int = 0
    right: int = 0  # of those on which it fired, fraud
    disagrees: bool = False  # as it was last judged

    @property
    def by_chance(self) -> float:
        """Frauds there would be among `fired` rows if the rule said nothing."""
        return self.fired * self.frauds / max(self.rows, 1)

    def verdict(self) -> bool | None:
        """Does the rule disagree with labels? None: not to be told yet.

        Standard errors of a count of rare things are the root of what is expected.
        """
        chance = self.by_chance
        better = self.right - chance
        worth = WORTH * chance
        if self.right < worth - SURE_SE * sqrt(worth) and better < BETTER_SE * sqrt(chance):
            return True
        if chance >= LEAST_BY_CHANCE and better > SURE_SE * sqrt(chance):
            return False
        return None


_as_fields = attrgetter(*(each.name for each in fields(Counts)))


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A rule that fires on rows that are hardly more often fraud than any."""

    rule: Rule
    counts: Counts


class RuleEvidence:
    """Counts of each rule; a verdict ends them, and the next is on new rows.

    A label that is corrected later is not counted again.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._counts = [Counts() for _ in rules.rules]

    def take(self, rows: Labelled) -> list[Disagreement]:
        """Count a labelled batch; rules that disagree with labels now and did not before it."""
        if not self._counts:
            return []
        fraud = rows.is_fraud == 1
        fired = self._rules.fired(rows.x)  # (rows, rules)
        found = []
        for number, rule in enumerate(self._rules.rules):
            counts, mine = self._counts[number], fired[:, number]
            counts.rows += len(rows)
            counts.frauds += int(fraud.sum())
            counts.fired += int(mine.sum())
            counts.right += int((mine & fraud).sum())
            verdict = counts.verdict()
            if verdict is None:
                continue
            if verdict and not counts.disagrees:
                found.append(Disagreement(rule, counts))
            self._counts[number] = Counts(disagrees=verdict)
        return found

    def state(self) -> dict[str, Any]:
        """What a restart needs, by condition: a rule that is stated otherwise begins anew."""
        return {
            rule.condition.text: list(_as_fields(counts))
            for rule, counts in zip(self._rules.rules, self._counts, strict=True)
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        for number, rule in enumerate(self._rules.rules):
            if (found := state.get(rule.condition.text)) is not None:
                self._counts[number] = Counts(*found)
