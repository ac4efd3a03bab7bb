"""Small language models with decisive, random weights: no training, the same on every run."""

import string
from pathlib import Path

import torch

from models.bundle import Bundle, publish
from models.config import CellKind, LanguageModelConfig
from models.network.language_model import LanguageModel
from models.store import Store
from models.tokenizer import Tokenizer

ALPHABET = string.ascii_lowercase + " .,\n"


def tiny_config(kind: CellKind, vocab_size: int, *, hidden_size: int = 40, num_layers: int = 2) -> LanguageModelConfig:
    return LanguageModelConfig(
        vocab_size=vocab_size, embedding_size=24, kind=kind, hidden_size=hidden_size, num_layers=num_layers
    )


def tiny_model(config: LanguageModelConfig, seed: int = 0) -> LanguageModel:
    """Weights large enough that logits differ clearly between tokens and states."""
    torch.manual_seed(seed)
    model = LanguageModel(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(3.0 if "head" in name else 1.3 if config.kind == "rnn-relu" else 2.0)
    return model.eval()


def tiny_bundle(store: Path, kind: CellKind, name: str | None = None) -> Bundle:
    """Publish an untrained character model, without graph sets."""
    tokenizer = Tokenizer.character([ALPHABET])
    config = tiny_config(kind, tokenizer.vocab_size)
    weights = {key: value.detach().numpy() for key, value in tiny_model(config).named_parameters()}
    return publish(
        Store(store),
        name or kind,
        config=config,
        weights=weights,
        tokenizer=tokenizer,
        card=f"# A tiny {kind} for tests\n",
        metrics={},
        provenance={"made_by": "tests"},
    )
