"""A verification report as a table for a terminal."""

from rich.markup import escape
from rich.table import Table

from export.report import Report


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
