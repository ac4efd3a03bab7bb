"""Series from a CSV file: what is read, and the line that a fault is in."""

import math
from pathlib import Path

import numpy as np
import pytest

from models.errors import DataError
from models.frequency import parse_timestamp
from training.data.series import SeriesCorpus, series_file

HEAD = "series,timestamp,value,rain\n"


def read(folder: Path, text: str, frequency: str = "PT1H") -> SeriesCorpus:
    path = folder / "rides.csv"
    path.write_text(text, encoding="utf-8")
    return series_file(path, frequency, 2, 1, 0.2)


def test_rows_become_series_with_covariates(tmp_path: Path) -> None:
    rows = "a,2024-01-01T00:00,5,0\nb,2024-01-01 05:00,1e3,2\na,2024-01-01T01:00,,1.5\n\nb,2024-01-01T06:00Z,-7,3\n"
    corpus = read(tmp_path, HEAD + rows)
    first, second = corpus.series
    assert (first.name, second.name) == ("a", "b")
    assert first.start == parse_timestamp("2024-01-01")[0]
    assert first.values[0] == 5
    assert math.isnan(first.values[1])
    assert np.array_equal(second.values, [1000, -7])
    assert np.array_equal(first.covariates, np.array([[0], [1.5]]))
    assert corpus.covariates == ("rain",)
    assert corpus.has_dates


def test_months_follow_the_calendar(tmp_path: Path) -> None:
    rows = "a,2024-01-31,1,0\na,2024-02-29,2,0\na,2024-03-31,3,0\n"
    assert len(read(tmp_path, HEAD + rows, "P1M").series[0].values) == 3


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "line 1 is ''; it must name the columns series, timestamp, value"),
        ("series,value\n", "it must name the columns"),
        (HEAD + "a,2024-01-01,1\n", "line 2 has 3 cells, and line 1 has 4"),
        (HEAD + "a,soon,1,0\n", "line 2: timestamp 'soon' is not an ISO 8601"),
        (HEAD + "a,2024-01-01,many,0\n", "line 2: value is 'many'; allowed are numbers"),
        (HEAD + "a,2024-01-01,1e308,0\n", "line 2: value is '1e308'"),
        (HEAD + "a,2024-01-01,inf,0\n", "line 2: value is 'inf'"),
        (HEAD + "a,2024-01-01,1,\n", "a covariate of series 'a' is empty"),
        (HEAD + "a,2024-01-01,1,0\na,2024-01-01,2,0\n", "line 3: timestamp 2024-01-01 follows 2024-01-01, and with"),
        (HEAD + "a,2024-01-01T05:00,1,0\na,2024-01-01T04:00,2,0\n", "2024-01-01T06:00:00 is next. Sort each series"),
        (HEAD + "a,2024-01-01T05:00,1,0\na,2024-01-01T07:00,2,0\n", "leave the value empty where it is missing"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    assert sentence in str(caught.value)


def test_a_series_file_that_is_not_csv_ends_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    for content, message in (
        ('series,timestamp,value\n\na,2020-01-01T00:00,"1\n', "the record that begins in line 3 is not CSV"),
        ("series,timestamp,value\na,2020-01-01T00:00,1\0\n", "line 2 holds a NUL byte"),
        ('series,timestamp,value\n"a\nb",2020-01-01T00:00,1\n\na,soon,1\n', r"line 5: timestamp"),
    ):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=message):
            series_file(path, "PT1H", 1, 1, 1)
