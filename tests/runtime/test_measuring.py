"""The measurement: rounds are paired, the choice of each group follows from the figures, and it is recorded once."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from models.bundle import Bundle
from models.tasks import GENERATION, SENTIMENT, TRANSLATION
from runtime import measuring
from runtime.choice import Choice, read_choices, whole_set
from runtime.device import VARIABLE, cache_folder
from runtime.measuring import (
    Case,
    Measured,
    Variant,
    cases_of,
    choices_from,
    cpu_choice,
    measure,
    median_ratio,
    open_checked,
    paired_seconds,
    prepared,
)
from runtime.opening import CPU, CUDA, open_set

Built = Callable[..., Bundle]
INT8, FP32, HALF = Variant(CPU, "int8"), Variant(CPU, "fp32"), Variant(CUDA, "gpu-fp16")
BOTH = (INT8, FP32)


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))


def test_variants_take_turns_and_each_is_first_as_often_as_the_others() -> None:
    order: list[str] = []
    seconds = paired_seconds(
        {name: partial(order.append, name) for name in "abc"}, dict.fromkeys("abc", 1.0), rounds=6, block_seconds=0
    )
    assert ["".join(order[i : i + 3]) for i in range(0, 18, 3)] == ["abc", "bca", "cab"] * 2
    assert {name: len(rounds) for name, rounds in seconds.items()} == {"a": 6, "b": 6, "c": 6}


def test_a_limit_ends_the_rounds_and_leaves_the_first_calls_of_long_ones() -> None:
    now = 0.0

    def clock() -> float:
        return now

    def call(duration: float) -> None:
        nonlocal now
        now += duration

    calls = {"a": partial(call, 1.0), "b": partial(call, 2.0)}
    short: Any = {"limit_seconds": 7, "block_seconds": 1, "clock": clock}
    assert paired_seconds(calls, {"a": 1.5, "b": 2.5}, 9, **short) == {"a": [1, 1], "b": [2, 2]}
    assert paired_seconds(calls, {"a": 5.0, "b": 3.0}, 9, **short) == {"a": [5], "b": [3]}


def test_a_ratio_is_taken_round_by_round() -> None:
    # a slow minute in which both were slow does not count for either
    assert median_ratio([1, 10, 1.2], [2, 20, 2.4]) == 0.5


def measured(graph: str, batch: int, **times: float) -> Measured:
    names = {"int8": INT8, "fp32": FP32, "half": HALF}
    return Measured(Case(graph, batch), {names[name]: [time] * 3 for name, time in times.items()}, {})


@pytest.mark.parametrize(
    ("figures", "chosen"),
    [
        ([measured("step", 1, int8=1, fp32=3), measured("step", 64, int8=2, fp32=1)], "int8"),
        ([measured("step", 1, int8=1, fp32=2), measured("step", 64, int8=3, fp32=1)], "fp32"),
        # prompts and steps share states, and count alike
        ([measured("step", 1, int8=1, fp32=2), measured("advance", 1, int8=9, fp32=1)], "fp32"),
        # a batch that takes long counts no more than a request alone
        ([measured("step", 1, int8=1, fp32=4), measured("step", 64, int8=300, fp32=100)], "int8"),
        # near ties are the first set's
        ([measured("step", 1, int8=1.09, fp32=1)], "int8"),
        ([measured("step", 1, int8=1.11, fp32=1)], "fp32"),
        # one that failed in a case is out
        ([measured("step", 1, int8=1, fp32=2), measured("step", 64, fp32=1)], "fp32"),
        ([], "int8"),
    ],
)
def test_the_choice_is_the_least_geometric_mean_over_a_groups_cases(figures: list[Measured], chosen: str) -> None:
    assert choices_from(GENERATION, figures, BOTH) == (Choice(CPU, (chosen,)),)


def test_each_group_has_a_choice_of_its_own_and_backends_are_compared_by_theirs() -> None:
    figures = [measured("encode", 1, int8=3, fp32=1, half=2), measured("step", 1, int8=1, fp32=2, half=2)]
    mixed, half = Choice(CPU, ("fp32", "int8")), whole_set(CUDA, "gpu-fp16", TRANSLATION)
    assert choices_from(TRANSLATION, figures, BOTH) == (mixed,)
    assert choices_from(TRANSLATION, figures, (HALF, *BOTH)) == (mixed, half)
    fast = [measured("encode", 1, int8=3, fp32=1, half=0.1), measured("step", 1, int8=1, fp32=2, half=2)]
    assert choices_from(TRANSLATION, fast, (HALF, *BOTH)) == (half, mixed)
    failed = [figures[0], measured("step", 1, int8=1, fp32=2)]
    assert choices_from(TRANSLATION, failed, (HALF, *BOTH)) == (mixed,)


def test_graphs_that_share_states_are_one_group() -> None:
    assert GENERATION.groups == (("step", "advance", "decode", "decode_filtered", "choose", "score"),)
    assert TRANSLATION.groups == (("encode",), ("step", "decode", "decode_beam"))
    assert SENTIMENT.groups == (("classify",),)


@pytest.mark.parametrize("task", ["generation", "translation", "sentiment"])
def test_every_case_of_every_task_runs_and_every_group_has_one(built_bundle: Built, task: str) -> None:
    bundle = built_bundle("gru", task)
    opened = open_set(CPU, bundle, "int8")
    cases = cases_of(bundle)
    assert all({case.graph for case in cases} & set(group) for group in bundle.task.groups)
    for case in cases:
        prepared(case, bundle, opened)()


def test_a_short_measurement_is_recorded_and_not_made_again(
    built_bundle: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = built_bundle("gru", "translation")
    chosen = cpu_choice(bundle)
    assert chosen is not None
    assert read_choices(bundle) == (chosen,)
    record = json.loads((cache_folder(bundle.record.sha256) / "bench.json").read_text())
    assert {figure["case"] for figure in record["figures"]} == {str(case) for case in cases_of(bundle)}
    with monkeypatch.context() as patch:
        patch.setattr(measuring, "measure", lambda *_, **__: pytest.fail("measured again"))
        assert cpu_choice(bundle) == chosen
    (cache_folder(bundle.record.sha256) / "bench.json").write_bytes(b"damaged")
    assert cpu_choice(bundle) is not None
    assert len(read_choices(bundle)) == 1


def test_without_a_second_set_or_a_cache_nothing_is_measured(
    built_bundle: Built, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = built_bundle("gru")
    monkeypatch.setattr(measuring, "measure", lambda *_, **__: pytest.fail("measured"))
    with monkeypatch.context() as patch:
        patch.setattr(measuring, "SETS", {CPU: ("int8",)})
        assert cpu_choice(bundle) is None
    (tmp_path / "file").touch()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file"))
    with pytest.raises(OSError, match="file"):
        cpu_choice(bundle)


def test_a_variant_that_cannot_run_a_case_is_named(built_bundle: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = built_bundle("gru", "sentiment")
    opened = {variant: open_checked(bundle, variant) for variant in BOTH}
    opened[INT8].close("classify")
    said: list[str] = []
    found = measure(bundle, opened, said.append, rounds=1, block_seconds=0)
    assert all(set(item.seconds) == {FP32} and "not open" in item.failures[INT8] for item in found)
    assert any("not int8 on onnxruntime-cpu" in line for line in said)
