"""Swapped gates, transposed and altered weights, rows of another vocabulary.

Every weight that a graph holds is looked for among the bundle's own. What holds the same numbers in another arrangement
is named with that arrangement; what is none of them, with the parameter that comes nearest in shape.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from export.parity.diagnosis.expected import ExpectedWeight
from export.parity.diagnosis.graph import Graph
from export.parity.diagnosis.products import Product, products

Floats = NDArray[np.floating]

TOLERANCE = {"fp32": 1e-5, "int8": 1e-5, "gpu-fp32": 1e-5, "gpu-fp16": 2e-3}  # of the largest magnitude
_INT8_ROUNDING = 0.75  # levels; half of one, and what the estimate of the scale adds
_SAMPLE = 64  # columns compared before all are


def changed_weights(graph: Graph, expected: Sequence[ExpectedWeight], set_name: str) -> Iterator[str]:
    """A sentence for each weight of a graph that is not one of the bundle's in the set's arrangement.

    Args:
        graph: the graph.
        expected: the bundle's matrices.
        set_name: decides how exactly they must agree.
    """
    tolerance = TOLERANCE[set_name]
    for product in products(graph):
        fitting = [(found, item) for found in _views(product) for item in expected if item.shape == found.shape]
        if not any(_same(found, item.arranged(), tolerance, product) for found, item in fitting):
            yield f"{product.where} {_diagnosis(fitting, tolerance, product)}"


def _views(product: Product) -> list[Floats]:
    """The matrix, and of a table its transpose too: int8 tables of ready products are [tokens, gates]."""
    return [product.matrix, product.matrix.T] if product.is_table else [product.matrix]


def _same(found: Floats, segments: Sequence[Floats], tolerance: float, product: Product) -> bool:
    """Whether a matrix is the segments side by side; in int8, each row of each up to a positive scale."""
    start = 0
    for segment in segments:
        part = found[:, start : start + segment.shape[1]]
        start += segment.shape[1]
        for columns in (slice(0, _SAMPLE), slice(None)):  # the first few distinguish most
            if not _close(part[:, columns], segment[:, columns], tolerance, is_quantized=product.is_quantized):
                return False
    return True


def _close(found: Floats, expected: Floats, tolerance: float, *, is_quantized: bool) -> bool:
    if not is_quantized:
        largest = max(float(np.abs(expected).max()), 1e-12)
        return bool(np.abs(found - expected).max() <= tolerance * largest)
    found = found.astype(np.float32)
    norms = np.einsum("ij,ij->i", expected, expected)
    scales = np.einsum("ij,ij->i", found, expected) / np.maximum(norms, 1e-12)
    return bool((scales >= 0).all() and np.abs(found - scales[:, None] * expected).max() <= _INT8_ROUNDING)


def _diagnosis(fitting: Sequence[tuple[Floats, ExpectedWeight]], tolerance: float, product: Product) -> str:
    for found, item in fitting:
        for describe in (_swapped, _transposed, _other_rows):
            sentence = describe(found, item, tolerance, product)
            if sentence:
                return sentence
    nearest = " or ".join(dict.fromkeys(item.name for _, item in fitting)) or "no weight, by its shape"
    return f"is none of the bundle's weights; it should be {nearest}"


def _swapped(found: Floats, item: ExpectedWeight, tolerance: float, product: Product) -> str:
    """The order of the gates, when the blocks of rows are the weight's in another order."""
    if len(item.gates) < 2:
        return ""
    blocks = [np.split(segment, len(item.gates)) for segment in item.segments]
    order = ""
    for rows in np.split(found, len(item.gates)):
        for index, gate in enumerate(item.gates):
            if _same(rows, [block[index] for block in blocks], tolerance, product):
                order += gate
                break
        else:
            return ""
    return f"has its gates in the order {', '.join(order)}; {', '.join(item.order)} is expected ({item.name})"


def _transposed(found: Floats, item: ExpectedWeight, tolerance: float, product: Product) -> str:
    """One segment turned around: each gate's square block, or the whole matrix."""
    arranged = item.arranged()
    num_blocks = max(1, len(item.gates))
    start = 0
    for index, segment in enumerate(arranged):
        end = start + segment.shape[1]
        part, start = found[:, start:end], end
        turned = []
        if len(segment) == num_blocks * segment.shape[1]:
            turned = [_turned(segment, num_blocks)]
            if product.is_quantized and _same(_turned(part, num_blocks), [segment], tolerance, product):
                return f"is transposed ({item.name})"
        turned.append(segment.T.reshape(segment.shape))
        for each in turned:
            if _same(found, [*arranged[:index], each, *arranged[index + 1 :]], tolerance, product):
                return f"is transposed ({item.name})"
    return ""


def _turned(matrix: Floats, num_blocks: int) -> Floats:
    return np.concatenate([block.T for block in np.split(matrix, num_blocks)])


def _other_rows(found: Floats, item: ExpectedWeight, tolerance: float, product: Product) -> str:
    """The rows of a table or head in another order: ids that mean other tokens."""
    if item.gates or len(item.segments) > 1:
        return ""
    expected = item.segments[0]
    order = (_normal(found) @ _normal(expected).T).argmax(axis=1)
    moved = np.flatnonzero(order != np.arange(len(order)))
    if not len(moved) or not _same(found, [expected[order]], tolerance, product):
        return ""
    first = int(moved[0])
    return (
        f"has the rows of {item.name} in another order, as of another vocabulary: {len(moved)} of {len(order)} differ, "
        f"the first is row {first}, which holds row {int(order[first])}"
    )


def _normal(rows: Floats) -> Floats:
    lengths = np.linalg.norm(rows.astype(np.float32), axis=1, keepdims=True)
    normal: Floats = rows / np.maximum(lengths, 1e-12)
    return normal
