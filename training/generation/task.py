"""Generation as a task: windows of a token stream, or whole examples; nats per token."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

from models.bundle import Bundle
from models.config import LanguageModelConfig
from models.errors import ConfigError
from models.network.language_model import LanguageModel
from models.tokenizer import Tokenizer
from training.card import CardParts
from training.data import recollections, texts
from training.data.corpus import Corpus
from training.data.usage import Usage
from training.generation.card import card_parts, example_card_parts, sample
from training.generation.evaluation import answers, mean_nats
from training.generation.examples import Examples, examples_of
from training.generation.module import GenerationModule
from training.generation.recipe import DataSection, GenerationRecipe
from training.generation.windows import Windows, num_characters, stream_from_documents
from training.shard import ALONE, Shard
from training.stage import Validation
from training.task import Measured, Task
from training.unknown import unknown_characters

VALIDATION_WINDOW = 1024  # tokens; the state is carried, so the figure does not depend on it


class GenerationTask(Task[GenerationRecipe, Corpus]):
    """See training.task.Task.

    Args:
        recipe: what to do.
        corpus: the text.
        tokenizer: trained on its training part.
        batches: of the training part.
        validation: the validation part.
        test: the test part, where there is one.
        sizes: train_tokens, validation_tokens, and validation_characters in all but the first validation token; of
            examples: train_examples and validation_examples.
    """

    unit: ClassVar[str] = "token"
    module: GenerationModule
    tokenizer: Tokenizer

    def __init__(
        self,
        recipe: GenerationRecipe,
        corpus: Corpus,
        tokenizer: Tokenizer,
        *,
        batches: Windows | Examples,
        validation: Windows | Examples,
        sizes: dict[str, int],
        test: Windows | None = None,
    ) -> None:
        self.recipe = recipe
        self.tokenizer = tokenizer
        self.batches = batches
        self.sizes = sizes
        self.usage = _usage(corpus, tokenizer)
        model = LanguageModel(recipe.model.config(tokenizer.vocab_size))
        self.module = GenerationModule(
            model, carries_state=isinstance(batches, Windows), label_smoothing=recipe.label_smoothing
        )
        self._corpus = corpus
        self._validation = validation
        self._test = test

    @staticmethod
    def read(recipe: GenerationRecipe) -> Corpus:
        """The text that the recipe names."""
        return load_corpus(recipe.data)

    @classmethod
    def prepared(cls, recipe: GenerationRecipe, corpus: Corpus, start: Bundle | None = None) -> Self:
        """See Task."""
        if start is not None:
            tokenizer = start.tokenizer
            if corpus.has_ends and tokenizer.end_id is None:
                raise ConfigError(f"start_from: {start.id} has no end token, and {corpus.name} has documents that end.")
        elif recipe.tokenizer.vocab_size is None:
            tokenizer = Tokenizer.character(corpus.train, end_token=corpus.has_ends)
        else:
            tokenizer = Tokenizer.byte_bpe(corpus.train, recipe.tokenizer.vocab_size, end_token=corpus.has_ends)
        if corpus.answer_mark is not None:
            seed, lanes = recipe.seed, recipe.batch.lanes
            parts = [examples_of(part, tokenizer, corpus.answer_mark) for part in (corpus.train, corpus.validation)]
            train_part, validation_part = (Examples(part, lanes=lanes, seed=seed) for part in parts)
            counts = {"train_examples": len(parts[0]), "validation_examples": len(parts[1])}
            return cls(recipe, corpus, tokenizer, batches=train_part, validation=validation_part, sizes=counts)
        assert recipe.batch.window is not None, "the recipe has been checked"
        train = stream_from_documents(corpus.train, tokenizer, has_ends=corpus.has_ends)
        validation = stream_from_documents(corpus.validation, tokenizer, has_ends=corpus.has_ends)
        sizes = {
            "train_tokens": len(train),
            "validation_tokens": len(validation),
            "validation_characters": num_characters(validation[1:], tokenizer),
        }
        test = None
        if corpus.test:
            stream = stream_from_documents(corpus.test, tokenizer, has_ends=corpus.has_ends)
            sizes |= {"test_tokens": len(stream), "test_characters": num_characters(stream[1:], tokenizer)}
            test = Windows(stream, lanes=1, length=VALIDATION_WINDOW)
        return cls(
            recipe,
            corpus,
            tokenizer,
            batches=Windows(train, lanes=recipe.batch.lanes, length=recipe.batch.window),
            validation=Windows(validation, lanes=1, length=VALIDATION_WINDOW),
            sizes=sizes,
            test=test,
        )

    def validate(self, shard: Shard) -> Validation:
        """Nats per token and per character, and perplexity; the best epoch has the fewest nats.

        One process reads the whole text: its state is carried from the first token to the last. Of examples: nats per
        token of the answers, and the share of answers that are exact.
        """
        model, part = self.module.model, self._validation
        if isinstance(part, Examples):
            nats, exact = shard.total(answers(model, part) if shard.rank == 0 else (0.0, 0.0))
            return Validation({"validation_nats_per_token": nats, "validation_exact": exact}, rank=(nats,))
        (nats,) = shard.total([mean_nats(model, part) if shard.rank == 0 else 0.0])
        return Validation(self._figures("validation", nats), rank=(nats,))

    def _figures(self, part: str, nats: float) -> dict[str, float]:
        """Of the validation or the test part."""
        characters_per_token = self.sizes[f"{part}_characters"] / (self.sizes[f"{part}_tokens"] - 1)
        return {
            f"{part}_nats_per_token": nats,
            f"{part}_nats_per_character": nats / characters_per_token,
            f"{part}_perplexity": math.exp(min(nats, 700.0)),  # of a lost model too: math.exp overflows above 709
        }

    def measure(self) -> Measured:
        """The same figures of the published weights, of the test part too where there is one."""
        figures = self.validate(ALONE).figures
        if self._test is not None:
            figures |= self._figures("test", mean_nats(self.module.model, self._test))
        return Measured(figures)

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
        data = {**self.data, **self.sizes}
        if isinstance(self._validation, Examples):
            return example_card_parts(self.module.model, data)
        example = sample(self.module.model, self.tokenizer, seed=self.recipe.seed)
        return card_parts(self.recipe, self.module.model, self.tokenizer, data, example)


def load_corpus(section: DataSection) -> Corpus:
    """Read the data set that a recipe names.

    Raises:
        DataError: it is absent or malformed.
        ConfigError: a text file without its path.
    """
    share = section.validation_share
    match section.dataset:
        case "tiny-shakespeare":
            return texts.tiny_shakespeare(share)
        case "war-and-peace":
            return texts.war_and_peace(share)
        case "names":
            return texts.names(share)
        case "builtin":
            return texts.builtin(share, section.max_characters)
        case "copy" | "recall":
            if section.examples is None or section.longest is None:
                raise ConfigError(f"dataset {section.dataset} needs data.examples and data.longest")
            make = recollections.copies if section.dataset == "copy" else recollections.recalls
            return make(examples=section.examples, longest=section.longest, validation_share=share)
        case "text-file":
            if section.path is None:
                raise ConfigError("data.path is missing; name the text file: data.path=my.txt")
            return texts.text_file(
                Path(section.path),
                share,
                validation_path=None if section.validation_path is None else Path(section.validation_path),
                test_path=None if section.test_path is None else Path(section.test_path),
            )


def _usage(corpus: Corpus, tokenizer: Tokenizer) -> Usage:
    """The corpus's, and the characters of the parts that are measured which the tokenizer does not know."""
    parts = {"validation": corpus.validation, "test": corpus.test}
    return corpus.usage.with_unused(
        *(unknown_characters(tokenizer, texts, f"the {part} part of {corpus.name}") for part, texts in parts.items())
    )
