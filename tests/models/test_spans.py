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
