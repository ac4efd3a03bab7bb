"""The sampler's definition, written plainly for one row in float64: what models.decoding.sampler must agree with."""

import math
from collections.abc import Sequence

import numpy as np

from models.decoding.options import GenerationOptions


def penalised(
    logits: Sequence[np.float32], prompt: Sequence[int], answer: Sequence[int], options: GenerationOptions
) -> list[np.float32]:
    """The logits after penalties and biases, token by token, in float32."""
    changed = []
    repetition, frequency, presence = map(
        np.float32, (options.repetition_penalty, options.frequency_penalty, options.presence_penalty)
    )
    for token, logit in enumerate(logits):
        if token in prompt or token in answer:
            logit = logit / repetition if logit > 0 else logit * repetition
        logit = logit - frequency * np.float32(answer.count(token))
        logit = logit - (presence if token in answer else np.float32(0))
        changed.append(logit + np.float32(options.logit_bias.get(token, 0)))
    return changed


def probabilities(logits: Sequence[float], options: GenerationOptions) -> list[float]:
    """The distribution that one row is sampled from; for temperature 0 all on one token."""
    ranked = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    if options.temperature == 0:
        return [float(i == ranked[0]) for i in range(len(logits))]
    best = logits[ranked[0]]
    weight = [math.exp((x - best) / options.temperature) for x in logits]
    kept = ranked[: options.top_k] if options.top_k else ranked
    if options.top_p < 1:
        wanted = options.top_p * sum(weight[i] for i in kept)
        mass, nucleus = 0.0, []
        for i in kept:
            if mass >= wanted:
                break
            nucleus.append(i)
            mass += weight[i]
        kept = nucleus
    kept = [i for i in kept if weight[i] >= options.min_p]
    total = sum(weight[i] for i in kept)
    return [weight[i] / total if i in kept else 0.0 for i in range(len(logits))]


def choose(logits: Sequence[float], options: GenerationOptions, uniform: float) -> int:
    """The token at the uniform number."""
    mass = 0.0
    chances = probabilities(logits, options)
    for i, chance in enumerate(chances):
        mass += chance
        if mass > uniform:
            return i
    return max(i for i, chance in enumerate(chances) if chance > 0)
