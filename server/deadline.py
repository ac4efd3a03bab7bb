"""How long a request may take, as its client says."""

from collections.abc import Iterable

from server.errors import FieldError, shown

HEADER = "x-request-timeout-ms"
MOST_MS = 600_000


def timeout_seconds(headers: Iterable[tuple[bytes, bytes]], default_ms: int) -> float:
    """The time that a request may take, from its arrival.

    Args:
        headers: names in lower case, and values, as ASGI gives them.
        default_ms: when the header is absent.

    Raises:
        FieldError: the header is no whole number from 1 to MOST_MS.
    """
    for name, value in headers:
        if name == HEADER.encode():
            text = value.decode("latin-1").strip()
            if not (text.isascii() and text.isdigit() and len(text) <= 7 and 1 <= int(text) <= MOST_MS):
                raise FieldError(
                    f"{HEADER}: must be a whole number of milliseconds from 1 to {MOST_MS} (got {shown(text)}).",
                    param=HEADER,
                )
            return int(text) / 1000
    return default_ms / 1000
