"""What a client may do to a connection, and to the memory, descriptors and permits behind it."""

import contextlib
import gc
import json
import re
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from server.http.protocol import HeadWithBody
from tests.server.running import Running, running, wait_until

GET = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"


def connected(server: Running, address: str = "127.0.0.1") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30, source_address=(address, 0))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def received(connection: socket.socket) -> bytes:
    """All until the server closes the connection."""
    found = b""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while piece := connection.recv(1 << 16):
            found += piece
    return found


def answered(connection: socket.socket) -> int:
    """The status of the next answer, which is read to its end."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(1)
    (length,) = (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    while length:
        length -= len(connection.recv(length))
    return int(head.split()[1])


def refusal(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    head, _, body = received(connection).partition(b"\r\n\r\n")
    assert b"connection: close" in head
    error: dict[str, Any] = json.loads(body)["error"]
    return int(head.split()[1]), error


def posted(path: str, body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    return (
        b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % (path.encode(), len(content)) + content
    )


@pytest.fixture(scope="module")
def small() -> Iterator[Running]:
    with running(
        max_connections=8, max_head_bytes=2048, head_seconds=0.5, send_timeout_seconds=0.5, max_prompt_tokens=200_000
    ) as server:
        yield server


@pytest.mark.parametrize(
    "piece",
    [b"GET /" + b"x" * 3000, b"GET / HTTP/1.1\r\nx: " + b"y" * 3000, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 600],
    ids=["target", "one header", "many headers"],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_a_head_over_the_limit_is_431_and_the_connection_closed(small: Running, piece: bytes, at_once: bool) -> None:
    with connected(small) as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for start in range(0, len(piece), len(piece) if at_once else 300):
                connection.sendall(piece[start : start + (len(piece) if at_once else 300)])
        status, error = refusal(connection)
    assert (status, error["code"]) == (431, "head_too_large")
    assert "RNNSERVE_MAX_HEAD_BYTES" in error["message"]


def test_heads_within_the_limit_are_counted_one_by_one(small: Running) -> None:
    padded = GET[:-2] + b"x: " + b"y" * 1500 + b"\r\n\r\n"
    with connected(small) as connection:
        for _ in range(5):
            connection.sendall(padded)
            assert answered(connection) == 200


@pytest.mark.parametrize("begun", [b"", b"GET /livez HTT", b"GET /livez HTTP/1.1\r\nhost: localhost\r\n"])
@pytest.mark.parametrize("is_second", [False, True])
def test_a_head_that_does_not_come_to_its_end_is_given_up(small: Running, begun: bytes, is_second: bool) -> None:
    with connected(small) as connection:
        if is_second:
            connection.sendall(GET)
            assert answered(connection) == 200
            begun = begun or b"G"  # a connection that was used may be idle longer
        connection.sendall(begun)
        if begun:
            assert refusal(connection)[0] == 408
        else:
            assert received(connection) == b""


def test_over_the_limit_the_longest_idle_connection_goes_and_none_that_is_used(small: Running) -> None:
    small.client.get("/livez")
    with contextlib.ExitStack() as stack:
        used = stack.enter_context(connected(small))
        small.steps.gate = threading.Event()
        used.sendall(posted("/v1/generate", {"prompt": "a", "max_tokens": 1}))
        small.until(lambda: small.service.num_requests == 1)
        idle = [stack.enter_context(connected(small)) for _ in range(20)]
        assert received(idle[0]) == b""
        idle[-1].sendall(GET)
        assert answered(idle[-1]) == 200
        small.steps.gate.set()
        assert answered(used) == 200


def test_where_all_connections_are_in_use_a_new_one_is_503() -> None:
    with running(max_connections=2) as server, contextlib.ExitStack() as stack:
        server.steps.gate = threading.Event()
        for place in range(2):
            used = stack.enter_context(connected(server))
            used.sendall(posted("/v1/generate", {"prompt": "a", "max_tokens": 1}))
            server.until(lambda place=place: server.service.num_requests == place + 1)  # type: ignore[misc]
        with connected(server) as one_more:
            status, error = refusal(one_more)
        assert (status, error["code"]) == (503, "connections_full")
        server.steps.gate.set()


def test_one_client_leaves_a_quarter_of_the_connections_to_others() -> None:
    """Its bodies come so slowly that all its connections are in use."""
    with running(max_connections=16) as server, contextlib.ExitStack() as stack:
        for _ in range(12):
            slow = stack.enter_context(connected(server, "127.0.0.2"))
            slow.sendall(b"POST /v1/generate HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{")
        server.until(lambda: server.service.limiter.permits.num_taken == 12)
        with connected(server, "127.0.0.2") as one_more:
            status, error = refusal(one_more)
        assert (status, error["code"]) == (503, "connections_full")
        for _ in range(4):
            other = stack.enter_context(connected(server))
            other.sendall(GET)
            assert answered(other) == 200


def test_requests_sent_ahead_are_answered_in_order_up_to_a_limit(small: Running) -> None:
    with connected(small) as connection:
        connection.sendall(GET * 9 + GET.replace(b"host:", b"connection: close\r\nhost:"))
        assert received(connection).count(b"HTTP/1.1 200") == 10
    with connected(small) as connection:
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(GET * 5000)
        assert received(connection).count(b"HTTP/1.1 200") <= 18


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_client_that_takes_nothing_is_dropped_and_its_permit_is_free(small: Running, is_streamed: bool) -> None:
    def num_dropped() -> int:
        found = re.search(r'closed_total\{reason="client_gone"\} (\d+)', small.client.get("/metrics").text)
        return int(found[1]) if found else 0

    before = num_dropped()
    with connected(small) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        # The answers fill what the system keeps for a connection.
        body: dict[str, Any] = {"prompt": ["a" * 9000] * 64, "echo": True, "max_tokens": 1}
        if is_streamed:
            body = {"prompt": "a", "n": 16, "max_tokens": 4096, "min_tokens": 4096, "stream": True}
        for _ in range(1 if is_streamed else 12):
            connection.sendall(posted("/v1/generate", body))
        small.until(lambda: num_dropped() > before)
        small.until(lambda: small.service.num_requests == 0 and small.service.limiter.permits.num_taken == 0)


def test_a_body_that_nobody_reads_keeps_no_connection_open(small: Running) -> None:
    """An answer may come before the body's end; what trickles in then does not make the connection a used one."""
    with connected(small) as connection:
        connection.sendall(b"POST /livez HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n" + b"x" * 10)
        assert answered(connection) == 405
        connection.sendall(b"x" * 10)
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(connected(small))
            assert received(connection) == b""


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00\x01", b"hello\r\n\r\n", b"GET / HTTP/9.9.9\r\n\r\n"])
def test_what_is_not_http_is_400_in_our_words(small: Running, garbage: bytes) -> None:
    with connected(small) as connection:
        connection.sendall(garbage)
        status, error = refusal(connection)
    assert (status, error["type"]) == (400, "bad_request_error")


