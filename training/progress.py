"""Where a run stands: position in the data, running loss, best epoch, history. Pure numbers, saved in a checkpoint."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class EpochFigures:
    """One epoch as measured."""

    epoch: int  # counted from 1
    train_nats_per_token: float  # mean over the epoch, with dropout, while the weights changed
    validation_nats_per_token: float
    validation_nats_per_character: float
    validation_perplexity: float  # exp(nats per token)
    learning_rate: float  # after the epoch's last update
    seconds: float  # training and validation, without what a killed run lost


@dataclass
class Progress:
    """The state of a run between two windows.

    `epoch` and `window` are those that come next, counted from 0; the sums are over the windows of this epoch so far.
    """

    epoch: int = 0
    window: int = 0
    loss_sum: float = 0.0  # nats
    num_targets: int = 0
    seconds: float = 0.0
    best_epoch: int = 0  # counted from 1; 0 before any
    best_nats: float = math.inf
    history: list[EpochFigures] = field(default_factory=list)

    def add(self, loss: float, num_targets: int, seconds: float) -> None:
        """Count a window: its mean loss in nats, its targets, its time."""
        self.window += 1
        self.loss_sum += loss * num_targets
        self.num_targets += num_targets
        self.seconds += seconds

    def finish_epoch(self, figures: EpochFigures) -> bool:
        """Close the epoch; returns whether it is the best so far."""
        self.history.append(figures)
        self.epoch += 1
        self.window, self.loss_sum, self.num_targets, self.seconds = 0, 0.0, 0, 0.0
        if not figures.validation_nats_per_token < self.best_nats:
            return False
        self.best_epoch, self.best_nats = figures.epoch, figures.validation_nats_per_token
        return True

    def is_over(self, epochs: int, patience: int | None) -> bool:
        """Whether all epochs are done, or `patience` of them have passed without a new best."""
        is_stale = patience is not None and self.epoch - self.best_epoch >= patience
        return self.epoch >= epochs or is_stale

    def to_plain(self) -> dict[str, Any]:
        """Dicts, lists and numbers."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """The inverse of `to_plain`."""
        return cls(**{**plain, "history": [EpochFigures(**figures) for figures in plain["history"]]})
