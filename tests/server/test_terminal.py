"""The log on a terminal, as people see it."""

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from tests.server.running import wait_until

ROOT = Path(__file__).parents[2]


def test_on_a_terminal_the_log_says_in_one_line_what_is_served_and_where_and_nothing_is_json() -> None:
    mine, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.server.fake_program", "--port", "0"], cwd=ROOT, stderr=its, stdout=its
    )
    os.close(its)
    said = ""

    def has(pattern: str) -> bool:
        nonlocal said
        said += os.read(mine, 4096).decode()
        return re.search(pattern, said) is not None

    wait_until(lambda: has(r"http://127\.0\.0\.1:\d+"))
    found = re.search(r"http://127\.0\.0\.1:\d+", said)
    assert found is not None
    with httpx.Client(base_url=found[0], timeout=30) as client:
        assert client.post("/v1/generate", json={"prompt": "a", "max_tokens": 2}).status_code == 200
        assert client.post("/v1/generate", json={"prompt": 1}).status_code == 422
    wait_until(lambda: has(r"422"))
    process.send_signal(signal.SIGINT)
    wait_until(lambda: has("stopped"))
    assert process.wait(30) == 0
    os.close(mine)
    plain = re.sub(r"\x1b\[\d+m", "", said).replace("\r\n", "\n")
    ready, whole, wrong, *_ = plain.splitlines()
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d http://127\.0\.0\.1:\d+ serves fake/1 \(ready after [\d.]+ s; Ctrl\+C stops\)", ready
    )
    assert re.fullmatch(r"\S+ /v1/generate 200 fake/1 1\+2 tokens [\d.]+ ms", whole)
    assert re.fullmatch(r"\S+ /v1/generate 422 .*field_invalid [\d.]+ ms", wrong)
    assert "{" not in plain
