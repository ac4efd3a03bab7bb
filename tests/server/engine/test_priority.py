"""What wakes up often waits for its turn, and so does what it starts; what steps does not."""

import os
import threading

import pytest

from server.engine.priority import come_first, interrupt_nobody

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
