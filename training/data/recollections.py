"""Questions that only a memory answers, made here: a sequence of letters again, and what came after an item of a list.

`acgb=acgb` and `dac,bfa,hcd?dac=bfa`: the tasks of Graves et al. (2014, sections 4.1 and 4.3) as text. The question
ends with MARK, and the answer has no shorter rule than to remember.
"""

import random
from collections.abc import Callable

from models.errors import DataError
from training.data.corpus import Corpus, Origin, digest

MARK = "="
LETTERS = "abcdefgh"
ITEM_SIZE = 3  # letters
_SEED = 42  # part of the data, so not the recipe's seed

Draw = Callable[[random.Random, int], str]


def copy(dice: random.Random, length: int) -> str:
    """So many letters, and the same again."""
    letters = "".join(dice.choices(LETTERS, k=length))
    return f"{letters}{MARK}{letters}"


def recall(dice: random.Random, num_items: int) -> str:
    """Different items, one of them but the last as the query, and the item after it."""
    items: dict[str, None] = {}
    while len(items) < num_items:
        items["".join(dice.choices(LETTERS, k=ITEM_SIZE))] = None
    listed = list(items)
    query = dice.randrange(num_items - 1)
    return f"{','.join(listed)}?{listed[query]}{MARK}{listed[query + 1]}"


def copies(*, examples: int, longest: int, validation_share: float) -> Corpus:
    """Copies of 1 to `longest` letters, each length as often as any other; see `recollections`."""
    return recollections("copy", copy, range(1, longest + 1), examples, validation_share)


def recalls(*, examples: int, longest: int, validation_share: float) -> Corpus:
    """Recalls from 2 to `longest` items; see `recollections`."""
    return recollections("recall", recall, range(2, longest + 1), examples, validation_share)


def recollections(name: str, draw: Draw, sizes: range, examples: int, validation_share: float) -> Corpus:
    """Draw documents with a fixed seed, and split them.

    Args:
        name: of the data set.
        draw: makes a document of a size.
        sizes: equally often.
        examples: documents of both parts.
        validation_share: of them.

    Raises:
        DataError: a part would be empty.
    """
    dice = random.Random(_SEED)
    documents = [draw(dice, dice.choice(sizes)) for _ in range(examples)]
    cut = round(examples * (1 - validation_share))
    if not 0 < cut < examples:
        raise DataError(f"{name}: {examples} examples cannot be split with a validation share of {validation_share}.")
    origin = Origin(
        title=f"{name}, made here", upstream="training/data/recollections.py, made when read", licence="none"
    )
    sha256 = digest("\n".join(documents).encode())
    return Corpus(name, origin, tuple(documents[:cut]), tuple(documents[cut:]), True, sha256, answer_mark=MARK)
