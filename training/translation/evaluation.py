"""How good a translator is: nats per token under teacher forcing; BLEU, chrF and exact matches of its translations."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from torch.nn.functional import cross_entropy

from models.decoding.beam_search import BeamSearch
from models.decoding.candidates import Candidates, top_candidates
from models.decoding.options import TranslationOptions
from models.network.translator import Translator
from models.tokenizer import Tokenizer
from training.buckets import in_order, padded
from training.shard import ALONE, Shard
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


def mean_nats(model: Translator, pairs: Sequence[EncodedPair], end_id: int, shard: Shard = ALONE) -> float:
    """Mean of -ln p(target token | source, target tokens before it) in nats, end tokens counted.

    Leaves the model in the mode it was in and draws no random numbers. Of several processes each reads some batches.
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    total, count = 0.0, 0.0
    with torch.no_grad():
        for indices in shard.of(in_order([pair.lengths for pair in pairs], SENTENCES)):
            batch = batch_of([pairs[i] for i in indices.tolist()], end_id)
            logits = model(batch.ids.to(device), batch.lengths.to(device), batch.inputs.to(device))
            losses = cross_entropy(
                logits.flatten(0, 1), batch.targets.to(device).flatten(), ignore_index=IGNORED, reduction="none"
            )
            total += float(losses.cpu().double().sum())
            count += batch.num_targets
    model.train(was_training)
    total, count = shard.total([total, count])
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


SOURCES = 64  # searched at once; the results depend on it in the last bits alone


def translate(
    model: Translator, tokenizer: Tokenizer, sources: Sequence[str], options: TranslationOptions
) -> list[str]:
    """The best translation of each source.

    Args:
        model: on the CPU, in evaluation mode.
        tokenizer: the model's.
        sources: texts.
        options: the search; a beam of 1 is greedy.
    """
    assert tokenizer.end_id is not None
    rows = [[*tokenizer.encode(source), tokenizer.end_id] for source in sources]
    results: list[str] = [""] * len(rows)
    for indices in in_order([(len(row),) for row in rows], SOURCES):
        chosen = indices.tolist()
        found = _search(model, [rows[i] for i in chosen], tokenizer.end_id, options)
        for i, ids in zip(chosen, found, strict=True):
            results[i] = tokenizer.decode(ids)
    return results


@torch.no_grad()
def _search(model: Translator, rows: list[list[int]], end_id: int, options: TranslationOptions) -> list[list[int]]:
    """The best ids for each row of source ids."""
    searches = [BeamSearch(options, end_id=end_id, source_length=len(row), keep_attention=False) for row in rows]
    lengths = torch.tensor([len(row) for row in rows])
    memory, keys, state = model.encode(padded(rows), lengths)
    live = list(range(len(rows)))  # the searches that are not finished
    while live:
        tokens = np.concatenate([searches[i].tokens for i in live])
        owner = torch.tensor([i for i in live for _ in searches[i].tokens])  # each row's source
        logits, state, attention = model.step(
            torch.from_numpy(tokens), state, memory[owner], keys[owner], lengths[owner]
        )
        candidates = top_candidates(np.ascontiguousarray(logits.numpy()), searches[live[0]].num_candidates)
        parents: list[int] = []
        start = 0
        for i in live:
            end = start + len(searches[i].tokens)
            mine = Candidates(candidates.ids[start:end], candidates.log_probabilities[start:end])
            parents += (searches[i].extend(mine, attention[start:end].numpy()) + start).tolist()
            start = end
        state = state[parents]
        live = [i for i in live if not searches[i].is_over]
    return [search.results()[0].ids for search in searches]
