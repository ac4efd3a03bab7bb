"""Names that a model has hardly seen: copied where the attention allows it, instead of what the model invents.

The tokens of byte-level BPE show what is rare: a word that the training text has often is one token, and a name in many
pieces was not learnt (Luong et al. 2015b copy what is out of the vocabulary; here nothing is).
"""

import re
from collections.abc import Sequence

from models.tokenizer import Tokenizer
from server.text.marks import Written, stretch

UNSURE = -2.0  # the score of a search below which a name is not believed to have been translated
_FEWEST_TOKENS = 3  # of a name that is rare
_NAME = re.compile(r"(?<=[\w,;] )[A-ZÀ-ÖØ-Þ][^\W\d_]+(?:-[^\W\d_]+)*")
_NO_NAMES = (
    "monday tuesday wednesday thursday friday saturday sunday january february march april june july august september "
    "october november december mr mrs ms dr prof"
)
_CALENDAR = frozenset(_NO_NAMES.split())


def rare_names(text: str, tokenizer: Tokenizer) -> list[tuple[int, int]]:
    """The names in a sentence that the tokenizer knows in pieces only: where each begins and ends.

    A name is a word with a capital that does not begin the sentence. Of tokenizers other than byte-level BPE, whose
    tokens say nothing of what is rare, there are none.
    """
    if tokenizer.kind != "byte-bpe":
        return []
    found = []
    for match in _NAME.finditer(text):
        word = match[0]
        if word.lower() not in _CALENDAR and len(tokenizer.encode(f" {word}")) >= _FEWEST_TOKENS:
            found.append((match.start(), match.end()))
    return found


def with_names(text: str, spans: Sequence[tuple[int, int]], written: Written) -> tuple[list[str], list[str]]:
    """Write names where the translation attends to them.

    Args:
        text: the sentence that was read.
        spans: where its rare names are.
        written: its translation, which is changed.

    Returns:
        The names that were written, and those that are not in the translation.
    """
    copied, lacking = [], []
    for start, end in spans:
        name = text[start:end]
        if name in "".join(written.characters):
            continue
        first, last = stretch(written, start, end)
        while first < last and not written.characters[first].isalnum():
            first += 1
        while last > first and not written.characters[last - 1].isalnum():
            last -= 1
        if first == last:
            lacking.append(name)
            continue
        is_after_word = (
            first > 0 and written.characters[first - 1].isascii() and written.characters[first - 1].isalnum()
        )
        new = f" {name}" if is_after_word else name
        written.replace(first, last, new, start)
        copied.append(name)
    return copied, lacking

