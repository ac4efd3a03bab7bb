"""A user's tokenizer.json, held against what its task needs.

One for a task that only reads may be of any kind and is used as it is: marks around a text and truncation stay. Where
text is written, each token's bytes must join to the text; truncation is off, and marks may only stand in front.
"""

import json
import unicodedata
from pathlib import Path

from tokenizers import Tokenizer as BackendTokenizer

from models.errors import TokenizerError
from models.tasks import task_of
from models.tokenizer import END_TOKEN, REPLACEMENT, Tokenizer

_PROBE = "A test: 12 words, naïve café — 你好 🙂\n\tend."


def wrapped_tokenizer(path: Path, task: str, end_token: str | None, start_token: str | None) -> Tokenizer:
    """Load and check a tokenizer.

    Args:
        path: of a tokenizer.json.
        task: what it is for.
        end_token: what ends a text; None for <eos>, where the tokenizer has it.
        start_token: what a translator's decoder reads first; None for the end token.

    Raises:
        TokenizerError: it cannot be used for the task; the message says why and what to do.
    """
    try:
        text = path.read_text(encoding="utf-8")
        backend = BackendTokenizer.from_str(text)
    except FileNotFoundError:
        raise TokenizerError(f"No tokenizer at {path}. Write it: tokenizer.save('{path}')") from None
    except Exception as error:  # the library raises bare Exception for a bad file
        other = path.with_name("tokenizer.json" if path.name != "tokenizer.json" else "new-tokenizer.json")
        raise TokenizerError(
            f"{path} is not a tokenizer.json of Hugging Face tokenizers ({error}). Write one beside it: "
            f"tokenizer.save('{other}')"
        ) from None
    if task_of(task).tokenizer == "reads":
        return Tokenizer(backend, only_reads=True)
    special = [token.content for token in backend.get_added_tokens_decoder().values() if token.special]
    if end_token is not None and backend.token_to_id(end_token) is None:
        raise TokenizerError(
            f"{path} has no token {end_token!r}, which --end-token names. Special tokens: "
            f"{', '.join(special) or 'none'}."
        )
    if start_token is not None and backend.token_to_id(start_token) is None:
        raise TokenizerError(
            f"{path} has no token {start_token!r} for --start-token. Special tokens: {', '.join(special) or 'none'}."
        )
    # What the flags name is a mark; one of a single character, such as a line break, may be text as well.
    backend.add_special_tokens([token for token in (end_token, start_token) if token is not None and len(token) > 1])
    if "Lowercase" in str(json.loads(backend.to_str()).get("normalizer")):
        raise TokenizerError(
            f"{path} reads everything in lower case (normalizer Lowercase); for {task} text must come back as it was. "
            "Allowed: no normalizer, or NFC."
        )
    try:
        tokenizer = Tokenizer(backend, end_token=end_token or END_TOKEN)
        _ = tokenizer.token_bytes
    except TokenizerError as error:
        raise TokenizerError(
            f"{path}: {error} A model for {task} writes text token by token, so its text must be its tokens' bytes in "
            "a row."
        ) from None
    if tokenizer.is_lowercase:
        raise TokenizerError(f"{path} reads everything in lower case; for {task} text must come back as it was.")
    _check_end(path, task, tokenizer, backend, end_token)
    _check_marks(path, tokenizer, backend)
    _check_round_trip(path, tokenizer)
    return tokenizer


def start_id_of(tokenizer: Tokenizer, path: Path, start_token: str | None) -> int | None:
    """The id of the start token, or None where it is the end token."""
    if start_token is None or start_token == tokenizer.end_token:
        return None
    found: int | None = BackendTokenizer.from_file(str(path)).token_to_id(start_token)
    return found


def truncation_of(tokenizer: Tokenizer) -> int | None:
    """Where a tokenizer cuts texts, in tokens; None where it does not."""
    truncation = json.loads(tokenizer.to_json()).get("truncation")
    return None if truncation is None else int(truncation["max_length"])


def _check_end(path: Path, task: str, tokenizer: Tokenizer, backend: BackendTokenizer, given: str | None) -> None:
    if tokenizer.end_id is not None or (task_of(task).engine == "decode" and given is None):
        return
    special = [token.content for token in backend.get_added_tokens_decoder().values() if token.special]
    raise TokenizerError(
        f"{path} has no token {tokenizer.end_token!r}, which ends a text. Name the one that it has: --end-token TOKEN. "
        f"Special tokens: {', '.join(special) or 'none'}."
    )


def _check_marks(path: Path, tokenizer: Tokenizer, backend: BackendTokenizer) -> None:
    contents = [content for content in tokenizer.token_bytes if content not in (b"", REPLACEMENT)]
    known = [content.decode() for content in contents if tokenizer.kind == "character" or content.isascii()]
    if not known:
        return
    plain, marked = (backend.encode(known[-1], add_special_tokens=flag) for flag in (False, True))
    if marked.ids[len(marked.ids) - len(plain.ids) :] != plain.ids:
        raise TokenizerError(
            f"{path} adds marks after a text ({' '.join(marked.tokens)}), where it is to be continued or where the "
            "server puts the end token itself. Leave them out: tokenizer.post_processor with marks in front only, or "
            "none."
        )


def _check_round_trip(path: Path, tokenizer: Tokenizer) -> None:
    if tokenizer.kind == "character":
        known = [content.decode() for content in tokenizer.token_bytes if content not in (b"", REPLACEMENT)]
        probe = "".join(character for character in known if not unicodedata.combining(character))
    else:
        whole = set(b"".join(content for content in tokenizer.token_bytes if len(content) == 1))
        probe = "".join(character for character in _PROBE if whole.issuperset(character.encode()))
    found = tokenizer.decode(tokenizer.encode(probe))
    if found not in (probe, unicodedata.normalize("NFC", probe)):
        raise TokenizerError(f"{path} does not give a text back: {probe!r} comes back as {found!r}.")
