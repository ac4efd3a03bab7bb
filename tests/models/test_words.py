import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.words import WordSplitter, learnt_splitter, sentences


def words(text: str, splitter: WordSplitter = WordSplitter()) -> list[str]:  # noqa: B008 - it is frozen
    return [text[start:end] for start, end in splitter.split(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I don't, they'll.", "I do n't , they 'll ."),
        ("Mr. Lee's well-known e-mail", "Mr. Lee 's well - known e-mail"),
        ("See www.a.org/x, or a.b@c.org!", "See www.a.org/x , or a.b@c.org !"),
        ("U.S. costs $1,000.50 (50%)", "U.S. costs $ 1,000.50 ( 50 % )"),
        ("Call 713-853-3989 on 11/28/2001 :-)", "Call 713-853-3989 on 11/28/2001 :-)"),
        ("W. Bush said 'no'...", "W. Bush said ' no ' ..."),
        ("naïve café — 你好", "naïve café — 你好"),
    ],
)
def test_words_are_those_of_a_treebank(text: str, expected: str) -> None:
    assert words(text) == expected.split()


def test_other_splitters_take_characters_or_what_spaces_separate() -> None:
    assert words("你 好!", WordSplitter(kind="characters")) == ["你", "好", "!"]
    assert words("do n't  stop!", WordSplitter(kind="whitespace")) == ["do", "n't", "stop!"]


@given(st.text(max_size=80), st.sampled_from(["words", "characters", "whitespace"]))
def test_words_hold_every_character_but_white_space_once_and_in_order(text: str, kind: str) -> None:
    spans = WordSplitter(kind=kind, exceptions={"cannot": [3, 3]}).split(text)  # type: ignore[arg-type]
    inside = [i for start, end in spans for i in range(start, end)]
    assert inside == [i for i, character in enumerate(text) if not character.isspace()]
    assert [span for sentence in sentences(text, spans) for span in sentence] == spans


def test_what_a_training_set_does_otherwise_twice_is_learnt() -> None:
    once = ("We gotta go.", [(0, 2), (3, 6), (6, 8), (9, 11), (11, 12)])
    twice = ("You CANNOT!", [(0, 3), (4, 7), (7, 10), (10, 11)])
    splitter = learnt_splitter([once, twice, twice])
    assert splitter.exceptions == {"cannot": [3, 3]}
    assert words('"Cannot", we gotta', splitter) == ['"', "Can", "not", '"', ",", "we", "gotta"]
    assert WordSplitter.model_validate(splitter.model_dump()) == splitter


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two two! (Three?) Four", ["One .", "Two two !", "( Three ? )", "Four"]),
        ('It cost 3.50. He said "No." Then 3.', ["It cost 3.50 .", 'He said " No . "', "Then 3 ."]),
        ("A title\n\nA text", ["A title", "A text"]),
        ("一。二！三", ["一 。", "二 ！", "三"]),
    ],
)
def test_sentences_end_where_a_mark_says_so(text: str, expected: list[str]) -> None:
    splitter = WordSplitter(kind="characters" if "一" in text else "words")
    found = [" ".join(text[a:b] for a, b in sentence) for sentence in sentences(text, splitter.split(text))]
    assert found == expected


@pytest.mark.parametrize("piece", ["a-", "a.", "'", "a@", "www.", "1:", "n't", "x", "http://)", ".", "aa.", "1-", "e-"])
def test_no_text_takes_long(piece: str) -> None:
    text = piece * (20_000 // len(piece))
    started = time.process_time()
    sentences(text, WordSplitter(exceptions={"cannot": [3, 3]}).split(text))
    assert time.process_time() - started < 2


def test_no_more_words_are_looked_for_than_asked() -> None:
    assert len(WordSplitter().split("a " * 1000, 10)) == 10
