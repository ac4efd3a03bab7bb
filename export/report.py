"""What verification found: figures with their limits. Knows nothing of how they are measured."""

from dataclasses import dataclass

from models.errors import ParityError


@dataclass(frozen=True)
class Check:
    """One line of the report: what was measured, and the most that is allowed."""

    name: str
    measured: float
    limit: float

    @property
    def is_passed(self) -> bool:
        """False for NaN too."""
        return self.measured <= self.limit


@dataclass(frozen=True)
class Report:
    """What verification of one graph set found."""

    set: str
    checks: tuple[Check, ...]
    facts: dict[str, float]  # figures without a limit

    def raise_if_failed(self) -> None:
        """Raises ParityError naming every check that failed, with both numbers."""
        failed = [check for check in self.checks if not check.is_passed]
        if failed:
            lines = "; ".join(f"{check.name} is {check.measured:.3g}, allowed {check.limit:g}" for check in failed)
            raise ParityError(f"Graph set {self.set} fails parity: {lines}. It is not published.")

    def figures(self) -> dict[str, float]:
        """All measurements by name, for the manifest."""
        return {**{check.name: check.measured for check in self.checks}, **self.facts}
