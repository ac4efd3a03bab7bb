"""Time series, for forecasting: what a loader returns, the data sets, and your own CSV file."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigError, DataError
from models.forecaster import LARGEST
from models.frequency import Frequency, parse_timestamp, timestamp_text
from training.data.corpus import Origin, digest, read_dataset, text_of
from training.data.table import csv_records, own_text

M4 = "https://github.com/Mcompetitions/M4-methods/tree/master/Dataset"
MISSING = ("", "NA", "NaN", "nan", "null")
_COLUMNS = ("series", "timestamp", "value")


@dataclass(frozen=True)
class Series:
    """One series of equally spaced observations.

    Attributes:
        name: its id.
        start: the time of its first value, in seconds since 1970.
        values: float64 [length]; NaN where one is missing.
        covariates: float64 [length, number].
    """

    name: str
    start: int
    values: NDArray[np.float64]
    covariates: NDArray[np.float64]


@dataclass(frozen=True)
class SeriesCorpus:
    """A data set of series in memory.

    Attributes:
        frequency: ISO 8601.
        horizon: steps that a forecast of it usually has.
        season: steps of a season, 1 where there is none.
        num_validation: the last so many steps of each series are its validation part; with a share instead, that share.
        has_dates: whether the times are real.
        covariates: names of what is known beside the values.
    """

    name: str
    origin: Origin
    series: tuple[Series, ...]
    frequency: str
    horizon: int
    season: int
    num_validation: int | float
    has_dates: bool
    sha256: str
    covariates: tuple[str, ...] = ()


def series_file(path: Path, frequency: str, horizon: int, season: int, num_validation: int | float) -> SeriesCorpus:
    """Your own series: a UTF-8 CSV file, plain or .gz, with the columns series, timestamp and value; every further
    column is a covariate.

    Args:
        path: the file; rows of a series stand in the order of time, missing values are empty.
        frequency: ISO 8601; consecutive rows of a series are so far apart.
        horizon: steps that are forecast.
        season: steps of a season.
        num_validation: see SeriesCorpus.

    Raises:
        DataError: it cannot be read, or a row is wrong; the message names the line.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); path names a CSV file.") from None
    records = list(csv_records(own_text(raw, str(path)), str(path)))
    head = [name.strip() for name in records[0][1]] if records else []
    missing = [name for name in _COLUMNS if name not in head]
    if missing or len(set(head)) != len(head):
        raise DataError(
            f"{path} line 1 is {','.join(head)[:80]!r}; it must name the columns {', '.join(_COLUMNS)}, and every "
            "further column once, which is a covariate."
        )
    extra = [name for name in head if name not in _COLUMNS]
    at = {name: head.index(name) for name in head}
    step = Frequency.parse(frequency)
    rows: dict[str, list[tuple[list[float], int]]] = {}
    for number, line in records[1:]:
        where = f"{path} line {number}"
        if len(line) != len(head):
            raise DataError(f"{where} has {len(line)} cells, and line 1 has {len(head)}; write as many.")
        try:
            time, _ = parse_timestamp(line[at["timestamp"]].strip())
        except ConfigError as error:
            raise DataError(f"{where}: timestamp {error}.") from None
        own = rows.setdefault(line[at["series"]].strip(), [])
        if own:
            expected = step.after(own[0][1], len(own))
            if time != expected:
                raise DataError(
                    f"{where}: timestamp {timestamp_text(time, has_offset=False)} follows "
                    f"{timestamp_text(own[-1][1], has_offset=False)}, and with the frequency {frequency} "
                    f"{timestamp_text(expected, has_offset=False)} is next. Sort each series by time, each time once, "
                    "and leave the value empty where it is missing."
                )
        own.append(([_number(line[at[name]], f"{where}: {name}") for name in ("value", *extra)], time))
    series = []
    for name, found in rows.items():
        values = np.array([numbers for numbers, _ in found])
        if np.isnan(values[:, 1:]).any():
            raise DataError(f"{path}: a covariate of series {name[:40]!r} is empty; every row needs each of them.")
        series.append(Series(name, found[0][1], values[:, 0], values[:, 1:]))
    return SeriesCorpus(
        name="series-file",
        origin=Origin(title=path.name, upstream=f"your own file {path.name}", licence="as you say; none was stated"),
        series=tuple(series),
        frequency=frequency,
        horizon=horizon,
        season=season,
        num_validation=num_validation,
        has_dates=True,
        sha256=digest(raw),
        covariates=tuple(extra),
    )


def _number(text: str, where: str) -> float:
    """A cell's number, NaN where it is empty. Raises DataError."""
    text = text.strip()
    if text in MISSING:
        return math.nan
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= LARGEST:
        raise DataError(f"{where} is {text[:40]!r}; allowed are numbers from -{LARGEST:g} to {LARGEST:g}, or nothing.")
    return value


def _plain(name: str, values: Iterable[float], start: str = "2000-01-01") -> Series:
    found = np.array(list(values))
    return Series(name, parse_timestamp(start)[0], found, np.zeros((len(found), 0)))


def _numbers(cells: Iterable[str], where: str) -> Iterator[float]:
    return (_number(cell, where) for cell in cells)


