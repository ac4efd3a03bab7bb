"""From prompt texts to token ids, within the limits, long texts in another thread."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from models.tokenizer import Tokenizer
from server.errors import FieldError

_LONG = 4096  # characters; tokenizing more at once would hold up the event loop


@dataclass(frozen=True)
class Prompt:
    """One prompt's tokens.

    Attributes:
        ids: token ids, at least one.
        num_unknown: characters that the tokenizer does not know.
    """

    ids: list[int]
    num_unknown: int


async def read_prompts(texts: Sequence[str], tokenizer: Tokenizer, max_tokens: int) -> list[Prompt]:
    """Tokenize prompts.

    Args:
        texts: not empty strings.
        tokenizer: the model's.
        max_tokens: of each prompt.

    Raises:
        FieldError: a prompt is too long, or holds no character that the model knows.
    """
    for i, text in enumerate(texts):
        least = -(-len(text) // tokenizer.max_characters_per_token)
        if least > max_tokens:
            raise _too_long(texts, i, f"at least {least} (from its {len(text)} characters)", max_tokens)
    if sum(map(len, texts)) > _LONG:
        all_ids = await asyncio.to_thread(lambda: [tokenizer.encode(text) for text in texts])
    else:
        all_ids = [tokenizer.encode(text) for text in texts]
    prompts = []
    for i, ids in enumerate(all_ids):
        if len(ids) > max_tokens:
            raise _too_long(texts, i, str(len(ids)), max_tokens)
        num_unknown = 0 if tokenizer.unknown_id is None else ids.count(tokenizer.unknown_id)
        if num_unknown == len(ids):
            raise FieldError(
                f"{_name(texts, i)} holds no character that the model knows, so there is nothing to continue.",
                param="prompt",
            )
        prompts.append(Prompt(ids, num_unknown))
    return prompts


def _too_long(texts: Sequence[str], i: int, found: str, allowed: int) -> FieldError:
    return FieldError(
        f"{_name(texts, i)} has {found} tokens; at most {allowed} are allowed (RNNSERVE_MAX_PROMPT_TOKENS).",
        param="prompt",
    )


def _name(texts: Sequence[str], i: int) -> str:
    return "prompt" if len(texts) == 1 else f"prompt {i}"
