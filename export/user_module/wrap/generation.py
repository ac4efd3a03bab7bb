"""A user's language model, forward(ids, lengths, *states) -> (logits, *states), behind advance, step and score.

ids int64 [batch, time], lengths int64 [batch], states as the module gives them or left out at the beginning; logits
float32 [batch, time, V], or [batch, V] after each row's last token.
"""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.parity.errors import Errors
from export.parity.texts import ragged_texts
from export.user_module.wrap.calls import called, check_arguments, rows_by_length, traced_for
from export.user_module.wrap.changes import Changes
from export.user_module.wrap.consistency import NUM_SLOTS, SHAPES, error_figures, unpadded
from export.user_module.wrap.longest import LONGEST_CALL, check_longest
from export.user_module.wrap.native import Native, native_language_model
from export.user_module.wrap.refused_logits import check_logits
from export.user_module.wrap.states import StateLayout, state_layout
from export.user_module.wrap.texts import ComparedTexts
from models.architecture import WrappedConfig
from models.errors import ExportError, UnsupportedModelError
from runtime.opening import OpenGraphs
from runtime.runner import Array, SequenceRunner, StepRunner

if TYPE_CHECKING:
    from export.tasks.task import WrapFacts

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Lengths = NDArray[np.int32]

_OPTIONAL = (
    " The server begins without states: give each a default, def forward(self, ids, lengths, h=None, c=None), and "
    "begin from zeros."
)
NUM_TURNS = 3  # texts read one after another, each from the state that the last one left
CHUNK_SIZES = (1, 7, 16)
_SAME = 1e-6  # how far an answer from no state may be from one from zeros


