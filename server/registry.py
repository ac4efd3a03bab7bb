"""The models that are served: each with its engine and its permits, found by what a request calls it."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from models.decoding.detokenizer import TokenTexts
from server.engine.engine import Engine
from server.errors import FieldError, ModelNotFoundError, shown
from server.loaded_model import LoadedModel
from server.metrics import EngineMetrics, Metrics
from server.permits import Permits
from server.settings import Settings


@dataclass(frozen=True)
class ServedModel:
    """A loaded model and what serves it."""

    model: LoadedModel
    engine: Engine
    permits: Permits
    token_texts: TokenTexts
    metrics: EngineMetrics

    @property
    def id(self) -> str:
        """What answers call the model: name/version."""
        return self.model.id


class Registry:
    """Finds models.

    Args:
        served: the models.
        defaults: for each task, the model of requests that name none; a task may be absent.
    """

    def __init__(self, served: Iterable[ServedModel], defaults: dict[str, str]) -> None:
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

    def find(self, task: str, model: str | None) -> ServedModel:
        """The model that a request means.

        Args:
            task: generation, ...
            model: "name", "name/version", or None for the only one of the task or the default.

        Raises:
            ModelNotFoundError: no model of that name is loaded; the message lists those of the task.
            FieldError: it is another task's model, or none is named and there are several.
        """
        of_task = [item for item in self.models if item.model.task == task]
        choices = ", ".join(item.id for item in of_task) or "none"
        if model is not None:
            return self._named(task, model, "model", choices)
        if len(of_task) == 1:
            return of_task[0]
        if task in self._defaults:
            return self._named(task, self._defaults[task], None, choices)
        raise FieldError(
            f"model is required: {len(of_task)} {task} models are loaded. Choices: {choices}. "
            f"Or set RNNSERVE_DEFAULT_{task.upper()}.",
            param="model",
            code="field_missing",
        )

    def _named(self, task: str, model: str, param: str | None, choices: str) -> ServedModel:
        found = self._by_id.get(model) or self._by_name.get(model)
        if found is None:
            raise ModelNotFoundError(f"Model {shown(model)} not found. Loaded {task} models: {choices}.", param=param)
        if found.model.task != task:
            raise FieldError(
                f"Model {shown(model)} is for {found.model.task}, not {task}. Loaded {task} models: {choices}.",
                param=param,
            )
        return found


def served_model(
    model: LoadedModel, settings: Settings, metrics: Metrics, loop: asyncio.AbstractEventLoop
) -> ServedModel:
    """Give a model an engine, started, whose news go to the loop."""
    counters = metrics.engine_metrics(model.id)
    engine = Engine(
        model.id,
        model.steps,
        model.sequences,
        state_width=model.state_width,
        end_id=model.tokenizer.end_id,
        max_rows=settings.max_rows,
        prefill_tokens=settings.prefill_tokens,
        prefill_share=settings.prefill_share,
        observer=counters,
    )
    permits = Permits(model.id, settings.max_requests)
    metrics.watch(
        model.id,
        backend=model.backend,
        precision=model.precision,
        requests_running=lambda: permits.num_taken,
        rows_running=lambda: engine.num_running,
        rows_waiting=lambda: engine.num_waiting,
    )
    served = ServedModel(model, engine, permits, TokenTexts(model.tokenizer.token_bytes), counters)
    engine.start(loop)
    return served
