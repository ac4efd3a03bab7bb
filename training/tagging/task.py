"""Tagging as a task: sentences with a label for each word, accuracy and F1 of spans."""

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Self

from models.bundle import Bundle
from models.config import FieldConfig, TaggerConfig
from models.errors import DataError
from models.network.tagger import Tagger
from models.tokenizer import Tokenizer
from models.word_ids import WordEncoder, WordsRecord, learnt_field
from training.card import CardParts
from training.data.tags import Tagged
from training.data.usage import Unused, Usage
from training.sentiment.pretraining import PretrainingStage
from training.shard import Shard
from training.stage import Stage, Validation
from training.tagging.batches import EncodedSentence, SentenceBatches
from training.tagging.card import card_parts
from training.tagging.corpus import TaggingCorpus, load_tagging
from training.tagging.evaluation import Scores, scores
from training.tagging.module import TaggingModule
from training.tagging.recipe import TaggingRecipe
from training.task import Measured, Task
from training.warm_start import check_kinds


class TaggingTask(Task[TaggingRecipe, TaggingCorpus]):
    """See training.task.Task.

    Args:
        recipe: what to do.
        corpus: the sentences, and texts for pre-training.
        tokenizer: trained on the training part and the texts.
        words: how text becomes words, and the fields of a token.
    """

    unit: ClassVar[str] = "token"
    module: TaggingModule
    tokenizer: Tokenizer

    def __init__(self, recipe: TaggingRecipe, corpus: TaggingCorpus, tokenizer: Tokenizer, words: WordsRecord) -> None:
        self.recipe = recipe
        self.tokenizer = tokenizer
        self.words = words
        self._corpus = corpus
        tagged = corpus.tagged
        self.labels = sorted({tag for sentence in tagged.train for tag in sentence.tags})
        self._encoder = WordEncoder(tokenizer, words)
        self.usage = _usage(corpus)
        self._train = train = self._encoded(tagged.train, "training")
        self._validation = self._encoded(tagged.validation, "validation")
        self._test = self._encoded(tagged.test, "test")
        most = recipe.batch.max_tokens
        cut = sum(len(text.ids) > most for text in train)
        reason = f"are longer than batch.max_tokens={most} and cut there"
        self.usage = self.usage.with_unused(
            Unused(tagged.name, "training sentences", len(train), cut, reason, "batch.max_tokens", is_used=True)
        )
        self.batches = SentenceBatches(
            [text._replace(ids=text.ids[:most], labels=text.labels[:most]) for text in train],
            size=recipe.batch.sentences,
            seed=recipe.seed,
            token_dropout=recipe.token_dropout,
            vocab_size=tokenizer.vocab_size,
        )
        self.sizes = {
            "train_sentences": len(train),
            "train_words": sum(len(text.firsts) for text in train),
            "validation_sentences": len(self._validation),
            "validation_words": sum(len(text.firsts) for text in self._validation),
            "repaired_tags": tagged.num_repaired,
        }
        unknown = sum(i % tokenizer.vocab_size == 0 for text in train for i in text.ids)
        if unknown:
            total = sum(len(text.ids) for text in train)
            self.usage = self.usage.with_notes(
                f"{unknown:,} of {total:,} training tokens are rarer than tokenizer.least and read as <unk>, with "
                "their fields (tokenizer.least)"
            )
        if self._test:
            self.sizes["test_sentences"] = len(self._test)
            self.sizes["test_words"] = sum(len(text.firsts) for text in self._test)
        if not train or not self._validation:
            raise DataError("no sentence has a token that the tokenizer knows; use another one or more data.")
        fields = [
            FieldConfig(size=field.size, width=section.width)
            for field, section in zip(words.fields, recipe.fields, strict=True)
        ]
        config = recipe.model.config(tokenizer.vocab_size, fields, len(self.labels))
        self.module = TaggingModule(Tagger(config), self.labels, recipe.label_smoothing)

    @staticmethod
    def read(recipe: TaggingRecipe) -> TaggingCorpus:
        """The sentences that the recipe names, and the texts of its pre-training."""
        return load_tagging(recipe)

    @classmethod
    def prepared(cls, recipe: TaggingRecipe, corpus: TaggingCorpus, start: Bundle | None = None) -> Self:
        """See Task."""
        sentences = [sentence.words for sentence in corpus.tagged.train]
        tokenizer = _tokenizer(recipe, sentences, corpus.texts)
        if recipe.tokenizer.kind == "character":  # fields are of tokens, which here are characters
            sentences = [tuple(c for word in sentence for c in word) for sentence in sentences]
            texts = [tuple(c for word in text for c in word) for text in corpus.texts]
        else:
            texts = list(corpus.texts)
        fields = []
        for section in recipe.fields:
            own = learnt_field(section.kind, sentences, section.least)
            more = learnt_field(section.kind, texts, section.least_in_texts)
            fields.append(own.model_copy(update={"values": list(dict.fromkeys([*own.values, *more.values]))}))
        words = WordsRecord(splitter=corpus.splitter, fields=fields)
        if start is not None and start.words is not None:
            check_kinds(start, "splitter", [start.words.splitter.kind], [words.splitter.kind])
            check_kinds(start, "fields", [each.kind for each in start.words.fields], [each.kind for each in fields])
            tokenizer, words = start.tokenizer, start.words
        return cls(recipe, corpus, tokenizer, words)

    def pretraining(self) -> PretrainingStage | None:
        """A language model on the sentences and the texts."""
        section = self.recipe.pretraining
        if section is None:
            return None
        texts = [self._encoder.encode(text).ids for text in self._corpus.texts]
        stage = PretrainingStage(
            self.recipe,
            section,
            self.config.recurrent,
            self.tokenizer.vocab_size,
            texts=[*texts, *(text.ids for text in self._train)],
            validation=[text.ids for text in self._validation],
            embedding=Tagger(self.config).embedding,
            without_next=self._encoder.without_next,
        )
        self.sizes["pretraining_tokens"] = stage.num_tokens
        return stage

    def start_from(self, stage: Stage[Any]) -> None:
        """See Task."""
        assert isinstance(stage, PretrainingStage)
        stage.module.model.give_to(self.module.model)

    def validate(self, shard: Shard) -> Validation:
        """Of the validation part; the best epoch has the highest F1 of spans or accuracy, then the fewest nats."""
        found = self._scores(shard)
        figures = {"validation_nats_per_token": found.nats, "validation_accuracy": found.accuracy}
        if found.spans is not None:
            figures["validation_span_f1"] = found.span_f1
        return Validation(figures, rank=(-(found.accuracy if found.spans is None else found.span_f1), found.nats))

    def measure(self) -> Measured:
        """The same, with the counts of each label."""
        found = self._scores()
        metrics = {"validation_accuracy": found.accuracy, "validation_nats_per_token": found.nats}
        if found.spans is not None:
            metrics["validation_span_f1"] = found.span_f1
            details: dict[str, Any] = {"spans": {name: list(numbers) for name, numbers in found.spans.items()}}
        else:
            right, given, there = found.counts.diagonal(), found.counts.sum(axis=0), found.counts.sum(axis=1)
            details = {
                "words": {
                    label: [int(right[i]), int(given[i]), int(there[i])] for i, label in enumerate(self.labels or [])
                }
            }
        if self._test:
            test = self._scores(sentences=self._test)
            metrics |= {"test_accuracy": test.accuracy, "test_nats_per_token": test.nats}
            if test.spans is not None:
                metrics["test_span_f1"] = test.span_f1
        return Measured(metrics, details)

    @property
    def config(self) -> TaggerConfig:
        """See Task."""
        return self.module.model.config

    @property
    def data(self) -> dict[str, Any]:
        """See Task."""
        origins = {self._corpus.tagged.name: self._corpus.tagged.origin, **self._corpus.origins}
        sources = [{"name": name, **asdict(origin)} for name, origin in origins.items()]
        joined = {key: "; ".join(source[key] for source in sources) for key in ("title", "upstream", "licence", "name")}
        return {**joined, "sha256": self._corpus.sha256, "sources": sources}

    def card_parts(self, measured: Measured) -> CardParts:
        """See Task."""
        data = {**self.data, **self.sizes}
        return card_parts(self.recipe, self.module.model, self.tokenizer, self._corpus.tagged, data, measured.details)

    def _scores(self, shard: Shard | None = None, sentences: Sequence[EncodedSentence] | None = None) -> Scores:
        """Of the validation part, or of other sentences."""
        labels, is_bio = self.labels or [], self._corpus.tagged.is_bio
        part = self._validation if sentences is None else sentences
        return scores(self.module.model, part, labels, is_bio=is_bio, shard=shard or Shard())

    def _encoded(self, sentences: Sequence[Tagged], part: str) -> list[EncodedSentence]:
        """Tokens and classes; what has no token is left out and counted."""
        found = list(self._with_tokens(sentences))
        lost = len(sentences) - len(found)
        unit = f"{part} sentences"
        self.usage = self.usage.with_unused(
            Unused(self._corpus.tagged.name, unit, len(sentences), lost, "have no token", "tokenizer.kind")
        )
        return found

    def _with_tokens(self, sentences: Iterable[Tagged]) -> Iterator[EncodedSentence]:
        """Tokens of a word after its first continue its span."""
        classes = {label: number for number, label in enumerate(self.labels or [])}
        for sentence in sentences:
            found = self._encoder.encode(sentence.words)
            firsts = set(found.firsts)
            tags = [
                sentence.tags[word] if i in firsts else _continued(sentence.tags[word], classes)
                for i, word in enumerate(found.words)
            ]
            labels = [classes[tag] for tag in tags]
            if found.ids:
                yield EncodedSentence(found.ids, labels, found.firsts)


