"""What verification found: figures with their limits, and faults in words; as a table and as a JSON record.

Knows nothing of how figures are measured. The record lies in the machine's cache: a set's folder is sealed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from models.bundle import Bundle
from models.digest import as_json, write_durably
from models.errors import ParityError
from runtime.device import cache_folder


@dataclass(frozen=True)
class Limit:
    """How large a figure may be, or how small."""

    value: float
    is_least: bool = False


@dataclass(frozen=True)
class Check:
    """One line of the report: what was measured, and the most (or least) that is allowed."""

    name: str
    measured: float
    limit: float
    is_least: bool = False

    @property
    def is_passed(self) -> bool:
        """False for NaN too."""
        return self.measured >= self.limit if self.is_least else self.measured <= self.limit


@dataclass(frozen=True)
class Report:
    """What verification of one graph set on one backend found."""

    set: str
    backend: str
    checks: tuple[Check, ...]
    facts: dict[str, float]  # figures without a limit
    faults: tuple[str, ...] = ()  # what is wrong with the graphs, a sentence each
    notes: tuple[str, ...] = ()  # what a reader should know of the figures, a sentence each

    @property
    def is_passed(self) -> bool:
        """Whether every check passed and no fault was found."""
        return not self.faults and all(check.is_passed for check in self.checks)

    def failure(self) -> str:
        """Every fault and every check that failed, with both numbers, as one sentence; "" when all passed."""
        if self.is_passed:
            return ""
        lines = [
            f"{check.name} is {check.measured:.4g}, allowed {'at least ' if check.is_least else ''}{check.limit:g}"
            for check in self.checks
            if not check.is_passed
        ]
        return f"Graph set {self.set} fails parity on {self.backend}: {'; '.join((*self.faults, *lines))}."

    def figures(self) -> dict[str, float]:
        """All measurements by name, for the manifest."""
        return {**{check.name: check.measured for check in self.checks}, **self.facts}

    def record(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "set": self.set,
            "backend": self.backend,
            "is_passed": self.is_passed,
            "checks": [
                {
                    "name": check.name,
                    "measured": check.measured,
                    "at_least" if check.is_least else "at_most": check.limit,
                    "is_passed": check.is_passed,
                }
                for check in self.checks
            ],
            "facts": self.facts,
            "faults": list(self.faults),
            "notes": list(self.notes),
        }


def judged(
    set_name: str,
    backend: str,
    figures: Mapping[str, float],
    limits: Mapping[str, Limit],
    *,
    faults: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> Report:
    """Hold figures against limits: a figure with a limit is a check, any other a fact."""
    checks = tuple(
        Check(name, value, limits[name].value, limits[name].is_least)
        for name, value in figures.items()
        if name in limits
    )
    facts = {name: value for name, value in figures.items() if name not in limits}
    return Report(set_name, backend, checks, facts, tuple(faults), tuple(notes))


def raise_if_failed(reports: Sequence[Report]) -> None:
    """Raise ParityError with every report's failure, when any failed."""
    failures = [report.failure() for report in reports if not report.is_passed]
    if failures:
        raise ParityError(" ".join(failures))


def report_table(report: Report) -> Table:
    """Checks with their limits, then facts; faults and notes below."""
    title = f"graph set {report.set} on {report.backend}"
    table = Table("check", "measured", "allowed", "", title=title, title_justify="left", caption_justify="left")
    for check in report.checks:
        verdict = "[green]pass" if check.is_passed else "[red]FAIL"
        allowed = f"{'>= ' if check.is_least else ''}{check.limit:g}"
        table.add_row(check.name, f"{check.measured:.4g}", allowed, verdict)
    for fact, value in report.facts.items():
        table.add_row(fact, f"{value:.4g}", "", "")
    below = [f"[red]fault:[/] {escape(fault)}" for fault in report.faults] + [escape(note) for note in report.notes]
    table.caption = "\n".join(below) or None
    return table


def write_record(bundle: Bundle, report: Report) -> Path:
    """Write a report, replacing the one before.

    Args:
        bundle: the model.
        report: of one of its sets on one backend.

    Returns:
        $RNNSERVE_CACHE/<bundle sha>/<device>/verify-<set>-<backend>.json.
    """
    folder = cache_folder(bundle.record.sha256)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"verify-{report.set}-{report.backend}.json"
    write_durably(path, as_json({"bundle": bundle.id, "bundle_sha256": bundle.record.sha256, **report.record()}))
    return path
