"""A task that rnnserve does not have: one class for each token of a text."""

from models.tasks import PADDING_MULTIPLE, Graph, Task, Tensor, register

TAGGING = register(
    Task(
        name="toy-tagging",
        graphs=(
            Graph(
                "tag",
                "sequence",
                inputs=(Tensor("ids", "BT", "int64", "tokens"), Tensor("lengths", "B", "int32", "lengths")),
                outputs=(Tensor("logits", "BTC"),),
                padding_multiple=PADDING_MULTIPLE,
                bench=((1, 32), (16, 32)),
            ),
        ),
        engine="batch",
        facts=("labels",),
        max_length=512,
    )
)
