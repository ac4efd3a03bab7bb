"""How far a build is: TensorRT's phases, reported as they go. Knows no screen."""

from collections.abc import Callable
from typing import SupportsInt

import tensorrt as trt

from runtime.tensorrt.progress_callback import ProgressCallback


class Progress(trt.IProgressMonitor):
    """A progress monitor that reports each outermost phase's steps.

    Args:
        on_progress: called with phase, steps done and steps in all, from TensorRT's thread.
        is_cancelled: asked after every step; True ends the build.
    """

    def __init__(self, on_progress: ProgressCallback, is_cancelled: Callable[[], bool] = lambda: False) -> None:
        trt.IProgressMonitor.__init__(self)
        self._on_progress = on_progress
        self._is_cancelled = is_cancelled
        self._steps: dict[str, int] = {}

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: SupportsInt) -> None:
        """Called by TensorRT."""
        if not parent_phase:
            self._steps[phase_name] = int(num_steps)
            self._on_progress(phase_name, 0, int(num_steps))

    def step_complete(self, phase_name: str, step: SupportsInt) -> bool:
        """Called by TensorRT; False ends the build."""
        if phase_name in self._steps:
            self._on_progress(phase_name, int(step) + 1, self._steps[phase_name])
        return not self._is_cancelled()

    def phase_finish(self, phase_name: str) -> None:
        """Called by TensorRT."""
        num_steps = self._steps.pop(phase_name, None)
        if num_steps is not None:
            self._on_progress(phase_name, num_steps, num_steps)
