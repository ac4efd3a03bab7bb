"""Translations by the torch network, many sources at once, by the search that serving uses."""

from collections.abc import Sequence

import numpy as np
import torch

from models.decoding.beam_search import BeamSearch
from models.decoding.candidates import Candidates, top_candidates
from models.decoding.options import TranslationOptions
from models.network.translator import Translator
from models.tokenizer import Tokenizer
from training.buckets import in_order, padded

SOURCES = 64  # searched at once; what comes out does not depend on it but in the last bits


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
    live = list(range(len(rows)))  # the searches that go on
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
