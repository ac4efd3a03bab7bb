"""What the builder needs of an architecture. Knows nothing of files."""

from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from export.parity.backends import OpenGraphs
from models.graph_set import Golden
from runtime.golden import NUM_TOKENS


class Architecture(Protocol):
    """One bundle's model on its way to ONNX."""

    def graphs(self, set_name: str) -> tuple[dict[str, onnx.ModelProto], dict[str, Any]]:
        """Trace and rewrite, or quantise (int8): graphs by name, and facts worth keeping in the manifest.

        Raises:
            ExportError: PyTorch cannot trace the model, or a weight does not fit the set's precision.
        """

    def figures(self, opened: OpenGraphs, texts: list[list[int]] | None = None) -> dict[str, float]:
        """Hold open graphs against PyTorch and against each other.

        Args:
            opened: by any backend.
            texts: token ids of a user's texts (export.parity.texts); None for random tokens and what the model writes.
        """

    def relu_states(self) -> list[NDArray[np.float32]]:
        """Of a model with ReLU layers, each layer's positive states in PyTorch, float32 [any]."""

    def golden(self, opened: OpenGraphs) -> Golden:
        """The answer of open graphs that every machine must reproduce."""


def golden_ids(vocab_size: int) -> list[int]:
    """The tokens of a golden vector: random, the same for every build."""
    ids: list[int] = np.random.default_rng(0).integers(vocab_size, size=NUM_TOKENS).tolist()
    return ids