def _usage(corpus: TaggingCorpus) -> Usage:
    """The corpus's, with the words of each tag counted, or the spans of each class."""
    tagged = corpus.tagged
    parts = [[tag for sentence in part for tag in sentence.tags] for part in (tagged.train, tagged.validation)]
    if not tagged.is_bio:
        return corpus.usage.with_classes(parts[0], parts[1], "words")
    begins = [[tag[2:] for tag in part if tag.startswith("B-")] for part in parts]
    return corpus.usage.with_classes(begins[0], begins[1], "spans")


def _continued(tag: str, known: Container[str]) -> str:
    """The tag of a word's tokens after its first: I-x of a word with B-x, where there is such a tag."""
    inside = f"I-{tag[2:]}"
    return inside if tag.startswith("B-") and inside in known else tag


def _tokenizer(recipe: TaggingRecipe, sentences: Sequence[Sequence[str]], texts: Sequence[Sequence[str]]) -> Tokenizer:
    section = recipe.tokenizer
    own = Counter(word for sentence in sentences for word in sentence)
    more = Counter(word for text in texts for word in text)
    if section.kind == "character":
        return Tokenizer.character([*own, *more])
    mine, theirs = Counter[str](), Counter[str]()
    for counter, found in ((mine, own), (theirs, more)):
        for word, count in found.items():
            counter[Tokenizer.normalized(word)] += count
    total = mine + theirs
    kept = [word for word in total if mine[word] >= section.least or theirs[word] >= section.least_in_texts]
    return Tokenizer.word_level(sorted(kept, key=lambda word: (-total[word], word)))
