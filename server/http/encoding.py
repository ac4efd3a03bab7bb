"""Compressed bodies (Content-Encoding), unpacked piece by piece as they come, and never past a limit."""

import asyncio
import zlib

from server.errors import BadRequestError, UnsupportedMediaTypeError, shown

ENCODINGS = ("gzip", "deflate")
_PIECE = 64 << 10  # bytes that are unpacked at once on the event loop; it takes a fraction of a millisecond
_WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}  # as zlib names what comes before the data


def encoding_of(header: str | None) -> str | None:
    """The encoding that a Content-Encoding header names, in our word for it; None for none.

    Raises:
        UnsupportedMediaTypeError: it is none of ENCODINGS, or there are several.
    """
    name = (header or "").strip().lower()
    if name in ("", "identity"):
        return None
    name = name.removeprefix("x-")
    if name not in ENCODINGS:
        raise UnsupportedMediaTypeError(
            f"The body's content-encoding is {shown(header)}; {' and '.join(ENCODINGS)} are read, one of them. Send it "
            "so, or without content-encoding.",
            code="encoding_unsupported",
            headers={"accept-encoding": ", ".join(ENCODINGS)},
        )
    return name


class Unpacker:
    """Unpacks one body.

    Args:
        encoding: one of ENCODINGS.
    """

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._stream = zlib.decompressobj(_WINDOW_BITS[encoding])

    async def unpack(self, packed: bytes, most: int) -> bytes:
        """What some more bytes unpack to, of it no more than `most` bytes: then the rest is lost.

        Raises:
            BadRequestError: they are not of the encoding.
        """
        found = self._unpack(packed, min(most, _PIECE))
        rest = self._stream.unconsumed_tail
        if len(found) == _PIECE < most and (rest or not self._stream.eof):
            found += await asyncio.to_thread(self._unpack, rest, most - len(found))
        if self._stream.unused_data:
            raise self._wrong("bytes follow its end")
        return found

    def finish(self) -> None:
        """The body is over. Raises BadRequestError: it is not whole."""
        if not self._stream.eof:
            raise self._wrong("it ends too early")

    def _unpack(self, packed: bytes, most: int) -> bytes:
        try:
            return self._stream.decompress(packed, most)
        except zlib.error as error:
            raise self._wrong(str(error).rpartition(": ")[2]) from None

    def _wrong(self, why: str) -> BadRequestError:
        return BadRequestError(f"The body is not {self._encoding}: {why}.", code="encoding_invalid")
