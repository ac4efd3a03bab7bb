"""One process's part of a batch, and figures of all processes together."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """Every num_ranks-th row, from row `rank` on. The default is a process alone, which reads everything.

    The methods that communicate must be called by all processes, in the same order.

    Args:
        rank: this process, 0 .. num_ranks - 1.
        num_ranks: processes.
        device: on which tensors are reduced: NCCL needs its GPU.
    """

    rank: int = 0
    num_ranks: int = 1
    device: str = "cpu"

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """The items of this process, possibly none."""
        return items[self.rank :: self.num_ranks]

    def rows(self, rows: Tensor) -> Tensor:
        """The rows of this process, of [rows, ...]; the first row as a stand-in where it has none."""
        return rows[self.rank :: self.num_ranks] if self.rank < len(rows) else rows[:1]

    def whole(self, parts: Sequence[Tensor]) -> Tensor:
        """The inverse of `rows`, from the parts of all processes in the order of their ranks."""
        joined = torch.empty(sum(map(len, parts)), *parts[0].shape[1:], dtype=parts[0].dtype)
        for rank, part in enumerate(parts):
            joined[rank :: self.num_ranks] = part
        return joined

    def total(self, values: Sequence[float]) -> list[float]:
        """The sums of each value over all processes, in float64, the same on each."""
        if self.num_ranks == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(sums)
        return sums.tolist()

    def gathered(self, item: Item) -> list[Item]:
        """The items of all processes, in the order of their ranks."""
        if self.num_ranks == 1:
            return [item]
        items: list[Any] = [None] * self.num_ranks
        distributed.all_gather_object(items, item)
        return items


ALONE = Shard()
