"""One request for sentiment as the engine sees it: texts as token ids."""

from dataclasses import dataclass, field
from typing import NamedTuple

from server.engine.mailbox import Mailbox
from server.engine.sentiment.scheduler import Text
from server.engine.times import Times


class Verdict(NamedTuple):
    """News of one text.

    Attributes:
        number: which text of the request.
        probabilities: of each class, by its number; they sum to 1.
    """

    number: int
    probabilities: list[float]


@dataclass(eq=False, slots=True, weakref_slot=True)
class Classification:
    """One request.

    Attributes:
        texts: each text's ids.
        mailbox: where its news go.
        waiting: the engine's.
        num_open: texts that have no verdict; the engine's.
        times: the engine's.
    """

    texts: list[list[int]]
    mailbox: Mailbox[Verdict] = field(default_factory=Mailbox)
    waiting: list[Text[tuple["Classification", int]]] = field(default_factory=list)
    num_open: int = 0
    times: Times = field(default_factory=Times)

    def report(self) -> Times:
        """See EngineRequest."""
        return self.times

    def heed(self, report: Times) -> None:
        """See EngineRequest."""
        self.times = report
