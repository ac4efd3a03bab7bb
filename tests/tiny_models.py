"""Small models with decisive, random weights: no training, the same on every run."""

import string
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from models.architecture import ArchitectureConfig
from models.bundle import Bundle, Languages, publish
from models.cells import CellKind
from models.config import ClassifierConfig, FieldConfig, LanguageModelConfig, TaggerConfig, TranslatorConfig
from models.forecaster import CovariateConfig, ForecasterConfig
from models.network.classifier import Classifier
from models.network.forecaster import Forecaster
from models.network.language_model import LanguageModel
from models.network.tagger import Tagger
from models.network.translator import Translator
from models.store import Store
from models.tokenizer import Tokenizer
from models.word_ids import WordField, WordsRecord
from models.words import WordSplitter

Network = TypeVar("Network", bound=nn.Module)
ALPHABET = string.ascii_lowercase + " .,\n"


def tiny_config(kind: CellKind, vocab_size: int, *, hidden_size: int = 40, num_layers: int = 2) -> LanguageModelConfig:
    return LanguageModelConfig(
        vocab_size=vocab_size, embedding_size=24, kind=kind, hidden_size=hidden_size, num_layers=num_layers
    )


def tiny_translator_config(kind: CellKind, vocab_size: int, **options: Any) -> TranslatorConfig:
    """Two layers on each side, both directions; options replace any field."""
    plain: dict[str, Any] = {
        "vocab_size": vocab_size,
        "embedding_size": 24,
        "kind": kind,
        "encoder_size": 20,
        "encoder_layers": 2,
        "hidden_size": 40,
        "num_layers": 2,
    }
    return TranslatorConfig(**(plain | options))


def tiny_classifier_config(kind: CellKind, vocab_size: int, **options: Any) -> ClassifierConfig:
    """Two layers, both directions, mean pooling, two classes; options replace any field."""
    plain: dict[str, Any] = {
        "vocab_size": vocab_size,
        "embedding_size": 24,
        "kind": kind,
        "hidden_size": 20,
        "num_layers": 2,
        "num_classes": 2,
    }
    return ClassifierConfig(**(plain | options))


def tiny_model(config: LanguageModelConfig, seed: int = 0) -> LanguageModel:
    """Weights large enough that logits differ clearly between tokens and states."""
    torch.manual_seed(seed)
    return _decisive(LanguageModel(config), config.kind)


def tiny_translator(config: TranslatorConfig, seed: int = 0) -> Translator:
    """As tiny_model; the attention is sharp enough to differ between positions."""
    torch.manual_seed(seed)
    return _decisive(Translator(config), config.kind)


def tiny_classifier(config: ClassifierConfig, seed: int = 0) -> Classifier:
    """As tiny_model."""
    torch.manual_seed(seed)
    return _decisive(Classifier(config), config.kind)


def _decisive(model: Network, kind: CellKind) -> Network:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(3.0 if "head" in name else 1.3 if kind == "rnn-relu" else 2.0)
    return model.eval()


def tiny_bundle(store: Path, kind: CellKind, name: str | None = None, *, is_wide: bool = False) -> Bundle:
    """Publish an untrained character model, without graph sets; a wide one has an end token and over 300 others."""
    more = "".join(chr(0x4E00 + i) for i in range(300)) if is_wide else ""
    tokenizer = Tokenizer.character([ALPHABET + more], end_token=is_wide)
    return _published(store, name or kind, tiny_model(tiny_config(kind, tokenizer.vocab_size)), tokenizer)


def tiny_translator_bundle(store: Path, kind: CellKind, name: str | None = None, **options: Any) -> Bundle:
    """Publish an untrained character translator from English to Chinese, without graph sets."""
    tokenizer = Tokenizer.character([ALPHABET], end_token=True)
    model = tiny_translator(tiny_translator_config(kind, tokenizer.vocab_size, **options))
    return _published(
        store, name or f"translator-{kind}", model, tokenizer, languages=Languages(source="en", target="zh")
    )


