"""Series as batches: stretches of them, with what causal scaling makes of each, which no weight changes."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, from_numpy

from models.forecaster import ForecasterConfig
from models.network.forecaster import CausalScaling, Past
from training.buckets import generator_of
from training.data.series import Series
from training.shard import Shard

_AT_ONCE = 64  # series that are scaled together
LEAST_SCALE = 1e-6  # of the largest value: what varies less is constant, and teaches nothing


class ScaledSeries(NamedTuple):
    """A series as the network meets it.

    Attributes:
        values: float32 [window + length], missing ones as the season before has them; before the first value that one.
        targets: float32 [length]; NaN where a value is missing.
        features: float32 [length, 3], of CausalScaling.
        scale: float32 [length], after each value.
        time: int64 [length].
        covariates: float32 [length, number].
    """

    values: NDArray[np.float32]
    targets: NDArray[np.float32]
    features: NDArray[np.float32]
    scale: NDArray[np.float32]
    time: NDArray[np.int64]
    covariates: NDArray[np.float32]


class SeriesBatch(NamedTuple):
    """One batch."""

    position: int  # in the epoch
    num_targets: int  # values that are compared with forecasts
    features: Tensor  # float32 [batch, time, 3]
    time: Tensor  # int64 [batch, time]
    covariates: Tensor  # float32 [batch, time, number]
    origins: Tensor  # int64 [batch, origins], steps after which forecasts are made
    windows: Tensor  # float32 [batch, origins, window]
    scales: Tensor  # float32 [batch, origins, 1]
    targets: Tensor  # float32 [batch, origins, horizon]; NaN where there is none

    def shard(self, shard: Shard) -> Self:
        """See training.stage.Batch: some of the stretches."""
        rows = [shard.rows(part) for part in self[2:]]
        num_targets = _num_known(rows[-1]) if shard.rank < len(self.targets) else 0
        return type(self)(self.position, num_targets, *rows)


def _num_known(targets: Tensor) -> int:
    """How many are there, and 1 for none: their loss is 0."""
    return max(1, int((~targets.isnan()).sum()))


def scaled(
    all_series: Sequence[Series], config: ForecasterConfig, times: Sequence[NDArray[np.int64]]
) -> list[ScaledSeries]:
    """Scale series, each from its beginning."""
    scaling = CausalScaling(config)
    found: list[ScaledSeries] = []
    for start in range(0, len(all_series), _AT_ONCE):
        group = all_series[start : start + _AT_ONCE]
        length = max(len(item.values) for item in group)
        values = torch.full((len(group), length), torch.nan)
        for row, item in zip(values, group, strict=True):
            row[: len(item.values)] = from_numpy(item.values)
        zero = torch.zeros(len(group), 1)
        past = Past(torch.zeros(len(group), config.window), zero, zero)
        features, latest, scales = [], [], []
        with torch.no_grad():
            for time in range(length):
                made, past = scaling.step(values[:, time : time + 1], past)
                features.append(made)
                latest.append(past.window[:, -1].clone())
                scales.append(past.scale[:, 0])
        inputs, last, scale = (torch.stack(part, dim=1).numpy() for part in (features, latest, scales))
        for index, item in enumerate(group):
            size = len(item.values)
            first = int(np.argmax(~np.isnan(item.values)))
            last[index, :first] = last[index, first]  # as the window is filled with the first value
            found.append(
                ScaledSeries(
                    np.concatenate([np.full(config.window, last[index, 0]), last[index, :size]]),
                    item.values.astype(np.float32),
                    inputs[index, :size],
                    scale[index, :size],
                    times[start + index],
                    item.covariates.astype(np.float32),
                )
            )
    return found


class SeriesBatches:
    """The batches of every epoch: stretches drawn from series drawn at random, longer ones as often as short ones.

    Args:
        series: the training parts, each longer than one horizon.
        config: of the network.
        size: stretches in a batch.
        steps: of a stretch.
        origins: forecasts of a stretch.
        num_batches: in an epoch.
        seed: of the draws.
    """

    def __init__(
        self,
        series: Sequence[ScaledSeries],
        config: ForecasterConfig,
        *,
        size: int,
        steps: int,
        origins: int,
        num_batches: int,
        seed: int,
    ) -> None:
        self._series = series
        self._config = config
        self._size = size
        self._steps = min(steps, max(len(item.targets) for item in series))
        self._origins = origins
        self._num_batches = num_batches
        self._seed = seed

    def num_batches(self, epoch: int) -> int:
        """Batches in an epoch."""
        del epoch
        return self._num_batches

    def starting_at(self, epoch: int, position: int) -> Iterator[SeriesBatch]:
        """An epoch's batches from a position to its end."""
        for number in range(position, self._num_batches):
            generator = generator_of(self._seed, epoch, number)
            drawn = generator.integers(len(self._series), size=self._size)
            rows = [self._stretch(self._series[i], generator) for i in drawn.tolist()]
            parts = [from_numpy(np.stack(part)) for part in zip(*rows, strict=True)]
            yield SeriesBatch(number, _num_known(parts[-1]), *parts)

    def _stretch(self, item: ScaledSeries, generator: np.random.Generator) -> list[NDArray[np.generic]]:
        """What SeriesBatch has of one stretch, without the batch axis."""
        horizon, window, length = self._config.horizon, self._config.window, len(item.targets)
        start = int(generator.integers(max(1, length - self._steps + 1)))
        stop = min(length, start + self._steps)
        # Forecasts after at least a third of the stretch, as the server makes them after a history; half a horizon or
        # more of each is known.
        first = (stop - start) // 3
        last = max(first + 1, min(stop, length - horizon // 2) - start)
        origins = generator.integers(first, last, size=self._origins)
        ahead = start + 1 + origins[:, None] + np.arange(horizon)
        targets = np.where(ahead < length, item.targets[np.minimum(ahead, length - 1)], np.nan).astype(np.float32)
        windows = item.values[start + 1 + origins[:, None] + np.arange(window)]
        scales = item.scale[start + origins][:, None]
        targets[scales[:, 0] <= LEAST_SCALE * np.abs(windows).max(axis=1)] = np.nan
        part = slice(start, stop)
        return [
            self._filled(item.features[part]),
            self._filled(item.time[part]),
            self._filled(item.covariates[part]),
            origins,
            windows,
            scales,
            targets,
        ]

    def _filled(self, rows: NDArray[np.generic]) -> NDArray[np.generic]:
        """With zeros to the length of a stretch."""
        return np.concatenate([rows, np.zeros((self._steps - len(rows), *rows.shape[1:]), rows.dtype)])
