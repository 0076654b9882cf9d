"""The policies by name, and the baselines that any of them must beat.

Source of the resetting one: Press et al., "RDumb" (2023): nearly all that adapts for ever ends up
below doing nothing, and a reset now and then is hard to beat.
"""

from __future__ import annotations

from consumer.evidence import Evidence
from consumer.hedge.policy import Hedge
from consumer.paper import Paper
from consumer.policy import Idle
from consumer.registry import InForce
from consumer.sections import HealPolicy
from consumer.settings import Settings

RESET_EVERY = 10  # labelled batches


class Frozen(Paper):
    """Heals nothing: the model as trained."""

    def labelled_batch(self, evidence: Evidence, idle: Idle) -> None:
        """Only its figures are said."""
        self._without_heal(evidence, "none")


class AlwaysHeal(Paper):
    """Heals on every labelled batch, alarm or not, and takes nothing back."""

    takes_back = False

    def labelled_batch(self, evidence: Evidence, idle: Idle) -> None:
        """As if there always were an alarm."""
        reasons = evidence.reasons or ("every labelled batch",)
        super().labelled_batch(
            Evidence(evidence.rows, evidence.batch, evidence.place, reasons), idle
        )


class PeriodicReset(AlwaysHeal):
    """The same, but begins again from the model as trained every so many labelled batches."""

    def labelled_batch(self, evidence: Evidence, idle: Idle) -> None:
        """Reset first, where it is time."""
        if self.heals_here and evidence.batch % RESET_EVERY == 0:
            self.deployed = InForce(self._base())
            self._out.deployed.append(self.deployed)
            self._moments = None
        super().labelled_batch(evidence, idle)


_POLICIES: dict[HealPolicy, type[Paper] | type[Hedge]] = {
    "hedge": Hedge,
    "paper": Paper,
    "frozen": Frozen,
    "always_heal": AlwaysHeal,
    "periodic_reset": PeriodicReset,
}


def policy_of(settings: Settings) -> type[Paper] | type[Hedge]:
    """The class of the policy in the settings; every one is made with the same arguments."""
    return _POLICIES[settings.heal.policy]
