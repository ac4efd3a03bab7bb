"""How good forecasts are: MASE (Hyndman & Koehler 2006) and weighted quantile loss, beside simple baselines."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray

from models.forecaster import QUANTILES
from models.network.forecaster import Forecaster
from training.data.series import Series
from training.shard import ALONE, Shard

Floats = NDArray[np.float64]
_ROWS = 32  # series that are read together; the figures do not depend on it
_PIECE = 64  # values that are read in a call
_MIDDLE = QUANTILES.index(0.5)


@dataclass(frozen=True)
class ForecastOrigin:
    """A place from which a forecast is compared.

    Attributes:
        series: which.
        at: values that are known there.
        naive_error: what MASE is relative to: the mean seasonal difference of the training part.
    """

    series: int
    at: int
    naive_error: float


@dataclass(frozen=True)
class ForecastScores:
    """Means over all origins.

    Attributes:
        mase: of the median.
        mean_mase: of the mean.
        wql: the mean over the quantiles of 2 * quantile loss / sum of |value|.
        scaled_loss: quantile loss in units of the naive error.
    """

    mase: float
    mean_mase: float
    wql: float
    scaled_loss: float


class ScoreSums:
    """Sums of what the scores are means of."""

    def __init__(self) -> None:
        self.values = np.zeros(6)

    def add(self, origin: ForecastOrigin, actual: Floats, mean: Floats, quantiles: Floats) -> None:
        """Count one forecast.

        Args:
            origin: where it was made.
            actual: [steps], NaN where unknown.
            mean: [steps].
            quantiles: [steps, 9].
        """
        known = ~np.isnan(actual)
        actual, mean, quantiles = actual[known], mean[known], quantiles[known]
        if not len(actual):
            return
        error = actual[:, None] - quantiles
        loss = np.maximum(np.array(QUANTILES) * error, (np.array(QUANTILES) - 1) * error)
        scale = origin.naive_error
        self.values += (
            1,
            np.abs(error[:, _MIDDLE]).mean() / scale,
            np.abs(actual - mean).mean() / scale,
            2 * loss.mean(axis=1).sum(),
            np.abs(actual).sum(),
            loss.mean() / scale,
        )

    def scores(self, shard: Shard = ALONE) -> ForecastScores:
        """The means."""
        count, mase, mean_mase, loss, size, scaled_loss = shard.total(self.values.tolist())
        return ForecastScores(mase / count, mean_mase / count, loss / max(size, 1e-30), scaled_loss / count)


def origins_of(
    series: Sequence[Series], num_validation: Sequence[int], horizon: int, season: int
) -> list[ForecastOrigin]:
    """Places a horizon apart in each series' validation part; a series whose training part is constant has none."""
    found = []
    for index, (item, steps) in enumerate(zip(series, num_validation, strict=True)):
        first = len(item.values) - steps
        naive = seasonal_difference(item.values[:first], season)
        if naive > 0:
            found += [ForecastOrigin(index, at, naive) for at in range(first, len(item.values), horizon)]
    return found


def seasonal_difference(values: Floats, season: int) -> float:
    """The mean of |y[t] - y[t - season]|; 0 where there is none."""
    differences = np.abs(values[season:] - values[:-season])
    known = differences[~np.isnan(differences)]
    return float(known.mean()) if len(known) else 0.0


def scores(
    model: Forecaster,
    series: Sequence[Series],
    times: Sequence[NDArray[np.int64]],
    origins: Sequence[ForecastOrigin],
    shard: Shard = ALONE,
) -> ForecastScores:
    """Of a network, reading each series from its beginning, as a server does.

    Leaves the model in the mode it was in and draws no random numbers.
    """
    was_training = model.training
    model.eval()
    sums = ScoreSums()
    by_series: dict[int, list[ForecastOrigin]] = {}
    for origin in sorted(origins, key=lambda origin: (len(series[origin.series].values), origin.series, origin.at)):
        by_series.setdefault(origin.series, []).append(origin)
    each = list(by_series.values())
    groups = [list(chain(*each[start : start + _ROWS])) for start in range(0, len(each), _ROWS)]
    for group in shard.of(groups):
        for origin, (mean, quantiles) in zip(group, forecasts(model, series, times, group), strict=True):
            actual = series[origin.series].values[origin.at : origin.at + model.config.horizon]
            sums.add(origin, actual, mean[: len(actual)], quantiles[: len(actual)])
    model.train(was_training)
    return sums.scores(shard)


