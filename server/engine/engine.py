"""One loaded model's engine: a thread that schedules a call, runs it, and delivers what came of it, until stopped.

Token ids in, news in mailboxes out. Continuations turn tokens into text in this thread, because a stop string must end
a row before the next step; text of ready-made pieces costs a fraction of a microsecond per token. Knows no HTTP.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from export.backends.runner import SequenceRunner, StepRunner
from models.decoding.sampler import Sampler
from server.engine.batch import Batch
from server.engine.delivery import Delivery, Update
from server.engine.generation import Generation, Prompt
from server.engine.scheduler import Prefill, Row, Scheduler, Sequence, Step
from server.errors import ApiError, EngineError, UnavailableError

log = structlog.get_logger()


class Observer(Protocol):
    """Who counts what an engine does. Called in the engine's thread."""

    def prefilled(self, num_tokens: int, seconds: float) -> None:
        """A prefill call read so many prompt tokens."""

    def stepped(self, num_rows: int, seconds: float) -> None:
        """A step gave so many rows a token; choosing the tokens is in the time."""


class Engine:
    """Generates text for many requests at once.

    Args:
        name: the model's, for the thread and the log.
        steps: the live states; capacity at least 2 * max_rows. Used by the engine's thread alone.
        sequences: runs `advance`.
        state_width: D.
        end_id: the end token's id, or None.
        max_rows: rows stepped together.
        prefill_tokens: prompt tokens read in one call.
        prefill_share: share of the time for reading prompts while rows are being decoded.
        observer: who counts.
    """

    def __init__(
        self,
        name: str,
        steps: StepRunner,
        sequences: SequenceRunner,
        *,
        state_width: int,
        end_id: int | None,
        max_rows: int,
        prefill_tokens: int,
        prefill_share: float,
        observer: Observer,
    ) -> None:
        if steps.capacity < 2 * max_rows:
            raise ValueError(
                f"a step runner of {steps.capacity} slots cannot step {max_rows} rows; needs twice as many"
            )
        self._name = name
        self._sequences = sequences
        self._initial_state = np.zeros(state_width, np.float32)
        self._batch = Batch(steps, Sampler(end_id), self._initial_state)
        self._scheduler: Scheduler[Prompt] = Scheduler(
            max_rows=max_rows, prefill_tokens=prefill_tokens, prefill_share=prefill_share
        )
        self._observer = observer
        self._takers: list[tuple[Callable[[int], bool], bool]] = []  # of the rows of the last step
        self._commands: queue.SimpleQueue[tuple[str, Generation | None]] = queue.SimpleQueue()
        self._open: set[Generation] = set()
        self._lock = threading.Lock()  # of the next, so that what is put before it is set is seen after
        self._end: ApiError | None = None  # why the thread takes no more requests
        self._delivery: Delivery
        self._thread = threading.Thread(target=self._run, name=f"engine {name}", daemon=True)

    @property
    def num_running(self) -> int:
        """Rows in the batch."""
        return self._scheduler.num_running

    @property
    def num_waiting(self) -> int:
        """Rows that wait for their prompt to be read or for a place."""
        return self._scheduler.num_waiting

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start the thread. News go to mailboxes of this loop."""
        self._delivery = Delivery(loop)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def submit(self, generation: Generation) -> None:
        """Take a request; its news will be in its mailbox.

        Raises:
            UnavailableError: the engine has been stopped.
            EngineError: the engine has ended by itself.
        """
        with self._lock:
            if self._end is not None:
                raise self._end.with_traceback(None)
            self._commands.put(("add", generation))

    def cancel(self, generation: Generation) -> None:
        """Drop a request, finished or not: its rows are free before the next call."""
        self._commands.put(("cancel", generation))

    def stop(self) -> None:
        """End the thread. Requests that are not finished fail with UnavailableError."""
        self._commands.put(("stop", None))
        self._thread.join()

    def _run(self) -> None:
        error: ApiError = EngineError("The engine has ended because of a bug; restart the server.")
        try:
            while self._obey_commands():
                self._run_call()
            error = UnavailableError("The server is shutting down; send the request again.", code="draining")
        except Exception as bug:
            log.critical("engine ended", model=self._name, exc_info=bug)
        finally:
            with self._lock:
                self._end = error
            while not self._commands.empty():
                verb, generation = self._commands.get()
                if verb == "add" and generation is not None:
                    self._open.add(generation)
            for generation in list(self._open):
                self._fail(generation, error)
            self._delivery.flush()

    def _run_call(self) -> None:
        """Schedule, run, deliver."""
        call = self._scheduler.schedule()
        if call is None:
            return
        started = time.perf_counter()
        try:
            if isinstance(call, Prefill):
                self._prefill(call)
            else:
                self._step(call)
        except Exception as error:
            self._fail_call(call, error)
        self._delivery.flush()
        self._scheduler.took(call, time.perf_counter() - started)

    def _obey_commands(self) -> bool:
        """Do what other threads asked for; waits when there is nothing else to do. False: stop."""
        is_idle = not (self._scheduler.num_running or self._scheduler.num_waiting)
        while is_idle or not self._commands.empty():
            verb, generation = self._commands.get()
            if generation is None:
                return False
            if verb == "add":
                self._add(generation)
            else:
                self._forget(generation)
            is_idle = False
        return True

    def _add(self, generation: Generation) -> None:
        self._open.add(generation)
        for prompt in generation.prompts:
            sequence = Sequence(prompt, len(prompt.tokens), len(prompt.continuations), generation)
            generation.sequences.append(sequence)
            generation.num_open += sequence.num_rows
            self._scheduler.add(sequence)

    def _forget(self, generation: Generation) -> None:
        self._open.discard(generation)
        for sequence in generation.sequences:
            self._scheduler.cancel(sequence)

    def _prefill(self, call: Prefill[Prompt]) -> None:
        """Advance each chunk's state over its tokens, all in one call."""
        started = time.perf_counter()
        lengths = np.array([chunk.stop - chunk.start for chunk in call.chunks], np.int32)
        ids = np.zeros((len(lengths), lengths.max()), np.int64)
        prompts = [chunk.sequence.owner for chunk in call.chunks]
        for row, chunk, prompt in zip(ids, call.chunks, prompts, strict=True):
            row[: chunk.stop - chunk.start] = prompt.tokens[chunk.start : chunk.stop]
        states = [self._initial_state if prompt.state is None else prompt.state for prompt in prompts]
        outputs = self._sequences.run("advance", {"ids": ids, "lengths": lengths, "state": np.stack(states)})
        for prompt, state in zip(prompts, outputs["new_state"], strict=True):
            prompt.state = state.copy()
        self._observer.prefilled(int(lengths.sum()), time.perf_counter() - started)

    def _step(self, call: Step[Prompt]) -> None:
        """Give each row a token, and post what is new."""
        started = time.perf_counter()
        tokens = self._batch.step(call)
        self._observer.stepped(len(tokens), time.perf_counter() - started)
        if tokens.min() < 0:
            self._fail_not_finite(call, tokens)
        if call.is_rearranged:
            self._takers = [_taker(row) for row in call.rows]
        for row, (accept, is_streamed), token in zip(call.rows, self._takers, tokens.tolist(), strict=True):
            if token >= 0 and (accept(token) or is_streamed):
                self._tell(row)

    def _tell(self, row: Row[Prompt]) -> None:
        """Post what is new of a row, and free its place if it has ended."""
        if row.sequence.is_cancelled:  # its request failed in this step, by another of its rows
            return
        prompt = row.sequence.owner
        generation = prompt.generation
        continuation = prompt.continuations[row.choice]
        text = continuation.take()
        finish_reason = continuation.finish_reason
        if finish_reason is not None:
            self._scheduler.finish(row)
            generation.num_open -= 1
            if generation.num_open == 0:
                self._open.discard(generation)
        elif not text:
            return
        index = prompt.first_index + row.choice
        update = Update(index, text, finish_reason, continuation.stop_reason, continuation.num_tokens)
        self._delivery.post(generation.mailbox, update)

    def _fail_not_finite(self, call: Step[Prompt], tokens: NDArray[np.int64]) -> None:
        for i in np.flatnonzero(tokens < 0):
            message = "The model gave numbers that are not finite for this prompt; its weights may be damaged."
            self._fail(call.rows[i].sequence.owner.generation, EngineError(message))

    def _fail_call(self, call: Prefill[Prompt] | Step[Prompt], error: Exception) -> None:
        """The call failed: so do the requests in it, and no others."""
        log.error("engine call failed", model=self._name, call=type(call).__name__, exc_info=error)
        if isinstance(call, Step):
            self._batch.clear()
        sequences: Iterable[Sequence[Prompt]] = (
            [row.sequence for row in call.rows] if isinstance(call, Step) else [chunk.sequence for chunk in call.chunks]
        )
        for generation in {sequence.owner.generation for sequence in sequences}:
            message = "The model failed while it ran; other requests are not affected. Send it again."
            self._fail(generation, EngineError(message))

    def _fail(self, generation: Generation, error: ApiError) -> None:
        self._forget(generation)
        self._delivery.post(generation.mailbox, error)


def _taker(row: Row[Prompt]) -> tuple[Callable[[int], bool], bool]:
    """What takes a row's tokens, and whether its request wants to hear of each."""
    prompt = row.sequence.owner
    return prompt.continuations[row.choice].accept, prompt.generation.is_streamed
