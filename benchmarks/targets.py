"""What was promised of a figure, and whether it holds."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from rich.table import Table


@dataclass(frozen=True)
class Target:
    """One promise.

    Attributes:
        what: the figure, in words.
        sign: on which side of the limit it must be.
        limit: the bound, which is allowed.
        value: what was measured.
    """

    what: str
    sign: Literal[">=", "<="]
    limit: float
    value: float

    @property
    def is_met(self) -> bool:
        """Whether it holds; a value that is no number does not."""
        return self.value >= self.limit if self.sign == ">=" else self.value <= self.limit

    def as_json(self) -> dict[str, Any]:
        """For a benchmark's result, under the key `targets`."""
        return {
            "what": self.what,
            "target": f"{self.sign} {number(self.limit)}",
            "value": self.value,
            "is_met": self.is_met,
        }


def targets_table(targets: Iterable[Target]) -> Table:
    """All of them, one a row."""
    table = Table("target", "limit", "measured", "", title="Targets", title_justify="left")
    for target in targets:
        table.add_row(
            target.what,
            f"{target.sign} {number(target.limit)}",
            number(target.value),
            "met" if target.is_met else "MISSED",
        )
    return table


def number(value: float) -> str:
    """Few digits, as people read them."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
