from dataclasses import dataclass, field


@dataclass
class Counts:
    """An observer."""

    read_tokens: int = 0
    known_tokens: int = 0
    steps: list[int] = field(default_factory=list)
    classified_rows: list[int] = field(default_factory=list)

    def read(self, num_tokens: int, num_padded: int, seconds: float) -> None:
        self.read_tokens += num_tokens

    def looked_up(self, num_known: int, num_tokens: int) -> None:
        self.known_tokens += num_known

    def stepped(self, num_rows: int, seconds: float) -> None:
        self.steps.append(num_rows)

    def classified(self, num_rows: int, num_tokens: int, num_padded: int, seconds: float) -> None:
        self.classified_rows.append(num_rows)
