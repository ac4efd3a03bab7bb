"""The choice of the next token as ONNX nodes: what models.decoding.sampler defines, as far as a graph does it well.

    temperature; the end token banned until min_tokens; filters: min_p, and up to NARROW ids top_k and top_p

Random numbers are inputs, so a token depends on its row's logits and options alone. Narrow vocabularies are searched in
one level; wide ones in two, because a cumulative sum and an arg max over thousands of ids cost more than the step: sums
of blocks of BLOCK weights first, then inside the block that holds the answer.

Temperature 0 is the likeliest token: divided by the smallest normal number, all weights but the largest are 0, and with
the uniform number 0 the first positive weight is taken, so of equal logits the lower id (logits that differ by less
than 2e-36 count as equal). The sum of the weights is NaN exactly where the logits hold a NaN, +infinity or nothing but
-infinity, wherever they stand (-infinity bans a token), so it shows rows that are not finite at no cost.
"""

from dataclasses import dataclass

import numpy as np

from export.onnx.graph import FLOAT, OnnxGraph
from models.decoding.inverse_cdf import BLOCK, NARROW

INT32, DOUBLE = 6, 11  # onnx.TensorProto
SMALLEST = np.float32(np.finfo(np.float32).tiny)
NOT_FINITE = -1


@dataclass(frozen=True)
class ChoiceInputs:
    """Names of one step's values in the graph.

    Attributes:
        logits: float32 [B, V].
        uniforms: float64 [B], in [0, 1); 0 for rows of temperature 0.
        can_end: bool [B]; None where there is no end token.
        end_ids: int64 [B, 1], the end token's id; None where there is no end token.
        temperature: float32 [B, 1], positive.
        min_p: float32 [B, 1]; None where no row uses a filter.
        is_in_k: float32 [B, V], 1 for the ranks that top_k keeps, else 0; None as min_p, and for wide vocabularies.
        top_p: float64 [B, 1], infinite where it is off; None as is_in_k.
    """

    logits: str
    uniforms: str
    can_end: str | None
    end_ids: str | None
    temperature: str | None
    min_p: str | None
    is_in_k: str | None
    top_p: str | None


def declared(
    graph: OnnxGraph, uniforms: str, vocab_size: int, end_id: int | None, *, has_filters: bool
) -> tuple[dict[str, str | None], str]:
    """Declare the inputs that hold the rows' options, and compute what is computed once for a window.

    Args:
        graph: the outer graph.
        uniforms: float64 [..., B].
        vocab_size: V.
        end_id: the end token's id, or None.
        has_filters: whether rows may use min_p, top_k or top_p.

    Returns:
        Names by the attributes of ChoiceInputs: end_ids, temperature, min_p, is_in_k, top_p; and the uniform numbers,
        0 for rows of temperature 0.
    """
    one = graph.constant(np.array([1], np.int64))
    temperature = graph.input("temperature", np.float32, ["batch"])
    is_sampled = graph.node("Greater", temperature, graph.constant(np.float32(0)))
    positive = graph.node("Where", is_sampled, temperature, graph.constant(SMALLEST))
    columns: dict[str, str | None] = dict.fromkeys(("end_ids", "min_p", "is_in_k", "top_p"))
    columns["temperature"] = column = graph.node("Unsqueeze", positive, one)
    if end_id is not None:
        columns["end_ids"] = graph.node("Expand", graph.constant(np.array([[end_id]])), graph.node("Shape", column))
    if has_filters:
        columns["min_p"] = graph.node("Unsqueeze", graph.input("min_p", np.float32, ["batch"]), one)
    if has_filters and vocab_size <= NARROW:
        top_k = graph.input("top_k", np.int64, ["batch"])
        is_on = graph.node("Greater", top_k, graph.constant(np.int64(0)))
        top_k = graph.node("Where", is_on, top_k, graph.constant(np.int64(vocab_size)))
        ranks = graph.constant(np.arange(vocab_size)[None])
        columns["is_in_k"] = graph.node(
            "Cast", graph.node("Less", ranks, graph.node("Unsqueeze", top_k, one)), to=FLOAT
        )
        top_p = graph.input("top_p", np.float64, ["batch"])
        is_on = graph.node("Less", top_p, graph.constant(np.float64(1)))
        # Where it is off nothing of top_k's is left out, whatever the rounding of the sums.
        top_p = graph.node("Where", is_on, top_p, graph.constant(np.float64(np.inf)))
        columns["top_p"] = graph.node("Unsqueeze", top_p, one)
    return columns, graph.node("Where", is_sampled, uniforms, graph.constant(np.float64(0)))


