"""Spans from tags O, B-x, I-x, read as conlleval reads them (Tjong Kim Sang & Buchholz 2000)."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

OUTSIDE = "O"


class TagSpan(NamedTuple):
    """Words first to last - 1 are one of `label`."""

    label: str
    first: int
    last: int


def are_span_tags(labels: Iterable[str]) -> bool:
    """Whether labels are O, B-x and I-x, with a span's among them."""
    found = set(labels) - {OUTSIDE}
    return bool(found) and all(label[:2] in ("B-", "I-") and label[2:] for label in found)


def spans_of(tags: Sequence[str]) -> list[TagSpan]:
    """The spans of a sentence in order.

    B-x begins one; so does I-x after anything but B-x and I-x. Other tags than O, B-x, I-x count as I-x with their
    whole name for x, so that equal ones side by side are one span.
    """
    found: list[TagSpan] = []
    for i, tag in enumerate(tags):
        if tag == OUTSIDE:
            continue
        is_prefixed = tag[:2] in ("B-", "I-")
        label = tag[2:] if is_prefixed else tag
        is_next = bool(found) and found[-1].last == i and found[-1].label == label and not tag.startswith("B-")
        if is_next:
            found[-1] = TagSpan(label, found[-1].first, i + 1)
        else:
            found.append(TagSpan(label, i, i + 1))
    return found
