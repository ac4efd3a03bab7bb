"""The architectures that a bundle may hold, told apart by their field `architecture`."""

from itertools import accumulate
from typing import Annotated, Literal

from pydantic import Field

from models.classifier_config import ClassifierConfig
from models.config import LanguageModelConfig
from models.state_row import RowEntry, row_layout
from models.translator_config import TranslatorConfig
from models.wrapped_config import WrappedConfig

Task = Literal["generation", "translation", "sentiment"]
ArchitectureConfig = LanguageModelConfig | TranslatorConfig | ClassifierConfig | WrappedConfig
Architecture = Annotated[ArchitectureConfig, Field(discriminator="architecture")]


def state_row(config: ArchitectureConfig) -> tuple[RowEntry, ...]:
    """The parts of the architecture's state row; their sizes add up to config.state_size."""
    match config:
        case LanguageModelConfig():
            return row_layout(config.recurrent)
        case ClassifierConfig():
            return ()
        case WrappedConfig():
            ends = accumulate(part.size for part in config.state)
            return tuple(
                RowEntry(name=part.name, offset=end - part.size, size=part.size)
                for part, end in zip(config.state, ends, strict=True)
            )
        case TranslatorConfig():
            entries = row_layout(config.decoder)
            if not config.input_feeding:
                return entries
            return (*entries, RowEntry(name="feed", offset=config.decoder.state_size, size=config.output_size))
