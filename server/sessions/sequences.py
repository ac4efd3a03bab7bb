"""Sequences that clients name themselves (/v2): the state of each between its calls.

Belongs to the event loop. Knows no HTTP. They are kept like sessions, in a store of their own: within budgets of number
and bytes, a client's own going first, and expire unused. Calls of one sequence take turns in the order in which they
came. A call that fails or is cancelled leaves its sequence as it was.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.frames import Row
from server.endpoint import LoadedModel
from server.errors import FieldError, SessionNotFoundError
from server.metrics import Metrics
from server.sessions.point import Point
from server.sessions.store import REASONS, Session, SessionStore, Words
from server.settings import Settings

State = NDArray[np.float32]
_WORDS = Words("Sequence", "Begin it with sequence_start.", "RNNSERVE_MAX_SEQUENCES", "RNNSERVE_SEQUENCE_BYTES")


@dataclass(frozen=True)
class SequenceUse:
    """What a call does with a sequence, or a session.

    Attributes:
        state: float32 [D], where it stands.
        check: called with the number of frames that are to be read; raises FieldError where they are too many.
        finish: called at the end with the new state, float32 [D], and what was read.
        first: the first frame that a session has read, as a row of one; None before it, and of sequences.
        num_read: how many it has read.
    """

    state: State
    check: Callable[[int], None]
    finish: Callable[[State, Row], None]
    first: Row | None = None
    num_read: int = 0


class Sequences(SessionStore):
    """All sequences of one app.

    Args:
        settings: budgets.
        metrics: where they are counted.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        evictions = {reason: metrics.sequence_evictions.labels(reason) for reason in REASONS}
        super().__init__(
            settings.max_sequences,
            settings.sequence_bytes,
            0,
            lambda reason: evictions[reason].inc(),
            lambda: time.monotonic(),
            lambda: time.time(),
            _WORDS,
        )
        metrics.sequences.set_function(lambda: len(self.all()))
        metrics.sequence_bytes.set_function(lambda: self.num_bytes)
        self._idle_seconds = settings.sequence_idle_seconds
        self._turns: dict[str, tuple[asyncio.Lock, int]] = {}  # with how many calls hold it or wait for it

    @contextlib.asynccontextmanager
    async def using(
        self, model: LoadedModel, sequence_id: int | str, owner: str, client: str, *, is_start: bool, is_end: bool
    ) -> AsyncIterator[SequenceUse]:
        """Use a sequence, once all earlier calls of it are over.

        Args:
            model: the sequence's; another model's of the same id is another one.
            sequence_id: the client's; 1 and "1" are two.
            owner: whose ids these are, where clients have keys.
            client: who has the sequence made.
            is_start: begin it, anew if it is there.
            is_end: forget it afterwards.

        Raises:
            FieldError: it is not there, and this call is not its start.
            OverloadedError: there is no room for one more.
        """
        key = " ".join([model.id, json.dumps(sequence_id), *([owner] if owner else [])])
        async with self._turn(key):
            session, is_new = self._begun(key, model, client, is_start=is_start)
            is_finished = False

            def finish(state: State, _: Row) -> None:
                nonlocal is_finished
                is_finished = True
                self.give_back(session, Point(np.zeros(0, np.int32), state))
                if is_end:
                    self._drop_if_there(key, session)

            state = np.zeros(model.state_width, np.float32) if is_start else session.point.row
            try:
                yield SequenceUse(state, lambda _: None, finish)
            finally:
                if not is_finished:
                    self.give_back(session)
                    if is_new:
                        self._drop_if_there(key, session)

    def forget(self, model: LoadedModel) -> None:
        """Drop the sequences of a model that no call uses."""
        for session in self._idle():
            if session.model == model.id:
                self._drop(session)

    def _begun(self, key: str, model: LoadedModel, client: str, *, is_start: bool) -> tuple[Session, bool]:
        """The sequence, taken, and whether it was made for this."""
        try:
            return self.take(key), False
        except SessionNotFoundError as error:
            if not is_start:
                raise FieldError(error.message, param="sequence_id", code=error.code) from None
        self.add(key, model.id, Point.beginning(model.state_width), self._idle_seconds, client)
        return self.take(key), True

    def _drop_if_there(self, key: str, session: Session) -> None:
        if self._sessions.get(key) is session:
            self._drop(session)

    @contextlib.asynccontextmanager
    async def _turn(self, key: str) -> AsyncIterator[Any]:
        """Hold the turn of a sequence; asyncio's locks are given in the order in which they were asked for."""
        lock, num_users = self._turns.get(key, (asyncio.Lock(), 0))
        self._turns[key] = lock, num_users + 1
        try:
            async with lock:
                yield
        finally:
            lock, num_users = self._turns[key]
            if num_users == 1:
                del self._turns[key]
            else:
                self._turns[key] = lock, num_users - 1