def chosen_tokens(graph: OnnxGraph, inputs: ChoiceInputs, vocab_size: int) -> str:
    """Add the nodes that choose.

    Args:
        graph: a graph or the body of a Scan.
        inputs: one step's values.
        vocab_size: V.

    Returns:
        int64 [B], NOT_FINITE where the logits are not finite.
    """
    one = graph.constant(np.array([1], np.int64))
    logits = _with_ban(graph, inputs)
    if vocab_size <= NARROW:
        best = graph.node("ReduceMax", logits, one, keepdims=1)
        weights = graph.node("Exp", graph.node("Div", graph.node("Sub", logits, best), str(inputs.temperature)))
        if inputs.is_in_k is not None and inputs.top_p is not None:
            weights = _of_likeliest(graph, logits, weights, inputs.is_in_k, inputs.top_p, vocab_size)
        if inputs.min_p is not None:
            weights = _with_min_p(graph, weights, inputs.min_p)
        sums = graph.node("CumSum", graph.node("Cast", weights, to=DOUBLE), graph.constant(np.int64(1)))
        total = graph.node("Gather", sums, graph.constant(np.int64(vocab_size - 1)), axis=1)
        token = _first_above(graph, sums, graph.node("Mul", total, inputs.uniforms))
    else:
        token, total = _chosen_in_blocks(graph, inputs, logits, vocab_size)
    is_finite = graph.node("Greater", total, graph.constant(np.float64(0)))
    return graph.node("Where", is_finite, token, graph.constant(np.int64(NOT_FINITE)))


