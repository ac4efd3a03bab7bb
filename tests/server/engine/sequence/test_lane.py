"""The engine of a model of frames: rows never cross, whatever joins, fails or is cancelled beside them."""

import asyncio
import threading
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.signature import Signature
from runtime.frames import batched, next_chunk
from server.engine.engine import Engine
from server.engine.sequence.request import FramesOutput, FramesRequest
from server.errors import EngineError
from server.metrics import EngineMetrics, Metrics
from server.settings import Settings
from server.tasks import sequence_engine
from tests.server.fake_frames import (
    SIGNATURE,
    FakeFramesRunner,
    Row,
    expected,
    fake_frames_model,
    random_row,
    runner_of,
)
from tests.server.fake_runner import STATE_WIDTH

ZEROS = np.zeros(STATE_WIDTH, np.float32)


async def answer(engine: Engine[Any], *rows: Row) -> list[FramesOutput]:
    request = FramesRequest()
    for row in rows:
        request.add_row(row, len(row["ids"]), ZEROS)
    engine.submit(request)
    found: list[FramesOutput] = []
    while len(found) < len(rows):
        found += await request.outputs.get()
    return sorted(found, key=lambda output: output.number)


def with_engine(main: Any, lanes: int = 2, signature: Signature = SIGNATURE, max_rows: int = 16) -> FakeFramesRunner:
    """Run a coroutine with an engine; its fake runner."""
    model = replace(fake_frames_model(), signature=signature)
    settings = Settings(lanes=lanes, max_rows=max_rows)

    async def run() -> None:
        engine = sequence_engine(model, settings, EngineMetrics(Metrics(), model.id))
        engine.start(asyncio.get_running_loop())
        try:
            coroutine: Coroutine[Any, Any, None] = main(engine, runner_of(model))
            await coroutine
        finally:
            assert engine.stop(10)

    asyncio.run(run())
    return runner_of(model)


def check(found: FramesOutput, row: Row) -> None:
    outputs, state = expected(row)
    assert np.array_equal(found.outputs["mixed"], outputs["mixed"])
    assert found.outputs["last"] == outputs["last"]
    assert np.array_equal(found.state, state)


def test_rows_of_all_lengths_are_read_together_and_do_not_cross() -> None:
    generator = np.random.default_rng(0)
    requests = [[random_row(generator, int(n)) for n in generator.integers(1, 90, size=3)] for _ in range(60)]

    async def main(engine: Engine[Any], runner: FakeFramesRunner) -> None:
        runner.seconds = 0.001
        for rows, found in zip(
            requests, await asyncio.gather(*(answer(engine, *rows) for rows in requests)), strict=True
        ):
            for row, output in zip(rows, found, strict=True):
                check(output, row)
        assert engine.gauges.num_running == engine.gauges.num_waiting == 0

    runner = with_engine(main)
    assert max(batch for _, batch, _ in runner.calls) > 4
    assert {time for _, _, time in runner.calls} <= {1, 2, 4, 8, 16, 32}
    assert {graph for graph, _, time in runner.calls if time == 1} == {"step"}


@pytest.mark.parametrize("seed", range(3))
def test_cancelled_requests_never_affect_batch_mates(seed: int) -> None:
    generator = np.random.default_rng(seed)

    async def one(engine: Engine[Any], is_cancelled: bool) -> None:
        row = random_row(generator, int(generator.integers(1, 120)))
        await asyncio.sleep(generator.random() * 0.05)
        if not is_cancelled:
            (found,) = await answer(engine, row)
            check(found, row)
            return
        request = FramesRequest()
        for _ in range(2):
            request.add_row(row, len(row["ids"]), ZEROS)
        engine.submit(request)
        await asyncio.sleep(generator.random() * 0.01)
        engine.cancel(request)

    async def main(engine: Engine[Any], runner: FakeFramesRunner) -> None:
        runner.seconds = 0.0005
        await asyncio.gather(*(one(engine, generator.random() < 0.4) for _ in range(300)))
        for _ in range(500):
            if not engine.gauges.num_running + engine.gauges.num_waiting:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("slots were not given back")

    with_engine(main)


def test_a_call_that_fails_fails_its_rows_alone() -> None:
    generator = np.random.default_rng(1)
    fine, long, failing = random_row(generator, 5), random_row(generator, 60), random_row(generator, 60)
    for row in (fine, long):
        row["ids"][:] = 1
    failing["ids"][:] = 2

    async def main(engine: Engine[Any], runner: FakeFramesRunner) -> None:
        runner.gate = threading.Event()
        runner.fails_at = 2
        answers = [asyncio.create_task(answer(engine, row)) for row in (fine, failing)]
        await asyncio.sleep(0.05)
        runner.gate.set()
        check((await answers[0])[0], fine)
        with pytest.raises(EngineError, match="The model failed while it ran"):
            await answers[1]
        check((await answer(engine, long))[0], long)

    with_engine(main, lanes=1)


def test_more_rows_than_slots_wait_for_their_turn() -> None:
    generator = np.random.default_rng(2)
    rows = [random_row(generator, 40) for _ in range(50)]

    async def main(engine: Engine[Any], _: FakeFramesRunner) -> None:
        for row, found in zip(rows, await answer(engine, *rows), strict=True):
            check(found, row)

    assert max(batch for _, batch, _ in with_engine(main, lanes=1, max_rows=8).calls) <= 8


def test_which_chunk_a_call_reads_depends_on_the_row_alone() -> None:
    without = SIGNATURE.model_copy(update={"has_lengths": False})
    assert [next_chunk(SIGNATURE, n) for n in (1, 2, 3, 17, 32, 77)] == [
        (1, 1),
        (2, 2),
        (3, 4),
        (17, 32),
        (32, 32),
        (32, 32),
    ]
    assert [next_chunk(without, n) for n in (1, 2, 3, 17, 32, 77)] == [
        (1, 1),
        (2, 2),
        (2, 2),
        (16, 16),
        (32, 32),
        (32, 32),
    ]
    row = random_row(np.random.default_rng(3), 3)
    assert "lengths" not in batched(without, [row], 3)
    assert batched(SIGNATURE, [row], 4)["values"][0, 3].tolist() == [0, 0]
