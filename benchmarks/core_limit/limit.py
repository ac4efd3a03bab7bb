"""The core limit of a workload: what the cores could do if nothing but the necessary work were done.

    limit = cores / (m + h + c), in requests a second

- m: core-seconds that the bare runtime needs for a request, in the cheapest way that was found, with a loop on every
  core (benchmarks.core_limit.bare);
- h: core-seconds of an endpoint that does nothing, of the same framework, with the same bodies and, for streams, as
  many events (benchmarks.core_limit.noop);
- c: core-seconds of the client, which runs on the same cores.

All three are measured in each round beside the server, because this machine's speed changes by the minute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.targets import number
from runtime.device import num_cores


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of one workload.

    Attributes:
        m: core-seconds a request; see the module.
        h: likewise.
        c: likewise.
        served: requests a second that the server answered.
        server: core-seconds a request that the server used.
        latencies: milliseconds by name, for the table.
    """

    m: float
    h: float
    c: float
    served: float
    server: float
    latencies: Mapping[str, float]

    @property
    def limit(self) -> float:
        """Requests a second that the cores could answer."""
        return num_cores() / (self.m + self.h + self.c)

    @property
    def share(self) -> float:
        """Of the limit, what the server answered."""
        return self.served / self.limit


def medians(rounds: Sequence[Round]) -> dict[str, float]:
    """Medians over the rounds, by name."""
    names = ("m", "h", "c", "served", "server", "limit", "share")
    found = {name: median(getattr(each, name) for each in rounds) for name in names}
    return found | {name: median(each.latencies[name] for each in rounds) for name in rounds[0].latencies}


def as_json(rounds: Sequence[Round]) -> dict[str, Any]:
    """Medians, and every round's share."""
    return {**medians(rounds), "shares": [each.share for each in rounds]}


def limit_table(title: str, workloads: Mapping[str, Sequence[Round]], least: Mapping[str, float]) -> Table:
    """All workloads side by side.

    Args:
        title: above it.
        workloads: rounds by workload.
        least: the target share of each.
    """
    table = Table("", *workloads, title=title, title_justify="left")
    found = {name: medians(rounds) for name, rounds in workloads.items()}
    rows = {
        "m, the bare runtime, us of a core a request": ("m", 1e6),
        "h, an endpoint that does nothing": ("h", 1e6),
        "c, the client": ("c", 1e6),
        "the server, h and m in it": ("server", 1e6),
        f"core limit, {num_cores()} / (m + h + c), requests/s": ("limit", 1),
        "served, requests/s": ("served", 1),
        **{f"{name}, ms": (name, 1) for name in next(iter(workloads.values()))[0].latencies},
    }
    for row, (key, factor) in rows.items():
        table.add_row(row, *(number(each[key] * factor) for each in found.values()))
    table.add_row("served / core limit", *(f"{each['share']:.2f}" for each in found.values()))
    table.add_row("lowest and highest of the rounds", *(_range(rounds) for rounds in workloads.values()))
    table.add_row("target", *(f">= {least[name]}" for name in workloads))
    return table


def _range(rounds: Sequence[Round]) -> str:
    shares = sorted(each.share for each in rounds)
    return f"{shares[0]:.2f} to {shares[-1]:.2f}"
