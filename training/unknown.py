"""Characters that a tokenizer does not know, counted in the parts that are measured."""

from collections.abc import Iterable

from models.tokenizer import Tokenizer
from training.data.usage import Unused


def unknown_characters(tokenizer: Tokenizer, texts: Iterable[str], source: str) -> Unused:
    """How many characters are read as <unk>; none by a tokenizer of bytes.

    Args:
        tokenizer: trained on the training part.
        texts: of another part.
        source: their name.
    """
    found, total = 0, 0
    for text in texts if tokenizer.kind == "character" else ():
        found += tokenizer.num_unknown(text, tokenizer.encode(text))
        total += len(text)
    reason = "are not in the training part and read as <unk>"
    return Unused(source, "characters", total, found, reason, "tokenizer.kind", is_used=True)
