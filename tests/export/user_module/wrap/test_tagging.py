"""A tagger of your own, wrapped for the task tagging."""

from pathlib import Path

import pytest
import torch
from torch import nn

from export.user_module.wrap.command import wrap_to_store
from models.errors import ConfigError
from models.tokenizer import Tokenizer
from models.words import WordSplitter
from runtime.opening import CPU, open_set
from runtime.padding import padded
from tests.toy_task.export import Tagger


class NormedTagger(Tagger):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.LayerNorm(24), nn.Linear(24, 3))  # type: ignore[assignment]


PLAIN, NORMED = "tests.toy_task.export:Tagger", f"{__name__}:NormedTagger"


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    file = tmp_path / "tokenizer.json"
    file.write_text(Tokenizer.character(["abcdefghijklmnopqrstuvwxyz .,"], end_token=True).to_json())
    torch.manual_seed(0)
    return file


@pytest.mark.parametrize(
    ("reference", "way", "sets"), [(PLAIN, "native", ("fp32", "int8")), (NORMED, "wrapped", ("fp32",))]
)
def test_a_plain_tagger_is_one_of_ours_and_another_is_traced(
    tokenizer: Path, reference: str, way: str, sets: tuple[str, ...]
) -> None:
    facts = {"labels": "O,B,I", "splitter": "characters"}
    wrapped = wrap_to_store(reference, "tagging", tokenizer, tokenizer.parent / "store" / "mine", None, facts)
    bundle = wrapped.bundle
    assert (wrapped.way, bundle.graph_sets) == (way, sets)
    assert bundle.words is not None
    assert bundle.words.splitter == WordSplitter(kind="characters")
    ids, lengths = padded([[1, 2, 3], [4] * 20])
    found = open_set(CPU, bundle, "fp32").sequences().run("tag", {"ids": ids, "lengths": lengths})["logits"]
    assert found.shape == (2, 32, 3)


def test_a_splitter_goes_with_tagging_alone(tokenizer: Path) -> None:
    to = tokenizer.parent / "store" / "mine"
    with pytest.raises(ConfigError, match=r"--splitter goes with --task tagging, not sentiment; leave it out\."):
        wrap_to_store(PLAIN, "sentiment", tokenizer, to, None, {"labels": "a,b,c", "splitter": "words"})
    with pytest.raises(ConfigError, match=r"--splitter letters is none; allowed: words, characters, whitespace\."):
        wrap_to_store(PLAIN, "tagging", tokenizer, to, None, {"labels": "a,b,c", "splitter": "letters"})
