"""The loss curve as a picture."""

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.progress import Progress


def loss_curve(progress: Progress, title: str, unit: str) -> bytes:
    """A PNG of training and validation loss by epoch, in nats per unit, with the best epoch marked."""
    epochs = [figures.epoch for figures in progress.history]
    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    axes = FigureCanvasAgg(figure).figure.add_subplot()
    training = [item.losses[f"train_nats_per_{unit}"] for item in progress.history]
    validation = [item.validation[f"validation_nats_per_{unit}"] for item in progress.history]
    axes.plot(epochs, training, "o-", label="training, with dropout")
    axes.plot(epochs, validation, "o-", label="validation")
    if progress.best_epoch:
        best = (progress.best_epoch, validation[progress.best_epoch - 1])
        axes.plot(*best, "k*", markersize=12)
        axes.annotate(f"{best[1]:.3f}", best, (0, 12), ha="center",
                      textcoords="offset points")  # fmt: skip
    axes.set(title=title, xlabel="epoch", ylabel=f"nats per {unit}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
