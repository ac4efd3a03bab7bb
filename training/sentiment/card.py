"""What a classifier's card says."""

from typing import Any

from models.network.classifier import Classifier
from models.tokenizer import Tokenizer
from training.card import CardParts, cell_name, table_cell, token_unit
from training.sentiment.mix import Mix
from training.sentiment.recipe import SentimentRecipe


def card_parts(
    recipe: SentimentRecipe,
    model: Classifier,
    tokenizer: Tokenizer,
    mix: Mix,
    data: dict[str, Any],
    details: dict[str, Any],
) -> CardParts:
    """The task's part of the card.

    Args:
        recipe: what was done.
        model: the network that is published.
        tokenizer: its tokenizer.
        mix: the labelled texts.
        data: origins and sizes.
        details: confusion counts.
    """
    labels = [table_cell(label) for label in mix.labels]
    tables = [_confusion_table(name, counts, labels) for name, counts in details["confusion"].items()]
    return CardParts(
        what=f"A recurrent classifier of sentiment: {', '.join(labels)}.",
        data=_data(mix, data),
        architecture=_architecture(model, tokenizer),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        measured="On the validation parts, each text read whole, with the weights as they are published, by PyTorch. "
        "Accuracy counts texts whose likeliest class is their label; macro-F1 is the mean of the classes' F1. "
        f"Figures without a data set's name are those of {recipe.data.validation}, which chose the epoch.",
        sections={"Which is taken for which": "\n\n".join(tables)},
        limits="It has learnt from the reviews named above and judges texts like them: other subjects, irony, and "
        "sentences without an opinion, for which it has no class, come out worse. What it has learnt includes what "
        "those reviewers thought of people and places. Do not use it to judge people.",
    )


def _data(mix: Mix, data: dict[str, Any]) -> str:
    lines = [
        f"- {source['title']} ({source['name']}), from {source['upstream']}. Licence as the source states it: "
        f"{source['licence']}. {len(mix.validation[source['name']]):,} texts for validation"
        + (f", {len(mix.test[source['name']]):,} for the test." if source["name"] in mix.test else ".")
        for source in data["sources"]
    ]
    for part, corpus in mix.parts:
        pieces = "" if part.chunk_words is None else f", reviews cut into chunks of {part.chunk_words} words or more"
        share = "all of them" if part.examples is None else f"{part.examples:,} of them, drawn anew"
        if part.fade_to < 1.0:
            share += f", falling to {part.fade_to:.0%} of that in the last"
        taught = f"; labelled by {', '.join(part.labelled_by)}" if part.labelled_by else ""
        times = "" if part.repeat == 1 else f", {part.repeat} times"
        lines.append(
            f"- Training on {corpus.name}: {len(corpus.train):,} texts{pieces}; an epoch reads {share}{times}{taught}."
        )
    if "pretraining_tokens" in data:
        lines.append(
            f"- Before that, {data['pretraining_tokens']:,} tokens of the same whole texts without their labels, to "
            "guess the next and the previous token of each."
        )
    lines.append("- A text that validates is in no training part.")
    return "\n".join(lines) + "\n"


def _architecture(model: Classifier, tokenizer: Tokenizer) -> str:
    config = model.config
    both = "bidirectional " if config.bidirectional else ""
    case = ", in lower case" if tokenizer.is_lowercase else ""
    return (
        f"{config.num_layers} x {both}{cell_name(config.kind)}, hidden size {config.hidden_size}; embedding "
        f"{config.embedding_size} of {config.vocab_size} {token_unit(tokenizer)}{case}; pooling over time: "
        f"{config.pooling}; linear head over {config.num_classes} classes"
    )


def _confusion_table(name: str, counts: list[list[int]], labels: list[str]) -> str:
    head = [f"{name}: label", *(f"taken for {label}" for label in labels)]
    rows = [[label, *map(str, row)] for label, row in zip(labels, counts, strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))
