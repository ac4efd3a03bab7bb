"""How good a translator is: nats per token under teacher forcing; BLEU, chrF and exact matches of what it writes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from torch.nn.functional import cross_entropy

from models.network.translator import Translator
from training.buckets import in_order
from training.translation.batches import IGNORED, EncodedPair, batch_of

SENTENCES = 64  # read at once; the figures do not depend on it


@dataclass(frozen=True)
class Scores:
    """Of a whole part; signatures say how they were computed (Post 2018)."""

    bleu: float  # 0..100, Papineni et al. 2002
    chrf: float  # 0..100, Popovic 2015
    exact_match: float  # 0..1, share of the outputs that are their reference
    bleu_signature: str
    chrf_signature: str


def mean_nats(model: Translator, pairs: Sequence[EncodedPair], end_id: int) -> float:
    """Mean of -ln p(target token | source, target tokens before it) in nats, end tokens counted.

    Leaves the model in the mode it was in and draws no random numbers.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    total, count = 0.0, 0
    with torch.no_grad():
        for indices in in_order([pair.lengths for pair in pairs], SENTENCES):
            batch = batch_of([pairs[i] for i in indices.tolist()], end_id)
            logits = model(batch.ids.to(device), batch.lengths.to(device), batch.inputs.to(device))
            losses = cross_entropy(
                logits.flatten(0, 1), batch.targets.to(device).flatten(), ignore_index=IGNORED, reduction="none"
            )
            total += float(losses.cpu().double().sum())
            count += batch.num_targets
    model.train(was_training)
    return total / count


def scores(outputs: Sequence[str], references: Sequence[str], target_language: str) -> Scores:
    """Corpus BLEU and chrF by sacrebleu: tokenizer zh for Chinese, 13a otherwise; one reference each.

    Args:
        outputs: what the model wrote.
        references: what was expected, in the same order.
        target_language: ISO 639-1.
    """
    bleu, chrf = BLEU(tokenize="zh" if target_language == "zh" else "13a"), CHRF()
    return Scores(
        bleu=bleu.corpus_score(list(outputs), [list(references)]).score,
        chrf=chrf.corpus_score(list(outputs), [list(references)]).score,
        exact_match=sum(map(str.__eq__, outputs, references)) / len(references),
        bleu_signature=str(bleu.get_signature()),
        chrf_signature=str(chrf.get_signature()),
    )
