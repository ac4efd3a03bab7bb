"""What an engine in a process of its own says to the web server: news of requests, and what is counted."""

import contextlib
from collections.abc import Callable
from typing import Any

from server.engine.delivery import Delivery
from server.engine.engine import Gauges
from server.engine.mailbox import Mailbox
from server.engine.request import EngineRequest
from server.process.messages import Bulletin, Letter

_MOST_NOTES = 256  # kept until there are news to send them with


class Address(Mailbox[Any]):
    """Stands for the mailbox that a request has in the other process.

    Args:
        number: of the request.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Outbox(Delivery):
    """An engine's delivery and observer. Used by the engine's thread.

    Args:
        send: sends a bulletin; raises OSError when nobody listens any more.
        gauges: how the engine is now.
    """

    def __init__(self, send: Callable[[Bulletin], None], gauges: Callable[[], Gauges]) -> None:
        self._send = send
        self._gauges = gauges
        self._told = Gauges()  # the gauges that the other process knows of
        self._letters: list[Letter] = []
        self._notes: list[tuple[str, tuple[Any, ...]]] = []

    def post(self, request: EngineRequest, item: Any) -> None:
        """See Delivery."""
        assert isinstance(request.mailbox, Address)
        self._letters.append(Letter(request.mailbox.number, item, request.report()))

    def flush(self) -> None:
        """See Delivery. What was counted goes with the news."""
        if self._letters or len(self._notes) >= _MOST_NOTES:
            self.rest()

    def rest(self) -> None:
        """See Delivery."""
        gauges = self._gauges()
        if not (self._letters or self._notes or gauges != self._told):
            return
        bulletin = Bulletin(self._letters, self._notes, gauges)
        self._told = gauges
        self._letters, self._notes = [], []
        with contextlib.suppress(OSError):  # the web server's process has ended: this one is about to
            self._send(bulletin)

    def read(self, num_tokens: int, num_padded: int, seconds: float) -> None:
        """See Observer."""
        self._notes.append(("read", (num_tokens, num_padded, seconds)))

    def looked_up(self, num_known: int, num_tokens: int) -> None:
        """See Observer."""
        self._notes.append(("looked_up", (num_known, num_tokens)))

    def stepped(self, num_rows: int, seconds: float) -> None:
        """See Observer."""
        self._notes.append(("stepped", (num_rows, seconds)))

    def classified(self, num_rows: int, num_tokens: int, num_padded: int, seconds: float) -> None:
        """See Observer."""
        self._notes.append(("classified", (num_rows, num_tokens, num_padded, seconds)))
