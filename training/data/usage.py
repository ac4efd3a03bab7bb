"""What of the data a run does not use, by reason, and how many examples each class has: counted, printed, recorded.

Readers return a Usage with their corpus; a task adds what it leaves out or cuts. Knows no format and no task.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self, TextIO

MOST_UNUSED = 0.05  # of a source: above, it is said again in the run's last lines
_MOST_CLASSES = 60  # that are printed


@dataclass(frozen=True)
class Unused:
    """Rows of one source that are left out, cut or changed for one reason."""

    source: str  # file or data set
    unit: str  # what is counted, in the plural: pairs, texts, sentences
    total: int  # of them there
    count: int  # of those, for this reason
    reason: str  # the sentence's end: "are longer than batch.max_tokens=60 and left out"
    key: str  # of the recipe, which decides it
    is_used: bool = False  # of rows that are used in part or otherwise

    def __str__(self) -> str:
        return f"{self.count:,} of {self.total:,} {self.unit} of {self.source} {self.reason} ({self.key})"


@dataclass(frozen=True)
class ClassCount:
    """A class with its examples."""

    name: str
    train: int
    validation: int


@dataclass(frozen=True)
class Usage:
    """All that a run says of its data before training starts."""

    unused: tuple[Unused, ...] = ()
    notes: tuple[str, ...] = ()  # whole sentences: a header that was recognised, a class too rare to validate
    classes: tuple[ClassCount, ...] = ()
    class_unit: str = ""  # what is counted there: texts, words, spans

    def with_unused(self, *more: Unused) -> Self:
        """Itself and more; counts of 0 say nothing and are left out."""
        return replace(self, unused=(*self.unused, *(item for item in more if item.count)))

    def with_notes(self, *more: str) -> Self:
        """Itself and more sentences."""
        return replace(self, notes=(*self.notes, *more))

    def joined(self, other: "Usage") -> Self:
        """Itself, and what the other says is unused or noted."""
        return self.with_unused(*other.unused).with_notes(*other.notes)

    def of_section(self, section: str) -> Self:
        """The same with the keys of a list's item: data.path of section data.datasets.0 is data.datasets.0.path."""
        moved = [
            replace(item, key=f"{section}.{item.key.removeprefix('data.')}") if item.key.startswith("data.") else item
            for item in self.unused
        ]
        return replace(self, unused=tuple(moved))

    def with_classes(self, train: Iterable[str], validation: Iterable[str], unit: str) -> Self:
        """Itself with classes counted, and a note of each that the validation part does not hold.

        Args:
            train: the class of each training example.
            validation: likewise.
            unit: what the examples are, in the plural.
        """
        trained, validated = Counter(train), Counter(validation)
        classes = tuple(
            ClassCount(name, trained[name], validated[name]) for name in sorted(trained.keys() | validated.keys())
        )
        rare = [
            f"class {item.name!r} has {item.train:,} {unit if item.train > 1 else unit.removesuffix('s')} for training "
            "and none for validation: no figure says how well it is recognised"
            for item in classes
            if not item.validation
        ]
        return replace(self.with_notes(*rare), classes=classes, class_unit=unit)

    @property
    def losses(self) -> list[str]:
        """A sentence for each source of which more than MOST_UNUSED is left out or cut."""
        sums: dict[tuple[str, str, bool], list[Unused]] = {}
        for item in self.unused:
            sums.setdefault((item.source, item.unit, item.is_used), []).append(item)
        found = []
        for (source, unit, is_used), items in sums.items():
            count, total = sum(item.count for item in items), max(item.total for item in items)
            if count > MOST_UNUSED * total:
                keys = ", ".join(dict.fromkeys(item.key for item in items))
                what = "not used as a whole" if is_used else "not used"
                found.append(f"{count / total:.1%} of the {unit} of {source} are {what} ({keys})")
        return found

    def plain(self) -> dict[str, Any]:
        """Plain data for the bundle's provenance; empty where all is used and there are no classes."""
        found: dict[str, Any] = {}
        if self.unused:
            found["unused"] = [asdict(item) for item in self.unused]
        if self.notes:
            found["notes"] = list(self.notes)
        if self.classes:
            found["classes"] = {item.name: [item.train, item.validation] for item in self.classes}
        return found

    def section(self) -> str:
        """Markdown for the card: what is not used, by reason; empty where all is used."""
        lines = [f"- {item}." for item in self.unused]
        lines += [f"- **{sentence}.**" for sentence in self.losses]
        head = "Not used, or not as a whole, by reason and the recipe's key:\n"
        return "\n".join([head, *lines, ""]) if lines else ""


ALL_USED = Usage()


def print_usage(usage: Usage, file: TextIO | None = None) -> None:
    """Before training: unused rows by reason, notes, classes with their counts; to stderr by default."""
    lines = [*map(str, usage.unused), *usage.notes]
    if usage.classes:
        shown = usage.classes[:_MOST_CLASSES]
        width = max(len(item.name) for item in shown)
        lines.append(f"classes, {usage.class_unit} for training and for validation:")
        lines += [f"  {item.name:<{width}}  {item.train:>9,}  {item.validation:>9,}" for item in shown]
        if len(usage.classes) > len(shown):
            lines.append(f"  and {len(usage.classes) - len(shown):,} more")
    _print(lines, file)


def print_losses(usage: Usage, file: TextIO | None = None) -> None:
    """At the end of the run: each source that has lost much."""
    _print([f"note: {sentence}" for sentence in usage.losses], file)


def _print(lines: Sequence[str], file: TextIO | None) -> None:
    for line in lines:
        print(line, file=file or sys.stderr)
