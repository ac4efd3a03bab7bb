"""Whether `decode` gives what steps and the choice outside give: the same tokens and states, to the bit."""

import numpy as np
from numpy.typing import NDArray

from models.decoding.inverse_cdf import NARROW
from models.decoding.options import GenerationOptions
from models.decoding.sampler import sampling_row
from models.decoding.uniforms import uniforms
from models.tasks import Task
from runtime.opening import OpenGraphs
from runtime.padding import padded
from runtime.runner import Array, DecodeRunner

FIGURE = "rows_changed_by_decode"
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


def decode_figures(opened: OpenGraphs, task: Task, sizes: dict[str, int], end_id: int | None) -> dict[str, float]:
    """Decode 12 rows by windows of 1, 2, 4 and 8 steps and by steps; empty where the set has no `decode`.

    Args:
        opened: the set.
        task: of the set.
        sizes: the model's numbers, as Bundle.sizes.
        end_id: the end token's id, or None.

    Returns:
        The number of rows whose tokens or state differ, over all windows.
    """
    decoder = opened.decoder(2 * len(_OPTIONS))
    if decoder is None:
        return {}
    compare = _compare_greedy if task.row_tensors else _compare_sampled
    return {FIGURE: float(sum(compare(opened, decoder, sizes, end_id, window) for window in WINDOWS))}


def _compare_sampled(
    opened: OpenGraphs, decoder: DecodeRunner, sizes: dict[str, int], end_id: int | None, num_steps: int
) -> int:
    """Rows that differ in a window of so many steps."""
    generator = np.random.default_rng(num_steps)
    options = [item for item in _OPTIONS for _ in range(2)]
    num_rows, vocab_size = len(options), sizes["V"]
    if vocab_size > NARROW:
        options = [item.model_copy(update={"top_k": 0, "top_p": 1.0}) for item in options]
    rows = np.concatenate([sampling_row(item, seed=i, choice=0, position=1) for i, item in enumerate(options)])
    states = generator.uniform(-0.5, 0.5, (num_rows, sizes["D"])).astype(np.float32)
    tokens = generator.integers(vocab_size, size=num_rows)
    forced = np.full((num_steps, num_rows), -1, np.int64)
    forced[:_NUM_FORCED, ::2] = generator.integers(vocab_size, size=forced[:_NUM_FORCED, ::2].shape)
    numbers = uniforms(rows["key"], rows["position"], num_steps)
    columns: dict[str, Array] = {
        name: np.ascontiguousarray(rows[name])
        for name in ("temperature", "min_p", "top_k", "top_p")
        if name in decoder.input_names
    }
    can_end = rows["position"] + np.arange(num_steps)[:, None] >= rows["end_from"]
    window: dict[str, Array] = {"token": tokens, "forced": forced, "uniforms": numbers, **columns}
    if end_id is not None:
        window["can_end"] = can_end
    for slot, state in enumerate(states):
        decoder.put(slot, state)
    (found,) = decoder.decode(num_rows, window, ["tokens"])
    is_different = np.zeros(num_rows, np.bool_)
    if "min_p" in columns:  # those that use no filter once more, by the graph without filters
        num_plain = 2 * _NUM_PLAIN
        kept = {name: values[..., :num_plain] for name, values in window.items() if name not in _FILTERS}
        for slot, state in enumerate(states[:num_plain]):
            decoder.put(slot, state)
        (plain,) = decoder.decode(num_plain, kept, ["tokens"])
        is_different[:num_plain] = (plain != found[:, :num_plain]).any(axis=0)
        for slot, state in enumerate(states):
            decoder.put(slot, state)
        decoder.decode(num_rows, window, ["tokens"])
    steps, chooser = opened.steps(2 * num_rows), opened.sequences()
    for slot, state in enumerate(states):
        steps.put(slot, state)
    for step in range(num_steps):
        logits = steps.step(tokens, np.arange(num_rows))
        inputs: dict[str, Array] = {"logits": logits, "uniforms": numbers[step], **columns}
        if end_id is not None:
            inputs["can_end"] = can_end[step]
        chosen = chooser.run("choose", inputs)["tokens"]
        tokens = np.where(forced[step] >= 0, forced[step], chosen)
        is_different |= tokens != found[step]
    return _num_different(decoder, [steps.get(slot) for slot in range(num_rows)], is_different)


def _compare_greedy(
    opened: OpenGraphs, decoder: DecodeRunner, sizes: dict[str, int], end_id: int | None, num_steps: int
) -> int:
    """Rows that differ in a window of so many steps; every source has a length of its own."""
    generator = np.random.default_rng(num_steps)
    num_rows = 2 * len(_OPTIONS)
    ids, lengths = padded([generator.integers(sizes["V"], size=3 + 2 * i).tolist() for i in range(num_rows)])
    encoded = opened.sequences().run("encode", {"ids": ids, "lengths": lengths})
    tokens = np.full(num_rows, end_id or 0, np.int64)
    steps = opened.attention_steps(2 * num_rows)
    for slot, length in enumerate(lengths.tolist()):
        memory = {name: encoded[name][slot, :length] for name in ("memory", "keys")}
        decoder.put(slot, encoded["state"][slot], memory)
        steps.put(slot, encoded["state"][slot], memory)
    window = {"token": tokens, "forced": np.full((num_steps, num_rows), -1, np.int64)}
    found, attention = decoder.decode(num_rows, window, ["tokens", "attention"])
    is_different = np.zeros(num_rows, np.bool_)
    for step in range(num_steps):
        logits = steps.step(tokens, np.arange(num_rows))
        tokens = logits.argmax(axis=1)
        is_different |= tokens != found[step]
        is_different |= (steps.attention != attention[step]).any(axis=1)
    return _num_different(decoder, [steps.get(slot) for slot in range(num_rows)], is_different)


def _num_different(decoder: DecodeRunner, states: list[NDArray[np.float32]], is_different: NDArray[np.bool_]) -> int:
    """Rows that differ already, or whose state after the window is not the one given."""
    return sum(
        bool(differs) or not np.array_equal(decoder.get(slot), state)
        for slot, (state, differs) in enumerate(zip(states, is_different, strict=True))
    )
