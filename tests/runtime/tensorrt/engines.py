"""Engines of a tiny bundle, built and opened on the fake GPU."""

from pathlib import Path

from models.bundle import Bundle
from runtime.tensorrt.availability import this_gpu
from runtime.tensorrt.engine_cache import EngineCache
from runtime.tensorrt.engines import build_engines, planned
from runtime.tensorrt.graphs import TensorrtGraphs
from runtime.tensorrt.profiles import Limits

LIMITS = Limits(max_batch=12, max_length=64)


def built(bundle: Bundle, set_name: str = "fp32", limits: Limits = LIMITS) -> list[Path]:
    gpu = this_gpu()
    plans = planned(bundle.graph_set(set_name), bundle.task, bundle.sizes, limits, gpu)
    return build_engines(plans, EngineCache(bundle.record.sha256, gpu), bundle.sizes, limits)


def opened(bundle: Bundle, set_name: str = "fp32") -> TensorrtGraphs:
    graph_set = bundle.graph_set(set_name)
    return TensorrtGraphs(graph_set, bundle.task, bundle.sizes, bundle.record.sha256)
