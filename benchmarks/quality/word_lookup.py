"""Translation word by word: each source word is replaced by one target token that was counted in the training pairs.

A source word is a run of letters, digits and apostrophes in lower case, or one punctuation mark. A target token is one
of the translator's tokenizer that holds whole characters. Both are counted once a pair. A word that never occurred in
training, or only beside no such token, stays as it is.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Literal

from models.tokenizer import Tokenizer
from training.data.pairs import Pair

Association = Literal["count", "dice"]
_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


class WordLookup:
    """A table from source words to target tokens.

    Args:
        pairs: the training pairs.
        tokenizer: of the target side.
        by: "count" takes the token that stands in the most pairs with the word (literally its most frequent
            companion); "dice" the one with the highest 2 n(e, z) / (n(e) + n(z)) (Dice 1945), n counting pairs.
            Ties go to the lower id.
    """

    def __init__(self, pairs: Sequence[Pair], tokenizer: Tokenizer, by: Association) -> None:
        self._tokens = tokenizer.token_bytes
        whole = {i for i, content in enumerate(self._tokens) if content.strip() and _is_text(content)}
        num_words: Counter[str] = Counter()
        num_tokens: Counter[int] = Counter()
        together: defaultdict[str, Counter[int]] = defaultdict(Counter)
        for pair in pairs:
            words, tokens = set(words_of(pair.source)), whole.intersection(tokenizer.encode(pair.target))
            num_words.update(words)
            num_tokens.update(tokens)
            for word in words:
                together[word].update(tokens)

        def strength(word: str, token: int) -> float:
            count = together[word][token]
            return count if by == "count" else 2 * count / (num_words[word] + num_tokens[token])

        self._best = {
            word: max(tokens, key=lambda token, word=word: (strength(word, token), -token))  # type: ignore[misc]
            for word, tokens in together.items()
            if tokens
        }

    def translate(self, source: str) -> str:
        """The tokens of the source's words, joined."""
        words = words_of(source)
        return b"".join(
            self._tokens[self._best[word]] if word in self._best else word.encode() for word in words
        ).decode()


def words_of(text: str) -> list[str]:
    """The words and punctuation marks of a text, in lower case."""
    return _WORD.findall(text.lower())


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
