"""Build graph sets: trace or quantise, count operators, write, open, verify, and only then publish."""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx

from export.backends.golden import NUM_TOKENS, golden_logits
from export.backends.onnxruntime.build import Graphs, open_graph_set, open_session
from export.backends.onnxruntime.run import OnnxSequenceRunner, OnnxStepRunner
from export.census import check_census
from export.parity import verify_language_model
from export.quantize.language_model import QuantizedLanguageModel
from export.report import Report
from export.trace.language_model import language_model_graphs
from export.trace.reference import LanguageModelReference, language_model
from export.weights_file import save_graphs
from models.bundle import Bundle
from models.errors import ExportError
from models.graph_set import Golden, GraphSet, new_graph_set
from models.network.language_model import LanguageModel

BUILDABLE_SETS = ("fp32", "int8")
_VERIFY_SLOTS = 128


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
    model = language_model(bundle)
    return [_build_set(bundle, model, name, say) for name in sets]


def _build_set(bundle: Bundle, model: LanguageModel, name: str, say: Callable[[str], None]) -> Report:
    say(f"{name}: writing graphs")
    graphs, notes = _graphs(bundle, model, name)
    counts = {graph: dict(check_census(graph, proto)) for graph, proto in graphs.items()}
    with new_graph_set(bundle.graph_set_path(name)) as (folder, seal):
        save_graphs(folder, graphs)
        say(f"{name}: verifying against PyTorch")
        opened = Graphs(name, {graph: open_session(folder / f"{graph}.onnx") for graph in graphs})
        report = _verify(bundle, model, name, opened)
        report.raise_if_failed()
        seal(
            bundle_sha256=bundle.record.sha256,
            graphs=list(graphs),
            versions={library: version(library) for library in ("torch", "onnx", "onnxscript", "onnxruntime", "numpy")},
            golden=_golden(bundle, opened).model_dump(),
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
    return _verify(bundle, language_model(bundle), name, open_graph_set(graph_set))


def _graphs(bundle: Bundle, model: LanguageModel, name: str) -> tuple[dict[str, onnx.ModelProto], dict[str, object]]:
    if name == "int8":
        quantized = QuantizedLanguageModel(bundle.config, bundle.weights())
        return quantized.graphs(), dict(quantized.notes)
    return language_model_graphs(model), {}


def _verify(bundle: Bundle, model: LanguageModel, name: str, graphs: Graphs) -> Report:
    return verify_language_model(
        name,
        OnnxSequenceRunner(graphs),
        OnnxStepRunner(graphs, _VERIFY_SLOTS, bundle.record.state_width),
        bundle.config,
        LanguageModelReference(model),
    )


def _golden(bundle: Bundle, graphs: Graphs) -> Golden:
    ids = np.random.default_rng(0).integers(bundle.config.vocab_size, size=NUM_TOKENS).tolist()
    step = OnnxStepRunner(graphs, 2, bundle.record.state_width)
    return Golden(ids=ids, logits=golden_logits(step, ids, bundle.record.state_width).tolist())


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
