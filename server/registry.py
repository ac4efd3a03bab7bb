"""The models that are served, found by what a request calls them, or by the languages it wants."""

from collections.abc import Iterable
from typing import TypeVar

from models.tasks import TaskName
from server.errors import FieldError, ModelNotFoundError, shown
from server.served_model import ServedModel, ServedTranslation

Served = TypeVar("Served", bound=ServedModel)


class Registry:
    """Finds models.

    Args:
        served: the models.
        defaults: for each task, the model of requests that name none; a task may be absent.
    """

    def __init__(self, served: Iterable[ServedModel], defaults: dict[TaskName, str]) -> None:
        self._by_id = {item.id: item for item in sorted(served, key=lambda item: item.model.version)}
        self._by_name = {item.model.name: item for item in self._by_id.values()}  # the highest version comes last
        self._defaults = defaults

    @property
    def models(self) -> list[ServedModel]:
        """All of them, by name and version."""
        return [self._by_id[key] for key in sorted(self._by_id)]

    @property
    def by_name(self) -> list[ServedModel]:
        """The model that each bare name means, by name."""
        return [self._by_name[name] for name in sorted(self._by_name)]

    def find(self, kind: type[Served], model: str | None) -> Served:
        """The model that a request means.

        Args:
            kind: the class of the task's models.
            model: "name", "name/version", or None for the only one of the task or the default.

        Raises:
            ModelNotFoundError: no model of that name is loaded; the message lists those of the task.
            FieldError: it is another task's model, or none is named and there are several.
        """
        of_task = [item for item in self.models if isinstance(item, kind)]
        if model is not None:
            return self._named(kind, model, "model")
        return self._default(kind, of_task, f"{len(of_task)} {kind.task} models are loaded")

    def find_translation(self, model: str | None, source: str | None, target: str | None) -> ServedTranslation:
        """The translation model that a request means: the one it names, or the one that has its languages.

        Args:
            model: as for `find`.
            source: language to translate from, or None for the model's.
            target: language to translate to, or None for the model's.

        Raises:
            ModelNotFoundError: as `find`.
            FieldError: as `find`; or the model has other languages, or no model has these; the message lists the
                pairs there are.
        """
        if model is not None or (source is None and target is None):
            found = self.find(ServedTranslation, model)
            if not _translates(found, source, target):
                raise _other_languages(f"Model {found.id} translates", [found], source, target)
            return found
        served = [item for item in self.by_name if isinstance(item, ServedTranslation)]
        fitting = [item for item in served if _translates(item, source, target)]
        if not fitting:
            raise _other_languages("The loaded models translate", served, source, target)
        if len(fitting) == 1:
            return fitting[0]
        default = self._defaults.get("translation")
        if default is not None:
            found = self._named(ServedTranslation, default, None)
            if _translates(found, source, target):
                return found
        raise _several(ServedTranslation, fitting, f"{len(fitting)} translation models have these languages")

    def _default(self, kind: type[Served], choices: list[Served], several: str) -> Served:
        if len(choices) == 1:
            return choices[0]
        if kind.task in self._defaults:
            return self._named(kind, self._defaults[kind.task], None)
        raise _several(kind, choices, several)

    def _named(self, kind: type[Served], model: str, param: str | None) -> Served:
        choices = _ids([item for item in self.models if isinstance(item, kind)])
        found = self._by_id.get(model) or self._by_name.get(model)
        if found is None:
            raise ModelNotFoundError(
                f"Model {shown(model)} not found. Loaded {kind.task} models: {choices}.", param=param
            )
        if not isinstance(found, kind):
            raise FieldError(
                f"Model {shown(model)} is for {found.task}, not {kind.task}. Loaded {kind.task} models: {choices}.",
                param=param,
            )
        return found


def _ids(served: Iterable[ServedModel]) -> str:
    return ", ".join(item.id for item in served) or "none"


def _several(kind: type[ServedModel], choices: Iterable[ServedModel], reason: str) -> FieldError:
    return FieldError(
        f"model is required: {reason}. Choices: {_ids(choices)}. Or set RNNSERVE_DEFAULT_{kind.task.upper()}.",
        param="model",
        code="field_missing",
    )


def _translates(served: ServedTranslation, source: str | None, target: str | None) -> bool:
    languages = served.model.languages
    return source in (None, languages.source) and target in (None, languages.target)


def _other_languages(who: str, served: list[ServedTranslation], source: str | None, target: str | None) -> FieldError:
    """The error for languages that no model (of those allowed) has; `param` is the one at fault."""
    pairs = sorted({(item.model.languages.source, item.model.languages.target) for item in served})
    is_source_wrong = source is not None and source not in {first for first, _ in pairs}
    asked = f"{'any language' if source is None else source} to {'any language' if target is None else target}"
    listed = ", ".join(f"{first} to {second}" for first, second in pairs) or "nothing"
    return FieldError(
        f"{who} {listed}, not {asked}. Send a pair that is there, or load a model that has it.",
        param="source" if is_source_wrong or target is None else "target",
        code="languages_not_served",
    )
