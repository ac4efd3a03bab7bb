"""A prompt of 2,000 tokens that was read before, beside the same prompt the first time: time to the first token.

One client, streams; each prompt is sent twice in a row, and the ratio is taken prompt by prompt. The server has its
default limits (a prompt may have 32,768 tokens) and its default cache, which holds the states of all prompts here.

    python -m benchmarks prefix
"""

from statistics import median
from time import perf_counter
from typing import Any

from rich.table import Table

from benchmarks.core_limit.generation import SET
from benchmarks.latency.bare import BareGraphs
from benchmarks.report import Report
from benchmarks.serving.client import Connect, connector
from benchmarks.serving.loops import run
from benchmarks.serving.record import Record
from benchmarks.serving.request import send
from benchmarks.serving.server import Server
from benchmarks.serving.w1 import MODEL, STORE, Workload, streamed, w1
from benchmarks.targets import Target, number
from models.bundle import Bundle
from models.store import Store

NUM_PROMPTS, LENGTH, ANSWER = 25, 2000, 8
LEAST_RATIO = 50


def main(num_prompts: int = NUM_PROMPTS) -> Report:
    """Measure.

    Args:
        num_prompts: sent twice each.
    """
    bundle = Bundle(Store(STORE).resolve(MODEL))
    bare = BareGraphs(bundle, SET).prompt_seconds(LENGTH, 0.5)
    with Server(STORE, [MODEL], {"RNNSERVE_SET": SET}) as server:
        pairs = run(_pairs(connector(server.port), w1(bundle, 0), num_prompts))
        known = server.metrics()[f'rnnserve_state_cache_hits_total{{model="{bundle.id}"}}']
    if known != num_prompts * (LENGTH - 1):
        raise RuntimeError(f"{known:.0f} prompt tokens were known, not {num_prompts} times all but the last")
    colds, warms = ([pair[i] * 1e3 for pair in pairs] for i in range(2))
    ratio = median(cold / warm for cold, warm in pairs)
    target = Target(f"first token of {LENGTH:,} tokens seen before: times faster", ">=", LEAST_RATIO, ratio)
    table = Table("", "median ms", "least ms", "most ms", title=f"{MODEL} {SET}: first token after {LENGTH:,} tokens")
    for title, times in {"the first time": colds, "seen before": warms}.items():
        table.add_row(title, *(number(value) for value in (median(times), min(times), max(times))))
    table.add_row("reading them with the bare graph", number(bare * 1e3), "", "")
    result: dict[str, Any] = {
        "prompts": num_prompts,
        "prompt_tokens": LENGTH,
        "cold_ms": median(colds),
        "warm_ms": median(warms),
        "bare_read_ms": bare * 1e3,
        "ratio": ratio,
        "pairs_ms": [list(pair) for pair in zip(colds, warms, strict=True)],
    }
    return Report("prefix", [table], result, [target])


async def _pairs(connect: Connect, workload: Workload, num_prompts: int) -> list[tuple[float, float]]:
    """Seconds to the first token of each prompt, the first time and the second.

    Raises:
        RuntimeError: a request failed.
    """
    client = await connect()

    async def first_token(prompt: str) -> float:
        record: Record = await send(client, streamed(prompt, ANSWER), perf_counter())
        if record.error is not None or record.ttft is None:
            raise RuntimeError(f"no first token: {record.error}")
        return record.ttft

    await first_token(workload.text(LENGTH, -1)[:64])  # the connection's and the route's first time is not counted
    pairs = []
    for number_of_prompt in range(num_prompts):
        prompt = workload.text(LENGTH, number_of_prompt)
        pairs.append((await first_token(prompt), await first_token(prompt)))
    client.close()
    return pairs
