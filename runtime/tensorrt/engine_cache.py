"""Engines on this machine's disk: named by all that they depend on, written durably, checked when they are read.

    <cache>/<bundle sha>/<device>/tensorrt/
        <set>-<graph>-<architecture>-trt<version>-<hash>.plan    the engine
        ... .json                                                sha256 of the plan, profiles, when it was built
        ... .log                                                 every message of the builder
        timing-<architecture>-trt<version>.cache                 how long kernels took; shared by all engines

An engine is built again when any part of its name differs; the one it replaces is removed.
"""

import contextlib
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models.digest import as_json, read_sealed, record_sha256, sealed, sync_folder, write_durably
from models.errors import BundleCorruptError
from runtime.device import cache_folder, plain
from runtime.tensorrt.availability import Gpu
from runtime.tensorrt.profiles import Profile


@dataclass(frozen=True)
class EngineName:
    """What an engine depends on.

    Attributes:
        set: the graph set.
        graph: the graph.
        gpu: the GPU and TensorRT.
        digest: of the graph's file, the weights and the profiles.
    """

    set: str
    graph: str
    gpu: Gpu
    digest: str

    @property
    def stem(self) -> str:
        """The file's name without its ending."""
        return f"{self.set}-{self.graph}-{self.gpu.architecture}-trt{self.gpu.tensorrt}-{self.digest[:16]}"


def engine_digest(files: Mapping[str, str], profiles: Sequence[Profile]) -> str:
    """Hex sha256 of what is built.

    Args:
        files: file -> sha256, of the graph and its weights.
        profiles: what it is built for.
    """
    shapes = [{name: asdict(shapes) for name, shapes in profile.items()} for profile in profiles]
    return record_sha256({"files": dict(files), "profiles": shapes})


class EngineCache:
    """The engines of one bundle on this machine's GPU.

    Args:
        bundle_sha256: of the bundle's record.
        gpu: this machine's.
    """

    def __init__(self, bundle_sha256: str, gpu: Gpu) -> None:
        self.folder = cache_folder(bundle_sha256, plain(gpu.name)) / "tensorrt"
        self._gpu = gpu

    def find(self, name: EngineName) -> bytes | None:
        """The engine, or None where there is none of that name, or what is there is damaged."""
        try:
            record = read_sealed(self._path(name, "json"))
            plan = self._path(name, "plan").read_bytes()
        except (BundleCorruptError, OSError):
            return None
        return plan if hashlib.sha256(plan).hexdigest() == record.get("plan_sha256") else None

    def write(self, name: EngineName, plan: bytes, facts: Mapping[str, Any]) -> None:
        """Keep an engine, and remove those of the same set and graph that it replaces.

        Args:
            name: what it depends on.
            plan: the engine.
            facts: worth keeping beside it, as JSON.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        record = sealed({"plan_sha256": hashlib.sha256(plan).hexdigest(), **facts})
        self._replace(self._path(name, "plan"), plan)
        self._replace(self._path(name, "json"), as_json(record))
        for file in self.folder.glob(f"{name.set}-{name.graph}-{self._gpu.architecture}-trt*"):
            if not file.name.startswith(name.stem):
                file.unlink()
        sync_folder(self.folder)

    def facts(self, set_name: str) -> list[dict[str, Any]]:
        """What was kept beside the engines of a set, newest first."""
        records = []
        paths = self.folder.glob(f"{set_name}-*-{self._gpu.architecture}-trt{self._gpu.tensorrt}-*.json")
        for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True):
            with contextlib.suppress(BundleCorruptError):
                records.append(read_sealed(path))
        return records

    def log(self, name: EngineName) -> Path:
        """Where the builder's messages go; its folder exists."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self._path(name, "log")

    def timing_cache(self) -> bytes:
        """How long kernels took in earlier builds; empty before the first."""
        path = self._timing_path()
        return path.read_bytes() if path.is_file() else b""

    def write_timing_cache(self, content: bytes) -> None:
        """Keep it for the next build."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._replace(self._timing_path(), content)

    def _timing_path(self) -> Path:
        return self.folder / f"timing-{self._gpu.architecture}-trt{self._gpu.tensorrt}.cache"

    def _path(self, name: EngineName, ending: str) -> Path:
        return self.folder / f"{name.stem}.{ending}"

    def _replace(self, path: Path, content: bytes) -> None:
        """Write a file whole or not at all."""
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            write_durably(beside, content)
            beside.rename(path)
        finally:
            beside.unlink(missing_ok=True)
        sync_folder(self.folder)
