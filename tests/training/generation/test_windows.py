import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.errors import DataError
from training.generation.windows import IGNORED, Windows


@given(num_tokens=st.integers(2, 300), lanes=st.integers(1, 12), length=st.integers(1, 50))
def test_every_token_but_the_first_is_a_target_exactly_once(num_tokens: int, lanes: int, length: int) -> None:
    if num_tokens - 1 < lanes:
        with pytest.raises(DataError, match="too few"):
            Windows(np.arange(num_tokens), lanes=lanes, length=length)
        return
    windows = list(Windows(np.arange(num_tokens), lanes=lanes, length=length))
    targets = torch.cat([window.targets.flatten() for window in windows])
    assert sorted(targets[targets != IGNORED].tolist()) == list(range(1, num_tokens))
    sizes = [window.inputs.shape[1] for window in windows]
    assert max(sizes) <= length
    assert max(sizes) - min(sizes) <= 1
    assert [window.position for window in windows] == list(range(len(windows)))


@given(num_tokens=st.integers(20, 300), lanes=st.integers(1, 12), length=st.integers(1, 50))
def test_a_lane_goes_on_where_its_last_window_stopped(num_tokens: int, lanes: int, length: int) -> None:
    windows = Windows(np.arange(num_tokens), lanes=lanes, length=length)
    inputs = torch.cat([window.inputs for window in windows], dim=1)
    targets = torch.cat([window.targets for window in windows], dim=1)
    counts = targets != IGNORED
    assert (targets == inputs + 1)[counts].all()
    assert (inputs[:, 1:] == targets[:, :-1])[counts[:, 1:]].all()
    assert not (counts[:, 1:] & ~counts[:, :-1]).any()  # only a lane's end is empty


def test_starting_at_gives_the_rest() -> None:
    windows = Windows(np.arange(100), lanes=3, length=4)
    rest = [window.position for window in windows.starting_at(epoch=2, position=5)]
    assert rest == list(range(5, len(windows)))
    assert torch.equal(next(windows.starting_at(0, 5)).inputs, windows[5].inputs)
