"""The table of the shipped models in docs/training.md, made of their runs' own reports and of what they answer.

`python -m benchmarks.models --measure NAME ...` measures models through their served graphs, and linear baselines where
there are some, on validation data (RNNSERVE_DATA), and keeps the figures in benchmarks/models.json; without a
name it measures all. `python -m benchmarks.models` writes the table from that file and from each bundle's record.
"""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from models.bundle import Bundle
from models.store import Store
from training.evaluate.command import EvaluateOptions, evaluate
from training.evaluate.evaluation import Evaluation
from training.evaluate.sentiment import SentimentEvaluation
from training.sentiment.baseline import baselines

ROOT = Path(__file__).parents[1]
STORE = ROOT / "artifacts"
RESULTS = ROOT / "benchmarks" / "models.json"
DOCUMENT = ROOT / "docs" / "training.md"
BEGIN, END = "<!-- models: begin -->", "<!-- models: end -->"

DATA: dict[str, tuple[str, ...]] = {  # what each model is measured on
    "forecast-hourly": ("m4-hourly:validation",),
    "sentiment-en": ("sst2:validation", "imdb:validation"),
    "sentiment-zh": ("waimai:validation", "online-shopping:validation"),
    "shakespeare-char": ("tiny-shakespeare:validation",),
    "tag-en": ("ewt:validation",),
    "translate-en-zh": ("tatoeba-2025:validation",),
}
NUM_WINDOWS = 200  # of generation, 256 characters each, from zeros
# Of each task, which figures the table shows, by the name that it gives them.
FIGURES: dict[str, dict[str, str]] = {
    "forecast": {"mase": "MASE", "wql": "WQL"},
    "generation": {"nats_per_character": "nats per character", "window_nats_per_character": "in windows of 256"},
    "sentiment": {"accuracy": "accuracy", "macro_f1": "macro-F1"},
    "tagging": {"span_f1": "span F1", "accuracy": "accuracy"},
    "translation": {"bleu_greedy": "BLEU greedy", "bleu_beam_4": "BLEU beam 4"},
}
NAIVE = {"seasonal_naive_mase": "seasonal naive: MASE", "seasonal_naive_wql": "WQL"}
HEAD = ("model, recipe", "trained on", "seconds, threads, processor", "data", "figures (95 % interval)", "baseline")


def measure(name: str) -> dict[str, Any]:
    """The figures of a model on each of its data sets, as they are served, and of linear baselines."""
    found: dict[str, Any] = {}
    for data in DATA[name]:
        options = EvaluateOptions(data=data, store=STORE, num_windows=NUM_WINDOWS)
        evaluation, _ = evaluate(name, options)
        found[data] = {
            "bundle_sha256": evaluation.bundle_sha256,
            "set": evaluation.set_name,
            "figures": {key: asdict(figure) for key, figure in evaluation.figures.items()},
        }
        if evaluation.task == "sentiment":
            found[data]["baseline"] = _best_baseline(evaluation, data)
    return found


def _best_baseline(evaluation: Evaluation, data: str) -> dict[str, Any]:
    """The linear classifier with the highest accuracy, and the model's paired tests against it on the same texts."""
    assert isinstance(evaluation, SentimentEvaluation)
    best = max(baselines(data).scores, key=lambda score: score.accuracy)
    answers = np.array([evaluation.labels.index(label) for label in best.answers])
    comparisons = evaluation.compared(replace(evaluation, answers=answers))
    return best.plain | {"comparisons": [asdict(comparison) for comparison in comparisons]}


def table(results: dict[str, Any]) -> str:
    """The table of all models of the store that were measured.

    Raises:
        SystemExit: a model has changed since it was measured.
    """
    lines = [HEAD, ("---",) * len(HEAD)]
    for name in sorted(results):
        bundle = Bundle(Store(STORE).resolve(name))
        for data, found in results[name].items():
            if found["bundle_sha256"] != bundle.record.sha256:
                sys.exit(f"{bundle.id} is not what was measured; run python -m benchmarks.models --measure {name}")
            first = (f"[{name}](../training/recipes/{name}.yaml)", _data_of(bundle), _effort_of(bundle))
            rest = (f"`{data}`, {found['set']}", _figures_of(bundle, found), _baseline_of(found))
            lines.append((*first, *rest))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _data_of(bundle: Bundle) -> str:
    data = bundle.record.provenance["data"]
    return ", ".join(dict.fromkeys(data["name"].split("; ")))


def _effort_of(bundle: Bundle) -> str:
    facts = bundle.record.provenance
    seconds = sum(epoch["seconds"] for epoch in (*facts.get("pretraining", ()), *facts["epochs"]))
    hardware = facts.get("hardware")
    of = "not recorded" if hardware is None else f"{hardware['threads']}, {hardware['processor']}"
    return f"{seconds:,.0f}, {of}"


def _figures_of(bundle: Bundle, found: dict[str, Any]) -> str:
    shown = FIGURES[bundle.record.task]
    return "; ".join(f"{shown[key]} {_number(found['figures'][key])}" for key in shown if key in found["figures"])


def _number(figure: dict[str, float | None]) -> str:
    value, low, high = figure["value"], figure["low"], figure["high"]
    assert value is not None
    digits = 2 if value >= 10 else 4
    if low is None or high is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _baseline_of(found: dict[str, Any]) -> str:
    if "baseline" in found:
        best = found["baseline"]
        tests = "; ".join(f"{FIGURES['sentiment'][item['name']]} p = {item['p']:.4f}" for item in best["comparisons"])
        return f"{best['name']}: accuracy {best['accuracy']:.4f}, macro-F1 {best['macro_f1']:.4f}; paired, {tests}"
    naive = [f"{title} {found['figures'][key]['value']:.4f}" for key, title in NAIVE.items() if key in found["figures"]]
    return ", ".join(naive) or "—"


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs="*", metavar="NAME", help=f"of {', '.join(DATA)}; none: all")
    asked = parser.parse_args().measure
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    for name in () if asked is None else asked or DATA:
        Console(stderr=True).print(f"measuring {name}")
        results[name] = measure(name)
        RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{table(results)}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
