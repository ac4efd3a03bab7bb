"""Messages over a byte stream: each one's length, then its bytes."""

import socket
import struct
from collections.abc import Iterator

_LENGTH = struct.Struct("<Q")
PIECE = 1 << 16  # bytes that are taken from a socket at once


def framed(message: bytes) -> bytes:
    """What is sent for a message."""
    return _LENGTH.pack(len(message)) + message


class Frames:
    """Puts together what has arrived in pieces."""

    def __init__(self) -> None:
        self._arrived = bytearray()

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The messages that are whole with this piece, in order."""
        self._arrived += piece
        start = 0
        while len(self._arrived) - start >= _LENGTH.size:
            begin = start + _LENGTH.size
            end = begin + _LENGTH.unpack_from(self._arrived, start)[0]
            if end > len(self._arrived):
                break
            yield bytes(memoryview(self._arrived)[begin:end])
            start = end
        del self._arrived[:start]


def messages_of(link: socket.socket) -> Iterator[bytes]:
    """What arrives at a socket that blocks, until the other end is closed."""
    frames = Frames()
    while True:
        try:
            piece = link.recv(PIECE)
        except OSError:  # as when the other process was killed
            return
        if not piece:
            return
        yield from frames.feed(piece)
