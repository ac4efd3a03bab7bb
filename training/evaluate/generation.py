"""A language model: how likely it finds a text, as nats per token and character, and perplexity.

The state is carried from the first token to the last, as in the figures of training. `windows` are pieces of the text
that are each read from the state of a new text on: what a request without a prompt before it meets, and items that an
interval and a comparison can be made of.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from models.tokenizer import Tokenizer
from training.evaluate.answers import ServedBundle
from training.evaluate.evaluation import Evaluation
from training.evaluate.examples import Examples, Text
from training.evaluate.resampling import SEED, Comparison, Figure, Floats, figure, paired_bootstrap
from training.evaluate.sentiment import ratio

CHARACTERS = 256  # of a window


@dataclass(frozen=True, kw_only=True)
class GenerationEvaluation(Evaluation):
    """See Evaluation.

    Attributes:
        of_windows: [windows, 3], the nats, tokens and characters of each; None without windows.
    """

    of_windows: Floats | None

    def compared(self, other: "GenerationEvaluation") -> list[Comparison]:
        """The paired bootstrap over windows; none without them, for the tokens of one text are no items."""
        if self.of_windows is None or other.of_windows is None:
            return []
        name = "window_nats_per_character"  # not per token: the two may have other tokens
        return [paired_bootstrap(name, self.of_windows[:, ::2], other.of_windows[:, ::2], ratio)]


def evaluate_generation(
    served: ServedBundle, examples: Examples[Text], num_windows: int, *, is_whole: bool = True
) -> GenerationEvaluation:
    """Measure a language model.

    Args:
        served: the bundle.
        examples: one text, or the documents of a data set.
        num_windows: windows that are drawn, with a fixed seed; 0: none.
        is_whole: whether the whole text is read, too.

    Raises:
        DataError: the text is too short.
    """
    (text,) = examples.items
    tokenizer = served.model.tokenizer
    figures: dict[str, Figure] = {}
    sizes: dict[str, int] = {}
    if is_whole:
        ids = stream(text, tokenizer)
        if len(ids) < 2:
            raise DataError(f"{examples.name} gives {len(ids)} tokens; 2 at least are needed to score one of them.")
        (found,) = served.log_probabilities([ids])
        characters = num_characters(ids[1:], tokenizer)
        nats = float(-found.mean())
        sizes |= {"tokens": len(ids), "characters": characters}
        figures["nats_per_token"] = Figure(nats)
        figures["nats_per_character"] = Figure(float(-found.sum()) / max(1, characters))
        figures["perplexity"] = Figure(math.exp(min(nats, 700.0)))
    stats = None
    if num_windows:
        streams = _windows(examples.name, text, num_windows, tokenizer)
        found_of = served.log_probabilities(streams)
        stats = np.array(
            [
                [-float(found.sum()), len(found), num_characters(ids[1:], tokenizer)]
                for ids, found in zip(streams, found_of, strict=True)
            ]
        )
        sizes["windows"] = len(streams)
        figures["window_nats_per_token"] = figure(stats[:, :2], ratio)
        figures["window_nats_per_character"] = figure(stats[:, ::2], ratio)
    return GenerationEvaluation(
        bundle=served.bundle.id,
        bundle_sha256=served.bundle.record.sha256,
        task="generation",
        set_name=served.set_name,
        data=examples.name,
        data_sha256=examples.sha256,
        sizes=sizes,
        figures=figures,
        notes={"text": "the first token of the text, and of each window, is not scored: nothing comes before it"},
        of_windows=stats,
    )


def stream(text: Text, tokenizer: Tokenizer) -> NDArray[np.int64]:
    """Token ids of all documents, int64 [tokens], with end tokens as training reads them."""
    end = [tokenizer.end_id] if text.has_ends and tokenizer.end_id is not None else []
    ids = list(end)
    for document in text.documents:
        ids += [*tokenizer.encode(document), *end]
    return np.array(ids, np.int64)


def num_characters(ids: NDArray[np.int64], tokenizer: Tokenizer) -> int:
    """How many characters tokens stand for; an end token counts as one."""
    ends = int((ids == tokenizer.end_id).sum()) if tokenizer.end_id is not None else 0
    return len(tokenizer.decode(ids.tolist())) + ends


def _windows(name: str, text: Text, num: int, tokenizer: Tokenizer) -> list[NDArray[np.int64]]:
    """Pieces of CHARACTERS characters that begin anywhere in the text, as ids; of a short text fewer than `num`."""
    whole = "\n".join(text.documents)
    if len(whole) < CHARACTERS:
        raise DataError(f"{name} has {len(whole)} characters; a window has {CHARACTERS}. Leave out --windows.")
    starts = np.random.default_rng(SEED).permutation(len(whole) - CHARACTERS + 1)[:num]
    found = [
        np.array(tokenizer.encode(whole[start : start + CHARACTERS]), np.int64) for start in sorted(starts.tolist())
    ]
    return [ids for ids in found if len(ids) > 1]
