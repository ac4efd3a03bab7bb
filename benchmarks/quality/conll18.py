"""Words that a system finds in raw text, aligned with a treebank's by the rules of the CoNLL 2018 shared task.

Zeman et al. 2018: words are compared by the characters that they cover, white space not counted. Around multiword
tokens there are spans, as small as can be, out of which no multiword token of either side sticks; the words completely
inside such a span are aligned by the longest common subsequence of their forms in lower case.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Word(NamedTuple):
    """A word.

    Attributes:
        start: of its first character, white space not counted; of a word of a multiword token, of the token's.
        end: after its last, likewise.
        form: the word.
        tag: its label.
        is_multiword: whether it is a word of a multiword token.
    """

    start: int
    end: int
    form: str
    tag: str
    is_multiword: bool = False


def aligned(gold: Sequence[Word], system: Sequence[Word]) -> list[tuple[Word, Word]]:
    """Pairs of words that are the same, in order."""
    pairs: list[tuple[Word, Word]] = []
    i = j = 0
    while i < len(gold) and j < len(system):
        if not (gold[i].is_multiword or system[j].is_multiword):
            if (gold[i].start, gold[i].end) == (system[j].start, system[j].end):
                pairs.append((gold[i], system[j]))
                i, j = i + 1, j + 1
            elif gold[i].start <= system[j].start:
                i += 1
            else:
                j += 1
            continue
        start = gold[i].start if gold[i].is_multiword else system[j].start
        if not gold[i].is_multiword and gold[i].start < start:
            i += 1
            continue
        if not system[j].is_multiword and system[j].start < start:
            j += 1
            continue
        first_i, first_j = i, j
        end = max(word.end for word in (gold[i], system[j]) if word.is_multiword and word.start == start)
        while True:
            before = end
            while i < len(gold) and _is_inside(gold[i], end):
                end = max(end, gold[i].end)
                i += 1
            while j < len(system) and _is_inside(system[j], end):
                end = max(end, system[j].end)
                j += 1
            if end == before:
                break
        pairs += _common(gold[first_i:i], system[first_j:j])
    return pairs


def _is_inside(word: Word, end: int) -> bool:
    """Whether a word belongs to a span that reaches to `end` as far as is known."""
    return word.start < end if word.is_multiword else word.end <= end


def _common(gold: Sequence[Word], system: Sequence[Word]) -> list[tuple[Word, Word]]:
    """The longest common subsequence of forms."""
    table = np.zeros((len(gold) + 1, len(system) + 1), np.int64)
    is_same = [[a.form.lower() == b.form.lower() for b in system] for a in gold]
    for i in reversed(range(len(gold))):
        for j in reversed(range(len(system))):
            longest = max(table[i + 1, j], table[i, j + 1])
            table[i, j] = max(longest, 1 + table[i + 1, j + 1]) if is_same[i][j] else longest
    pairs, i, j = [], 0, 0
    while i < len(gold) and j < len(system):
        if is_same[i][j] and table[i, j] == 1 + table[i + 1, j + 1]:
            pairs.append((gold[i], system[j]))
            i, j = i + 1, j + 1
        elif table[i, j] == table[i + 1, j]:
            i += 1
        else:
            j += 1
    return pairs


def aligned_f1(gold: Sequence[Word], system: Sequence[Word]) -> tuple[float, float]:
    """F1 of words, and F1 of words with the right tag."""
    pairs = aligned(gold, system)
    right = sum(a.tag == b.tag for a, b in pairs)
    total = len(gold) + len(system)
    return 2 * len(pairs) / total, 2 * right / total
