"""Who waits, in the order of their turns: requests take turns, each with the texts it has sent. Pure."""

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item", bound=Hashable)


class Line(Generic[Item]):
    """Items of several groups. Iterating gives the first of each group, then the second of each, and so on."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, dict[Item, None]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def __iter__(self) -> Iterator[Item]:
        rounds = [iter(items) for items in self._groups.values()]
        while rounds:
            going = []
            for items in rounds:
                for item in items:
                    yield item
                    going.append(items)
                    break
            rounds = going

    def add(self, group: Hashable, item: Item) -> None:
        """Put an item behind the others of its group; a new group goes to the end."""
        self._groups.setdefault(group, {})[item] = None

    def take(self, group: Hashable, item: Item) -> None:
        """Take an item out whose turn it is; its group goes to the end."""
        if self.discard(group, item) and group in self._groups:
            self._groups[group] = self._groups.pop(group)

    def discard(self, group: Hashable, item: Item) -> bool:
        """Take an item out, if it is there; the turns stay as they are. Whether it was."""
        items = self._groups.get(group, {})
        if item not in items:
            return False
        del items[item]
        if not items:
            del self._groups[group]
        return True
