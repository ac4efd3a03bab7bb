from array import array
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.operation.overload import result_of, targets_of
from benchmarks.operation.overload_load import Outcomes
from benchmarks.operation.overload_picture import draw

CLOSED = {"request_throughput": 10.0, "p50_e2el_ms": 50.0, "p99_e2el_ms": 100.0}


def outcomes(**changes: Any) -> Outcomes:
    """A load of 100 s that held everything."""
    fields = {
        "statuses": [Counter({200: 10, 429: 30, 400: 1, 504: 1, 0: 1}) for _ in range(101)],
        "kinds": Counter({("plain", 200): 1000, ("plain", 429): 3000}),
        "ends": array("d", [i / 10 for i in range(1000)]),
        "latencies": array("d", [0.1] * 1000),
        "rss": [100 << 20] * 101,
    }
    return Outcomes(100.0, **{**fields, **changes})


def missed(found: Outcomes, *, is_well: bool = True) -> list[str]:
    targets = targets_of(result_of(CLOSED, 40.0, found, is_well=is_well))
    return [target.what for target in targets if not target.is_met]


def test_what_held_is_met() -> None:
    assert missed(outcomes()) == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"rss": [100 << 20] * 90 + [106 << 20] * 11}, "memory"),
        ({"latencies": array("d", [0.1] * 985 + [0.151] * 15)}, "p99"),
        ({"num_wrong": 1}, "not allowed"),
        ({"refused_with_room": 1}, "429"),
        ({"hung": 1}, "hang"),
    ],
)
def test_each_thing_that_did_not_hold_is_missed_alone(changes: dict[str, Any], word: str) -> None:
    (what,) = missed(outcomes(**changes))
    assert word in what


def test_memory_that_the_first_part_takes_is_no_growth() -> None:
    assert missed(outcomes(rss=[50 << 20] * 10 + [100 << 20] * 91)) == []


def test_a_server_that_is_not_well_afterwards_is_missed() -> None:
    assert missed(outcomes(), is_well=False) == ["not idle and well afterwards"]


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    draw(result_of(CLOSED, 40.0, outcomes(), is_well=True)).savefig(tmp_path / "picture.svg")
    assert "answers a second" in (tmp_path / "picture.svg").read_text(encoding="utf-8")
