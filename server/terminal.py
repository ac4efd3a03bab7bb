"""The server's log as people read it on a terminal: a line for each event, without JSON."""

import time
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

_RED, _YELLOW, _BOLD, _DIM, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[1m", "\x1b[2m", "\x1b[0m"
_COLOURS = {"warning": _YELLOW, "error": _RED, "critical": _RED}
_SAID_WHEN_READY = ("listening", "model loaded")


class TerminalRenderer:
    """A structlog processor, the last one: an event to a line.

    What is served and where is one line, written when the server is ready.
    """

    def __init__(self) -> None:
        self._url = ""
        self._started = time.perf_counter()

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> str:
        """The line. Raises DropEvent for what is said later."""
        del logger, method
        name, level = str(event.pop("event")), str(event.pop("level", "info"))
        self._url = event.get("url", self._url)
        if name in _SAID_WHEN_READY:
            raise structlog.DropEvent
        failure = event.pop("exception", "")
        match name:
            case "ready":
                seconds = time.perf_counter() - self._started
                served = ", ".join(event["models"])
                text = f"{_BOLD}{self._url}{_PLAIN} serves {served} (ready after {seconds:.1f} s; Ctrl+C stops)"
            case "request":
                text = self._request(event)
            case _:
                details = " ".join(f"{key}={_shown(value)}" for key, value in event.items() if value is not None)
                text = f"{_COLOURS.get(level, '')}{name}{_PLAIN if level in _COLOURS else ''} {details}"
        line = f"{_DIM}{time.strftime('%H:%M:%S')}{_PLAIN} {text.rstrip()}"
        return f"{line}\n{failure}" if failure else line

    @staticmethod
    def _request(event: EventDict) -> str:
        status, error = event["status"], event["error"]
        colour = _RED if status >= 500 else _YELLOW if status >= 400 else ""
        tokens = f"{event['prompt_tokens']}+{event['completion_tokens']} tokens"
        parts = [event["path"], f"{colour}{status}{_PLAIN}", event["model"], error or tokens, f"{event['ms']} ms"]
        return " ".join(str(part) for part in parts if part)


def _shown(value: Any) -> str:
    """A value as it is read best: lists with commas, text with blanks in quotes."""
    if isinstance(value, list | tuple):
        return ",".join(str(item) for item in value) or "none"
    text = str(value)
    return f'"{text}"' if " " in text else text