def test_a_connection_that_is_reset_leaves_nothing(small: Running) -> None:
    before = small.client.get("/metrics").text
    for begun in (b"", b"GET /", GET * 10, posted("/v1/generate", {"prompt": "a", "max_tokens": 500})):
        connection = connected(small)
        connection.sendall(begun)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    small.until(lambda: small.service.num_requests == 0)
    small.until(lambda: "rnnserve_connections 1.0" in small.client.get("/metrics").text)
    assert "rnnserve_connections 1.0" in before


def test_of_a_refused_connection_nothing_is_kept_once_it_is_closed() -> None:
    def num_kept() -> int:
        gc.collect()
        return sum(type(item).__name__ in ("BoundedProtocol", "TCPTransport") for item in gc.get_objects())

    with running(max_head_bytes=2048, send_timeout_seconds=600) as server:
        before = num_kept()
        for _ in range(5):
            with connected(server) as connection:
                connection.sendall(b"GET /livez HTTP/1.1\r\nx: " + b"y" * 4000)
                assert refusal(connection)[0] == 431
        wait_until(lambda: num_kept() <= before)


class Written:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.writes.append(data)

    def close(self) -> None:
        self.is_closed = True


HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


def test_a_head_is_sent_with_the_first_piece_of_its_body() -> None:
    kept = Written()
    transport = HeadWithBody(kept)  # type: ignore[arg-type]  # as much of one as is used
    transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    transport.write(HEAD)
    transport.write(b"HTTP/1.1 is what this body begins with.")
    transport.write(b" More.")
    transport.end_answer()
    assert kept.writes == [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        HEAD + b"HTTP/1.1 is what this body begins with.",
        b" More.",
    ]


def test_a_head_without_a_body_is_sent_at_the_end_of_its_answer_and_before_the_connection_is_closed() -> None:
    kept = Written()
    transport = HeadWithBody(kept)  # type: ignore[arg-type]
    transport.write(HEAD)
    transport.end_answer()
    assert kept.writes == [HEAD]
    transport.write(HEAD)
    transport.close()
    assert kept.writes == [HEAD, HEAD]
    assert kept.is_closed
