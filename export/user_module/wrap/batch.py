"""A user's module, forward(ids, lengths) -> one output, behind the one graph of a task that is answered in batches.

ids int64 [batch, time], lengths int64 [batch]; the output float32, as the task's record has it: a row of numbers for
each text, or for each of its tokens.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.parity.errors import Errors
from export.user_module.precise import PreciseModule
from export.user_module.wrap.calls import called, check_arguments, check_repeats, rows_by_length, traced_for
from export.user_module.wrap.changes import Changes
from export.user_module.wrap.consistency import error_figures, note_nan
from export.user_module.wrap.longest import LONGEST_CALL, check_longest
from export.user_module.wrap.native import Native, NotNativeError, native_tagger
from export.user_module.wrap.refused_logits import check_logits
from export.user_module.wrap.texts import ComparedTexts, consistency_texts, special_ids
from models.architecture import WrappedConfig
from models.errors import ExportError
from models.tasks import TAGGING, Graph, Task, task_of
from runtime.opening import OpenGraphs
from runtime.padding import padded

if TYPE_CHECKING:
    from export.tasks.task import WrapFacts

_AXES = {"B": "batch", "T": "time"}


class BatchModel(nn.Module):
    """The module with what it is wrapped with.

    Args:
        module: the user's.
        task: its record; one graph, ids and lengths to logits of the classes.
        facts: what it is wrapped with.
        num_classes: C.
    """

    def __init__(self, module: nn.Module, task: Task, facts: "WrapFacts", num_classes: int) -> None:
        super().__init__()
        self.module = module
        self.task = task
        self.facts = facts
        self.num_classes = num_classes
        self.remarks: list[str] = []

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """The output, as the task's record has it."""
        output: Tensor = self.module(ids, lengths.to(torch.int64))
        return output

    def config(self) -> WrappedConfig:
        """See UserModel.config."""
        return WrappedConfig(
            task=self.task.name,
            vocab_size=self.facts.vocab_size,
            state=[],
            num_classes=self.num_classes,
            special_ids=special_ids(self.module, self.facts),
        )

    def graphs(self) -> dict[str, onnx.ModelProto]:
        """See UserModel.graphs."""
        graph = batch_graph(self.task)
        examples = {
            "ids": torch.zeros(3, 23, dtype=torch.int64),
            "lengths": torch.tensor([23, 7, 1], dtype=torch.int32),
        }
        inputs = {
            tensor.name: (examples[tensor.name], {axis: _AXES[letter] for axis, letter in enumerate(tensor.shape)})
            for tensor in graph.inputs
        }
        longest = {} if self.facts.longest is None else {"time": self.facts.longest}
        outputs = [tensor.name for tensor in graph.outputs]
        return {graph.name: traced_for(self.module, self, graph.name, inputs, outputs, self.remarks, longest)}

    def errors(self, opened: OpenGraphs) -> dict[str, float]:
        """See UserModel.errors."""
        graph, sequences = batch_graph(self.task), opened.sequences()
        errors = Errors()
        agreements = []
        name, precise = type(self.module).__name__, PreciseModule(self)
        compared = ComparedTexts(self.module, self.facts, 10, self.num_classes)
        for texts in compared:
            ids, lengths = padded(texts)
            found = sequences.run(graph.name, {"ids": ids, "lengths": lengths})[graph.outputs[0].name]
            own_ids = ids[:, : lengths.max()].copy()
            expected = self._answer(partial(called, name, self), own_ids, lengths)
            assert expected is not None
            note_nan(self.remarks, name, texts, expected)
            exact = cache(partial(self._answer, precise.value, own_ids, lengths))
            for row, length in enumerate(lengths):
                pair = (_own(graph, found, row, length), _own(graph, expected, row, length))
                errors.add(*pair, partial(_own_or_none, graph, exact, row, length))
                agreements.append(np.atleast_1d(pair[0].argmax(-1) == pair[1].argmax(-1)))
        return error_figures(errors, agreements, compared.num_left)

    def native(self) -> Native:
        """See UserModel.native."""
        if self.task is not TAGGING:
            raise NotNativeError(f"rnnserve has no network of its own for {self.task.name}")
        return native_tagger(self)

    def _answer(
        self, call: Callable[..., Any], ids: NDArray[np.int64], lengths: NDArray[np.int32]
    ) -> NDArray[Any] | None:
        """PyTorch's output, eager; None where the call gives none."""
        order, back = rows_by_length(torch.from_numpy(lengths))
        value = call(*(torch.from_numpy(array)[order] for array in (ids, lengths)))
        return None if value is None else value[back].numpy()


