"""Which tokens a text that was cut off still holds whole. Knows tokens' bytes; knows nothing of why it was cut."""

from collections.abc import Sequence

from models.decoding.detokenizer import Detokenizer, TokenTexts


def num_whole_tokens(texts: TokenTexts, tokens: Sequence[int], num_characters: int) -> int:
    """How many tokens, from the first, a beginning of their text holds whole.

    The most of which the text, as `Detokenizer` gives it when no more follow, is a beginning of what is left. So a
    token that begins a character counts only where that character is there, with the tokens that complete it.

    Args:
        texts: the tokenizer's.
        tokens: whose text was cut.
        num_characters: characters of their text that are left.
    """
    detokenizer = Detokenizer(texts)
    made: list[str] = []  # by each token
    for token in tokens:
        made.append(detokenizer.push(token))
    left = ("".join(made) + detokenizer.finish())[:num_characters]
    detokenizer, num_made, num_whole = Detokenizer(texts), 0, 0
    for count, token in enumerate(tokens, start=1):
        num_made += len(detokenizer.push(token))
        if num_made > num_characters:
            break
        if left.startswith(detokenizer.unfinished, num_made):
            num_whole = count
    return num_whole
