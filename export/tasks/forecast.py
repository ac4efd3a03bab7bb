"""Forecast: the graphs of rnnserve's own forecaster, and the proof that they answer as PyTorch does.

Among themselves: one piece = chunks = single steps, alone = in a batch, whatever stands past a row's end; all bit for
bit.
"""

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export.onnx.rewrite.graph_sets import graph_set_from_traced
from export.parity.errors import Errors
from export.tasks.sequence import consistency_of_frames
from export.tasks.task import TaskExport, UserModel, WrapFacts
from export.trace.forecaster import forecaster_graphs
from export.trace.reference import ForecasterReference, with_weights
from export.user_module.wrap.frames import advanced
from models.architecture import WrappedConfig
from models.bundle import Bundle
from models.errors import ExportError
from models.forecaster import ForecasterConfig
from models.network.forecaster import Forecaster
from runtime.frames import batched, num_frames
from runtime.opening import OpenGraphs
from runtime.runner import Array

Rows = list[dict[str, Array]]
Floats = NDArray[np.float32]

_SHAPES = ((1, 1), (2, 2), (5, 17), (4, 40), (17, 9), (33, 3), (3, 300))  # rows, longest
_SECONDS = 3600


class ForecasterArchitecture:
    """See Architecture.

    Args:
        bundle: the model.
        config: its architecture.
    """

    def __init__(self, bundle: Bundle, config: ForecasterConfig) -> None:
        self._bundle = bundle
        self._config = config
        self._model = with_weights(Forecaster(config), bundle)

    def graphs(self, set_name: str) -> tuple[dict[str, onnx.ModelProto], dict[str, Any]]:
        """See Architecture.graphs."""
        return graph_set_from_traced(set_name, self._traced), {}

    @cached_property
    def _traced(self) -> dict[str, onnx.ModelProto]:
        return forecaster_graphs(self._model)

    def figures(self, opened: OpenGraphs, texts: list[list[int]] | None = None) -> dict[str, float]:
        """See Architecture.figures.

        Raises:
            ExportError: there are texts; a forecaster reads none.
        """
        if texts is not None:
            raise ExportError(f"{self._bundle.id} reads numbers, and is verified on random series; leave out --text.")
        return forecaster_figures(opened, self._config, ForecasterReference(self._model))

    def relu_states(self) -> list[NDArray[np.float32]]:
        """See Architecture.relu_states; there is no int8 set."""
        return []


def forecaster_figures(
    opened: OpenGraphs, config: ForecasterConfig, reference: ForecasterReference
) -> dict[str, float]:
    """Measure one graph set.

    Args:
        opened: over advance and step.
        config: the architecture.
        reference: PyTorch's answers from the same weights.

    Returns:
        Figures by name; what they may be is in export.parity.limits.
    """
    errors = Errors()
    batches = random_series(config, seed=1)
    for rows in batches:
        state = np.zeros((len(rows), config.state_size), np.float32)
        for _ in range(2):  # from zeros, and from where that leads
            longest = max(num_frames(config.signature, row) for row in rows)
            inputs = batched(config.signature, rows, longest) | {"state": state}
            expected = reference.forecast(inputs)
            found = advanced(opened, config.signature, rows, state)
            exact = partial(reference.forecast, inputs, is_precise=True)
            for name in ("mean", "quantiles"):
                errors.add(found[name], expected[name], _part(exact, name, slice(None)))
            for entry in config.row:
                part = slice(entry.offset, entry.offset + entry.size)
                one, other = found["new_state"][:, part], expected["new_state"][:, part]
                errors.add(one, other, _part(exact, "new_state", part))
            state = expected["new_state"]
    bits = consistency_of_frames(opened, config.signature, config.state_size, batches)
    return {
        "worst_error": errors.worst,
        "mean_error": errors.mean,
        "rows_changed_by_batch": bits["other_bits_by_batch"],
        "rows_changed_by_padding": bits["other_bits_by_padding"],
        "rows_changed_by_chunks_or_steps": bits["other_bits_by_chunks_or_steps"],
    }


def _part(exact: Callable[[], dict[str, Array]], name: str, part: slice) -> Callable[[], Array]:
    return lambda: exact()[name][:, part]


def random_series(config: ForecasterConfig, seed: int) -> list[Rows]:
    """Batches of rows as a server is given them: seasons, trends, jumps, constants, missing values, many levels."""
    generator = np.random.default_rng(seed)
    batches = []
    for num_rows, longest in _SHAPES:
        rows: Rows = []
        for _ in range(num_rows):
            length = int(generator.integers(1, longest, endpoint=True))
            steps = np.arange(length)
            season = np.sin(2 * np.pi * steps / max(2, config.season)) * generator.choice([0.0, 1.0, 3.0])
            noise = generator.standard_normal(length) * generator.choice([0.0, 0.3])
            values = (season + noise.cumsum() + generator.choice([0.0, 10.0])) * 10.0 ** generator.integers(-3, 4)
            values[generator.random(length) < generator.choice([0.0, 0.0, 0.2])] = np.nan
            row: dict[str, Array] = {
                "values": values.astype(np.float32),
                "time": generator.integers(0, 1_800_000_000) + _SECONDS * steps,
            }
            if config.covariates:
                centers, scales = (
                    np.array([getattr(x, name) for x in config.covariates]) for name in ("center", "scale")
                )
                drawn = generator.standard_normal((length, len(centers)))
                row["covariates"] = (centers + scales * drawn).astype(np.float32)
            rows.append(row)
        batches.append(rows)
    return batches


def _no_user_model(module: Any, facts: WrapFacts) -> UserModel:
    del facts
    raise ExportError(
        f"{type(module).__name__}: a forecaster of your own is served as --task sequence (docs/sequence.md); the task "
        "forecast is for models that python -m training has made."
    )


def _no_consistency(opened: OpenGraphs, config: WrappedConfig) -> dict[str, float]:
    raise AssertionError(f"no module is wrapped as {config.task} ({opened})")


EXPORT = TaskExport("forecast", _no_user_model, _no_consistency, ForecasterArchitecture, sets=("fp32",), user_sets=())
