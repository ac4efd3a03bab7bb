"""The engines of a graph set: which there are to be, building those that are missing, opening those that are there."""

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from models.errors import RunnerError
from models.graph_set import GraphSet
from models.tasks import Sizes, Task
from runtime.buckets import buckets_up_to
from runtime.tensorrt.availability import Gpu, this_gpu
from runtime.tensorrt.engine_cache import EngineCache, EngineName, engine_digest
from runtime.tensorrt.profiles import Limits, Profile, Range, profiles_of
from runtime.tensorrt.progress_callback import ProgressCallback

GATHER = "gather"  # the engine that picks rows, beside the graphs of a set with a step
WEIGHTS = "weights.bin"


@dataclass(frozen=True)
class Plan:
    """One engine that a set needs.

    Attributes:
        graph: its graph, or GATHER.
        path: of the ONNX file; None for GATHER.
        profiles: what it is built for.
        name: what it depends on.
    """

    graph: str
    path: Path | None
    profiles: tuple[Profile, ...]
    name: EngineName


def planned(graph_set: GraphSet, task: Task, sizes: Sizes, limits: Limits, gpu: Gpu) -> list[Plan]:
    """The engines that serving a set needs. There are none for decode windows: a GPU decodes by steps.

    Args:
        graph_set: opened and verified.
        task: the bundle's.
        sizes: the bundle's.
        limits: the most that is asked of them.
        gpu: this machine's.

    Raises:
        BundleNotFoundError: the set lacks a graph.
    """
    files = graph_set.manifest.files
    plans = []
    graphs = [graph for graph in task.served_graphs(graph_set.manifest.graphs) if graph.kind in ("step", "sequence")]
    for graph in graphs:
        profiles = profiles_of(graph, sizes, limits)
        digests = {name: files[name] for name in (f"{graph.name}.onnx", WEIGHTS) if name in files}
        name = EngineName(graph_set.name, graph.name, gpu, engine_digest(digests, profiles))
        plans.append(Plan(graph.name, graph_set.graph(graph.name), profiles, name))
    if any(graph.kind == "step" for graph in graphs):
        gather: tuple[Profile, ...] = tuple(
            {"index": Range((size,), (size,), (size,))} for size in buckets_up_to(limits.max_batch)
        )
        slots = {"slots": f"{num_slots(limits)} x {sizes['D']}"}
        name = EngineName(graph_set.name, GATHER, gpu, engine_digest(slots, gather))
        plans.append(Plan(GATHER, None, gather, name))
    return plans


def num_slots(limits: Limits) -> int:
    """Slots of a step runner: a joining row needs one besides those in use."""
    return 2 * limits.max_batch


def build_engines(
    plans: list[Plan],
    cache: EngineCache,
    sizes: Sizes,
    limits: Limits,
    *,
    say: Callable[[str], None] = lambda _: None,
    on_progress: ProgressCallback = lambda *_: None,
) -> list[Path]:
    """Build the engines that the cache lacks.

    Args:
        plans: as `planned` gives them.
        cache: the bundle's.
        sizes: the bundle's.
        limits: those of the plans.
        say: called with what is done, a line at a time.
        on_progress: called with a build's progress.

    Returns:
        The folder's engine files, in the order of the plans.

    Raises:
        ExportError: TensorRT refuses a graph.
    """
    from runtime.tensorrt.build import build_from_onnx, build_gather

    for plan in plans:
        if cache.find(plan.name) is not None:
            say(f"{plan.name.stem}: there already")
            continue
        say(f"{plan.name.stem}: building for {len(plan.profiles)} profiles")
        log, timing = cache.log(plan.name), cache.timing_cache()
        if plan.path is None:
            built = build_gather(num_slots(limits), sizes["D"], plan.profiles, log=log, timing_cache=timing)
        else:
            built = build_from_onnx(plan.path, plan.profiles, log=log, timing_cache=timing, on_progress=on_progress)
        cache.write(plan.name, built.plan, {"limits": asdict(limits), "graph": plan.graph, "set": plan.name.set})
        cache.write_timing_cache(built.timing_cache)
        say(f"{plan.name.stem}: {len(built.plan) / 1e6:.1f} MB")
    return [cache.folder / f"{plan.name.stem}.plan" for plan in plans]


def built_limits(cache: EngineCache, set_name: str) -> Limits:
    """The limits that a set's engines were built for, as the newest of them says.

    Raises:
        RunnerError: there is none.
    """
    for facts in cache.facts(set_name):
        with contextlib.suppress(KeyError, TypeError):
            return Limits(**facts["limits"])
    raise RunnerError(f"No TensorRT engine of graph set {set_name} for this GPU and TensorRT in {cache.folder}.")


def found_plans(graph_set: GraphSet, task: Task, sizes: Sizes, bundle_sha256: str) -> tuple[dict[str, bytes], Limits]:
    """The engines of a set, by graph, from this machine's cache.

    Raises:
        BackendMissingError: TensorRT or a GPU is missing.
        RunnerError: an engine is missing: it was never built, or something that it depends on has changed since.
    """
    gpu = this_gpu()
    cache = EngineCache(bundle_sha256, gpu)
    advice = f"Build it: python -m export tensorrt {graph_set.path.parent.parent} --set {graph_set.name}"
    try:
        limits = built_limits(cache, graph_set.name)
    except RunnerError as error:
        raise RunnerError(f"{error} {advice}") from None
    found = {}
    for plan in planned(graph_set, task, sizes, limits, gpu):
        engine = cache.find(plan.name)
        if engine is None:
            raise RunnerError(
                f"No TensorRT engine {plan.name.stem} in {cache.folder}: the GPU, TensorRT, the graph or the limits "
                f"have changed since one was built. {advice}"
            )
        found[plan.graph] = engine
    return found, limits
