"""A series of a request: what a client may send, and how it becomes a row of the engine's, checked value by value."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from models.config import FrozenModel
from models.errors import ConfigError
from models.forecaster import LARGEST, ForecasterConfig
from models.frequency import Frequency, parse_timestamp, timestamp_text
from runtime.runner import Array
from server.errors import FieldError, shown
from server.sessions.sequences import SequenceUse


class SeriesRequest(FrozenModel):
    """One series, equally spaced."""

    id: str | None = Field(None, max_length=256, description="Given back with its forecast.")
    start: str | None = Field(None, description="ISO 8601, of the first value. In a session the next step is known.")
    timestamps: list[Any] | None = Field(None, description="Of every value, instead of `start`; checked.")
    frequency: str | None = Field(None, description="ISO 8601, such as PT1H; must be the model's.")
    values: list[Any] = Field(description="Numbers; null where one is missing.")
    covariates: dict[str, list[Any]] | None = Field(None, description="By name, a number for each value.")


@dataclass(frozen=True)
class SeriesRow:
    """A series as the engine takes it.

    Attributes:
        row: its inputs by name.
        ahead: times of the forecasts.
        has_dates: whether times are real.
        has_offset: whether they are shown with one.
    """

    row: dict[str, Array]
    ahead: list[int]
    has_dates: bool
    has_offset: bool


class SeriesReader:
    """Checks series and makes rows of them.

    Args:
        config: of the model.
        horizon: steps that are asked for.
        use: of a session, if there is one.
    """

    def __init__(self, config: ForecasterConfig, horizon: int, use: SequenceUse | None) -> None:
        self._config = config
        self._step = Frequency.parse(config.frequency)
        self._horizon = horizon
        self._use = use

    def read(self, item: SeriesRequest, name: str) -> SeriesRow:
        """A series; `name` is for messages. Raises FieldError: a sentence with the place at fault."""
        config = self._config
        _check_frequency(item, name, self._step, config)
        values = np.array([_number(value, f"{name}: values[{i}]") for i, value in enumerate(item.values)], np.float32)
        start, has_offset = _start_of(item, name)
        first, num_before = self._beginning(start, has_offset, name)
        times = self._times(first, num_before, len(values) + self._horizon, name)
        if item.timestamps is not None:
            _check_timestamps(item.timestamps, times, name, config.frequency)
        row: dict[str, Array] = {"values": values, "time": np.array(times[: len(values)], np.int64)}
        if config.covariates:
            row["covariates"] = _covariates_of(item, name, config)
        elif item.covariates:
            raise FieldError(f"{name}: the model has no covariates; leave them out.", param="series")
        has_dates = start is not None or num_before > 0
        return SeriesRow(row, times[len(values) :], has_dates, has_offset)

    def _beginning(self, start: int | None, has_offset: bool, name: str) -> tuple[int, int]:
        """The time from which steps are counted, and how many steps after it the series begins."""
        use = self._use
        if use is not None and use.first is not None:
            first = int(use.first["time"][0])
            (expected,) = self._times(first, use.num_read, 1, name)
            if start not in (None, expected):
                assert start is not None
                found, wanted = (timestamp_text(time, has_offset=has_offset) for time in (start, expected))
                raise FieldError(
                    f"{name}: it begins at {found}, and the session's next step is {wanted}. Begin there (null where a "
                    "value is missing), or rewind the session.",
                    param="series",
                )
            return first, use.num_read
        if start is None and (use is not None or self._config.periods):
            why = "the first values of a session need it" if use is not None else "the model reads the calendar"
            raise FieldError(
                f"{name}: start is missing; {why}. Give it as ISO 8601, such as 2024-01-31T05:00.", param="series"
            )
        return start or 0, 0

    def _times(self, first: int, num_before: int, count: int, name: str) -> list[int]:
        try:
            return [self._step.after(first, num_before + i) for i in range(count)]
        except ConfigError as error:
            raise FieldError(f"{name}: {error}.", param="series") from None


def _check_frequency(item: SeriesRequest, name: str, step: Frequency, config: ForecasterConfig) -> None:
    if item.frequency is None:
        return
    try:
        found = Frequency.parse(item.frequency)
    except ConfigError as error:
        raise FieldError(f"{name}: frequency {error}.", param="series") from None
    if found != step:
        raise FieldError(
            f"{name}: frequency {item.frequency} is not the model's, {config.frequency}. Bring the series to that, or "
            "ask another model.",
            param="series",
        )


def _number(value: Any, where: str) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FieldError(f"{where} is {shown(value)}; allowed are numbers, and null for a missing one.", param="series")
    if not -LARGEST <= value <= LARGEST:
        raise FieldError(
            f"{where} is {shown(value)}; allowed are numbers from -{LARGEST:g} to {LARGEST:g}.", param="series"
        )
    return float(value)


def _start_of(item: SeriesRequest, name: str) -> tuple[int | None, bool]:
    """Time of the first value, None where it is not given, and whether it has an offset."""
    if item.timestamps is not None and item.start is not None:
        raise FieldError(f"{name}: give start or timestamps, not both.", param="series")
    if item.timestamps is None:
        return (None, False) if item.start is None else _time(item.start, f"{name}: start")
    if len(item.timestamps) != len(item.values):
        raise FieldError(
            f"{name} has {len(item.timestamps)} timestamps and {len(item.values)} values; give as many.", param="series"
        )
    return _time(item.timestamps[0], f"{name}: timestamps[0]")


def _time(text: Any, where: str) -> tuple[int, bool]:
    if not isinstance(text, str):
        raise FieldError(
            f"{where} is {shown(text)}; it must be ISO 8601 text, such as 2024-01-31T05:00.", param="series"
        )
    try:
        return parse_timestamp(text)
    except ConfigError as error:
        raise FieldError(f"{where}: {error}.", param="series") from None


def _check_timestamps(timestamps: Sequence[Any], times: Sequence[int], name: str, frequency: str) -> None:
    """That they are sorted, each once, and spaced by the frequency. Raises FieldError."""
    before = ""
    for index, text in enumerate(timestamps):
        found, has_offset = _time(text, f"{name}: timestamps[{index}]")
        if found != times[index]:
            fault = "is not later than" if found <= times[index - 1] else "does not follow"
            raise FieldError(
                f"{name}: timestamps[{index}], {shown(text)}, {fault} {shown(before)} by {frequency}; "
                f"{timestamp_text(times[index], has_offset=has_offset)} is next. Sort them, each once, and put null "
                "where a value is missing.",
                param="series",
            )
        before = text


def _covariates_of(item: SeriesRequest, name: str, config: ForecasterConfig) -> Array:
    """float32 [length, number]. Raises FieldError."""
    given = item.covariates or {}
    names = [covariate.name for covariate in config.covariates]
    if set(given) != set(names):
        raise FieldError(
            f"{name}: covariates has {shown(sorted(given))}; the model has {shown(names)}. Give each of them.",
            param="series",
        )
    columns = []
    for covariate in names:
        column = given[covariate]
        where = f"{name}: covariates {shown(covariate)}"
        if len(column) != len(item.values):
            raise FieldError(
                f"{where} has {len(column)} numbers, and there are {len(item.values)} values.", param="series"
            )
        if None in column:
            raise FieldError(f"{where}[{column.index(None)}] is null; every value needs one.", param="series")
        columns.append([_number(value, f"{where}[{i}]") for i, value in enumerate(column)])
    return np.array(columns, np.float32).T.copy()
