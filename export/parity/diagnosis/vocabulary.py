"""Another vocabulary: a tokenizer, an embedding or logits with more or fewer tokens than the model was trained on."""

from collections.abc import Iterator

from export.parity.diagnosis.graph import Graph
from models.bundle import Bundle

_IDS = ("ids", "token")


def other_tokenizer(bundle: Bundle) -> Iterator[str]:
    """A sentence when the tokenizer does not fit the model."""
    found, expected = bundle.tokenizer.vocab_size, bundle.config.vocab_size
    if found != expected:
        yield f"the vocabulary is wrong: the tokenizer has {found} tokens, the model {expected}"


def other_vocabulary(graph: Graph, bundle: Bundle) -> Iterator[str]:
    """A sentence for each table or output of a graph that has another number of tokens."""
    expected = bundle.config.vocab_size
    ids = {
        name for source in _IDS if source in graph.inputs for name in graph.reached_from(source, through_layers=False)
    }
    for node in graph.nodes:
        table = graph.constant(node.input[0]) if node.op_type == "Gather" else None
        is_of_tokens = table is not None and table.ndim == 2 and table.shape[1] > 1 and node.input[1] in ids
        if table is not None and is_of_tokens and len(table) != expected:
            yield f"the vocabulary is wrong: {graph.where(node)} holds {len(table)} tokens, the model {expected}"
    of_tokens = {tensor.name for tensor in bundle.task.graph(graph.name).outputs if tensor.shape.endswith("V")}
    for value in graph.model.graph.output:
        if value.name in of_tokens:
            found = value.type.tensor_type.shape.dim[-1].dim_value
            if found != expected:
                yield f"the vocabulary is wrong: graph {graph.name} gives {found} {value.name}, the model {expected}"
