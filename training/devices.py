"""Lightning Fabric as a recipe's section `trainer` asks for it: devices, precision, processes, loggers.

With several devices Fabric starts the same command again for each further one; all processes run the same code, and
the one of rank 0 alone writes.
"""

import importlib.util
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning.fabric import Fabric
from lightning.fabric.loggers.csv_logs import CSVLogger
from lightning.fabric.loggers.logger import Logger
from lightning.fabric.loggers.tensorboard import TensorBoardLogger
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from models.errors import ConfigError
from training.recipe import LoggerKind, TrainerSection
from training.shard import Shard

for name in ("lightning.fabric", "lightning.pytorch"):  # notes on ranks; Fabric logs some under the other name
    logging.getLogger(name).setLevel(logging.WARNING)


def fabric_of(section: TrainerSection) -> Fabric:
    """A Fabric, not yet launched.

    Raises:
        ConfigError: this machine cannot do what the section asks for.
    """
    is_gpu = section.accelerator != "cpu" and torch.accelerator.is_available()
    if section.accelerator == "gpu" and not is_gpu:
        raise ConfigError("trainer.accelerator is gpu and torch sees none; use trainer.accelerator=cpu, or auto.")
    if is_gpu and section.devices > torch.accelerator.device_count():
        raise ConfigError(
            f"trainer.devices is {section.devices} and torch sees {torch.accelerator.device_count()} GPU; "
            "lower trainer.devices, or use trainer.accelerator=cpu."
        )
    if section.precision == "bf16-mixed" and not _has_bfloat16(is_gpu=is_gpu):
        device = "GPU" if is_gpu else "CPU"
        raise ConfigError(f"trainer.precision is bf16-mixed and this {device} has no bfloat16; use 32-true instead.")
    if section.logger == "tensorboard" and importlib.util.find_spec("tensorboard") is None:
        raise ConfigError(
            "trainer.logger is tensorboard, and the package tensorboard is not installed: pip install tensorboard; "
            "trainer.logger=csv needs none."
        )
    return Fabric(
        accelerator="gpu" if is_gpu else "cpu",
        devices=section.devices,
        strategy=section.strategy,
        precision=section.precision,
        plugins=[LightningEnvironment()],  # one machine, also where the variables of a cluster are set
    )


@contextmanager
def launched(fabric: Fabric) -> Iterator[Shard]:
    """Start the other processes, if there are any; an error in this one ends them.

    Yields:
        This process's part of every batch.
    """
    fabric.launch()
    try:
        yield Shard(fabric.global_rank, fabric.world_size, str(fabric.device))
    except BaseException:
        for process in getattr(fabric.strategy.launcher, "procs", []):  # of the launcher that starts processes
            process.kill()  # it may wait in a collective, where no other signal reaches it
        raise


def logger_of(kind: LoggerKind, folder: Path) -> Logger | None:
    """Lightning's logger that writes below a folder: csv/version_0/metrics.csv or tensorboard/version_0/events....

    Each start of a run is a version of its own.
    """
    match kind:
        case "csv":
            return CSVLogger(folder, name="csv")
        case "tensorboard":
            return TensorBoardLogger(folder, name="tensorboard")
        case "none":
            return None


def _has_bfloat16(*, is_gpu: bool) -> bool:
    if not is_gpu:  # without it oneDNN has no LSTM in bfloat16, and the other cells gain nothing
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return not torch.cuda.is_available() or torch.cuda.is_bf16_supported(including_emulation=False)
