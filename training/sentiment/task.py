"""Sentiment as a task: labelled texts of several data sets, accuracy and macro-F1."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Self

from models.bundle import Bundle
from models.config import ClassifierConfig
from models.errors import DataError
from models.network.classifier import Classifier
from models.tokenizer import Tokenizer
from training.card import CardParts
from training.data.labels import Labelled
from training.data.usage import Unused
from training.sentiment.batches import EncodedText, Part, TextBatches
from training.sentiment.card import card_parts
from training.sentiment.evaluation import scores
from training.sentiment.mix import Mix, load_mix
from training.sentiment.module import SentimentModule
from training.sentiment.pretraining import PretrainingStage
from training.sentiment.recipe import DatasetSection, SentimentRecipe
from training.sentiment.teachers import probabilities, taught
from training.shard import Shard
from training.stage import Stage, Validation
from training.task import Measured, Task
from training.unfreezing import GradualUnfreezing
from training.unknown import unknown_characters
from training.warm_start import bundle_path


class SentimentTask(Task[SentimentRecipe, Mix]):
    """See training.task.Task.

    Args:
        recipe: what to do.
        mix: the labelled texts.
        tokenizer: trained on the training parts.
    """

    unit: ClassVar[str] = "text"
    module: SentimentModule
    tokenizer: Tokenizer

    def __init__(self, recipe: SentimentRecipe, mix: Mix, tokenizer: Tokenizer) -> None:
        self.recipe = recipe
        self.tokenizer = tokenizer
        self.labels = mix.labels
        self._mix = mix
        most = recipe.batch.max_tokens
        self.usage = mix.usage
        self._train = [
            self._encoded(
                corpus.train,
                f"{corpus.name} for training",
                f"data.datasets.{number}.dataset",
                self._teachers_of(part, f"data.datasets.{number}.labelled_by"),
            )
            for number, (part, corpus) in enumerate(mix.parts)
        ]
        for (_, corpus), read in zip(mix.parts, self._train, strict=True):
            cut = sum(len(text.ids) > most for text in read)
            reason = f"are longer than batch.max_tokens={most} and cut there"
            self.usage = self.usage.with_unused(
                Unused(corpus.name, "training texts", len(read), cut, reason, "batch.max_tokens", is_used=True)
            )
        parts = [
            Part([text._replace(ids=text.ids[:most]) for text in texts], part.repeat, part.examples, part.fade_to)
            for (part, _), texts in zip(mix.parts, self._train, strict=True)
        ]
        self._validation = {
            name: self._encoded(examples, f"{name} for validation", "data.validation")
            for name, examples in mix.validation.items()
        }
        self._test = {
            name: self._encoded(examples, f"{name} for the test", "data.datasets")
            for name, examples in mix.test.items()
        }
        for part, by_name in (("validation", mix.validation), ("test", mix.test)):
            for name, examples in by_name.items():
                texts = (example.text for example in examples)
                self.usage = self.usage.with_unused(unknown_characters(tokenizer, texts, f"{name} for {part}"))
        self.batches = TextBatches(
            parts, texts=recipe.batch.texts, epochs=recipe.epochs, seed=recipe.seed, token_dropout=recipe.token_dropout
        )
        self.sizes = {"train_texts": sum(len(part.texts) for part in parts)} | {
            f"{part}_texts_{name}": len(texts)
            for part, by_name in (("validation", self._validation), ("test", self._test))
            for name, texts in by_name.items()
        }
        for name, count in self.sizes.items():
            if not count:
                raise DataError(f"{name} is 0: no text of that part has a token; use another data set or more of it.")
        model = Classifier(recipe.model.config(tokenizer.vocab_size, len(mix.labels)))
        weights = None if recipe.class_weights is None else _balanced(parts, len(mix.labels))
        self.module = SentimentModule(model, recipe.label_smoothing, weights)
        directions = 1 + recipe.model.bidirectional
        self._unfreezing = GradualUnfreezing(model, directions) if recipe.gradual_unfreezing else None

    @staticmethod
    def read(recipe: SentimentRecipe) -> Mix:
        """The labelled texts that the recipe names."""
        return load_mix(recipe.data)

    @classmethod
    def prepared(cls, recipe: SentimentRecipe, corpus: Mix, start: Bundle | None = None) -> Self:
        """See Task."""
        texts = [example.text for _, part in corpus.parts for example in part.train]
        section = recipe.tokenizer
        if start is not None:
            tokenizer = start.tokenizer
        elif section.vocab_size is None:
            tokenizer = Tokenizer.character(texts)
        else:
            tokenizer = Tokenizer.byte_bpe(texts, section.vocab_size, lowercase=section.lowercase)
        return cls(recipe, corpus, tokenizer)

    def pretraining(self) -> PretrainingStage | None:
        """A language model on the texts that are read whole, each as often as an epoch reads it."""
        section = self.recipe.pretraining
        if section is None:
            return None
        texts = [
            text.ids
            for (part, _), encoded in zip(self._mix.parts, self._train, strict=True)
            if part.chunk_words is None
            for _ in range(part.repeat)
            for text in encoded
        ]
        validation = [text.ids for text in self._validation[self.recipe.data.validation]]
        stage = PretrainingStage(
            self.recipe,
            section,
            self.config.recurrent,
            self.tokenizer.vocab_size,
            texts=texts,
            validation=validation,
        )
        self.sizes["pretraining_tokens"] = stage.num_tokens
        return stage

    def start_from(self, stage: Stage[Any]) -> None:
        """See Task."""
        assert isinstance(stage, PretrainingStage)
        stage.module.model.give_to(self.module.model)

    def start_epoch(self, epoch: int) -> None:
        """See Stage."""
        if self._unfreezing is not None:
            self._unfreezing.start_epoch(epoch)

    def validate(self, shard: Shard) -> Validation:
        """Of the chosen validation part; the best epoch has the highest accuracy or macro-F1, then the fewest nats."""
        found = scores(self.module.model, self._validation[self.recipe.data.validation], shard)
        figures = {
            "validation_nats_per_text": found.nats,
            "validation_accuracy": found.accuracy,
            "validation_macro_f1": found.macro_f1,
        }
        best = found.accuracy if self.recipe.data.best_by == "accuracy" else found.macro_f1
        return Validation(figures, rank=(-best, found.nats))

    def measure(self) -> Measured:
        """The same of every data set's validation part, with the confusion counts."""
        metrics: dict[str, float] = {}
        confusion: dict[str, list[list[int]]] = {}
        names = sorted(self._validation, key=lambda name: name != self.recipe.data.validation)
        for name in names:
            found = scores(self.module.model, self._validation[name])
            prefix = "validation" if name == self.recipe.data.validation else f"validation_{name.replace('-', '_')}"
            metrics[f"{prefix}_accuracy"] = found.accuracy
            metrics[f"{prefix}_macro_f1"] = found.macro_f1
            metrics[f"{prefix}_nats_per_text"] = found.nats
            confusion[name] = found.counts.tolist()
        for name, texts in self._test.items():
            found = scores(self.module.model, texts)
            prefix = f"test_{name.replace('-', '_')}"
            metrics[f"{prefix}_accuracy"] = found.accuracy
            metrics[f"{prefix}_macro_f1"] = found.macro_f1
            metrics[f"{prefix}_nats_per_text"] = found.nats
            confusion[f"{name} (test)"] = found.counts.tolist()
        return Measured(metrics, {"confusion": confusion})

    @property
    def config(self) -> ClassifierConfig:
        """See Task."""
        return self.module.model.config

    @property
    def data(self) -> dict[str, Any]:
        """See Task."""
        origins = {corpus.name: corpus.origin for _, corpus in self._mix.parts}
        sources = [{"name": name, **asdict(origin)} for name, origin in origins.items()]
        joined = {key: "; ".join(source[key] for source in sources) for key in ("title", "upstream", "licence", "name")}
        return {**joined, "sha256": self._mix.sha256, "sources": sources}

    def card_parts(self, measured: Measured) -> CardParts:
        """See Task."""
        data = {**self.data, **self.sizes}
        return card_parts(self.recipe, self.module.model, self.tokenizer, self._mix, data, measured.details)

    def _teachers_of(self, part: DatasetSection, key: str) -> list[Bundle]:
        return [Bundle(bundle_path(name, self.recipe.store, key)) for name in part.labelled_by]

    def _encoded(
        self, examples: Sequence[Labelled], source: str, key: str, teachers: Sequence[Bundle] = ()
    ) -> list[EncodedText]:
        """Token ids and classes, a teacher's where there is one; a text without a token is left out and counted."""
        classes = {label: number for number, label in enumerate(self._mix.labels)}
        texts = [EncodedText(self.tokenizer.encode(text), classes[label]) for text, label in examples]
        if teachers:
            said = probabilities(teachers, [text for text, _ in examples], self._mix.labels)
            texts = [taught(text, row) for text, row in zip(texts, said, strict=True)]
        found = [text for text in texts if text.ids]
        lost = len(examples) - len(found)
        self.usage = self.usage.with_unused(Unused(source, "texts", len(examples), lost, "have no token", key))
        return found


def _balanced(parts: Sequence[Part], num_classes: int) -> list[float]:
    """A weight for each class: the mean size of a class over its own, as the first epoch reads them."""
    counts = [0.0] * num_classes
    for part in parts:
        times = part.repeat if part.examples is None else min(1.0, part.examples / len(part.texts))
        for text in part.texts:
            counts[text.label] += times
    return [sum(counts) / num_classes / count if count else 0.0 for count in counts]
