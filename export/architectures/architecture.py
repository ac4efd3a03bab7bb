"""What the builder needs of an architecture. Knows nothing of files."""

from typing import Any, Protocol

import numpy as np
import onnx

from export.backends.golden import NUM_TOKENS
from export.backends.onnxruntime.build import Graphs
from export.report import Report
from models.graph_set import Golden


class Architecture(Protocol):
    """One bundle's model on its way to ONNX."""

    def graphs(self, set_name: str) -> tuple[dict[str, onnx.ModelProto], dict[str, Any]]:
        """Trace (fp32) or quantise (int8): graphs by name, and facts worth keeping in the manifest.

        Raises:
            ExportError: PyTorch cannot trace the model.
        """

    def verify(self, set_name: str, graphs: Graphs) -> Report:
        """Hold open graphs against PyTorch and against each other."""

    def golden(self, graphs: Graphs) -> Golden:
        """The answer of open graphs that every machine must reproduce."""


def golden_ids(vocab_size: int) -> list[int]:
    """The tokens of a golden vector: random, the same for every build."""
    ids: list[int] = np.random.default_rng(0).integers(vocab_size, size=NUM_TOKENS).tolist()
    return ids
