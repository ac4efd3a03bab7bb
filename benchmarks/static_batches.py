"""Static batches, as servers make them that know nothing of state: a batch is read, and stepped until its longest ends.

Every row takes every step, those that have all their tokens too; nobody gets an answer before all do. Prompts are read
in one padded call. The runners, the sampler and the text are the engine's own, so nothing differs but the schedule.
"""

from collections.abc import Sequence
from time import perf_counter

import numpy as np

from benchmarks.generation_workload import Ask
from benchmarks.serving.record import Record
from models.bundle import Bundle
from models.decoding.detokenizer import Detokenizer, TokenTexts
from models.decoding.options import GenerationOptions
from models.decoding.sampler import Sampler
from models.decoding.sampling_rows import SamplingRows, sampling_row
from runtime.opening import CPU, open_set


class StaticBatches:
    """Answers requests a batch at a time.

    Args:
        bundle: a language model that has the graph set.
        set_name: such as fp32.
        batch: requests in a batch.
    """

    def __init__(self, bundle: Bundle, set_name: str, batch: int) -> None:
        opened = open_set(CPU, bundle, set_name)
        self._steps, self._sequences = opened.steps(2 * batch), opened.sequences()
        self._tokenizer = bundle.tokenizer
        self._texts = TokenTexts(bundle.tokenizer.token_bytes)
        self._sampler = Sampler(bundle.tokenizer.end_id)
        self._state_width = bundle.record.state_width

    def answer(self, asks: Sequence[Ask]) -> list[str]:
        """The texts of a batch, when the longest is done; row i with seed i."""
        prompts = [self._tokenizer.encode(ask.prompt) for ask in asks]
        num_rows, num_steps = len(asks), max(ask.max_tokens for ask in asks)
        states = self._read([prompt[:-1] for prompt in prompts])
        for slot, state in enumerate(states):
            self._steps.put(slot, state)
        options = [GenerationOptions(max_tokens=ask.max_tokens) for ask in asks]
        rows = [
            sampling_row(each, seed=seed, choice=0, position=len(prompt))
            for seed, (each, prompt) in enumerate(zip(options, prompts, strict=True))
        ]
        sampling, in_place = SamplingRows(np.concatenate(rows)), np.arange(num_rows)
        tokens = np.array([prompt[-1] for prompt in prompts], np.int64)
        chosen = np.empty((num_steps, num_rows), np.int64)
        for step in range(num_steps):
            tokens = self._sampler.choose(self._steps.step(tokens, in_place), sampling)
            sampling.advance()
            chosen[step] = tokens
        return [self._text(chosen[: ask.max_tokens, row].tolist()) for row, ask in enumerate(asks)]

    def closed_loop(self, asks: Sequence[Ask], batch: int) -> list[Record]:
        """As many callers as a batch has rows, who ask again together: batch after batch until all are answered.

        A caller's request is due when the batch before has been answered, which is also when it is begun.
        """
        records: list[Record] = []
        for start in range(0, len(asks), batch):
            some = asks[start : start + batch]
            began = perf_counter()
            texts = self.answer(some)
            ended = perf_counter()
            records += [
                Record(began, began, end=ended, prompt_tokens=len(ask.prompt), output_tokens=len(text), status=200)
                for ask, text in zip(some, texts, strict=True)
            ]
        return records

    def _read(self, prompts: Sequence[Sequence[int]]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        """The states after these tokens, at least one each, float32 [n, D], in one padded call."""
        lengths = np.array([len(prompt) for prompt in prompts], np.int32)
        ids = np.zeros((len(prompts), lengths.max()), np.int64)
        for row, prompt in zip(ids, prompts, strict=True):
            row[: len(prompt)] = prompt
        zeros = np.zeros((len(prompts), self._state_width), np.float32)
        return self._sequences.run("advance", {"ids": ids, "lengths": lengths, "state": zeros})["new_state"]

    def _text(self, tokens: list[int]) -> str:
        detokenizer = Detokenizer(self._texts)
        return "".join([*(detokenizer.push(token) for token in tokens), detokenizer.finish()])
