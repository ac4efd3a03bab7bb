"""The models that are served, found by what a request calls them, or by the languages it wants."""

from collections.abc import Iterable

from server.endpoint import Endpoint
from server.errors import FieldError, ModelNotFoundError, shown


class Registry:
    """Finds models.

    Args:
        served: the models.
        defaults: for each task, the model of requests that name none; a task may be absent.
    """

    def __init__(self, served: Iterable[Endpoint], defaults: dict[str, str]) -> None:
        self._by_id = {item.id: item for item in sorted(served, key=lambda item: item.info.version)}
        self._by_name = {item.info.name: item for item in self._by_id.values()}  # the highest version comes last
        self._defaults = defaults

    @property
    def models(self) -> list[Endpoint]:
        """All of them, by name and version."""
        return [self._by_id[key] for key in sorted(self._by_id)]

    @property
    def by_name(self) -> list[Endpoint]:
        """The model that each bare name means, by name."""
        return [self._by_name[name] for name in sorted(self._by_name)]

    def find(self, task: str, model: str | None) -> Endpoint:
        """The model that a request means.

        Args:
            task: its name.
            model: "name", "name/version", or None for the only one of the task or the default.

        Raises:
            ModelNotFoundError: no model of that name is loaded; the message lists those of the task.
            FieldError: it is another task's model, or none is named and there are several.
        """
        of_task = [item for item in self.models if item.info.task == task]
        if model is not None:
            return self._named(task, model, "model")
        return self._default(task, of_task, f"{len(of_task)} {task} models are loaded")

    def find_translation(self, model: str | None, source: str | None, target: str | None) -> Endpoint:
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
            found = self.find("translation", model)
            if not _translates(found, source, target):
                raise _other_languages(f"Model {found.id} translates", [found], source, target)
            return found
        served = [item for item in self.by_name if item.info.task == "translation"]
        fitting = [item for item in served if _translates(item, source, target)]
        if not fitting:
            raise _other_languages("The loaded models translate", served, source, target)
        if len(fitting) == 1:
            return fitting[0]
        default = self._defaults.get("translation")
        if default is not None:
            found = self._named("translation", default, None)
            if _translates(found, source, target):
                return found
        raise _several("translation", fitting, f"{len(fitting)} translation models have these languages")

    def _default(self, task: str, choices: list[Endpoint], several: str) -> Endpoint:
        if len(choices) == 1:
            return choices[0]
        if task in self._defaults:
            return self._named(task, self._defaults[task], None)
        raise _several(task, choices, several)

    def _named(self, task: str, model: str, param: str | None) -> Endpoint:
        choices = _ids([item for item in self.models if item.info.task == task])
        found = self._by_id.get(model) or self._by_name.get(model)
        if found is None:
            raise ModelNotFoundError(f"Model {shown(model)} not found. Loaded {task} models: {choices}.", param=param)
        if found.info.task != task:
            raise FieldError(
                f"Model {shown(model)} is for {found.info.task}, not {task}. Loaded {task} models: {choices}.",
                param=param,
            )
        return found


def _ids(served: Iterable[Endpoint]) -> str:
    return ", ".join(item.id for item in served) or "none"


def _several(task: str, choices: Iterable[Endpoint], reason: str) -> FieldError:
    return FieldError(
        f"model is required: {reason}. Choices: {_ids(choices)}. Or set RNNSERVE_DEFAULT_{task.upper()}.",
        param="model",
        code="field_missing",
    )


def _translates(served: Endpoint, source: str | None, target: str | None) -> bool:
    languages = served.info.languages
    assert languages is not None, "a bundle of this task has languages"
    return source in (None, languages.source) and target in (None, languages.target)


def _other_languages(who: str, served: list[Endpoint], source: str | None, target: str | None) -> FieldError:
    """The error for languages that no model (of those allowed) has; `param` is the one at fault."""
    all_languages = [item.info.languages for item in served if item.info.languages is not None]
    pairs = sorted({(pair.source, pair.target) for pair in all_languages})
    is_source_wrong = source is not None and source not in {first for first, _ in pairs}
    asked = f"{'any language' if source is None else source} to {'any language' if target is None else target}"
    listed = ", ".join(f"{first} to {second}" for first, second in pairs) or "nothing"
    return FieldError(
        f"{who} {listed}, not {asked}. Send a pair that is there, or load a model that has it.",
        param="source" if is_source_wrong or target is None else "target",
        code="languages_not_served",
    )
