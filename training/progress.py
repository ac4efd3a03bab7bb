"""Where a run stands: position in the data, running loss, best epoch, history. Pure numbers, saved in a checkpoint."""

from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class EpochFigures:
    """One epoch as measured."""

    epoch: int  # counted from 1
    losses: dict[str, float]  # train_<loss>_per_<unit>: mean over the epoch, with dropout, while the weights changed
    validation: dict[str, float]  # training.stage.Validation.figures
    learning_rate: float  # after the epoch's last update
    seconds: float  # training and validation, without what a killed run lost

    def flat(self) -> dict[str, float]:
        """All figures in one dict, as the log and the card have them."""
        ends = {"learning_rate": self.learning_rate, "seconds": self.seconds}
        return {"epoch": self.epoch, **self.losses, **self.validation, **ends}


@dataclass(frozen=True)
class Cycle:
    """Updates over which the learning rate is laid: those of the whole run, or those that were added to it later."""

    first: int  # its first update, counted from 0
    num_updates: int
    epochs: int  # of the recipe with which it was laid


@dataclass
class Progress:
    """The state of a run between two updates.

    `epoch` and `position` are those that come next, counted from 0; the sums are over this epoch's batches so far.
    """

    epoch: int = 0
    position: int = 0
    loss_sum: float = 0.0
    num_targets: int = 0
    seconds: float = 0.0
    best_epoch: int = 0  # counted from 1; 0 before any
    best_rank: tuple[float, ...] | None = None  # training.stage.Validation.rank of the best epoch
    history: list[EpochFigures] = field(default_factory=list)
    cycles: list[Cycle] = field(default_factory=list)  # in order; one, and another each time that epochs was raised

    def add(self, nats: float, num_targets: int, num_batches: int, seconds: float) -> None:
        """Count an update: the sum of its targets' losses, its targets, its batches, its time."""
        self.position += num_batches
        self.loss_sum += nats
        self.num_targets += num_targets
        self.seconds += seconds

    def finish_epoch(self, figures: EpochFigures, rank: tuple[float, ...]) -> bool:
        """Close the epoch; returns whether it is the best so far: its rank is smaller than all before."""
        self.history.append(figures)
        self.epoch += 1
        self.position, self.loss_sum, self.num_targets, self.seconds = 0, 0.0, 0, 0.0
        if self.best_rank is not None and not rank < self.best_rank:
            return False
        self.best_epoch, self.best_rank = figures.epoch, rank
        return True

    def is_over(self, epochs: int, patience: int | None) -> bool:
        """Whether all epochs are done, or `patience` of them have passed without a new best."""
        is_stale = patience is not None and self.epoch - self.best_epoch >= patience
        return self.epoch >= epochs or is_stale

    def to_plain(self) -> dict[str, Any]:
        """Dicts, lists and numbers."""
        return {**asdict(self), "best_rank": None if self.best_rank is None else list(self.best_rank)}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """The inverse of `to_plain`."""
        rank = plain["best_rank"]
        history = [EpochFigures(**figures) for figures in plain["history"]]
        cycles = [Cycle(**cycle) for cycle in plain.get("cycles", [])]
        best_rank = None if rank is None else tuple(rank)
        return cls(**{**plain, "best_rank": best_rank, "history": history, "cycles": cycles})
