"""States of prompts that have been read, so that the same beginning need not be read again. Pure: no threads, no clock.

A trie whose edges are pieces of prompts: whole chunks, cut at multiples of CHUNK from the start, and shorter last ones.
A node holds the state after the tokens on the way to it. Prompts are always read in the same pieces, so a state from
here has the bits that reading the prompt would give (server.engine.generation.scheduler).

When the states take more than the budget, those that were used longest ago go. A node without a state stays while
others hang on it.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from server.engine.generation.scheduler import CHUNK

_NODE_BYTES = 600  # of a node besides its state: objects, and the key of a whole chunk

State = NDArray[np.float32]


@dataclass(eq=False, slots=True)
class _Node:
    parent: Self | None
    key: bytes  # the tokens of the edge from the parent
    state: State | None = None
    children: dict[bytes, Self] = field(default_factory=dict)


class PrefixCache:
    """Finds the longest beginning of a prompt whose state is known.

    Args:
        max_bytes: of all states and what keeps them; 0 keeps none.

    Attributes:
        num_bytes: taken now.
        num_evicted: states dropped for want of room.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._root = _Node(None, b"")
        self._used: OrderedDict[_Node, None] = OrderedDict()  # nodes with states, the longest unused first
        self.num_bytes = 0
        self.num_evicted = 0

    def __len__(self) -> int:
        return len(self._used)

    def find(self, tokens: NDArray[np.int64]) -> tuple[int, State | None]:
        """The longest known beginning.

        Args:
            tokens: int64 [length], those that are to be read.

        Returns:
            How many of them the state has read, and the state, float32 [D]; 0 and None when nothing is known.
        """
        node, start = self._root, 0
        found: tuple[int, _Node | None] = (0, None)
        while start < len(tokens):
            piece = tokens[start : start + CHUNK]
            child = node.children.get(piece.tobytes())
            if child is None:
                break
            node, start = child, start + len(piece)
            if node.state is not None:
                found = (start, node)
        length, best = found
        if best is None:
            return 0, None
        self._used.move_to_end(best)
        return length, best.state

    def put(self, tokens: NDArray[np.int64], state: State) -> None:
        """Keep the state after tokens that were read in pieces.

        Args:
            tokens: int64 [length], at least one.
            state: float32 [D]; not copied, and not to be changed from now on.
        """
        size = state.nbytes + _NODE_BYTES
        if size > self._max_bytes:
            return
        node = self._root
        for start in range(0, len(tokens), CHUNK):
            key = tokens[start : start + CHUNK].tobytes()
            child = node.children.get(key)
            if child is None:
                child = node.children[key] = _Node(node, key)
            node = child
        if node.state is None:
            node.state = state
            self.num_bytes += size
        self._used[node] = None
        self._used.move_to_end(node)
        while self.num_bytes > self._max_bytes:
            self._evict()

    def _evict(self) -> None:
        node, _ = self._used.popitem(last=False)
        assert node.state is not None
        self.num_bytes -= node.state.nbytes + _NODE_BYTES
        self.num_evicted += 1
        node.state = None
        while node.parent is not None and node.state is None and not node.children:
            del node.parent.children[node.key]
            node = node.parent
