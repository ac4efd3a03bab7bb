"""What a language model's card says, with a sample of its text: ancestral sampling in torch, one token at a time."""

from pathlib import Path
from typing import Any

import torch

from models.config import LanguageModelConfig
from models.network.language_model import LanguageModel
from models.tokenizer import Tokenizer
from training.card import CardParts, cell_name, indented, token_unit
from training.generation.recipe import GenerationRecipe


def card_parts(
    recipe: GenerationRecipe, model: LanguageModel, tokenizer: Tokenizer, data: dict[str, Any], example: str
) -> CardParts:
    """The task's part of the card.

    Args:
        recipe: what was done.
        model: the network that is published.
        tokenizer: its tokenizer.
        data: origin and sizes.
        example: text that the model wrote.
    """
    config = model.config
    unit = token_unit(tokenizer)
    split, order = "characters", "in the order of the text"
    if tokenizer.end_id is not None:
        split = "names" if data["name"] == "names" else "texts"
        order = "after a shuffle with a fixed seed"
    if recipe.data.validation_path is None:
        parts = f"The last {recipe.data.validation_share:.0%} of the {split} ({order}) are the validation part: "
    else:
        parts = f"The file {Path(recipe.data.validation_path).name} is the validation part: "
    test = f", {data['test_tokens']:,} for the test" if "test_tokens" in data else ""
    tied = ", tied to the embedding" if config.tied_embeddings else ""
    return CardParts(
        what=f"A recurrent language model: it continues text, {unit[:-1]} by {unit[:-1]}, in the manner of "
        f"{data['title']}.",
        data=f"{data['title']}, from {data['upstream']}. Licence as the source states it: {data['licence']}.\n"
        f"{parts}{data['train_tokens']:,} tokens for training, {data['validation_tokens']:,} for validation{test}.",
        architecture=_architecture(config, unit, tied),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        measured="On the validation part, read once from its beginning to its end with the state carried all the way, "
        "with the weights as they are published. Every token but the first counts; a document's end counts as one "
        "character.",
        sections={
            "What it writes": f"{NUM_TOKENS} tokens from a beginning, temperature {TEMPERATURE}:\n\n{indented(example)}"
        },
        limits="It knows the words and habits of its training text and nothing else. What it writes may be wrong, "
        f"senseless or offensive, as its training text may be. {_alphabet_limit(tokenizer)}",
    )


def example_card_parts(model: LanguageModel, data: dict[str, Any]) -> CardParts:
    """The task's part of the card of a model of examples.

    Args:
        model: the network that is published.
        data: origin and sizes.
    """
    return CardParts(
        what=f"A recurrent language model that answers questions made for the test of a memory: {data['name']}.",
        data=f"{data['title']}, by {data['upstream']}: {data['train_examples']:,} examples for training, "
        f"{data['validation_examples']:,} for validation.",
        architecture=_architecture(model.config, "characters", ""),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        measured="On the validation part, each example from a state of zeros, with the weights as they are published. "
        "Exact: every token of the answer, its end too, is the likeliest after those before it.",
        limits="It answers questions of this one form, and long ones worse than those of its training.",
    )


def _architecture(config: LanguageModelConfig, unit: str, tied: str) -> str:
    return (
        f"{config.num_layers} x {cell_name(config.kind)}, hidden size {config.hidden_size}; embedding "
        f"{config.embedding_size}; linear head over {config.vocab_size} {unit}{tied}"
    )


def _alphabet_limit(tokenizer: Tokenizer) -> str:
    if tokenizer.kind == "character":
        return "A character that the training part does not hold is read as `<unk>`."
    return "It reads any text, but has learnt only the language of its training text."


NUM_TOKENS = 400
TEMPERATURE = 0.8


def sample(model: LanguageModel, tokenizer: Tokenizer, *, seed: int) -> str:
    """Text that the model writes after an end token, or after a line end where its tokenizer has no end token.

    Args:
        model: on the CPU, in evaluation mode.
        tokenizer: the model's.
        seed: of the sample.

    Returns:
        NUM_TOKENS tokens at TEMPERATURE as text; document ends are shown as line ends.
    """
    generator = torch.Generator().manual_seed(seed)
    end = tokenizer.end_id
    token = end if end is not None else tokenizer.encode("\n")[-1]
    state = model.recurrent.zero_state(1)
    ids: list[int] = []
    with torch.no_grad():
        for _ in range(NUM_TOKENS):
            logits, state = model(torch.tensor([[token]]), state)
            weights = torch.softmax(logits[0, -1].double() / TEMPERATURE, dim=-1)
            token = int(torch.multinomial(weights, 1, generator=generator))
            ids.append(token)
    pieces: list[list[int]] = [[]]
    for token in ids:
        if token == end:
            pieces.append([])
        else:
            pieces[-1].append(token)
    return "\n".join(tokenizer.decode(piece) for piece in pieces)
