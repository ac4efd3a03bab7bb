"""A field that holds one text or several, on the wire."""

from typing import Any


def texts_from(value: Any, most: int) -> tuple[str, ...]:
    """One string or a list of strings, none empty, as a tuple.

    Args:
        value: what the request holds.
        most: strings allowed.

    Raises:
        ValueError: it is something else; a plain sentence.
    """
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError("must be a string or a list of strings")
    if not 1 <= len(texts) <= most:
        raise ValueError(f"{len(texts)} strings; 1 to {most} are allowed")
    if "" in texts:
        raise ValueError(f"string {texts.index('')} is empty; each needs at least one character")
    return tuple(texts)


def texts_schema(most: int) -> dict[str, Any]:
    """The JSON schema of such a field."""
    text = {"type": "string", "minLength": 1}
    return {"anyOf": [text, {"type": "array", "items": text, "minItems": 1, "maxItems": most}]}
