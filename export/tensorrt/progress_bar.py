"""A build's progress on a terminal. Knows no TensorRT."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, TaskID

from runtime.tensorrt.progress_callback import ProgressCallback


@contextmanager
def progress_bar(console: Console) -> Iterator[ProgressCallback]:
    """Yield what shows a phase's steps as a bar, for export.tensorrt.command."""
    tasks: dict[str, TaskID] = {}
    with Progress(console=console, transient=True) as progress:

        def on_progress(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = progress.add_task(phase, total=total)
            progress.update(tasks[phase], completed=done, total=total)
            if done >= total:
                progress.remove_task(tasks.pop(phase))

        yield on_progress
