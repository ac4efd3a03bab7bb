"""Generation: workload W1, 64 clients in a closed loop, answers whole and streamed, beside the core limit.

A request's own time in the runtime, m, is that of its answer's tokens in the cheaper of the bare `step` loop and bare
windows of `decode` without a choice, and of its prompt's tokens in the cheapest of both and `advance`; each at the
batch where a row is cheapest, with a loop on every core, before and after the load: a shared machine's speed changes
from second to second.

    python -m benchmarks generation
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from statistics import mean, median
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.core_limit.bare import BoundLoop, Loop, bare_window, cheapest, core_seconds
from benchmarks.core_limit.limit import as_json, limit_table
from benchmarks.core_limit.load import Measured, events_of, load, noop_seconds
from benchmarks.core_limit.noop import NoopServer
from benchmarks.report import Report
from benchmarks.serving.server import Server
from benchmarks.serving.w1 import MODEL, NUM_CLIENTS, STORE, check_nothing_was_known, w1
from benchmarks.targets import Target
from models.bundle import Bundle
from models.store import Store
from runtime.onnxruntime.build import open_graph_set

SET = "int8"
ROUNDS = 9
SECONDS, NOOP_SECONDS, BARE_SECONDS = 5.0, 1.5, 0.3
LEAST = {"whole": 0.9, "streamed": 0.75}
BATCHES, STEPS = (32, 64), 8
ADVANCES = ((8, 32), (32, 32))  # rows, tokens
ANSWER = {"id": f"gen-{0:032x}", "model": f"{MODEL}/1", "seed": 12345678901234567890}
CHOICE = {"index": 0, "finish_reason": "length", "stop_reason": None}
USAGE = {"prompt_tokens": 72, "completion_tokens": 105, "cached_tokens": 0, "unknown_characters": 0}
BareTimes = dict[str, float]  # core-seconds of a row's token, by way


def main(num_rounds: int = ROUNDS) -> Report:
    """Measure."""
    bundle = Bundle(Store(STORE).resolve(MODEL))
    with bare_loops(bundle) as bare, Server(STORE, [MODEL], {"RNNSERVE_SET": SET}) as server:
        rounds: dict[str, list[Measured]] = {way: [] for way in LEAST}
        for number_of_round in range(num_rounds):
            before = bare()
            for place, way in enumerate(LEAST):
                is_streamed = way == "streamed"
                next_request = w1(bundle, len(LEAST) * number_of_round + place).requests(is_streamed=is_streamed)
                served = load(server, NUM_CLIENTS, SECONDS, next_request)
                num_events = events_of(served.records)
                text = "x" * (105 // num_events if is_streamed else 105)
                answer = ANSWER | {"choices": [CHOICE | {"text": text}]} | ({} if is_streamed else {"usage": USAGE})
                with NoopServer(answer, num_events) as noop:
                    h = noop_seconds(noop, NUM_CLIENTS, NOOP_SECONDS, next_request)
                after = bare()
                times = {name: (before[name] + after[name]) / 2 for name in before}
                rounds[way].append(Measured(times, served, h))
                before = after
        check_nothing_was_known(server, bundle.id)
    all_times = [each.bare for each in rounds["whole"]]
    answer_way = cheapest(
        [{name: value for name, value in each.items() if "advance" not in name} for each in all_times]
    )
    prompt_way = cheapest(all_times)
    found = {
        way: [
            each.as_round(
                mean(record.output_tokens for record in each.served.records) * each.bare[answer_way]
                + mean(record.prompt_tokens for record in each.served.records) * each.bare[prompt_way]
            )
            for each in measured
        ]
        for way, measured in rounds.items()
    }
    results = {way: as_json(each) for way, each in found.items()}
    targets = [
        Target(f"{way}: share of the core limit", ">=", least, results[way]["share"]) for way, least in LEAST.items()
    ]
    title = f"{MODEL} {SET}, W1, {NUM_CLIENTS} clients; median of {num_rounds} rounds"
    tables = [limit_table(title, found, LEAST), _bare_table(all_times, answer_way, prompt_way)]
    bare_medians = {name: median(each[name] for each in all_times) for name in all_times[0]}
    return Report("generation", tables, {**results, "bare_seconds": bare_medians}, targets)


@contextmanager
def bare_loops(bundle: Bundle) -> Iterator[Callable[[], BareTimes]]:
    """Core-seconds of one token of one row in each bare way, each time it is called."""
    graph_set = bundle.graph_set(SET)
    graphs = open_graph_set(graph_set, graphs=["step", "advance"])
    with bare_window(graph_set) as window:
        loops: dict[str, tuple[Callable[[], Loop], int]] = {}
        for batch in BATCHES:
            fed = {"token": np.ones(batch, np.int64), "state": np.zeros((batch, bundle.record.state_width), np.float32)}
            loops[f"step, {batch} rows"] = _maker(graphs.session("step"), fed), 2 * batch
            forced = {"forced": np.ones((STEPS, batch), np.int64)}
            loops[f"window of {STEPS}, {batch} rows"] = _maker(window, fed | forced), 2 * batch * STEPS
        for batch, length in ADVANCES:
            fed = {
                "ids": np.ones((batch, length), np.int64),
                "lengths": np.full(batch, length, np.int32),
                "state": np.zeros((batch, bundle.record.state_width), np.float32),
            }
            loops[f"advance, {batch} rows of {length}"] = _maker(graphs.session("advance"), fed), 2 * batch * length
        yield lambda: {name: core_seconds(make, BARE_SECONDS) / tokens for name, (make, tokens) in loops.items()}


def _maker(session: Any, inputs: Mapping[str, Any]) -> Callable[[], Loop]:
    return lambda: BoundLoop(session, inputs, feeds_back=True)


def _bare_table(times: list[BareTimes], answer_way: str, prompt_way: str) -> Table:
    table = Table("bare way", "us of a core a token", "", title="the bare runtime, a loop a core", title_justify="left")
    for name in times[0]:
        used = [what for what, way in (("answers", answer_way), ("prompts", prompt_way)) if way == name]
        table.add_row(name, f"{median(each[name] for each in times) * 1e6:.1f}", ", ".join(used))
    return table
