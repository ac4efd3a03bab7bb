"""A request's texts: one string or several, and their token ids, within the limits, long texts in another thread."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from models.tokenizer import Tokenizer
from server.endpoint import Limit
from server.errors import FieldError

_LONG = 4096  # characters; tokenizing more at once would hold up the event loop


def _texts_from(most: int, value: Any) -> tuple[str, ...]:
    """One string or a list of strings, none empty, as a tuple. Raises ValueError with a plain sentence."""
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError("must be a string or a list of strings")
    if not 1 <= len(texts) <= most:
        raise ValueError(f"{len(texts)} strings; 1 to {most} are allowed")
    if "" in texts:
        raise ValueError(f"string {texts.index('')} is empty; each needs at least one character")
    return tuple(texts)


def _schema(most: int) -> dict[str, Any]:
    text = {"type": "string", "minLength": 1}
    return {"anyOf": [text, {"type": "array", "items": text, "minItems": 1, "maxItems": most}]}


MAX_TEXTS, MAX_SHORT_TEXTS = 64, 256
Texts = Annotated[tuple[str, ...], BeforeValidator(partial(_texts_from, MAX_TEXTS)), WithJsonSchema(_schema(MAX_TEXTS))]
ShortTexts = Annotated[
    tuple[str, ...], BeforeValidator(partial(_texts_from, MAX_SHORT_TEXTS)), WithJsonSchema(_schema(MAX_SHORT_TEXTS))
]


async def read_texts(texts: Sequence[str], tokenizer: Tokenizer, limit: Limit) -> list[list[int]]:
    """Tokenize texts.

    Returns:
        The ids of each text, at least one.

    Raises:
        FieldError: a text is too long, or nothing of it is left for the model to read.
    """
    for i, text in enumerate(texts):
        least = -(-len(text) // tokenizer.max_characters_per_token)
        if least > limit.tokens:
            raise _too_long(texts, i, f"at least {least} (from its {len(text)} characters)", limit)
    if sum(map(len, texts)) > _LONG:
        all_ids = await asyncio.to_thread(lambda: [tokenizer.encode(text) for text in texts])
    else:
        all_ids = [tokenizer.encode(text) for text in texts]
    for i, ids in enumerate(all_ids):
        if len(ids) > limit.tokens:
            raise _too_long(texts, i, str(len(ids)), limit)
        if not ids:
            raise FieldError(
                f"{_name(limit.field, texts, i)} holds nothing that the model's tokenizer knows.", param=limit.field
            )
    return all_ids


def num_unknown_of(prompts: Sequence[str], all_ids: Sequence[Sequence[int]], tokenizer: Tokenizer) -> int:
    """How many characters of the prompts the tokenizer, which made their ids, does not know.

    Raises:
        FieldError: a prompt holds no character that the model knows.
    """
    counts = [tokenizer.num_unknown(prompt, ids) for prompt, ids in zip(prompts, all_ids, strict=True)]
    for i, (ids, count) in enumerate(zip(all_ids, counts, strict=True)):
        if tokenizer.unknown_id is not None and count == len(ids):
            raise FieldError(
                f"{_name('prompt', prompts, i)} holds no character that the model knows, so there is nothing to "
                "continue.",
                param="prompt",
            )
    return sum(counts)


def _too_long(texts: Sequence[str], i: int, found: str, limit: Limit) -> FieldError:
    return FieldError(
        f"{_name(limit.field, texts, i)} has {found} tokens; at most {limit.tokens} are allowed ({limit.setting}).",
        param=limit.field,
    )


def _name(field: str, texts: Sequence[str], i: int) -> str:
    return field if len(texts) == 1 else f"{field} {i}"
