import io

import pytest

from training.data.usage import ALL_USED, Unused, print_losses, print_usage


def unused(count: int, *, total: int = 100, reason: str = "are duplicates", is_used: bool = False) -> Unused:
    return Unused("mine.tsv", "pairs", total, count, reason, "data.path", is_used)


def printed(usage: object, show: object) -> str:
    file = io.StringIO()
    show(usage, file)  # type: ignore[operator]
    return file.getvalue()


def test_what_is_unused_is_printed_with_its_key_and_nothing_where_all_is_used() -> None:
    usage = ALL_USED.with_unused(unused(412, total=49_024, reason="are longer than batch.max_tokens=60"), unused(0))
    sentence = "412 of 49,024 pairs of mine.tsv are longer than batch.max_tokens=60 (data.path)\n"
    assert printed(usage, print_usage) == sentence
    assert printed(ALL_USED, print_usage) == ""
    assert ALL_USED.plain() == {}
    assert ALL_USED.section() == ""


@pytest.mark.parametrize(("counts", "is_said"), [((5,), False), ((6,), True), ((3, 3), True)])
def test_a_source_that_loses_more_than_a_twentieth_is_said_at_the_end(counts: tuple[int, ...], is_said: bool) -> None:
    usage = ALL_USED.with_unused(*(unused(count, reason=f"reason {i}") for i, count in enumerate(counts)))
    assert (printed(usage, print_losses) == "note: 6.0% of the pairs of mine.tsv are not used (data.path)\n") == is_said
    assert ("**" in usage.section()) == is_said


def test_rows_that_are_cut_are_not_added_to_those_that_are_lost() -> None:
    usage = ALL_USED.with_unused(unused(4), unused(4, is_used=True))
    assert usage.losses == []


def test_classes_are_shown_with_their_counts_and_a_class_that_never_validates_is_said() -> None:
    usage = ALL_USED.with_classes(["good", "bad", "good", "odd"], ["bad", "good"], "texts")
    assert "class 'odd' has 1 text for training and none for validation" in usage.notes[0]
    assert "  good          2          1\n" in printed(usage, print_usage)
    assert usage.plain()["classes"] == {"bad": [1, 1], "good": [2, 1], "odd": [1, 0]}


def test_keys_of_a_list_of_data_sets_name_the_item() -> None:
    (item,) = ALL_USED.with_unused(unused(1)).of_section("data.datasets.2").unused
    assert item.key == "data.datasets.2.path"
