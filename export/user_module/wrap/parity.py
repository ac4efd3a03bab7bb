"""How far a wrapped model's graphs are from the user's own forward, on ragged batches and along whole answers."""

import numpy as np
from numpy.typing import NDArray

from export.parity.errors import Errors
from export.user_module.wrap.classifier import ClassifierAnswers
from export.user_module.wrap.consistency import LONG_SHAPES, SHAPES, forced, ragged_texts, unpadded, within
from export.user_module.wrap.language_model import LanguageModelAnswers
from export.user_module.wrap.translator import TranslatorAnswers
from runtime.padding import padded
from runtime.runner import Array, AttentionStepRunner, SequenceRunner

Floats = NDArray[np.float32]

NUM_TURNS = 3  # texts read one after another, each from the state that the last one left
NUM_TARGETS = 12


def language_model_errors(
    runner: SequenceRunner, answers: LanguageModelAnswers, vocab_size: int, state_width: int, *, has_score: bool
) -> dict[str, float]:
    """Logits and states, from zeros and from states that text leads to.

    Returns:
        worst_error, mean_error, argmax_agreement.
    """
    errors = Errors()
    agreements = []
    for seed in range(10, 10 + NUM_TURNS):
        for texts in ragged_texts(vocab_size, seed, SHAPES if seed > 10 else (*SHAPES, *LONG_SHAPES)):
            ids, lengths = unpadded(texts)
            state = np.zeros((len(ids), state_width), np.float32)
            for _ in range(2):
                logits, new_state, positions = answers.answer(ids, lengths, state)
                inputs: dict[str, Array] = {"ids": ids, "lengths": lengths, "state": state}
                advanced = runner.run("advance", inputs)
                errors.add(advanced["logits"], logits)
                errors.add(advanced["new_state"], new_state)
                agreements.append(advanced["logits"].argmax(-1) == logits.argmax(-1))
                if has_score and positions is not None:
                    scored = runner.run("score", inputs)
                    is_valid = np.arange(ids.shape[1]) < lengths[:, None]
                    errors.add(scored["logits"][is_valid], positions[:, : ids.shape[1]][is_valid])
                    errors.add(scored["new_state"], new_state)
                state = new_state
    return _figures(errors, agreements)


def translator_errors(
    runner: SequenceRunner, step: AttentionStepRunner, answers: TranslatorAnswers, vocab_size: int
) -> dict[str, float]:
    """Memory, keys, states, logits and attention of every target step; as language_model_errors."""
    errors = Errors()
    agreements = []
    generator = np.random.default_rng(5)
    for texts in ragged_texts(vocab_size, 10, (*SHAPES, *LONG_SHAPES)):
        ids, lengths = padded(texts)
        targets = generator.integers(vocab_size, size=(len(texts), NUM_TARGETS))
        encoded, logits, attention, last = answers.translate(ids[:, : lengths.max()].copy(), lengths, targets)
        found = runner.run("encode", {"ids": ids, "lengths": lengths})
        for row, rows in enumerate(forced(step, found, lengths, targets)):
            length = int(lengths[row])
            for name in ("memory", "keys"):
                errors.add(found[name][row, :length], encoded[name][row, :length])
            errors.add(found["state"][row], encoded["state"][row])
            errors.add(rows["logits"], logits[row])
            errors.add(rows["attention"][:, :length], attention[row, :, :length])
            errors.add(rows["state"], last[row])
            agreements.append(rows["logits"].argmax(-1) == logits[row].argmax(-1))
    return _figures(errors, agreements)


def classifier_errors(runner: SequenceRunner, answers: ClassifierAnswers, vocab_size: int) -> dict[str, float]:
    """Logits; as language_model_errors."""
    errors = Errors()
    agreements = []
    for texts in ragged_texts(vocab_size, 10, within((*SHAPES, *LONG_SHAPES), answers.longest)):
        ids, lengths = padded(texts)
        expected = answers.classify(ids[:, : lengths.max()].copy(), lengths)
        found = runner.run("classify", {"ids": ids, "lengths": lengths})["logits"]
        errors.add(found, expected)
        agreements.append(found.argmax(-1) == expected.argmax(-1))
    return _figures(errors, agreements)


def _figures(errors: Errors, agreements: list[NDArray[np.bool_]]) -> dict[str, float]:
    return {
        "worst_error": errors.worst,
        "mean_error": errors.mean,
        "argmax_agreement": float(np.concatenate(agreements).mean()),
    }