def _m4(rows: list[list[str]]) -> Iterator[Series]:
    for name, *cells in rows[1:]:
        yield _plain(name, _numbers((cell for cell in cells if cell), f"series {name}"))


def _column(start: str, column: int = 1, *, has_head: bool = True) -> Callable[[list[list[str]]], Iterator[Series]]:
    """The series of a file's column."""

    def read(rows: list[list[str]]) -> Iterator[Series]:
        name = rows[0][column] if has_head else f"{column}"
        yield _plain(name, _numbers((row[column] for row in rows[has_head:]), f"column {column + 1}"), start)

    return read


def _all_columns(start: str) -> Callable[[list[list[str]]], Iterator[Series]]:
    """Every column of a file without a head is a series."""

    def read(rows: list[list[str]]) -> Iterator[Series]:
        for column in range(len(rows[0])):
            yield from _column(start, column, has_head=False)(rows)

    return read


def _el_nino(rows: list[list[str]]) -> Iterator[Series]:
    yield _plain(
        "sea surface temperature", _numbers((cell for row in rows[1:] for cell in row[1:]), "elnino"), "1950-01"
    )


@dataclass(frozen=True)
class _Source:
    """Where a data set lies and what it is; `read` makes series of its rows."""

    file: str
    origin: Origin
    read: Callable[[list[list[str]]], Iterator[Series]]
    frequency: str
    horizon: int
    season: int
    num_validation: int | float = 0.125
    has_dates: bool = True


def _statsmodels(title: str) -> Origin:
    return Origin(title, "https://github.com/statsmodels/statsmodels/tree/main/statsmodels/datasets", "public domain")


def _brownlee(title: str) -> Origin:
    return Origin(title, "https://github.com/jbrownlee/Datasets", "none stated")


SOURCES: Mapping[str, _Source] = {
    "m4-hourly": _Source(
        "m4_hourly/Hourly-train.csv.gz",
        Origin("M4 competition, hourly", M4, "none stated"),
        _m4, "PT1H", 48, 24, 48, has_dates=False,
    ),
    "m4-weekly": _Source(
        "m4_weekly/Weekly-train.csv.gz",
        Origin("M4 competition, weekly", M4, "none stated"),
        _m4, "P1W", 13, 1, 13, has_dates=False,
    ),
    "exchange-rate": _Source(
        "exchange_rate/exchange_rate.txt",
        Origin(
            "Exchange rates of eight currencies",
            "https://github.com/laiguokun/multivariate-time-series-data/tree/master/exchange_rate",
            "none stated",
        ),
        _all_columns("1990-01-01"), "P1D", 30, 1, 0.25, has_dates=False,
    ),
    "airline-passengers": _Source(
        "airline_passengers/airline-passengers.csv",
        Origin("Airline passengers (Box and Jenkins)", "https://github.com/jbrownlee/Datasets", "none stated"),
        _column("1949-01"), "P1M", 12, 12, 36,
    ),
    "sunspots": _Source(
        "small_series/sunspots.csv", _statsmodels("Yearly sunspots"), _column("1700-01"), "P1Y", 11, 11
    ),
    "co2": _Source(
        "small_series/co2.csv", _statsmodels("CO2 at Mauna Loa, weekly"), _column("1958-03-29"), "P1W", 52, 52
    ),
    "nile": _Source("small_series/nile.csv", _statsmodels("Yearly flow of the Nile"), _column("1871-01"), "P1Y", 5, 1),
    "elnino": _Source(
        "small_series/elnino.csv", _statsmodels("El Nino, monthly sea surface temperature"), _el_nino, "P1M", 12, 12
    ),
    "elec-equip": _Source(
        "small_series/elec_equip.csv",
        _statsmodels("Electrical equipment, monthly turnover"),
        _column("1995-01"), "P1M", 12, 12,
    ),
    "monthly-sunspots": _Source(
        "small_series/monthly-sunspots.csv", _brownlee("Monthly sunspots"), _column("1749-01"), "P1M", 24, 1
    ),
    "daily-temperatures": _Source(
        "small_series/daily-min-temperatures.csv",
        _brownlee("Daily minimum temperatures, Melbourne"),
        _column("1981-01-01"), "P1D", 14, 1,
    ),
    "pollution": _Source(
        "small_series/pollution.csv.gz",
        _brownlee("Hourly PM2.5, Beijing"),
        _column("2010-01-01", 5), "PT1H", 24, 24, 0.125,
    ),
}  # fmt: skip


def series_of(name: str) -> SeriesCorpus:
    """A data set of SOURCES by name.

    Raises:
        DataError: it is absent or malformed.
    """
    source = SOURCES[name]
    raw = read_dataset(source.file, source.origin)
    rows = [row for row in csv.reader(io.StringIO(text_of(raw, source.file))) if row]
    try:
        series = tuple(source.read(rows))
    except IndexError:
        raise DataError(f"{source.file} has a row with too few cells; download it again.") from None
    return SeriesCorpus(
        name=name,
        origin=source.origin,
        series=series,
        frequency=source.frequency,
        horizon=source.horizon,
        season=source.season,
        num_validation=source.num_validation,
        has_dates=source.has_dates,
        sha256=digest(raw),
    )
