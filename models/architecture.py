"""The architectures that a bundle may hold, told apart by their field `architecture`."""

from typing import Annotated, Literal

from pydantic import Field

from models.classifier_config import ClassifierConfig
from models.config import LanguageModelConfig
from models.state_row import RowEntry, row_layout
from models.translator_config import TranslatorConfig

Task = Literal["generation", "translation", "sentiment"]
ArchitectureConfig = LanguageModelConfig | TranslatorConfig | ClassifierConfig
Architecture = Annotated[ArchitectureConfig, Field(discriminator="architecture")]


def state_row(config: ArchitectureConfig) -> tuple[RowEntry, ...]:
    """The parts of the architecture's state row; their sizes add up to config.state_size."""
    match config:
        case LanguageModelConfig():
            return row_layout(config.recurrent)
        case ClassifierConfig():
            return ()
        case TranslatorConfig():
            entries = row_layout(config.decoder)
            if not config.input_feeding:
                return entries
            return (*entries, RowEntry(name="feed", offset=config.decoder.state_size, size=config.output_size))
