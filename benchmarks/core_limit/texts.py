"""What is classified: validation texts of the classifier's own recipe, or made ones where they are absent."""

import random
from pathlib import Path
from typing import NamedTuple

from benchmarks.quality.sentiment import labelled_of
from loadtest.questions import read_texts
from models.bundle import Bundle
from models.errors import DataError
from training.data.corpus import VARIABLE

_TEXTS = Path(__file__).parents[2] / "loadtest" / "texts.json"
_MOST_SENTENCES = 12  # of a made review


class Texts(NamedTuple):
    """Texts of one kind.

    Attributes:
        name: for the table.
        texts: in an order that has nothing to do with their lengths; each has at least one token.
        origin: what they are, for the report.
    """

    name: str
    texts: list[str]
    origin: str


def texts_of(bundle: Bundle, most: int) -> list[Texts]:
    """Texts for a classifier, the same ones every time.

    Args:
        bundle: the classifier; one of English where its own texts are absent.
        most: how many of a kind at most.

    Returns:
        One kind for each data set that the classifier is validated on.
    """
    draw = random.Random(0)
    try:
        found = [
            Texts(name, [example.text for example in examples], f"validation texts of {name}")
            for name, examples in labelled_of(bundle).validation.items()
        ]
    except DataError:
        sentences = [item["text"] for item in read_texts(_TEXTS)["sentiment"]["en"]]
        reviews = [" ".join(draw.choices(sentences, k=draw.randint(1, _MOST_SENTENCES))) for _ in range(most)]
        why = f"as {VARIABLE} does not lead to the model's own"
        found = [
            Texts("sentences", draw.choices(sentences, k=most), f"the load test's sentences, {why}"),
            Texts("reviews", reviews, f"the load test's sentences put together, {why}"),
        ]
    return [
        Texts(kind.name, draw.sample(texts, min(most, len(texts))), kind.origin)
        for kind in found
        if (texts := [text for text in kind.texts if bundle.tokenizer.encode(text)])
    ]
