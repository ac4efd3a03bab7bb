"""How far a graph set may be from PyTorch, by what it is for. Figures are named where they are measured."""

from export.parity.explained import KEPT, LOST
from export.report import Limit
from runtime.golden import TOLERANCE as GOLDEN_TOLERANCE

# Worst difference, relative to the largest magnitude of the number's row, without those beyond a jump
# (runtime.distance); where 4 times PyTorch's own float32 error against float64 is more, that.
FP32_TOLERANCE = 1e-5
GPU_FP32_TOLERANCE = 1e-4  # the same where a GPU computes (TF32 off): other kernels add in another order
FP16_TOLERANCE = 1e-2  # mean difference, the same way
# Share of tokens where the likeliest is PyTorch's. An untrained model has near ties that any rounding turns (0.997 was
# seen); of the shipped models the tests ask 0.999.
FP16_AGREEMENT = 0.99
INT8_NATS_TOLERANCE = 0.01  # share by which nats per token may rise
INT8_PROBABILITY_TOLERANCE = 0.02  # mean difference of a class's probability
# Of a user's models of frames, whose outputs have no figure of their own: the share of an output's variance, over
# random frames, that int8 loses, and the share of decisions that stay (export.parity.explained).
INT8_VARIANCE_TOLERANCE = 0.01
INT8_DECISIONS = 0.99
# Worst difference of a continuation's log probability, of 8 tokens, between a window of beam search and steps. Rounding
# gives 1e-5, an int8 number that is rounded the other way less than 0.1, a continuation of another row 1 and more.
BEAM_TOLERANCE = 0.1
CPU_BACKEND = "onnxruntime-cpu"

# On a CPU an answer is the same to the bit whatever the rest of the batch, the padding and the chunks.
_EXACT = {
    name: Limit(0)
    for name in (
        "rows_changed_by_chunks_or_steps",
        "rows_changed_by_batch",
        "rows_changed_by_padding",
        "rows_changed_by_decode",
        "rows_changed_by_decode_batch",
    )
}
_EXACT["worst_error_of_beams"] = Limit(BEAM_TOLERANCE)
# Of a user's own module in int8, where the last bit of a number may turn the rounding of a state.
_OTHER_BITS = {
    name: Limit(0) for name in ("other_bits_by_batch", "other_bits_by_padding", "other_bits_by_chunks_or_steps")
}
# Of a user's own module within rounding; bits are facts.
_OF_WRAPPED = ("worst_change_by_chunks", "worst_change_by_batch", "worst_change_by_padding", "worst_attention_fault")
_FORMAT_CHECK = (
    "This is a format check: ONNX Runtime ran the graphs on the CPU. What a GPU computes was not seen; rows changed by "
    "the batch, chunks or padding are facts here, not checks."
)
_EMULATED = (
    "The CPU has no float16 products: the figures are from the same graphs with float16 rounding emulated in float32."
)


def limits_of(set_name: str, backend: str) -> dict[str, Limit]:
    """The limit of each figure that has one.

    Args:
        set_name: of models.graph_set.SETS.
        backend: what ran the graphs.
    """
    exact = _EXACT if backend == CPU_BACKEND else {}
    if set_name == "int8":
        bits = _OTHER_BITS if backend == CPU_BACKEND else {}
        return (
            exact
            | bits
            | {
                LOST: Limit(INT8_VARIANCE_TOLERANCE),
                KEPT: Limit(INT8_DECISIONS, is_least=True),
                "rise_of_nats_per_token": Limit(INT8_NATS_TOLERANCE),
                "mean_probability_difference": Limit(INT8_PROBABILITY_TOLERANCE),
            }
        )
    if set_name == "gpu-fp16":
        return {
            "mean_error": Limit(FP16_TOLERANCE),
            "mean_step_against_whole": Limit(FP16_TOLERANCE),
            "argmax_agreement": Limit(FP16_AGREEMENT, is_least=True),
            "golden_error": Limit(FP16_TOLERANCE),
        }
    worst = FP32_TOLERANCE if backend == CPU_BACKEND else GPU_FP32_TOLERANCE
    return (exact if set_name == "fp32" else {}) | {
        "worst_error": Limit(worst),
        "worst_step_against_whole": Limit(worst),
        "greedy_decodes_changed": Limit(0),
        "golden_error": Limit(GOLDEN_TOLERANCE["fp32"]),
        **{name: Limit(worst) for name in _OF_WRAPPED},
    }


def notes_on(set_name: str, backend: str) -> list[str]:
    """What a reader should know of a report."""
    if backend != CPU_BACKEND or not set_name.startswith("gpu-"):
        return []
    return [_FORMAT_CHECK, _EMULATED] if set_name == "gpu-fp16" else [_FORMAT_CHECK]
