"""What a person has to say before it counts: heals, and what no label speaks for yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from consumer.control import Approval, Control
from consumer.experts import State
from consumer.mixture import apart
from consumer.registry import Place, Snapshot


class Consent:
    """Asks, and keeps what waits for the answer."""

    def __init__(self, control: Control, say: Callable[..., None]) -> None:
        """`say(place, action, message, **fields)`: an event."""
        self._control = control
        self._say = say
        self._candidates: dict[int, Mapping[str, State]] = {}

    def ask(self, place: Place, candidate: Snapshot, what: str, told: Mapping[str, Any]) -> None:
        """May this heal count? `told`: what the gate was shown, and what it said."""
        self._candidates = {candidate.version: apart(candidate.adapter)}
        self._wait_for(f"heal-{candidate.version}", what, place, candidate.version, told)

    def given(self, expert: str, regime: int, what: str, place: Place, *, ask: bool) -> bool:
        """May this expert count before a label speaks for it? Asked once a regime."""
        id_ = f"{expert}-{regime}"
        answer = self._control.permission(id_)
        if answer is None and ask and id_ not in self._control.waiting:
            self._wait_for(id_, what, place, None, {})
        return answer is True

    def answer(
        self, approval_id: str, *, approved: bool
    ) -> tuple[Approval | None, Mapping[str, State] | None]:
        """Take an answer: what waited, and the numbers of its heal where it was one."""
        waiting = self._control.answer(approval_id, approved=approved)
        if waiting is None or waiting.version is None:
            return waiting, None
        return waiting, self._candidates.pop(waiting.version, None)

    def void(self, place: Place) -> None:
        """What waits was for a regime that has ended."""
        for waiting in list(self._control.waiting.values()):
            self._control.answer(waiting.id, approved=False)
            what = f"{waiting.id} waits no longer: the regime it was for has ended"
            self._say(place, "approval-void", what, approval_id=waiting.id)
        self._candidates = {}
        self._control.forget_permissions()

    def load(self, snapshots: Mapping[int, Snapshot]) -> None:
        """Go on with what the control says is waiting."""
        versions = {waiting.version for waiting in self._control.waiting.values()}
        self._candidates = {
            version: apart(snapshot.adapter)
            for version, snapshot in snapshots.items()
            if version in versions
        }

    def _wait_for(
        self, id_: str, what: str, place: Place, version: int | None, told: Mapping[str, Any]
    ) -> None:
        asked = self._control.ask(id_, what, place.time_ms, version, told)
        self._say(
            place,
            "approval-requested",
            f"{id_} waits for approval: {what}",
            approval_id=id_,
            expires_at=asked.expires_ms,
            version=version,
            **told,
        )
