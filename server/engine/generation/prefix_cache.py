"""States of prompts that have been read, so that the same beginning is not read again. Knows no scheduling, no clock.

A trie whose edges are pieces of prompts: whole chunks of CHUNK tokens, and shorter last ones. A node holds the state
after the tokens on the way to it. A state has the same bits however its tokens were read, so one that is found here is
the one that reading would give. Shared by a model's lanes: every method takes the lock.

When the states take more than the budget, the least recently used ones are evicted. A node without a state stays while
others hang on it.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

CHUNK = 32  # tokens between two states of a prompt

_NODE_BYTES = 600  # of a node besides its state: objects, and the key of a whole chunk

State = NDArray[np.float32]


@dataclass(eq=False, slots=True)
class Node:
    """A beginning of prompts."""

    parent: Self | None
    key: bytes  # the tokens of the edge from the parent
    state: State | None = None
    children: dict[bytes, Self] = field(default_factory=dict)
    is_attached: bool = True  # whether its parent holds it


class Prefix(NamedTuple):
    """The longest known beginning of a prompt.

    Attributes:
        num_tokens: its tokens; 0 when nothing is known.
        state: float32 [D] after them, not to be changed; None when nothing is known.
        node: for `extend`.
    """

    num_tokens: int
    state: State | None
    node: Node


class PrefixCache:
    """Finds the longest beginning of a prompt whose state is known.

    Args:
        max_bytes: of all states and what keeps them; 0 keeps none.

    Attributes:
        num_bytes: taken now.
        num_evicted: states evicted so far.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._root = Node(None, b"")
        self._used: OrderedDict[Node, None] = OrderedDict()  # nodes with states, the least recently used first
        self._lock = threading.Lock()
        self.num_bytes = 0
        self.num_evicted = 0

    def __len__(self) -> int:
        return len(self._used)

    def find(self, tokens: NDArray[np.int64]) -> Prefix:
        """The longest known beginning.

        Args:
            tokens: int64 [length], those that are to be read.
        """
        node, start = self._root, 0
        best = Prefix(0, None, node)
        with self._lock:
            while start < len(tokens):
                piece = tokens[start : start + CHUNK]
                child = node.children.get(piece.tobytes())
                if child is None:
                    break
                node, start = child, start + len(piece)
                if node.state is not None:
                    best = Prefix(start, node.state, node)
            if best.state is not None:
                self._used.move_to_end(best.node)
        return best

    def extend(self, node: Node, piece: NDArray[np.int64], state: State) -> Node:
        """Keep the state after one more piece; its cost does not grow with what comes before.

        Args:
            node: of the tokens before, from `find` or `extend`; at a multiple of CHUNK.
            piece: int64 [length], the next tokens of the prompt: CHUNK of them, or fewer at its end.
            state: float32 [D]; not copied, and not to be changed from now on.

        Returns:
            The piece's node.
        """
        size = state.nbytes + _NODE_BYTES
        if size > self._max_bytes:
            return node
        key = piece.tobytes()
        with self._lock:
            parent = self._attached(node)
            child = parent.children.get(key)
            if child is None:
                child = parent.children[key] = Node(parent, key)
            if child.state is None:
                child.state = state
                self.num_bytes += size
            self._used[child] = None
            self._used.move_to_end(child)
            while self.num_bytes > self._max_bytes:
                self._evict()
        return child

    def _attached(self, node: Node) -> Node:
        """The node of the same tokens in the trie, from which it may have been removed meanwhile."""
        removed = []
        while not node.is_attached:
            assert node.parent is not None, "the root is never removed"
            removed.append(node)
            node = node.parent
        for item in reversed(removed):
            present = node.children.setdefault(item.key, item)
            if present is item:
                item.parent, item.is_attached = node, True
            node = present
        return node

    def _evict(self) -> None:
        node, _ = self._used.popitem(last=False)
        assert node.state is not None
        self.num_bytes -= node.state.nbytes + _NODE_BYTES
        self.num_evicted += 1
        node.state = None
        while node.parent is not None and node.state is None and not node.children:
            del node.parent.children[node.key]
            node.is_attached = False
            node = node.parent
