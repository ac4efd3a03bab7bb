import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.errors import DataError
from models.tokenizer import Tokenizer
from training.generation.windows import IGNORED, Windows, num_characters, stream_from_documents


def test_ends_stand_before_the_first_document_and_after_each() -> None:
    tokenizer = Tokenizer.character(["ab"], end_token=True)
    ids = stream_from_documents(["ab", "b"], tokenizer, has_ends=True)
    end, (a, b) = tokenizer.end_id, tokenizer.encode("ab")
    assert ids.tolist() == [end, a, b, end, b, end]
    assert num_characters(ids[1:], tokenizer) == 5


def test_without_ends_the_stream_is_the_text() -> None:
    tokenizer = Tokenizer.character(["abc"])
    ids = stream_from_documents(["cab"], tokenizer, has_ends=False)
    assert tokenizer.decode(ids.tolist()) == "cab"


def test_characters_of_bpe_tokens_are_counted_as_text() -> None:
    text = "the the the the 海 " * 30
    tokenizer = Tokenizer.byte_bpe([text], 270)
    ids = stream_from_documents([text], tokenizer, has_ends=False)
    assert len(ids) < len(text)
    assert num_characters(ids, tokenizer) == len(text)


def test_a_stream_of_one_token_is_refused() -> None:
    with pytest.raises(DataError, match="gives 1 tokens; at least 2"):
        stream_from_documents(["a"], Tokenizer.character(["a"]), has_ends=False)


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
