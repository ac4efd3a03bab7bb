"""One client that streams: the first token after its prompt alone, and the time of each token beside the bare step.

python -m benchmarks one-client
"""

from statistics import median
from time import perf_counter

from rich.table import Table

from benchmarks.core_limit.generation import SET
from benchmarks.latency.bare import BareGraphs
from benchmarks.report import Report
from benchmarks.serving.client import Connect, connector
from benchmarks.serving.loops import run
from benchmarks.serving.record import Record
from benchmarks.serving.request import Request, send
from benchmarks.serving.server import Server
from benchmarks.serving.w1 import MODEL, STORE, streamed, w1
from benchmarks.targets import Target, number
from models.bundle import Bundle
from models.store import Store

ROUNDS, NUM_REQUESTS = 9, 10
PROMPT, ANSWER = 64, 100
MOST_PYTHON_MS = 2.0
STEPS_PER_TOKEN = 1.5


def main(num_rounds: int = ROUNDS) -> Report:
    """Measure."""
    bundle = Bundle(Store(STORE).resolve(MODEL))
    graphs = BareGraphs(bundle, SET)
    excess, steps, firsts, prompts, per_token = [], [], [], [], []
    with Server(STORE, [MODEL], {"RNNSERVE_SET": SET}) as server:
        for number_of_round in range(num_rounds):
            workload = w1(bundle, number_of_round)
            requests = [streamed(workload.text(PROMPT, each), ANSWER) for each in range(NUM_REQUESTS)]
            prompt = graphs.prompt_seconds(PROMPT - 1, 0.1) + graphs.step_seconds(1, 0.1)
            step = graphs.step_seconds(1, 0.2)
            records = run(_in_turn(connector(server.port), requests))
            first = median(record.ttft or 0.0 for record in records)
            token = median(record.tpot or 0.0 for record in records)
            firsts.append(first * 1e3)
            prompts.append(prompt * 1e3)
            excess.append((first - prompt) * 1e3)
            per_token.append(token * 1e3)
            steps.append(token / step)
    targets = [
        Target("first token beyond its prompt alone, ms", "<=", MOST_PYTHON_MS, median(excess)),
        Target("time per token, bare steps", "<=", STEPS_PER_TOKEN, median(steps)),
    ]
    title = f"{MODEL} {SET}: one client, prompts of {PROMPT}, answers of {ANSWER}; median of {num_rounds} rounds"
    table = Table("figure", "ms", title=title, title_justify="left")
    for name, values in {"first token": firsts, "its prompt alone": prompts, "time per token": per_token}.items():
        table.add_row(name, number(median(values)))
    result = {
        "first_token_ms": median(firsts),
        "prompt_ms": median(prompts),
        "time_per_token_ms": median(per_token),
    }
    return Report("one-client", [table], result, targets)


async def _in_turn(connect: Connect, requests: list[Request]) -> list[Record]:
    client = await connect()
    records = [await send(client, request, perf_counter()) for request in requests]
    client.close()
    return records
