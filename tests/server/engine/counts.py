from dataclasses import dataclass, field


@dataclass
class Counts:
    """An observer."""

    prefilled_tokens: int = 0
    known_tokens: int = 0
    windows: list[tuple[int, int]] = field(default_factory=list)  # rows and steps
    classified_rows: list[int] = field(default_factory=list)

    def prefilled(self, num_tokens: int, num_padded: int, seconds: float) -> None:
        self.prefilled_tokens += num_tokens

    def looked_up(self, num_known: int, num_tokens: int) -> None:
        self.known_tokens += num_known

    def decoded(self, num_rows: int, num_steps: int, seconds: float) -> None:
        self.windows.append((num_rows, num_steps))

    def classified(self, num_rows: int, num_tokens: int, num_padded: int, seconds: float) -> None:
        self.classified_rows.append(num_rows)
