"""How far a build is: TensorRT's phases, told as they go. Knows no screen."""

from collections.abc import Callable
from typing import SupportsInt

import tensorrt as trt

from runtime.tensorrt.tell import Tell


class Progress(trt.IProgressMonitor):
    """A progress monitor that tells each outermost phase's steps.

    Args:
        tell: called with phase, steps done and steps in all, from TensorRT's thread.
        is_cancelled: asked after every step; True ends the build.
    """

    def __init__(self, tell: Tell, is_cancelled: Callable[[], bool] = lambda: False) -> None:
        trt.IProgressMonitor.__init__(self)
        self._tell = tell
        self._is_cancelled = is_cancelled
        self._steps: dict[str, int] = {}

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: SupportsInt) -> None:
        """Called by TensorRT."""
        if not parent_phase:
            self._steps[phase_name] = int(num_steps)
            self._tell(phase_name, 0, int(num_steps))

    def step_complete(self, phase_name: str, step: SupportsInt) -> bool:
        """Called by TensorRT; False ends the build."""
        if phase_name in self._steps:
            self._tell(phase_name, int(step) + 1, self._steps[phase_name])
        return not self._is_cancelled()

    def phase_finish(self, phase_name: str) -> None:
        """Called by TensorRT."""
        num_steps = self._steps.pop(phase_name, None)
        if num_steps is not None:
            self._tell(phase_name, num_steps, num_steps)
