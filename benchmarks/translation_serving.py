"""Translations over HTTP beside the bare decode loop over the same sources, greedy and with a beam of 4.

32 clients in a closed loop, one sentence a request. The bare loop (benchmarks.translation_serving_bare) has all sources
at hand and runs with as many rows as the clients could fill, and with the server's RNNSERVE_MAX_ROWS where that is
less: the faster counts. Another bare loop takes the sources one at a time. They run in this process, one thread, the
server in its own, in turn; a share is the median of the rounds' shares. Clients and server share the machine's cores.

    RNNSERVE_DATA=FOLDER python -m benchmarks translation
"""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import orjson
from rich.table import Table

from benchmarks.report import report
from benchmarks.serving.client import connector
from benchmarks.serving.cpu import CpuUse
from benchmarks.serving.loops import closed_loop, run
from benchmarks.serving.record import summary
from benchmarks.serving.request import Count, Request
from benchmarks.serving.server import Server
from benchmarks.translation_serving_bare import BareTranslator, Ids
from benchmarks.translation_serving_sources import sources_of
from models.bundle import Bundle
from models.store import Store
from runtime.opening import CPU, OpenSet, open_set
from server.settings import Settings

STORE, MODEL, SET = Path("artifacts"), "translate-en-zh", "int8"
NUM_CLIENTS = 32
SEARCHES = {"greedy": 1, "beam 4": 4}
ENCODE_BATCH = 64  # the fastest of 32, 64 and 128 here
LEAST_SHARE = 0.8  # of the bare loop's tokens
ROUNDS = 5
WARM_UP, SECONDS = 0.5, 2.5  # of HTTP in a round
NUM_SOURCES, NUM_ALONE = 600, 100

Figures = dict[str, float]


def main() -> None:
    """Measure, print the table, end in one JSON line."""
    bundle = Bundle(Store(STORE).resolve(MODEL))
    sources = sources_of(bundle, NUM_SOURCES)
    loops = _BareLoops(bundle, sources.texts)
    rounds: dict[str, list[Figures]] = {search: [] for search in SEARCHES}
    with Server(STORE, [MODEL], {"RNNSERVE_SET": SET}) as server:
        for _ in range(ROUNDS):
            for search, beam_size in SEARCHES.items():
                figures = loops.figures(beam_size) | _served(server, sources.texts, beam_size)
                figures["share"] = figures["served"] / figures["bare"]
                figures["over_one_at_a_time"] = figures["served"] / figures["one_at_a_time"]
                rounds[search].append(figures)
    results = {search: _result(each) for search, each in rounds.items()}
    result = {
        "clients": NUM_CLIENTS,
        "sources": {"number": len(sources.texts), "origin": sources.origin},
        "target": f"share >= {LEAST_SHARE}",
        **results,
        "is_met": all(each["is_met"] for each in results.values()),
    }
    report("translation", _table(results, sources.origin), result)


class _BareLoops:
    """The loops beside which the server is held."""

    def __init__(self, bundle: Bundle, texts: Sequence[str]) -> None:
        end_id = bundle.tokenizer.end_id
        assert end_id is not None, "a translator's tokenizer has an end token"
        self._opened: OpenSet = open_set(CPU, bundle, SET)
        self._end_id = end_id
        self._sources: list[Ids] = [[*bundle.tokenizer.encode(text), end_id] for text in texts]

    def figures(self, beam_size: int) -> Figures:
        """Target tokens per second, by loop; `bare` is the fastest."""
        all_rows = NUM_CLIENTS * beam_size
        found = {
            f"bare_{rows}_rows": self._tokens_per_second(self._sources, beam_size, rows, ENCODE_BATCH)
            for rows in sorted({all_rows, min(all_rows, Settings.model_fields["max_rows"].default)})
        }
        one_at_a_time = self._tokens_per_second(self._sources[:NUM_ALONE], beam_size, beam_size, 1)
        return {**found, "bare": max(found.values()), "one_at_a_time": one_at_a_time}

    def _tokens_per_second(self, sources: Sequence[Ids], beam_size: int, rows: int, encode_batch: int) -> float:
        loop = BareTranslator(self._opened, self._end_id, max_rows=rows, encode_batch=encode_batch)
        loop.translate(sources[:rows], beam_size)
        started = time.perf_counter()
        found = loop.translate(sources, beam_size)
        return sum(len(ids) + 1 for ids in found) / (time.perf_counter() - started)


def _served(server: Server, texts: Sequence[str], beam_size: int) -> Figures:
    """What 32 clients get from the server."""

    def next_request(number: int) -> Request:
        body = {"text": texts[number % len(texts)], "beam_size": beam_size}
        return Request("/v1/translate", orjson.dumps(body), _count)

    use = CpuUse(server.pid)
    records = run(closed_loop(connector(server.port), NUM_CLIENTS, SECONDS, next_request, WARM_UP))
    cpu = use.per_second()
    found = summary(records, SECONDS)
    if found["failed"]:
        raise RuntimeError(f"{found['failed']} requests failed: {found['statuses']}")
    return {
        "served": found["output_throughput"],
        "requests_per_second": found["request_throughput"],
        "median_e2el_ms": found["median_e2el_ms"],
        "p99_e2el_ms": found["p99_e2el_ms"],
        **cpu,
    }


def _count(answer: bytes) -> Count:
    usage = orjson.loads(answer)["usage"]
    return Count(usage["target_tokens"], usage["source_tokens"])


def _result(rounds: list[Figures]) -> dict[str, Any]:
    medians = {key: median(each[key] for each in rounds) for key in rounds[0]}
    return {**medians, "is_met": medians["share"] >= LEAST_SHARE, "rounds": rounds}


def _table(results: dict[str, dict[str, Any]], origin: str) -> Table:
    searches = list(results)
    title = f"{MODEL} {SET}, {NUM_CLIENTS} clients, target tokens a second; {origin}"
    table = Table("", *searches, title=title, title_justify="left", caption=f"median of {ROUNDS} rounds")
    rows = {
        "bare loop": ("bare", ",.0f"),
        "served": ("served", ",.0f"),
        "served / bare": ("share", ".2f"),
        "served / one at a time": ("over_one_at_a_time", ".2f"),
        "sentences a second": ("requests_per_second", ",.0f"),
        "latency p50, ms": ("median_e2el_ms", ",.0f"),
        "latency p99, ms": ("p99_e2el_ms", ",.0f"),
        "server's cores": ("server_cpu_per_second", ".2f"),
        "clients' cores": ("client_cpu_per_second", ".2f"),
    }
    for title, (key, form) in rows.items():
        table.add_row(title, *(f"{results[search][key]:{form}}" for search in searches))
    table.add_row(
        f"served / bare >= {LEAST_SHARE}", *("met" if results[search]["is_met"] else "MISSED" for search in searches)
    )
    return table