def likeliest_token(graph: OnnxGraph, logits: str, vocab_size: int) -> str:
    """The likeliest token of each row, of equally likely ones the lower id: int64 [B]. Any where a logit is NaN."""
    if vocab_size <= NARROW:
        return graph.node("ArgMax", logits, axis=1, keepdims=0)
    one = graph.constant(np.array([1], np.int64))
    # Of a size that divides the vocabulary the blocks are a view, not a copy.
    size = next((size for size in range(2 * BLOCK, BLOCK // 2, -1) if vocab_size % size == 0), BLOCK)
    blocks = _in_blocks(graph, logits, vocab_size, size)
    best = graph.node("ReduceMax", blocks, graph.constant(np.array([2], np.int64)), keepdims=0)
    block = graph.node("ArgMax", best, axis=1, keepdims=1)
    inside = graph.node("ArgMax", graph.node("GatherND", blocks, block, batch_dims=1), axis=1, keepdims=0)
    start = graph.node("Mul", graph.node("Squeeze", block, one), graph.constant(np.int64(size)))
    return graph.node("Add", start, inside)


def _in_blocks(graph: OnnxGraph, logits: str, vocab_size: int, size: int) -> str:
    """Logits float32 [B, V] as [B, blocks, size], filled up with -infinity."""
    num_blocks = -(-vocab_size // size)
    if vocab_size % size:
        pads = graph.constant(np.array([0, 0, 0, num_blocks * size - vocab_size], np.int64))
        logits = graph.node("Pad", logits, pads, graph.constant(np.float32(-np.inf)))
    return graph.node("Reshape", logits, graph.constant(np.array([0, num_blocks, size], np.int64)))


def _with_ban(graph: OnnxGraph, inputs: ChoiceInputs) -> str:
    """The logits, -infinity for the end token of rows that may not end; without a pass over all ids."""
    if inputs.can_end is None or inputs.end_ids is None:
        return inputs.logits
    can_end = graph.node("Unsqueeze", inputs.can_end, graph.constant(np.array([1], np.int64)))
    own = graph.node("GatherElements", inputs.logits, inputs.end_ids, axis=1)
    own = graph.node("Where", can_end, own, graph.constant(np.float32(-np.inf)))
    return graph.node("ScatterElements", inputs.logits, inputs.end_ids, own, axis=1)


def _with_min_p(graph: OnnxGraph, weights: str, min_p: str) -> str:
    """The weights times 1, or 0 where they are less than min_p. Not by Where, which would hide a NaN."""
    is_likely = graph.node("GreaterOrEqual", weights, min_p)
    return graph.node("Mul", weights, graph.node("Cast", is_likely, to=FLOAT))


def _of_likeliest(graph: OnnxGraph, logits: str, weights: str, is_in_k: str, top_p: str, vocab_size: int) -> str:
    """The weights, times 0 but for the tokens that top_k and then top_p keep, of equally likely ones the lower ids."""
    all_ids, last = (graph.constant(np.array([number], np.int64)) for number in (vocab_size, vocab_size - 1))
    _, order = graph.nodes("TopK", logits, all_ids, outputs=2, axis=1)  # of equal values the lower id first
    in_order = graph.node("Mul", graph.node("GatherElements", weights, order, axis=1), is_in_k)
    exact = graph.node("Cast", in_order, to=DOUBLE)
    before = graph.node("CumSum", exact, graph.constant(np.int64(1)), exclusive=1)
    total = graph.node("Add", *(graph.node("Gather", item, last, axis=1) for item in (before, exact)))
    is_kept = graph.node("Less", before, graph.node("Mul", total, top_p))
    in_order = graph.node("Mul", in_order, graph.node("Cast", is_kept, to=FLOAT))
    return graph.node("ScatterElements", weights, order, in_order, axis=1)


def _chosen_in_blocks(graph: OnnxGraph, inputs: ChoiceInputs, logits: str, vocab_size: int) -> tuple[str, str]:
    """The token of each row, int64 [B], and the sum of its weights, float64 [B]."""
    one, last_axis = graph.constant(np.array([1], np.int64)), graph.constant(np.array([2], np.int64))
    along = graph.constant(np.int64(1))
    blocks = _in_blocks(graph, logits, vocab_size, BLOCK)
    best = graph.node("ReduceMax", graph.node("ReduceMax", blocks, last_axis, keepdims=1), one, keepdims=1)
    temperature = graph.node("Unsqueeze", str(inputs.temperature), one)
    weights = graph.node("Exp", graph.node("Div", graph.node("Sub", blocks, best), temperature))
    if inputs.min_p is not None:
        weights = _with_min_p(graph, weights, graph.node("Unsqueeze", inputs.min_p, one))
    block_sums = graph.node("Cast", graph.node("ReduceSum", weights, last_axis, keepdims=0), to=DOUBLE)
    sums = graph.node("CumSum", block_sums, along)
    before = graph.node("CumSum", block_sums, along, exclusive=1)
    total = graph.node("Gather", sums, graph.constant(np.int64(-(-vocab_size // BLOCK) - 1)), axis=1)
    wanted = graph.node("Mul", total, inputs.uniforms)
    block = graph.node("Unsqueeze", _first_above(graph, sums, wanted), one)
    inside = graph.node("GatherND", weights, block, batch_dims=1)
    inside = graph.node("CumSum", graph.node("Cast", inside, to=DOUBLE), along)
    rest = graph.node("Sub", wanted, graph.node("Squeeze", graph.node("GatherElements", before, block, axis=1), one))
    # The two sums of a block may differ in the last bits; what is wanted must lie inside this one.
    most = graph.node("Gather", inside, graph.constant(np.int64(BLOCK - 1)), axis=1)
    # The next smaller number. The runtime takes a factor of 1 - 2^-53 for 1 and drops the product.
    most = graph.node("Sub", most, graph.node("Mul", most, graph.constant(np.float64(2.0**-53))))
    position = _first_above(graph, inside, graph.node("Min", rest, most))
    start = graph.node("Mul", graph.node("Squeeze", block, one), graph.constant(np.int64(BLOCK)))
    return graph.node("Add", start, position), total


def _first_above(graph: OnnxGraph, sums: str, wanted: str) -> str:
    """The first index of each row of sums [B, n] that exceeds wanted [B]: int64 [B]."""
    one = graph.constant(np.array([1], np.int64))
    is_above = graph.node("Greater", sums, graph.node("Unsqueeze", wanted, one))
    return graph.node("ArgMax", graph.node("Cast", is_above, to=INT32), axis=1, keepdims=0)
