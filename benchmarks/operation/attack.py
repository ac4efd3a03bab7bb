"""Each attack of benchmarks.operation.attackers while 32 honest clients are answered, beside the same attack on a sink.

The sink takes what the attackers send and answers nothing, so that the control has the attackers' own cost on the same
cores. Must hold: the honest clients' p99 is at most 3 times that of the control, every answer is the one that the
request has alone, and none is lost; the server's memory is back to within 10 % after 30 s; its event loop is at most
100 ms later than beside the control; /livez is 200 throughout. The server keeps no prefix cache, whose budget would
count as growth.

    python -m benchmarks attack
    python -m benchmarks attack --seconds 3        shorter
"""

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from rich.table import Table

from benchmarks.operation.attackers import ATTACKS
from benchmarks.report import Report
from benchmarks.serving.client import connector
from benchmarks.serving.loops import closed_loop, run
from benchmarks.serving.record import Record
from benchmarks.serving.request import Count, Request
from benchmarks.serving.server import Server, free_port
from benchmarks.serving.w1 import MODEL, STORE, w1
from benchmarks.targets import Target, number
from models.bundle import Bundle
from models.store import Store

SECONDS = 6.0
NUM_CLIENTS, NUM_REQUESTS = 32, 64
MOST_SLOWER, MOST_GROWTH, MOST_LATE_MS, MEMORY_SECONDS = 3.0, 1.1, 100.0, 30.0
_PROBE_SECONDS = 0.02
_LEAST_RECORDS = 20


class Seen(NamedTuple):
    """What honest clients saw.

    Attributes:
        p99_ms: of their answers.
        num_answers: how many there were.
        num_wrong: answers that differ from the request's alone.
        num_refused: answers of 429.
        num_lost: requests that ended in another way.
        late_ms: the latest answer of /livez.
        is_alive: whether /livez was always 200.
    """

    p99_ms: float
    num_answers: int
    num_wrong: int
    num_refused: int
    num_lost: int
    late_ms: float
    is_alive: bool


class Honest:
    """Requests with a seed each, and the answers that they have alone."""

    def __init__(self, bundle: Bundle, port: int) -> None:
        workload = w1(bundle, seed=1)
        asks = [workload.ask(i) for i in range(NUM_REQUESTS)]
        self._bodies = [
            orjson.dumps({"prompt": ask.prompt, "max_tokens": ask.max_tokens, "seed": i}) for i, ask in enumerate(asks)
        ]
        self._port = port
        self._num_wrong = 0
        self._texts: list[str] = []
        run(self._alone())

    async def _alone(self) -> None:
        client = await connector(self._port)()
        for body in self._bodies:
            _, _, answer = await client.post("/v1/generate", body)
            self._texts.append(orjson.loads(answer)["choices"][0]["text"])
        client.close()

    def _request(self, place: int) -> Request:
        place %= NUM_REQUESTS

        def count(answer: bytes) -> Count:
            found = orjson.loads(answer)
            self._num_wrong += found["choices"][0]["text"] != self._texts[place]
            return Count(found["usage"]["completion_tokens"])

        return Request("/v1/generate", self._bodies[place], count)

    async def seen(self, seconds: float) -> Seen:
        """What the clients see for so long."""
        self._num_wrong = 0
        lates: list[float] = []
        is_alive = True

        async def probe() -> None:
            nonlocal is_alive
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            while True:
                started = time.perf_counter()
                writer.write(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readuntil(b"}")
                lates.append((time.perf_counter() - started) * 1000)
                is_alive = is_alive and head.startswith(b"HTTP/1.1 200")
                await asyncio.sleep(_PROBE_SECONDS)

        probing = asyncio.create_task(probe())
        records = await closed_loop(connector(self._port), NUM_CLIENTS, seconds, self._request)
        is_alive = is_alive and not probing.done()
        probing.cancel()
        answered = [record for record in records if record.error is None]
        return Seen(
            float(np.percentile([record.e2el * 1000 for record in answered], 99)) if answered else float("inf"),
            len(answered),
            self._num_wrong,
            sum(record.status == 429 for record in records),
            sum(_is_lost(record) for record in records),
            max(lates, default=float("inf")),
            is_alive and len(answered) >= _LEAST_RECORDS,
        )


def main(seconds: float = SECONDS) -> Report:
    """Measure.

    Args:
        seconds: that each attack, and its control, takes.
    """
    bundle = Bundle(Store(STORE).resolve(MODEL))
    table = Table("attack", "p99, ms", "control", "late, ms", "control", "memory", "429", title_justify="left")
    table.title = f"{NUM_CLIENTS} honest clients beside each attack, {seconds:g} s; control: the same on a sink"
    targets: list[Target] = []
    result: dict[str, Any] = {}
    with Server(STORE, [MODEL], {"RNNSERVE_SET": "int8", "RNNSERVE_PREFIX_CACHE_BYTES": "0"}) as server:
        honest = Honest(bundle, server.port)
        run(honest.seen(seconds))
        for name in ATTACKS:
            control = _beside(name, honest, seconds, None)
            before = _resident(server.pid)
            found = _beside(name, honest, seconds, server.port)
            growth = _growth(server.pid, before)
            table.add_row(
                name,
                *map(number, (found.p99_ms, control.p99_ms, found.late_ms, control.late_ms, growth)),
                str(found.num_refused),
            )
            result[name] = {"attack": found._asdict(), "control": control._asdict(), "memory": growth}
            targets += [
                Target(f"{name}: p99 beside the control's", "<=", MOST_SLOWER, found.p99_ms / control.p99_ms),
                Target(f"{name}: answers wrong or lost", "<=", 0, found.num_wrong + found.num_lost),
                Target(
                    f"{name}: /livez later than the control's, ms", "<=", MOST_LATE_MS, found.late_ms - control.late_ms
                ),
                Target(f"{name}: memory after {MEMORY_SECONDS:g} s", "<=", MOST_GROWTH, growth),
                Target(f"{name}: /livez not 200, or nobody answered", "<=", 0, not found.is_alive),
            ]
    return Report("attack", [table], result, targets)


def _beside(name: str, honest: Honest, seconds: float, port: int | None) -> Seen:
    """What honest clients see beside an attack on a port, or on a sink."""
    command = [sys.executable, "-m", "benchmarks.operation.attackers"]
    processes = []
    if port is None:
        port = free_port()
        processes.append(subprocess.Popen([*command, "sink", str(port), str(seconds + 3)], stdout=subprocess.DEVNULL))
        time.sleep(0.7)
    processes.append(subprocess.Popen([*command, name, str(port), str(seconds + 1)], stdout=subprocess.DEVNULL))
    time.sleep(1.0)
    found = run(honest.seen(seconds))
    for process in processes:
        process.wait()
    return found


def _resident(pid: int) -> int:
    """Bytes of memory of a process."""
    pages = Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]
    return int(pages) * 4096


def _growth(pid: int, before: int) -> float:
    """Memory as a multiple of what it was, once it is within the bound or the time for that is over."""
    deadline = time.perf_counter() + MEMORY_SECONDS
    while (growth := _resident(pid) / before) > MOST_GROWTH and time.perf_counter() < deadline:
        time.sleep(0.5)
    return growth


def _is_lost(record: Record) -> bool:
    return record.status not in (200, 429) or (record.status == 200 and record.error is not None)
