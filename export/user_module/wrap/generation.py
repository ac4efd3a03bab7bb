"""A user's language model, forward(ids[, lengths], *states) -> (logits, *states), behind advance, step and score.

Or step(token, *states) -> (logits, *states) without a forward: then `step` is that, and the others repeat it.

ids int64 [batch, time], lengths int64 [batch], states as the module gives them or left out at the beginning; logits
float32 [batch, time, V], or [batch, V] after each row's last token. A forward without lengths reads whole rows; texts
of different lengths are read one length after the other in PyTorch, and in a graph its recurrent layers get the
lengths (export.user_module.recurrent).
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.parity.errors import Errors
from export.parity.limits import FP32_TOLERANCE
from export.user_module.precise import PreciseModule
from export.user_module.recurrent import rows_end_at
from export.user_module.repeatable import check_repeatable
from export.user_module.stepped import Steps, stepped, uses_step
from export.user_module.wrap.calls import called, check_arguments, rows_by_length, traced_for
from export.user_module.wrap.changes import Changes
from export.user_module.wrap.consistency import NUM_SLOTS, error_figures, note_nan, unpadded
from export.user_module.wrap.longest import LONGEST_CALL, check_longest
from export.user_module.wrap.native import Native, native_language_model
from export.user_module.wrap.refused_logits import check_logits, check_num_logits
from export.user_module.wrap.states import StateLayout, part_slices, state_layout
from export.user_module.wrap.texts import ComparedTexts, consistency_texts, special_ids
from models.architecture import WrappedConfig
from models.errors import UnsupportedModelError
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


class UserLanguageModel(nn.Module):
    """The module with its states as one row.

    Args:
        module: the user's.
        facts: what it is wrapped with.
        layout: of its states.
        has_positions: whether it gives logits at every position.
        has_lengths: whether its forward takes lengths.
    """

    def __init__(
        self,
        module: nn.Module,
        facts: "WrapFacts",
        layout: StateLayout,
        *,
        has_positions: bool,
        has_lengths: bool = True,
    ) -> None:
        super().__init__()
        self.facts = facts
        self.vocab_size = facts.vocab_size
        self.module = module
        self.layout = layout
        self.has_positions = has_positions
        self.has_lengths = has_lengths
        self.remarks: list[str] = []

    def forward(self, ids: Tensor, lengths: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        """Logits as the module gives them, and the row after each row's last token."""
        if self.has_lengths:
            return self._read(row, ids, lengths.to(torch.int64))
        if torch.compiler.is_exporting():
            with rows_end_at(lengths, ids.shape[1]):
                return self._read(row, ids)
        return self._read_by_length(ids, lengths, row)

    def _read(self, row: Tensor, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        logits, *states = self.module(*inputs, *self.layout.states_from_row(row))
        return logits, self.layout.row_from_states(states)

    def _read_by_length(self, ids: Tensor, lengths: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of one length after the other; logits past a row's end are zeros."""
        found = []
        for length in sorted(set(lengths.tolist())):
            (rows,) = (lengths == length).nonzero(as_tuple=True)
            found.append((rows, *self._read(row[rows], ids[rows, :length])))
        new_row = torch.zeros_like(row).index_copy(
            0, torch.cat([rows for rows, _, _ in found]), torch.cat([new for _, _, new in found])
        )
        logits = new_row.new_zeros(*ids.shape[: 2 if self.has_positions else 1], self.vocab_size)
        for rows, own, _ in found:
            logits[(rows, slice(own.shape[1])) if self.has_positions else rows] = own
        return logits, new_row

    def last(self, ids: Tensor, lengths: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [batch, V] after each row's last token, and the row there."""
        logits, new_row = self(ids, lengths, row)
        if self.has_positions:
            logits = logits[torch.arange(ids.shape[0]), lengths.to(torch.int64) - 1]
        return logits, new_row

    def once(self, token: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        """As last, of one token each, int64 [batch]."""
        if not isinstance(self.module, Steps):
            return self.last(token.unsqueeze(1), torch.ones_like(token), row)
        logits, *states = self.module.step(token, *self.layout.states_from_row(row))
        return logits, self.layout.row_from_states(states)

    def graphs(self) -> dict[str, onnx.ModelProto]:
        """Trace them.

        Raises:
            ExportError: PyTorch cannot trace the module, or its code freezes an axis.
        """
        if not self.has_lengths and not self.has_positions:
            raise UnsupportedModelError(
                f"{type(self.module).__name__}.forward takes no lengths and gives logits after the last token alone, "
                "which in a batch of texts of different lengths is not each text's last. Give logits at every "
                "position, [batch, time, V], or take lengths: forward(ids, lengths, ...)."
            )
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
        return WrappedConfig(
            task="generation",
            vocab_size=self.vocab_size,
            state=list(self.layout.parts),
            special_ids=special_ids(self.module, self.facts),
        )

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
        return self.model.once(token, state)


def user_language_model(module: nn.Module, facts: "WrapFacts") -> UserLanguageModel:
    """Look at what a module takes and gives.

    Args:
        module: the user's, in eval mode.
        facts: what it is wrapped with.

    Raises:
        ExportError: the module fails, or gives something that cannot be served; the message says which.
    """
    who, vocab_size = f"{type(module).__name__}.forward", facts.vocab_size
    if uses_step(module, "ids", "lengths"):
        who = f"{type(module).__name__}.step"
        module = stepped(module, lambda batch: [torch.arange(batch) % vocab_size])
    has_lengths = isinstance(module, Steps) or _takes_lengths(module.forward)
    check_arguments(who, module.forward, "ids, lengths" if has_lengths else "ids")

    def answer(batch: int, time: int) -> tuple[Any, ...]:
        ids = torch.arange(batch * time).reshape(batch, time) % vocab_size
        inputs = (ids, torch.full((batch,), time))[: 1 + has_lengths]
        value = called(who, module, *inputs, advice=_OPTIONAL)
        if not isinstance(value, tuple | list) or len(value) < 2:
            shown = type(value).__name__ + (f" of {len(value)}" if isinstance(value, tuple | list) else "")
            raise UnsupportedModelError(f"{who} gives {shown}; give (logits, state, ...).")
        return tuple(value)

    check_repeatable(who, lambda: answer(3, 5))
    logits = check_logits(who, answer(3, 5)[0], {3: "[batch, time, V]", 2: "[batch, V]"}, 3)
    check_num_logits(who, logits.shape[-1], vocab_size)
    if logits.dim() == 3 and logits.shape[1] != 5:
        raise UnsupportedModelError(f"{who} gives logits {list(logits.shape)} for ids [3, 5]; give [batch, time, V].")
    check_longest(
        who,
        lambda length: answer(1, length),
        LONGEST_CALL,
        "Make its tables long enough, or clamp positions. Positions counted from each call's beginning are wrong "
        "anyway: keep what was read before in a state.",
    )
    names = _state_names(module, has_lengths=has_lengths)
    layout = state_layout(lambda batch, time: list(answer(batch, time)[1:]), names, who)
    model = UserLanguageModel(module, facts, layout, has_positions=logits.dim() == 3, has_lengths=has_lengths)
    _check_begins_from_zeros(model, vocab_size, who)
    return model


def _takes_lengths(forward: Callable[..., Any]) -> bool:
    """Whether what follows the ids is lengths: it need not be given a value that is left out, or its name says so."""
    second = list(inspect.signature(forward).parameters.values())[1:2]
    return not second or second[0].default is inspect.Parameter.empty or "len" in second[0].name.lower()


def _check_begins_from_zeros(model: UserLanguageModel, vocab_size: int, who: str) -> None:
    ids = torch.arange(10).reshape(2, 5) % vocab_size
    lengths = torch.full((2,), 5)
    zeros = torch.zeros(2, model.layout.size)
    inputs = (ids, lengths)[: 1 + model.has_lengths]
    logits, *states = called(who, model.module, *inputs)
    again, row = called(who, model, ids, lengths, zeros)
    begun = PreciseModule(model.module).value(*inputs)
    exact = [None, None] if begun is None else [begun[0].numpy(), model.layout.row_from_states(list(begun[1:])).numpy()]
    errors = Errors()
    errors.add(again.numpy(), logits.numpy(), lambda: exact[0])
    own = model.layout.row_from_states(states).numpy()
    for part in part_slices(model.layout.parts):
        errors.add(row[:, part].numpy(), own[:, part], partial(_part, exact[1], part))
    if not errors.worst <= FP32_TOLERANCE:
        raise UnsupportedModelError(
            f"{who} without states answers otherwise than with zeros (by {errors.difference:.3g} of the largest number "
            "of a row), so its initial state is something else, such as a learnt one. The server begins with zeros: "
            "subtract the initial state from what forward gives and add it to what it takes."
        )


def _part(rows: Array | None, part: slice) -> Array | None:
    return None if rows is None else rows[:, part]


def _state_names(module: nn.Module, *, has_lengths: bool) -> list[str]:
    if isinstance(module, Steps):
        return module.state_names
    parameters = list(inspect.signature(module.forward).parameters.values())[2 if has_lengths else 1 :]
    return [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]


class LanguageModelAnswers:
    """PyTorch's answers in numpy arrays, eager.

    Args:
        model: the user's.
    """

    def __init__(self, model: UserLanguageModel) -> None:
        self._model = model
        self._precise = PreciseModule(model)

    def answer(self, ids: Ids, lengths: Lengths, row: Floats) -> "LanguageModelAnswer":
        """In float32."""
        name = type(self._model.module).__name__
        found = self._answer(partial(called, name, self._model), ids, lengths, row)
        assert found is not None
        return found

    def precise(self, ids: Ids, lengths: Lengths, row: Floats) -> "LanguageModelAnswer | None":
        """In float64; None where the module cannot be computed so."""
        return self._answer(self._precise.value, ids, lengths, row)

    def _answer(
        self, call: Callable[..., Any], ids: Ids, lengths: Lengths, row: Floats
    ) -> "LanguageModelAnswer | None":
        order, back = rows_by_length(torch.from_numpy(lengths))
        value = call(*(torch.from_numpy(array)[order] for array in (ids, lengths, row)))
        if value is None:
            return None
        logits, new_row = (tensor[back] for tensor in value)
        if not self._model.has_positions:
            return LanguageModelAnswer(logits.numpy(), new_row.numpy(), None)
        last = logits[torch.arange(len(ids)), torch.from_numpy(lengths).to(torch.int64) - 1]
        is_valid = np.arange(logits.shape[1]) < lengths[:, None]
        return LanguageModelAnswer(last.numpy(), new_row.numpy(), logits.numpy()[is_valid])


@dataclass(frozen=True)
class LanguageModelAnswer:
    """What a language model answers to some texts.

    Attributes:
        logits: after each row's last token, [batch, V].
        row: the states there, [batch, D].
        positions: logits after every token of every row, [tokens, V]; None where the module gives none.
    """

    logits: Array
    row: Array
    positions: Array | None


def _errors(runner: SequenceRunner, model: UserLanguageModel) -> dict[str, float]:
    """Of logits and states, from zeros and from states that text leads to."""
    answers, state_width = LanguageModelAnswers(model), model.layout.size
    parts = part_slices(model.layout.parts)
    errors = Errors()
    agreements, num_left = [], 0
    for turn in range(NUM_TURNS):
        compared = ComparedTexts(model.module, model.facts, 10 + turn, model.vocab_size, is_brief=turn > 0)
        for texts in compared:
            ids, lengths = unpadded(texts)
            state = np.zeros((len(ids), state_width), np.float32)
            for _ in range(2):
                expected = answers.answer(ids, lengths, state)
                note_nan(model.remarks, type(model.module).__name__, texts, expected.logits)
                precise = cache(partial(answers.precise, ids, lengths, state))
                inputs: dict[str, Array] = {"ids": ids, "lengths": lengths, "state": state}
                advanced = runner.run("advance", inputs)
                found = [LanguageModelAnswer(advanced["logits"], advanced["new_state"], None)]
                if expected.positions is not None:
                    scored = runner.run("score", inputs)
                    is_valid = np.arange(ids.shape[1]) < lengths[:, None]
                    found.append(LanguageModelAnswer(expected.logits, scored["new_state"], scored["logits"][is_valid]))
                for answer in found:
                    _add_errors(errors, answer, expected, precise, parts)
                agreements.append(advanced["logits"].argmax(-1) == expected.logits.argmax(-1))
                state = expected.row
        num_left += compared.num_left
    return error_figures(errors, agreements, num_left)


def _add_errors(
    errors: Errors,
    found: LanguageModelAnswer,
    expected: LanguageModelAnswer,
    precise: Callable[[], LanguageModelAnswer | None],
    parts: Sequence[slice],
) -> None:
    def exact(name: str, part: slice) -> Array | None:
        answer = precise()
        value: Array | None = None if answer is None else getattr(answer, name)
        return None if value is None else value[:, part]

    everything = slice(None)
    for name, part in [("logits", everything), *(("row", part) for part in parts), ("positions", everything)]:
        own = getattr(found, name)
        if own is not None:
            errors.add(own[:, part], getattr(expected, name)[:, part], partial(exact, name, part))


def generation_figures(opened: OpenGraphs, config: WrappedConfig) -> dict[str, float]:
    """Whether chunks = whole, steps = whole, alone = in a batch, whatever the padding holds; see TaskExport."""
    runner, step = opened.sequences(), opened.steps(NUM_SLOTS)
    vocab_size, state_width = config.vocab_size, config.state_size
    chunked, stepped, in_batch, padding = Changes(), Changes(), Changes(), Changes()
    for texts in consistency_texts(config):
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
