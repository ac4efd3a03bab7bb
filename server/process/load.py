"""Where models are loaded: each in a process of its own, or all in this one."""

import os
from collections.abc import Sequence

from server.loaded_model import LoadedModel
from server.loading import load_models
from server.process.engine_process import RemoteModel, load_in_processes
from server.settings import Settings


def load(settings: Settings) -> Sequence[LoadedModel | RemoteModel]:
    """Load the models that the settings name, where the settings say.

    Raises:
        RnnserveError: as server.loading.load_models.
    """
    if settings.engine_processes and os.name == "posix":
        return load_in_processes(settings)
    return load_models(settings)
