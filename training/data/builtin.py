"""Text that ships inside every Python, the language reference in `pydoc_data.topics`: for a machine with no data."""

import platform
from pydoc_data.topics import topics

from training.data.corpus import Corpus, Origin

ORIGIN = Origin(
    title=f"Python {platform.python_version()} help topics",
    upstream="pydoc_data.topics, in every Python installation",
    licence="PSF-2.0",
)


def load(validation_share: float, max_characters: int | None) -> Corpus:
    """Join the topics in the order of their names.

    Args:
        validation_share: the share of characters, from the end, that is the validation part.
        max_characters: how many characters to keep, from the beginning; None keeps all (about 700,000).

    Raises:
        DataError: too few characters are kept.
    """
    text = "\n".join(topics[name] for name in sorted(topics))[:max_characters]
    return Corpus.from_text("builtin", ORIGIN, text.encode(), text, validation_share)
