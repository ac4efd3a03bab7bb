"""What comes of an evaluation: figures with intervals, tables behind them, and the comparison with another model's."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from typing import Any

from training.evaluate.resampling import Comparison, Figure


@dataclass(frozen=True)
class Listing:
    """A table: confusion counts, figures by label, the worst examples.

    Attributes:
        name: for machines.
        title: for people.
        columns: their names.
        rows: cells, text or numbers.
    """

    name: str
    title: str
    columns: list[str]
    rows: list[list[str | int | float]]

    @property
    def plain(self) -> list[dict[str, str | int | float]]:
        """A dictionary for each row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True, kw_only=True)
class Evaluation(ABC):
    """One bundle measured on one data set.

    Attributes:
        bundle: its id.
        bundle_sha256: of its record.
        task: its task.
        set_name: the graph set.
        data: the file, or the data set's part.
        data_sha256: of the bytes that were read.
        sizes: how many items there are, and such.
        figures: by name.
        notes: by name: signatures, what the figures do not say themselves.
        listings: tables.
    """

    bundle: str
    bundle_sha256: str
    task: str
    set_name: str
    data: str
    data_sha256: str
    sizes: dict[str, int]
    figures: dict[str, Figure]
    notes: dict[str, str] = field(default_factory=dict)
    listings: list[Listing] = field(default_factory=list)

    @abstractmethod
    def compared(self, other: Any) -> list[Comparison]:
        """The figures of this model and another's evaluation on the same items."""

    @property
    def plain(self) -> dict[str, Any]:
        """For machines: all of it as dictionaries, lists, texts and numbers."""
        return {
            "bundle": self.bundle,
            "bundle_sha256": self.bundle_sha256,
            "task": self.task,
            "set": self.set_name,
            "data": self.data,
            "data_sha256": self.data_sha256,
            "sizes": self.sizes,
            "figures": {name: asdict(figure) for name, figure in self.figures.items()},
            "notes": self.notes,
            **{listing.name: listing.plain for listing in self.listings},
        }
