"""ONNX files to TensorRT engines. Knows the builder; knows nothing of bundles, caches or running.

Networks are strongly typed: the precision is the file's. TensorRT 11.4. Not run on hardware so far: the calls are
checked against the real bindings and against a recording builder.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import SupportsBytes, cast

import tensorrt as trt

from models.errors import ExportError
from runtime.tensorrt.messages import MessageFile
from runtime.tensorrt.profiles import Profile
from runtime.tensorrt.progress import Progress
from runtime.tensorrt.progress_callback import ProgressCallback

WORKSPACE = 1 << 30  # bytes of scratch memory that a kernel may ask for


@dataclass(frozen=True)
class Built:
    """A finished engine.

    Attributes:
        plan: the engine, serialized.
        timing_cache: how long each kernel took, for the next build on this machine.
    """

    plan: bytes
    timing_cache: bytes


def build_from_onnx(
    path: Path,
    profiles: Sequence[Profile],
    *,
    log: Path,
    timing_cache: bytes = b"",
    workspace: int = WORKSPACE,
    on_progress: ProgressCallback = lambda *_: None,
) -> Built:
    """Build an engine from an ONNX file.

    Args:
        path: the file; weights beside it are found by its own references.
        profiles: what it is built for.
        log: where every message of the builder goes.
        timing_cache: of an earlier build on this machine, or empty.
        workspace: bytes of scratch memory.
        on_progress: called with a build's progress.

    Raises:
        ExportError: the parser or the builder refuses; the message quotes it and names the log.
    """

    def fill(network: trt.INetworkDefinition, messages: MessageFile) -> None:
        parser = trt.OnnxParser(network, messages)
        if not parser.parse_from_file(str(path)):
            errors = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
            raise ExportError(f"TensorRT {trt.__version__} cannot parse {path}: {errors or 'no message'}. See {log}.")

    return _build(
        str(path), fill, profiles, log=log, timing_cache=timing_cache, workspace=workspace, on_progress=on_progress
    )


def build_gather(
    num_slots: int, width: int, profiles: Sequence[Profile], *, log: Path, timing_cache: bytes = b""
) -> Built:
    """Build the engine that picks rows: rows[i] = slots[index[i]].

    Args:
        num_slots: rows of the input slots, float32 [num_slots, width].
        width: D.
        profiles: shapes of index, int32 [n]; the output rows is float32 [n, width].
        log: where every message of the builder goes.
        timing_cache: of an earlier build on this machine, or empty.

    Raises:
        ExportError: the builder refuses; the message quotes it and names the log.
    """

    def fill(network: trt.INetworkDefinition, _: MessageFile) -> None:
        slots = network.add_input("slots", trt.float32, trt.Dims([num_slots, width]))
        index = network.add_input("index", trt.int32, trt.Dims([-1]))
        rows = network.add_gather(slots, index, 0).get_output(0)
        rows.name = "rows"
        network.mark_output(rows)

    return _build("the gather of rows", fill, profiles, log=log, timing_cache=timing_cache)


def _build(
    what: str,
    fill: Callable[[trt.INetworkDefinition, MessageFile], None],
    profiles: Sequence[Profile],
    *,
    log: Path,
    timing_cache: bytes,
    workspace: int = WORKSPACE,
    on_progress: ProgressCallback = lambda *_: None,
) -> Built:
    with contextlib.closing(MessageFile(log)) as messages:
        builder = trt.Builder(messages)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        fill(network, messages)
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
        config.clear_flag(trt.BuilderFlag.TF32)  # float32 is float32
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        cache = config.create_timing_cache(timing_cache)
        if not config.set_timing_cache(cache, False):  # of another machine or version: begin a new one
            cache = config.create_timing_cache(b"")
            config.set_timing_cache(cache, False)
        for profile in profiles:
            _add_profile(what, builder, config, profile)
        config.progress_monitor = Progress(on_progress)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            errors = "; ".join(messages.errors) or "no message"
            raise ExportError(f"TensorRT {trt.__version__} cannot build {what}: {errors}. See {log}.")
        kept = config.get_timing_cache().serialize()
        return Built(bytes(cast("SupportsBytes", plan)), bytes(cast("SupportsBytes", kept)))


def _add_profile(what: str, builder: trt.Builder, config: trt.IBuilderConfig, profile: Profile) -> None:
    added = builder.create_optimization_profile()
    for name, shapes in profile.items():
        smallest, typical, largest = (
            trt.Dims(list(shape)) for shape in (shapes.smallest, shapes.typical, shapes.largest)
        )
        added.set_shape(name, smallest, typical, largest)
    if config.add_optimization_profile(added) < 0:
        raise ExportError(f"TensorRT {trt.__version__} refuses a profile of {what}: {dict(profile)}.")
