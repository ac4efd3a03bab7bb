"""What encodes a text as nothing but text: marks that are typed are not found, and what is unknown is left out.

A mark, such as </s>, is put around a text by the tokenizer or the server and never typed. The library's setting
(`encode_special_tokens`) keeps it from looking for marks before it splits a text, but is not part of tokenizer.json, is
lost by pickling, does not hold for added tokens that are not called special, and does not keep a model whose own
vocabulary holds the mark (WordLevel, WordPiece, Unigram) from finding it as a word. So texts are encoded by a second
tokenizer, made of the first one's description, in which marks have names that nobody can type.
"""

import copy
import secrets
from collections.abc import Iterator

from models.tokenizer_kind import Description

_BY_ITS_VOCABULARY = ("WordLevel", "WordPiece", "Unigram")  # find any string of their vocabulary in a text


def typed_marks(description: Description, end_token: str | None) -> set[str]:
    """Tokens that are put around a text, and that a user's text never becomes.

    Args:
        description: of the tokenizer.
        end_token: what ends a text; None where nothing is written.

    Returns:
        The added tokens that are special, end a text or are put around it, and what else of several characters is put
        around a text. The token for what is unknown is none of them.
    """
    around = set(_around(description.get("post_processor") or {}))
    found = {token for token in around if len(token) > 1}
    for item in description.get("added_tokens") or []:
        if item["special"] or item["content"] == end_token or item["content"] in around:
            found.add(item["content"])
    return found - {description["model"].get("unk_token")}


def plain_text_description(description: Description, end_token: str | None) -> tuple[Description, int | None] | None:
    """The description of what encodes texts.

    Args:
        description: of the tokenizer.
        end_token: what ends a text; None where nothing is written.

    Returns:
        The description, and in it the id of what is unknown where the tokenizer itself has none: not an id of the
        tokenizer, to be left out. None where the tokenizer itself will do.
    """
    marks, model = typed_marks(description, end_token), description["model"]
    added = description.get("added_tokens") or []
    finds_any = model["type"] in _BY_ITS_VOCABULARY
    names = {token for token, _ in _vocabulary(model)}
    is_unknown_missing = finds_any and not _has_unknown(model, names)
    is_found = any(item["content"] in marks and not item["special"] for item in added) or any(
        finds_any or len(mark) == 1 or model.get("ignore_merges") or _is_merged(model, mark) for mark in marks & names
    )
    if not (is_found or is_unknown_missing):
        return None
    secret = secrets.token_hex(16)
    plain = copy.deepcopy(description)
    entries = {i: token for token, i in _vocabulary(model)} | {item["id"]: item["content"] for item in added}
    unknown_id = max(entries, default=-1) + 1 if is_unknown_missing else None
    if unknown_id is not None:
        entries[unknown_id] = f"{secret}:unknown"
        plain["model"].update(
            {"unk_id": unknown_id} if model["type"] == "Unigram" else {"unk_token": entries[unknown_id]}
        )
    entries = {i: f"{secret}:{i}" if token in marks else token for i, token in entries.items()}
    plain["added_tokens"] = [item for item in added if item["content"] not in marks]
    if model["type"] == "Unigram":
        scores = [score for _, score in model["vocab"]]
        plain["model"]["vocab"] = [[entries[i], (scores[i : i + 1] or [0.0])[0]] for i in sorted(entries)]
    else:
        plain["model"]["vocab"] = {token: i for i, token in entries.items()}
    if "merges" in model:
        plain["model"]["merges"] = [
            pair for pair in model["merges"] if not marks & {*_parts(pair), "".join(_parts(pair))}
        ]
    return plain, unknown_id


def _around(post_processor: Description) -> Iterator[str]:
    """The tokens that a post-processor puts around a text."""
    match post_processor.get("type"):
        case "Sequence":
            for inner in post_processor["processors"]:
                yield from _around(inner)
        case "TemplateProcessing":
            yield from post_processor["special_tokens"]
        case "BertProcessing" | "RobertaProcessing":
            yield from (post_processor["sep"][0], post_processor["cls"][0])


def _vocabulary(model: Description) -> list[tuple[str, int]]:
    if model["type"] == "Unigram":
        return [(token, i) for i, (token, _) in enumerate(model["vocab"])]
    return list(model["vocab"].items())


def _has_unknown(model: Description, names: set[str]) -> bool:
    return model.get("unk_id") is not None if model["type"] == "Unigram" else model.get("unk_token") in names


def _is_merged(model: Description, mark: str) -> bool:
    return any("".join(_parts(pair)) == mark for pair in model.get("merges") or [])


def _parts(pair: str | list[str]) -> list[str]:
    return pair.split(" ") if isinstance(pair, str) else pair
