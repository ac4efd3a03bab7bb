"""Frequencies and timestamps as ISO 8601 has them."""

import pytest

from models.errors import ConfigError
from models.frequency import Frequency, parse_timestamp, timestamp_text

LEAP = parse_timestamp("2024-01-31T05:00")[0]


@pytest.mark.parametrize(
    ("frequency", "expected"),
    [
        ("PT15M", "2024-01-31T05:30:00"),
        ("PT1H", "2024-01-31T07:00:00"),
        ("P1D", "2024-02-02T05:00:00"),
        ("P1W", "2024-02-14T05:00:00"),
        ("P1M", "2024-03-31T05:00:00"),
        ("P3M", "2024-07-31T05:00:00"),
        ("P1Y", "2026-01-31T05:00:00"),
    ],
)
def test_two_steps_ahead(frequency: str, expected: str) -> None:
    assert timestamp_text(Frequency.parse(frequency).after(LEAP, 2), has_offset=False) == expected


def test_a_day_that_a_month_does_not_have_is_its_last_and_is_not_lost() -> None:
    month = Frequency.parse("P1M")
    texts = [timestamp_text(month.after(LEAP, steps), has_offset=False) for steps in range(1, 4)]
    assert texts == ["2024-02-29T05:00:00", "2024-03-31T05:00:00", "2024-04-30T05:00:00"]


@pytest.mark.parametrize("text", ["", "1h", "PT0H", "P1M1D", "PT1.5H", "P-1D", "P1Y\n", "P9999999D", "PT１H"])
def test_what_is_no_frequency_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an ISO 8601 duration of one unit; such are PT15M"):
        Frequency.parse(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2024-01", "2024-01-01"),
        ("2024-01-31", "2024-01-31"),
        ("2024-01-31 05:00", "2024-01-31T05:00:00"),
        ("2024-01-31T05:00:00Z", "2024-01-31T05:00:00Z"),
        ("2024-01-31T05:00:00+05:30", "2024-01-30T23:30:00Z"),
        ("0001-01-01", "0001-01-01"),
    ],
)
def test_a_timestamp_is_read_and_shown(text: str, shown: str) -> None:
    seconds, has_offset = parse_timestamp(text)
    assert timestamp_text(seconds, has_offset=has_offset) == shown


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2024-13-01", "2024-02-30", "20240131", "2024-01-31T25:00", "0001-01-01T00:00+05:00", "1e9"],
)
def test_what_is_no_timestamp_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an ISO 8601 timestamp"):
        parse_timestamp(text)


@pytest.mark.parametrize("frequency", ["P1D", "P1M", "P900000Y", "PT999999H"])
def test_times_beyond_the_calendar_are_refused(frequency: str) -> None:
    last, _ = parse_timestamp("9999-12-31")
    with pytest.raises(ConfigError, match="1 to 9999"):
        Frequency.parse(frequency).after(last, 1)
