"""The language model's graphs in float32, traced from torch. In every set they take and give the same:

advance   ids int64 [batch, time], lengths int32 [batch] (each 1..time), state float32 [batch, D]
          -> logits float32 [batch, V] after each row's last token, new_state float32 [batch, D]
step      token int64 [batch], state -> logits [batch, V], new_state
score     as advance -> logits [batch, time, V], new_state
"""

import copy

import onnx
import torch
from torch import Tensor, nn

from export.onnx.rewrite.pruning import with_outputs
from export.trace.recurrent import OnnxRecurrentStack
from export.trace.torch_export import traced
from models.network.language_model import LanguageModel

_STATE = {0: "batch"}
_IDS = {0: "batch", 1: "time"}
_ROWS = {0: "batch"}


class _Read(nn.Module):
    """Logits at every position, after each row's last token, and the state there."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        self.embedding, self.head = model.embedding, model.head
        self.recurrent = OnnxRecurrentStack(model.recurrent)
        config = model.config
        self.top = slice((config.num_layers - 1) * config.hidden_size, config.num_layers * config.hidden_size)

    def forward(self, ids: Tensor, lengths: Tensor, state: Tensor) -> tuple[Tensor, ...]:
        outputs, new_state = self.recurrent(self.embedding(ids), state, lengths)
        return self.head(outputs), self.head(new_state[:, self.top]), new_state


class _Step(_Read):
    """One token for each row; the same kernel over one time step."""

    def forward(self, token: Tensor, state: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        _, new_state = self.recurrent(self.embedding(token).unsqueeze(1), state)
        return self.head(new_state[:, self.top]), new_state


def language_model_graphs(model: LanguageModel) -> dict[str, onnx.ModelProto]:
    """Trace the three graphs with the recurrent operators in them; export.onnx.rewrite makes graph sets of them.

    Args:
        model: the trained model; it is copied and left as it is.

    Returns:
        advance, step and score by name.
    """
    model = copy.deepcopy(model).eval()
    batch, time = 2, 3  # an example; both axes stay symbolic
    state = model.recurrent.zero_state(batch)
    ids = torch.zeros(batch, time, dtype=torch.int64)
    lengths = torch.tensor([time, 1], dtype=torch.int32)
    sequence = {"ids": (ids, _IDS), "lengths": (lengths, _ROWS), "state": (state, _STATE)}
    one = {"token": (ids[:, 0].clone(), _ROWS), "state": (state, _STATE)}
    read = traced(_Read(model), sequence, ["every", "last", "new_state"])  # tracing takes a second; both are in it
    return {
        "advance": with_outputs(read, {"last": "logits", "new_state": "new_state"}),
        "step": traced(_Step(model), one, ["logits", "new_state"]),
        "score": with_outputs(read, {"every": "logits", "new_state": "new_state"}),
    }
