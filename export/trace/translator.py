"""The translator's graphs in float32, traced from torch. In every set they take and give the same:

encode    ids int64 [batch, source], lengths int32 [batch] (each 1..source)
          -> memory float32 [batch, source, M], keys float32 [batch, source, A], state float32 [batch, D]
step      token int64 [batch], state, memory, keys, lengths
          -> logits float32 [batch, V], new_state [batch, D], attention [batch, source]

The source axis of `step` is a multiple of 16 (runtime.padding), or a row's last bits may change with it.
"""

import copy

import onnx
import torch
from torch import Tensor, nn

from export.trace.recurrent import OnnxRecurrentStack
from export.trace.torch_export import traced
from models.network.translator import Translator


class _Encode(nn.Module):
    def __init__(self, model: Translator) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.model.encode(ids, lengths)


class _Step(nn.Module):
    def __init__(self, model: Translator) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, token: Tensor, state: Tensor, memory: Tensor, keys: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self.model.step(token, state, memory, keys, lengths)


def translator_graphs(model: Translator) -> dict[str, onnx.ModelProto]:
    """Trace the two graphs with the recurrent operators in them; export.onnx.rewrite makes graph sets of them.

    Args:
        model: the trained model; it is copied and left as it is.

    Returns:
        encode and step by name.
    """
    model = copy.deepcopy(model).eval()
    config = model.config
    batch, source = 2, 16  # an example; both axes stay symbolic
    model.encoder = OnnxRecurrentStack(model.encoder)  # type: ignore[assignment]
    model.decoder = OnnxRecurrentStack(model.decoder)  # type: ignore[assignment]
    ids = torch.zeros(batch, source, dtype=torch.int64)
    lengths = torch.tensor([source, 1], dtype=torch.int32)
    rows, positions = {0: "batch"}, {0: "batch", 1: "source"}
    memory = torch.zeros(batch, source, config.memory_width)
    keys = torch.zeros(batch, source, config.keys_width)
    return {
        "encode": traced(
            _Encode(model), {"ids": (ids, positions), "lengths": (lengths, rows)}, ["memory", "keys", "state"]
        ),
        "step": traced(
            _Step(model),
            {
                "token": (ids[:, 0].clone(), rows),
                "state": (torch.zeros(batch, config.state_size), rows),
                "memory": (memory, positions),
                "keys": (keys, positions),
                "lengths": (lengths, rows),
            },
            ["logits", "new_state", "attention"],
        ),
    }
