"""Translation as a task: sentence pairs, nats per target token, BLEU and chrF of the published weights."""

import math
import random
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from models.bundle import Bundle
from models.config import TranslatorConfig
from models.decoding.options import TranslationOptions
from models.errors import ConfigError, DataError
from models.network.translator import Translator
from models.tokenizer import Tokenizer
from training.card import CardParts
from training.data.numbers import numbers
from training.data.pairs import Pair, PairCorpus, multi30k, pairs_file, simplifier, tatoeba, without_repetitions
from training.shard import ALONE, Shard
from training.stage import Validation
from training.task import Measured, Task
from training.translation.batches import PairBatches, encoded
from training.translation.card import card_parts
from training.translation.evaluation import mean_nats, scores, translate
from training.translation.module import TranslationModule
from training.translation.recipe import TranslationRecipe
from training.translation.subword import SampledSources

SEARCHES = {"greedy": TranslationOptions(beam_size=1), "beam_4": TranslationOptions(beam_size=4)}
NUM_EXAMPLES = 20
EXAMPLES_SEED = 20  # not the recipe's: cards of different runs show the same sentences


class TranslationTask(Task[TranslationRecipe, PairCorpus]):
    """See training.task.Task.

    Args:
        recipe: what to do.
        corpus: the sentence pairs.
        tokenizer: trained on both sides of the training part.
        train: the training pairs that are read.
    """

    unit: ClassVar[str] = "token"
    module: TranslationModule
    tokenizer: Tokenizer

    def __init__(
        self, recipe: TranslationRecipe, corpus: PairCorpus, tokenizer: Tokenizer, *, train: list[Pair]
    ) -> None:
        self.recipe = recipe
        self.tokenizer = tokenizer
        self.languages = recipe.languages
        self.batches = PairBatches(
            train,
            tokenizer,
            sentences=recipe.batch.sentences,
            seed=recipe.seed,
            source_variants=recipe.data.source_variants,
        )
        self.sizes = {
            "train_pairs": len(train),
            "validation_pairs": len(corpus.validation),
            "train_target_tokens": self.batches.num_tokens,
            "validation_sources_in_training": len(
                {pair.source for pair in train} & {pair.source for pair in corpus.validation}
            ),
        }
        model = Translator(recipe.model.config(tokenizer.vocab_size))
        self.module = TranslationModule(model, recipe.label_smoothing)
        self._corpus = corpus
        self._validation = [encoded(pair, tokenizer) for pair in corpus.validation]
        targets, sources = zip(self.batches.longest, *(pair.lengths for pair in self._validation), strict=True)
        self.sizes |= {
            "longest_source_tokens": max(sources),
            "longest_target_tokens": max(targets),
            "sources_without_letters": sum(not any(map(str.isalpha, pair.source)) for pair in train),
        }
        if recipe.bpe_dropout:
            self.batches = SampledSources(self.batches, tokenizer, share=recipe.bpe_dropout, seed=recipe.seed)

    @staticmethod
    def read(recipe: TranslationRecipe) -> PairCorpus:
        """The sentence pairs that the recipe names."""
        return load_pairs(recipe)

    @classmethod
    def prepared(cls, recipe: TranslationRecipe, corpus: PairCorpus, start: Bundle | None = None) -> Self:
        """See Task."""
        texts = [text for pair in corpus.train for text in (pair.source, pair.target)]
        if recipe.data.source_variants:
            texts += [pair.source.lower() for pair in corpus.train]
        if start is not None:
            tokenizer = start.tokenizer
        elif recipe.tokenizer.vocab_size is None:
            tokenizer = Tokenizer.character(texts, end_token=True)
        else:
            tokenizer = Tokenizer.byte_bpe(texts, recipe.tokenizer.vocab_size, end_token=True)
        most = recipe.batch.max_tokens
        train = [pair for pair in corpus.train if max(encoded(pair, tokenizer).lengths) <= most]
        if not train:
            raise DataError(f"no pair of {corpus.name} has at most batch.max_tokens={most} tokens a side; raise it.")
        return cls(recipe, corpus, tokenizer, train=train)

    def validate(self, shard: Shard) -> Validation:
        """Nats per target token, and perplexity; the best epoch has the fewest nats."""
        assert self.tokenizer.end_id is not None
        nats = mean_nats(self.module.model, self._validation, self.tokenizer.end_id, shard)
        figures = {
            "validation_nats_per_token": nats,
            "validation_perplexity": math.exp(min(nats, 700.0)),  # of a lost model too: math.exp overflows above 709
        }
        if self.recipe.bleu_sentences is not None:
            (figures["validation_bleu"],) = shard.total([self._bleu() if shard.rank == 0 else 0.0])
        return Validation(figures, rank=(nats,))

    def _bleu(self) -> float:
        """Greedy BLEU of the first validation sentences, computed on the CPU."""
        pairs = self._corpus.validation[: self.recipe.bleu_sentences]
        model = deepcopy(self.module.model).cpu().eval()
        outputs = translate(model, self.tokenizer, [pair.source for pair in pairs], SEARCHES["greedy"])
        return scores(outputs, [pair.target for pair in pairs], self.recipe.languages.target).bleu

    def measure(self) -> Measured:
        """The same, and the scores of greedy and beam-4 translations of the whole validation part."""
        metrics = {name: value for name, value in self.validate(ALONE).figures.items() if name != "validation_bleu"}
        sources = [pair.source for pair in self._corpus.validation]
        references = [pair.target for pair in self._corpus.validation]
        signatures: dict[str, str] = {}
        outputs: list[str] = []
        for name, options in SEARCHES.items():
            outputs = translate(self.module.model, self.tokenizer, sources, options)
            found = scores(outputs, references, self.recipe.languages.target)
            metrics[f"validation_bleu_{name}"] = found.bleu
            metrics[f"validation_chrf_{name}"] = found.chrf
            metrics[f"validation_exact_match_{name}"] = found.exact_match
            signatures = {"bleu": found.bleu_signature, "chrf": found.chrf_signature}
        return Measured(metrics, {"signatures": signatures, "examples": self._examples(outputs)})

    @property
    def config(self) -> TranslatorConfig:
        """See Task."""
        return self.module.model.config

    @property
    def data(self) -> dict[str, Any]:
        """See Task."""
        corpus = self._corpus
        return {**asdict(corpus.origin), "name": corpus.name, "sha256": corpus.sha256, "notice": corpus.notice}

    def card_parts(self, measured: Measured) -> CardParts:
        """See Task."""
        return card_parts(self.recipe, self.module.model, self.tokenizer, {**self.data, **self.sizes}, measured.details)

    def _examples(self, outputs: list[str]) -> list[dict[str, str]]:
        """Validation pairs with what the model wrote, where they may be quoted."""
        if not self._corpus.may_quote:
            return []
        pairs = self._corpus.validation
        chosen = random.Random(EXAMPLES_SEED).sample(range(len(pairs)), min(NUM_EXAMPLES, len(pairs)))
        return [{**pairs[i]._asdict(), "output": outputs[i]} for i in sorted(chosen)]


