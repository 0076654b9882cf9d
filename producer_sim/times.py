"""Durations and points of time as people and files write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from consumer.errors import SettingsError

UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
# A century: far from the 292 million years at which 64 bits of milliseconds end.
LONGEST_MS = 36_525 * UNITS_MS["d"]

EARLIEST_MS = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp() * 1000)
LATEST_MS = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000)
# As seconds this is the year 5138, as milliseconds March 1973: of the years that are plausible
# here, seconds lie far below it and milliseconds far above.
EPOCH_MS_FROM = 1e11


def duration_ms(text: str) -> int:
    """Milliseconds of `0`, `250ms`, `30s`, `5m`, `12h`, `7d`.

    Raises: SettingsError for anything else.

    >>> duration_ms("1.5h")
    5400000
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text.strip(), re.ASCII)
    if text.strip() == "0":
        return 0
    if not found:
        raise SettingsError(f"{text!r} is not a duration: give 0, 30s, 5m, 12h or 7d")
    duration = round(float(found[1]) * UNITS_MS[found[2]]) if len(found[1]) < 16 else LONGEST_MS + 1
    if duration > LONGEST_MS:
        raise SettingsError(f"{text!r} is longer than a century")
    return duration


def epoch_unit_ms(value: float) -> int:
    """Milliseconds in the unit that an epoch time is written in: seconds below 10^11."""
    return 1 if abs(value) >= EPOCH_MS_FROM else 1_000


def iso_ms(text: str) -> int:
    """Epoch milliseconds of an ISO 8601 time; without a zone it is UTC.

    Raises: ValueError.

    >>> iso_ms("2026-01-01T01:00:00+01:00") == iso_ms("2026-01-01")
    True
    """
    if text[4:5] != "-":  # without dashes a number of 13 digits can pass for a date
        raise ValueError(f"{text!r} is not a date")
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return round(time.timestamp() * 1000)


def point_ms(text: str) -> int:
    """Epoch milliseconds of an ISO 8601 time, or of epoch seconds or milliseconds.

    Raises: SettingsError for anything else, and for times that are not of this century.
    """
    try:
        try:
            value = float(text)
        except ValueError:
            point = iso_ms(text.strip())
        else:
            point = round(value * epoch_unit_ms(value))
    except (ValueError, OverflowError) as error:
        raise SettingsError(
            f"{text!r} is not a time: give ISO 8601, epoch seconds or epoch milliseconds"
        ) from error
    if not EARLIEST_MS <= point < LATEST_MS:
        raise SettingsError(f"{text!r} lies outside the years 2000 to 2099")
    return point
