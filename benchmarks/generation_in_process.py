"""The generation engine without HTTP: requests go straight into it and their answers come back on an event loop."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from time import perf_counter

import structlog

from benchmarks.generation_workload import Ask
from benchmarks.serving.record import Record
from models.decoding.continuation import Continuation
from models.decoding.options import GenerationOptions
from server.engine.engine import SWITCH_INTERVAL
from server.engine.generation.request import Generation
from server.engine.generation.update import Update
from server.loading import load_models
from server.metrics import Metrics
from server.served_model import ServedGeneration, served_model
from server.settings import Settings


class InProcess:
    """A served model, and callers in the same process.

    Args:
        served: the model with its engine, started.
    """

    def __init__(self, served: ServedGeneration) -> None:
        self._served = served

    async def answer(self, ask: Ask, seed: int) -> Update:
        """Answer a request: the text whole, as it would be sent."""
        tokenizer = self._served.model.tokenizer
        options = GenerationOptions(max_tokens=ask.max_tokens)
        generation = Generation(options, seed, is_streamed=False)
        continuation = Continuation(self._served.token_texts, options, None, tokenizer.end_id)
        generation.add_prompt(tokenizer.encode(ask.prompt), [continuation])
        self._served.engine.submit(generation)
        while True:
            for update in await generation.mailbox.take():
                if update.finish_reason is not None:
                    return update

    async def closed_loop(
        self, ask: Callable[[int], Ask], num_callers: int, seconds: float, warm_up: float, at_once: int | None = None
    ) -> list[Record]:
        """Callers that each ask again when they are answered; as benchmarks.serving.loops.closed_loop.

        Args:
            ask: makes the requests, by number.
            num_callers: how many.
            seconds: how long is measured.
            warm_up: seconds of the same before.
            at_once: how many requests the engine is given together; the others wait outside. None: all.

        Returns:
            The requests that ended in the `seconds` after the warm-up.
        """
        number = 0
        records: list[Record] = []
        door = asyncio.Semaphore(at_once or num_callers)
        started = perf_counter() + warm_up
        deadline = started + seconds

        async def caller() -> None:
            nonlocal number
            while (now := perf_counter()) < deadline:
                request = ask(number)
                record = Record(now, now, prompt_tokens=len(request.prompt), status=200)
                number += 1
                async with door:
                    if perf_counter() >= deadline:
                        return
                    record.output_tokens = (await self.answer(request, seed=number)).num_tokens
                record.end = perf_counter()
                if started <= record.end < deadline:
                    records.append(record)

        await asyncio.gather(*(caller() for _ in range(num_callers)))
        return records


@contextlib.asynccontextmanager
async def in_process(
    store: Path, model: str, set_name: str | None = None, cache_bytes: int | None = None
) -> AsyncIterator[InProcess]:
    """A served model in this process, with the server's settings, until the block is left.

    Args:
        store: where the model is.
        model: its name.
        set_name: the graph set; None: the server's choice.
        cache_bytes: of the prefix cache; None: the default.

    Raises:
        RnnserveError: it cannot be loaded.
    """
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    more = {} if cache_bytes is None else {"prefix_cache_bytes": cache_bytes}
    settings = Settings.model_validate({"store": store, "models": (model,), "set": set_name, **more})
    try:
        (loaded,) = await asyncio.to_thread(load_models, settings)
    finally:
        structlog.reset_defaults()
    served = await served_model(loaded, settings, Metrics())
    assert isinstance(served, ServedGeneration), "a language model"
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        yield InProcess(served)
    finally:
        sys.setswitchinterval(interval)
        await asyncio.to_thread(served.engine.stop)
