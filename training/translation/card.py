"""What a translator's card says."""

from typing import Any

from models.network.translator import Translator
from models.tokenizer import Tokenizer
from training.card import CardParts, cell_name, table_cell, token_unit
from training.translation.recipe import TranslationRecipe


def card_parts(
    recipe: TranslationRecipe, model: Translator, tokenizer: Tokenizer, data: dict[str, Any], details: dict[str, Any]
) -> CardParts:
    """The task's part of the card.

    Args:
        recipe: what was done.
        model: the network that is published.
        tokenizer: its tokenizer.
        data: origin and sizes.
        details: signatures of the figures, examples of the validation part.
    """
    languages, signatures, examples = recipe.languages, details["signatures"], details["examples"]
    others = "".join(
        f" Beside it, {count:,} pairs of {name.removesuffix('_pairs').replace('_', ' ')}."
        for name, count in data.items()
        if name.endswith("_pairs") and name not in ("train_pairs", "validation_pairs")
    )
    if "sources" in data:
        others += f" Figures without a data set's name are those of {data['sources'][0]['name']}."
    quoted = {"Translations of the validation part": _example_table(examples)} if examples else {}
    return CardParts(
        what=f"A recurrent translator from {languages.source} to {languages.target} (ISO 639-1): encoder, attention, "
        "decoder.",
        data=f"{data['title']}, from {data['upstream']}. Licence as the source states it: {data['licence']}.\n"
        + (f"{data['notice']}\n" if data["notice"] else "")
        + f"{data['train_pairs']:,} pairs for training ({data['train_target_tokens']:,} target tokens), "
        f"{data['validation_pairs']:,} for validation; "
        f"{data['validation_sources_in_training']:,} of the validation sources are also in the training part.{others}",
        architecture=_architecture(model, tokenizer),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        measured="On the validation part, with the weights as they are published, by PyTorch. Nats per target token "
        "under teacher forcing, a sentence's end counted. BLEU and chrF (0 to 100) by sacrebleu against one reference "
        "each, for greedy decoding and a beam of 4 with length penalty 1; exact match is the share of outputs that are "
        f"their reference.\n\nBLEU: `{signatures['bleu']}`  \nchrF: `{signatures['chrf']}`",
        sections=quoted,
        limits="It has learnt from the sentences named above and translates sentences like them: what is longer, of "
        "another subject or several sentences at once comes out worse, and a word that it has hardly seen comes out "
        "wrong. It can leave out, repeat or invent, names and numbers too. Do not rely on it where a mistake matters.",
    )


def _architecture(model: Translator, tokenizer: Tokenizer) -> str:
    config = model.config
    cell = cell_name(config.kind)
    both = "bidirectional " if config.bidirectional else ""
    feeding = ", input feeding" if config.input_feeding else ""
    shared = "one embedding" if config.shared_embeddings else "two embeddings"
    tied = ", tied to the head" if config.tied_embeddings else ""
    return (
        f"Encoder {config.encoder_layers} x {both}{cell} {config.encoder_size}; decoder {config.num_layers} x {cell} "
        f"{config.hidden_size} with {config.attention} attention{feeding}; {shared} of "
        f"{config.embedding_size} for both languages{tied}; {config.vocab_size} {token_unit(tokenizer)}, shared "
        "by both"
    )


def _example_table(examples: list[dict[str, str]]) -> str:
    has_attribution = any(example["attribution"] for example in examples)
    columns = ["source", "target", "output", *(["attribution"] if has_attribution else [])]
    heads = ["source", "reference", "output (beam 4)", *(["attribution"] if has_attribution else [])]
    lines = [heads, ["---"] * len(heads), *([table_cell(example[key]) for key in columns] for example in examples)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{len(examples)} pairs, drawn with a fixed seed.\n\n{table}"
