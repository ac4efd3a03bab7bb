"""The card: the README.md of a bundle. The sections that every task has are written here; CardParts has the others."""

from dataclasses import dataclass, field
from typing import Any

from models.cells import CellKind
from models.tokenizer import Tokenizer
from training.data.usage import ALL_USED, Usage

_CELL_NAMES: dict[CellKind, str] = {
    "lstm": "LSTM",
    "gru": "GRU",
    "layer-norm-lstm": "layer-norm LSTM",
    "min-gru": "minGRU",
    "ntm": "Neural Turing Machine",
    "rnn-tanh": "simple RNN (tanh)",
    "rnn-relu": "simple RNN (ReLU)",
}


def cell_name(kind: CellKind) -> str:
    """What a card calls a cell; one of your own by its kind."""
    return _CELL_NAMES.get(kind, kind)


@dataclass(frozen=True)
class CardParts:
    """What only the task can say, in Markdown."""

    what: str  # one sentence on what the model does
    data: str  # sources, licences, how they are split
    architecture: str  # without parameters and storage
    num_parameters: int
    measured: str  # how the figures were measured
    limits: str
    sections: dict[str, str] = field(default_factory=dict)  # heading -> text, after the figures


def card(parts: CardParts, *, metrics: dict[str, float], facts: dict[str, Any], usage: Usage = ALL_USED) -> str:
    """The card's Markdown.

    Args:
        parts: what the task says.
        metrics: as measured on the published weights.
        facts: training.card.provenance.
        usage: what of the data is not used.
    """
    recipe, epochs = facts["recipe"], facts["epochs"]
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    weights = "float16" if recipe["half_weights"] else "float32"
    metric_rows = "\n".join(f"| {_words(name)} | {value:.4f} |" for name, value in metrics.items())
    unused = f"{usage.section()}\n" if usage.unused else ""
    sections = "".join(f"## {heading}\n\n{text}\n\n" for heading, text in parts.sections.items())
    return f"""# {recipe["name"]}

{parts.what}

## Data

{parts.data}
{unused}sha256 of the data as read: `{facts["data"]["sha256"]}`.

## Architecture

{parts.architecture}; {parts.num_parameters:,} parameters, stored as {weights}.

## Measured

{parts.measured}

| figure | value |
|---|---|
{metric_rows}

One run, one seed. The weights are those of epoch {facts["best_epoch"]}, the best on the validation part, which \
therefore was used to choose among {len(epochs)} epochs.

{_epoch_table(epochs)}

{sections}## Limits

{parts.limits}

## How it was made

    {facts["command"]}

{_before(facts)}{facts["date"]}, seed {recipe["seed"]}, {versions}.
"""


def _before(facts: dict[str, Any]) -> str:
    """What the command alone does not repeat: a warm start's bundle, and that the run was made longer."""
    lines = []
    if start := facts.get("start_from"):
        lines.append(f"The first weights are those of {start['bundle']} (sha256 `{start['sha256']}`).\n\n")
    if cycles := facts.get("continued"):
        steps = ", then ".join(f"epochs={cycle['epochs']} from update {cycle['first_update'] + 1}" for cycle in cycles)
        lines.append(f"The run was made longer in its folder: {steps}; one run of the last epochs differs.\n\n")
    return "".join(lines)


def token_unit(tokenizer: Tokenizer) -> str:
    """What the tokens are, in the plural."""
    return "characters" if tokenizer.kind == "character" else "byte-level BPE tokens"


def indented(text: str) -> str:
    """The text as a block that Markdown shows as it is."""
    return "\n".join(f"    {line}".rstrip() for line in text.split("\n"))


def table_cell(text: str) -> str:
    """The text inside a row of a table."""
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split())


def _epoch_table(epochs: list[dict[str, float]]) -> str:
    names = [name for name in epochs[0] if name not in ("epoch", "learning_rate", "seconds")]
    heads = [_words(name).replace("train ", "training ") for name in names]
    heads = [f"{head} (with dropout)" if head.startswith("training ") else head for head in heads]
    rows = [
        [f"{figures['epoch']}", *(f"{figures[name]:.4f}" for name in names), f"{figures['seconds']:.0f}"]
        for figures in epochs
    ]
    lines = [["epoch", *heads, "seconds"], ["---"] * (len(names) + 2), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _words(name: str) -> str:
    """validation_nats_per_token -> validation nats per token."""
    return name.replace("_", " ")
