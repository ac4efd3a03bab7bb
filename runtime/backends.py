"""Which backend and which graph sets a bundle runs from: what is wanted, what is here, and what was measured.

Asked for a set or a backend, it is taken. `auto`: what `python -m export bench` recorded on this machine, else the
GPU's backends where they are here, else the CPU's. Of the CPU's sets each group of graphs runs from the faster one, as
recorded or, where there is no record, by a short measurement. One choice holds for a model as long as it is loaded.
"""

from functools import cached_property

import structlog

from models.bundle import Bundle
from models.errors import BackendMissingError, BundleNotFoundError, ConfigError
from runtime.choice import Choice, read_choices, whole_set
from runtime.device import has_gpu
from runtime.measuring import cpu_choice
from runtime.opening import BACKENDS, CPU, CUDA, SETS, TENSORRT, why_unavailable

log = structlog.get_logger()

AUTO = "auto"
# wanted -> what is tried, in this order: TensorRT gives way where it is missing, ONNX Runtime on a GPU does not
_TRIED = {AUTO: BACKENDS, TENSORRT: BACKENDS, CUDA: (CUDA,), CPU: (CPU,)}


class Backends:
    """What this server may compute on. Each backend is asked once whether it is here.

    Args:
        wanted: the backend, or AUTO.
        graph_set: the set that is wanted, or None.
        threads: of a CPU session.

    Raises:
        ConfigError: the backend that is wanted does not run the set that is wanted.
    """

    def __init__(self, wanted: str, graph_set: str | None, threads: int) -> None:
        self._wanted = wanted
        self._set = graph_set
        self._threads = threads
        if self._wanted != AUTO and self._set and self._set not in SETS[self._wanted]:
            raise ConfigError(
                f"RNNSERVE_SET (--set) is {self._set}, and RNNSERVE_BACKEND (--backend) is {self._wanted}, which runs "
                f"{' and '.join(SETS[self._wanted])}. Leave one of the two out."
            )

    def choices(self, bundle: Bundle) -> list[Choice]:
        """What the bundle can be loaded with, best first.

        Raises:
            BackendMissingError: the machine lacks what is wanted.
            BundleNotFoundError: the bundle has no graph set for what is here.
        """
        here = self._here
        if not here:
            raise BackendMissingError(self._missing[self._wanted])
        if self._set:
            runs = [name for name in here if self._set in SETS[name]]
            if not runs:
                raise BackendMissingError(self._sentence(bundle))
            return [whole_set(name, self._set, bundle.task) for name in runs]
        found = [whole_set(name, it, bundle.task) for name in here for it in SETS[name] if it in bundle.graph_sets]
        if not found:
            raise BundleNotFoundError(
                f"{bundle.path} has no graph set that this machine runs ({', '.join(self._runs)}). "
                f"Build them: python -m export build {bundle.path}"
            )
        measured = [choice for choice in read_choices(bundle) if choice.backend in here]
        if not measured and [choice.backend for choice in found[:2]] == [CPU, CPU]:
            measured = self._measured_here(bundle)
        choices = list(dict.fromkeys([*measured, *found]))
        if self._wanted == AUTO and found[0].backend in {choice.backend for choice in measured}:
            return choices
        return sorted(choices, key=lambda choice: here.index(choice.backend))  # as wanted, or not compared with the CPU

    def _measured_here(self, bundle: Bundle) -> list[Choice]:
        """The choice among the CPU's sets, measured now."""
        try:
            choice = cpu_choice(bundle, self._threads)
        except OSError as error:
            log.warning(
                "graph sets not measured",
                model=bundle.id,
                reason=f"{error}. The choice would not be kept: set RNNSERVE_CACHE to a folder that can be written.",
            )
            return []
        if choice is None:
            return []
        log.info("graph sets measured", model=bundle.id, chosen=choice.set_of_graphs(bundle.task))
        return [choice]

    @property
    def _here(self) -> list[str]:
        return [name for name in _TRIED[self._wanted] if name not in self._missing]

    @property
    def _runs(self) -> list[str]:
        return list(dict.fromkeys(it for name in self._here for it in SETS[name]))

    @cached_property
    def _missing(self) -> dict[str, str]:
        """Backend -> why it is not here; said once."""
        reasons = {name: why_unavailable(name) for name in _TRIED[self._wanted]}
        missing = {name: reason for name, reason in reasons.items() if reason is not None}
        instead = next((name for name in reasons if name not in missing), None)
        if self._wanted in missing and instead:
            log.warning("backend not here", backend=self._wanted, instead=instead, reason=missing[self._wanted])
        elif missing and instead == CPU and has_gpu():
            log.warning("GPU not used", instead=CPU, reasons=list(missing.values()))
        return missing

    def _sentence(self, bundle: Bundle) -> str:
        return (
            f"RNNSERVE_SET (--set) is {self._set}, which is for GPUs; this server computes on "
            f"{' and '.join(self._here)}, which runs {' and '.join(self._runs)}. {bundle.path} has: "
            f"{', '.join(bundle.graph_sets) or 'no graph set'}. {' '.join(self._missing.values())}"
        )
