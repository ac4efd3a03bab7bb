"""What the driver passes to another server's process, through its environment: which model, and how to batch."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Read from SERVER_* variables, so that one way fits all: some servers are started by a program of their own.

    Attributes:
        store: folder of the models.
        model: which of them is served.
        port: of 127.0.0.1.
        max_batch_size: requests of a batch.
        wait_ms: milliseconds that the first request of a batch waits for others, where the server has such a setting.
        num_workers: processes that hold the model, each with batches of its own.
    """

    store: str
    model: str
    port: int
    max_batch_size: int
    wait_ms: float
    num_workers: int = 1

    @classmethod
    def from_environment(cls) -> Self:
        """Those of this process.

        Raises:
            KeyError: a variable is missing: the driver sets them all.
        """
        value = {name: os.environ[f"SERVER_{name.upper()}"] for name in cls.__slots__}
        return cls(
            store=value["store"],
            model=value["model"],
            port=int(value["port"]),
            max_batch_size=int(value["max_batch_size"]),
            wait_ms=float(value["wait_ms"]),
            num_workers=int(value["num_workers"]),
        )

    def environment(self) -> Mapping[str, str]:
        """As variables."""
        return {f"SERVER_{name.upper()}": str(getattr(self, name)) for name in self.__slots__}
