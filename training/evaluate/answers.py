"""A bundle's answers through the serving engine: loaded as the server loads it, asked in this process without HTTP.

Each text goes through the same lanes, batches, graphs and searches as a request does. What a request is checked for
(lengths, permits) is not: a long text is read whole. The choice of the graph set is not the server's, which times the
sets on this machine: a figure must not depend on that.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.bundle import RECORD, Bundle
from models.decoding.continuation import Continuation
from models.decoding.options import GenerationOptions, TranslationOptions
from models.errors import BundleNotFoundError, ConfigError
from models.store import Store
from runtime.frames import Row
from runtime.opening import CPU, SETS
from runtime.runner import Array
from server.api.translate import reader_of
from server.endpoint import Endpoint, LoadedModel
from server.engine.classification.request import TextBatch
from server.engine.generation.request import Generation
from server.engine.request import EngineRequest
from server.engine.sequence.request import FramesOutput, FramesRequest
from server.engine.translation.request import Translation
from server.loading import load_models
from server.metrics import Metrics
from server.settings import Settings
from server.tasks import BY_NAME
from server.text.passage import Passage

T = TypeVar("T")
_AT_ONCE = 256  # items of a request
_STOP_SECONDS = 30.0
_PREFILL = 512  # tokens of a call that reads a text
_PIECE = 4 * _PREFILL  # tokens that are scored one after the other


class ServedBundle:
    """A bundle that answers.

    Args:
        bundle: its folder is STORE/NAME/VERSION.
        set_name: one of the CPU's sets; by default int8 where the bundle has it.

    Attributes:
        bundle: the same.
        set_name: the set that runs.

    Raises:
        RnnserveError: it cannot be loaded.
    """

    def __init__(self, bundle: Bundle, set_name: str | None = None) -> None:
        here = [name for name in SETS[CPU] if name in bundle.graph_sets]
        if set_name is not None and set_name not in here:
            raise ConfigError(f"{bundle.id} has the graph sets {', '.join(here) or 'none'}, not --set {set_name}.")
        if not here:
            raise BundleNotFoundError(
                f"{bundle.path} has no graph set that a CPU runs. Build them: python -m export build {bundle.path}"
            )
        self.bundle = bundle
        self.set_name = set_name or here[0]
        folder = bundle.path.resolve()
        self._settings = Settings(
            store=folder.parents[1],
            models=(f"{folder.parent.name}/{folder.name}",),
            set=self.set_name,
            backend=CPU,
            prefix_cache_bytes=0,
        )
        (self._model,) = load_models(self._settings, BY_NAME)

    @property
    def model(self) -> LoadedModel:
        """As the server has it."""
        return self._model

    def logits(self, texts: Sequence[list[int]]) -> list[NDArray[np.float32]]:
        """Of each text, ids [length], what its graph gives: [C], or [length, C] of a tagger."""

        async def ask(endpoint: Endpoint) -> list[NDArray[np.float32]]:
            found: list[NDArray[np.float32]] = []
            for part in _parts(texts):
                request = TextBatch()
                for ids in part:
                    request.add_text(ids)
                found += [result.logits for result in await _outputs(endpoint, request, len(part))]
            return found

        return self._asked(ask)

    def translations(self, texts: Sequence[str], options: TranslationOptions, *, is_split: bool) -> list[str]:
        """The best translation of each text.

        Args:
            texts: sources.
            options: the search.
            is_split: whether a text is split into sentences, and what the model cannot know is copied, as
                /v1/translate does by default; otherwise the model reads it whole and as it is.
        """

        async def ask(endpoint: Endpoint) -> list[str]:
            end_id = endpoint.model.tokenizer.end_id
            assert end_id is not None, "loading has checked it"
            reader = reader_of(endpoint, self._settings.max_sentence_tokens, replaces_unknown=options.replace_unknown)
            longest = endpoint.model.experience.longest_target_tokens
            found: list[str] = []
            for part in _parts(texts):
                passages = [Passage(text, reader, is_split=is_split) for text in part]
                read = [sentence for passage in passages for sentence in passage.sentences if sentence.read]
                needs_attention = reader.unknown_id is not None or any(sentence.needs_attention for sentence in read)
                request = Translation(options, 0, False, needs_attention)
                for sentence in read:
                    request.add_source([*sentence.ids, end_id], end_id, longest)
                best = iter([output.results[0] for output in await _outputs(endpoint, request, len(read))])
                for passage in passages:
                    pieces = []
                    for number, sentence in enumerate(passage.sentences):
                        pieces.append(passage.gap(number))
                        is_read = bool(sentence.read)
                        pieces.append(
                            passage.rendered(sentence, next(best)).text if is_read else passage.copied(sentence)
                        )
                    found.append("".join([*pieces, passage.gap(len(passage.sentences))]))
            return found

        return self._asked(ask)

    def log_probabilities(self, streams: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float64]]:
        """Of each stream of ids, float64 [length - 1]: ln p of every token but the first, given all before it.

        As scored prompts (/v1/completions with echo and logprobs), from the state of a new text on. A long stream is
        scored in pieces side by side, each from the state after those before it, as a session goes on.
        """
        pieces = [
            (number, start, min(len(ids), start + _PIECE + 1))
            for number, ids in enumerate(streams)
            for start in range(0, max(1, len(ids) - 1), _PIECE)
        ]
        states = {number: self._states(ids) for number, ids in enumerate(streams) if len(ids) > _PIECE + 1}

        async def ask(endpoint: Endpoint) -> list[list[NDArray[np.float64]]]:
            found: list[list[NDArray[np.float64]]] = [[] for _ in streams]
            for part in _parts(pieces):
                request = Generation(_scoring(_PIECE), 0, False)
                for number, start, stop in part:
                    ids = streams[number]
                    # without an end token, after which the stream goes on
                    row = Continuation(endpoint.token_texts, _scoring(stop - start - 1), None, None)
                    if start:
                        state = states[number][start // _PIECE]
                        request.add_resumed_prompt(ids[: start + 1], row, state, start, keeps_last_state=False)
                    else:
                        request.add_prompt([int(ids[0])], [row])
                    request.items[-1].given = ids[start + 1 : stop]
                for (number, _, _), output in zip(part, await _outputs(endpoint, request, len(part)), strict=True):
                    assert output.logprobs is not None, "they were asked for"
                    found[number].append(output.logprobs.found.logprobs)
            return found

        return [np.concatenate(found) for found in self._asked(ask)]

    def _states(self, ids: NDArray[np.int64]) -> list[NDArray[np.float32]]:
        """The states before each piece of a stream, float32 [D], by the graph that reads prompts."""
        runner = self._model.opened.sequences()
        found = [np.zeros(self._model.state_width, np.float32)]
        for start in range(0, len(ids) - 1, _PREFILL):
            part = np.ascontiguousarray(ids[None, start : start + _PREFILL])
            inputs: dict[str, Array] = {
                "ids": part,
                "lengths": np.array([part.shape[1]], np.int32),
                "state": found[-1][None],
            }
            found.append(runner.run("advance", inputs)["new_state"][0].copy())
        return found[:: _PIECE // _PREFILL]

    def frames(self, rows: Sequence[tuple[Row, int, NDArray[np.float32]]]) -> list[FramesOutput]:
        """What a model of frames, or a forecaster, gives for rows: their inputs, length and state, float32 [D]."""

        async def ask(endpoint: Endpoint) -> list[FramesOutput]:
            found: list[FramesOutput] = []
            for part in _parts(rows):
                request = FramesRequest()
                for inputs, length, state in part:
                    request.add_row(inputs, length, state)
                found += await _outputs(endpoint, request, len(part))
            return found

        return self._asked(ask)

    def _asked(self, ask: Callable[[Endpoint], Awaitable[T]]) -> T:
        """What `ask` gives, with an engine that runs meanwhile."""

        async def run() -> T:
            endpoint = Endpoint(self._model, BY_NAME[self._model.task], self._settings, Metrics())
            try:
                return await ask(endpoint)
            finally:
                await asyncio.to_thread(endpoint.engine.stop, _STOP_SECONDS)

        return asyncio.run(run())


def open_bundle(reference: str, store: Path | None = None) -> Bundle:
    """A bundle by its folder, or by NAME or NAME/VERSION in a store.

    Args:
        reference: of the bundle.
        store: the store; None: that of the server's settings.

    Raises:
        BundleError: there is none, or it is damaged.
    """
    folder = Path(reference)
    if (folder / RECORD).is_file():
        return Bundle(folder)
    return Bundle(Store(Settings().store if store is None else store).resolve(reference))


def _scoring(num_tokens: int) -> GenerationOptions:
    """Options under which tokens are only scored; a request of so many could not be sent."""
    return GenerationOptions(logprobs=0).model_copy(update={"max_tokens": num_tokens})


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + _AT_ONCE] for start in range(0, len(items), _AT_ONCE))


async def _outputs(endpoint: Endpoint, request: EngineRequest[Any, Any], count: int) -> list[Any]:
    """The outputs of a request, one for each item, in the items' order."""
    found: list[Any] = []
    if count:
        endpoint.engine.submit(request)
    while len(found) < count:
        found += await request.outputs.get()
    return sorted(found, key=lambda output: output[0])
