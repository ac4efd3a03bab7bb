"""Copies and recalls: what each document asks has the answer that it gives."""

from collections import Counter

import pytest

from models.errors import DataError
from training.data.corpus import Corpus
from training.data.recollections import ITEM_SIZE, LETTERS, MARK, copies, recalls


def documents_of(corpus: Corpus) -> list[str]:
    assert corpus.answer_mark == MARK
    assert corpus.has_ends
    return [*corpus.train, *corpus.validation]


def test_copies_repeat_letters_of_every_length() -> None:
    documents = documents_of(copies(examples=400, longest=5, validation_share=0.25))
    lengths = Counter(len(document.split(MARK)[0]) for document in documents)
    assert set(lengths) == {1, 2, 3, 4, 5}
    assert min(lengths.values()) > 40
    for document in documents:
        question, answer = document.split(MARK)
        assert question == answer
    assert set("".join(documents)) == {*LETTERS, MARK}


def test_recalls_answer_with_the_item_after_the_query() -> None:
    documents = documents_of(recalls(examples=400, longest=6, validation_share=0.25))
    for document in documents:
        listed, rest = document.split("?")
        query, answer = rest.split(MARK)
        items = listed.split(",")
        assert len(set(items)) == len(items)
        assert {len(item) for item in items} == {ITEM_SIZE}
        assert items[items.index(query) + 1] == answer
    assert {document.count(",") + 1 for document in documents} == {2, 3, 4, 5, 6}
    places = set()
    for document in documents:
        listed, rest = document.split("?")
        if listed.count(",") == 5:
            places.add(listed.split(",").index(rest.split(MARK)[0]))
    assert places == {0, 1, 2, 3, 4}


def test_the_same_documents_each_time_and_a_part_held_out() -> None:
    first, second = (copies(examples=40, longest=5, validation_share=0.25) for _ in range(2))
    assert first == second
    assert (len(first.train), len(first.validation)) == (30, 10)


def test_too_few_for_two_parts_are_refused() -> None:
    with pytest.raises(DataError, match=r"copy: 2 examples cannot be split with a validation share of 0\.1"):
        copies(examples=2, longest=5, validation_share=0.1)
