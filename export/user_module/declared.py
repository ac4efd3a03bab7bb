"""What a graph says of the shapes of its outputs, corrected by the shapes that it was seen to give."""

from collections.abc import Sequence

import onnx

from export.user_module.draw import Sizes

Shapes = Sequence[tuple[Sizes, Sequence[tuple[int, ...]]]]  # sizes of the dynamic axes, shape of each output


def correct_shapes(model: onnx.ModelProto, seen: Shapes) -> None:
    """Give every axis of an output that is not what it is declared to be a name of its own.

    A size that was 1 in the traced example by chance, such as the only frame of a short signal, stands as a number in
    what PyTorch writes. An expression that is always the size of a dynamic axis gets that axis' name.

    Args:
        model: changed in place.
        seen: of every run.
    """
    if not seen:
        return
    for index, output in enumerate(model.graph.output):
        for axis, declared in enumerate(output.type.tensor_type.shape.dim):
            sizes = [shapes[index][axis] for _, shapes in seen]
            names = [name for name in seen[0][0] if sizes == [each[name] for each, _ in seen]]
            if declared.dim_param in names:
                continue
            if names and (declared.dim_param or set(sizes) != {declared.dim_value}):
                declared.dim_param = names[0]
            elif declared.dim_param in seen[0][0] or (not declared.dim_param and set(sizes) != {declared.dim_value}):
                declared.dim_param = f"{output.name}_{axis}"
