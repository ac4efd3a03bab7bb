"""Texts classified, 64 clients in a closed loop, one text a request, beside the core limit.

A request's own time in the runtime, m, is its share of bare classify calls over the same texts, sorted by length, at
the batch that is cheapest, with a loop on every core.

    RNNSERVE_DATA=FOLDER python -m benchmarks sentiment
"""

from collections.abc import Callable, Sequence
from typing import Any

import orjson
from rich.table import Table

from benchmarks.core_limit.bare import Loop, core_seconds
from benchmarks.core_limit.limit import as_json, limit_table
from benchmarks.core_limit.load import Measured, load, noop_seconds, rounds_from
from benchmarks.core_limit.noop import NoopServer
from benchmarks.core_limit.texts import texts_of
from benchmarks.report import Report
from benchmarks.rounds import medians
from benchmarks.serving.request import Count, Request
from benchmarks.serving.server import Server
from benchmarks.serving.w1 import STORE
from benchmarks.targets import Target, number
from models.bundle import Bundle
from models.store import Store
from runtime.onnxruntime.build import open_graph_set
from runtime.padding import padded

MODEL, SET = "sentiment-en", "int8"
NUM_CLIENTS = 64
SHORT, LONG = 0.7, 0.8  # least shares: of sentences, of reviews
BATCHES = (1, 8, 16, 32, 64)
ROUNDS = 5
SECONDS, NOOP_SECONDS, BARE_SECONDS = 4.0, 1.5, 0.5
NUM_TEXTS = 128


def main(num_rounds: int = ROUNDS) -> Report:
    """Measure."""
    bundle = Bundle(Store(STORE).resolve(MODEL))
    kinds = texts_of(bundle, NUM_TEXTS)
    session = open_graph_set(bundle.graph_set(SET), graphs=["classify"]).session("classify")
    ids = {kind.name: [bundle.tokenizer.encode(text) for text in kind.texts] for kind in kinds}
    shortest = min(ids, key=lambda name: sum(map(len, ids[name])))
    least = {name: SHORT if name == shortest else LONG for name in ids}
    rounds: dict[str, list[Measured]] = {kind.name: [] for kind in kinds}
    with Server(STORE, [MODEL], {"RNNSERVE_SET": SET}) as server, NoopServer(_an_answer(bundle)) as noop:
        for _ in range(num_rounds):
            for kind in kinds:

                def next_request(number: int, texts: Sequence[str] = kind.texts) -> Request:
                    return Request("/v1/sentiment", orjson.dumps({"text": texts[number % len(texts)]}), _count)

                bare = bare_seconds(session, ids[kind.name], BARE_SECONDS)
                served = load(server, NUM_CLIENTS, SECONDS, next_request)
                h = noop_seconds(noop, NUM_CLIENTS, NOOP_SECONDS, next_request)
                rounds[kind.name].append(Measured(bare, served, h))
    found = {name: rounds_from(each) for name, each in rounds.items()}
    results = {name: as_json(each) for name, each in found.items()}
    targets = [Target(f"{name}: share of the core limit", ">=", least[name], results[name]["share"]) for name in found]
    origins = "; ".join(dict.fromkeys(kind.origin for kind in kinds))
    title = f"{MODEL} {SET}, {NUM_CLIENTS} clients, {origins}; median of {num_rounds} rounds"
    by_way = {name: medians([each.bare for each in measured]) for name, measured in rounds.items()}
    table = Table("bare classify, us of a core a text", *by_way, title="a loop a core", title_justify="left")
    for way in next(iter(by_way.values())):
        table.add_row(way, *(number(each[way] * 1e6) for each in by_way.values()))
    result = {**results, "bare_seconds": by_way}
    return Report("sentiment", [limit_table(title, found, least), table], result, targets)


def bare_seconds(session: Any, texts: Sequence[Sequence[int]], seconds: float) -> dict[str, float]:
    """Core-seconds of a text at each batch, with a loop on every core.

    Args:
        session: of the graph `classify`.
        texts: token ids.
        seconds: how long the loops run at each batch; each goes over all texts once at least.
    """
    ordered = sorted(texts, key=len)

    def maker(batch: int) -> Callable[[], Loop]:
        pairs = [padded(ordered[start : start + batch]) for start in range(0, len(ordered), batch)]
        calls = [{"ids": ids, "lengths": lengths} for ids, lengths in pairs]

        def turn() -> None:
            for call in calls:
                session.run(["logits"], call)

        return lambda: turn

    return {f"batches of {batch}": core_seconds(maker(batch), seconds) / len(ordered) for batch in BATCHES}


def _count(answer: bytes) -> Count:
    return Count(0, orjson.loads(answer)["usage"]["tokens"])


def _an_answer(bundle: Bundle) -> dict[str, Any]:
    """An answer as the server's are."""
    results = [{"label": "positive", "score": 0.9876543210123456}]
    return {"id": f"sen-{0:032x}", "model": bundle.id, "results": results, "usage": {"tokens": 30}}
