import random
from pathlib import Path

import numpy as np
import pytest
import torch

from models.errors import DataError
from training.checkpoint import Checkpoint, load_checkpoint, random_state, save_checkpoint, set_random_state


def make(epoch: int) -> Checkpoint:
    return Checkpoint({"epoch": epoch}, {"w": torch.ones(3)}, {}, {}, torch.zeros(2, 4), random_state())


def test_generators_go_on_where_they_were(tmp_path: Path) -> None:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    torch.randn(5), np.random.randn(3), random.gauss(0, 1)  # noqa: NPY002
    save_checkpoint(tmp_path / "last.ckpt", make(0))
    expected = (torch.randn(4).tolist(), np.random.randn(4).tolist(), [random.gauss(0, 1) for _ in range(4)])  # noqa: NPY002
    set_random_state(load_checkpoint(tmp_path / "last.ckpt").generators)
    again = (torch.randn(4).tolist(), np.random.randn(4).tolist(), [random.gauss(0, 1) for _ in range(4)])  # noqa: NPY002
    assert again == expected


def test_a_write_that_is_cut_short_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, make(1))

    def cut_short(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", cut_short)
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(path, make(2))
    assert load_checkpoint(path).progress == {"epoch": 1}


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_part_of_a_checkpoint_never_loads(keep: float, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    save_checkpoint(path, make(1))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep if keep >= 1 else keep * len(whole))])
    with pytest.raises(DataError, match=r"last\.ckpt is not a whole checkpoint .*--fresh"):
        load_checkpoint(path)
