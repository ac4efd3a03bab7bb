"""python -m export wrap, from Python: which way is taken, what is published, and each refusal by its message."""

import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_model
from torch import nn

from export.build import architecture_of
from export.tasks.task import WrapFacts
from export.tasks.wrapped import WrappedArchitecture
from export.user_module.wrap.options import WrapOptions
from export.user_module.wrap.wrap import Wrapped, wrap_model
from models.errors import ConfigError, ExportError, ParityError, TokenizerError, UnsupportedModelError
from models.tokenizer import Tokenizer
from tests.export.user_module.wrap import user_modules

MODULES = "tests.export.user_module.wrap.user_modules"
TOKENIZER = Tokenizer.character([string.ascii_lowercase + " .,"], end_token=True)
FACTS: dict[str, dict[str, Any]] = {
    "generation": {},
    "sentiment": {"labels": ("no", "yes")},
    "translation": {"source": "en", "target": "de"},
}


def options(folder: Path, name: str, task: str, **facts: Any) -> WrapOptions:
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.exists():
        tokenizer.write_text(TOKENIZER.to_json())
    facts = FACTS[task] | facts
    return WrapOptions(f"{MODULES}:{name}", task, tokenizer, folder / "store" / name.lower(), **facts)


def wrapped(folder: Path, name: str, task: str, **facts: Any) -> tuple[Wrapped, list[str]]:
    torch.manual_seed(3)
    said: list[str] = []
    return wrap_model(options(folder, name, task, **facts), said.append), said


def test_the_tests_tokenizer_fits_the_tests_modules() -> None:
    assert TOKENIZER.vocab_size == user_modules.V


@pytest.mark.parametrize(
    ("name", "task", "state_width"),
    [("PlainLM", "generation", 96), ("AttentiveReviews", "sentiment", 0)],
)
def test_what_is_ours_in_other_words_becomes_native_with_int8(
    tmp_path: Path, name: str, task: str, state_width: int
) -> None:
    found, said = wrapped(tmp_path, name, task)
    assert found.way == "native"
    assert said[0].startswith(f"native: {name} is an embedding, a recurrent stack and a linear head")
    assert found.bundle.graph_sets == ("fp32", "int8")
    assert all(report.is_passed for report in found.reports)
    assert found.bundle.record.state_width == state_width
    assert found.bundle.path == tmp_path / "store" / name.lower() / "1"
    assert found.bundle.record.provenance["way"] == "native"


