"""What an engine works on, whatever its task."""

from typing import Any, Protocol

from server.engine.mailbox import Mailbox
from server.engine.times import Times


class EngineRequest(Protocol):
    """What an engine works on: told apart by identity."""

    @property
    def mailbox(self) -> Mailbox[Any]:
        """Where its news go."""

    @property
    def times(self) -> Times:
        """When what happened to it."""

    def report(self) -> Any:
        """What the engine has found out about it so far, besides its news."""

    def heed(self, report: Any) -> None:
        """Note the report of this request's copy in the engine's process."""
