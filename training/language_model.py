"""The language model as Lightning trains it: truncated backpropagation through time with the state carried on.

Knows the loss and the optimizer; knows nothing of files, epochs or when to stop.
"""

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn.functional import cross_entropy

from models.config import LanguageModelConfig
from models.network.language_model import LanguageModel
from training.data.windows import IGNORED, Window
from training.recipe import OptimizerSection, ScheduleSection
from training.schedule import factor


class LanguageModelTask(L.LightningModule):
    """One window in, one loss out.

    Attributes:
        model: the network.
        state: float32 [lanes, D], each lane's state after the last window, detached; None before any.

    Args:
        config: the architecture.
        optimizer: AdamW's settings.
        schedule: the learning rate's course.
        num_updates: windows of the whole run.
    """

    def __init__(
        self,
        config: LanguageModelConfig,
        *,
        optimizer: OptimizerSection,
        schedule: ScheduleSection,
        num_updates: int,
    ) -> None:
        super().__init__()
        self.model = LanguageModel(config)
        self.state: Tensor | None = None
        self._optimizer = optimizer
        self._schedule = schedule
        self._num_updates = num_updates

    def training_step(self, window: Window, _index: int) -> Tensor:
        """Mean loss of a window in nats; the state before it is the state after the one before, without its graph."""
        if window.position == 0 or self.state is None:
            self.state = self.model.recurrent.zero_state(len(window.inputs))
        logits, state = self.model(window.inputs, self.state)
        self.state = state.detach()
        return cross_entropy(logits.flatten(0, 1), window.targets.flatten(), ignore_index=IGNORED)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, its rate set before every update."""
        settings = self._optimizer
        optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: factor(self._schedule, step, self._num_updates)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
