from dataclasses import replace

import pytest

from models.bundle import Bundle
from models.decoding.detokenizer import TokenTexts
from server.text.passage import Passage, Reader
from server.text.vocabulary import Vocabulary
from tests.server.running import CHARACTERS

TOKENIZER = Bundle("artifacts/translate-en-zh/1").tokenizer
READER = Reader(TOKENIZER, TokenTexts(TOKENIZER.token_bytes), "en", "zh", 128, False, None)


@pytest.mark.parametrize(
    ("text", "read", "copied"),
    [
        ("See https://example.com/a?b=c.", ["See."], ["https://example.com/a?b=c"]),
        ("Look (https://x.org/y) now a.b@c.org!", ["Look now!"], ["(https://x.org/y)", "a.b@c.org"]),
        ("I love 北京 and 上海.", ["I love and."], ["北京", "上海"]),
        ("Good 👍🏽! 🎉", ["Good!"], ["👍🏽", "🎉"]),
        ("Use `ls -l` and <b>bold</b> &amp; {name}.", ["Use and bold."], ["`ls -l`", "<b>", "</b>", "&amp;", "{name}"]),
        ("See /usr/lib/x.so and ~/a/bin. It is and/or 5 km/h.", ["See and.", "It is and/or 5 km/h."], None),
        ("42", [], ["42"]),
        ("你好。", [], ["你好。"]),
        ("WHERE IS THE STATION?", ["Where is the station?"], []),
        ("I am VERY happy about NASA.", ["I am very happy about NASA."], []),
        ("I  am\there.", ["I am here."], []),
        ("Is it 5 < 6?", ["Is it 5 < 6?"], []),
    ],
)
def test_the_model_reads_what_it_can_know(text: str, read: list[str], copied: list[str] | None) -> None:
    passage = Passage(text, READER)
    assert [sentence.read for sentence in passage.sentences if sentence.read] == read
    if copied is not None:
        assert [part for sentence in passage.sentences for part in sentence.copied] == copied


def test_a_model_that_was_trained_on_numbers_reads_them() -> None:
    (sentence,) = Passage("42", replace(READER, reads_numbers=True)).sentences
    assert sentence.read == "42"


def test_spaces_between_sentences_are_those_of_the_target() -> None:
    english = Passage("One is here. Two is here.\nThree.", READER)
    assert [english.gap(number) for number in range(4)] == ["", "", "\n", ""]
    chinese = Passage("一。二。三。", replace(READER, source="zh", target="en"))
    assert [chinese.gap(number) for number in range(4)] == ["", " ", " ", ""]


def test_a_sentence_over_the_models_length_is_read_in_parts() -> None:
    reader = Reader(CHARACTERS, TokenTexts(CHARACTERS.token_bytes), "en", "zh", 20, True, None)
    passage = Passage("to be or not to be, that is the question.", reader)
    assert all(len(sentence.ids) <= 20 and sentence.is_cut for sentence in passage.sentences)
    assert " ".join(sentence.read for sentence in passage.sentences) == passage.text


def test_a_vocabulary_says_the_language_of_the_texts_it_was_made_of() -> None:
    found = {}
    for name in ("sentiment-en", "sentiment-zh"):
        tokenizer = Bundle(f"artifacts/{name}/1").tokenizer
        vocabulary = Vocabulary(TokenTexts(tokenizer.token_bytes).texts)
        found[name] = (vocabulary.language, vocabulary.is_of("en"), vocabulary.is_of("zh"), vocabulary.is_of("fr"))
    assert found == {"sentiment-en": ("en", True, False, False), "sentiment-zh": ("zh", False, True, False)}
    assert Vocabulary(()).is_of("fr")
