"""What a loader returns: a text's training and validation documents, and where they come from."""

import hashlib
from dataclasses import dataclass
from typing import Self

from models.errors import DataError


@dataclass(frozen=True)
class Origin:
    """Where a data set comes from, for the card and for the message when it is absent."""

    title: str
    upstream: str  # address from which a user gets it
    licence: str  # as the source states it


@dataclass(frozen=True)
class Corpus:
    """A data set in memory, already split.

    A text in one piece is one document; with several, the stream that training reads holds an end token after each.
    """

    name: str
    origin: Origin
    train: tuple[str, ...]
    validation: tuple[str, ...]
    has_ends: bool  # whether an <eos> follows each document
    sha256: str  # of the raw bytes that were read

    @classmethod
    def from_text(cls, name: str, origin: Origin, raw: bytes, text: str, validation_share: float) -> Self:
        """Split one text: its last validation_share of characters is the validation part.

        Args:
            name: the data set's name.
            origin: where it comes from.
            raw: the bytes as read, for the digest.
            text: the text in them.
            validation_share: 0 < share < 1.

        Raises:
            DataError: a part would be shorter than two characters.
        """
        cut = round(len(text) * (1 - validation_share))
        if cut < 2 or len(text) - cut < 2:
            raise DataError(
                f"{name}: {len(text)} characters cannot be split with a validation share of {validation_share}; "
                "each part needs at least 2. Use a longer text."
            )
        return cls(name, origin, (text[:cut],), (text[cut:],), False, hashlib.sha256(raw).hexdigest())


def decoded(raw: bytes, where: str) -> str:
    """The text of UTF-8 bytes, without a byte order mark, with LF line ends.

    Raises:
        DataError: the bytes are not UTF-8; the message says at which byte.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where} is not UTF-8 at byte {error.start}; convert it: iconv -f LATIN1 -t UTF-8.") from None
    return text.replace("\r\n", "\n")


def digest(*parts: bytes) -> str:
    """The sha256 of several files' bytes, in order."""
    return hashlib.sha256(b"".join(parts)).hexdigest()
