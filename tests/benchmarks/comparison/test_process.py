import sys
import time
from pathlib import Path

import pytest

from benchmarks.comparison.process import ServerProcess

# A program that starts another in a session of its own, which goes on when its parent has ended and ignores SIGTERM.
PROGRAM = """
import subprocess, sys, time
stubborn = '''
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
while time.process_time() < 0.1:
    pass
print("here", flush=True)
time.sleep(600)
'''
child = subprocess.Popen([sys.executable, "-c", stubborn], start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
open("started", "w").close()
time.sleep(600)
"""


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # which has ended, and whose new parent has not looked yet


def test_whatever_a_peer_started_has_ended_with_it() -> None:
    with ServerProcess([sys.executable, "-c", PROGRAM], {}) as process:
        folder = Path(f"/proc/{process.pids()[0]}/cwd").readlink()
        deadline = time.perf_counter() + 60
        while not (folder / "started").exists():
            process.check()
            assert time.perf_counter() < deadline
            time.sleep(0.01)
        pids = process.pids()
        assert len(pids) == 2
        assert process.cpu_seconds() > 0
    assert not any(lives(pid) for pid in pids)
    assert not folder.exists()


def test_a_program_that_ends_is_told_with_its_last_words() -> None:
    with ServerProcess([sys.executable, "-c", "import sys; sys.exit('no such model')"], {}) as process:
        while process.pids():
            time.sleep(0.01)
        with pytest.raises(RuntimeError, match="ended with code 1:\nno such model"):
            process.check()
