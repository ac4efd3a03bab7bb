"""A user's translator, two methods, behind the graphs encode and step.

encode(ids, lengths) -> (memory, keys, state)
    ids int64 [batch, source], lengths int64 [batch]; memory float32 [batch, source, M], keys float32
    [batch, source, A], state: float32 tensors nested as may be, each with a batch axis.
step(token, state, memory, keys, lengths) -> (logits, state, attention)
    token int64 [batch]; logits float32 [batch, V], attention float32 [batch, source]: weights over the source's own
    positions, which sum to 1.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.parity.errors import Errors
from export.user_module.precise import PreciseModule
from export.user_module.repeatable import check_repeatable
from export.user_module.wrap.calls import called, check_repeats, rows_by_length, traced_for
from export.user_module.wrap.changes import Changes
from export.user_module.wrap.consistency import NUM_SLOTS, error_figures
from export.user_module.wrap.longest import LONGEST_CALL, check_longest
from export.user_module.wrap.native import Native, NotNativeError
from export.user_module.wrap.refused_logits import check_logits, check_num_logits
from export.user_module.wrap.states import StateLayout, part_slices, state_layout
from export.user_module.wrap.texts import ComparedTexts, Targets, consistency_texts, special_ids
from models.architecture import WrappedConfig
from models.errors import ExportError, UnsupportedModelError
from models.tasks import task_of
from runtime.opening import OpenGraphs
from runtime.padding import padded
from runtime.runner import Array, AttentionStepRunner, SequenceRunner

if TYPE_CHECKING:
    from export.tasks.task import WrapFacts

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Lengths = NDArray[np.int32]

NUM_TARGETS = 4
NUM_COMPARED = 12  # target steps that are compared with PyTorch
_SUM_TOLERANCE = 1e-4


class UserTranslator(nn.Module):
    """The module with its state as one row.

    Args:
        module: the user's.
        facts: what it is wrapped with; its end token is what the server feeds first.
        layout: of its state.
        widths: M and A.
    """

    def __init__(
        self,
        module: nn.Module,
        facts: "WrapFacts",
        layout: StateLayout,
        widths: tuple[int, int],
    ) -> None:
        super().__init__()
        self.facts = facts
        self.vocab_size = facts.vocab_size
        self.module: Any = module
        self.layout = layout
        self.memory_width, self.keys_width = widths
        self.remarks: list[str] = []

    def encode(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Memory, keys, and the state as a row."""
        memory, keys, state = self.module.encode(ids, lengths.to(torch.int64))
        return memory, keys, self.layout.row_from_states([state])

    def step(
        self, token: Tensor, row: Tensor, memory: Tensor, keys: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, the new state as a row, attention."""
        start_id, end_id = self.facts.start_id, self.facts.end_id
        if start_id is not None and end_id is not None:  # an end token is never fed but at the beginning
            token = torch.where(token == end_id, start_id, token)
        (state,) = self.layout.states_from_row(row)
        logits, new_state, attention = self.module.step(token, state, memory, keys, lengths.to(torch.int64))
        return logits, self.layout.row_from_states([new_state]), attention

    def graphs(self) -> dict[str, onnx.ModelProto]:
        """Trace them.

        Raises:
            ExportError: PyTorch cannot trace the module, or its code freezes an axis.
        """
        batch, source = 3, 23
        ids = torch.zeros(batch, source, dtype=torch.int64)
        lengths = torch.tensor([source, 7, 1], dtype=torch.int32)
        of_rows, positions = {0: "batch"}, {0: "batch", 1: "source"}
        sources = {"ids": (ids, positions), "lengths": (lengths, of_rows)}
        one = {
            "token": (ids[:, 0].clone(), of_rows),
            "state": (torch.zeros(batch, self.layout.size), of_rows),
            "memory": (torch.zeros(batch, source, self.memory_width), positions),
            "keys": (torch.zeros(batch, source, self.keys_width), positions),
            "lengths": (lengths, of_rows),
        }
        return {
            "encode": traced_for(
                self.module, _Encode(self), "encode", sources, ["memory", "keys", "state"], self.remarks
            ),
            "step": traced_for(
                self.module, _Step(self), "step", one, ["logits", "new_state", "attention"], self.remarks
            ),
        }

    def config(self) -> WrappedConfig:
        """See UserModel.config."""
        return WrappedConfig(
            task="translation",
            vocab_size=self.vocab_size,
            state=list(self.layout.parts),
            memory_width=self.memory_width,
            keys_width=self.keys_width,
            start_id=self.facts.start_id,
            special_ids=special_ids(self.module, self.facts),
        )

    def errors(self, opened: OpenGraphs) -> dict[str, float]:
        """See UserModel.errors."""
        return _errors(opened.sequences(), opened.attention_steps(NUM_SLOTS), self)

    def native(self) -> Native:
        """See UserModel.native."""
        raise NotNativeError("a translator is always wrapped")


class _Encode(nn.Module):
    def __init__(self, model: UserTranslator) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.model.encode(ids, lengths)


class _Step(_Encode):
    def forward(  # type: ignore[override]
        self, token: Tensor, state: Tensor, memory: Tensor, keys: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self.model.step(token, state, memory, keys, lengths)


def user_translator(module: Any, facts: "WrapFacts") -> UserTranslator:
    """Look at what a module takes and gives.

    Args:
        module: the user's, in eval mode.
        facts: what it is wrapped with; its end token ends a source and a target.

    Raises:
        ExportError: the module fails, or gives something that cannot be served; the message says which.
    """
    name, vocab_size, end_id = type(module).__name__, facts.vocab_size, facts.end_id
    if end_id is None:
        raise ExportError("A translator's tokenizer has an end token; this one has none.")
    missing = [method for method in ("encode", "step") if not callable(getattr(module, method, None))]
    if missing:
        raise UnsupportedModelError(
            f"{name} has no method {' and no method '.join(missing)}. A translator has encode(ids, lengths) -> "
            "(memory, keys, state) and step(token, state, memory, keys, lengths) -> (logits, state, attention)."
        )

    def encoded(batch: int, source: int) -> tuple[Any, ...]:
        ids = torch.arange(batch * source).reshape(batch, source) % vocab_size
        value = called(f"{name}.encode", module.encode, ids, torch.full((batch,), source))
        return _three(f"{name}.encode", value, "(memory, keys, state)")

    check_repeatable(f"{name}.encode", lambda: encoded(3, 5))
    memory, keys, state = encoded(3, 5)
    widths = (_width(f"{name}.encode", "memory", memory), _width(f"{name}.encode", "keys", keys))
    layout = state_layout(lambda batch, source: [encoded(batch, source)[2]], ["state"], f"{name}.encode")
    model = UserTranslator(module, facts, layout, widths)
    lengths = torch.tensor([5, 3, 1])
    check_repeats(f"{name}.step", module.step, torch.full((3,), end_id), state, memory, keys, lengths)
    value = called(f"{name}.step", module.step, torch.full((3,), end_id), state, memory, keys, lengths)
    logits, new_state, attention = _three(f"{name}.step", value, "(logits, state, attention)")
    check_logits(f"{name}.step", logits, {2: "[batch, V]"}, 3)
    check_num_logits(f"{name}.step", logits.shape[1], vocab_size)
    if layout.row_from_states([new_state]).shape != (3, layout.size):
        raise UnsupportedModelError(f"{name}.step gives a state of another size than {name}.encode.")
    _check_attention(f"{name}.step", attention, lengths)

    def long(source: int) -> None:
        memory, keys, state = encoded(1, source)
        called(f"{name}.step", module.step, torch.full((1,), end_id), state, memory, keys, torch.tensor([source]))

    advice = "Make its tables long enough, or clamp positions."
    check_longest(name, long, task_of("translation").max_length or LONGEST_CALL, advice)
    return model


def _three(who: str, value: Any, wanted: str) -> tuple[Any, Any, Any]:
    if not isinstance(value, tuple | list) or len(value) != 3:
        shown = type(value).__name__ + (f" of {len(value)}" if isinstance(value, tuple | list) else "")
        raise UnsupportedModelError(f"{who} gives {shown}; give {wanted}.")
    return value[0], value[1], value[2]


def _width(who: str, name: str, value: Any) -> int:
    is_fit = isinstance(value, Tensor) and value.dtype == torch.float32 and value.shape[:2] == (3, 5)
    if not is_fit or value.dim() != 3:
        shown = f"{value.dtype}{list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise UnsupportedModelError(
            f"{who} gives {name} {shown.removeprefix('torch.')} for ids [3, 5]; give float32 [batch, source, width]. "
            "A decoder without keys of its own may be given the memory twice."
        )
    return int(value.shape[2])


def _check_attention(who: str, attention: Any, lengths: Tensor) -> None:
    if not isinstance(attention, Tensor) or attention.shape != (3, 5) or attention.dtype != torch.float32:
        shown = f"{attention.dtype}{list(attention.shape)}" if isinstance(attention, Tensor) else type(attention)
        raise UnsupportedModelError(
            f"{who} gives attention {str(shown).removeprefix('torch.')} for sources [3, 5]; give float32 "
            "[batch, source]."
        )
    past = attention[torch.arange(5).unsqueeze(0) >= lengths.unsqueeze(1)]
    if bool((past != 0).any()):
        raise UnsupportedModelError(
            f"{who} gives attention {float(past.abs().max()):.3g} past the end of a source. Mask the scores there "
            "before the softmax: scores.masked_fill(positions >= lengths[:, None], -1e9)."
        )
    error = float((attention.sum(1) - 1).abs().max())
    if error > _SUM_TOLERANCE or bool((attention < 0).any()):
        raise UnsupportedModelError(
            f"{who} gives attention that is no set of shares (a row's sum is off 1 by {error:.3g}). Give the weights "
            "after the softmax."
        )


class _Whole(_Encode):
    """Encodes, then steps through targets."""

    def forward(self, ids: Tensor, lengths: Tensor, targets: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        memory, keys, row = first = self.model.encode(ids, lengths)
        all_logits, all_attention = [], []
        for token in targets.unbind(1):
            logits, row, attention = self.model.step(token, row, memory, keys, lengths)
            all_logits.append(logits)
            all_attention.append(attention)
        return *first, torch.stack(all_logits, dim=1), torch.stack(all_attention, dim=1), row


class TranslatorAnswers:
    """PyTorch's answers in numpy arrays, eager.

    Args:
        model: the user's.
    """

    def __init__(self, model: UserTranslator) -> None:
        self._model = model
        self._whole = _Whole(model)
        self._precise = PreciseModule(self._whole)

    def translate(self, ids: Ids, lengths: Lengths, targets: Ids) -> dict[str, Array]:
        """Encode, then step through targets int64 [batch, time], in float32.

        Returns:
            memory, keys and state; logits [batch, time, V]; attention [batch, time, source]; last_state [batch, D].
        """
        name = type(self._model.module).__name__
        found = self._translate(partial(called, name, self._whole), ids, lengths, targets)
        assert found is not None
        return found

    def precise(self, ids: Ids, lengths: Lengths, targets: Ids) -> dict[str, Array] | None:
        """The same in float64; None where the module cannot be computed so."""
        return self._translate(self._precise.value, ids, lengths, targets)

    def _translate(self, call: Callable[..., Any], ids: Ids, lengths: Lengths, targets: Ids) -> dict[str, Array] | None:
        order, back = rows_by_length(torch.from_numpy(lengths))
        values = call(*(torch.from_numpy(array)[order] for array in (ids, lengths, targets)))
        if values is None:
            return None
        names = ("memory", "keys", "state", "logits", "attention", "last_state")
        return {name: value[back].numpy() for name, value in zip(names, values, strict=True)}


def _errors(runner: SequenceRunner, step: AttentionStepRunner, model: UserTranslator) -> dict[str, float]:
    """Of memory, keys, states, logits and attention of every target step."""
    answers = TranslatorAnswers(model)
    errors = Errors()
    agreements = []
    states = part_slices(model.layout.parts)
    width = model.memory_width + model.keys_width
    compared = ComparedTexts(model.module, model.facts, 10, width, is_each_alone=False)
    targets_of = Targets(model.module, model.facts, 5)
    for texts in compared:
        ids, lengths = padded(texts)
        targets = targets_of.draw(len(texts), NUM_COMPARED)
        own_ids = ids[:, : lengths.max()].copy()
        expected = answers.translate(own_ids, lengths, targets)
        precise = cache(partial(answers.precise, own_ids, lengths, targets))
        encoded = runner.run("encode", {"ids": ids, "lengths": lengths})
        for row, rows in enumerate(_forced(step, encoded, lengths, targets)):
            found = {name: encoded[name][row] for name in encoded}
            found |= {"logits": rows["logits"], "attention": rows["attention"], "last_state": rows["state"]}
            for name, part in _compared_parts(int(lengths[row]), states):
                errors.add(found[name][part], expected[name][row][part], partial(_row_of, precise, name, row, part))
            agreements.append(rows["logits"].argmax(-1) == expected["logits"][row].argmax(-1))
    return error_figures(errors, agreements, compared.num_left)


def _compared_parts(length: int, states: Sequence[slice]) -> list[tuple[str, tuple[slice, ...]]]:
    """What of a row's answers is compared: of a source's positions its own, of a state each part by itself."""
    own, everything = slice(length), slice(None)
    parts: list[tuple[str, tuple[slice, ...]]] = [("memory", (own,)), ("keys", (own,)), ("logits", (everything,))]
    parts += [("attention", (everything, own))]
    return parts + [(name, (part,)) for name in ("state", "last_state") for part in states]


def _row_of(
    answers: Callable[[], dict[str, Array] | None], name: str, row: int, part: tuple[slice, ...]
) -> Array | None:
    found = answers()
    return None if found is None else found[name][row][part]


def translation_figures(opened: OpenGraphs, config: WrappedConfig) -> dict[str, float]:
    """Whether alone = in a batch, whatever the padding holds, and attention is a set of shares; see TaskExport."""
    runner, step, vocab_size = opened.sequences(), opened.attention_steps(NUM_SLOTS), config.vocab_size
    generator = np.random.default_rng(3)
    in_batch, padding = Changes(), Changes()
    fault = 0.0
    for texts in consistency_texts(config):
        ids, lengths = padded(texts)
        together = runner.run("encode", {"ids": ids, "lengths": lengths})
        is_source = np.arange(ids.shape[1] + 16) < lengths[:, None]
        other = np.where(is_source, np.pad(ids, ((0, 0), (0, 16))), vocab_size - 1)
        otherwise = runner.run("encode", {"ids": other, "lengths": lengths})
        targets = generator.integers(vocab_size, size=(len(texts), NUM_TARGETS))
        answers = _forced(step, together, lengths, targets)
        of_others = _forced(step, otherwise, lengths, targets)
        for row, text in enumerate(texts):
            own = slice(row, row + 1)
            own_ids, own_lengths = padded([text])
            alone = runner.run("encode", {"ids": own_ids, "lengths": own_lengths})
            mine = _forced(step, alone, own_lengths, targets[own])
            encoded, length = _row(together, row, len(text)), len(text)
            in_batch.add([*_pairs(encoded, _row(alone, 0, length)), *_pairs(answers[row], mine[0], length)])
            padding.add([*_pairs(encoded, _row(otherwise, row, length)), *_pairs(answers[row], of_others[row], length)])
            attention = answers[row]["attention"]
            faults = (attention[:, length:], attention.sum(axis=1) - 1, np.minimum(attention, 0))
            fault = max(fault, *(float(np.abs(part).max(initial=0)) for part in faults))
    return {
        "worst_change_by_batch": in_batch.worst,
        "worst_change_by_padding": padding.worst,
        "worst_attention_fault": fault,
        "other_bits_by_batch": in_batch.num_rows,
        "other_bits_by_padding": padding.num_rows,
    }


def _forced(
    step: AttentionStepRunner, encoded: dict[str, Array], lengths: Lengths, targets: Ids
) -> list[dict[str, Floats]]:
    """Feed targets int64 [batch, time] to encoded sources.

    Returns:
        For each row: logits [time, V], attention [time, S], state [D].
    """
    for slot, length in enumerate(lengths):
        memory = {name: encoded[name][slot, :length] for name in ("memory", "keys")}
        step.put(slot, encoded["state"][slot], memory)
    logits, attention = [], []
    for tokens in targets.T:
        logits.append(step.step(np.ascontiguousarray(tokens), np.arange(len(lengths))).copy())
        attention.append(step.attention.copy())
    return [
        {
            "logits": np.stack([values[row] for values in logits]),
            "attention": np.stack([values[row] for values in attention]),
            "state": step.get(row),
        }
        for row in range(len(lengths))
    ]


def _row(encoded: dict[str, Array], row: int, length: int) -> dict[str, Floats]:
    return {
        "memory": encoded["memory"][row, :length],
        "keys": encoded["keys"][row, :length],
        "state": encoded["state"][row],
    }


def _pairs(
    found: dict[str, Floats], expected: dict[str, Floats], length: int | None = None
) -> list[tuple[Floats, Floats]]:
    """The arrays of two answers side by side; attention only over the source's own positions."""
    return [
        (found[name][:, :length], expected[name][:, :length]) if name == "attention" else (found[name], expected[name])
        for name in expected
    ]
