"""The minGRU (Feng et al. 2024, "Were RNNs All We Needed?"): a gate and a candidate that know the input alone.

So training needs no loop: h_t = (1 - z_t) h_{t-1} + z_t v_t is a scan over all steps at once, taken in logarithms as
in the paper's appendix B, where v > 0. Serving takes the step.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_TINY = 1e-30  # a state of 0 has no logarithm
_NOTHING = -1e4  # the logarithm of what adds nothing


class MinGru(nn.Module):
    """One step, or all at once.

    Args:
        input_size: width of the inputs.
        hidden_size: width of the state.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.gate = nn.Linear(input_size, hidden_size)
        self.candidate = nn.Linear(input_size, hidden_size)

    def forward(self, inputs: Tensor, hidden: Tensor) -> tuple[Tensor]:
        """Inputs [batch, input], hidden [batch, hidden] -> the new one."""
        value = self.candidate(inputs)
        value = torch.where(value >= 0, value + 0.5, torch.sigmoid(value))  # g of the paper, above 0
        return (hidden + torch.sigmoid(self.gate(inputs)) * (value - hidden),)

    def parallel(
        self, inputs: Tensor, hidden: Tensor, lengths: Tensor | None = None, *, reverse: bool = False
    ) -> tuple[Tensor, Tensor]:
        """All steps at once; within float32's rounding what the steps give.

        Args:
            inputs: float [time, batch, input].
            hidden: float [batch, hidden], 0 or above, as every state of this cell is.
            lengths: int [batch]; None when every row is full.
            reverse: from the last input to the first.

        Returns:
            outputs [time, batch, hidden], zero past the lengths, and the last state of each row.
        """
        gate, value = self.gate(inputs), self.candidate(inputs)
        kept = -F.softplus(gate)  # log (1 - z)
        added = -F.softplus(-gate) + torch.where(value >= 0, (F.relu(value) + 0.5).log(), -F.softplus(-value))
        if lengths is not None:
            positions = torch.arange(len(inputs), device=inputs.device).unsqueeze(1)
            is_valid = (positions < lengths.to(inputs.device)).unsqueeze(2)
            kept, added = kept.where(is_valid, 0.0), added.where(is_valid, _NOTHING)
        if reverse:
            kept, added = kept.flip(0), added.flip(0)
        total = kept.cumsum(0)
        begun = hidden.clamp(min=_TINY).log().unsqueeze(0)
        outputs = (total + torch.logcumsumexp(torch.cat([begun, added - total]), dim=0)[1:]).exp()
        last = outputs[-1]
        if reverse:
            outputs = outputs.flip(0)
        return (outputs if lengths is None else outputs.where(is_valid, 0.0)), last
