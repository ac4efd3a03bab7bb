"""What export does for a task, beside its record in models.tasks. Knows nothing of files.

A task has at most one network of rnnserve's own (an architecture), and takes any user's module that fits its graphs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray

from export.user_module.inputs import InputSpec, ValueRange
from export.user_module.wrap.native import Native
from models.architecture import WrappedConfig
from models.bundle import Bundle
from models.graph_set import SETS
from runtime.opening import OpenGraphs


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


class UserModel(Protocol):
    """A user's module behind the graphs of its task."""

    module: Any  # torch.nn.Module
    remarks: list[str]  # what a user should know of the graphs, a sentence each, once they are traced

    def config(self) -> WrappedConfig:
        """What its graphs take and give."""

    def graphs(self) -> dict[str, onnx.ModelProto]:
        """Trace them.

        Raises:
            ExportError: PyTorch cannot trace the module, or its code freezes an axis.
        """

    def errors(self, opened: OpenGraphs) -> dict[str, float]:
        """How far open graphs are from the module's own forward: worst_error, mean_error, argmax_agreement."""

    def native(self) -> Native:
        """A network of rnnserve's own with the module's weights, in eval mode.

        Raises:
            NotNativeError: the module is none; the message says why.
        """


@dataclass(frozen=True)
class WrapFacts:
    """What a user's module is wrapped with.

    Attributes:
        vocab_size: V, of the tokenizer.
        end_id: what ends a text; None where the tokenizer has no such token.
        start_id: what a decoder reads first, if that is not the end token.
        longest: where the tokenizer cuts texts, in tokens; None where it does not.
        mark_ids: tokens of the tokenizer that are not text, such as those for padding and for what is unknown.
        inputs: what a model of frames takes, in the order of its forward.
        ranges: name of such an input -> its range.
        outputs: names of what such a model gives; none for those that its return value gives.
    """

    vocab_size: int = 0
    end_id: int | None = None
    start_id: int | None = None
    longest: int | None = None
    mark_ids: tuple[int, ...] = ()
    inputs: tuple[InputSpec, ...] = ()
    ranges: Mapping[str, ValueRange] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class TaskExport:
    """How models of one task become graphs.

    Attributes:
        task: its name.
        user_model: looks at what a user's module takes and gives; raises ExportError for what cannot be served.
        consistency: whether the graphs of a wrapped model agree among themselves, as figures.
        architecture: rnnserve's own network of the task, from a bundle and its config; None where there is none.
        sets: graph sets that this network can have.
        user_sets: those that a user's module can have: fp32 of any that fits; int8 where the module is one of ours
            (`UserModel.native`), and of frames where it has LSTM or GRU layers; none where no module is taken.
    """

    task: str
    user_model: Callable[[Any, WrapFacts], UserModel]
    consistency: Callable[[OpenGraphs, WrappedConfig], dict[str, float]]
    architecture: Callable[[Bundle, Any], Architecture] | None = None
    sets: tuple[str, ...] = SETS
    user_sets: tuple[str, ...] = ("fp32", "int8")