def load_pairs(recipe: TranslationRecipe) -> PairCorpus:
    """Read the data set that a recipe names.

    Raises:
        DataError: it is absent or malformed.
        ConfigError: it does not have the recipe's languages, or opencc is needed and not installed.
    """
    section, languages = recipe.data, recipe.languages
    match section.dataset:
        case "tatoeba":
            corpus = tatoeba(languages)
        case "multi30k":
            corpus = multi30k(languages)
        case "numbers":
            assert section.examples  # these three are checked by DataSection
            assert section.largest
            assert section.validation_share
            corpus = numbers(
                languages,
                examples=section.examples,
                largest=section.largest,
                validation_share=section.validation_share,
            )
        case "pairs-file":
            assert section.path
            assert section.validation_share
            corpus = pairs_file(Path(section.path), languages, section.validation_share)
    return _simplified(corpus) if section.simplified else corpus


def _simplified(corpus: PairCorpus) -> PairCorpus:
    if "zh" not in (corpus.languages.source, corpus.languages.target):
        raise ConfigError("data.simplified is for Chinese, and neither language is zh; leave it out.")
    convert = simplifier()

    def converted(pairs: tuple[Pair, ...]) -> tuple[Pair, ...]:
        return without_repetitions(
            pair._replace(source=convert(pair.source))
            if corpus.languages.source == "zh"
            else pair._replace(target=convert(pair.target))
            for pair in pairs
        )

    notice = f"{corpus.notice} Chinese was converted to simplified characters by OpenCC (t2s)."
    return replace(
        corpus, train=converted(corpus.train), validation=converted(corpus.validation), notice=notice.strip()
    )
