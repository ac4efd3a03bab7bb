"""The card: the README.md of a bundle, written from the run."""

from typing import Any

from models.config import CellKind
from models.network.language_model import LanguageModel
from models.tokenizer import Tokenizer
from training.sample import NUM_TOKENS, TEMPERATURE

CELL_NAMES: dict[CellKind, str] = {
    "lstm": "LSTM",
    "gru": "GRU",
    "rnn-tanh": "simple RNN (tanh)",
    "rnn-relu": "simple RNN (ReLU)",
}


def card(
    model: LanguageModel, tokenizer: Tokenizer, *, metrics: dict[str, float], facts: dict[str, Any], example: str
) -> str:
    """The card's Markdown.

    Args:
        model: the network that is published.
        tokenizer: its tokenizer.
        metrics: as measured on the published weights.
        facts: training.provenance.provenance.
        example: text that the model wrote.
    """
    config, recipe, data = model.config, facts["recipe"], facts["data"]
    unit = "characters" if tokenizer.kind == "character" else "byte-level BPE tokens"
    cell = CELL_NAMES[config.kind]
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    weights = "float16" if recipe["half_weights"] else "float32"
    split = "names" if data["name"] == "names" else "characters"
    order = "after a shuffle with a fixed seed" if data["name"] == "names" else "in the order of the text"
    tied = ", tied to the embedding" if config.tied_embeddings else ""
    metric_rows = "\n".join(f"| {name.replace('_', ' ')} | {value:.4f} |" for name, value in metrics.items())
    epoch_rows = "\n".join(
        f"| {figures['epoch']} | {figures['train_nats_per_token']:.4f} | {figures['validation_nats_per_token']:.4f} |"
        f" {figures['seconds']:.0f} |"
        for figures in facts["epochs"]
    )
    example_lines = "\n".join(f"    {line}".rstrip() for line in example.split("\n"))
    return f"""# {recipe["name"]}

A recurrent language model: it continues text, {unit[:-1]} by {unit[:-1]}, in the manner of {data["title"]}.

## Data

{data["title"]}, from {data["upstream"]}. Licence as the source states it: {data["licence"]}.
The last {recipe["data"]["validation_share"]:.0%} of the {split} ({order}) are the validation part: \
{data["train_tokens"]:,} tokens for training, {data["validation_tokens"]:,} for validation.
sha256 of the data as read: `{data["sha256"]}`.

## Architecture

{config.num_layers} x {cell}, hidden size {config.hidden_size}; embedding {config.embedding_size}; \
linear head over {config.vocab_size} {unit}{tied}; {num_parameters:,} parameters, stored as {weights}.

## Measured

On the validation part, read once from its beginning to its end with the state carried all the way, with the weights \
as they are published. Every token but the first counts; a document's end counts as one character.

| figure | value |
|---|---|
{metric_rows}

One run, one seed. The weights are those of epoch {facts["best_epoch"]}, the best on the validation part, which \
therefore was used to choose among {len(facts["epochs"])} epochs.

| epoch | training nats/token (with dropout) | validation nats/token | seconds |
|---|---|---|---|
{epoch_rows}

## What it writes

{NUM_TOKENS} tokens from a beginning, temperature {TEMPERATURE}:

{example_lines}

## Limits

It knows the words and habits of its training text and nothing else. What it writes may be wrong, senseless or \
offensive, as its training text may be. {_alphabet_limit(tokenizer)}

## How it was made

    {facts["command"]}

{facts["date"]}, seed {recipe["seed"]}, {versions}.
"""


def _alphabet_limit(tokenizer: Tokenizer) -> str:
    if tokenizer.kind == "character":
        return "A character that the training part does not hold is read as `<unk>`."
    return "It reads any text, but has learnt only the language of its training text."
