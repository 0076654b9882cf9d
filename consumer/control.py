"""What people have ordered, and what waits for their answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

KNOWN = 1_000  # commands by id, the newest: one sent again counts once


@dataclass(frozen=True, slots=True)
class Approval:
    """Something that counts only when a person says so."""

    id: str
    what: str
    asked_ms: int  # event time
    expires_ms: int
    version: int | None  # of the candidate's snapshot; without one it is asked for permission
    evidence: Mapping[str, Any]


class Control:
    """Used by the policy; part of the healer's checkpoint."""

    def __init__(self, *, required: bool, timeout_s: float) -> None:
        self.required = required
        self._timeout_ms = round(timeout_s * 1000)
        self.paused = False
        self.pinned = False
        self.read = 0  # offset of the next record of the commands topic
        self.waiting: dict[str, Approval] = {}
        self._permitted: dict[str, bool] = {}  # answers by id, of what needs no candidate
        self._known: deque[str] = deque(maxlen=KNOWN)

    @property
    def may_heal(self) -> bool:
        """May a heal begin?"""
        waits = any(one.version is not None for one in self.waiting.values())
        return not (self.paused or self.pinned or waits)

    def is_new(self, command_id: str) -> bool:
        """Is this the first time that this command is read? It is known from now on."""
        if command_id in self._known:
            return False
        self._known.append(command_id)
        return True

    def forget(self, command_id: str) -> None:
        """It could not be followed; sent again, it may be."""
        if command_id in self._known:
            self._known.remove(command_id)

    def ask(
        self, id_: str, what: str, now_ms: int, version: int | None, evidence: Mapping[str, Any]
    ) -> Approval:
        """Something waits for an answer from now on."""
        asked = Approval(id_, what, now_ms, now_ms + self._timeout_ms, version, evidence)
        self.waiting[id_] = asked
        return asked

    def answer(self, id_: str, *, approved: bool) -> Approval | None:
        """Take an answer; None where nothing of this id waits."""
        found = self.waiting.pop(id_, None)
        if found is not None and found.version is None:
            self._permitted[id_] = approved
        return found

    def permission(self, id_: str) -> bool | None:
        """Was it given, or refused? None where it was not asked for, or not answered."""
        return True if not self.required else self._permitted.get(id_)

    def forget_permissions(self) -> None:
        """What they were given for has ended."""
        self._permitted = {}

    def expired(self, now_ms: int) -> list[Approval]:
        """What has waited in vain, oldest first."""
        return [one for one in self.waiting.values() if one.expires_ms <= now_ms]

    def state(self) -> dict[str, Any]:
        """What a restart needs."""
        return {
            "paused": self.paused,
            "pinned": self.pinned,
            "read": self.read,
            "waiting": [asdict(one) for one in self.waiting.values()],
            "permitted": self._permitted,
            "known": list(self._known),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self.paused, self.pinned, self.read = state["paused"], state["pinned"], state["read"]
        self.waiting = {one["id"]: Approval(**one) for one in state["waiting"]}
        self._permitted = dict(state["permitted"])
        self._known = deque(state["known"], maxlen=KNOWN)
