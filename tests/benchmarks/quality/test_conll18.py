import pytest

from benchmarks.quality.conll18 import Word, aligned, aligned_f1


def words(text: str) -> list[Word]:
    """Words with spaces between; "c|an't" is one multiword token of two words with these forms."""
    found, position = [], 0
    for token in text.split():
        parts = token.split("|")
        end = position + len("".join(parts))
        found += [Word(position, end, part, "X", len(parts) > 1) for part in parts]
        position = end
    return found


# The cases of the shared task's own script: how many words are aligned.
@pytest.mark.parametrize(
    ("gold", "system", "expected"),
    [
        ("abc", "a bc", 0),
        ("a bc d", "ab c d", 1),
        ("a b c", "a b c", 3),
        ("abcd", "a|b|cd", 0),
        ("ab|c d", "ab c d", 3),
        ("ab|c d", "a bc d", 1),
        ("a b|c d|e f", "a bc de f", 2),
        ("a b|c d e", "a b|c d e", 5),
        ("x a|b y", "xa b y", 2),
    ],
)
def test_words_are_aligned_by_places_and_inside_multiword_tokens_by_forms(
    gold: str, system: str, expected: int
) -> None:
    assert len(aligned(words(gold), words(system))) == expected
    assert len(aligned(words(system), words(gold))) == expected


def test_f1_counts_words_and_their_tags() -> None:
    gold = words("a b c d")
    system = [word._replace(tag="Y") if word.form == "b" else word for word in words("a b cd")]
    assert aligned_f1(gold, system) == (2 * 2 / 7, 2 * 1 / 7)
