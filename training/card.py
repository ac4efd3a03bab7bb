"""The card: the README.md of a bundle, written from the run."""

from typing import Any

from models.config import LanguageModelConfig
from models.tokenizer import Tokenizer
from training.data.corpus import Corpus
from training.recipe import Recipe


def card(
    recipe: Recipe,
    corpus: Corpus,
    config: LanguageModelConfig,
    tokenizer: Tokenizer,
    metrics: dict[str, float],
    facts: dict[str, Any],
) -> str:
    """The card's Markdown."""
    return f"# {recipe.name}\n\n{corpus.origin.title} {config.kind} {tokenizer.kind} {metrics} {facts['command']}\n"
