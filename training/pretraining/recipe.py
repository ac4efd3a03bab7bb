"""The recipe's section on pre-training."""

from models.config import FrozenModel, Probability, Size
from training.recipe import OptimizerSection, ScheduleSection


class PretrainingSection(FrozenModel):
    """A language model in each direction that the classifier reads, on the same texts without their labels."""

    epochs: Size
    lanes: Size  # parts of the text that are read side by side
    window: Size  # tokens of a lane between two updates
    negatives: Size  # wrong tokens drawn for a window, that each right one is distinguished from
    dropout: Probability = 0.0  # on embeddings and outputs
    optimizer: OptimizerSection
    schedule: ScheduleSection
