"""The recipe of forecasting."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from models.cells import CellKind
from models.config import FrozenModel, Probability, Size, checked
from models.forecaster import CovariateConfig, Duration, ForecasterConfig
from models.frequency import YEAR, Frequency
from training.data.series import SOURCES
from training.recipe import Recipe, Share, unfit


def _known(name: str) -> str:
    if name not in (*SOURCES, "series-file"):
        raise ValueError(f"not a data set; allowed: series-file, {', '.join(SOURCES)}")
    return name


class ForecastDataSection(FrozenModel):
    """Which series. What is null, the data set itself says; series-file needs all of it."""

    dataset: Annotated[str, AfterValidator(_known)]
    path: str | None = None  # with series-file: a CSV file, series,timestamp,value and covariates, plain or .gz
    frequency: Duration | None = None  # with series-file: of its rows, such as PT1H
    season: Size | None = None  # m: steps of a season, 24 for days of hours; 1 where there is none
    horizon: Size | None = None  # steps that are forecast
    validation_steps: Size | None = None  # the last so many of each series validate
    validation_share: Share | None = None  # or this share of it

    @model_validator(mode="after")
    def _options_fit_the_dataset(self) -> Self:
        is_file = self.dataset == "series-file"
        if not is_file and (self.path is not None or self.frequency is not None):
            raise unfit(f"dataset {self.dataset} has no path and no frequency; leave them out")
        needed = ("path", "frequency", "season", "horizon")
        missing = [name for name in needed if getattr(self, name) is None]
        if is_file and missing:
            raise unfit(f"dataset series-file needs {', '.join(missing)}")
        num_given = (self.validation_steps is not None) + (self.validation_share is not None)
        if num_given > 1 or (is_file and not num_given):
            raise unfit("dataset series-file needs validation_steps or validation_share, and any data set at most one")
        return self


class ForecastModelSection(FrozenModel):
    """The architecture without what the data decides."""

    kind: CellKind  # of the recurrent cell (docs/cells.md)
    hidden_size: Size  # width of each layer's hidden state
    num_layers: Annotated[int, Field(ge=1, le=64)]  # stacked layers
    head_size: Size  # width of the layer before the head
    window: Size  # latest values that the head reads; a season or more
    scale_steps: Size  # the scale is the average difference over about so many steps
    dropout: Probability = 0.0  # between layers and before the head, in training only

    def config(
        self, frequency: str, horizon: int, season: int, covariates: list[CovariateConfig], *, has_dates: bool
    ) -> ForecasterConfig:
        """The whole architecture's configuration. Raises ConfigError: the window is shorter than a season."""
        plain = {
            "frequency": frequency,
            "horizon": horizon,
            "season": season,
            "periods": periods_of(Frequency.parse(frequency)) if has_dates else [],
            "covariates": [item.model_dump() for item in covariates],
        }
        return checked(ForecasterConfig, plain | self.model_dump(), "the recipe's section model, with this data")


class ForecastBatchSection(FrozenModel):
    """What one training step reads: stretches of series, each with forecasts made at several of its steps."""

    series: Size  # stretches in a batch
    steps: Size  # of a stretch
    origins: Size  # steps of it from which forecasts are made and compared


class ForecastRecipe(Recipe):
    """A forecaster's run: quantile loss in units of each series' scale."""

    task: Literal["forecast"]
    tokenizer: None = None  # type: ignore[assignment]  # numbers are read as they are
    data: ForecastDataSection
    model: ForecastModelSection
    batch: ForecastBatchSection
    batches: Size  # in an epoch


def periods_of(frequency: Frequency) -> list[int]:
    """Seconds of the day, week and year, as far as two observations or more lie in each."""
    step = frequency.seconds or frequency.months * YEAR // 12
    return [period for period in (86_400, 604_800, YEAR) if period >= 2 * step]