@torch.no_grad()
def forecasts(
    model: Forecaster, series: Sequence[Series], times: Sequence[NDArray[np.int64]], origins: Sequence[ForecastOrigin]
) -> list[tuple[Floats, Floats]]:
    """From each origin, mean [horizon] and quantiles [horizon, 9]; the model is in evaluation mode."""
    device = next(model.parameters()).device
    waiting: dict[int, list[int]] = {}  # of each series, its origins that have not been reached, the next one last
    for index in sorted(range(len(origins)), key=lambda index: -origins[index].at):
        waiting.setdefault(origins[index].series, []).append(index)
    at, rows = dict.fromkeys(waiting, 0), {number: row for row, number in enumerate(waiting)}
    state = torch.zeros(len(rows), model.config.state_size, device=device)
    found: list[tuple[Floats, Floats]] = [(np.zeros(0), np.zeros(0))] * len(origins)
    while live := [number for number, own in waiting.items() if own]:
        lengths = [min(_PIECE, origins[waiting[number][-1]].at - at[number]) for number in live]
        values = np.zeros((len(live), max(lengths)), np.float32)
        time = np.zeros(values.shape, np.int64)
        covariates = np.zeros((*values.shape, len(model.config.covariates)), np.float32)
        for row, (number, length) in enumerate(zip(live, lengths, strict=True)):
            part = slice(at[number], at[number] + length)
            values[row, :length], time[row, :length] = series[number].values[part], times[number][part]
            covariates[row, :length] = series[number].covariates[part]
        given = [torch.from_numpy(array).to(device) for array in (values, time)]
        extra = torch.from_numpy(covariates).to(device) if model.config.covariates else None
        places = [rows[number] for number in live]
        mean, quantiles, after = model(*given, torch.tensor(lengths, device=device), state[places], extra)
        state[places] = after
        for row, (number, length) in enumerate(zip(live, lengths, strict=True)):
            at[number] += length
            if at[number] == origins[waiting[number][-1]].at:
                found[waiting[number].pop()] = (mean[row].double().cpu().numpy(), quantiles[row].double().cpu().numpy())
    return found


def baseline_scores(
    forecast: Callable[[Floats, int, int], tuple[Floats, Floats]],
    series: Sequence[Series],
    origins: Sequence[ForecastOrigin],
    horizon: int,
    season: int,
) -> ForecastScores:
    """Of a function (known values, season, horizon) -> mean [horizon] and quantiles [horizon, 9]."""
    sums = ScoreSums()
    for origin in origins:
        values = series[origin.series].values
        mean, quantiles = forecast(filled(values[: origin.at]), season, horizon)
        actual = values[origin.at : origin.at + horizon]
        sums.add(origin, actual, mean[: len(actual)], quantiles[: len(actual)])
    return sums.scores()


def filled(values: Floats) -> Floats:
    """Missing values as the last one before them."""
    known = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(len(values))))
    return np.nan_to_num(values[known])


_NORMAL = np.array([-1.2816, -0.8416, -0.5244, -0.2533, 0.0, 0.2533, 0.5244, 0.8416, 1.2816])  # of the quantiles


def seasonal_naive(values: Floats, season: int, horizon: int) -> tuple[Floats, Floats]:
    """The last season again, with normal errors that grow with every season ahead (Hyndman & Athanasopoulos 2021, 5.5).

    Returns:
        mean [horizon] and quantiles [horizon, 9].
    """
    season = min(season, len(values))
    mean = np.resize(values[-season:], horizon)
    differences = values[season:] - values[:-season]
    spread = float(np.sqrt((differences**2).mean())) if len(differences) else 0.0
    growth = np.sqrt(np.arange(horizon) // season + 1.0)
    return mean, mean[:, None] + spread * growth[:, None] * _NORMAL


def ets(values: Floats, season: int, horizon: int) -> tuple[Floats, Floats]:
    """Exponential smoothing with a damped trend and an additive season (statsmodels); seasonal naive where it fails.

    Returns:
        mean [horizon] and quantiles [horizon, 9].
    """
    import pandas as pd  # comes with statsmodels
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    is_seasonal = season > 1 and len(values) >= 2 * season
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = ETSModel(
                pd.Series(values),
                trend="add",
                damped_trend=True,
                seasonal="add" if is_seasonal else None,
                seasonal_periods=season if is_seasonal else None,
            )
            fitted = model.fit(disp=False)
            found = fitted.get_prediction(start=len(values), end=len(values) + horizon - 1)
            mean = np.asarray(found.predicted_mean)
            spread = np.sqrt(np.asarray(found.forecast_variance))
        except (ValueError, np.linalg.LinAlgError, NotImplementedError):
            return seasonal_naive(values, season, horizon)
    if not (np.isfinite(mean).all() and np.isfinite(spread).all()):
        return seasonal_naive(values, season, horizon)
    return mean, mean[:, None] + spread[:, None] * _NORMAL
