"""What a graph says of the shapes of its outputs, corrected by the shapes that it was seen to give."""

from collections.abc import Sequence

import onnx

from export.user_module.draw import Sizes

Shapes = Sequence[tuple[Sizes, Sequence[tuple[int, ...]]]]  # sizes of the dynamic axes, shape of each output


def correct_shapes(model: onnx.ModelProto, seen: Shapes) -> None:
    """Give every axis of an output that is not what it is declared to be a name of its own.

    A size that was 1 in the traced example by chance, such as the only frame of a short signal, stands as a number in
    what PyTorch writes.

    Args:
        model: changed in place.
        seen: of every run.
    """
    for index, output in enumerate(model.graph.output):
        for axis, declared in enumerate(output.type.tensor_type.shape.dim):
            is_right = all(
                shapes[index][axis]
                == (sizes.get(declared.dim_param, shapes[index][axis]) if declared.dim_param else declared.dim_value)
                for sizes, shapes in seen
            )
            if not is_right:
                declared.dim_param = f"{output.name}_{axis}"
