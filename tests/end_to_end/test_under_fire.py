"""A real server process whose clients all leave at once, and one that gets SIGTERM while it is full.

What is claimed is counted in steps and ids, as /metrics and the answers give them, and never by a clock.
"""

import asyncio
import json
import os
import re
import signal
import socket
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.end_to_end.real_server import RealServer, real_server
from tests.server.running import wait_until

MODEL = "shakespeare-char"
ROWS = 17  # one more than a bound of the histogram of batch sizes, so that a step that is not full can be seen
LONGEST = 4096
NEXT_TOKENS = 256
STEPS_TO_NOTICE = 64  # of the thousands that the old answers had before them


def metric(server: RealServer, name: str, **labels: str) -> float:
    """One of the server's figures; 0 where it is not there yet."""
    text = server.client.get("/metrics").text
    wanted = "".join(rf'(?=[^}}]*\b{key}="{re.escape(value)}")' for key, value in labels.items())
    found = re.search(rf"^rnnserve_{name}(?:\{{{wanted}[^}}]*\}})? (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def num_steps_below_capacity(server: RealServer) -> float:
    return metric(server, "batch_size_bucket", le=f"{ROWS - 1}.0")


def sent(server: RealServer, number: int = 0, **fields: Any) -> socket.socket:
    """A connection that has sent one request, of the client of that number, and not read the answer."""
    url = httpx.URL(server.url)
    connection = socket.create_connection((url.host, url.port or 0), timeout=60)
    body = json.dumps(fields).encode()
    lines = ("POST /v1/generate HTTP/1.1", "host: localhost", f"x-forwarded-for: 192.0.2.{number}")
    head = "\r\n".join((*lines, f"content-length: {len(body)}"))
    connection.sendall(head.encode() + b"\r\n\r\n" + body)
    return connection


def num_tokens_arrived(connection: socket.socket) -> int:
    """Characters, which are tokens, of the events that lie ready to be read."""
    connection.setblocking(False)
    content = b""
    try:
        while part := connection.recv(1 << 20):
            content += part
    except BlockingIOError:
        pass
    events = re.findall(rb"^data: (\{.*\})$", content, re.MULTILINE)
    return sum(len(json.loads(event)["choices"][0]["text"]) for event in events)


def whole_answer(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    with connection.makefile("rb") as reader:
        status = int(reader.readline().split()[1])
        length = 0
        while (line := reader.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        return status, json.loads(reader.read(length))


def stop(server: RealServer) -> None:
    """Stop the server's processes, engines first; when this returns they have stopped."""
    for pid in reversed(server.pids):
        os.kill(pid, signal.SIGSTOP)
        wait_until(partial(is_stopped, pid))


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_when_all_clients_leave_at_once_the_next_request_runs_in_the_next_step(tmp_path: Path) -> None:
    """The server is stopped while they leave, so that it meets everything in one turn of its loop."""
    limits = {"RNNSERVE_LANES": "1", "RNNSERVE_MAX_ROWS": str(ROWS), "RNNSERVE_MAX_REQUESTS": str(ROWS + 1)}
    limits["RNNSERVE_TRUSTED_PROXIES"] = "127.0.0.1"  # so that many clients take the permits, and not one
    with real_server(Path("artifacts"), "--models", MODEL, log=tmp_path / "log", environment=limits) as server:
        long = {"prompt": "ROMEO:", "max_tokens": LONGEST, "min_tokens": LONGEST, "stream": True}
        old = [sent(server, number + 1, **long) for number in range(ROWS)]
        wait_until(lambda: metric(server, "rows_running") == ROWS)
        waiting = sent(server, prompt="JULIET:", max_tokens=NEXT_TOKENS, min_tokens=NEXT_TOKENS)
        wait_until(lambda: metric(server, "rows_waiting") == 1)
        refused = server.client.post("/v1/generate", json={"prompt": "a"})
        assert refused.status_code == 429, "every permit is taken"
        below_before = num_steps_below_capacity(server)
        stop(server)
        arrived = sum(map(num_tokens_arrived, old))
        assert 0 < arrived < ROWS * LONGEST / 2, "the old answers have most of their way before them"
        for connection in old:
            connection.close()
        for pid in reversed(server.pids):
            os.kill(pid, signal.SIGCONT)
        with waiting:
            status, answer = whole_answer(waiting)
        assert status == 200
        assert answer["usage"]["completion_tokens"] == NEXT_TOKENS
        wait_until(lambda: metric(server, "rows_running") == 0)
        wait_until(lambda: metric(server, "requests_cancelled_total", reason="client_gone") == ROWS)
        after = metric(server, "row_steps_total") - NEXT_TOKENS - arrived
        assert 0 <= after <= ROWS * STEPS_TO_NOTICE, "the old rows went on after their clients had left"
        assert num_steps_below_capacity(server) - below_before <= NEXT_TOKENS, "a step had room and ran without it"
        assert metric(server, "requests_running") == 0
        again = server.client.post("/v1/generate", json={"prompt": "a", "max_tokens": 1})
        assert again.status_code == 200


def test_sigterm_under_load_loses_no_request_that_was_accepted(tmp_path: Path) -> None:
    with real_server(Path("artifacts"), "--models", MODEL, log=tmp_path / "log") as server:
        asyncio.run(told_to_go_under_load(server))
        assert server.process.wait(30) == 0


async def told_to_go_under_load(server: RealServer) -> None:
    """48 requests run, others keep coming, and the server is sent SIGTERM."""
    tokens = 700
    fields = {"prompt": "ROMEO:", "max_tokens": tokens, "min_tokens": tokens}
    async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=httpx.Limits(max_connections=None)) as client:
        accepted = [f"given-{number}" for number in range(48)]
        running = [
            asyncio.create_task(answered(client, request_id, {**fields, "stream": number % 2 == 1}))
            for number, request_id in enumerate(accepted)
        ]
        while await asyncio.to_thread(metric, server, "requests_running") < len(accepted):
            assert not any(task.done() for task in running)
        latecomers = asyncio.create_task(keep_asking(client, running))
        server.process.send_signal(signal.SIGTERM)
        while (await client.get("/readyz")).status_code == 200:
            assert not any(task.done() for task in running)
        assert not any(task.done() for task in running), "readiness goes while requests still run"
        refused = await client.post("/v1/generate", json={"prompt": "a"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        answers = await asyncio.gather(*running)
        assert Counter(answers) == {(request_id, tokens): 1 for request_id in accepted}
        outcomes = await latecomers
        assert set(outcomes) <= {"200", "503 draining", "refused"}
        assert outcomes["503 draining"] > 0


async def answered(client: httpx.AsyncClient, request_id: str, fields: dict[str, Any]) -> tuple[str, int]:
    """The id that an answer carries and the tokens of its text, once it has come to its end."""
    answer = await client.post("/v1/generate", json=fields, headers={"x-request-id": request_id})
    assert answer.status_code == 200, answer.text
    if not fields["stream"]:
        content = answer.json()
        assert content["usage"]["completion_tokens"] == len(content["choices"][0]["text"])
        return answer.headers["x-request-id"], len(content["choices"][0]["text"])
    *events, done = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert done == "[DONE]"
    contents = [json.loads(event) for event in events]
    assert not any("error" in content for content in contents), contents[-1]
    assert contents[-1]["choices"][0]["finish_reason"] == "length"
    return answer.headers["x-request-id"], sum(len(content["choices"][0]["text"]) for content in contents)


async def keep_asking(client: httpx.AsyncClient, running: list[asyncio.Task[tuple[str, int]]]) -> Counter[str]:
    """What requests meet that come before and after the signal, for as long as the first ones run."""
    outcomes: Counter[str] = Counter()
    while not all(task.done() for task in running):
        try:
            answer = await client.post("/v1/generate", json={"prompt": "a", "max_tokens": 2, "min_tokens": 2})
        except httpx.TransportError:
            outcomes["refused"] += 1
            continue
        content = answer.json()
        if answer.status_code == 200:
            assert content["usage"]["completion_tokens"] == 2
        outcomes[f"{answer.status_code} {content['error']['code']}" if "error" in content else "200"] += 1
        await asyncio.sleep(0.01)
    return outcomes
