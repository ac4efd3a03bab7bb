"""A forecaster: MASE and weighted quantile loss of the end of each series, as training reports them.

Each series is read from its beginning, and on from forecast to forecast, as a session of /v1/forecast reads it.
"""

from dataclasses import dataclass

import numpy as np

from models.errors import DataError
from models.forecaster import ForecasterConfig
from models.frequency import Frequency
from runtime.frames import Row
from training.data.series import Series, SeriesCorpus
from training.evaluate.answers import ServedBundle
from training.evaluate.evaluation import Evaluation
from training.evaluate.examples import Examples
from training.evaluate.resampling import Comparison, Figure, Floats, figure, paired_bootstrap


@dataclass(frozen=True, kw_only=True)
class ForecastEvaluation(Evaluation):
    """See Evaluation.

    Attributes:
        stats: [series, 6], what the scores are means of (training.forecast.evaluation.ScoreSums).
    """

    stats: Floats

    def compared(self, other: "ForecastEvaluation") -> list[Comparison]:
        """The paired bootstrap over series."""
        return [paired_bootstrap(name, self.stats, other.stats, score) for name, score in SCORES.items()]


def mase(sums: Floats) -> Floats:
    """Of the medians (Hyndman & Koehler 2006)."""
    return sums[:, 1] / np.maximum(sums[:, 0], 1)


def mase_of_the_mean(sums: Floats) -> Floats:
    """Of the means."""
    return sums[:, 2] / np.maximum(sums[:, 0], 1)


def wql(sums: Floats) -> Floats:
    """Weighted quantile loss."""
    return sums[:, 3] / np.maximum(sums[:, 4], 1e-30)


SCORES = {"mase": mase, "mase_of_the_mean": mase_of_the_mean, "wql": wql}


def evaluate_forecast(served: ServedBundle, examples: Examples[SeriesCorpus]) -> ForecastEvaluation:
    """Measure a forecaster.

    Args:
        served: the bundle.
        examples: one corpus of series.

    Raises:
        DataError: no series is long enough, all are constant, or the covariates are not the bundle's.
    """
    from training.forecast.evaluation import ScoreSums, baseline_scores, origins_of, seasonal_naive
    from training.forecast.task import split, times_of  # PyTorch takes seconds to load

    (corpus,) = examples.items
    config = served.model.forecaster
    assert config is not None, "a forecaster's bundle has it"
    _check_covariates(examples.name, corpus, config)
    chosen, held_out = split(corpus, corpus.num_validation)
    times = [times_of(item, Frequency.parse(corpus.frequency)) for item in chosen]
    origins = origins_of(chosen, held_out, config.horizon, config.season)
    if not origins:
        raise DataError(f"{examples.name}: every series is constant, so that there is nothing to compare with.")
    sums = [ScoreSums() for _ in chosen]
    states = [np.zeros(served.model.state_width, np.float32) for _ in chosen]
    read = [0] * len(chosen)
    rank = 0
    waiting = [[origin for origin in origins if origin.series == number] for number in range(len(chosen))]
    while live := [number for number, own in enumerate(waiting) if rank < len(own)]:  # the next origin of each series
        rows = []
        for number in live:
            part = slice(read[number], waiting[number][rank].at)
            row = _row(chosen[number], times[number], part)
            rows.append((row, part.stop - part.start, states[number]))
        for number, output in zip(live, served.frames(rows), strict=True):
            origin = waiting[number][rank]
            states[number], read[number] = output.state, origin.at
            actual = chosen[number].values[origin.at : origin.at + config.horizon]
            mean, quantiles = (output.outputs[name][: len(actual)].astype(np.float64) for name in ("mean", "quantiles"))
            sums[number].add(origin, actual, mean, quantiles)
        rank += 1
    stats = np.array([own.values for number, own in enumerate(sums) if waiting[number]])
    naive = baseline_scores(seasonal_naive, chosen, origins, config.horizon, config.season)
    return ForecastEvaluation(
        bundle=served.bundle.id,
        bundle_sha256=served.bundle.record.sha256,
        task="forecast",
        set_name=served.set_name,
        data=examples.name,
        data_sha256=examples.sha256,
        sizes={"series": len(stats), "forecasts": len(origins)},
        figures={
            **{name: figure(stats, score) for name, score in SCORES.items()},
            "seasonal_naive_mase": Figure(naive.mase),
            "seasonal_naive_wql": Figure(naive.wql),
        },
        stats=stats,
    )


def _row(item: Series, times: np.ndarray, part: slice) -> Row:
    row: Row = {"values": item.values[part].astype(np.float32), "time": times[part].astype(np.int64)}
    if item.covariates.shape[1]:
        row = {**row, "covariates": item.covariates[part].astype(np.float32)}
    return row


def _check_covariates(name: str, corpus: SeriesCorpus, config: ForecasterConfig) -> None:
    own = tuple(item.name for item in config.covariates)
    if own != corpus.covariates:
        raise DataError(
            f"{name} has the covariates {', '.join(corpus.covariates) or 'none'}, the bundle reads "
            f"{', '.join(own) or 'none'}, in this order."
        )
