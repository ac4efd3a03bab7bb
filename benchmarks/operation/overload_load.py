"""Sends requests at a rate that nobody slows down, and keeps what came of each: an open loop with bad manners."""

import asyncio
import contextlib
import re
import socket
import struct
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

from benchmarks.operation.overload_requests import NO_ANSWER, Ask, Kind
from benchmarks.serving.client import Client, Connect
from benchmarks.serving.cpu import family_of
from benchmarks.serving.loops import poisson_arrivals

HANGS = 90.0  # seconds without an answer; the server's own deadline is 60
_NOTICED = 2.0  # seconds after which the server knows for certain that a client has left
_MOST_IDLE = 60.0  # seconds that a connection is kept unused: the server closes it after 75, maybe while it is taken up
_MOST_WRONG = 20  # outcomes that are kept to be shown


@dataclass
class Outcomes:
    """What came of a load.

    Attributes:
        seconds: how long requests came.
        statuses: by second of the requests' ends, how many were answered with each; NO_ANSWER: the client had left.
        kinds: how many requests there were of each kind and status.
        ends: seconds from the start at which each plain request that was admitted had its answer.
        latencies: seconds that it took, from the time it was due.
        refused_with_room: 429s although fewer requests were out than the server has permits.
        hung: requests without an answer for HANGS seconds.
        wrong: requests with an answer that is not allowed, or none, up to some.
        num_wrong: all of these.
        rss: bytes of the server's memory, each second.
    """

    seconds: float
    statuses: list[Counter[int]] = field(default_factory=list)
    kinds: Counter[tuple[Kind, int]] = field(default_factory=Counter)
    ends: "array[float]" = field(default_factory=lambda: array("d"))
    latencies: "array[float]" = field(default_factory=lambda: array("d"))
    refused_with_room: int = 0
    hung: int = 0
    wrong: list[str] = field(default_factory=list)
    num_wrong: int = 0
    rss: list[int] = field(default_factory=list)


class Overload:
    """One load.

    Args:
        connect: opens a connection.
        port: of 127.0.0.1, for what no well-behaved client sends.
        pid: the server's process.
        permits: requests that the server takes at once.
    """

    def __init__(self, connect: Connect, port: int, pid: int, permits: int) -> None:
        self._connect = connect
        self._port = port
        self._pid = pid
        self._permits = permits
        self._idle: list[tuple[Client, float]] = []  # connections that are kept, and since when
        self._num_out = 0  # requests that want a permit and are not answered
        self._peaks = array("i")  # that number, after each was sent
        self._started = 0.0

    async def run(self, asks: Iterator[Ask], rate: float, seconds: float, seed: int) -> Outcomes:
        """Send requests as a Poisson process and wait for the last of them.

        Args:
            asks: the requests.
            rate: of them a second.
            seconds: how long.
            seed: of the times between them.
        """
        outcomes = Outcomes(seconds, [Counter() for _ in range(int(seconds) + 1)])
        arrivals = poisson_arrivals(rate, seconds, seed)
        self._started = perf_counter()
        watch = asyncio.create_task(self._watch(outcomes))
        tasks: set[asyncio.Task[None]] = set()
        for arrival in arrivals.tolist():
            due = self._started + arrival
            if (wait := due - perf_counter()) > 0:
                await asyncio.sleep(wait)
            task = asyncio.create_task(self._one(next(asks), due, outcomes))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        while tasks:
            await asyncio.gather(*tasks)
        watch.cancel()
        for client, _ in self._idle:
            client.close()
        return outcomes

    async def _one(self, ask: Ask, due: float, outcomes: Outcomes) -> None:
        """Send one request and note what came of it."""
        wants_permit = ask.kind in ("plain", "deadline", "leaves")
        self._num_out += wants_permit
        first_peak = len(self._peaks)
        self._peaks.append(self._num_out)
        try:
            async with asyncio.timeout(HANGS):
                status = await (self._kept(ask) if ask.stay is None else self._left(ask))
            problem = "" if status in ask.allowed else f"status {status}"
        except TimeoutError:
            outcomes.hung += 1
            status, problem = NO_ANSWER, f"no answer in {HANGS:.0f} s"
        except (OSError, ValueError) as error:
            status, problem = NO_ANSWER, f"{type(error).__name__}: {error}"
        end = perf_counter()
        if wants_permit:
            if ask.stay is None:
                self._num_out -= 1
            else:
                asyncio.get_running_loop().call_later(_NOTICED, self._noticed)
        if status == 429 and max(self._peaks[first_peak:]) < self._permits:
            outcomes.refused_with_room += 1
        if problem:
            outcomes.num_wrong += 1
            if len(outcomes.wrong) < _MOST_WRONG:
                outcomes.wrong.append(f"{ask.kind}, {ask.name}: {problem}")
        outcomes.kinds[ask.kind, status] += 1
        outcomes.statuses[min(int(end - self._started), len(outcomes.statuses) - 1)][status] += 1
        if ask.kind == "plain" and status == 200:
            outcomes.ends.append(end - self._started)
            outcomes.latencies.append(end - due)

    def _noticed(self) -> None:
        self._num_out -= 1

    async def _kept(self, ask: Ask) -> int:
        """The status of a request that is waited for, over a connection that is kept."""
        is_reused = False
        while self._idle and not is_reused:
            client, since = self._idle.pop()
            is_reused = client.is_usable and perf_counter() - since < _MOST_IDLE
            if not is_reused:
                client.close()
        if not is_reused:
            client = await self._connect()
        try:
            ask_it = client.stream if ask.is_streamed else client.post
            status = (await ask_it(ask.path, ask.body, ask.headers))[0]
        except BaseException as error:
            client.close()
            if is_reused and isinstance(error, ConnectionError) and not client.has_begun:
                return await self._kept(ask)  # closed while it was idle, which a server may: RFC 9112, 9.3.1
            raise
        if client.is_usable:
            self._idle.append((client, perf_counter()))
        else:
            client.close()
        return status

    async def _left(self, ask: Ask) -> int:
        """The status that one who leaves has seen by then, if any."""
        assert ask.stay is not None
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        seen = b""
        try:
            if ask.kind == "half":
                writer.write(ask.body)
            else:
                head = f"POST {ask.path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(ask.body)}\r\n\r\n"
                writer.write(head.encode() + ask.body)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ask.stay):
                    while part := await reader.read(1 << 16):
                        seen = seen or part
            connection = writer.get_extra_info("socket")  # None once the server has closed
            if ask.is_reset and connection is not None:
                option = struct.pack("ii", 1, 0)  # linger for no time: close(2) sends a reset
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
        finally:
            writer.close()
        found = re.match(rb"HTTP/1\.1 (\d{3}) ", seen)
        return int(found[1]) if found else NO_ANSWER

    async def _watch(self, outcomes: Outcomes) -> None:
        """Note the server's memory each second."""
        while True:
            outcomes.rss.append(rss_of(self._pid))
            await asyncio.sleep(self._started + len(outcomes.rss) - perf_counter())


def rss_of(pid: int) -> int:
    """Bytes of a process and its descendants that are in memory (proc(5), VmRSS), what they share counted by each."""
    return sum(_rss_of_one(member) for member in family_of(pid))


def _rss_of_one(pid: int) -> int:
    for line in (Path("/proc") / str(pid) / "status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"process {pid} has no VmRSS")
