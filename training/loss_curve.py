"""The loss curve as a picture."""

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.progress import Progress


def loss_curve(progress: Progress, title: str) -> bytes:
    """A PNG of training and validation loss by epoch, with the best epoch marked."""
    epochs = [figures.epoch for figures in progress.history]
    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    axes = FigureCanvasAgg(figure).figure.add_subplot()
    axes.plot(epochs, [item.train_nats_per_token for item in progress.history], "o-", label="training, with dropout")
    axes.plot(epochs, [item.validation_nats_per_token for item in progress.history], "o-", label="validation")
    if progress.best_epoch:
        axes.plot([progress.best_epoch], [progress.best_nats], "k*", markersize=12)
        axes.annotate(f"{progress.best_nats:.3f}", (progress.best_epoch, progress.best_nats), (0, 12), ha="center",
                      textcoords="offset points")  # fmt: skip
    axes.set(title=title, xlabel="epoch", ylabel="nats per token")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
