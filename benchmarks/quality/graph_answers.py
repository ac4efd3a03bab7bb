"""What exported graphs answer to many texts: translations by the server's own search, classes by logits.

No HTTP and no clock: the figures of `benchmarks.quality` and the tests of the shipped bundles come from here.
"""

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.build import build_sets
from models.bundle import RECORD, Bundle
from models.decoding.beam_search import BeamSearch
from models.decoding.options import TranslationOptions
from models.store import Store
from runtime.opening import CPU, open_set
from runtime.padding import padded
from training.buckets import in_order

SETS = ("int8", "fp32")  # what a CPU runs
MAX_ROWS = 128  # stepped together; no answer depends on it
TEXTS = 32  # classified together; no answer depends on it


@contextmanager
def with_sets(bundle: Bundle, names: Sequence[str]) -> Iterator[dict[str, Bundle]]:
    """For each graph set a bundle that has it: the given one, or a copy in a temporary store where it is built.

    Args:
        bundle: is only read.
        names: of graph sets.

    Raises:
        ExportError: a set cannot be built.
        ParityError: a set that was built does not answer as PyTorch does.
    """
    missing = [name for name in names if name not in bundle.graph_sets]
    with tempfile.TemporaryDirectory() as root:
        copy = bundle
        if missing:
            with Store(root).new_version(bundle.record.name) as (folder, target):
                for file in (*bundle.record.files, RECORD):
                    (folder / file).write_bytes((bundle.path / file).read_bytes())
            copy = Bundle(Path(target))
            build_sets(copy, missing)
        yield {name: copy if name in missing else bundle for name in names}


def translations(bundle: Bundle, set_name: str, sources: Sequence[str], options: TranslationOptions) -> list[str]:
    """The best translation of each source, as the server finds it.

    Args:
        bundle: a translator that has the graph set.
        set_name: fp32 or int8.
        sources: texts.
        options: the search; a beam of 1 is greedy.

    Raises:
        BundleError: the set is missing or not what its manifest says.
        RunnerError: a graph failed.
    """
    tokenizer = bundle.tokenizer
    end_id = tokenizer.end_id
    assert end_id is not None, "a translator's tokenizer has an end token"
    opened = open_set(CPU, bundle, set_name)
    steps, sequences = opened.attention_steps(2 * MAX_ROWS), opened.sequences()
    rows = [[*tokenizer.encode(source), end_id] for source in sources]
    results = [""] * len(rows)
    for indices in in_order([(len(row),) for row in rows], MAX_ROWS // options.beam_size):
        chosen = [rows[i] for i in indices.tolist()]
        ids, lengths = padded(chosen)
        outputs = sequences.run("encode", {"ids": ids, "lengths": lengths})
        for slot, row in enumerate(chosen):
            memory = {name: outputs[name][slot, : len(row)] for name in ("memory", "keys")}
            steps.put(slot, outputs["state"][slot], memory)
        searches = [BeamSearch(options, end_id=end_id, source_length=len(row), keep_attention=False) for row in chosen]
        live = searches
        parents = [np.array([slot]) for slot in range(len(live))]
        while live:
            logits = steps.step(np.concatenate([search.tokens for search in live]), np.concatenate(parents))
            starts = np.cumsum([0, *map(len, parents)]).tolist()
            parents = [
                start + search.advance(logits[start:stop], steps.attention[start:stop])
                for search, (start, stop) in zip(live, itertools.pairwise(starts), strict=True)
            ]
            parents = [slots for slots in parents if len(slots)]
            live = [search for search in live if not search.is_over]
        for i, search in zip(indices.tolist(), searches, strict=True):
            results[i] = tokenizer.decode(search.results()[0].ids)
    return results


def class_logits(bundle: Bundle, set_name: str, texts: Sequence[str]) -> NDArray[np.float32]:
    """A classifier's logits, float32 [texts, C], each text read whole.

    Args:
        bundle: a classifier that has the graph set.
        set_name: fp32 or int8.
        texts: each with at least one token.

    Raises:
        BundleError: the set is missing or not what its manifest says.
        RunnerError: the graph failed.
    """
    sequences = open_set(CPU, bundle, set_name).sequences()
    rows = [bundle.tokenizer.encode(text) for text in texts]
    logits = np.zeros((len(rows), len(bundle.record.labels or [])), np.float32)
    for indices in in_order([(len(row),) for row in rows], TEXTS):
        ids, lengths = padded([rows[i] for i in indices.tolist()])
        logits[indices] = sequences.run("classify", {"ids": ids, "lengths": lengths})["logits"]
    return logits
