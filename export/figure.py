"""A picture to draw into, where matplotlib is installed (extra train)."""

from typing import TYPE_CHECKING

from models.errors import BackendMissingError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of so many inches.

    Raises:
        BackendMissingError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BackendMissingError(
            f"A picture needs matplotlib, which is not installed ({error}). Install the extra train."
        ) from error
    return Figure(figsize=(width, height), layout="constrained")
