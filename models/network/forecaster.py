"""The recurrent forecaster: causal scaling, stack, and a head over the whole horizon (MQ-RNN, Wen et al. 2017).

Everything that it remembers of a series is in the state row: the stack's states, the latest values, the scale and the
number of values so far. A number of the row depends on the series alone, never on how it was cut into calls.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.forecaster import QUANTILES, ForecasterConfig
from models.network.recurrent import RecurrentStack

_TINY = 1e-30  # of a scale: a series that is constant has none
_SLOWER = 0.1  # weights of seasons move a tenth as fast as the rest: what they weigh is large
_BEND = 0.1  # where an input bends: 10 scales count as 5, and none counts more than 10


class Past(NamedTuple):
    """What scaling remembers of each row.

    Attributes:
        window: float [batch, window], the latest values, a missing one as the season before has it; before the first
            value zeros, and then filled with it.
        scale: float [batch, 1], the average difference to the season before.
        num_values: float [batch, 1], values so far, missing ones not counted; at most what float32 counts.
    """

    window: Tensor
    scale: Tensor
    num_values: Tensor


class CausalScaling(nn.Module):
    """From values to the stack's inputs, one step at a time, from what came before alone.

    Args:
        config: season, window, steps of the scale.
    """

    def __init__(self, config: ForecasterConfig) -> None:
        super().__init__()
        self.season = config.season
        self.scale_steps = config.scale_steps

    def step(self, values: Tensor, past: Past) -> tuple[Tensor, Past]:
        """Read one value of each row.

        Args:
            values: float [batch, 1]; NaN where it is missing.
            past: before it.

        Returns:
            float [batch, 3]: the difference to the season before and to the last value, in scales, bent; 1 where the
            value is missing. And the past after it.
        """
        window, scale, count = past
        is_missing = torch.isnan(values)
        is_first = count < 1
        before, last = window[:, -self.season : window.shape[1] - self.season + 1], window[:, -1:]
        value = torch.where(is_missing, before, values)
        by_season, by_last = value - before, value - last
        change = torch.where(count < self.season, by_last, by_season).abs()
        # The k-th difference, after k + 1 values, has the weight 1 / k, and from scale_steps on 1 / scale_steps.
        updated = scale + (change - scale) / count.clamp(1, self.scale_steps)
        scale = torch.where(is_missing | is_first, scale, updated)
        shifted = torch.cat([window[:, 1:], value], dim=1)
        window = torch.where(is_first, value.expand_as(window), shifted)
        count = torch.where(is_missing, count, (count + 1).clamp(max=self.scale_steps + self.season + 1.0))
        differences = torch.cat([by_season, by_last], dim=1)
        differences = torch.where(is_first, torch.zeros_like(differences), differences)
        features = torch.cat([bent(differences / scale.clamp(min=_TINY)), is_missing.to(scale.dtype)], dim=1)
        return features, Past(window, scale, count)

    def forward(self, values: Tensor, past: Past, lengths: Tensor | None = None) -> tuple[Tensor, list[Past]]:
        """Read all values of each row.

        Args:
            values: float [batch, time].
            past: before the first.
            lengths: int [batch], each 1..time; past its end a row's past stays. None when every row is full.

        Returns:
            Features [batch, time, 3] and the past after each step.
        """
        features, pasts = [], []
        for time in range(values.shape[1]):
            found, after = self.step(values[:, time : time + 1], past)
            if lengths is not None:
                is_valid = (lengths > time).unsqueeze(1)
                after = Past(*(torch.where(is_valid, new, old) for new, old in zip(after, past, strict=True)))
            past = after
            features.append(found)
            pasts.append(past)
        return torch.stack(features, dim=1), pasts


def bent(values: Tensor) -> Tensor:
    """Scaled values with outliers bent: nearly linear up to a few scales, at most 1 / _BEND."""
    return values / (1 + _BEND * values.abs())


class Forecaster(nn.Module):
    """Forecasts the next `horizon` values after each row's last one.

    Args:
        config: sizes, frequency, calendar.
    """

    centers: Tensor
    scales: Tensor

    def __init__(self, config: ForecasterConfig) -> None:
        super().__init__()
        self.config = config
        self.scaling = CausalScaling(config)
        self.recurrent = RecurrentStack(config.recurrent)
        self.dropout = nn.Dropout(config.dropout)
        self.hidden = nn.Linear(config.hidden_size + config.window + config.num_inputs, config.head_size)
        self.head = nn.Linear(config.head_size, config.horizon * len(QUANTILES) + config.num_seasons - 1)
        with torch.no_grad():  # begin at the season before alone
            self.head.weight[config.horizon * len(QUANTILES) :] = 0
            self.head.bias[config.horizon * len(QUANTILES) :] = 0
        self.register_buffer("centers", torch.tensor([item.center for item in config.covariates]), persistent=False)
        self.register_buffer("scales", torch.tensor([item.scale for item in config.covariates]), persistent=False)

    def parts(self, state: Tensor) -> tuple[Tensor, Past]:
        """The row [batch, D] -> the stack's states [batch, ...] and the past."""
        sizes = [self.config.recurrent.state_size, self.config.window, 1, 1]
        recurrent, *past = torch.split(state, sizes, dim=1)
        return recurrent, Past(*past)

    def inputs(self, features: Tensor, time: Tensor, covariates: Tensor | None) -> Tensor:
        """The stack's inputs.

        Args:
            features: float [batch, time, 3], of scaling.
            time: int64 [batch, time], seconds since 1970.
            covariates: float [batch, time, number]; None where the model has none.

        Returns:
            float [batch, time, num_inputs].
        """
        columns = [features]
        for period in self.config.periods:
            for shift in (0, period // 4):
                phase = torch.remainder(time + shift, period).to(features.dtype) / period
                columns.append(wave(phase).unsqueeze(2))
        if covariates is not None:
            columns.append(bent((covariates - self.centers) / self.scales))
        return torch.cat(columns, dim=2)

    def ahead(self, outputs: Tensor, past: Past, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Forecasts from what is known after a step.

        Args:
            outputs: float [rows, hidden_size], of the stack.
            past: of each row.
            inputs: float [rows, num_inputs], of the stack at this step.

        Returns:
            mean [rows, horizon], the average of the quantiles, and quantiles [rows, horizon, 9], which do not cross.
        """
        config = self.config
        window, scale, _ = past
        seen = bent((window - window[:, -1:]) / scale.clamp(min=_TINY))
        hidden = torch.relu(self.hidden(torch.cat([outputs, seen, inputs], dim=1)))
        corrections, weights = torch.split(
            self.head(self.dropout(hidden)), [config.horizon * len(QUANTILES), config.num_seasons - 1], dim=1
        )
        seasons = [self._repeated(window, number) for number in range(1, config.num_seasons + 1)]
        base = seasons[0]
        for number, season in enumerate(seasons[1:]):
            base = base + _SLOWER * weights[:, number : number + 1] * (season - seasons[0])
        raw = corrections.reshape(-1, config.horizon, len(QUANTILES))
        quantiles = [base + scale * quantile for quantile in ordered(raw)]
        mean = quantiles[0]
        for quantile in quantiles[1:]:
            mean = mean + quantile
        return mean / len(quantiles), torch.stack(quantiles, dim=2)

    def _repeated(self, window: Tensor, number: int) -> Tensor:
        """The values `number` seasons ago, [rows, horizon]; of a horizon beyond a season they come again."""
        config = self.config
        start = config.window - number * config.season
        repeats = -(-config.horizon // config.season)
        return torch.cat([window[:, start : start + config.season]] * repeats, dim=1)[:, : config.horizon]

    def forward(
        self, values: Tensor, time: Tensor, lengths: Tensor, state: Tensor, covariates: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Read values and forecast what follows each row's last one.

        Args:
            values: float [batch, time]; NaN where one is missing.
            time: int64 [batch, time], seconds since 1970.
            lengths: int [batch], each 1..time; what lies past them is ignored.
            state: float [batch, D], before the first value; zeros at a beginning.
            covariates: float [batch, time, number]; None where the model has none.

        Returns:
            mean [batch, horizon], quantiles [batch, horizon, 9] and new_state [batch, D].
        """
        before, past = self.parts(state)
        features, pasts = self.scaling(values, past, lengths)
        inputs = self.inputs(features, time, covariates)
        _, after = self.recurrent(inputs, before, lengths)
        last = inputs[torch.arange(len(inputs)), lengths.long() - 1]
        mean, quantiles = self.ahead(top_of(self.config, after), pasts[-1], last)
        return mean, quantiles, torch.cat([after, *pasts[-1]], dim=1)


def top_of(config: ForecasterConfig, state: Tensor) -> Tensor:
    """The top layer's output in the stack's states: [batch, hidden_size]."""
    return state[:, (config.num_layers - 1) * config.hidden_size : config.num_layers * config.hidden_size]


def wave(phase: Tensor) -> Tensor:
    """A period of two parabolas, for phases from 0 to 1: as good as a sine, and of products alone, so exact."""
    position = 2 * phase - 1
    return 4 * position * (1 - position.abs())


def ordered(raw: Tensor) -> list[Tensor]:
    """Quantiles that do not cross: the median as it is, the others in positive steps from it.

    Args:
        raw: float [..., 9].

    Returns:
        float [...], each quantile from the lowest on.
    """
    columns = list(raw.unbind(-1))
    middle = len(columns) // 2
    found = columns.copy()
    for index in range(middle + 1, len(columns)):
        found[index] = found[index - 1] + _positive(columns[index])
    for index in range(middle - 1, -1, -1):
        found[index] = found[index + 1] - _positive(columns[index])
    return found


def _positive(values: Tensor) -> Tensor:
    """A smooth positive function: (x + sqrt(x^2 + 1)) / 2 and a little less at 0, where it is 0.1."""
    return 0.1 * (values + torch.sqrt(values * values + 1))
