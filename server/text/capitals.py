"""Words in capitals as a vocabulary knows them: READ THIS is read as Read this."""

import re
from functools import lru_cache

from models.tokenizer import Tokenizer

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


def without_capitals(text: str, tokenizer: Tokenizer, language: str) -> tuple[str, bool]:
    """A sentence whose words in capitals are written as the tokenizer knows them, in fewer tokens.

    Args:
        text: a sentence.
        tokenizer: the model's.
        language: its language.

    Returns:
        The sentence, of the same length, and whether all of it was in capitals and has been changed.
    """
    words = list(_WORD.finditer(text))
    is_shouted = text.isupper() and sum(len(word[0]) for word in words) >= 4
    changed = list(text)
    for number, word in enumerate(words):
        if not word[0].isupper():
            continue
        if len(word[0]) == 1:
            if is_shouted and number and (word[0], language) != ("I", "en"):
                changed[word.start()] = word[0].lower()
        elif is_shouted or len(word[0]) >= 4:
            lead = " " if word.start() and text[word.start() - 1] == " " else ""
            changed[word.start() : word.end()] = _known(tokenizer, lead, word[0], is_shouted, number == 0)
    result = "".join(changed)
    return result, is_shouted and result != text


@lru_cache(maxsize=4096)
def _known(tokenizer: Tokenizer, lead: str, word: str, is_shouted: bool, is_first: bool) -> str:
    """A word in capitals, or its spelling with fewer tokens; one word in capitals among others must be one token."""
    lower, title = word.lower(), word[0] + word[1:].lower()
    if len(lower) != len(word) or len(title) != len(word):
        return word
    spellings = [title, lower] if is_first else [lower, title]
    counts = {spelling: len(tokenizer.encode(lead + spelling)) for spelling in (word, *spellings)}
    best = min(spellings, key=counts.__getitem__)
    is_known = counts[best] < counts[word] and (is_shouted or counts[best] == 1)
    return best if is_known else word
