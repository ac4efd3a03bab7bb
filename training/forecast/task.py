"""Forecasting as a task: series, their scaling, MASE and weighted quantile loss beside baselines."""

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.errors import ConfigError, DataError
from models.forecaster import CovariateConfig, ForecasterConfig
from models.frequency import Frequency
from models.network.forecaster import Forecaster
from training.card import CardParts
from training.data.series import Series, SeriesCorpus, series_file, series_of
from training.data.usage import ALL_USED, Unused
from training.forecast.batches import SeriesBatches, scaled
from training.forecast.card import card_parts
from training.forecast.evaluation import baseline_scores, ets, origins_of, scores, seasonal_naive
from training.forecast.module import ForecastModule
from training.forecast.recipe import ForecastRecipe
from training.shard import Shard
from training.stage import Validation
from training.task import Measured, Task

_DRAWN = 50  # series on which ETS is measured; it takes about a second for each
_DRAW_SEED = 42  # part of the comparison, so not the recipe's


class ForecastTask(Task[ForecastRecipe, SeriesCorpus]):
    """See training.task.Task.

    Args:
        recipe: what to do.
        corpus: the series.

    Attributes:
        series: those that are long enough, whole.
        times: of each, int64 [length], seconds since 1970.
        origins: from which forecasts of the validation part are made.
    """

    unit: ClassVar[str] = "step"
    loss: ClassVar[str] = "quantile_loss"
    module: ForecastModule

    def __init__(self, recipe: ForecastRecipe, corpus: SeriesCorpus) -> None:
        self.recipe = recipe
        self.tokenizer = None
        self._corpus = corpus
        horizon = corpus.horizon
        self.series, self._held_out = split(corpus, corpus.num_validation)
        lost = len(corpus.series) - len(self.series)
        reason = f"have no more than data.horizon={horizon} known values before their validation part"
        num_values = sum(len(item.values) for item in self.series)
        num_missing = sum(int(np.isnan(item.values).sum()) for item in self.series)
        self.usage = ALL_USED.with_unused(
            Unused(corpus.name, "series", len(corpus.series), lost, reason, "data.horizon, data.validation_steps"),
            Unused(corpus.name, "values", num_values, num_missing, "are missing", "data.dataset"),
        )
        train = [
            Series(item.name, item.start, item.values[: len(item.values) - steps], item.covariates)
            for item, steps in zip(self.series, self._held_out, strict=True)
        ]
        step = Frequency.parse(corpus.frequency)
        self.times = [times_of(item, step) for item in self.series]
        config = recipe.model.config(
            corpus.frequency, horizon, corpus.season, _covariates(corpus, train), has_dates=corpus.has_dates
        )
        shortened = [Series(item.name, item.start, item.values, item.covariates[: len(item.values)]) for item in train]
        self.batches = SeriesBatches(
            scaled(shortened, config, [time[: len(item.values)] for time, item in zip(self.times, train, strict=True)]),
            config,
            size=recipe.batch.series,
            steps=recipe.batch.steps,
            origins=recipe.batch.origins,
            num_batches=recipe.batches,
            seed=recipe.seed,
        )
        self.origins = origins_of(self.series, self._held_out, horizon, corpus.season)
        constant = len(self.series) - len({origin.series for origin in self.origins})
        reason = "do not change over a season before their validation part, so that nothing is measured on them"
        self.usage = self.usage.with_unused(
            Unused(corpus.name, "series", len(self.series), constant, reason, "data.season", is_used=True)
        )
        if not self.origins:
            raise DataError(f"{corpus.name}: every series is constant, so that there is nothing to compare with.")
        self.sizes = {
            "series": len(self.series),
            "train_values": sum(len(item.values) for item in train),
            "validation_values": sum(self._held_out),
            "validation_forecasts": len(self.origins),
        }
        self.module = ForecastModule(Forecaster(config))

    @staticmethod
    def read(recipe: ForecastRecipe) -> SeriesCorpus:
        """The series that the recipe names, with what it says of them."""
        section = recipe.data
        held_out = section.validation_share if section.validation_steps is None else section.validation_steps
        if section.dataset != "series-file":
            found = series_of(section.dataset)
            changes = {"season": section.season, "horizon": section.horizon, "num_validation": held_out}
            return SeriesCorpus(
                **{**vars(found), **{name: value for name, value in changes.items() if value is not None}}
            )
        assert section.path is not None  # checked by ForecastDataSection
        assert section.frequency is not None
        assert section.horizon is not None
        assert section.season is not None
        assert held_out is not None
        return series_file(Path(section.path), section.frequency, section.horizon, section.season, held_out)

    @classmethod
    def prepared(cls, recipe: ForecastRecipe, corpus: SeriesCorpus, start: Bundle | None = None) -> Self:  # noqa: ARG003 - no tokenizer
        """See Task."""
        return cls(recipe, corpus)

    def validate(self, shard: Shard) -> Validation:
        """Of the validation part; the best epoch has the lowest MASE."""
        found = scores(self.module.model, self.series, self.times, self.origins, shard)
        figures = {
            "validation_quantile_loss_per_step": found.scaled_loss,
            "validation_mase": found.mase,
            "validation_wql": found.wql,
        }
        return Validation(figures, rank=(found.mase,))

    def measure(self) -> Measured:
        """The same, with the baselines: seasonal naive on all, ETS on drawn series, where statsmodels is installed."""
        corpus, series = self._corpus, self.series
        found = scores(self.module.model, series, self.times, self.origins)
        naive = baseline_scores(seasonal_naive, series, self.origins, corpus.horizon, corpus.season)
        metrics = {
            "validation_mase": found.mase,
            "validation_mase_of_the_mean": found.mean_mase,
            "validation_wql": found.wql,
            "seasonal_naive_mase": naive.mase,
            "seasonal_naive_wql": naive.wql,
        }
        details: dict[str, Any] = {}
        if find_spec("statsmodels") is not None:
            chosen = np.random.default_rng(_DRAW_SEED).permutation(len(self.origins))[:_DRAWN]
            drawn = [self.origins[i] for i in sorted(chosen.tolist())]
            by_ets = baseline_scores(ets, series, drawn, corpus.horizon, corpus.season)
            mine = scores(self.module.model, series, self.times, drawn)
            simple = baseline_scores(seasonal_naive, series, drawn, corpus.horizon, corpus.season)
            details["drawn"] = {
                "forecasts": len(drawn),
                **{
                    name: {"mase": item.mase, "wql": item.wql}
                    for name, item in (("this model", mine), ("ETS", by_ets), ("seasonal naive", simple))
                },
            }
        return Measured(metrics, details)

    @property
    def config(self) -> ForecasterConfig:
        """See Task."""
        return self.module.model.config

    @property
    def data(self) -> dict[str, Any]:
        """See Task."""
        return {**asdict(self._corpus.origin), "name": self._corpus.name, "sha256": self._corpus.sha256}

    def card_parts(self, measured: Measured) -> CardParts:
        """See Task."""
        return card_parts(self.module.model, self._corpus, self.sizes, measured.details)


