"""Rows that are decoded together by one path of the runtime, without gaps. Knows no scheduling."""

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

from server.engine.scheduler import Item, Row


class Batch(ABC, Generic[Item]):
    """Base of the tasks' batches: a row keeps its index until it leaves; then the last row takes its index.

    Attributes:
        rows: by index.
    """

    def __init__(self) -> None:
        self.rows: list[Row[Item]] = []

    @abstractmethod
    def num_wanted(self, most: int) -> int:
        """The most steps that any row can still use, from 1 to `most`."""

    @abstractmethod
    def _put(self, row: Row[Item]) -> None:
        """A row has joined, at row.index."""

    @abstractmethod
    def _move(self, index: int, source: int) -> None:
        """The row of index `source` goes to `index`."""

    @abstractmethod
    def _forget(self, row: Row[Item]) -> None:
        """A row has left."""

    def add(self, row: Row[Item]) -> None:
        """A row joins."""
        row.index = len(self.rows)
        self.rows.append(row)
        self._put(row)

    def remove(self, row: Row[Item]) -> None:
        """A row leaves; a no-op if it has left."""
        index = row.index
        if index < 0:
            return
        row.index = -1
        self._forget(row)
        last = self.rows.pop()
        if last is not row:
            self.rows[index] = last
            last.index = index
            self._move(index, len(self.rows))

    def clear(self) -> None:
        """All rows leave: a call has failed."""
        while self.rows:
            self.remove(self.rows[-1])


BatchT = TypeVar("BatchT", bound=Batch[Any])
