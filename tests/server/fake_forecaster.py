"""A forecaster in a few lines: integers in its state row, mixed with each value and time, so that crossed rows show."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.forecaster import QUANTILES, CovariateConfig, ForecasterConfig
from runtime.runner import Array
from server.endpoint import LoadedModel
from tests.server.fake_open_set import FakeOpenSet
from tests.server.fake_runner import Fake

_PRIME = 65521
_HUGE = 1e29  # a value after which forecasts are not finite


def config_of(**options: Any) -> ForecasterConfig:
    plain: dict[str, Any] = {
        "frequency": "PT1H",
        "horizon": 4,
        "season": 2,
        "window": 2,
        "scale_steps": 4,
        "periods": [86_400],
        "kind": "gru",
        "hidden_size": 2,
        "num_layers": 1,
        "head_size": 1,
    }
    return ForecasterConfig(**(plain | options))


def fake_forecast(values: list[float | None], first: int, steps: int = 4) -> list[float]:
    """The mean of what follows values, whose first has a time in hours since 1970."""
    state = np.zeros((1, 2))
    for index, value in enumerate(values):
        state = _next(state, np.array([np.nan if value is None else value]), np.array([(first + index) * 3600]))
    return [float(state[0, 0] + step) for step in range(steps)]


def _next(state: NDArray[Any], values: NDArray[Any], times: NDArray[Any]) -> NDArray[Any]:
    missing = np.isnan(values)
    mixed = (state[:, 0] * 31 + np.where(missing, 77, np.nan_to_num(values) % 997) * 7 + times // 3600 % 24) % _PRIME
    return np.stack([np.where(np.abs(values) >= _HUGE, np.inf, np.floor(mixed)), state[:, 1] + ~missing], axis=1)


class FakeForecastRunner(Fake):
    """Its state row has zeros between the two numbers that it uses."""

    def __init__(self, config: ForecasterConfig) -> None:
        super().__init__()
        self._config = config

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self._wait()
        values, times = (inputs[name] for name in ("values", "time"))
        if graph == "step":
            values, times = values[:, None], times[:, None]
        assert (str(values.dtype), str(times.dtype)) == ("float32", "int64")
        lengths = np.ones(len(values), np.int32) if graph == "step" else inputs["lengths"]
        state = inputs["state"][:, [0, -1]].astype(np.float64)
        with np.errstate(invalid="ignore"):
            for step in range(values.shape[1]):
                after = _next(state, values[:, step].astype(np.float64), times[:, step])
                state = np.where((step < lengths)[:, None], after, state)
        mean = (state[:, :1] + np.arange(self._config.horizon)).astype(np.float32)
        row = np.zeros((len(values), self._config.state_size), np.float32)
        row[:, 0], row[:, -1] = np.nan_to_num(state[:, 0], posinf=0), state[:, 1]
        quantiles = mean[:, :, None] + np.arange(len(QUANTILES), dtype=np.float32)
        return {"mean": mean, "quantiles": quantiles, "new_state": row}


class FakeForecastSet(FakeOpenSet):
    """A set whose graphs those are."""

    def __init__(self, config: ForecasterConfig) -> None:
        super().__init__(1)
        self.runner = FakeForecastRunner(config)

    def sequences(self) -> Any:
        return self.runner


def fake_forecaster(name: str = "hours", **options: Any) -> LoadedModel:
    config = config_of(**options)
    return LoadedModel(
        name=name,
        version=1,
        task="forecast",
        precision="fp32",
        backend="fake",
        bundle_sha256=name,
        opened=FakeForecastSet(config),
        signature=config.signature,
        forecaster=config,
        state_width=config.state_size,
    )


RAIN = [CovariateConfig(name="rain", center=0.0, scale=1.0)]
