"""What an engine in a process of its own is to do: what the web server says, and what the engine's own threads put."""

import os
import select
import socket
from collections import deque
from typing import Any
from weakref import WeakValueDictionary

from server.process.frames import PIECE, Frames
from server.process.messages import Codec, Command, Verb
from server.process.outbox import Address


class Inbox:
    """An engine's commands (see server.engine.engine.Commands).

    The engine's thread reads the socket itself, between two steps. A thread beside it that read the socket would have
    to be given a core first, and then Python's lock, while the others wait for theirs.

    Args:
        link: from the web server; blocking. Nothing may have arrived that is not to be read here.
        codec: of its messages.
    """

    def __init__(self, link: socket.socket, codec: Codec) -> None:
        self._link = link
        self._codec = codec
        self._frames = Frames()
        self._is_open = True
        self._commands: deque[tuple[str, Any]] = deque()
        self._requests: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self._is_waiting = False  # set by the engine's thread before it looks at the commands for the last time
        self._bell, self._button = os.pipe()  # wakes it
        self._poll = select.poll()
        for descriptor in (link.fileno(), self._bell):
            self._poll.register(descriptor, select.POLLIN)

    def put(self, item: tuple[str, Any]) -> None:
        """Add a command, in any thread."""
        self._commands.append(item)
        if self._is_waiting:
            os.write(self._button, b"\0")

    def empty(self) -> bool:
        """Whether there is nothing to do now. In the engine's thread, as `get`."""
        return not self._commands and not self._receive()

    def get(self) -> tuple[str, Any]:
        """The next command; waits for it."""
        while self.empty():
            self._is_waiting = True
            if not self._commands and self._bell in dict(self._poll.poll()):
                os.read(self._bell, PIECE)
            self._is_waiting = False
        return self._commands.popleft()

    def _receive(self) -> bool:
        """Take what has arrived, until there is a command; whether there are any now."""
        while self._is_open and not self._commands:
            try:
                piece = self._link.recv(PIECE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:  # as when the other process was killed
                piece = b""
            for message in self._frames.feed(piece):
                self._commands += self._said(self._codec.decode(message))
            if not piece:  # the other process has ended, or is about to
                self._is_open = False
                self._poll.unregister(self._link)
                self._commands.append(("stop", None))
        return bool(self._commands)

    def _said(self, command: Command) -> list[tuple[str, Any]]:
        """What the engine is to do for a command of the web server's."""
        if command.verb is Verb.STOP:
            return [("stop", None)]
        if command.verb is Verb.CANCEL:
            request = self._requests.get(command.number)
            return [] if request is None else [("cancel", request)]
        request = self._requests[command.number] = command.request
        request.mailbox = Address(command.number)
        return [("add", request)]
