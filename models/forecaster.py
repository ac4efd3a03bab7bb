"""The forecaster's configuration, its state row, and its graphs' tensors. Knows no torch and no files."""

from itertools import accumulate
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from models.cells import CellKind
from models.config import Depth, FrozenModel, Probability, RecurrentConfig, RowEntry, Size
from models.errors import ConfigError
from models.frequency import EARLIEST, LATEST, Frequency
from models.signature import InputPort, Port, Signature
from models.tasks import FORECAST, Task

QUANTILES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
LARGEST = 1e30  # of a value: sums and differences of such are finite in float32


def _duration(text: str) -> str:
    try:
        Frequency.parse(text)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return text


Duration = Annotated[str, AfterValidator(_duration)]


class CovariateConfig(FrozenModel):
    """What is known beside each value, brought to about -1 to 1 by (x - center) / scale."""

    name: Annotated[str, Field(min_length=1, max_length=80)]
    center: float
    scale: Annotated[float, Field(gt=0)]


class ForecasterConfig(FrozenModel):
    """Causal scaling, recurrent stack, and a head that gives all steps of the horizon at once (Wen et al. 2017).

    A forecast is a weighted average of the values one, two and more seasons before, with weights that the head gives,
    plus what the head adds in units of the scale, which is the average seasonal difference so far.
    """

    architecture: Literal["forecaster"] = "forecaster"
    frequency: Duration  # of the observations, ISO 8601
    horizon: Size  # steps that are forecast
    season: Size  # m: steps of a season; 1 where there is none
    window: Size  # latest values that the head reads, `season` or more
    scale_steps: Size  # the scale is an average over so many differences, the latest weighing most
    periods: list[Annotated[int, Field(ge=4)]]  # seconds of what the calendar repeats; each gives two inputs
    covariates: list[CovariateConfig] = Field(default_factory=list)
    kind: CellKind
    hidden_size: Size
    num_layers: Depth
    head_size: Size  # width of the layer before the head
    dropout: Probability = 0.0  # between layers and before the head, in training only

    @model_validator(mode="after")
    def _window_holds_a_season(self) -> Self:
        if self.window < self.season:
            raise ValueError(f"window is {self.window} and season {self.season}; the window holds a season or more")
        return self

    @property
    def task(self) -> Literal["forecast"]:
        """The task that this architecture serves."""
        return "forecast"

    @property
    def vocab_size(self) -> int:
        """No tokenizer."""
        return 0

    @property
    def num_inputs(self) -> int:
        """Inputs of the stack: two differences, whether the value is missing, two for a period, covariates."""
        return 3 + 2 * len(self.periods) + len(self.covariates)

    @property
    def num_seasons(self) -> int:
        """Seasons that a forecast is an average of: those in the window, 8 at most."""
        return min(self.window // self.season, 8)

    @property
    def recurrent(self) -> RecurrentConfig:
        """The stack inside."""
        return RecurrentConfig(
            kind=self.kind,
            input_size=self.num_inputs,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            dropout=self.dropout,
        )

    @property
    def state_size(self) -> int:
        """D: the length of the state row."""
        return self.recurrent.state_size + self.window + 2

    @property
    def row(self) -> tuple[RowEntry, ...]:
        """The parts of the state row: the stack's, the latest values, the scale, and how many values there were."""
        sizes = {"window": self.window, "scale": 1, "count": 1}
        ends = accumulate(sizes.values(), initial=self.recurrent.state_size)
        parts = (RowEntry(name=name, offset=end, size=size) for (name, size), end in zip(sizes.items(), ends))  # noqa: B905
        return (*self.recurrent.row, *parts)

    @property
    def signature(self) -> Signature:
        """What its graphs take and give beside the state."""
        inputs = [
            InputPort(name="values", dtype="float32", shape=[], may_be_nan=True),
            InputPort(name="time", dtype="int64", shape=[], low=EARLIEST, high=LATEST),
        ]
        if self.covariates:
            inputs.append(InputPort(name="covariates", dtype="float32", shape=[len(self.covariates)]))
        outputs = [
            Port(name="mean", dtype="float32", shape=[self.horizon], has_time=False),
            Port(name="quantiles", dtype="float32", shape=[self.horizon, len(QUANTILES)], has_time=False),
        ]
        return Signature(inputs=inputs, outputs=outputs, has_lengths=True)

    @property
    def model_task(self) -> Task:
        """The task's record, with the model's own tensors in its graphs."""
        return self.signature.task(FORECAST, has_state=True)
