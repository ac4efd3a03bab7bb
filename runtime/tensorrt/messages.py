"""Every message of TensorRT, kept in a file; the worst ones also for an error's sentence."""

from pathlib import Path

import tensorrt as trt

_MAX_KEPT = 20  # errors kept for a sentence


class MessageFile(trt.ILogger):
    """A logger that writes each message as a line, severity first, and keeps errors.

    Args:
        path: the file; it is begun anew.
    """

    def __init__(self, path: Path) -> None:
        trt.ILogger.__init__(self)
        self._file = path.open("w", encoding="utf-8")
        self.errors: list[str] = []

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        """Called by TensorRT, from any thread."""
        self._file.write(f"{severity.name}: {msg}\n")
        is_error = severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR)
        if is_error and len(self.errors) < _MAX_KEPT:
            self.errors.append(msg)

    def close(self) -> None:
        """No message comes any more."""
        self._file.close()


class Errors(trt.ILogger):
    """A logger for running: keeps the last errors, drops the rest."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self._errors: list[str] = []

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        """Called by TensorRT, from any thread."""
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            self._errors = [*self._errors, msg][-_MAX_KEPT:]

    def taken(self) -> str:
        """What was kept since the last call, as one line."""
        errors, self._errors = self._errors, []
        return "; ".join(errors) or "no message"
