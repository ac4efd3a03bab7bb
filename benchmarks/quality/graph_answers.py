"""What exported graphs answer to many texts: translations by the server's own batch and search, classes by logits.

No HTTP and no clock: the figures of `benchmarks.quality` and the tests of the shipped bundles come from here.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.build import build_sets
from models.bundle import RECORD, Bundle
from models.decoding.options import TranslationOptions
from models.store import Store
from runtime.opening import CPU, open_set
from runtime.padding import padded
from server.engine.translation.batch import Batch
from server.engine.translation.request import Encoded, Translation
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
    batch, sequences = Batch(opened.attention_steps(2 * MAX_ROWS)), opened.sequences()
    rows = [[*tokenizer.encode(source), end_id] for source in sources]
    results = [""] * len(rows)
    for indices in in_order([(len(row),) for row in rows], MAX_ROWS // options.beam_size):
        request = Translation(options, seed=0, is_streamed=False, keeps_attention=False)
        for i in indices.tolist():
            request.add_source(rows[i], end_id)
        ids, lengths = padded([source.tokens for source in request.sources])
        outputs = sequences.run("encode", {"ids": ids, "lengths": lengths})
        for row, source in enumerate(request.sources):
            memory = {name: outputs[name][row, : len(source.tokens)] for name in ("memory", "keys")}
            source.encoded = Encoded(memory, outputs["state"][row])
        batch.clear()
        live = request.sources
        while live:
            for source, found in zip(live, batch.step(live), strict=True):
                batch.moved(source, source.search.extend(found.candidates, found.attention))
            live = [source for source in live if not source.search.is_over]
        for i, source in zip(indices.tolist(), request.sources, strict=True):
            results[i] = tokenizer.decode(source.search.results()[0].ids)
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
