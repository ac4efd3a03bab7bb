"""The store: a folder of models, each a folder of versions. Knows names and versions; knows nothing of their contents.

    <store>/<name>/<version>/    version 1, 2, 3 ...; "name" means the highest, "name/2" that one

A version appears whole or not at all: it is built in a hidden folder beside, forced to the disk, and renamed in.
"""

import fcntl
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.digest import sync_folder, sync_tree
from models.errors import BundleError, BundleNotFoundError

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_BUILDING = ".building-"
_REPLACED = ".replaced-"


class Store:
    """A folder of published models.

    Args:
        root: the folder; it need not exist before the first publication.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def names(self) -> list[str]:
        """Names of the models that have at least one version, sorted."""
        if not self.root.is_dir():
            return []
        folders = sorted(path.name for path in self.root.iterdir() if path.is_dir())
        return [name for name in folders if NAME.fullmatch(name) and self.versions(name)]

    def versions(self, name: str) -> list[int]:
        """Published versions of a model, ascending; empty when there is none."""
        folder = self.root / checked_name(name)
        if not folder.is_dir():
            return []
        versions = (path.name for path in folder.iterdir() if path.is_dir())
        return sorted(int(name) for name in versions if re.fullmatch(r"[1-9][0-9]{0,8}", name))

    def resolve(self, model: str) -> Path:
        """The folder of "name" (its highest version) or "name/version".

        Raises:
            BundleNotFoundError: there is none; the message lists what exists.
        """
        name, _, version = model.partition("/")
        versions = self.versions(name) if NAME.fullmatch(name) else []
        if not versions:
            raise BundleNotFoundError(
                f"Model {ascii(name)[:80]} not found in {self.root}. Models: {', '.join(self.names()) or 'none'}."
            )
        wanted = version or str(versions[-1])
        if wanted not in map(str, versions):
            raise BundleNotFoundError(
                f"Version {ascii(wanted)[:80]} of model {name} not found. Versions: {', '.join(map(str, versions))}."
            )
        return self.root / name / wanted

    @contextmanager
    def new_version(self, name: str) -> Iterator[tuple[Path, Path]]:
        """Publish a version: fill the yielded folder; on a clean exit it becomes the next version.

        Yields:
            (folder to fill, path it will have). An exception, or a kill at any point, leaves nothing that loads.
        """
        home = self.root / checked_name(name)
        home.mkdir(parents=True, exist_ok=True)
        with locked(home):
            target = home / str(max(self.versions(name), default=0) + 1)
            with built_beside(target) as folder:
                yield folder, target
        sync_folder(self.root)


def checked_name(name: str) -> str:
    """The name, if a model may have it.

    Raises:
        BundleError: it is not lower-case letters, digits, '.', '_', '-', at most 64, starting with a letter or digit.
    """
    if not NAME.fullmatch(name):
        raise BundleError(
            f"Model name {ascii(name)[:80]} is not allowed: 1 to 64 of a-z, 0-9, '.', '_', '-', "
            "starting with a letter or digit."
        )
    return name


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that of two publishers one waits. The lock goes when the process does."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def built_beside(target: Path) -> Iterator[Path]:
    """Yield a hidden folder beside target; on a clean exit force it to the disk and rename it to target.

    A target that is there already (a graph set that is built again) steps aside first and comes back if anything
    fails, at the next call if the process was killed in between: a name is never half full.

    Call with the parent's lock held: then every hidden folder there is what a killed builder left.
    """
    _clear_up(target.parent)
    folder = Path(tempfile.mkdtemp(prefix=_BUILDING, dir=target.parent))
    replaced = target.parent / (_REPLACED + target.name)
    try:
        yield folder
        folder.chmod(0o755)
        sync_tree(folder)
        if target.exists():
            target.rename(replaced)
        folder.rename(target)
        sync_folder(target.parent)
    finally:
        _clear_up(target.parent)


def _clear_up(parent: Path) -> None:
    """Remove what was half built, and put back what was replaced by nothing."""
    for half in parent.glob(_BUILDING + "*"):
        shutil.rmtree(half, ignore_errors=True)
    for old in parent.glob(_REPLACED + "*"):
        home = parent / old.name.removeprefix(_REPLACED)
        if home.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(home)
