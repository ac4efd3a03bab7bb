"""An engine is told everything once and in order, by its web server and by its own threads, and sleeps in between."""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from server.engine.sentiment.request import Classification
from server.process.frames import PIECE, framed
from server.process.inbox import Inbox
from server.process.messages import Codec, Command, Verb
from server.process.outbox import Address
from tests.server.running import wait_until

PATIENCE = 30  # seconds
CODEC = Codec(None)


class Ends:
    """The web server's end of a socket, and the inbox at the other one."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.web_server = near
        self.inbox = Inbox(far, CODEC)

    def say(self, *commands: Command) -> None:
        self.web_server.sendall(b"".join(framed(CODEC.encode(command)) for command in commands))


@pytest.fixture
def ends() -> Iterator[Ends]:
    near, far = socket.socketpair()
    with near, far:
        found = Ends(near, far)
        yield found
        os.close(found.inbox._bell)
        os.close(found.inbox._button)


def add(number: int) -> Command:
    return Command(Verb.ADD, number, Classification([[1]]))


def number_of(command: tuple[str, Any]) -> int:
    verb, request = command
    assert verb == "add"
    assert isinstance(request.mailbox, Address)
    return request.mailbox.number


def test_what_is_said_is_done_in_order_and_once(ends: Ends) -> None:
    assert ends.inbox.empty()
    ends.say(add(1), add(2), Command(Verb.CANCEL, 1), Command(Verb.STOP), add(3))
    first, second = ends.inbox.get(), ends.inbox.get()
    assert [number_of(first), number_of(second)] == [1, 2]
    assert ends.inbox.get() == ("cancel", first[1])
    assert ends.inbox.get() == ("stop", None)
    assert not ends.inbox.empty(), "what came after the end must be refused, and so be seen"
    assert number_of(ends.inbox.get()) == 3
    assert ends.inbox.empty()


def test_a_command_of_many_pieces_is_taken_when_it_is_whole_and_not_a_piece_a_step(ends: Ends) -> None:
    ends.inbox._link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
    ends.web_server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 21)
    large = Command(Verb.ADD, 1, Classification([[7] * 100_000]))
    assert len(CODEC.encode(large)) > 3 * PIECE
    ends.say(large, add(2))
    assert not ends.inbox.empty()
    assert [number_of(ends.inbox.get()), number_of(ends.inbox.get())] == [1, 2]


def test_a_request_that_is_gone_is_not_cancelled(ends: Ends) -> None:
    ends.say(add(1))
    assert number_of(ends.inbox.get()) == 1  # and nobody keeps it
    ends.say(Command(Verb.CANCEL, 1), Command(Verb.CANCEL, 7))
    assert ends.inbox.empty()


@pytest.mark.parametrize("is_killed", [False, True])
def test_the_end_of_the_stream_is_one_stop(ends: Ends, is_killed: bool) -> None:
    message = framed(CODEC.encode(add(1)))
    ends.web_server.sendall(message + message[:-1])  # the last is cut
    if is_killed:  # with bytes unread, which the other end hears of as an error
        ends.inbox._link.send(b"news that nobody reads")
    ends.web_server.close()
    if not is_killed:
        assert number_of(ends.inbox.get()) == 1
    found = ends.inbox.get()
    while found[0] != "stop":
        found = ends.inbox.get()
    assert found == ("stop", None)
    assert ends.inbox.empty()
    assert ends.inbox.empty()


def test_a_thread_that_waits_is_woken_by_either(ends: Ends) -> None:
    heard: list[str] = []
    seconds: list[float] = []

    def listen() -> None:
        for _ in range(3):
            heard.append(ends.inbox.get()[0])
        seconds.append(time.thread_time())

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    speeches: list[Callable[[], None]] = [
        lambda: ends.inbox.put(("keep", 5)),
        lambda: ends.say(add(1)),
        lambda: ends.web_server.shutdown(socket.SHUT_WR),
    ]
    for number, speak in enumerate(speeches, 1):
        time.sleep(0.3)
        speak()
        wait_until(partial(lambda number: len(heard) == number, number))
    listener.join(PATIENCE)
    assert heard == ["keep", "add", "stop"]
    assert seconds[0] < 0.2, "it did not sleep"


def test_what_comes_just_before_it_goes_to_sleep_is_not_slept_through(ends: Ends) -> None:
    looks = ends.inbox.empty
    late = [("keep", 1)]

    def looks_and_is_told_something() -> bool:
        is_empty = looks()
        if late:
            ends.inbox.put(late.pop())
        return is_empty

    ends.inbox.empty = looks_and_is_told_something  # type: ignore[method-assign]
    found: list[tuple[str, Any]] = []
    threading.Thread(target=lambda: found.append(ends.inbox.get()), daemon=True).start()
    wait_until(lambda: found == [("keep", 1)])


def test_nothing_is_lost_between_threads_and_the_socket(ends: Ends) -> None:
    """Three threads speak in bursts while one listens that often finds nothing."""
    count = 3000

    def put(name: str) -> None:
        for number in range(count):
            ends.inbox.put((name, number))
            if number % 7 == 0:
                time.sleep(0)

    def say() -> None:
        for number in range(count):
            ends.say(add(number))
            if number % 50 == 0:
                time.sleep(0.0005)

    speakers = [threading.Thread(target=put, args=("a",)), threading.Thread(target=put, args=("b",))]
    speakers.append(threading.Thread(target=say))
    heard: dict[str, list[int]] = {"a": [], "b": [], "add": []}

    def listen() -> None:
        while sum(map(len, heard.values())) < 3 * count:
            verb, item = ends.inbox.get()
            heard[verb].append(number_of((verb, item)) if verb == "add" else item)

    listener = threading.Thread(target=listen, daemon=True)
    for thread in (listener, *speakers):
        thread.start()
    listener.join(PATIENCE)
    assert {name: len(numbers) for name, numbers in heard.items()} == dict.fromkeys(heard, count)
    assert all(numbers == list(range(count)) for numbers in heard.values())
