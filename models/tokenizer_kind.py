"""What kind of tokenizer a tokenizer.json describes, and whether its text is a concatenation of token bytes.

Only then can tokens become text one by one, which is what a model that writes needs. One that only reads (a
classifier) may have any tokenizer.
"""

from collections.abc import Iterator
from typing import Any, Literal

TokenizerKind = Literal["character", "byte-bpe"]  # whose text is a concatenation of token bytes
ReadingKind = Literal["bpe", "word-level", "wordpiece", "unigram"]
Description = dict[str, Any]  # a tokenizer.json as plain data

_MODELS: dict[str, ReadingKind] = {
    "BPE": "bpe",
    "WordLevel": "word-level",
    "WordPiece": "wordpiece",
    "Unigram": "unigram",
}
_WHY_NOT = {
    "WordPiece": "WordPiece marks the inside of words and loses the spaces between them",
    "Unigram": "Unigram (SentencePiece) writes spaces as a sign of its own and may read a text in several ways",
}
# Pre-tokenizers that cut a text and lose nothing, when they do not remove what they match.
_CUTTING = ("Split", "Digits", "Punctuation", "UnicodeScripts")


def is_lowercase(description: Description) -> bool:
    """Whether text is read in NFC and lower case, and otherwise as it is."""
    return [item["type"] for item in _parts(description, "normalizer")] == ["NFC", "Lowercase"]


def kind_of(description: Description, end_token: str) -> TokenizerKind | ReadingKind:
    """The kind by its structure; one of TokenizerKind where nothing but the normaliser may lose text."""
    if why_text_is_lost(description, end_token) is None:
        return "byte-bpe" if description["model"]["type"] == "BPE" else "character"
    return _MODELS.get(description["model"]["type"], "word-level")


def reads_each_character(description: Description) -> bool:
    """Whether a text of ASCII is read character by character: one id for each, whatever is around it."""
    split = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}
    return (
        why_text_is_changed(description) is None
        and description["pre_tokenizer"] == split
        and description["model"]["type"] == "WordLevel"
        and description.get("post_processor") is None
        and description.get("truncation") is None
        and all(item["special"] for item in description.get("added_tokens") or [])
    )


def why_text_is_changed(description: Description) -> str | None:
    """Why a text would not come back even in NFC and lower case, by its normaliser; None where it would."""
    names = [item["type"] for item in _parts(description, "normalizer")]
    if names in ([], ["NFC"], ["NFC", "Lowercase"]):
        return None
    return (
        f"tokenizer normalizer {', '.join(names)} changes text beyond NFC and lower case; allowed: none, NFC, or NFC "
        "and Lowercase in this order."
    )


def why_text_is_lost(description: Description, end_token: str) -> str | None:
    """Why text is not a concatenation of token bytes, by model and pre-tokenizer; None where it is.

    Args:
        description: of the tokenizer.
        end_token: the token that ends a text and is no part of it.
    """
    model = description["model"]
    pre = _parts(description, "pre_tokenizer")
    names = ", ".join(item["type"] for item in pre) or "none"
    allowed = "allowed: character-level (WordLevel over single characters) and byte-level BPE."
    removing = [item["type"] for item in pre if item.get("behavior") == "Removed"]
    if removing:
        return f"tokenizer pre-tokenizer {removing[0]} removes what it matches; {allowed}"
    marks = {*_marks(description), end_token}
    if model["type"] == "WordLevel" and [item["type"] for item in pre] == ["Split"]:
        long = [token for token in model["vocab"] if len(token) > 1 and token not in marks]
        if not long:
            return None
        return (
            f"tokenizer token {long[0]!r} has several characters, so it is not character-level. If it is a mark and "
            f"not text, say so: tokenizer.add_special_tokens({long[:5]}), and save it again."
        )
    if model["type"] == "BPE" and pre and pre[-1]["type"] == "ByteLevel":
        if pre[-1].get("add_prefix_space"):
            return "tokenizer adds a space before the text; train it with add_prefix_space=False."
        for key in ("continuing_subword_prefix", "end_of_word_suffix", "dropout", "byte_fallback"):
            if model.get(key):
                return f"tokenizer of model BPE has {key}={model[key]!r}; byte-level BPE has none here."
        if all(item["type"] in _CUTTING for item in pre[:-1]):
            return None
    reason = _WHY_NOT.get(model["type"])
    because = f" ({reason})" if reason else ""
    return f"tokenizer of model {model['type']} with pre-tokenizer {names} is not supported{because}; {allowed}"


def _marks(description: Description) -> set[str]:
    """Tokens that are marks and not text: the special ones, and the one for what is unknown."""
    special = {item["content"] for item in description.get("added_tokens") or [] if item["special"]}
    return special | {str(description["model"].get("unk_token"))}


def _parts(description: Description, section: str) -> list[Description]:
    """A normaliser or pre-tokenizer as a flat list; empty when there is none."""
    return list(_flat(description.get(section)))


def _flat(item: Description | None) -> Iterator[Description]:
    if item is None:
        return
    if item["type"] != "Sequence":
        yield item
        return
    for inner in item.get("normalizers") or item.get("pretokenizers") or []:
        yield from _flat(inner)
