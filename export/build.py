"""Build graph sets: trace or quantise, count operators, write, open, verify, and only then publish."""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from export.architectures.architecture import Architecture
from export.architectures.classifier import ClassifierArchitecture
from export.architectures.language_model import LanguageModelArchitecture
from export.architectures.translator import TranslatorArchitecture
from export.backends.onnxruntime.build import Graphs, open_graph_set, open_session
from export.census import check_census
from export.report import Report
from export.weights_file import save_graphs
from models.bundle import Bundle
from models.classifier_config import ClassifierConfig
from models.config import LanguageModelConfig
from models.errors import ExportError
from models.graph_set import GraphSet, new_graph_set
from models.translator_config import TranslatorConfig

BUILDABLE_SETS = ("fp32", "int8")


def build_sets(
    bundle: Bundle, sets: Sequence[str] = BUILDABLE_SETS, say: Callable[[str], None] = lambda _: None
) -> list[Report]:
    """Build, verify and publish graph sets of a bundle; a set of the same name is replaced.

    Args:
        bundle: the model.
        sets: which of BUILDABLE_SETS.
        say: told what is being done, a line at a time.

    Returns:
        What verification found, one report for each set.

    Raises:
        ExportError: a set's name is not one that can be built, or PyTorch cannot trace the model.
        ParityError: a set does not answer as PyTorch does; nothing of it is left.
    """
    unknown = [name for name in sets if name not in BUILDABLE_SETS]
    if unknown:
        raise ExportError(f"Graph set {ascii(unknown[0])[:80]} cannot be built. Sets: {', '.join(BUILDABLE_SETS)}.")
    architecture = architecture_of(bundle)
    return [_build_set(bundle, architecture, name, say) for name in sets]


def architecture_of(bundle: Bundle) -> Architecture:
    """The bundle's architecture, its torch model loaded."""
    match bundle.config:
        case LanguageModelConfig() as config:
            return LanguageModelArchitecture(bundle, config)
        case TranslatorConfig() as config:
            return TranslatorArchitecture(bundle, config)
        case ClassifierConfig() as config:
            return ClassifierArchitecture(bundle, config)


def _build_set(bundle: Bundle, architecture: Architecture, name: str, say: Callable[[str], None]) -> Report:
    say(f"{name}: writing graphs")
    graphs, notes = architecture.graphs(name)
    counts = {graph: dict(check_census(graph, proto)) for graph, proto in graphs.items()}
    with new_graph_set(bundle.graph_set_path(name)) as (folder, seal):
        save_graphs(folder, graphs)
        say(f"{name}: verifying against PyTorch")
        opened = Graphs(name, {graph: open_session(folder / f"{graph}.onnx") for graph in graphs})
        report = architecture.verify(name, opened)
        report.raise_if_failed()
        seal(
            bundle_sha256=bundle.record.sha256,
            graphs=list(graphs),
            versions={library: version(library) for library in ("torch", "onnx", "onnxscript", "onnxruntime", "numpy")},
            golden=architecture.golden(opened).model_dump(),
            parity=report.figures(),
            notes={"operators": counts, **notes},
        )
    say(f"{name}: published at {bundle.graph_set_path(name)}")
    return report


def verify_set(bundle: Bundle, name: str) -> Report:
    """Open a published graph set and run every check again.

    Raises:
        BundleError: the set is missing or its files are not what the manifest says.
        RunnerError: the runtime refuses a graph.
    """
    graph_set: GraphSet = bundle.graph_set(name)
    return architecture_of(bundle).verify(name, open_graph_set(graph_set))


def bundle_at(path: Path) -> Bundle:
    """Open the bundle at a path given by a user: a version's folder.

    Raises:
        ExportError: there is no bundle there; the message says what a bundle's path looks like.
        BundleCorruptError: a file is not what bundle.json says.
    """
    if not (path / "bundle.json").is_file():
        raise ExportError(
            f"No bundle at {path}. A bundle is a folder STORE/NAME/VERSION, such as artifacts/my-model/1."
        )
    return Bundle(path)
