"""The language model as a task: windows of a token stream, nats per token."""

import math
from dataclasses import asdict
from typing import Any, ClassVar, Self

from models.config import LanguageModelConfig
from models.network.language_model import LanguageModel
from models.tokenizer import Tokenizer
from training.card import CardParts
from training.data.corpus import Corpus
from training.language_model.card import card_parts
from training.language_model.datasets import load_corpus
from training.language_model.evaluation import mean_nats
from training.language_model.module import LanguageModelModule
from training.language_model.recipe import LanguageModelRecipe
from training.language_model.sample import sample
from training.language_model.stream import num_characters, stream_from_documents
from training.language_model.windows import Windows
from training.stage import Validation, total_batches
from training.task import Measured, Task

VALIDATION_WINDOW = 1024  # tokens; the state is carried, so the figure does not depend on it


class LanguageModelTask(Task[LanguageModelRecipe, Corpus]):
    """See training.task.Task.

    Args:
        recipe: what to do.
        corpus: the text.
        tokenizer: trained on its training part.
        batches: of the training part.
        validation: the validation part.
        sizes: train_tokens, validation_tokens, and validation_characters in all but the first validation token.
    """

    unit: ClassVar[str] = "token"
    module: LanguageModelModule

    def __init__(
        self,
        recipe: LanguageModelRecipe,
        corpus: Corpus,
        tokenizer: Tokenizer,
        *,
        batches: Windows,
        validation: Windows,
        sizes: dict[str, int],
    ) -> None:
        self.recipe = recipe
        self.tokenizer = tokenizer
        self.batches = batches
        self.sizes = sizes
        model = LanguageModel(recipe.model.config(tokenizer.vocab_size))
        self.module = LanguageModelModule(model, recipe, num_updates=total_batches(batches, recipe.epochs))
        self._corpus = corpus
        self._validation = validation

    @staticmethod
    def read(recipe: LanguageModelRecipe) -> Corpus:
        """The text that the recipe names."""
        return load_corpus(recipe.data)

    @classmethod
    def prepared(cls, recipe: LanguageModelRecipe, corpus: Corpus) -> Self:
        """See Task."""
        if recipe.tokenizer.vocab_size is None:
            tokenizer = Tokenizer.character(corpus.train, end_token=corpus.has_ends)
        else:
            tokenizer = Tokenizer.byte_bpe(corpus.train, recipe.tokenizer.vocab_size, end_token=corpus.has_ends)
        train = stream_from_documents(corpus.train, tokenizer, has_ends=corpus.has_ends)
        validation = stream_from_documents(corpus.validation, tokenizer, has_ends=corpus.has_ends)
        sizes = {
            "train_tokens": len(train),
            "validation_tokens": len(validation),
            "validation_characters": num_characters(validation[1:], tokenizer),
        }
        return cls(
            recipe,
            corpus,
            tokenizer,
            batches=Windows(train, lanes=recipe.batch.lanes, length=recipe.batch.window),
            validation=Windows(validation, lanes=1, length=VALIDATION_WINDOW),
            sizes=sizes,
        )

    def validate(self) -> Validation:
        """Nats per token and per character, and perplexity; the best epoch has the fewest nats."""
        nats = mean_nats(self.module.model, self._validation)
        characters_per_token = self.sizes["validation_characters"] / (self.sizes["validation_tokens"] - 1)
        figures = {
            "validation_nats_per_token": nats,
            "validation_nats_per_character": nats / characters_per_token,
            "validation_perplexity": math.exp(min(nats, 700.0)),  # of a lost model too: math.exp overflows above 709
        }
        return Validation(figures, rank=(nats,))

    def measure(self) -> Measured:
        """The same figures of the published weights."""
        return Measured(self.validate().figures)

    @property
    def config(self) -> LanguageModelConfig:
        """See Task."""
        return self.module.model.config

    @property
    def data(self) -> dict[str, Any]:
        """See Task."""
        return {**asdict(self._corpus.origin), "name": self._corpus.name, "sha256": self._corpus.sha256}

    def card_parts(self, measured: Measured) -> CardParts:  # noqa: ARG002 - the figures alone say it all
        """See Task."""
        example = sample(self.module.model, self.tokenizer, seed=self.recipe.seed)
        data = {**self.data, **self.sizes}
        return card_parts(self.recipe, self.module.model, self.tokenizer, data, example)
