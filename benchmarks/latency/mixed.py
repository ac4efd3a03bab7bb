"""Rows whose tokens are not chosen inside `decode`, beside 31 rows whose tokens are: time per token of both.

Generation with a penalty and with log-probabilities, streamed; translation with a beam of 4 beside greedy ones, where
an answer's time is divided by its tokens. One client asks for the one, 31 for the others, in a closed loop.

    RNNSERVE_DATA=FOLDER python -m benchmarks mixed
"""

import asyncio
from statistics import median
from typing import Any

import orjson
from rich.table import Table

from benchmarks.core_limit.sources import sources_of
from benchmarks.report import Report
from benchmarks.serving.client import Connect, connector
from benchmarks.serving.loops import closed_loop, run
from benchmarks.serving.record import Record
from benchmarks.serving.request import Count, NextRequest, Request
from benchmarks.serving.server import Server
from benchmarks.serving.w1 import MODEL, PATH, STORE, streamed, w1
from benchmarks.targets import Target, number
from models.bundle import Bundle
from models.store import Store

TRANSLATOR, SET = "translate-en-zh", "int8"
ROUNDS, SECONDS, WARM_UP = 5, 4.0, 1.0
NUM_PLAIN = 31
MOST = 1.5
PROMPT, ANSWER = 32, 100
OTHERS: dict[str, dict[str, Any]] = {"penalty": {"frequency_penalty": 0.5}, "logprobs": {"logprobs": 5}}


def main(num_rounds: int = ROUNDS) -> Report:
    """Measure."""
    generator, translator = (Bundle(Store(STORE).resolve(name)) for name in (MODEL, TRANSLATOR))
    workload = w1(generator, 0)
    texts = sources_of(translator, 600).texts

    def plain(number_of_request: int) -> Request:
        return streamed(workload.text(PROMPT, number_of_request), ANSWER)

    def other(fields: dict[str, Any]) -> NextRequest:
        def request(number_of_request: int) -> Request:
            asked = plain(1_000_000 + number_of_request)
            body = orjson.dumps(orjson.loads(asked.body) | fields)
            return Request(PATH, body, asked.count, is_streamed=True)

        return request

    def translation(beam_size: int) -> NextRequest:
        def request(number_of_request: int) -> Request:
            body = {"text": texts[number_of_request % len(texts)], "beam_size": beam_size}
            return Request("/v1/translate", orjson.dumps(body), _count)

        return request

    pairs: dict[str, tuple[NextRequest, NextRequest]] = {
        name: (plain, other(fields)) for name, fields in OTHERS.items()
    }
    pairs["beam 4 beside greedy"] = (translation(1), translation(4))
    ratios: dict[str, list[float]] = {name: [] for name in pairs}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in pairs}
    with Server(STORE, [MODEL, TRANSLATOR], {"RNNSERVE_SET": SET}) as server:
        for _ in range(num_rounds):
            for name, requests in pairs.items():
                both = run(_beside(connector(server.port), *requests))
                mean = tuple(median(map(_seconds_per_token, records)) * 1e3 for records in both)
                times[name].append((mean[0], mean[1]))
                ratios[name].append(mean[1] / mean[0])
    targets = [
        Target(f"{name}: time per token / plain rows'", "<=", MOST, median(each)) for name, each in ratios.items()
    ]
    title = f"one row beside {NUM_PLAIN} plain ones, {SET}; median of {num_rounds} rounds"
    table = Table("row", "ms a token", "plain rows, ms a token", "ratio", title=title, title_justify="left")
    for name, found in times.items():
        plain_ms, other_ms = (median(each[place] for each in found) for place in range(2))
        table.add_row(name, number(other_ms), number(plain_ms), f"{median(ratios[name]):.2f}")
    return Report("mixed", [table], {"ratios": ratios}, targets)


async def _beside(connect: Connect, plain: NextRequest, other: NextRequest) -> tuple[list[Record], list[Record]]:
    return await asyncio.gather(
        closed_loop(connect, NUM_PLAIN, SECONDS, plain, WARM_UP), closed_loop(connect, 1, SECONDS, other, WARM_UP)
    )


def _seconds_per_token(record: Record) -> float:
    return record.tpot if record.tpot is not None else record.e2el / max(1, record.output_tokens)


def _count(answer: bytes) -> Count:
    usage = orjson.loads(answer)["usage"]
    return Count(usage["target_tokens"], usage["source_tokens"])
