"""Engines of a tiny bundle, built and opened on the fake GPU."""

from pathlib import Path

from models.bundle import Bundle
from runtime.tensorrt.availability import this_gpu
from runtime.tensorrt.engine_cache import EngineCache
from runtime.tensorrt.engines import build_engines, planned
from runtime.tensorrt.graphs import TensorrtGraphs
from runtime.tensorrt.profiles import Limits, Widths

LIMITS = Limits(max_batch=12, max_length=64)


def widths_of(bundle: Bundle) -> Widths:
    record = bundle.record
    return Widths(record.state_width, record.memory_width or 0, record.keys_width or 0)


def built(bundle: Bundle, set_name: str = "fp32", limits: Limits = LIMITS) -> list[Path]:
    gpu = this_gpu()
    plans = planned(bundle.graph_set(set_name), bundle.record.task, widths_of(bundle), limits, gpu)
    return build_engines(plans, EngineCache(bundle.record.sha256, gpu), widths_of(bundle), limits)


def opened(bundle: Bundle, set_name: str = "fp32") -> TensorrtGraphs:
    graph_set = bundle.graph_set(set_name)
    return TensorrtGraphs(graph_set, bundle.record.task, widths_of(bundle), bundle.record.sha256)
