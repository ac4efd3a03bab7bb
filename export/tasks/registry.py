"""The tasks that can be exported, by name."""

from export.tasks import forecast, generation, sentiment, sequence, tagging, translation
from export.tasks.task import TaskExport
from models.errors import ConfigError

_EXPORTS = {
    export.task: export
    for export in (
        generation.EXPORT,
        translation.EXPORT,
        sentiment.EXPORT,
        tagging.EXPORT,
        sequence.EXPORT,
        forecast.EXPORT,
    )
}


def register_export(export: TaskExport) -> None:
    """Make a task exportable, after models.tasks.register; once more with an equal one changes nothing.

    Raises:
        ConfigError: another one has the name.
    """
    if _EXPORTS.setdefault(export.task, export) != export:
        raise ConfigError(f"The export of task {export.task!r} is already registered otherwise; choose another name.")


def export_of(task: str) -> TaskExport:
    """How models of a task are exported.

    Raises:
        ConfigError: nothing is registered for it; the message lists what is.
    """
    if task not in _EXPORTS:
        raise ConfigError(f"No export is registered for task {ascii(task)[:80]}. Registered: {', '.join(_EXPORTS)}.")
    return _EXPORTS[task]
