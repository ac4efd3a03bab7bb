"""Names that a model has hardly seen: copied where the attention allows it, instead of what the model invents.

The tokens of byte-level BPE show what is rare: a word that the training text has often is one token, and a name in many
pieces was not learnt (Luong et al. 2015b copy what is out of the vocabulary; here nothing is).
"""

import re
from collections.abc import Sequence

import numpy as np

from models.tokenizer import Tokenizer
from server.text.marks import Written, stretch

UNSURE = -2.0  # the score of a search below which a name is not believed to have been translated
_SOME = 0.2  # of the attention: what a name gets that a word may be from
_FEWEST_TOKENS = 3  # of a name that is rare
_AFTER_TITLE = r"(?<=\b[DM][rs]\. )|(?<=\bMrs\. )|(?<=\bProf\. )"
_NAME = re.compile(rf"(?:(?<=[\w,;] )|(?P<titled>{_AFTER_TITLE}))[A-ZÀ-ÖØ-Þ][^\W\d_]+(?:-[^\W\d_]+)*")
_SMALL_WORD = re.compile(r"(?<![^\W\d_])[a-zß-ÿ]{4}")  # none in a title whose words all have capitals
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


def lost_names(text: str, written: Written) -> list[str]:
    """The names in a sentence that nothing in its translation is from.

    Args:
        text: the sentence that was read.
        written: its translation.
    """
    translation, has_small = "".join(written.characters), _SMALL_WORD.search(text) is not None
    is_word = np.array([character.isalnum() for character in written.characters], bool)
    found = []
    for names in _runs(text):
        first, last = stretch(written, names[0].start(), names[-1].end())
        peaks = written.peaks(names[0].start(), names[-1].end())
        if is_word[first:last].any() or peaks[is_word].max(initial=0) >= _SOME:
            continue
        known = (match for match in names if has_small or match["titled"] is not None)
        found += [match[0] for match in known if match[0].lower() not in _CALENDAR and match[0] not in translation]
    return found


def _runs(text: str) -> list[list[re.Match[str]]]:
    """The names in a sentence, those that follow each other together: New York."""
    runs: list[list[re.Match[str]]] = []
    for match in _NAME.finditer(text):
        if runs and text[runs[-1][-1].end() : match.start()] == " ":
            runs[-1].append(match)
        else:
            runs.append([match])
    return runs


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
