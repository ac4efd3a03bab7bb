"""The translator's search written twice more, plainly: over everything that can come out, and with a beam in lists.

A model here is a function from a prefix (ids) to a row of logits and a row of attention, so nothing can be mixed up.
"""

import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.decoding.beam_search import LEAST_COVERAGE
from models.decoding.candidates import top_candidates
from models.decoding.options import TranslationOptions

Model = Callable[[tuple[int, ...]], tuple[NDArray[np.float32], NDArray[np.float32]]]
END = 0


class Found(NamedTuple):
    score: float
    tokens: tuple[int, ...]  # with the end token, if there is one


def log_probabilities(logits: NDArray[np.float32]) -> dict[int, float]:
    found = top_candidates(logits[None], len(logits))
    return dict(zip(found.ids[0].tolist(), found.log_probabilities[0].tolist(), strict=True))


def score(model: Model, tokens: tuple[int, ...], options: TranslationOptions) -> float:
    """The score of a whole sequence, from nothing but the sequence."""
    log_p, coverage = 0.0, np.zeros(len(model(())[1]))
    for i, token in enumerate(tokens):
        logits, attention = model(tokens[:i])
        log_p += log_probabilities(logits)[token]
        coverage += attention
    found: float = log_p / ((5 + len(tokens)) / 6) ** options.length_penalty
    if options.coverage_penalty:
        found += options.coverage_penalty * sum(math.log(min(max(x, LEAST_COVERAGE), 1.0)) for x in coverage.tolist())
    return found


def of_everything(model: Model, vocab_size: int, max_tokens: int, options: TranslationOptions) -> list[Found]:
    """The best of every sequence that can come out, best first."""
    others = [token for token in range(vocab_size) if token != END]
    outcomes = [(*ids, END) for length in range(max_tokens) for ids in itertools.product(others, repeat=length)] + list(
        itertools.product(others, repeat=max_tokens)
    )
    ranked = sorted((Found(score(model, tokens, options), tokens) for tokens in outcomes), key=lambda it: -it.score)
    return ranked[: 1 + options.alternatives]


def with_a_beam(model: Model, max_tokens: int, options: TranslationOptions) -> list[Found]:
    """Beam search as the module says it; prefixes are followed until none may still matter."""
    live: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    finished: list[Found] = []
    wanted = 1 + options.alternatives
    for length in range(1, max_tokens + 1):
        continuations = [
            (log_p + more, (*prefix, token))
            for log_p, prefix in live
            for token, more in sorted(log_probabilities(model(prefix)[0]).items())
        ]
        continuations.sort(key=lambda item: -item[0])  # stable: lower rows, then lower ids, come first
        if options.beam_size == 1:
            continuations = continuations[:1]
        going = [item for item in continuations if item[1][-1] != END]
        next_best = continuations.index(going[options.beam_size]) if len(going) > options.beam_size else None
        live = going[: options.beam_size]
        ended = [tokens for _, tokens in continuations[:next_best] if tokens[-1] == END]
        if length == max_tokens:
            ended += [tokens for _, tokens in live]
            live = []
        finished += [Found(score(model, tokens, options), tokens) for tokens in ended]
        finished.sort(key=lambda item: -item.score)  # stable: the one that was finished first stays ahead
        del finished[wanted:]
        if len(finished) == wanted:
            most = ((5 + max_tokens) / 6) ** options.length_penalty
            live = [item for item in live if item[0] / most > finished[-1].score]
        if not live:
            break
    return finished


def greedy(model: Model, max_tokens: int) -> tuple[int, ...]:
    tokens: tuple[int, ...] = ()
    while len(tokens) < max_tokens and END not in tokens:
        tokens = (*tokens, int(model(tokens)[0].argmax()))
    return tokens
