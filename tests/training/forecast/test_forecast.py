"""Forecasters: scaled series, figures, baselines, and a whole run."""

import csv
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from models.bundle import Bundle
from models.errors import ConfigError, DataError
from models.forecaster import ForecasterConfig
from models.frequency import Frequency
from models.network.forecaster import Forecaster
from tests.models.network.test_forecaster import config_of
from training.data.series import Series
from training.forecast.batches import SeriesBatches, scaled
from training.forecast.evaluation import (
    ScoreSums,
    baseline_scores,
    origins_of,
    scores,
    seasonal_difference,
    seasonal_naive,
)
from training.forecast.module import ForecastModule
from training.forecast.recipe import periods_of
from training.recipe_file import RECIPES, load_recipe
from training.run import run

HOUR = 3600


def series(*lengths: int) -> list[Series]:
    generator = np.random.default_rng(1)
    found = []
    for index, length in enumerate(lengths):
        values = 50 + np.sin(np.arange(length) * 2 * np.pi / 3) + 0.1 * generator.standard_normal(length).cumsum()
        values[5] = np.nan
        found.append(Series(f"s{index}", 0, values, np.zeros((length, 0))))
    return found


def times(all_series: list[Series]) -> list[np.ndarray]:
    return [HOUR * np.arange(len(item.values)) for item in all_series]


def test_training_sees_what_the_network_sees() -> None:
    """The loss of a batch that has whole series is that of forecasts which the network makes by itself."""
    config = config_of()
    torch.manual_seed(0)
    model = Forecaster(config).eval()
    train = series(30, 30, 30)
    batches = SeriesBatches(
        scaled(train, config, times(train)), config, size=3, steps=30, origins=4, num_batches=1, seed=0
    )
    (batch,) = batches.starting_at(0, 0)
    with torch.no_grad():
        loss, _ = ForecastModule(model)(batch, None)
        total, count = 0.0, 0
        for row in range(3):
            index = next(
                i for i, item in enumerate(scaled(train, config, times(train)))
                if np.array_equal(item.features, batch.features[row].numpy())
            )  # fmt: skip
            values = torch.tensor(train[index].values, dtype=torch.float32)
            for column in range(4):
                known = int(batch.origins[row, column]) + 1
                _, quantiles, state = model(
                    values[None, :known],
                    batch.time[row : row + 1, :known],
                    torch.tensor([known]),
                    torch.zeros(1, config.state_size),
                )
                actual = values[known : known + config.horizon]
                error = (actual[:, None] - quantiles[0, : len(actual)]) / state[0, -2]
                levels = torch.arange(1, 10) / 10
                each = torch.maximum(levels * error, (levels - 1) * error).mean(dim=1)
                total += float(each[~actual.isnan()].sum())
                count += int((~actual.isnan()).sum())
    assert batch.num_targets == count
    assert float(loss) == pytest.approx(total / count, rel=1e-4)


def test_batches_depend_on_epoch_and_position_alone() -> None:
    config = config_of()
    train = series(30, 60)
    batches = SeriesBatches(
        scaled(train, config, times(train)), config, size=5, steps=40, origins=3, num_batches=4, seed=0
    )
    whole, rest = list(batches.starting_at(2, 0)), list(batches.starting_at(2, 2))
    assert [batch.position for batch in rest] == [2, 3]
    for one, other in zip(whole[2:], rest, strict=True):
        assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(one[2:], other[2:], strict=True))


def test_seasonal_naive_has_the_figures_that_are_known() -> None:
    """MASE 1 for a walk whose steps are all as large."""
    values = np.arange(40.0)
    walk = [Series("walk", 0, values, np.zeros((40, 0)))]
    origins = origins_of(walk, [4], 2, 1)
    assert [origin.at for origin in origins] == [36, 38]
    assert origins[0].naive_error == seasonal_difference(values[:36], 1) == 1
    found = baseline_scores(seasonal_naive, walk, origins, 2, 1)
    assert found.mase == pytest.approx(1.5)  # one step off, then two
    assert origins_of([Series("flat", 0, np.ones(40), np.zeros((40, 0)))], [4], 2, 1) == []


