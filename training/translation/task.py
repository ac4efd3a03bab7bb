"""Translation as a task: sentence pairs, nats per target token, BLEU and chrF of the published weights."""

import math
import random
from copy import deepcopy
from dataclasses import asdict
from typing import Any, ClassVar, Self

from models.bundle import Bundle
from models.config import TranslatorConfig
from models.decoding.options import TranslationOptions
from models.errors import DataError
from models.network.translator import Translator
from models.tokenizer import Tokenizer
from training.card import CardParts
from training.data.pairs import Pair, PairCorpus
from training.data.usage import Unused, Usage
from training.shard import ALONE, Shard
from training.stage import Validation
from training.task import Measured, Task
from training.translation.batches import PairBatches, encoded
from training.translation.card import card_parts
from training.translation.corpus import load_pairs
from training.translation.evaluation import mean_nats, scores, translate
from training.translation.module import TranslationModule
from training.translation.recipe import TranslationRecipe
from training.translation.subword import SampledSources
from training.unknown import unknown_characters

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
        usage: what is not.
    """

    unit: ClassVar[str] = "token"
    module: TranslationModule
    tokenizer: Tokenizer

    def __init__(
        self, recipe: TranslationRecipe, corpus: PairCorpus, tokenizer: Tokenizer, *, train: list[Pair], usage: Usage
    ) -> None:
        self.recipe = recipe
        self.tokenizer = tokenizer
        self.languages = recipe.languages
        self.usage = usage
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
        for name, part in self._measured_parts(corpus).items():
            unknown = unknown_characters(tokenizer, (pair.source for pair in part), f"the sources of {name}")
            self.usage = self.usage.with_unused(unknown)
            if name != "validation":
                self.sizes[f"{name}_pairs"] = len(part)
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
        lost = len(corpus.train) - len(train)
        name = ", ".join(item.name for item in (corpus, *corpus.others))
        reason = f"have a side longer than batch.max_tokens={most}"
        usage = corpus.usage.with_unused(
            Unused(name, "training pairs", len(corpus.train), lost, reason, "batch.max_tokens")
        )
        if not train:
            raise DataError(f"no pair of {corpus.name} has at most batch.max_tokens={most} tokens a side; raise it.")
        return cls(recipe, corpus, tokenizer, train=train, usage=usage)

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
        """The same, and the scores of greedy and beam-4 translations of each validation and test part."""
        metrics = {name: value for name, value in self.validate(ALONE).figures.items() if name != "validation_bleu"}
        signatures: dict[str, str] = {}
        outputs: dict[str, list[str]] = {}
        for part, pairs in self._measured_parts(self._corpus).items():
            if part != "validation":
                end, rows = self.tokenizer.end_id, [encoded(pair, self.tokenizer) for pair in pairs]
                assert end is not None
                metrics[f"{part}_nats_per_token"] = mean_nats(self.module.model, rows, end, ALONE)
            sources, references = [pair.source for pair in pairs], [pair.target for pair in pairs]
            for name, options in SEARCHES.items():
                outputs[part] = translate(self.module.model, self.tokenizer, sources, options)
                found = scores(outputs[part], references, self.recipe.languages.target)
                metrics[f"{part}_bleu_{name}"] = found.bleu
                metrics[f"{part}_chrf_{name}"] = found.chrf
                metrics[f"{part}_exact_match_{name}"] = found.exact_match
                signatures = {"bleu": found.bleu_signature, "chrf": found.chrf_signature}
        return Measured(metrics, {"signatures": signatures, "examples": self._examples(outputs["validation"])})

    @staticmethod
    def _measured_parts(corpus: PairCorpus) -> dict[str, tuple[Pair, ...]]:
        """By the names of their figures: validation, validation_<data set> of a mix, test, test_<data set>."""
        parts = {"validation": corpus.validation}
        parts |= {f"validation_{other.name.replace('-', '_')}": other.validation for other in corpus.others}
        if corpus.test:
            parts["test"] = corpus.test
        return parts | {f"test_{other.name.replace('-', '_')}": other.test for other in corpus.others if other.test}

    @property
    def config(self) -> TranslatorConfig:
        """See Task."""
        return self.module.model.config

    @property
    def data(self) -> dict[str, Any]:
        """See Task."""
        corpus = self._corpus
        corpora = (corpus, *corpus.others)
        joined = {key: "; ".join(asdict(item.origin)[key] for item in corpora) for key in asdict(corpus.origin)}
        notice = " ".join(dict.fromkeys(item.notice for item in corpora if item.notice))
        facts: dict[str, Any] = {
            **joined,
            "name": "; ".join(item.name for item in corpora),
            "sha256": corpus.sha256,
            "notice": notice,
        }
        if corpus.others:
            facts["sources"] = [{"name": item.name, **asdict(item.origin)} for item in corpora]
        return facts

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
