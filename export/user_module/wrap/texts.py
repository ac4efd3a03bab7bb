"""The texts that a user's module is compared on: random ones, ones of the ids that it treats specially, every id once.

A forward that leaves padding out of its mean, bans a token or looks for one by its number answers otherwise only where
that id is read. So the ids of the tokenizer's marks, those that the module's code names and the first and last few of
the vocabulary stand alone, in a row, and at every place of a text; and each id of the vocabulary is read once.
"""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import nn

from export.parity.texts import ragged_texts
from export.user_module.constants import integers_of
from export.user_module.wrap.consistency import LONG_SHAPES, NUM_SLOTS, SHAPES, within
from models.architecture import WrappedConfig

if TYPE_CHECKING:
    from export.tasks.task import WrapFacts

Texts = list[list[int]]  # token ids of each row of a batch

MAX_SECONDS = 20.0  # of processor time, after which no further texts are compared
MOST_SPECIAL = 64  # ids that are tried at every place; a vocabulary of so few is tried whole
_MOST_SPECIAL_WITHIN = 12  # where graphs are compared with each other, token by token
_EVERY_ID_LENGTH = 48  # tokens of a text that is a part of the vocabulary
_MOST_ALONE = 512  # texts of one token in a batch
_EVERY_ID_NUMBERS = 4_000_000  # numbers that a module gives for a batch of such texts


def special_ids(module: nn.Module, facts: "WrapFacts") -> list[int]:
    """Ids that a module may treat otherwise than the rest, at most 64.

    Args:
        module: the user's.
        facts: what it is wrapped with.

    Returns:
        The tokenizer's marks, the first four and the last id, the integers of the module's code and attributes, those
        beside them, and the rest of a small vocabulary.
    """
    size, named = facts.vocab_size, integers_of(module)
    beside = [number + step for number in named for step in (-1, 1)]
    rest = range(size) if size <= MOST_SPECIAL else ()
    wanted = [*facts.mark_ids, 0, 1, 2, 3, size - 1, *named, *beside, *rest]
    return list(dict.fromkeys(number for number in wanted if 0 <= number < size))[:MOST_SPECIAL]


def special_texts(special: list[int], vocab_size: int, longest: int | None, seed: int) -> list[Texts]:
    """Each id alone, three times, first, last, in the middle and often in a random text; and such ids mixed."""
    generator = np.random.default_rng(seed)
    rows: Texts = []
    for i in special:
        a, b, c = generator.integers(vocab_size, size=3).tolist()
        rows += [[i], [i] * 3, [i, a, b, c], [a, i, b], [a, b, c, i], [i, i, a, b, i, c, i]]
    for _ in range(8):
        mixed = generator.integers(vocab_size, size=30)
        is_special = generator.random(30) < 0.5
        rows.append(np.where(is_special, generator.choice(special, size=30), mixed).tolist())
    generator.shuffle(rows)  # so that batches are ragged
    rows = [row[:longest] for row in rows]
    return [rows[start : start + NUM_SLOTS] for start in range(0, len(rows), NUM_SLOTS)]


def every_id(facts: "WrapFacts", seed: int, outputs_per_token: int, length: int, most_rows: int) -> Iterator[Texts]:
    """The vocabulary in random order as texts of some length, in batches whose outputs need little memory."""
    ids = np.random.default_rng(seed).permutation(facts.vocab_size)
    length = min(length, facts.longest or length)
    rows = [ids[start : start + length].tolist() for start in range(0, len(ids), length)]
    num_rows = min(most_rows, max(1, _EVERY_ID_NUMBERS // (length * outputs_per_token)))
    for start in range(0, len(rows), num_rows):
        yield rows[start : start + num_rows]


def consistency_texts(config: WrappedConfig) -> list[Texts]:
    """What graphs are compared with each other on: random texts, and texts of the first 12 special ids."""
    special = config.special_ids[:_MOST_SPECIAL_WITHIN]
    own = special_texts(special, config.vocab_size, None, 1) if special else []
    return ragged_texts(config.vocab_size, 1, SHAPES) + own


class ComparedTexts:
    """The batches that graphs are compared with a module on, as far as time goes: the most telling ones first.

    Args:
        module: the user's.
        facts: what it is wrapped with.
        seed: of the random ids.
        outputs_per_token: numbers that the module gives for each token.
        is_brief: whether only short random texts are among them.
        is_each_alone: whether each id is also tried as a text of its own, up to 512 in a batch; others are at most 32.

    Attributes:
        num_left: batches that were not compared, once iterated.
    """

    def __init__(
        self,
        module: nn.Module,
        facts: "WrapFacts",
        seed: int,
        outputs_per_token: int,
        *,
        is_brief: bool = False,
        is_each_alone: bool = True,
    ) -> None:
        self._batches = ragged_texts(facts.vocab_size, seed, within(SHAPES, facts.longest))
        if not is_brief:
            self._batches += special_texts(special_ids(module, facts), facts.vocab_size, facts.longest, seed)
            self._batches += ragged_texts(facts.vocab_size, seed, within(LONG_SHAPES, facts.longest))
            self._batches += every_id(facts, seed, outputs_per_token, _EVERY_ID_LENGTH, NUM_SLOTS)
            if is_each_alone and facts.vocab_size > MOST_SPECIAL:
                self._batches += every_id(facts, seed, outputs_per_token, 1, _MOST_ALONE)
        self.num_left = 0

    def __iter__(self) -> Iterator[Texts]:
        begin = time.process_time()
        for number, batch in enumerate(self._batches):
            if time.process_time() - begin > MAX_SECONDS:
                self.num_left = len(self._batches) - number
                return
            yield batch


class Targets:
    """What a translator's steps are fed while it is compared: every id in turn, special ones among them.

    Args:
        module: the user's.
        facts: what it is wrapped with.
        seed: of the random ids.
    """

    def __init__(self, module: nn.Module, facts: "WrapFacts", seed: int) -> None:
        self._special = special_ids(module, facts)
        self._vocab_size = facts.vocab_size
        self._generator = np.random.default_rng(seed)
        self._waiting: list[int] = []

    def draw(self, num_rows: int, num_steps: int) -> NDArray[np.int64]:
        """int64 [num_rows, num_steps]; a quarter of them special."""
        while len(self._waiting) < num_rows * num_steps:
            self._waiting += self._generator.permutation(self._vocab_size).tolist()
        count = num_rows * num_steps
        taken, self._waiting = self._waiting[:count], self._waiting[count:]
        is_special = self._generator.random(count) < 0.25
        found = np.where(is_special, self._generator.choice(self._special, size=count), taken)
        return found.reshape(num_rows, num_steps)