def split(corpus: SeriesCorpus, num_validation: int | float) -> tuple[list[Series], list[int]]:
    """The series that are long enough, and how many values of each validate."""
    series, held_out = [], []
    for item in corpus.series:
        length = len(item.values)
        steps = num_validation if isinstance(num_validation, int) else max(1, round(length * num_validation))
        known = item.values[: length - steps] if length > steps else item.values[:0]
        if len(known) > corpus.horizon and not np.isnan(known).all():
            series.append(item)
            held_out.append(steps)
    if not series:
        raise DataError(
            f"{corpus.name}: no series has more than {corpus.horizon} values before its validation part; use longer "
            "ones, a smaller horizon or a smaller validation part."
        )
    return series, held_out


def times_of(item: Series, step: Frequency) -> NDArray[np.int64]:
    """Of each value, in seconds since 1970."""
    if step.seconds:
        return item.start + step.seconds * np.arange(len(item.values))
    try:
        return np.array([step.after(item.start, index) for index in range(len(item.values))], np.int64)
    except ConfigError as error:
        raise DataError(f"series {item.name[:40]!r}: {error}.") from None


def _covariates(corpus: SeriesCorpus, train: list[Series]) -> list[CovariateConfig]:
    """Center and scale of each, in the training parts."""
    found = []
    for index, name in enumerate(corpus.covariates):
        values = np.concatenate([item.covariates[: len(item.values), index] for item in train])
        found.append(CovariateConfig(name=name, center=float(values.mean()), scale=float(values.std()) or 1.0))
    return found
