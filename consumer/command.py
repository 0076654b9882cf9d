"""Orders from people, as records of the commands topic: what they say, and who may give them.

Source: RFC 2104 for the signature.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from consumer.errors import CommandError

SIGNATURE = "reflexive.signature"  # header: of the value, under the key of `commands.key_file`
APPLIED_BY = "reflexive.applied-by"  # header of a record that only tells what a consumer has done

_Text = Annotated[str, Field(min_length=1, max_length=2_000)]


class _Order(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    command_id: Annotated[str, Field(min_length=1, max_length=200)]
    issued_at: int  # epoch ms
    issued_by: _Text
    why: _Text

    @property
    def value(self) -> bytes:
        """The record's value."""
        return self.model_dump_json(exclude_none=True).encode()


class Approve(_Order):
    """Let something that waits for it count."""

    command: Literal["approve"] = "approve"
    approval_id: _Text


class Reject(_Order):
    """Discard something that waits for approval."""

    command: Literal["reject"] = "reject"
    approval_id: _Text


class Pin(_Order):
    """Score with this version (default: the one in force) and its weights until `resume`."""

    command: Literal["pin"] = "pin"
    version: Annotated[int, Field(ge=1)] | None = None


class Rollback(_Order):
    """Put a version in force, and go on from there."""

    command: Literal["rollback"] = "rollback"
    version: Annotated[int, Field(ge=1)]


class Pause(_Order):
    """Begin no heal until `resume`."""

    command: Literal["pause"] = "pause"


class Resume(_Order):
    """End a pin and a pause."""

    command: Literal["resume"] = "resume"


class SetThresholds(_Order):
    """Set thresholds, by dotted name."""

    command: Literal["set-thresholds"] = "set-thresholds"
    thresholds: Annotated[Mapping[str, float], Field(min_length=1)]


Command = Approve | Reject | Pin | Rollback | Pause | Resume | SetThresholds
_ANY: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="command")])


def parse(value: bytes | None) -> Command:
    """Read a record's value.

    Raises: CommandError, naming the field and what is wrong with it.
    """
    try:
        return _ANY.validate_json(value or b"")
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "the command"
        raise CommandError(f"{where}: {first['msg']}") from error


def read_key(file: Path) -> bytes:
    """The secret that signs commands.

    Raises: CommandError where the file is not readable, or too short to be a secret.
    """
    try:
        key = file.read_bytes().strip()
    except OSError as error:
        raise CommandError(f"commands.key_file {file}: {error.strerror}") from error
    if len(key) < 16:
        raise CommandError(f"commands.key_file {file}: a secret has 16 bytes or more")
    return key


def signature(value: bytes, key: bytes) -> bytes:
    """HMAC-SHA256 in hex: the value of the header `SIGNATURE`."""
    return hmac.new(key, value, hashlib.sha256).hexdigest().encode()


def check(value: bytes | None, signed: bytes | None, key: bytes | None) -> None:
    """Raises: CommandError where there is a key and the signature is not of it."""
    if key is None:
        return
    if signed is None:
        raise CommandError("it is not signed, and commands.key_file is set")
    if not hmac.compare_digest(signature(value or b"", key), signed):
        raise CommandError("its signature is not of the key in commands.key_file")
