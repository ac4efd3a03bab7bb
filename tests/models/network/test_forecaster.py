"""The forecaster in torch: chunks, lengths, scale, missing values, quantiles."""

import itertools

import pytest
import torch
from torch import Tensor

from models.config import RowEntry
from models.forecaster import QUANTILES, CovariateConfig, ForecasterConfig
from models.network.forecaster import Forecaster

HOUR = 3600


def config_of(**options: object) -> ForecasterConfig:
    plain: dict[str, object] = {
        "frequency": "PT1H",
        "horizon": 5,
        "season": 3,
        "window": 6,
        "scale_steps": 10,
        "periods": [86_400],
        "kind": "gru",
        "hidden_size": 7,
        "num_layers": 2,
        "head_size": 8,
    }
    return ForecasterConfig.model_validate(plain | options)


def forecaster(**options: object) -> Forecaster:
    torch.manual_seed(0)
    return Forecaster(config_of(**options)).eval()


@torch.no_grad()
def read(model: Forecaster, values: Tensor, state: Tensor | None = None, first: int = 0) -> tuple[Tensor, ...]:
    """Mean, quantiles and state of rows [batch, time] of full length."""
    batch, length = values.shape
    time = (first + torch.arange(length)).mul(HOUR).expand(batch, length)
    state = torch.zeros(batch, model.config.state_size) if state is None else state
    covariates = torch.ones(batch, length, len(model.config.covariates)) if model.config.covariates else None
    found: tuple[Tensor, ...] = model(values, time, torch.full((batch,), length), state, covariates)
    return found


def test_the_row_has_all_that_is_carried() -> None:
    config = config_of()
    assert config.state_size == 2 * 7 + 6 + 2
    assert config.row[-3:] == (
        RowEntry(name="window", offset=14, size=6),
        RowEntry(name="scale", offset=20, size=1),
        RowEntry(name="count", offset=21, size=1),
    )


@pytest.mark.parametrize("covariates", [[], [CovariateConfig(name="rain", center=1.0, scale=2.0)]])
def test_chunks_give_what_one_pass_gives(covariates: list[CovariateConfig]) -> None:
    model = forecaster(covariates=covariates)
    values = torch.randn(4, 40).cumsum(1)
    values[1, 3:9] = torch.nan
    values[2, :4] = torch.nan
    whole = read(model, values)
    state = None
    for start, stop in itertools.pairwise([0, 1, 2, 11, 40]):
        *answer, state = read(model, values[:, start:stop], state, start)
    assert state is not None
    for found, expected in zip((*answer, state), whole, strict=True):
        assert torch.allclose(found, expected, atol=1e-5, rtol=1e-5)
    assert all(part.isfinite().all() for part in whole)


def test_a_row_answers_for_its_own_length() -> None:
    model = forecaster()
    values = torch.randn(2, 12)
    time = torch.arange(12).mul(HOUR).expand(2, 12)
    with torch.no_grad():
        mean, _, state = model(values, time, torch.tensor([12, 5]), torch.zeros(2, model.config.state_size))
    alone_mean, _, alone_state = read(model, values[1:, :5])
    assert torch.allclose(mean[1], alone_mean[0], atol=1e-6)
    assert torch.allclose(state[1], alone_state[0], atol=1e-6)


def test_the_level_and_the_unit_of_a_series_make_no_difference() -> None:
    model = forecaster(periods=[])
    values = torch.randn(1, 30, dtype=torch.float64).cumsum(1)
    model = model.double()
    state = torch.zeros(1, model.config.state_size, dtype=torch.float64)
    mean, quantiles, _ = read(model, values, state)
    other_mean, other_quantiles, _ = read(model, 1000 * values + 5000, state)
    assert torch.allclose(other_mean, 1000 * mean + 5000)
    assert torch.allclose(other_quantiles, 1000 * quantiles + 5000)


def test_a_constant_series_goes_on() -> None:
    mean, quantiles, _ = read(forecaster(), torch.full((1, 20), 7.0))
    assert torch.allclose(mean, torch.full_like(mean, 7.0))
    assert torch.allclose(quantiles, torch.full_like(quantiles, 7.0))


def test_quantiles_do_not_cross_and_the_mean_is_their_average() -> None:
    mean, quantiles, _ = read(forecaster(), torch.randn(20, 30).cumsum(1))
    assert quantiles.shape == (20, 5, len(QUANTILES))
    assert (quantiles.diff(dim=2) > 0).all()
    assert torch.allclose(mean, quantiles.mean(dim=2), atol=1e-5)


@pytest.mark.parametrize("size", [1e30, 1e-30, 1e-38])
def test_the_largest_and_smallest_values_stay_finite(size: float) -> None:
    values = size * torch.tensor([[0.0, 1, -1, 1, 1, 0.5, -1, 1, 0, 0, 0, 1]])
    assert all(part.isfinite().all() for part in read(forecaster(), values))


def test_what_came_before_the_first_value_changes_nothing() -> None:
    model = forecaster(periods=[])
    values = torch.randn(1, 20)
    late = torch.cat([torch.full((1, 3), torch.nan), values], dim=1)
    *_, state = read(model, values)
    *_, late_state = read(model, late)
    past = slice(model.config.recurrent.state_size, None)
    assert torch.equal(state[:, past], late_state[:, past])
