"""What the two processes tell each other, as bytes.

Both have the tokenizer's token texts, so a request that refers to them is sent without them.
"""

import io
import pickle
from enum import Enum
from typing import Any, NamedTuple

from models.decoding.detokenizer import TokenTexts
from server.engine.engine import Gauges


class Verb(Enum):
    """What a command to the engine's process asks for."""

    ADD = "add"
    CANCEL = "cancel"
    STOP = "stop"


class Command(NamedTuple):
    """From the web server.

    Attributes:
        verb: what to do.
        number: of the request, each has another.
        request: the request to add.
    """

    verb: Verb
    number: int = 0
    request: Any = None


class Letter(NamedTuple):
    """News of one request.

    Attributes:
        number: which.
        item: for its mailbox.
        report: what else is known of it by then, for its `heed`.
    """

    number: int
    item: Any
    report: Any


class Bulletin(NamedTuple):
    """From an engine.

    Attributes:
        letters: in the order in which they were posted.
        notes: calls for the observer, each a method's name and arguments, in order; all before the letters.
        gauges: now.
    """

    letters: list[Letter]
    notes: list[tuple[str, tuple[Any, ...]]]
    gauges: Gauges


class Codec:
    """Messages to bytes and back.

    Args:
        texts: the tokenizer's token texts, where requests refer to them.
    """

    def __init__(self, texts: TokenTexts | None) -> None:
        self._texts = texts

    def encode(self, message: Any) -> bytes:
        """As bytes, for another process of this program."""
        file = io.BytesIO()
        _Pickler(file, pickle.HIGHEST_PROTOCOL).dump(message)
        return file.getvalue()

    def decode(self, data: bytes) -> Any:
        """What `encode` was given, by another process of this program."""
        return _Unpickler(io.BytesIO(data), self._texts).load()


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> str | None:
        return "texts" if type(obj) is TokenTexts else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, texts: TokenTexts | None) -> None:
        super().__init__(file)
        self._texts = texts

    def persistent_load(self, pid: Any) -> TokenTexts | None:
        assert pid == "texts"
        return self._texts
