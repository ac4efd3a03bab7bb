"""A translator: BLEU and chrF of greedy and beam search by sacrebleu, with several references where there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from models.decoding.options import TranslationOptions
from training.data.pairs import Pair
from training.evaluate.answers import ServedBundle
from training.evaluate.evaluation import Evaluation, Listing
from training.evaluate.examples import Examples
from training.evaluate.resampling import Comparison, Figure, Floats, figure, paired_bootstrap
from training.evaluate.sentiment import ratio


@dataclass(frozen=True, kw_only=True)
class TranslationEvaluation(Evaluation):
    """See Evaluation.

    Attributes:
        target: the language, which decides how BLEU counts.
        outputs: by search, the translation of each source.
        references: of each source.
    """

    target: str
    outputs: dict[str, list[str]]
    references: list[list[str]]

    def compared(self, other: "TranslationEvaluation") -> list[Comparison]:
        """The paired bootstrap over sources, of each search that both have."""
        found = []
        for search in self.outputs.keys() & other.outputs.keys():
            for name, metric in metrics(self.target).items():
                this, that = (sufficient(metric, each.outputs[search], self.references) for each in (self, other))
                found.append(paired_bootstrap(f"{name}_{search}", this, that, partial(scored, metric)))
        return sorted(found, key=lambda comparison: comparison.name)


def evaluate_translation(
    served: ServedBundle, examples: Examples[Pair], num_shown: int, *, beam_size: int, is_split: bool
) -> TranslationEvaluation:
    """Measure a translator.

    Args:
        served: the bundle.
        examples: sentence pairs; those of one source are its references.
        num_shown: translations that are listed, those with the lowest chrF.
        beam_size: of the second search; 1 leaves it out.
        is_split: see ServedBundle.translations.
    """
    assert served.model.languages is not None, "a translator has languages"
    target = served.model.languages.target
    by_source: dict[str, list[str]] = {}
    for pair in examples.items:
        own = by_source.setdefault(pair.source, [])
        if pair.target not in own:
            own.append(pair.target)
    sources, references = list(by_source), list(by_source.values())
    searches = {"greedy": TranslationOptions(beam_size=1)}
    if beam_size > 1:
        searches[f"beam_{beam_size}"] = TranslationOptions(beam_size=beam_size)
    outputs = {search: served.translations(sources, options, is_split=is_split) for search, options in searches.items()}
    figures: dict[str, Figure] = {}
    signatures: dict[str, str] = {}
    for search, found in outputs.items():
        for name, metric in metrics(target).items():
            stats = sufficient(metric, found, references)
            figures[f"{name}_{search}"] = figure(stats, partial(scored, metric))
            signatures[name] = str(metric.get_signature())
        is_exact = [output in own for output, own in zip(found, references, strict=True)]
        figures[f"exact_match_{search}"] = figure(
            np.stack([is_exact, np.ones(len(found))], axis=1).astype(np.float64), ratio
        )
        if len(examples.items) > len(sources):
            figures |= _of_each_pair(search, dict(zip(sources, found, strict=True)), examples.items, target)
    return TranslationEvaluation(
        bundle=served.bundle.id,
        bundle_sha256=served.bundle.record.sha256,
        task="translation",
        set_name=served.set_name,
        data=examples.name,
        data_sha256=examples.sha256,
        sizes={
            "sources": len(sources),
            "pairs": len(examples.items),
            "sources_with_several_references": sum(len(own) > 1 for own in references),
        },
        figures=figures,
        notes={
            **signatures,
            "text": "sentence by sentence, as /v1/translate reads it by default"
            if is_split
            else "each source is read whole, as /v1/translate with split_sentences false",
        },
        listings=[_worst(sources, list(outputs.values())[-1], references, num_shown)],
        target=target,
        outputs=outputs,
        references=references,
    )


def metrics(target: str) -> dict[str, Metric]:
    """BLEU and chrF as training reports them: tokenizer zh for Chinese, 13a otherwise."""
    return {"bleu": BLEU(tokenize="zh" if target == "zh" else "13a"), "chrf": CHRF()}


def sufficient(metric: Metric, outputs: Sequence[str], references: Sequence[Sequence[str]]) -> Floats:
    """What a metric sums over sources, float64 [sources, K].

    sacrebleu keeps it to itself, but it is what its own bootstrap adds up; a test compares the two.
    """
    most = max(map(len, references))
    columns = [[own[number] if number < len(own) else None for own in references] for number in range(most)]
    stats = metric._extract_corpus_statistics(list(outputs), columns)  # type: ignore[arg-type]  # None: no more
    return np.array(stats, np.float64)


def scored(metric: Metric, sums: Floats) -> Floats:
    """A metric of sums, [resamples, K]: whole numbers, the last bits of which the bootstrap of sacrebleu rounds."""
    return np.array([metric._compute_score_from_stats(row.astype(np.int64).tolist()).score for row in sums])


def _of_each_pair(search: str, outputs: dict[str, str], pairs: Sequence[Pair], target: str) -> dict[str, Figure]:
    """With one reference each, a source as often as it has pairs: as training reports it."""
    found = [outputs[pair.source] for pair in pairs]
    references = [pair.target for pair in pairs]
    return {
        f"{name}_{search}_one_reference": Figure(metric.corpus_score(found, [references]).score)
        for name, metric in metrics(target).items()
    }


def _worst(
    sources: Sequence[str], outputs: Sequence[str], references: Sequence[Sequence[str]], num_shown: int
) -> Listing:
    metric = CHRF()
    scores = [metric.sentence_score(output, own).score for output, own in zip(outputs, references, strict=True)]
    order = sorted(range(len(scores)), key=lambda i: scores[i])[:num_shown]
    rows: list[list[str | int | float]] = [
        [scores[i], sources[i], outputs[i], " | ".join(references[i])] for i in order
    ]
    columns = ["chrf", "source", "translation", "references"]
    return Listing("worst", "lowest chrF, of the last search", columns, rows)