def batch_graph(task: Task) -> Graph:
    """The one graph of a task that is answered in batches."""
    (graph,) = task.graphs
    return graph


def user_batch_model(task: str, module: nn.Module, facts: "WrapFacts") -> BatchModel:
    """Look at what a module takes and gives, for a task whose one output is logits of the classes.

    Args:
        task: its name.
        module: the user's, in eval mode.
        facts: what it is wrapped with.

    Raises:
        ExportError: the module fails, or gives something that cannot be served; the message says which.
    """
    record, who = task_of(task), f"{type(module).__name__}.forward"
    check_arguments(who, module.forward, "ids, lengths")
    axes = [{"B": "batch", "T": "time", "C": "classes"}[letter] for letter in batch_graph(record).outputs[0].shape]
    shape = f"[{', '.join(axes)}]"
    check_repeats(who, module, *random_texts(facts.vocab_size))
    logits = check_logits(who, called(who, module, *random_texts(facts.vocab_size)), {len(axes): shape}, 17)
    if "time" in axes and logits.shape[1] != 9:
        raise ExportError(f"{who} gives logits {list(logits.shape)} for ids [17, 9]; give {shape}.")
    check_text_length(who, module, record, facts)
    return BatchModel(module, record, facts, logits.shape[-1])


def random_texts(vocab_size: int) -> tuple[Tensor, Tensor]:
    """What a module is tried with: ids int64 [17, 9] and their lengths."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(vocab_size, (17, 9), generator=generator), torch.full((17,), 9)


def check_text_length(who: str, module: nn.Module, task: Task, facts: "WrapFacts") -> None:
    """Refuse a module that fails on a text that a server admits.

    Raises:
        ExportError: naming the shortest such text.
    """
    admitted = task.max_length or LONGEST_CALL
    check_longest(
        who,
        lambda length: called(who, module, torch.randint(facts.vocab_size, (1, length)), torch.tensor([length])),
        min(facts.longest or admitted, admitted),
        "Make its tables long enough or clamp positions, or let the tokenizer cut texts before that: "
        "tokenizer.enable_truncation(LENGTH).",
    )


def batch_figures(opened: OpenGraphs, config: WrappedConfig) -> dict[str, float]:
    """Whether alone = in a batch, whatever the padding holds; see TaskExport."""
    graph, sequences = batch_graph(task_of(config.task)), opened.sequences()
    in_batch, padding = Changes(), Changes()
    for texts in consistency_texts(config):
        ids, lengths = padded(texts)
        is_text = np.arange(ids.shape[1] + 16) < lengths[:, None]
        other = np.where(is_text, np.pad(ids, ((0, 0), (0, 16))), config.vocab_size - 1)
        together, otherwise = (
            sequences.run(graph.name, {"ids": each, "lengths": lengths})[graph.outputs[0].name] for each in (ids, other)
        )
        for row, text in enumerate(texts):
            own_ids, own_lengths = padded([text])
            alone = sequences.run(graph.name, {"ids": own_ids, "lengths": own_lengths})[graph.outputs[0].name]
            answer = _own(graph, together, row, len(text))
            padding.add([(_own(graph, otherwise, row, len(text)), answer)])
            in_batch.add([(answer, _own(graph, alone, 0, len(text)))])
    return {
        "worst_change_by_batch": in_batch.worst,
        "worst_change_by_padding": padding.worst,
        "other_bits_by_batch": in_batch.num_rows,
        "other_bits_by_padding": padding.num_rows,
    }


def _own_or_none(graph: Graph, answer: Callable[[], NDArray[Any] | None], row: int, length: int) -> NDArray[Any] | None:
    output = answer()
    return None if output is None else _own(graph, output, row, length)


def _own(graph: Graph, output: NDArray[np.float32], row: int, length: int) -> NDArray[np.float32]:
    """A row's output, over its own positions where it has a time axis."""
    return output[row, :length] if "T" in graph.outputs[0].shape else output[row]
