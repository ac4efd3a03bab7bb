"""One loaded model's engine: a thread that schedules a call, runs it, and delivers what came of it, until stopped.

Token ids in, news in mailboxes out. Continuations turn tokens into text in this thread, because a stop string must end
a row before the next step; text of ready-made pieces costs a fraction of a microsecond per token. Knows no HTTP.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Iterable
from typing import Protocol

import numpy as np
import structlog

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
        prefill_tokens: prompt tokens read between two steps.
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
        self._scheduler: Scheduler[Prompt] = Scheduler(max_rows=max_rows, prefill_tokens=prefill_tokens)
        self._observer = observer
        self._commands: queue.SimpleQueue[tuple[str, Generation | None]] = queue.SimpleQueue()
        self._open: set[Generation] = set()
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
            EngineError: the engine's thread has ended.
        """
        if not self.is_alive:
            raise EngineError(f"The engine of model {self._name} has ended; restart the server.")
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
        try:
            if isinstance(call, Prefill):
                self._prefill(call)
            else:
                self._step(call)
        except Exception as error:
            self._fail_call(call, error)
        self._delivery.flush()

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
            sequence = Sequence(prompt, len(prompt.tokens), len(prompt.continuations))
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
        tokens = self._batch.step(call).tolist()
        self._observer.stepped(len(tokens), time.perf_counter() - started)
        for row, token in zip(call.rows, tokens, strict=True):
            if not row.sequence.is_cancelled:  # by an earlier row of the same request, just now
                self._accept(row, token)

    def _accept(self, row: Row[Prompt], token: int) -> None:
        prompt = row.sequence.owner
        generation = prompt.generation
        if token < 0:
            message = "The model gave numbers that are not finite for this prompt; its weights may be damaged."
            self._fail(generation, EngineError(message))
            return
        continuation = prompt.continuations[row.choice]
        is_over = continuation.accept(token)
        if is_over:
            self._scheduler.finish(row)
            generation.num_open -= 1
            if generation.num_open == 0:
                self._open.discard(generation)
        elif not generation.is_streamed:
            return
        text = continuation.take()
        if text or is_over:
            update = Update(
                prompt.first_index + row.choice,
                text,
                continuation.finish_reason,
                continuation.stop_reason,
                continuation.num_tokens,
            )
            self._delivery.post(generation.mailbox, update)

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
