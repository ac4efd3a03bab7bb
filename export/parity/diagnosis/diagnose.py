"""All faults of a graph set's files, each as a sentence that says what is wrong and where."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.parity.diagnosis.expected import expected_weights
from export.parity.diagnosis.faults import (
    ignored_lengths,
    misplaced_resets,
    other_tokenizer,
    other_vocabulary,
    wrong_ranges,
)
from export.parity.diagnosis.graph import read_graph
from export.parity.diagnosis.weights import changed_weights
from models.architecture import WrappedConfig
from models.bundle import Bundle
from models.cells import cell_of

MOST_FAULTS = 8  # more of them say nothing new


def faults_of(
    bundle: Bundle,
    set_name: str,
    files: Mapping[str, Path],
    relu_states: Callable[[], list[NDArray[np.float32]]],
) -> list[str]:
    """Read every graph of a set beside the bundle.

    Of a model that was made elsewhere, or whose cell is traced, neither the names of the weights nor the way lengths
    take are known; whether padding changes its answers is measured instead.

    Args:
        bundle: what the set was made from.
        set_name: the set.
        files: graph name -> ONNX file.
        relu_states: gives what the ReLU layers' states reach in PyTorch; asked for int8 sets of such models alone.
    """
    config = bundle.config
    known = None if isinstance(config, WrappedConfig) or cell_of(config.kind).onnx_operator is None else config
    expected = list(expected_weights(known, bundle.weights(), set_name)) if known else []
    hidden = relu_states() if known and set_name == "int8" and known.kind == "rnn-relu" else None
    kinds = {graph.name: graph.kind for graph in bundle.task.graphs}
    faults = list(other_tokenizer(bundle))
    for name, file in files.items():
        graph = read_graph(name, file)
        faults.extend(misplaced_resets(graph))
        if known:
            faults.extend(other_vocabulary(graph, bundle))
            if kinds.get(name) in ("sequence", "step"):  # a decode window is made of the step, which is checked
                faults.extend(ignored_lengths(graph, is_step=kinds[name] == "step"))
            faults.extend(changed_weights(graph, expected, set_name))
        if known and set_name == "int8":
            faults.extend(wrong_ranges(graph, hidden))
    faults = list(dict.fromkeys(faults))
    if len(faults) > MOST_FAULTS:
        faults = [*faults[:MOST_FAULTS], f"and {len(faults) - MOST_FAULTS} more of the kind"]
    return faults