def test_a_residual_model_is_wrapped_with_its_nested_states_in_one_row(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    torch.manual_seed(5)
    save_model(user_modules.ResidualLM(), str(weights))
    found, said = wrapped(tmp_path, "ResidualLM", "generation", weights=weights)
    bundle = found.bundle
    assert said[0].startswith(
        "wrapped: ResidualLM is none of our networks (one embedding, one recurrent stack, a linear"
    )
    assert "norm (LayerNorm) has weights of its own" in said[0]
    assert [(entry.name, entry.offset, entry.size) for entry in bundle.record.row] == [
        ("state.h", 0, 16),
        ("state.seen", 16, 1),
    ]
    assert bundle.graph_sets == ("fp32",)
    assert bundle.graph_set("fp32").manifest.graphs == [
        *("advance", "step", "score"),
        *("decode", "decode_filtered", "choose"),
    ]
    parity = bundle.graph_set("fp32").manifest.parity
    assert (parity["rows_changed_by_decode"], parity["other_bits_by_decode_batch"]) == (0, 0)
    assert set(bundle.graph_set("fp32").manifest.parity) >= {"worst_error", "worst_change_by_chunks"}
    assert "trained elsewhere" in (bundle.path / "README.md").read_text()
    assert not any(path.name.endswith(".py") for path in bundle.path.rglob("*"))
    assert bundle.weights()["emb.weight"].shape == (user_modules.V, 16)
    assert isinstance(architecture_of(bundle), WrappedArchitecture)


def test_a_sum_over_time_is_served_and_its_effect_on_the_last_bit_is_told(tmp_path: Path) -> None:
    found, said = wrapped(tmp_path, "SummingReviews", "sentiment")
    figures = found.reports[0].figures()
    assert found.way == "wrapped"
    assert found.bundle.graph_set("fp32").manifest.notes["warnings"] == [
        "classify holds ReduceSum: sums over padding change with the batch's padded size"
    ]
    is_told = any(line.startswith("The last bits of an answer may depend on the rest of the batch") for line in said)
    assert is_told == (figures["other_bits_by_batch"] + figures["other_bits_by_padding"] > 0)


@pytest.mark.parametrize(
    ("name", "task", "says"),
    [
        ("UnpackedLM", "generation", r"worst_change_by_padding is .* The answer changes with what stands past"),
        ("LookingBackLM", "generation", r"worst_change_by_chunks is .* A prompt read in pieces gives another answer"),
        ("PaddingReviews", "sentiment", r"worst_change_by_padding is .* The answer changes with what stands past"),
    ],
)
def test_what_would_answer_wrongly_is_not_published_and_the_message_says_why(
    tmp_path: Path, name: str, task: str, says: str
) -> None:
    with pytest.raises(ParityError, match=says):
        wrapped(tmp_path, name, task)
    assert list((tmp_path / "store" / name.lower()).glob("[0-9]*")) == []


@pytest.mark.parametrize(
    ("name", "task", "says"),
    [
        ("RequiredStatesLM", "generation", r"RequiredStatesLM\.forward.* fails in PyTorch.* give each a default"),
        ("LearntStartLM", "generation", r"its initial state is something else, such as a learnt one"),
        ("GrowingLM", "generation", r"State past has shape \[3, 5, 16\] after 5 tokens and \[3, 7, 16\] after 7"),
        ("CountingLM", "generation", r"is int64; the state row is float32"),
        ("CommonStateLM", "generation", r"State common has shape \[4\] for a batch of 2 .* holds nothing for each row"),
        ("StatelessLM", "generation", r"StatelessLM\.forward gives Tensor; give \(logits, state, \.\.\.\)"),
        ("ProbabilityLM", "generation", r"ProbabilityLM\.forward gives probabilities"),
        ("SigmoidReviews", "sentiment", r"SigmoidReviews\.forward gives a probability .* before the sigmoid"),
        ("PlainLM", "translation", r"PlainLM has no method encode and no method step"),
        ("UnmaskedNumbers", "translation", r"gives attention .* past the end of a source\. Mask the scores"),
        ("ScoringNumbers", "translation", r"is no set of shares \(a row's sum is off 1 by 1\)"),
        ("KeylessNumbers", "translation", r"gives keys NoneType .* may be given the memory twice"),
    ],
)
def test_what_cannot_be_served_is_refused_by_name(tmp_path: Path, name: str, task: str, says: str) -> None:
    with pytest.raises(ExportError, match=says) as caught:
        wrapped(tmp_path, name, task)
    assert isinstance(caught.value, UnsupportedModelError) or "fails in PyTorch" in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_another_tokenizer_is_refused_with_both_numbers(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(Tokenizer.character(["abc"]).to_json())
    with pytest.raises(ExportError, match=r"tokenizer has 4 tokens, PlainLM\.forward gives 31 logits\. Each"):
        wrapped(tmp_path, "PlainLM", "generation")


def test_logits_of_another_number_are_refused_with_both_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_another_head() -> nn.Module:
        model = user_modules.PlainLM()
        model.out = nn.Linear(24, 40)
        return model

    monkeypatch.setattr(user_modules, "with_another_head", with_another_head, raising=False)
    with pytest.raises(ExportError, match=r"tokenizer has 31 tokens, PlainLM\.forward gives 40 logits"):
        wrapped(tmp_path, "with_another_head", "generation")


def test_labels_that_are_not_the_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"names 3 classes \(a, b, c\), Reviews has 2"):
        wrapped(tmp_path, "Reviews", "sentiment", labels=("a", "b", "c"))


def test_a_translator_without_an_end_token_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(Tokenizer.character([string.ascii_lowercase + " .,;"]).to_json())
    with pytest.raises(TokenizerError, match=r"has no token '<eos>'.* --end-token TOKEN"):
        wrapped(tmp_path, "Numbers", "translation")


def test_a_start_token_is_read_in_the_end_tokens_place(tmp_path: Path) -> None:
    from export.user_module.wrap.translation import user_translator

    torch.manual_seed(0)
    module = user_modules.Numbers().eval()
    model = user_translator(module, WrapFacts(user_modules.V, end_id=1, start_id=7))
    ids, lengths = torch.tensor([[4, 5, 1]]), torch.tensor([3])
    memory, keys, row = model.encode(ids, lengths)
    first, second = (
        model.step(torch.tensor([1]), row, memory, keys, lengths)[0],
        module.step(torch.tensor([7]), row, memory, keys, lengths)[0],
    )
    assert np.array_equal(first.detach().numpy(), second.detach().numpy())
