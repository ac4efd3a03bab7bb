"""scan in eager mode: the loop that a user would write, with lengths."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from models.network.scan import scan

TIME, BATCH = 6, 4
LENGTHS = torch.tensor([6, 1, 4, 3])


def cell_and_frames() -> tuple[nn.LSTMCell, Tensor]:
    torch.manual_seed(0)
    return nn.LSTMCell(3, 5), torch.randn(BATCH, TIME, 3)


def running(cell: nn.LSTMCell) -> Callable[..., Any]:
    def step(frame: Tensor, state: tuple[Tensor, Tensor]) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor]]:
        h, c = cell(frame, state)
        return {"h": h, "sum": h + c}, (h, c)

    return step


def zeros() -> tuple[Tensor, Tensor]:
    return torch.zeros(BATCH, 5), torch.zeros(BATCH, 5)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_row_in_a_padded_batch_is_what_it_is_alone(reverse: bool) -> None:
    cell, frames = cell_and_frames()
    outputs, (h, c) = scan(running(cell), frames, zeros(), lengths=LENGTHS, reverse=reverse)
    for row, length in enumerate(LENGTHS.tolist()):
        own = (torch.zeros(1, 5), torch.zeros(1, 5))
        alone, state = scan(running(cell), frames[row : row + 1, :length], own, reverse=reverse)
        for name in ("h", "sum"):
            torch.testing.assert_close(outputs[name][row, :length], alone[name][0])
            assert not outputs[name][row, length:].any()
        torch.testing.assert_close((h[row], c[row]), (state[0][0], state[1][0]))


def test_held_outputs_repeat_the_rows_last_one() -> None:
    cell, frames = cell_and_frames()
    outputs, _ = scan(running(cell), frames, zeros(), lengths=LENGTHS, past_end="hold")
    for row, length in enumerate(LENGTHS.tolist()):
        assert (outputs["h"][row, length - 1 :] == outputs["h"][row, length - 1]).all()


def test_it_trains_as_a_loop_does_and_time_may_come_first() -> None:
    cell, frames = cell_and_frames()
    state, outputs = zeros(), []
    for frame in frames.unbind(1):
        state = cell(frame, state)
        outputs.append(state[0])
    torch.stack(outputs).square().sum().backward()  # type: ignore[no-untyped-call]
    expected = [parameter.grad.clone() for parameter in cell.parameters() if parameter.grad is not None]
    cell.zero_grad()
    found, _ = scan(running(cell), frames.transpose(0, 1), zeros(), batch_first=False)
    torch.testing.assert_close(found["h"], torch.stack(outputs))
    found["h"].square().sum().backward()
    torch.testing.assert_close([parameter.grad for parameter in cell.parameters()], expected)


def test_the_gradient_of_a_frame_past_the_end_is_zero() -> None:
    cell, frames = cell_and_frames()
    frames.requires_grad_()
    outputs, (h, _) = scan(running(cell), frames, zeros(), lengths=LENGTHS)
    (outputs["sum"].sum() + h.sum()).backward()
    assert frames.grad is not None
    is_past = torch.arange(TIME) >= LENGTHS.unsqueeze(1)
    assert not frames.grad[is_past].any()
    assert frames.grad[~is_past].any(dim=1).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: scan(lambda f, h: h, x, x[:, 0]), r"takes a frame and 1 states and gives Tensor; .* 1 \+ 1 values"),
        (lambda x: scan(lambda f, h: (h, [h]), x, x[:, 0]), r"takes its states as .* and gives .*; give them alike"),
        (lambda x: scan(lambda f: (f,), x), r"no state"),
        (lambda x: scan(lambda f, n: (f, n), x, 0), r"State \[0\] is int; it must be a tensor"),
        (lambda x: scan(lambda f, h: (f, h), x[:, 0, 0], x[:, 0]), r"frames is float32\[4\]; it must be"),
        (lambda x: scan(lambda f, h: (f, h), (x, x[:, 1:]), x[:, 0]), r"all must have one batch and one time"),
        (lambda x: scan(lambda f, h: (f, h), x[:, :0], x[:, 0]), r"float32\[4, 0, 3\], without a time step"),
        (
            lambda x: scan(lambda f, h: (f, h), x, x[:1, 0], lengths=LENGTHS),
            r"State \[0\] is float32\[1, 3\]; with len",
        ),
        (lambda x: scan(lambda f, h: (f, h), x, x[:, 0], lengths=LENGTHS[:2]), r"lengths is int64\[2\]; .* batch 4"),
        (lambda x: scan(lambda f, h: (f, h), x, x[:, 0], lengths=LENGTHS.float()), r"lengths is float32\[4\]"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(call: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(torch.randn(BATCH, TIME, 3))
