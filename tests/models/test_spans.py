from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from models.spans import are_span_tags, spans_of


# Tags and spans as conlleval 2000's startOfChunk and endOfChunk have them.
@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("O B-a I-a O", [("a", 1, 3)]),
        ("B-a B-a", [("a", 0, 1), ("a", 1, 2)]),
        ("I-a I-a O", [("a", 0, 2)]),
        ("B-a I-b", [("a", 0, 1), ("b", 1, 2)]),
        ("O I-a B-a I-a I-b", [("a", 1, 2), ("a", 2, 4), ("b", 4, 5)]),
        ("B-a O I-a", [("a", 0, 1), ("a", 2, 3)]),
        ("NOUN NOUN VERB O", [("NOUN", 0, 2), ("VERB", 2, 3)]),
        ("", []),
    ],
)
def test_spans_are_those_of_conlleval(tags: str, spans: list[tuple[str, int, int]]) -> None:
    assert spans_of(tags.split()) == spans


def test_labels_are_those_of_spans_or_not() -> None:
    assert are_span_tags(["O", "B-a", "I-a"])
    assert are_span_tags(["O", "I-a"])
    assert not are_span_tags(["O"])
    assert not are_span_tags(["NOUN", "VERB"])
    assert not are_span_tags(["O", "B-"])


def counts(gold: Sequence[str], found: Sequence[str]) -> Counter[tuple[str, str]]:
    """What conlleval's rules count, read token by token as it does: a chunk is right where both begin and end as one.

    A chunk begins at B, after O, and where the type is another than before; it ends before O, before B, and where the
    type changes. By type and "gold", "found" or "right".
    """

    def split(tag: str) -> tuple[str, str]:
        prefix, _, label = tag.partition("-")
        return prefix, label

    def begins(before: str, now: str) -> bool:
        (last, last_type), (prefix, label) = split(before), split(now)
        return prefix == "B" or (prefix == "I" and (last == "O" or last_type != label))

    def ends(now: str, after: str) -> bool:
        (prefix, label), (following, following_type) = split(now), split(after)
        return prefix != "O" and (following in ("O", "B") or following_type != label)

    total: Counter[tuple[str, str]] = Counter()
    is_same = False  # whether both are in a chunk of one type that began at one token
    edges = zip(pairwise(["O", *gold, "O"]), pairwise(["O", *found, "O"]), strict=True)
    for (gold_before, gold_now), (found_before, found_now) in edges:
        if is_same:
            ended = [ends(gold_before, gold_now), ends(found_before, found_now)]
            if all(ended):
                total[split(gold_before)[1], "right"] += 1
            is_same = not any(ended)
        begun = [begins(gold_before, gold_now), begins(found_before, found_now)]
        for name, tag, is_begun in zip(("gold", "found"), (gold_now, found_now), begun, strict=True):
            if is_begun:
                total[split(tag)[1], name] += 1
        if all(begun):
            is_same = split(gold_now)[1] == split(found_now)[1]
    return total


TAGS = ("O", "B-x", "I-x", "B-y", "I-y", "B-z", "I-z")
IOB1 = ("O", "I-x", "I-y", "I-z")  # B-x only between two spans of x


@pytest.mark.parametrize("kinds", [TAGS, IOB1, TAGS[:3], TAGS[1:]])
def test_spans_are_counted_as_conlleval_counts_them(kinds: tuple[str, ...]) -> None:
    dice = np.random.default_rng(8)
    for length in [1, 2, 3, *dice.integers(1, 30, 300).tolist()]:
        gold = dice.choice(kinds, length).tolist()
        is_kept = dice.random(length) < 0.7
        found = [a if kept else str(b) for a, b, kept in zip(gold, dice.choice(TAGS, length), is_kept, strict=True)]
        expected, (ours, theirs) = counts(gold, found), (set(spans_of(gold)), set(spans_of(found)))
        for label in "xyz":
            of_label = [sum(span.label == label for span in spans) for spans in (ours, theirs, ours & theirs)]
            assert of_label == [expected[label, name] for name in ("gold", "found", "right")], (gold, found)


def test_both_ways_to_write_the_same_spans_are_read_as_the_same() -> None:
    iob1 = ["I-x", "I-x", "B-x", "O", "I-y", "I-x"]
    iob2 = ["B-x", "I-x", "B-x", "O", "B-y", "B-x"]
    assert spans_of(iob1) == spans_of(iob2)
    assert counts(iob1, iob2) == {("x", name): 3 for name in ("gold", "found", "right")} | {
        ("y", name): 1 for name in ("gold", "found", "right")
    }
