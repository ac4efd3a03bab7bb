"""The Neural Turing Machine: where its heads are, what they write and read, and how its state lies in the row."""

import pytest
import torch

from models.cells import NTM_LOCATIONS, NTM_WIDTH
from models.config import RecurrentConfig
from models.network.cells.ntm import NeuralTuringMachine
from models.network.recurrent import RecurrentStack

HEAD = NTM_WIDTH + 6  # numbers that address a head: key, strength, gate, shifts, sharpness
SURE = 50.0


def zeros(cell: NeuralTuringMachine) -> list[torch.Tensor]:
    hidden = cell.controller.hidden_size
    return [torch.zeros(1, width) for width in (hidden, hidden, NTM_LOCATIONS * NTM_WIDTH, 2 * NTM_LOCATIONS)]


def addressed(
    *, gate: float, shift: int, key: torch.Tensor | None = None, written: torch.Tensor | None = None
) -> NeuralTuringMachine:
    """A cell whose heads do the same at every step, whatever the input: sharply, 50 for what is certain."""
    cell = NeuralTuringMachine(3, 4)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        for head in (0, HEAD):
            if key is not None:
                cell.addressing.bias[head : head + NTM_WIDTH] = key
            cell.addressing.bias[head + NTM_WIDTH] = SURE  # strength
            cell.addressing.bias[head + NTM_WIDTH + 1] = gate
            cell.addressing.bias[head + NTM_WIDTH + 3 + shift] = SURE
            cell.addressing.bias[head + NTM_WIDTH + 5] = SURE  # sharpness
        if written is not None:
            cell.written.bias[NTM_WIDTH:] = written
        cell.read.weight.copy_(torch.eye(4, NTM_WIDTH))
    return cell.eval()


def weights_of(state: torch.Tensor) -> torch.Tensor:
    """[2, N]: of the write and the read head."""
    return state.reshape(2, NTM_LOCATIONS) + torch.eye(NTM_LOCATIONS)[0]


@pytest.mark.parametrize(("shift", "locations"), [(0, [0, 0, 0]), (1, [1, 2, 3]), (-1, [-1, -2, -3])])
def test_heads_begin_at_the_first_location_and_move_around_the_ring(shift: int, locations: list[int]) -> None:
    cell = addressed(gate=-SURE, shift=shift)
    states = zeros(cell)
    for location in locations:
        states = list(cell(torch.ones(1, 3), *states))
        expected = torch.eye(NTM_LOCATIONS)[location].expand(2, -1)
        torch.testing.assert_close(weights_of(states[3]), expected, rtol=0, atol=1e-6)


def test_what_is_written_is_read_and_then_found_by_its_content() -> None:
    code = torch.linspace(-2, 2, NTM_WIDTH)
    writer = addressed(gate=-SURE, shift=1, written=code)
    hidden, _, memory, _ = writer(torch.ones(1, 3), *zeros(writer))
    at_location = memory.reshape(NTM_LOCATIONS, NTM_WIDTH)
    torch.testing.assert_close(at_location[1], code.tanh(), rtol=1e-4, atol=1e-5)
    assert at_location.abs().sum(1)[torch.arange(NTM_LOCATIONS) != 1].max() < 1e-5
    torch.testing.assert_close(hidden[0], code.tanh()[:4], rtol=1e-4, atol=1e-5)

    reader = addressed(gate=SURE, shift=0, key=code)
    states = zeros(reader)
    states[2] = memory
    found = weights_of(reader(torch.ones(1, 3), *states)[3])
    torch.testing.assert_close(found, torch.eye(NTM_LOCATIONS)[1].expand(2, -1), rtol=0, atol=1e-4)


def test_the_row_has_each_part_in_its_own_width() -> None:
    config = RecurrentConfig(kind="ntm", input_size=3, hidden_size=4, num_layers=2)
    sizes = {entry.name: (entry.offset, entry.size) for entry in config.row}
    memory, weights = NTM_LOCATIONS * NTM_WIDTH, 2 * NTM_LOCATIONS
    assert sizes == {
        "h0": (0, 4),
        "h1": (4, 4),
        "c0": (8, 4),
        "c1": (12, 4),
        "memory0": (16, memory),
        "memory1": (16 + memory, memory),
        "weights0": (16 + 2 * memory, weights),
        "weights1": (16 + 2 * memory + weights, weights),
    }
    assert config.state_size == 16 + 2 * (memory + weights)
    torch.manual_seed(0)
    stack = RecurrentStack(config).eval()
    _, state = stack(torch.randn(2, 5, 3), stack.zero_state(2))
    first, second = (state[:, offset : offset + size] for offset, size in (sizes["weights0"], sizes["weights1"]))
    for part in (first, second):  # weights sum to 1, differences from the beginning to 0
        torch.testing.assert_close(part.reshape(2, 2, -1).sum(2), torch.zeros(2, 2), rtol=0, atol=1e-5)
        assert part.abs().max() > 0.1


def test_gradients_are_finite_from_a_blank_memory_and_through_sharp_weights() -> None:
    torch.manual_seed(0)
    stack = RecurrentStack(RecurrentConfig(kind="ntm", input_size=3, hidden_size=4, num_layers=1))
    with torch.no_grad():
        stack.layers.steps[0].addressing.bias.add_(20.0)  # type: ignore[union-attr, index]
    outputs, _ = stack(torch.randn(2, 60, 3), stack.zero_state(2))
    outputs.square().sum().backward()
    for name, parameter in stack.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all(), name


def test_an_untrained_write_head_goes_on_from_location_to_location() -> None:
    torch.manual_seed(0)
    cell = NeuralTuringMachine(3, 4).eval()
    states = zeros(cell)
    for step in range(1, 6):
        states = list(cell(torch.ones(1, 3), *states))
        assert int(weights_of(states[3])[0].argmax()) == step
