"""Sessions on disk between one server process and the next: a signed file for each, <id>.session in one folder.

A file is read once: what was read lives in the server from then on, and is written again at its end. So no session is
taken up by two servers, and none that was changed or removed since comes back.
"""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgpack
import structlog
from pydantic import Field, ValidationError

from models.config import FrozenModel
from models.digest import write_durably
from server.errors import ApiError
from server.sessions.state import FORMAT, signed, signed_map

log = structlog.get_logger()

SUFFIX = ".session"
ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"  # safe in a path of a URL and as a file name
_PURPOSE = "session file"


class SavedSession(FrozenModel):
    """A session as a file holds it; see Session."""

    id: Annotated[str, Field(pattern=ID_PATTERN)]
    ttl_seconds: Annotated[float, Field(gt=0)]
    used: float
    state: bytes  # as server.sessions.state


@dataclass(frozen=True)
class SessionFolder:
    """Where sessions wait for the next process."""

    path: Path
    key: bytes  # signs the files

    def prepare(self) -> None:
        """Make the folder, for its owner alone, and see that it can be written to. Raises OSError."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.path):
            pass

    def write(self, saved: SavedSession) -> None:
        """Write one, whole or not at all, readable by its owner alone. Raises OSError."""
        content = signed(msgpack.packb({"format": FORMAT, **saved.model_dump()}), self.key, _PURPOSE)
        descriptor, name = tempfile.mkstemp(dir=self.path)
        os.close(descriptor)
        try:
            write_durably(Path(name), content)
            Path(name).rename(self.path / f"{saved.id}{SUFFIX}")
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def read(self) -> Iterator[tuple[Path, SavedSession]]:
        """All that can be read, with their files; of the others the log says why. Raises OSError for the folder."""
        for path in sorted(self.path.glob(f"*{SUFFIX}")):
            try:
                content = signed_map(path.read_bytes(), self.key, _PURPOSE)
                content.pop("format", None)  # that of the state inside is looked at
                yield path, SavedSession.model_validate(content)
            except (ApiError, OSError) as error:
                log.warning("session not read", file=str(path), reason=str(error))
            except ValidationError as error:
                reason = "; ".join(item["msg"] for item in error.errors(include_url=False, include_input=False))
                log.warning("session not read", file=str(path), reason=reason)
