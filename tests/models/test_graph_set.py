"""A graph set on disk: what its manifest lists and nothing else."""

import json
from pathlib import Path

import pytest

from models.digest import as_json, sealed
from models.errors import BundleCorruptError
from models.graph_set import MANIFEST, Golden, GraphSet, new_graph_set


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a set with one graph and its weights."""
    with new_graph_set(tmp_path / "bundle/onnx/fp32") as (folder, seal):
        (folder / "step.onnx").write_bytes(b"graph")
        (folder / "weights.bin").write_bytes(b"weights")
        golden = Golden(ids=[1], logits=[0.5])
        seal(bundle_sha256="b", graphs=["step"], versions={}, golden=golden.model_dump(), parity={}, notes={})
    return tmp_path / "bundle/onnx/fp32"


def opened(path: Path) -> GraphSet:
    return GraphSet(path, bundle_sha256="b")


def test_a_runtime_is_given_the_contents_that_were_hashed(path: Path) -> None:
    assert opened(path).read(["step"]) == {"step.onnx": b"graph", "weights.bin": b"weights"}


@pytest.mark.parametrize("name", ["more.bin", "other.onnx", "folder/inside", "step.onnx.data"])
def test_a_file_that_the_manifest_does_not_list_is_refused_by_name(path: Path, name: str) -> None:
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).write_bytes(b"not hashed")
    first = Path(name).parts[0]
    with pytest.raises(BundleCorruptError, match=rf"fp32 holds '{first}', which its manifest\.json does not list"):
        opened(path)


def test_a_graph_whose_file_the_manifest_does_not_list_is_refused(path: Path) -> None:
    manifest = json.loads((path / MANIFEST).read_bytes())
    del manifest["files"]["step.onnx"]
    (path / MANIFEST).write_bytes(as_json(sealed(manifest)))
    with pytest.raises(BundleCorruptError, match=r"has graph step, but no sha256"):
        opened(path)


def test_what_file_systems_hide_in_folders_is_left_alone(path: Path) -> None:
    (path / ".nfs0001").write_bytes(b"")
    opened(path)
