"""How long a text a user's forward takes: what fails only on long ones would fail in the server, one by one."""

import time
from collections.abc import Callable
from typing import Any

from models.errors import ExportError

LONGEST_CALL = 512  # tokens of a prompt that a server may read in one call, where inputs have no end

_FIRST = 64
_TIMEOUT = 1.0  # seconds; after a call that took longer no longer text is tried


def check_longest(
    who: str, call: Callable[[int], Any], most: int, advice: str, things: str = "texts", units: str = "tokens"
) -> None:
    """Try longer and longer texts, one row of random tokens each.

    Args:
        who: the user's method, for the message.
        call: tokens -> whatever; raises ExportError where the forward fails.
        most: tokens that the server may ask for.
        advice: the way round.
        things: what is read, for the message.
        units: what they consist of.

    Raises:
        ExportError: the forward fails at a length up to `most`; the message names the least such length.
    """
    taken, length = 1, min(_FIRST, most)
    while taken < most:
        begin = time.perf_counter()
        try:
            call(length)
        except ExportError as error:
            raise _failure(f"{who} takes {things}", units, call, (taken, length), error, most, advice) from error
        if time.perf_counter() - begin > _TIMEOUT:
            return
        taken, length = length, min(2 * length, most)


def _failure(
    what: str,
    units: str,
    call: Callable[[int], Any],
    between: tuple[int, int],
    error: ExportError,
    most: int,
    advice: str,
) -> ExportError:
    """The message for the least length that fails, between one that is taken and one that is not."""
    taken, failing = between
    while failing - taken > 1:
        middle = (taken + failing) // 2
        try:
            call(middle)
            taken = middle
        except ExportError as nearer:
            failing, error = middle, nearer
    return ExportError(
        f"{what} of up to {taken} {units} and fails at {failing}, but the server gives it up to {most} at "
        f"once: {error} {advice}"
    )