def tiny_classifier_bundle(store: Path, kind: CellKind, name: str | None = None, **options: Any) -> Bundle:
    """Publish an untrained character classifier, without graph sets."""
    tokenizer = Tokenizer.character([ALPHABET])
    model = tiny_classifier(tiny_classifier_config(kind, tokenizer.vocab_size, **options))
    labels = ["negative", "positive"]
    return _published(store, name or f"classifier-{kind}", model, tokenizer, labels=labels)


def tiny_tagger_config(kind: CellKind, vocab_size: int, **options: Any) -> TaggerConfig:
    """Two layers, both directions, three classes, two further fields; options replace any field."""
    plain: dict[str, Any] = {
        "vocab_size": vocab_size,
        "embedding_size": 24,
        "fields": [FieldConfig(size=5, width=6), FieldConfig(size=40, width=9)],
        "kind": kind,
        "hidden_size": 20,
        "num_layers": 2,
        "num_classes": 3,
    }
    return TaggerConfig(**(plain | options))


def tiny_tagger(config: TaggerConfig, seed: int = 0) -> Tagger:
    """As tiny_model; the transitions of a CRF are random."""
    torch.manual_seed(seed)
    model = Tagger(config)
    if model.transitions is not None:
        torch.nn.init.normal_(model.transitions)
    return _decisive(model, config.kind)


def tiny_tagger_bundle(
    store: Path, kind: CellKind, name: str | None = None, *, fields_like: str = "small", **options: Any
) -> Bundle:
    """Publish an untrained tagger of characters, without graph sets.

    Its further fields are two small ones, "wide" with two of many values, or "none".
    """
    tokenizer = Tokenizer.character([ALPHABET])
    shapes = WordField(kind="shape", values=["a", "A1", "0", "."])
    pairs = WordField(kind="next", values=[first + letter for first in "th" for letter in ALPHABET][:39])
    many = [WordField(kind=kind, values=[str(number) for number in range(30_000)]) for kind in ("suffix-4", "prefix-3")]
    fields = {"small": [shapes, pairs], "wide": [*many, shapes], "none": []}[fields_like]  # wide: ids beyond 2^32
    widths = [FieldConfig(size=field.size, width=6 + number) for number, field in enumerate(fields)]
    config = tiny_tagger_config(kind, tokenizer.vocab_size, fields=widths, **options)
    words = WordsRecord(splitter=WordSplitter(kind="words"), fields=fields)
    labels = ["B-x", "I-x", "O"]
    return _published(store, name or f"tagger-{kind}", tiny_tagger(config), tokenizer, labels=labels, words=words)


def tiny_forecaster_bundle(store: Path, name: str = "forecaster", **options: Any) -> Bundle:
    """Publish an untrained forecaster of hours with two covariates, without graph sets; options replace any field."""
    plain: dict[str, Any] = {
        "frequency": "PT1H",
        "horizon": 6,
        "season": 4,
        "window": 9,
        "scale_steps": 20,
        "periods": [86_400, 604_800],
        "covariates": [
            CovariateConfig(name="rain", center=2.0, scale=3.0),
            CovariateConfig(name="price", center=0.0, scale=1.0),
        ],
        "kind": "gru",
        "hidden_size": 20,
        "num_layers": 2,
        "head_size": 16,
    }
    torch.manual_seed(0)
    return _published(store, name, Forecaster(ForecasterConfig(**(plain | options))).eval(), None)


def _published(
    store: Path,
    name: str,
    model: LanguageModel | Translator | Classifier | Tagger | Forecaster,
    tokenizer: Tokenizer | None,
    **facts: Any,
) -> Bundle:
    config: ArchitectureConfig = model.config
    return publish(
        Store(store),
        name,
        config=config,
        weights={key: value.detach().numpy() for key, value in model.named_parameters()},
        tokenizer=tokenizer,
        card=f"# A tiny {config.architecture} for tests\n",
        metrics={},
        provenance={"made_by": "tests"},
        **facts,
    )
