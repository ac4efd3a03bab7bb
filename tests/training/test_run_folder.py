from pathlib import Path

import pytest

from models.errors import ConfigError, DataError
from training.recipe import TrainerSection
from training.run_folder import RunFolder


def test_a_changed_recipe_is_refused_with_the_keys_and_the_way_out(tmp_path: Path) -> None:
    with RunFolder.opened(tmp_path / "run") as folder:
        folder.claim({"model": {"hidden_size": 8}, "store": "a"}, "d1")
        folder.claim({"model": {"hidden_size": 8}, "store": "b"}, "d1")
        with pytest.raises(ConfigError, match=r"model\.hidden_size \(8 there, 16 now\)\. .*run_dir=.*--fresh"):
            folder.claim({"model": {"hidden_size": 16}, "store": "a"}, "d1")
        with pytest.raises(ConfigError, match=r"data_sha256 \(d1 there, d2 now\)"):
            folder.claim({"model": {"hidden_size": 8}, "store": "a"}, "d2")
        folder.clear()
        folder.claim({"model": {"hidden_size": 16}, "store": "a"}, "d1")


def test_a_folder_of_an_earlier_version_is_of_the_same_run(tmp_path: Path) -> None:
    trainer = TrainerSection(accelerator="cpu").model_dump()
    rest = {"task": "generation", "seed": 1}
    with RunFolder.opened(tmp_path) as folder:
        folder.recipe.write_text('{"task": "language-model", "accelerator": "cpu", "seed": 1, "data_sha256": "d1"}')
        folder.claim({**rest, "trainer": trainer}, "d1")
        with pytest.raises(ConfigError, match=r"trainer\.devices \(1 there, 2 now\)\. "):
            folder.claim({**rest, "trainer": {**trainer, "devices": 2}}, "d1")


def test_data_by_another_path_is_the_same_run_while_its_digest_is(tmp_path: Path) -> None:
    with RunFolder.opened(tmp_path) as folder:
        folder.claim({"data": {"path": "my.txt"}}, "d1")
        folder.claim({"data": {"path": "/home/me/my.txt"}}, "d1")
        with pytest.raises(ConfigError, match=r"recipe: data_sha256 \(d1 there, d2 now\)\. "):
            folder.claim({"data": {"path": "other.txt"}}, "d2")


@pytest.mark.parametrize("content", [b"", b'{"seed": 1', b"\xff", b"[1]"])
def test_broken_records_are_named_with_the_way_out(content: bytes, tmp_path: Path) -> None:
    with RunFolder.opened(tmp_path) as folder:
        folder.recipe.write_bytes(content)
        folder.published.write_bytes(content)
        with pytest.raises(DataError, match=r"recipe\.json is not .*--fresh"):
            folder.claim({}, "d")
        with pytest.raises(DataError, match=r"published\.json is not .*remove it"):
            folder.read_published()
        folder.clear()
        folder.claim({}, "d")
        assert folder.read_published() is None


def test_a_published_record_without_its_fields_is_named(tmp_path: Path) -> None:
    with RunFolder.opened(tmp_path) as folder:
        folder.published.write_text('{"bundle": 3}', encoding="utf-8")
        with pytest.raises(DataError, match=r"published\.json does not say bundle and sha256; remove it"):
            folder.read_published()


def test_clearing_leaves_what_a_user_put_there(tmp_path: Path) -> None:
    with RunFolder.opened(tmp_path) as folder:
        folder.claim({}, "d")
        (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
        folder.clear()
    assert (tmp_path / "notes.txt").is_file()
    assert not folder.recipe.exists()


def test_two_processes_never_train_in_one_folder(tmp_path: Path) -> None:
    with (
        RunFolder.opened(tmp_path),
        pytest.raises(ConfigError, match="in use by another process"),
        RunFolder.opened(tmp_path),
    ):
        pass
