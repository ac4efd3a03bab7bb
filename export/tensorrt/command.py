"""`python -m export tensorrt BUNDLE`: check the graphs, build the engines that this machine's cache lacks."""

from collections.abc import Callable, Sequence
from pathlib import Path

import onnx

from export.tensorrt.operators import check_operators
from models.bundle import Bundle
from models.errors import BackendMissingError, BundleNotFoundError, ExportError
from models.tasks import PREFILL_CHUNK
from runtime.opening import SETS, TENSORRT
from runtime.tensorrt.availability import this_gpu, why_unavailable
from runtime.tensorrt.engine_cache import EngineCache
from runtime.tensorrt.engines import build_engines, planned
from runtime.tensorrt.profiles import Limits
from runtime.tensorrt.progress_callback import ProgressCallback

GPU_SETS = SETS[TENSORRT]


def build_for_tensorrt(
    bundle: Bundle,
    sets: Sequence[str] | None = None,
    max_batch: int = 64,
    max_length: int | None = None,
    *,
    say: Callable[[str], None] = lambda _: None,
    on_progress: ProgressCallback = lambda *_: None,
) -> list[Path]:
    """Build the TensorRT engines of a bundle's gpu- sets, where the machine's cache lacks them.

    Args:
        bundle: the model.
        sets: of GPU_SETS; None for those that the bundle has.
        max_batch: rows that are stepped, or sequences that are read, together.
        max_length: tokens of the longest source or text; None for what a server admits by default.
        say: called with what is done, a line at a time.
        on_progress: called with each build's progress.

    Returns:
        The engines' files.

    Raises:
        ExportError: a set is not for a GPU, or TensorRT refuses a graph.
        UnsupportedModelError: a graph holds what TensorRT does not do; found before anything is built.
        BundleNotFoundError: the bundle has no such set.
        BackendMissingError: TensorRT or a GPU is missing; graphs that are there have been checked before.
    """
    missing = why_unavailable()
    if missing is not None and not sets and not set(GPU_SETS) & set(bundle.graph_sets):
        raise BackendMissingError(missing)
    names = _wanted(bundle, sets)
    opened = {name: bundle.graph_set(name) for name in names}
    for name, graph_set in opened.items():
        for graph in (graph.name for graph in bundle.task.served_graphs(graph_set.manifest.graphs)):
            say(f"{name} {graph}: checking operators")
            check_operators(f"{graph} of set {name}", onnx.load(str(graph_set.graph(graph))))
    gpu = this_gpu()
    say(f"{gpu.name} ({gpu.architecture}), TensorRT {gpu.tensorrt}")
    task, sizes = bundle.task, bundle.sizes
    cache = EngineCache(bundle.record.sha256, gpu)
    limits = Limits(max_batch=max_batch, max_length=max_length or task.max_length or PREFILL_CHUNK)
    paths: list[Path] = []
    for graph_set in opened.values():
        plans = planned(graph_set, task, sizes, limits, gpu)
        paths += build_engines(plans, cache, sizes, limits, say=say, on_progress=on_progress)
    return paths


def _wanted(bundle: Bundle, sets: Sequence[str] | None) -> list[str]:
    names = list(sets or (name for name in GPU_SETS if name in bundle.graph_sets))
    wrong = [name for name in names if name not in GPU_SETS]
    if wrong:
        raise ExportError(
            f"Graph set {ascii(wrong[0])[:80]} is not for TensorRT. Sets that are: {', '.join(GPU_SETS)}."
        )
    if not names:
        raise BundleNotFoundError(
            f"{bundle.path} has no graph set for TensorRT. Build one: "
            f"python -m export build {bundle.path} --set gpu-fp16"
        )
    return names
