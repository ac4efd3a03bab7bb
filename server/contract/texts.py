"""A field that holds one text or several, on the wire."""

from typing import Any


def texts_from(value: Any, name: str, most: int) -> tuple[str, ...]:
    """One string or a list of strings, none empty, as a tuple.

    Args:
        value: what the request holds.
        name: the field's, for the message.
        most: strings allowed.

    Raises:
        ValueError: it is something else; a plain sentence.
    """
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{name} must be a string or a list of strings")
    if not 1 <= len(texts) <= most:
        raise ValueError(f"{name} holds {len(texts)} strings; 1 to {most} are allowed")
    if "" in texts:
        raise ValueError(f"{name} {texts.index('')} is empty; a {name} has at least one character")
    return tuple(texts)


def texts_schema(most: int) -> dict[str, Any]:
    """The JSON schema of such a field."""
    text = {"type": "string", "minLength": 1}
    return {"anyOf": [text, {"type": "array", "items": text, "minItems": 1, "maxItems": most}]}
