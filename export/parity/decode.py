"""Whether `decode` gives what steps and the choice outside give, in windows of any length and batches of any size: the
same tokens and states, to the bit. And whether `decode_beam` ranks what steps give, and the same in windows of any
length and batches of any size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.decoding.inverse_cdf import NARROW
from models.decoding.options import GenerationOptions
from models.decoding.sampler import sampling_row
from models.decoding.uniforms import uniforms
from models.tasks import BEAM, Task
from runtime.opening import OpenGraphs
from runtime.padding import padded
from runtime.runner import Array, DecodeRunner

FIGURE = "rows_changed_by_decode"
BATCH_FIGURE, WRAPPED_BATCH_FIGURE = "rows_changed_by_decode_batch", "other_bits_by_decode_batch"
WINDOWS = (1, 2, 4, 8)
_OPTIONS = (
    GenerationOptions(),
    GenerationOptions(temperature=0),
    GenerationOptions(temperature=0.7, min_tokens=5),
    GenerationOptions(temperature=0, min_tokens=5),
    GenerationOptions(temperature=1.3, top_k=5, top_p=0.8),
    GenerationOptions(min_p=0.1),
)
_NUM_PLAIN = 4  # of these the first: they use no filter
_FILTERS = ("min_p", "top_k", "top_p")
_NUM_FORCED = 3  # tokens of the prompt, of every other row
_NUM_ROWS = 2 * len(_OPTIONS)
_SOME_ROWS = (7, 0, 10, 3, 5)
BEAM_ERROR = "worst_error_of_beams"
_BEAM_OUTPUTS = ("parents", "tokens", "log_probability", "is_broken", "attention")


@dataclass(frozen=True)
class _Rows:
    """Rows before a window.

    Attributes:
        states: float32 [n, D].
        memories: of each row, where it attends to something.
        token: int64 [n], the next input.
        by_row: the other inputs of `decode`, [n].
        by_step: the same, [K, n].
    """

    states: NDArray[np.float32]
    memories: list[Mapping[str, Array] | None]
    token: NDArray[np.int64]
    by_row: dict[str, Array]
    by_step: dict[str, Array]

    def window(self) -> dict[str, Array]:
        """The inputs of one window for all rows."""
        return {"token": self.token, **self.by_row, **self.by_step}


def decode_figures(
    opened: OpenGraphs, task: Task, sizes: dict[str, int], end_id: int | None, *, is_wrapped: bool = False
) -> dict[str, float]:
    """Decode 12 rows by windows and by steps, and some of them alone; empty where the set has no `decode`.

    Args:
        opened: the set.
        task: of the set.
        sizes: the model's numbers, as Bundle.sizes.
        end_id: the end token's id, or None.
        is_wrapped: whether the step is a user's own, whose bits may depend on the size of the batch.

    Returns:
        The number of rows whose tokens or state differ: between windows of 1, 2, 4 and 8 steps and steps, or of rows
        alone between a window of 8 and 8 windows; and between batches of 1, 5 and 12 rows.
    """
    decoder = opened.decoder(_NUM_ROWS)
    if decoder is None:
        return {}
    compare = _compare_greedy if task.row_tensors else _compare_sampled
    num_changed = sum(compare(opened, decoder, sizes, end_id, window) for window in WINDOWS)
    make = _greedy_rows if task.row_tensors else _sampled_rows
    rows = make(opened, decoder, sizes, end_id, WINDOWS[-1])
    by_window, by_batch = _compare_batches(decoder, rows)
    beams = opened.beam_decoder(_NUM_ROWS, BEAM)
    figures = {}
    if beams is not None and end_id is not None:
        by_beam_window, by_beam_batch, figures[BEAM_ERROR] = _compare_beams(opened, beams, rows, end_id)
        by_window, by_batch = by_window + by_beam_window, by_batch + by_beam_batch
    return {
        FIGURE: float(num_changed + by_window),
        WRAPPED_BATCH_FIGURE if is_wrapped else BATCH_FIGURE: float(by_batch),
        **figures,
    }


def _compare_beams(opened: OpenGraphs, decoder: DecodeRunner, rows: _Rows, end_id: int) -> tuple[int, int, float]:
    """Searches of BEAM rows.

    Returns:
        Searches that differ alone in windows of one step; that differ in smaller batches; and the worst difference of
        the log probability of a best continuation's last token from that of the same token by steps of the same rows.
    """
    num_steps = WINDOWS[-1]
    together, steps_together = _beams(decoder, rows, range(_NUM_ROWS), [num_steps], end_id)
    some, _ = _beams(decoder, rows, _SOME_ROWS, [num_steps], end_id)
    is_changed = dict.fromkeys(range(_NUM_ROWS), False)
    is_changed |= {row: found != together[row] for row, found in zip(_SOME_ROWS, some, strict=True)}
    num_cut = 0
    for row in range(_NUM_ROWS):
        ((alone,), _), ((cut,), _) = (
            _beams(decoder, rows, [row], lengths, end_id) for lengths in ([num_steps], [1] * num_steps)
        )
        num_cut += alone != cut
        is_changed[row] |= alone != together[row]
    return num_cut, sum(is_changed.values()), _beam_error(opened, rows, steps_together, end_id)


def _beams(
    decoder: DecodeRunner, rows: _Rows, which: Sequence[int], lengths: Sequence[int], end_id: int
) -> tuple[list[bytes], dict[str, Array]]:
    """What ranks of some searches, decoded together in windows of these lengths: as bytes by search, and by name."""
    own = list(which)
    for slot, row in enumerate(own):
        decoder.put(slot, rows.states[row], rows.memories[row])
    token = np.repeat(rows.token[own][:, None], BEAM, axis=1)
    log_p = np.full(token.shape, -np.inf)
    log_p[:, 0] = 0
    windows = []
    for length in lengths:
        inputs = {"token": token, "log_p": log_p, "steps": np.zeros(length, np.int64)}
        found = dict(zip(_BEAM_OUTPUTS, decoder.decode(len(own), inputs, _BEAM_OUTPUTS), strict=True))
        windows.append(found)
        token, log_p, _ = _live_of(found, -1, end_id)
    joined: dict[str, Array] = {
        name: np.concatenate([window[name] for window in windows]) for name in _BEAM_OUTPUTS if name != "attention"
    }
    attention = []
    for slot, row in enumerate(own):
        memory = rows.memories[row]
        assert memory is not None, "a translator's rows attend to something"
        attention.append(_attention_of(windows, slot, len(memory["memory"])))
    texts = [b"".join(values[:, slot].tobytes() for values in joined.values()) for slot in range(len(own))]
    return [text + weights for text, weights in zip(texts, attention, strict=True)], joined


def _attention_of(windows: list[dict[str, Array]], slot: int, length: int) -> bytes:
    """The attention of a search's rows up to its source's length."""
    return b"".join(np.ascontiguousarray(window["attention"][:, slot, :, :length]).tobytes() for window in windows)


def _live_of(found: dict[str, Array], step: int, end_id: int) -> tuple[NDArray[np.int64], NDArray[np.float64], Array]:
    """Token, log p and parent [n, BEAM] of the rows that go on after a step, as the loop chooses them."""
    tokens, log_p = found["tokens"][step], found["log_probability"][step]
    order = np.argsort(-np.where(tokens == end_id, -np.inf, log_p), axis=1, kind="stable")[:, :BEAM]
    token, after, parents = (
        np.take_along_axis(values, order, axis=1) for values in (tokens, log_p, found["parents"][step])
    )
    return token, np.where(token == end_id, -np.inf, after), parents


def _beam_error(opened: OpenGraphs, rows: _Rows, found: dict[str, Array], end_id: int) -> float:
    """The worst difference of a log probability from that by steps of the same rows; infinite where only one is."""
    steps = opened.attention_steps(2 * _NUM_ROWS * BEAM)
    for slot, (state, memory) in enumerate(zip(rows.states, rows.memories, strict=True)):
        steps.put(slot, state, memory)
    first = np.arange(_NUM_ROWS)[:, None]
    token, slots = np.repeat(rows.token[:, None], BEAM, axis=1), np.repeat(first, BEAM, axis=1)
    before = np.full(token.shape, -np.inf)
    before[:, 0] = 0
    worst = 0.0
    for step in range(len(found["tokens"])):
        logits = steps.step(token.ravel(), slots.ravel()).astype(np.float64)
        z = logits - logits.max(axis=1, keepdims=True)
        log_p = (z - np.log(np.exp(z).sum(axis=1, keepdims=True))).reshape(*token.shape, -1)
        parents, tokens, totals = (found[name][step] for name in ("parents", "tokens", "log_probability"))
        is_live = totals > -np.inf
        expected = np.take_along_axis(before, parents, axis=1) + log_p[first, parents, tokens]
        worst = max(worst, float(np.abs(expected - totals)[is_live].max(initial=0)))
        token, before, parents = _live_of(found, step, end_id)
        slots = first * BEAM + parents
    return worst


def _compare_batches(decoder: DecodeRunner, rows: _Rows) -> tuple[int, int]:
    """Rows that differ alone in windows of one step, and rows that differ in smaller batches."""
    num_steps = WINDOWS[-1]
    together = _decoded(decoder, rows, range(_NUM_ROWS), [num_steps])
    some = _decoded(decoder, rows, _SOME_ROWS, [num_steps])
    is_changed = dict.fromkeys(range(_NUM_ROWS), False)
    is_changed |= {row: found != together[row] for row, found in zip(_SOME_ROWS, some, strict=True)}
    num_cut = 0
    for row in range(_NUM_ROWS):
        (alone,), (cut,) = (_decoded(decoder, rows, [row], lengths) for lengths in ([num_steps], [1] * num_steps))
        num_cut += alone != cut
        is_changed[row] |= alone != together[row]
    return num_cut, sum(is_changed.values())


def _decoded(decoder: DecodeRunner, rows: _Rows, which: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
    """The tokens and the state of some rows, decoded together in windows of these lengths."""
    own = list(which)
    for slot, row in enumerate(own):
        decoder.put(slot, rows.states[row], rows.memories[row])
    token, start = rows.token[own], 0
    tokens = []
    for length in lengths:
        inputs = {name: np.ascontiguousarray(values[own]) for name, values in rows.by_row.items()}
        steps = slice(start, start + length)
        inputs |= {name: np.ascontiguousarray(values[steps, own]) for name, values in rows.by_step.items()}
        (found,) = decoder.decode(len(own), {"token": token, **inputs}, ["tokens"])
        tokens.append(found)
        token, start = found[-1].copy(), start + length
    all_tokens = np.concatenate(tokens)
    return [all_tokens[:, slot].tobytes() + decoder.get(slot).tobytes() for slot in range(len(own))]


def _sampled_rows(
    opened: OpenGraphs, decoder: DecodeRunner, sizes: dict[str, int], end_id: int | None, num_steps: int
) -> _Rows:
    """Rows of all options, for a window of so many steps."""
    del opened
    generator = np.random.default_rng(num_steps)
    options = [item for item in _OPTIONS for _ in range(2)]
    vocab_size = sizes["V"]
    if vocab_size > NARROW:
        options = [item.model_copy(update={"top_k": 0, "top_p": 1.0}) for item in options]
    rows = np.concatenate([sampling_row(item, seed=i, choice=0, position=1) for i, item in enumerate(options)])
    states = generator.uniform(-0.5, 0.5, (_NUM_ROWS, sizes["D"])).astype(np.float32)
    tokens = generator.integers(vocab_size, size=_NUM_ROWS)
    forced = np.full((num_steps, _NUM_ROWS), -1, np.int64)
    forced[:_NUM_FORCED, ::2] = generator.integers(vocab_size, size=forced[:_NUM_FORCED, ::2].shape)
    columns: dict[str, Array] = {
        name: np.ascontiguousarray(rows[name])
        for name in ("temperature", "min_p", "top_k", "top_p")
        if name in decoder.input_names
    }
    by_step: dict[str, Array] = {"forced": forced, "uniforms": uniforms(rows["key"], rows["position"], num_steps)}
    if end_id is not None:
        by_step["can_end"] = rows["position"] + np.arange(num_steps)[:, None] >= rows["end_from"]
    return _Rows(states, [None] * _NUM_ROWS, tokens, columns, by_step)


def _compare_sampled(
    opened: OpenGraphs, decoder: DecodeRunner, sizes: dict[str, int], end_id: int | None, num_steps: int
) -> int:
    """Rows that differ in a window of so many steps."""
    rows = _sampled_rows(opened, decoder, sizes, end_id, num_steps)
    states, tokens, window = rows.states, rows.token, rows.window()
    for slot, state in enumerate(states):
        decoder.put(slot, state)
    (found,) = decoder.decode(_NUM_ROWS, window, ["tokens"])
    is_different = np.zeros(_NUM_ROWS, np.bool_)
    if "min_p" in window:  # those that use no filter once more, by the graph without filters
        num_plain = 2 * _NUM_PLAIN
        kept = {name: values[..., :num_plain] for name, values in window.items() if name not in _FILTERS}
        for slot, state in enumerate(states[:num_plain]):
            decoder.put(slot, state)
        (plain,) = decoder.decode(num_plain, kept, ["tokens"])
        is_different[:num_plain] = (plain != found[:, :num_plain]).any(axis=0)
        for slot, state in enumerate(states):
            decoder.put(slot, state)
        decoder.decode(_NUM_ROWS, window, ["tokens"])
    steps, chooser = opened.steps(2 * _NUM_ROWS), opened.sequences()
    for slot, state in enumerate(states):
        steps.put(slot, state)
    forced = rows.by_step["forced"]
    for step in range(num_steps):
        logits = steps.step(tokens, np.arange(_NUM_ROWS))
        options = {name: values[step] for name, values in rows.by_step.items() if name != "forced"}
        chosen = chooser.run("choose", {"logits": logits, **options, **rows.by_row})["tokens"]
        tokens = np.where(forced[step] >= 0, forced[step], chosen)
        is_different |= tokens != found[step]
    return _num_different(decoder, [steps.get(slot) for slot in range(_NUM_ROWS)], is_different)


def _greedy_rows(
    opened: OpenGraphs, decoder: DecodeRunner, sizes: dict[str, int], end_id: int | None, num_steps: int
) -> _Rows:
    """Rows whose sources have a length each of their own, for a window of so many steps."""
    del decoder
    generator = np.random.default_rng(num_steps)
    ids, lengths = padded([generator.integers(sizes["V"], size=3 + 2 * i).tolist() for i in range(_NUM_ROWS)])
    encoded = opened.sequences().run("encode", {"ids": ids, "lengths": lengths})
    memories: list[Mapping[str, Array] | None] = [
        {name: encoded[name][row, :length] for name in ("memory", "keys")}
        for row, length in enumerate(lengths.tolist())
    ]
    tokens = np.full(_NUM_ROWS, end_id or 0, np.int64)
    return _Rows(encoded["state"], memories, tokens, {}, {"forced": np.full((num_steps, _NUM_ROWS), -1, np.int64)})


def _compare_greedy(
    opened: OpenGraphs, decoder: DecodeRunner, sizes: dict[str, int], end_id: int | None, num_steps: int
) -> int:
    """Rows that differ in a window of so many steps."""
    rows = _greedy_rows(opened, decoder, sizes, end_id, num_steps)
    tokens = rows.token
    steps = opened.attention_steps(2 * _NUM_ROWS)
    for slot, (state, memory) in enumerate(zip(rows.states, rows.memories, strict=True)):
        decoder.put(slot, state, memory)
        steps.put(slot, state, memory)
    found, attention = decoder.decode(_NUM_ROWS, rows.window(), ["tokens", "attention"])
    is_different = np.zeros(_NUM_ROWS, np.bool_)
    for step in range(num_steps):
        logits = steps.step(tokens, np.arange(_NUM_ROWS))
        tokens = logits.argmax(axis=1)
        is_different |= tokens != found[step]
        is_different |= (steps.attention != attention[step]).any(axis=1)
    return _num_different(decoder, [steps.get(slot) for slot in range(_NUM_ROWS)], is_different)


def _num_different(decoder: DecodeRunner, states: list[NDArray[np.float32]], is_different: NDArray[np.bool_]) -> int:
    """Rows that differ already, or whose state after the window is not the one given."""
    return sum(
        bool(differs) or not np.array_equal(decoder.get(slot), state)
        for slot, (state, differs) in enumerate(zip(states, is_different, strict=True))
    )
