import threading
from pathlib import Path

import pytest

from models.errors import BundleError, BundleNotFoundError
from models.store import Store, built_beside


def test_versions_count_up_and_a_bare_name_is_the_highest(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for _ in range(11):
        with store.new_version("m") as (folder, _target):
            (folder / "file").write_text("x")
    assert store.versions("m") == list(range(1, 12))
    assert store.resolve("m").name == "11"  # by number, not by spelling
    assert store.resolve("m/2").name == "2"


def test_an_unknown_model_or_version_is_answered_with_those_that_exist(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.new_version("shakespeare") as (folder, _target):
        (folder / "file").write_text("x")
    with pytest.raises(BundleNotFoundError, match=r"'shakespear' not found .* Models: shakespeare\."):
        store.resolve("shakespear")
    with pytest.raises(BundleNotFoundError, match=r"Version '7' of model shakespeare not found. Versions: 1\."):
        store.resolve("shakespeare/7")
    for hostile in ("../shakespeare", "shakespeare/../1", "", "/", "shakespeare/01", "a\0b"):
        with pytest.raises(BundleNotFoundError):
            store.resolve(hostile)


@pytest.mark.parametrize("name", ["", "A", "../x", "a/b", "-a", "a" * 65, ".hidden"])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleError, match="is not allowed"), Store(tmp_path).new_version(name):
        pass


def test_a_failed_publication_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(FileNotFoundError), store.new_version("m") as (folder, _target):
        (folder / "no such folder" / "file").write_text("x")
    assert store.names() == []
    assert [path.name for path in (tmp_path / "m").iterdir()] == [".lock"]


def test_two_publishers_at_once_get_two_versions(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def publish() -> None:
        with store.new_version("m") as (folder, target):
            (folder / "version").write_text(target.name)

    threads = [threading.Thread(target=publish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.versions("m") == list(range(1, 9))
    assert all((tmp_path / "m" / str(v) / "version").read_text() == str(v) for v in range(1, 9))


def test_a_file_in_a_versions_place_is_no_version(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with store.new_version("m") as (folder, _target):
        (folder / "file").write_text("x")
    (tmp_path / "m" / "2").touch()
    assert store.versions("m") == [1]


def test_what_was_replaced_comes_back_when_the_builder_failed_or_was_killed(tmp_path: Path) -> None:
    target = tmp_path / "set"
    target.mkdir()
    (target / "file").write_text("old")
    with pytest.raises(FileNotFoundError), built_beside(target) as folder:
        folder.rmdir()  # so that the last rename fails, after the old one has stepped aside
    assert (target / "file").read_text() == "old"
    target.rename(tmp_path / ".replaced-set")  # where a kill between the two renames leaves it
    with pytest.raises(ValueError, match="next builder fails too"), built_beside(target):
        raise ValueError("next builder fails too")
    assert (target / "file").read_text() == "old"
    with built_beside(target) as folder:
        (folder / "file").write_text("new")
    assert (target / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]
