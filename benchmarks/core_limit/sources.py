"""What is translated: the validation sentences of the translator's own recipe, or made ones where they are absent."""

import random
from typing import NamedTuple

from benchmarks.quality.translation import pairs_of
from models.bundle import Bundle
from models.errors import DataError
from training.data.corpus import VARIABLE

_WHO = ("I", "We", "They", "My brothers", "The children", "All of her friends", "Many people in this town")
_DO = ("like", "want", "know", "need", "remember", "will never forget", "are looking for", "have always wanted")
_WHAT = ("it", "water", "this book", "that small house", "the old man", "a new car", "the way to the station")
_WHEN = ("", "now", "today", "very much", "every day in the summer", "because it is cold and nobody is at home")


class Sources(NamedTuple):
    """Texts to translate.

    Attributes:
        texts: different ones, in an order that has nothing to do with their lengths.
        origin: what they are, for the report.
    """

    texts: list[str]
    origin: str


def sources_of(bundle: Bundle, most: int) -> Sources:
    """Sentences for a translator, the same ones every time.

    Args:
        bundle: the translator; one from English where its own sentences are absent.
        most: how many at most.
    """
    try:
        texts = list(dict.fromkeys(pair.source for pair in pairs_of(bundle).validation))
        origin = "validation sentences of the model's recipe"
    except DataError:
        texts = [
            f"{who} {do} {what} {when}".strip() + "." for who in _WHO for do in _DO for what in _WHAT for when in _WHEN
        ]
        origin = f"made sentences, as {VARIABLE} does not lead to the model's own"
    random.Random(0).shuffle(texts)
    return Sources(texts[:most], origin)
