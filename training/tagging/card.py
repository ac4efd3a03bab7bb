"""What a tagger's card says."""

from typing import Any

from models.network.tagger import Tagger
from models.tokenizer import Tokenizer
from training.card import CardParts, cell_name, table_cell
from training.data.tags import TagCorpus
from training.tagging.evaluation import f1
from training.tagging.recipe import TaggingRecipe


def card_parts(
    recipe: TaggingRecipe,
    model: Tagger,
    tokenizer: Tokenizer,
    tagged: TagCorpus,
    data: dict[str, Any],
    details: dict[str, Any],
) -> CardParts:
    """The task's part of the card.

    Args:
        recipe: what was done.
        model: the network that is published.
        tokenizer: its tokenizer.
        tagged: the tagged sentences.
        data: origins and sizes.
        details: counts of each label.
    """
    what, counts = next(iter(details.items()))
    best = "F1 of spans" if tagged.is_bio else "accuracy"
    return CardParts(
        what="A recurrent tagger: a label for each word of a sentence.",
        data=_data(tagged, data),
        architecture=_architecture(recipe, model, tokenizer),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        measured="On the validation part, with its own words and sentences, with the weights as they are published, by "
        f"PyTorch. A word has {_rule(model)}; accuracy counts words whose label is right. "
        + (
            "Span F1 is micro-averaged over spans with their exact words and label, counted as conlleval does. "
            if tagged.is_bio
            else ""
        )
        + f"The epoch with the best {best} was kept.",
        sections={f"Each label: {what}": _table(counts)},
        limits="It has learnt from the sentences named above and labels text like theirs; other subjects, spelling and "
        "languages come out worse. Raw text is split into words and sentences by rules, whose faults add to the "
        "model's.",
    )


def _data(tagged: TagCorpus, data: dict[str, Any]) -> str:
    lines = [
        f"- {source['title']} ({source['name']}), from {source['upstream']}. Licence as the source states it: "
        f"{source['licence']}."
        for source in data["sources"]
    ]
    lines.append(
        f"- {data['train_sentences']:,} sentences ({data['train_words']:,} words) of {tagged.name} for training, "
        f"{data['validation_sentences']:,} ({data['validation_words']:,}) for validation"
        + (f", {data['test_sentences']:,} ({data['test_words']:,}) for the test." if "test_words" in data else ".")
    )
    if "pretraining_tokens" in data:
        lines.append(
            f"- Before that, {data['pretraining_tokens']:,} tokens of the sentences and of the other texts, without "
            "labels, to guess the next and the previous token of each."
        )
    if data["repaired_tags"]:
        lines.append(f"- {data['repaired_tags']} tags I-x with nothing to continue were read as B-x.")
    if "SA" in tagged.origin.licence:
        lines.append(f"- The data's licence is {tagged.origin.licence}: share these weights under the same.")
    return "\n".join(lines) + "\n"


def _architecture(recipe: TaggingRecipe, model: Tagger, tokenizer: Tokenizer) -> str:
    config = model.config
    unit = "characters" if tokenizer.kind == "character" else "words in lower case"
    fields = "".join(
        f" and {item.width} of {item.size} {section.kind}"
        for item, section in zip(config.fields, recipe.fields, strict=True)
    )
    both = "bidirectional " if config.bidirectional else ""
    return (
        f"{config.num_layers} x {both}{cell_name(config.kind)}, hidden size {config.hidden_size}; embedding "
        f"{config.embedding_size} of {config.vocab_size} {unit}{fields}; linear head over {config.num_classes} labels"
        f"{' and a CRF over their sequence (Lample et al. 2016)' if config.crf else ''}"
    )


def _rule(model: Tagger) -> str:
    if model.config.crf:
        return "its first token's label in the likeliest sequence of labels"
    return "the likeliest label of its first token"


def _table(counts: dict[str, list[int]]) -> str:
    head = ["label", "there", "found", "right", "F1"]
    rows = [
        [table_cell(label), str(there), str(found), str(right), f"{f1(right, found, there):.3f}"]
        for label, (right, found, there) in counts.items()
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))