def test_weighted_quantile_loss_is_by_hand() -> None:
    (origin,) = origins_of([Series("walk", 0, np.arange(10.0), np.zeros((10, 0)))], [1], 1, 1)
    sums = ScoreSums()
    sums.add(origin, np.array([10.0, np.nan]), np.array([8.0, 0]), np.full((2, 9), 8.0))
    found = sums.scores()
    assert found.wql == pytest.approx(2 * 0.5 * 2 / 10)  # the average of the levels is 0.5
    assert (found.mase, found.mean_mase) == (2, 2)


def test_scores_read_a_series_from_its_beginning() -> None:
    config = config_of()
    torch.manual_seed(0)
    model = Forecaster(config)
    data = series(150, 90)
    origins = origins_of(data, [10, 10], config.horizon, config.season)
    found = scores(model, data, times(data), origins)
    assert model.training
    assert found == scores(model, data, times(data), list(reversed(origins)))
    assert np.isfinite([found.mase, found.mean_mase, found.wql, found.scaled_loss]).all()


@pytest.mark.parametrize(
    ("frequency", "expected"), [("PT1H", 3), ("P1D", 2), ("P1W", 1), ("P1M", 1), ("P3M", 1), ("P1Y", 0)]
)
def test_the_calendar_has_what_two_steps_lie_in(frequency: str, expected: int) -> None:
    assert len(periods_of(Frequency.parse(frequency))) == expected


def rides(folder: Path, length: int = 24 * 12) -> Path:
    path = folder / "rides.csv"
    generator = np.random.default_rng(0)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["series", "timestamp", "value", "rain"])
        for name in ("a", "b", "c"):
            size = generator.uniform(1, 1000)
            for hour in range(length):
                moment = datetime(2024, 1, 1) + timedelta(hours=hour)
                value = size * (2 + np.sin(hour / 24 * 2 * np.pi) + 0.1 * generator.standard_normal())
                writer.writerow([name, moment.isoformat(), f"{value:.2f}", hour % 5])
    return path


def own_series(folder: Path, *more: str) -> Bundle:
    small = [
        "model.hidden_size=8",
        "model.head_size=16",
        "model.window=72",
        "batch.series=8",
        "batch.origins=8",
        "optimizer.learning_rate=0.01",
    ]
    places = [f"store={folder / 'store'}", f"run_dir={folder / 'run'}", "name=rides", "threads=1"]
    recipe = RECIPES / "your-series.yaml"
    changes = [f"data.path={rides(folder)}", "data.horizon=12", "batches=30", "epochs=4", "batch.steps=120"]
    return Bundle(run(load_recipe(recipe, [*small, *changes, *places, "trainer.accelerator=cpu", *more])))


def test_a_forecaster_is_published_with_its_figures(tmp_path: Path) -> None:
    bundle = own_series(tmp_path)
    config = bundle.config
    assert isinstance(config, ForecasterConfig)
    assert (config.frequency, config.horizon, len(config.periods)) == ("PT1H", 12, 3)
    assert [item.name for item in config.covariates] == ["rain"]
    assert config.covariates[0].center == pytest.approx(2, abs=0.05)
    metrics = bundle.record.metrics
    epochs = bundle.record.provenance["epochs"]
    assert epochs[-1]["train_quantile_loss_per_step"] < epochs[0]["train_quantile_loss_per_step"]
    assert metrics["validation_mase"] < metrics["seasonal_naive_mase"]
    card = (bundle.path / "README.md").read_text(encoding="utf-8")
    assert f"| validation mase | {metrics['validation_mase']:.4f} |" in card
    assert "quantile loss per step" in card


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ("data.validation_steps=3", ConfigError, "validation_steps or validation_share"),
        ("data.season=80", ConfigError, "the window holds a season or more"),
        ("data.frequency=hourly", ConfigError, "is not an ISO 8601 duration"),
        ("data.frequency=P1D", DataError, "line 3: timestamp 2024-01-01T01:00:00 follows"),
        ("data.dataset=m5", ConfigError, "not a data set; allowed: series-file, m4-hourly"),
        ("data.validation_share=0.99", DataError, "no series has more than 12 values before its validation part"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(
    tmp_path: Path, change: str, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error) as caught:
        own_series(tmp_path, change)
    assert sentence in str(caught.value)
