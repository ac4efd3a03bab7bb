"""Build graph sets: trace or quantise, count operators, write, open, verify, and only then publish."""

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from export.onnx.census import census, check_census
from export.onnx.decode import with_decode
from export.onnx.weights import save_graphs
from export.parity.backends import open_graphs
from export.parity.decode import decode_figures
from export.parity.diagnosis.diagnose import faults_of
from export.parity.limits import CPU_BACKEND, limits_of, notes_on
from export.report import Report, judged
from export.tasks.registry import export_of
from export.tasks.task import Architecture
from export.tasks.wrapped import WrappedArchitecture
from models.architecture import WrappedConfig
from models.bundle import Bundle
from models.cells import cell_of
from models.errors import ExportError, ParityError, RunnerError
from models.graph_set import SETS, new_graph_set
from runtime.golden import new_golden
from runtime.opening import OpenGraphs

DEFAULT_SETS = ("fp32", "int8")  # what a CPU runs; the gpu sets are built when they are asked for


def build_sets(
    bundle: Bundle, sets: Sequence[str] = DEFAULT_SETS, say: Callable[[str], None] = lambda _: None
) -> list[Report]:
    """Build, verify and publish graph sets of a bundle; a set of the same name is replaced.

    Args:
        bundle: the model.
        sets: which of models.graph_set.SETS.
        say: called with what is being done, a line at a time.

    Returns:
        What verification found, one report for each set.

    Raises:
        ExportError: a set's name is not one that can be built, or PyTorch cannot trace the model.
        ParityError: a set does not answer as PyTorch does; nothing of it is left.
    """
    unknown = [name for name in sets if name not in SETS]
    if unknown:
        raise ExportError(f"Graph set {ascii(unknown[0])[:80]} cannot be built. Sets: {', '.join(SETS)}.")
    architecture = architecture_of(bundle)
    _check_sets(bundle, sets)
    return [build_set(bundle, architecture, name, say) for name in sets]


def architecture_of(bundle: Bundle) -> Architecture:
    """The bundle's architecture, its torch model loaded."""
    if isinstance(bundle.config, WrappedConfig):
        return WrappedArchitecture(bundle, bundle.config)
    architecture = export_of(bundle.config.task).architecture
    assert architecture is not None, "a config of rnnserve's own has a network"
    return architecture(bundle, bundle.config)


def default_sets(bundle: Bundle) -> tuple[str, ...]:
    """What a CPU runs, as far as models of the task can have it."""
    return tuple(name for name in DEFAULT_SETS if name in export_of(bundle.config.task).sets)


def _check_sets(bundle: Bundle, sets: Sequence[str]) -> None:
    """Refuse sets that models of the task, or a traced cell, cannot have, before anything is built."""
    config = bundle.config
    possible = export_of(config.task).sets
    wrong = [name for name in sets if name not in possible]
    if wrong:
        raise ExportError(
            f"Models for {config.task} have the set {' and '.join(possible)} alone, not {' and '.join(wrong)}: "
            f"python -m export build {bundle.path} --set {possible[0]}"
        )
    without = [name for name in sets if name != "fp32"]
    if isinstance(config, WrappedConfig) or not without:
        return
    if cell_of(config.kind).onnx_operator is None:
        raise ExportError(
            f"Cell {config.kind!r} is traced from its own step, which gives the set fp32 alone, not "
            f"{' and '.join(without)}: python -m export build {bundle.path} --set fp32"
        )


def build_set(bundle: Bundle, architecture: Architecture, name: str, say: Callable[[str], None]) -> Report:
    """One set of build_sets, by an architecture that is at hand.

    The operators of a user's own module are its own; whether one breaks a promise is measured.
    """
    say(f"{name}: writing graphs")
    graphs, notes = architecture.graphs(name)
    if bundle.task.feeds_back == "token" and not name.startswith("gpu-"):
        graphs = with_decode(graphs, end_id=bundle.tokenizer.end_id)
    is_wrapped = isinstance(bundle.config, WrappedConfig)
    counts = {
        graph: dict(census(proto) if is_wrapped else check_census(graph, proto, name))
        for graph, proto in graphs.items()
    }
    with new_graph_set(bundle.graph_set_path(name)) as (folder, seal):
        save_graphs(folder, graphs)
        say(f"{name}: verifying against PyTorch")
        files = {graph: folder / f"{graph}.onnx" for graph in graphs}
        report, opened = verified(bundle, architecture, name, files)
        if not report.is_passed:
            raise ParityError(f"{report.failure()} It is not published.")
        seal(
            bundle_sha256=bundle.record.sha256,
            graphs=list(graphs),
            versions={library: version(library) for library in ("torch", "onnx", "onnxscript", "onnxruntime", "numpy")},
            golden=new_golden(opened, bundle.task, bundle.sizes).model_dump(),
            parity=report.figures(),
            notes={"operators": counts, **notes},
        )
    say(f"{name}: published at {bundle.graph_set_path(name)}")
    return report


def verify_set(
    bundle: Bundle,
    name: str,
    backend: str = CPU_BACKEND,
    texts: list[list[int]] | None = None,
    architecture: Architecture | None = None,
) -> Report:
    """Open a published graph set and run every check again.

    Args:
        bundle: the model.
        name: of the set.
        backend: what runs the graphs, one of runtime.opening.BACKENDS.
        texts: token ids of a user's texts (export.parity.texts), measured beside random ones.
        architecture: the bundle's, where it is at hand.

    Raises:
        BundleError: the set is missing or its files are not what the manifest says.
        ExportError: no such backend.
        BackendMissingError: the backend is not on this machine.
        RunnerError: the runtime refuses a graph.
    """
    graph_set = bundle.graph_set(name)
    files = {graph: graph_set.graph(graph) for graph in graph_set.manifest.graphs}
    return verified(bundle, architecture or architecture_of(bundle), name, files, backend, texts)[0]


def verified(
    bundle: Bundle,
    architecture: Architecture,
    name: str,
    files: Mapping[str, Path],
    backend: str = CPU_BACKEND,
    texts: list[list[int]] | None = None,
) -> tuple[Report, OpenGraphs]:
    """Look for faults in a set's files, then run them and measure.

    A set with faults is measured too, unless they keep it from running.

    Args:
        bundle: the model.
        architecture: the bundle's.
        name: of the set.
        files: graph name -> ONNX file.
        backend: what runs the graphs.
        texts: as verify_set's.

    Returns:
        What was found, and the opened graphs.
    """
    faults = faults_of(bundle, name, files, architecture.relu_states)
    opened = open_graphs(backend, bundle, name, files)
    try:
        figures = architecture.figures(opened, texts)
        is_wrapped = isinstance(bundle.config, WrappedConfig)
        if bundle.task.feeds_back == "token":
            end_id = bundle.tokenizer.end_id
            figures |= decode_figures(opened, bundle.task, bundle.sizes, end_id, is_wrapped=is_wrapped)
    except (RunnerError, ValueError, IndexError):  # shapes that do not fit, which the faults explain
        if not faults:
            raise
        figures = {}
    report = judged(name, backend, figures, limits_of(name, backend), faults=faults, notes=notes_on(name, backend))
    return report, opened


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