class UserLanguageModel(nn.Module):
    """The module with its states as one row.

    Args:
        module: the user's.
        facts: what it is wrapped with.
        layout: of its states.
        has_positions: whether it gives logits at every position.
    """

    def __init__(self, module: nn.Module, facts: "WrapFacts", layout: StateLayout, *, has_positions: bool) -> None:
        super().__init__()
        self.facts = facts
        self.vocab_size = facts.vocab_size
        self.module = module
        self.layout = layout
        self.has_positions = has_positions
        self.remarks: list[str] = []

    def forward(self, ids: Tensor, lengths: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        """Logits as the module gives them, and the row after each row's last token."""
        logits, *states = self.module(ids, lengths.to(torch.int64), *self.layout.states_from_row(row))
        return logits, self.layout.row_from_states(states)

    def last(self, ids: Tensor, lengths: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [batch, V] after each row's last token, and the row there."""
        logits, new_row = self(ids, lengths, row)
        if self.has_positions:
            logits = logits[torch.arange(ids.shape[0]), lengths.to(torch.int64) - 1]
        return logits, new_row

    def graphs(self) -> dict[str, onnx.ModelProto]:
        """Trace them.

        Raises:
            ExportError: PyTorch cannot trace the module, or its code freezes an axis.
        """
        ids = torch.zeros(3, 7, dtype=torch.int64)
        row = torch.zeros(3, self.layout.size)
        lengths = torch.tensor([7, 4, 1], dtype=torch.int32)
        of_rows = {0: "batch"}
        sequence = {"ids": (ids, {0: "batch", 1: "time"}), "lengths": (lengths, of_rows), "state": (row, of_rows)}
        one = {"token": (ids[:, 0].clone(), of_rows), "state": (row, of_rows)}
        outputs = ["logits", "new_state"]
        graphs = {
            "advance": traced_for(self.module, _Advance(self), "advance", sequence, outputs, self.remarks),
            "step": traced_for(self.module, _Step(self), "step", one, outputs, self.remarks),
        }
        if self.has_positions:
            graphs["score"] = traced_for(self.module, self, "score", sequence, outputs, self.remarks)
        return graphs

    def config(self) -> WrappedConfig:
        """See UserModel.config."""
        return WrappedConfig(task="generation", vocab_size=self.vocab_size, state=list(self.layout.parts))

    def errors(self, opened: OpenGraphs) -> dict[str, float]:
        """See UserModel.errors."""
        return _errors(opened.sequences(), self)

    def native(self) -> Native:
        """See UserModel.native."""
        return native_language_model(self)


class _Advance(nn.Module):
    def __init__(self, model: UserLanguageModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, lengths: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.last(ids, lengths, state)


class _Step(_Advance):
    def forward(self, token: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return self.model.last(token.unsqueeze(1), torch.ones_like(token), state)


def user_language_model(module: nn.Module, facts: "WrapFacts") -> UserLanguageModel:
    """Look at what a module takes and gives.

    Args:
        module: the user's, in eval mode.
        facts: what it is wrapped with.

    Raises:
        ExportError: the module fails, or gives something that cannot be served; the message says which.
    """
    who, vocab_size = f"{type(module).__name__}.forward", facts.vocab_size
    check_arguments(who, module.forward, "ids, lengths")

    def answer(batch: int, time: int) -> tuple[Any, ...]:
        ids = torch.arange(batch * time).reshape(batch, time) % vocab_size
        value = called(who, module, ids, torch.full((batch,), time), advice=_OPTIONAL)
        if not isinstance(value, tuple | list) or len(value) < 2:
            shown = type(value).__name__ + (f" of {len(value)}" if isinstance(value, tuple | list) else "")
            raise UnsupportedModelError(f"{who} gives {shown}; give (logits, state, ...).")
        return tuple(value)

    logits = check_logits(who, answer(3, 5)[0], {3: "[batch, time, V]", 2: "[batch, V]"}, 3)
    if logits.shape[-1] != vocab_size:
        raise ExportError(
            f"The tokenizer has {vocab_size} tokens, {who} gives {logits.shape[-1]} logits. Each token needs one: "
            "wrap the tokenizer that the model was trained with."
        )
    if logits.dim() == 3 and logits.shape[1] != 5:
        raise UnsupportedModelError(f"{who} gives logits {list(logits.shape)} for ids [3, 5]; give [batch, time, V].")
    check_longest(
        who,
        lambda length: answer(1, length),
        LONGEST_CALL,
        "Make its tables long enough, or clamp positions. Positions counted from each call's beginning are wrong "
        "anyway: keep what was read before in a state.",
    )
    layout = state_layout(lambda batch, time: list(answer(batch, time)[1:]), _state_names(module.forward), who)
    model = UserLanguageModel(module, facts, layout, has_positions=logits.dim() == 3)
    _check_begins_from_zeros(model, vocab_size, who)
    return model


def _check_begins_from_zeros(model: UserLanguageModel, vocab_size: int, who: str) -> None:
    ids = torch.arange(10).reshape(2, 5) % vocab_size
    lengths = torch.full((2,), 5)
    logits, *states = called(who, model.module, ids, lengths)
    again, row = called(who, model, ids, lengths, torch.zeros(2, model.layout.size))
    errors = (float((logits - again).abs().max()), float((model.layout.row_from_states(states) - row).abs().max()))
    if not max(errors) <= _SAME * max(1.0, float(logits.abs().max())):
        raise UnsupportedModelError(
            f"{who} without states answers otherwise than with zeros (by {max(errors):.3g}), so its initial state is "
            "something else, such as a learnt one. The server begins with zeros: subtract the initial state from what "
            "forward gives and add it to what it takes."
        )


def _state_names(forward: Callable[..., Any]) -> list[str]:
    parameters = list(inspect.signature(forward).parameters.values())[2:]
    return [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]


class LanguageModelAnswers:
    """PyTorch's answers in numpy arrays, eager.

    Args:
        model: the user's.
    """

    def __init__(self, model: UserLanguageModel) -> None:
        self._model = model

    def answer(self, ids: Ids, lengths: Lengths, row: Floats) -> tuple[Floats, Floats, Floats | None]:
        """Logits [batch, V] after each row's last token, the row [batch, D] there, and logits at every position."""
        order, back = rows_by_length(torch.from_numpy(lengths))
        arguments = [torch.from_numpy(array)[order] for array in (ids, lengths, row)]
        logits, new_row = (value[back] for value in called(type(self._model.module).__name__, self._model, *arguments))
        positions = None
        if self._model.has_positions:
            positions = logits.numpy()
            logits = logits[torch.arange(len(ids)), torch.from_numpy(lengths).to(torch.int64) - 1]
        return logits.numpy(), new_row.numpy(), positions


def _errors(runner: SequenceRunner, model: UserLanguageModel) -> dict[str, float]:
    """Of logits and states, from zeros and from states that text leads to."""
    answers, state_width = LanguageModelAnswers(model), model.layout.size
    errors = Errors()
    agreements, num_left = [], 0
    for turn in range(NUM_TURNS):
        compared = ComparedTexts(model.module, model.facts, 10 + turn, model.vocab_size, is_brief=turn > 0)
        for texts in compared:
            ids, lengths = unpadded(texts)
            state = np.zeros((len(ids), state_width), np.float32)
            for _ in range(2):
                logits, new_state, positions = answers.answer(ids, lengths, state)
                inputs: dict[str, Array] = {"ids": ids, "lengths": lengths, "state": state}
                advanced = runner.run("advance", inputs)
                errors.add(advanced["logits"], logits)
                errors.add(advanced["new_state"], new_state)
                agreements.append(advanced["logits"].argmax(-1) == logits.argmax(-1))
                if positions is not None:
                    scored = runner.run("score", inputs)
                    is_valid = np.arange(ids.shape[1]) < lengths[:, None]
                    errors.add(scored["logits"][is_valid], positions[:, : ids.shape[1]][is_valid])
                    errors.add(scored["new_state"], new_state)
                state = new_state
        num_left += compared.num_left
    return error_figures(errors, agreements, num_left)


def generation_figures(opened: OpenGraphs, config: WrappedConfig) -> dict[str, float]:
    """Whether chunks = whole, steps = whole, alone = in a batch, whatever the padding holds; see TaskExport."""
    runner, step = opened.sequences(), opened.steps(NUM_SLOTS)
    vocab_size, state_width = config.vocab_size, config.state_size
    chunked, stepped, in_batch, padding = Changes(), Changes(), Changes(), Changes()
    for texts in ragged_texts(vocab_size, 1, SHAPES):
        ids, lengths = unpadded(texts)
        state = np.zeros((len(ids), state_width), np.float32)
        together = runner.run("advance", {"ids": ids, "lengths": lengths, "state": state})
        other = np.where(np.arange(ids.shape[1] + 5) < lengths[:, None], np.pad(ids, ((0, 0), (0, 5))), vocab_size - 1)
        padding.add_rows(runner.run("advance", {"ids": other, "lengths": lengths, "state": state}), together)
        for row, text in enumerate(texts):
            whole = _advanced(runner, [text], state[:1])
            in_batch.add([(together[name][row], whole[name][0]) for name in whole])
            for size in CHUNK_SIZES:
                carried = {"new_state": state[:1]}
                for start in range(0, len(text), size):
                    carried = _advanced(runner, [text[start : start + size]], carried["new_state"])
                chunked.add_rows(carried, whole)
            step.put(0, state[0])
            for token in text:
                logits = step.step(np.array([token]), np.zeros(1, np.int64)).copy()
            stepped.add_rows({"logits": logits, "new_state": step.get(0)[None]}, whole)
        in_batch.add_rows(*_stepped_alone_and_together(step, ids, state))
    return {
        "worst_change_by_chunks": chunked.worst,
        "worst_step_against_whole": stepped.worst,
        "worst_change_by_batch": in_batch.worst,
        "worst_change_by_padding": padding.worst,
        "other_bits_by_chunks_or_steps": chunked.num_rows + stepped.num_rows,
        "other_bits_by_batch": in_batch.num_rows,
        "other_bits_by_padding": padding.num_rows,
    }


def _advanced(runner: SequenceRunner, texts: list[list[int]], state: Floats) -> dict[str, Array]:
    ids, lengths = unpadded(texts)
    return runner.run("advance", {"ids": ids, "lengths": lengths, "state": state})


def _stepped_alone_and_together(
    step: StepRunner, ids: Ids, state: Floats
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """One step of every row, at once and one by one."""
    tokens = np.ascontiguousarray(ids[:, 0])
    for slot, row in enumerate(state):
        step.put(slot, row)
    together = {"logits": step.step(tokens, np.arange(len(tokens))).copy()}
    alone = []
    for row, token in zip(state, tokens, strict=True):
        step.put(0, row)
        alone.append(step.step(np.array([token]), np.zeros(1, np.int64))[0].copy())
    return {"logits": np.stack(alone)}, together
