"""sha256 of files and of records, and writing files so that they survive a crash."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from models.errors import BundleCorruptError


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record_sha256(record: dict[str, Any]) -> str:
    """Hex sha256 of a JSON record in canonical form, without its own "sha256" field."""
    body = {key: value for key, value in record.items() if key != "sha256"}
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """The record with its own digest in the field "sha256"."""
    return {**record, "sha256": record_sha256(record)}


def read_sealed(path: Path) -> dict[str, Any]:
    """Read a sealed JSON record.

    Raises:
        BundleCorruptError: the file is missing, is not JSON, or its digest is not the one it states.
    """
    try:
        record = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BundleCorruptError(f"{path} is missing; publish or build it again.") from None
    except OSError as error:
        raise BundleCorruptError(f"{path} cannot be read ({error.strerror}); restore it or publish again.") from None
    except (ValueError, RecursionError) as error:
        raise BundleCorruptError(f"{path} is not JSON ({error}); restore it or publish again.") from None
    if not isinstance(record, dict) or record.get("sha256") != record_sha256(record):
        raise BundleCorruptError(f"{path} was changed: its sha256 is not the one it states; restore it.")
    return record


def check_files(folder: Path, digests: dict[str, str]) -> None:
    """Compare files with their recorded digests.

    Args:
        folder: where the files lie.
        digests: file name -> hex sha256. Names are plain: no path may leave the folder.

    Raises:
        BundleCorruptError: naming the file that is missing, changed, a link, or outside the folder.
    """
    for name, expected in digests.items():
        path = _plain_file(folder, name)
        _check_digest(path, file_sha256(path), expected)


def read_checked(folder: Path, name: str, expected: str) -> bytes:
    """The bytes of a file that has a recorded digest: those that were hashed, whatever happens to the file after.

    Raises:
        BundleCorruptError: as `check_files`.
    """
    path = _plain_file(folder, name)
    content = path.read_bytes()
    _check_digest(path, hashlib.sha256(content).hexdigest(), expected)
    return content


def _plain_file(folder: Path, name: str) -> Path:
    path = folder / name
    if Path(name).name != name or name in ("", ".", ".."):
        raise BundleCorruptError(f"{folder}: file name {ascii(name)[:80]} leaves the folder; only plain names.")
    if path.is_symlink() or not path.is_file():
        raise BundleCorruptError(f"{path} is missing or is not a plain file; restore it or publish again.")
    return path


def _check_digest(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise BundleCorruptError(
            f"{path} was changed: sha256 {found[:12]}..., recorded {expected[:12]}...; restore it."
        )


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and force it to the disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Force a folder's entries (new names, renames) to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(path: Path) -> None:
    """Force every file below a folder, and the folders, to the disk."""
    for item in sorted(path.rglob("*")):
        sync_folder(item)  # fsync takes a read-only descriptor of a file as well as of a folder
    sync_folder(path)


def as_json(record: dict[str, Any]) -> bytes:
    """The record as indented UTF-8 JSON with a final newline."""
    return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()
