"""The forecaster's loss: of each quantile, in units of the series' scale (Koenker & Bassett 1978)."""

import torch
from torch import Tensor

from models.forecaster import QUANTILES
from models.network.forecaster import Forecaster, Past
from training.forecast.batches import SeriesBatch
from training.stage import TrainingModule


class ForecastModule(TrainingModule):
    """See training.stage.TrainingModule; no state is carried."""

    model: Forecaster

    def forward(self, batch: SeriesBatch, _: Tensor | None) -> tuple[Tensor, None]:
        """The mean quantile loss of the batch's targets."""
        model = self.model
        inputs = model.inputs(batch.features, batch.time, batch.covariates if model.config.covariates else None)
        outputs, _ = model.recurrent(inputs, model.recurrent.zero_state(len(inputs)))
        rows = torch.arange(len(inputs), device=inputs.device).unsqueeze(1)
        scales = batch.scales.flatten(0, 1)
        past = Past(batch.windows.flatten(0, 1), scales, scales)
        _, quantiles = model.ahead(
            model.dropout(outputs[rows, batch.origins].flatten(0, 1)),
            past,
            inputs[rows, batch.origins].flatten(0, 1),
        )
        targets = batch.targets.flatten(0, 1)
        is_known = ~targets.isnan()
        error = (targets.nan_to_num().unsqueeze(2) - quantiles) / scales.unsqueeze(2).clamp(min=1e-30)
        levels = torch.tensor(QUANTILES, device=error.device)
        loss = torch.maximum(levels * error, (levels - 1) * error).mean(dim=2)
        return torch.where(is_known, loss, torch.zeros_like(loss)).sum() / is_known.sum().clamp(min=1), None
