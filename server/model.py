"""A loaded model: what is known of it, and its open graphs."""

from dataclasses import dataclass, field

from models.bundle import Bundle, Languages
from models.tokenizer import Tokenizer
from runtime.choice import Choice
from runtime.opening import OpenGraphs


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """What is known of a model.

    Attributes:
        name: the folder's name in the store.
        version: the version in that folder.
        task: a registered task's name.
        tokenizer: text to ids and back.
        precision: the graph set that runs; where groups of graphs run from several, their names joined by "+".
        backend: what runs it.
        graph_sets: graph -> the set that it runs from.
        metrics: as measured after training.
        bundle_sha256: the bundle's record's, which identifies it.
        state_width: D; 0 for models without a state.
        languages: of a translator.
        labels: of a classifier, by class.
    """

    name: str
    version: int
    task: str
    tokenizer: Tokenizer
    precision: str
    backend: str
    graph_sets: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    bundle_sha256: str = ""
    state_width: int = 0
    languages: Languages | None = None
    labels: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """What answers call the model: name/version."""
        return f"{self.name}/{self.version}"

    @property
    def end_id(self) -> int | None:
        """The end token's id."""
        return self.tokenizer.end_id


@dataclass(frozen=True)
class LoadedModel:
    """A model that can compute.

    Attributes:
        info: what is known of it.
        opened: its graphs.
    """

    info: ModelInfo
    opened: OpenGraphs

    @property
    def id(self) -> str:
        """What answers call the model: name/version."""
        return self.info.id


def info_of(bundle: Bundle, choice: Choice) -> ModelInfo:
    """What is known of a bundle that is served in this way."""
    record = bundle.record
    return ModelInfo(
        name=bundle.path.parent.name,  # the folder is what the store and requests call it
        version=int(bundle.path.name),
        task=record.task,
        tokenizer=bundle.tokenizer,
        precision=choice.precision,
        backend=choice.backend,
        graph_sets=choice.set_of_graphs(bundle.task),
        metrics=record.metrics,
        bundle_sha256=record.sha256,
        state_width=record.state_width,
        languages=record.languages,
        labels=tuple(record.labels or ()),
    )
