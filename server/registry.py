"""The models that are served, found by what a request calls them."""

from collections.abc import Callable, Iterable

from server.endpoint import Endpoint
from server.errors import FieldError, ModelNotFoundError, shown


class Registry:
    """Finds models.

    Args:
        served: the models.
        defaults: for each task, the model of requests that name none; a task may be absent.
    """

    def __init__(self, served: Iterable[Endpoint], defaults: dict[str, str]) -> None:
        self._by_id = {item.id: item for item in sorted(served, key=lambda item: item.model.version)}
        self._by_name = {item.model.name: item for item in self._by_id.values()}  # the highest version comes last
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
        if model is not None:
            return self._named(task, model, "model")
        choices = [item for item in self.models if item.model.task == task]
        return self.only_or_default(task, choices, f"{len(choices)} {task} models are loaded")

    def only_or_default(
        self, task: str, choices: list[Endpoint], several: str, fits: Callable[[Endpoint], bool] = lambda _: True
    ) -> Endpoint:
        """The only one of some models, or the task's default if it fits. Raises FieldError, which says `several`."""
        if len(choices) == 1:
            return choices[0]
        if task in self._defaults:
            default = self._named(task, self._defaults[task], None)
            if fits(default):
                return default
        raise FieldError(
            f"model is required: {several}. Choices: {_ids(choices)}. Or set RNNSERVE_DEFAULT_{task.upper()}.",
            param="model",
            code="field_missing",
        )

    def _named(self, task: str, model: str, param: str | None) -> Endpoint:
        choices = _ids(item for item in self.models if item.model.task == task)
        found = self._by_id.get(model) or self._by_name.get(model)
        if found is None:
            raise ModelNotFoundError(f"Model {shown(model)} not found. Loaded {task} models: {choices}.", param=param)
        if found.model.task != task:
            raise FieldError(
                f"Model {shown(model)} is for {found.model.task}, not {task}. Loaded {task} models: {choices}.",
                param=param,
            )
        return found


def _ids(served: Iterable[Endpoint]) -> str:
    return ", ".join(item.id for item in served) or "none"
