"""The forecaster's graphs in float32, traced from torch:

advance   values float32 [batch, time], time int64 [batch, time], lengths int32 [batch], state float32 [batch, D], and
          covariates float32 [batch, time, number] where the model has some
          -> mean float32 [batch, horizon], quantiles float32 [batch, horizon, 9], new_state [batch, D]
step      the same with one value of each row, [batch, ...] and without lengths

Causal scaling becomes a Scan around its step; the stack is the ONNX operator, in both graphs.
"""

import copy

import onnx
import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan

from export.trace.recurrent import OnnxRecurrentStack
from export.trace.torch_export import traced
from models.network.forecaster import Forecaster, Past, top_of

_ROWS = {0: "batch"}
_FRAMES = {0: "batch", 1: "time"}


class _Advance(nn.Module):
    def __init__(self, model: Forecaster) -> None:
        super().__init__()
        self.model = model
        self.recurrent = OnnxRecurrentStack(model.recurrent)

    def forward(
        self, values: Tensor, time: Tensor, lengths: Tensor, state: Tensor, covariates: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        before, past = self.model.parts(state)
        positions = torch.arange(values.shape[1], dtype=lengths.dtype)
        is_valid = (positions.unsqueeze(1) < lengths.unsqueeze(0)).unsqueeze(2)

        def combine(carried: tuple[Tensor, ...], each: tuple[Tensor, Tensor]) -> tuple[tuple[Tensor, ...], Tensor]:
            value, valid = each
            features, after = self.model.scaling.step(value, Past(*carried))
            kept = (torch.where(valid, new, old) for new, old in zip(after, carried, strict=True))
            return tuple(part.clone() for part in kept), features.clone()  # a Scan's results may not share memory

        started = tuple(part.clone() for part in past)
        after, features = scan(combine, started, (values.transpose(0, 1).unsqueeze(2), is_valid), dim=0)
        inputs = self.model.inputs(features.transpose(0, 1), time, covariates)
        _, new = self.recurrent(inputs, before, lengths)
        last = inputs[torch.arange(inputs.shape[0]), lengths.long() - 1]
        mean, quantiles = self.model.ahead(top_of(self.model.config, new), Past(*after), last)
        return mean, quantiles, torch.cat([new, *after], dim=1)


class _Step(_Advance):
    def forward(  # type: ignore[override]
        self, values: Tensor, time: Tensor, state: Tensor, covariates: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        before, past = self.model.parts(state)
        features, after = self.model.scaling.step(values.unsqueeze(1), past)
        extra = None if covariates is None else covariates.unsqueeze(1)
        inputs = self.model.inputs(features.unsqueeze(1), time.unsqueeze(1), extra)
        _, new = self.recurrent(inputs, before)
        mean, quantiles = self.model.ahead(top_of(self.model.config, new), after, inputs[:, 0])
        return mean, quantiles, torch.cat([new, *after], dim=1)


def forecaster_graphs(model: Forecaster) -> dict[str, onnx.ModelProto]:
    """Trace both graphs.

    Args:
        model: the trained model; it is copied and left as it is.

    Returns:
        advance and step by name.
    """
    model = copy.deepcopy(model).eval()
    batch, time, number = 2, 3, len(model.config.covariates)  # an example; both axes stay symbolic
    values, times = torch.zeros(batch, time), torch.zeros(batch, time, dtype=torch.int64)
    state = torch.zeros(batch, model.config.state_size)
    extra = torch.zeros(batch, time, number)
    lengths = torch.tensor([time, 1], dtype=torch.int32)
    sequence = {
        "values": (values, _FRAMES),
        "time": (times, _FRAMES),
        "lengths": (lengths, _ROWS),
        "state": (state, _ROWS),
    }
    one = {
        "values": (values[:, 0].clone(), _ROWS),
        "time": (times[:, 0].clone(), _ROWS),
        "state": (state, _ROWS),
    }
    if number:
        sequence["covariates"], one["covariates"] = (extra, _FRAMES), (extra[:, 0].clone(), _ROWS)
    outputs = ["mean", "quantiles", "new_state"]
    return {"advance": traced(_Advance(model), sequence, outputs), "step": traced(_Step(model), one, outputs)}
