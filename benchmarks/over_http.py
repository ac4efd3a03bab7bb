"""Whole answers over HTTP beside the bare step loop, in one run: how much of the runtime's speed a client gets.

64 clients in a closed loop, each sending its next request when the last is answered: prompts of 8 to 256 characters
(log-uniform), answers of 10 to 200. The bare loop is the same graph at 64 rows, one thread, state fed back, no
sampling and no prompts. Client and server share the machine's cores; the client's own CPU time is printed.

    python -m benchmarks http
"""

import asyncio
import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.machine import machine
from export.backends.onnxruntime.build import open_graph_set
from export.backends.onnxruntime.run import OnnxStepRunner
from models.bundle import Bundle
from models.store import Store

STORE, MODEL = Path("artifacts"), "shakespeare-char"
NUM_CLIENTS = 64
ROUNDS = 5
BARE_SECONDS, HTTP_SECONDS = 2.0, 8.0


def main() -> None:
    """Measure, print the table, end in one JSON line."""
    bundle = Bundle(Store(STORE).resolve(MODEL))
    characters = [text.decode() for text in bundle.tokenizer.token_bytes[1:]]
    rounds: list[dict[str, float]] = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "server", "--store", str(STORE), "--models", MODEL, "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_until_ready(port, server)
        for number in range(ROUNDS):
            bare = _bare_tokens_per_second(bundle)
            started_cpu = time.process_time()
            load = asyncio.run(_load(port, characters, seed=number))
            client = (time.process_time() - started_cpu) / HTTP_SECONDS
            share = load["tokens_per_second"] / bare
            rounds.append({"bare_tokens_per_second": bare, **load, "share_of_bare": share, "client_cores": client})
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)
    result = {key: median(each[key] for each in rounds) for key in rounds[0]}
    table = Table("figure", "median of 5", title=f"{MODEL}, {NUM_CLIENTS} clients, whole answers", title_justify="left")
    for key, value in result.items():
        table.add_row(key, f"{value:,.2f}" if value < 100 else f"{value:,.0f}")
    Console().print(table)
    print(json.dumps({"benchmark": "http", "machine": machine(), "rounds": rounds, **result}))


def _bare_tokens_per_second(bundle: Bundle) -> float:
    runner = OnnxStepRunner(open_graph_set(bundle.graph_set("int8"), graphs=["step"]), 128, bundle.record.state_width)
    tokens, rows = np.ones(NUM_CLIENTS, np.int64), np.arange(NUM_CLIENTS)
    runner.step(tokens, rows)
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < BARE_SECONDS:
        runner.step(tokens, rows)
        steps += 1
    return steps * NUM_CLIENTS / (time.perf_counter() - started)


async def _load(port: int, characters: list[str], seed: int) -> dict[str, float]:
    """Run the clients for HTTP_SECONDS; answers finished within it count."""
    deadline = time.perf_counter() + HTTP_SECONDS
    latencies: list[float] = []
    tokens = 0

    async def client(number: int) -> None:
        """One connection: the next request when the last is answered."""
        nonlocal tokens
        draw = random.Random(f"{seed}/{number}")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < deadline:
            body = {
                "prompt": "".join(
                    draw.choices(characters, k=round(math.exp(draw.uniform(math.log(8), math.log(256)))))
                ),
                "max_tokens": draw.randint(10, 200),
            }
            started = time.perf_counter()
            answer = await _post(reader, writer, body)
            if time.perf_counter() < deadline:
                latencies.append(time.perf_counter() - started)
                tokens += answer["usage"]["completion_tokens"]
        writer.close()

    await asyncio.gather(*(client(number) for number in range(NUM_CLIENTS)))
    ordered = sorted(latencies)
    return {
        "tokens_per_second": tokens / HTTP_SECONDS,
        "requests_per_second": len(ordered) / HTTP_SECONDS,
        "latency_p50_ms": ordered[len(ordered) // 2] * 1e3,
        "latency_p99_ms": ordered[int(len(ordered) * 0.99)] * 1e3,
    }


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: dict[str, Any]) -> dict[str, Any]:
    """One request over a kept connection, by hand: a client library would take more CPU than the server."""
    content = json.dumps(body).encode()
    writer.write(b"POST /v1/generate HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(content) + content)
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.partition("content-length:")[2].partition("\r\n")[0])
    answer: dict[str, Any] = json.loads(await reader.readexactly(length))
    if " 200 " not in head.partition("\r\n")[0]:
        raise RuntimeError(f"the server answered {answer}")
    return answer


def _wait_until_ready(port: int, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(300):
        if server.poll() is not None:
            sys.exit(f"The server ended with code {server.returncode}; start it by hand to see why.")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5)
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
        else:
            return
    os.kill(server.pid, signal.SIGKILL)
    sys.exit("The server was not ready within 30 seconds.")
