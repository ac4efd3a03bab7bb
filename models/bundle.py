"""The bundle: one trained model as a folder on disk (see models.store for where it lies).

    bundle.json          what it is: architecture, tokenizer, row layout, metrics, provenance, sha256 of the core files
    weights.safetensors  parameters, float32 or float16
    tokenizer.json       Hugging Face `tokenizers`
    README.md            the card: data, licence, metrics, limits
    onnx/<set>/          graph sets, see models.graph_set

Core files never change once published. Loading checks every hash and names the file that is wrong. No pickle anywhere.
"""

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from models.config import FrozenModel, LanguageModelConfig, checked
from models.digest import as_json, check_files, file_sha256, read_sealed, sealed, write_durably
from models.errors import BundleCorruptError
from models.graph_set import SETS, GraphSet
from models.state_row import RowEntry, row_layout
from models.store import Store
from models.tokenizer import Tokenizer, TokenizerKind

RECORD = "bundle.json"
WEIGHTS = "weights.safetensors"
TOKENIZER = "tokenizer.json"
CARD = "README.md"


class TokenizerRecord(FrozenModel):
    """What a reader of bundle.json wants to know of tokenizer.json."""

    kind: TokenizerKind
    vocab_size: int
    unknown_id: int | None
    end_id: int | None


class BundleRecord(FrozenModel):
    """The contents of bundle.json."""

    format: Literal[1] = 1
    name: str
    version: int
    task: Literal["generation"]
    architecture: LanguageModelConfig
    tokenizer: TokenizerRecord
    state_width: int  # D, the length of the state row
    row: list[RowEntry]  # the parts of the state row
    metrics: dict[str, float]
    provenance: dict[str, Any]  # recipe, data set, library versions, dates
    files: dict[str, str]  # core file -> sha256
    sha256: str  # of this record; identifies the bundle


class Bundle:
    """A published bundle, opened and verified.

    Args:
        path: the version's folder.

    Raises:
        BundleCorruptError: a core file is missing or is not what bundle.json says; the message names it.
        ConfigError: bundle.json has a field that this version of rnnserve does not know.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.record = checked(BundleRecord, read_sealed(self.path / RECORD), str(self.path / RECORD))
        if set(self.record.files) != {WEIGHTS, TOKENIZER, CARD}:
            raise BundleCorruptError(f"{self.path / RECORD} lists files {sorted(self.record.files)}; publish again.")
        check_files(self.path, self.record.files)

    @property
    def config(self) -> LanguageModelConfig:
        """The architecture's configuration."""
        return self.record.architecture

    @property
    def id(self) -> str:
        """The model as API answers name it: name/version."""
        return f"{self.record.name}/{self.record.version}"

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer."""
        return Tokenizer.from_json((self.path / TOKENIZER).read_text(encoding="utf-8"))

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Parameters by the name that PyTorch gives them, as float32 whatever the file holds."""
        stored = load((self.path / WEIGHTS).read_bytes())
        return {name: np.ascontiguousarray(array, dtype=np.float32) for name, array in stored.items()}

    def graph_set_path(self, name: str) -> Path:
        """Where the graph set of that name lies or would lie."""
        return self.path / "onnx" / name

    def graph_set(self, name: str) -> GraphSet:
        """Open and verify a graph set.

        Raises:
            BundleNotFoundError: the bundle has no such set; the message lists those it has.
            BundleCorruptError: a file of the set is not what its manifest says, or it was made from another bundle.
        """
        return GraphSet(self.graph_set_path(name), bundle_sha256=self.record.sha256)

    @property
    def graph_sets(self) -> tuple[str, ...]:
        """Names of the graph sets that are there, in the order of models.graph_set.SETS."""
        return tuple(name for name in SETS if self.graph_set_path(name).is_dir())


def publish(
    store: Store,
    name: str,
    *,
    config: LanguageModelConfig,
    weights: dict[str, NDArray[np.floating[Any]]],
    tokenizer: Tokenizer,
    card: str,
    metrics: dict[str, float],
    provenance: dict[str, Any],
    half: bool = False,
) -> Bundle:
    """Write the next version of a model, whole or not at all.

    Args:
        store: where to.
        name: the model's name.
        config: the architecture.
        weights: parameters by PyTorch name.
        tokenizer: the tokenizer; its vocab_size is config.vocab_size.
        card: Markdown text of the card.
        metrics: name -> figure, as measured.
        provenance: what made it: recipe, data, library versions.
        half: store the weights as float16 (what is exported and served is then computed from the rounded ones).

    Returns:
        The published bundle, opened.

    Raises:
        BundleError: the name is not allowed.
    """
    if tokenizer.vocab_size != config.vocab_size:
        raise ValueError(f"tokenizer has {tokenizer.vocab_size} ids, the config {config.vocab_size}")
    dtype = np.float16 if half else np.float32
    with store.new_version(name) as (folder, target):
        arrays = {key: np.ascontiguousarray(array, dtype=dtype) for key, array in weights.items()}
        write_durably(folder / WEIGHTS, save(arrays))
        write_durably(folder / TOKENIZER, tokenizer.to_json().encode())
        write_durably(folder / CARD, card.encode())
        record = {
            "format": 1,
            "name": name,
            "version": int(target.name),
            "task": config.task,
            "architecture": config.model_dump(),
            "tokenizer": {
                "kind": tokenizer.kind,
                "vocab_size": tokenizer.vocab_size,
                "unknown_id": tokenizer.unknown_id,
                "end_id": tokenizer.end_id,
            },
            "state_width": config.recurrent.state_size,
            "row": [entry.model_dump() for entry in row_layout(config.recurrent)],
            "metrics": metrics,
            "provenance": provenance,
            "files": {file: file_sha256(folder / file) for file in (WEIGHTS, TOKENIZER, CARD)},
        }
        write_durably(folder / RECORD, as_json(sealed(record)))
    return Bundle(target)
