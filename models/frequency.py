"""Frequencies and timestamps: how far apart observations are, in seconds since 1970 and in ISO 8601. Knows no torch.

A frequency is an ISO 8601 duration of one unit, such as PT1H, PT15M, P1D, P1W, P1M, P3M or P1Y. Times are whole seconds
of one clock without leap seconds: a timestamp with an offset is converted to UTC, one without is taken as it is.
"""

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from models.errors import ConfigError

YEAR = 31_556_952  # seconds of a mean Gregorian year
EARLIEST, LATEST = -62_135_596_800, 253_402_300_799  # years 1 to 9999
_EPOCH = datetime(1970, 1, 1)
_MONTHS = {"Y": 12, "M": 1}
_SECONDS = {"W": 604_800, "D": 86_400, "H": 3600, "M": 60, "S": 1}
_DURATION = re.compile(r"P(?:(?P<date>\d{1,6}[YMWD])|T(?P<time>\d{1,6}[HMS]))", re.ASCII)
_TIMESTAMP = re.compile(r"\d{4}-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d(\.0{1,9})?)?)?(Z|[+-]\d\d:?\d\d)?)?)?", re.ASCII)


@dataclass(frozen=True)
class Frequency:
    """How far apart observations are: a number of months, or of seconds; the other is 0."""

    months: int
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of an ISO 8601 duration.

        Raises:
            ConfigError: it is none of one unit.
        """
        found = _DURATION.fullmatch(text)
        if found is None or not int((part := found["date"] or found["time"])[:-1]):
            raise ConfigError(
                f"{ascii(text)[:80]} is not an ISO 8601 duration of one unit; such are PT15M, PT1H, P1D, P1W, P1M, "
                "P3M and P1Y"
            )
        number, unit = int(part[:-1]), part[-1]
        if found["date"] and unit in _MONTHS:
            return cls(number * _MONTHS[unit], 0)
        return cls(0, number * _SECONDS[unit])

    def after(self, start: int, steps: int) -> int:
        """The time so many steps after a time, both in seconds; a day that a month does not have is its last.

        Raises:
            ConfigError: it is not in the years 1 to 9999.
        """
        if self.seconds:
            found = start + steps * self.seconds
        else:
            first = _EPOCH + timedelta(seconds=start)
            year, month = divmod(first.year * 12 + first.month - 1 + steps * self.months, 12)
            if not 1 <= year <= 9999:
                raise ConfigError(f"year {year} is not one of 1 to 9999")
            day = min(first.day, monthrange(year, month + 1)[1])
            found = _seconds_of(first.replace(year=year, month=month + 1, day=day))
        if not EARLIEST <= found <= LATEST:
            raise ConfigError("a time is not in the years 1 to 9999")
        return found


def parse_timestamp(text: str) -> tuple[int, bool]:
    """Seconds of an ISO 8601 timestamp such as 2024-01-31, 2024-01-31T05:00, 2024-01-31T05:00:00Z or 2024-01, and
    whether it has an offset.

    Raises:
        ConfigError: it is none, or not in the years 1 to 9999.
    """
    try:
        if not _TIMESTAMP.fullmatch(text):
            raise ValueError
        found = datetime.fromisoformat(f"{text}-01" if len(text) == len("2024-01") else text)
        has_offset = found.tzinfo is not None
        return _seconds_of(found.astimezone(UTC).replace(tzinfo=None) if has_offset else found), has_offset
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{ascii(text)[:80]} is not an ISO 8601 timestamp; such are 2024-01-31, 2024-01-31T05:00 and "
            "2024-01-31T05:00:00Z"
        ) from None


def timestamp_text(seconds: int, *, has_offset: bool) -> str:
    """A time as ISO 8601, with Z where it has an offset; a date alone at midnight without one."""
    text = (_EPOCH + timedelta(seconds=seconds)).isoformat()
    return f"{text}Z" if has_offset else text.removesuffix("T00:00:00")


def _seconds_of(moment: datetime) -> int:
    return round((moment - _EPOCH).total_seconds())
