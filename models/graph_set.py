"""A graph set: one model's ONNX graphs in one precision, in `onnx/<set>/` of its bundle.

    <graph>.onnx    advance, step, score ...; weights by reference
    weights.bin     the weights of all graphs, once
    manifest.json   sha256 of each file and of the bundle, versions, golden vector, parity

A set is built beside, verified, and renamed in whole; one that fails parity never gets its name.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from models.config import FrozenModel, checked
from models.digest import as_json, check_files, file_sha256, read_checked, read_sealed, sealed, write_durably
from models.errors import BundleCorruptError, BundleNotFoundError
from models.store import built_beside, locked

SETS = ("fp32", "int8", "gpu-fp32", "gpu-fp16")
MANIFEST = "manifest.json"


class Golden(FrozenModel):
    """Inputs and the answer they must give at load: a check of the machine's kernels, not of the file.

    `ids` are read as runtime.golden does for the bundle's task; `logits` is the answer, flat.
    """

    ids: list[int]
    logits: list[float]


class Manifest(FrozenModel):
    """The contents of manifest.json."""

    format: Literal[1] = 1
    set: str
    bundle_sha256: str
    graphs: list[str]
    files: dict[str, str]  # file -> sha256
    versions: dict[str, str]  # library -> version that built the set
    golden: Golden
    parity: dict[str, float]  # what verification measured
    notes: dict[str, Any]  # facts of the build worth keeping: folded table, ranges, clipped shares
    sha256: str


class GraphSet:
    """A graph set on disk, opened and verified.

    Args:
        path: the set's folder.
        bundle_sha256: the bundle it must have been made from.

    Raises:
        BundleNotFoundError: there is no such folder.
        BundleCorruptError: a file is not what the manifest says or is not in it, or the set belongs to another bundle.
    """

    def __init__(self, path: Path, *, bundle_sha256: str) -> None:
        if not path.is_dir():
            present = sorted(item.name for item in path.parent.glob("*") if item.name in SETS)
            raise BundleNotFoundError(
                f"{path.parent.parent} has no graph set {path.name}. Sets: {', '.join(present) or 'none'}. "
                f"Build it: python -m export build {path.parent.parent} --set {path.name}"
            )
        self.path = path
        self.manifest = checked(Manifest, read_sealed(path / MANIFEST), str(path / MANIFEST))
        if self.manifest.set != path.name:
            raise BundleCorruptError(f"{path} is the graph set {self.manifest.set} under another name; rename it back.")
        if self.manifest.bundle_sha256 != bundle_sha256:
            raise BundleCorruptError(f"{path} was built from another bundle; build it again from this one.")
        self._check_listed()
        check_files(path, self.manifest.files)

    def _check_listed(self) -> None:
        """Raises BundleCorruptError for a graph or a file that the manifest has no digest of."""
        listed = self.manifest.files
        missing = [name for name in self.manifest.graphs if f"{name}.onnx" not in listed]
        if missing:
            raise BundleCorruptError(
                f"{self.path / MANIFEST} has graph {missing[0]}, but no sha256 of its file. Build the set again."
            )
        present = sorted(item.name for item in self.path.iterdir() if not item.name.startswith("."))
        others = [name for name in present if name not in listed and name != MANIFEST]
        if others:
            raise BundleCorruptError(
                f"{self.path} holds {', '.join(ascii(name)[:80] for name in others[:5])}, which its {MANIFEST} does "
                "not list. Remove it, or build the set again."
            )

    @property
    def name(self) -> str:
        """The set's name: fp32, int8, gpu-fp32 or gpu-fp16."""
        return self.manifest.set

    def graph(self, name: str) -> Path:
        """The path of a graph's ONNX file.

        Raises:
            BundleNotFoundError: the set has no such graph.
        """
        if name not in self.manifest.graphs:
            raise BundleNotFoundError(
                f"Graph {name} not in {self.path}. Graphs: {', '.join(self.manifest.graphs)}. Build the set again."
            )
        return self.path / f"{name}.onnx"

    def read(self, graphs: Iterable[str]) -> dict[str, bytes]:
        """What a runtime needs to open some graphs: the contents of their files and of their weights, by file name.

        The bytes are those that were hashed: changing, cutting or removing a file afterwards changes nothing in them.

        Raises:
            BundleNotFoundError: the set has no such graph.
            BundleCorruptError: a file has changed since the set was opened.
        """
        wanted = {self.graph(name).name for name in graphs}
        names = [name for name in self.manifest.files if name in wanted or not name.endswith(".onnx")]
        return {name: read_checked(self.path, name, self.manifest.files[name]) for name in names}


@contextmanager
def new_graph_set(path: Path) -> Iterator[tuple[Path, Callable[..., None]]]:
    """Build a graph set: fill the yielded folder and call the yielded function once with the manifest's facts.

    Yields:
        (folder to fill, seal). `seal(bundle_sha256=, graphs=, versions=, golden=, parity=, notes=)` hashes the files
        and writes the manifest; without it nothing is renamed in. An old set of the name is replaced at the end.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent), built_beside(path) as folder:
        is_sealed = False

        def seal(**facts: Any) -> None:
            nonlocal is_sealed
            files = {file.name: file_sha256(file) for file in sorted(folder.iterdir())}
            record = sealed({"format": 1, "set": path.name, "files": files, **facts})
            checked(Manifest, record, f"manifest of {path}")
            write_durably(folder / MANIFEST, as_json(record))
            is_sealed = True

        yield folder, seal
        if not is_sealed:
            raise RuntimeError(f"graph set {path} was built without its manifest")
