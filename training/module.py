"""What Lightning trains, whatever the task: a network, its optimizer, and what one batch leaves for the next.

Knows nothing of files, epochs or when to stop.
"""

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from training.recipe import Recipe
from training.schedule import factor


class TrainingModule(L.LightningModule):
    """Base of each task's module, which adds `training_step`: one batch in, its mean loss in nats out.

    Attributes:
        model: the network.
        state: float32 [lanes, D], what the last batch leaves for the next, detached; None where nothing is carried on.

    Args:
        model: the network.
        recipe: the optimizer's settings and the learning rate's course.
        num_updates: batches of the whole run.
    """

    model: nn.Module

    def __init__(self, model: nn.Module, recipe: Recipe, *, num_updates: int) -> None:
        super().__init__()
        self.model = model
        self.state: Tensor | None = None
        self._optimizer = recipe.optimizer
        self._schedule = recipe.schedule
        self._num_updates = num_updates

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, its rate set before every update."""
        settings = self._optimizer
        optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=settings.learning_rate,
            betas=(0.9, settings.beta2),
            weight_decay=settings.weight_decay,
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: factor(self._schedule, step, self._num_updates)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
