"""What wakes up often waits for its turn, and so does what it starts; what steps does not."""

import asyncio
import os
import threading
from collections.abc import Mapping

import pytest

from runtime.runner import Array
from server.engine.delivery import LoopDelivery
from server.engine.priority import come_first, interrupt_nobody
from server.engine.sentiment.engine import SentimentEngine
from server.engine.sentiment.request import Classification
from tests.server.engine.counts import Counts
from tests.server.fake_runner import FakeSequenceRunner

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="this system has no batch threads")


def test_a_thread_that_steps_is_no_batch_thread_whoever_starts_it() -> None:
    found: dict[str, int] = {}

    def note(name: str) -> None:
        found[name] = os.sched_getscheduler(0)

    def steps() -> None:
        note("inherited")
        come_first()
        note("steps")

    def wakes_up_often() -> None:
        interrupt_nobody()
        note("wakes up often")
        child = threading.Thread(target=steps)
        child.start()
        child.join()

    thread = threading.Thread(target=wakes_up_often)
    thread.start()
    thread.join()
    assert found == {"wakes up often": os.SCHED_BATCH, "inherited": os.SCHED_BATCH, "steps": os.SCHED_OTHER}


def test_an_engine_interrupts_nobody_when_it_wakes_up_and_anybody_while_it_computes() -> None:
    policies: list[int] = []

    class Notes(FakeSequenceRunner):
        def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
            policies.append(os.sched_getscheduler(0))
            return super().run(graph, inputs)

    async def main() -> None:
        engine = SentimentEngine("noted", [Notes(50)], max_rows=4, classify_tokens=64, observer=Counts())
        engine.start(LoopDelivery(asyncio.get_running_loop()))
        try:
            for _ in range(3):
                thread = engine._thread.native_id
                assert thread is not None
                while os.sched_getscheduler(thread) != os.SCHED_BATCH:  # until it waits
                    await asyncio.sleep(0.001)
                request = Classification([[1, 2]])
                engine.submit(request)
                await request.mailbox.take()
        finally:
            engine.stop()

    asyncio.run(asyncio.wait_for(main(), 30))
    assert policies == [os.SCHED_OTHER] * 3
