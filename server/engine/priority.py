"""Which threads may interrupt which, where cores are few.

A thread that wakes up is given a core at once, as a rule, even if another one is interrupted for it. Readers wake up
hundreds of times a second, and what they interrupt is the step that everybody waits for. An engine that had nothing to
do is woken by the web server, on the core that this runs on: interrupted there, the web server would hear of the first
token when the engine is idle again, while another core sleeps. As batch threads (sched(7), SCHED_BATCH) both wait for a
free core, or until their turn comes; their share of the time stays the same. Systems that know no such thing do
without.

The web server is none of them: it would wait longest when it has most to do, and all answers with it.
"""

import contextlib
import os


def interrupt_nobody() -> None:
    """The calling thread, and those that it starts from now on, wait for their turn when they wake up."""
    _set_policy("SCHED_BATCH")


def come_first() -> None:
    """The calling thread is given a core as soon as it wakes up: what threads do by themselves."""
    _set_policy("SCHED_OTHER")


def _set_policy(name: str) -> None:
    if hasattr(os, name) and hasattr(os, "sched_setscheduler"):
        with contextlib.suppress(OSError):  # forbidden here, as in some containers
            os.sched_setscheduler(0, getattr(os, name), os.sched_param(0))
