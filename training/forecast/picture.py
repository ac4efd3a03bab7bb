"""python -m training.forecast.picture BUNDLE PICTURE: forecasts of series whose ends the forecaster has not seen."""

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from models.bundle import Bundle
from models.errors import ConfigError
from models.forecaster import QUANTILES, ForecasterConfig
from models.network.forecaster import Forecaster
from training.forecast.evaluation import forecasts
from training.forecast.recipe import ForecastRecipe
from training.forecast.task import ForecastTask
from training.recipe_file import recipe_from_plain

_SHOWN = 6
_DRAW_SEED = 5


def draw(bundle: Bundle, picture: Path) -> None:
    """Write a picture of six drawn series: what came before, what followed, and the quantiles that were forecast.

    Raises:
        ConfigError: the bundle is no forecaster that was trained here.
        DataError: its data is absent.
    """
    config = bundle.config
    recipe = recipe_from_plain(bundle.record.provenance.get("recipe", {}), f"{bundle.id}'s recipe")
    if not isinstance(config, ForecasterConfig) or not isinstance(recipe, ForecastRecipe):
        raise ConfigError(f"{bundle.id} is for {bundle.record.task}; name a forecaster.")
    task = ForecastTask(recipe, ForecastTask.read(recipe))
    model = Forecaster(config)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in bundle.weights().items()})
    chosen = np.random.default_rng(_DRAW_SEED).permutation(len(task.origins))[:_SHOWN]
    origins = [task.origins[index] for index in sorted(chosen.tolist())]
    found = forecasts(model.eval(), task.series, task.times, origins)
    figure = Figure(figsize=(10, 5), dpi=110, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for axes, origin, (_, quantiles) in zip(figure.subplots(2, 3).flat, origins, found, strict=False):
        item = task.series[origin.series]
        before = max(0, origin.at - 3 * config.horizon)
        after = min(len(item.values), origin.at + config.horizon)
        ahead = np.arange(origin.at, origin.at + config.horizon)
        axes.plot(np.arange(before, after), item.values[before:after], color="black", linewidth=1)
        for lower in range(len(QUANTILES) // 2):
            axes.fill_between(
                ahead, quantiles[:, lower], quantiles[:, -1 - lower], color="tab:blue", alpha=0.15, linewidth=0
            )
        axes.plot(ahead, quantiles[:, len(QUANTILES) // 2], color="tab:blue", linewidth=1.5)
        axes.set_title(item.name, fontsize=9)
        axes.tick_params(labelsize=7)
    picture.parent.mkdir(parents=True, exist_ok=True)
    canvas.print_figure(picture)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("python -m training.forecast.picture BUNDLE PICTURE, such as artifacts/forecast-hourly/1 forecast.png")
    draw(Bundle(sys.argv[1]), Path(sys.argv[2]))
