"""Translations, 32 clients in a closed loop, greedy and with a beam of 4, beside the core limit.

A request's own time in the runtime, m, is what a bare loop over the same sources spends in runtime calls: it has all
sources at hand, encodes them in batches of like length and steps as many rows together as is cheapest
(benchmarks.core_limit.bare_translator), with a loop on every core, each in a process of its own.

    RNNSERVE_DATA=FOLDER python -m benchmarks translation
"""

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from statistics import median
from typing import Any

import orjson

from benchmarks.core_limit.bare_translator import BareTranslator
from benchmarks.core_limit.limit import as_json, limit_table
from benchmarks.core_limit.load import Measured, load, noop_seconds, rounds_from
from benchmarks.core_limit.noop import NoopServer
from benchmarks.core_limit.sources import sources_of
from benchmarks.report import Report
from benchmarks.serving.request import Count, Request
from benchmarks.serving.server import Server
from benchmarks.serving.w1 import STORE
from benchmarks.targets import Target
from models.bundle import Bundle
from models.store import Store
from runtime.device import num_cores
from runtime.onnxruntime.attention_run import OnnxAttentionStepRunner
from runtime.onnxruntime.build import Graphs, open_graph_set
from runtime.onnxruntime.run import OnnxSequenceRunner

MODEL, SET = "translate-en-zh", "int8"
NUM_CLIENTS = 32
SEARCHES = {"greedy": 1, "beam 4": 4}
LEAST = {"greedy": 0.7, "beam 4": 0.75}
ROWS = (32, 64, 128)  # stepped together by the bare loop
ENCODE_BATCH = 64
ROUNDS = 5
SECONDS, NOOP_SECONDS = 5.0, 1.5
NUM_SOURCES = 600


def main(num_rounds: int = ROUNDS) -> Report:
    """Measure."""
    bundle = Bundle(Store(STORE).resolve(MODEL))
    sources = sources_of(bundle, NUM_SOURCES)
    rounds: dict[str, list[Measured]] = {search: [] for search in SEARCHES}
    answer = _an_answer(bundle)
    with (
        Server(STORE, [MODEL], {"RNNSERVE_SET": SET}) as server,
        NoopServer(answer) as noop,
        ProcessPoolExecutor(num_cores(), multiprocessing.get_context("spawn")) as pool,
    ):
        for _ in range(num_rounds):
            for search, beam_size in SEARCHES.items():

                def next_request(number: int, beam_size: int = beam_size) -> Request:
                    text = sources.texts[number % len(sources.texts)]
                    body = {"text": text, "beam_size": beam_size, "split_sentences": False}  # as the bare loop reads it
                    return Request("/v1/translate", orjson.dumps(body), _count)

                bare = {f"{rows} rows": _on_every_core(pool, sources.texts, beam_size, rows) for rows in ROWS}
                served = load(server, NUM_CLIENTS, SECONDS, next_request)
                h = noop_seconds(noop, NUM_CLIENTS, NOOP_SECONDS, next_request)
                rounds[search].append(Measured(bare, served, h))
    found = {search: rounds_from(each) for search, each in rounds.items()}
    results = {search: as_json(each) for search, each in found.items()}
    targets = [
        Target(f"{search}: share of the core limit", ">=", least, results[search]["share"])
        for search, least in LEAST.items()
    ]
    title = f"{MODEL} {SET}, {NUM_CLIENTS} clients, {sources.origin}; median of {num_rounds} rounds"
    return Report("translation", [limit_table(title, found, LEAST)], results, targets)


def _on_every_core(pool: ProcessPoolExecutor, texts: Sequence[str], beam_size: int, rows: int) -> float:
    """Core-seconds of runtime calls for one source."""
    return median(pool.map(_runtime_seconds, [texts] * num_cores(), [beam_size] * num_cores(), [rows] * num_cores()))


def _runtime_seconds(texts: Sequence[str], beam_size: int, rows: int) -> float:
    """Seconds of runtime calls for one source, in this process."""
    bundle = Bundle(Store(STORE).resolve(MODEL))
    end_id = bundle.tokenizer.end_id
    assert end_id is not None, "a translator's tokenizer has an end token"
    opened = open_graph_set(bundle.graph_set(SET), graphs=["encode", "step"])
    timed = {name: _TimedSession(session) for name, session in opened.sessions.items()}
    graphs = Graphs(SET, dict(timed))
    runner = OnnxAttentionStepRunner(graphs, 2 * rows, bundle.record.state_width)
    loop = BareTranslator(OnnxSequenceRunner(graphs), runner, end_id, max_rows=rows, encode_batch=ENCODE_BATCH)
    sources = [[*bundle.tokenizer.encode(text), end_id] for text in texts]
    loop.translate(sources[:rows], beam_size)
    for session in timed.values():
        session.seconds = 0.0
    loop.translate(sources, beam_size)
    return sum(session.seconds for session in timed.values()) / len(sources)


class _TimedSession:
    """A session that adds up the time of its calls."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.seconds = 0.0

    def run(self, *arguments: Any) -> Any:
        started = time.perf_counter()
        found = self._session.run(*arguments)
        self.seconds += time.perf_counter() - started
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def _an_answer(bundle: Bundle) -> dict[str, Any]:
    """An answer as the server's are."""
    translation = {"text": "他们在去车站的路上。", "score": -0.123456789, "finish_reason": "end"}
    usage = {"source_tokens": 9, "target_tokens": 8, "unknown_characters": 0}
    return {"id": f"tra-{0:032x}", "model": bundle.id, "results": [{"translations": [translation]}], "usage": usage}


def _count(answer: bytes) -> Count:
    usage = orjson.loads(answer)["usage"]
    return Count(usage["target_tokens"], usage["source_tokens"])
