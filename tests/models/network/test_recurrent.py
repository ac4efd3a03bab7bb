import pytest
import torch

from models.cells import CELL_KINDS, CellKind
from models.config import RecurrentConfig
from models.network.recurrent import RecurrentStack


def stack_of(kind: CellKind, *, bidirectional: bool, num_layers: int = 2) -> RecurrentStack:
    torch.manual_seed(0)
    config = RecurrentConfig(
        kind=kind, input_size=3, hidden_size=5, num_layers=num_layers, bidirectional=bidirectional, dropout=0.5
    )
    return RecurrentStack(config).eval()


@pytest.mark.parametrize("kind", CELL_KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_row_of_a_padded_batch_equals_the_row_alone(kind: CellKind, bidirectional: bool) -> None:
    stack = stack_of(kind, bidirectional=bidirectional)
    lengths = torch.tensor([4, 1, 7, 2])
    inputs, state = torch.randn(4, 7, 3), torch.randn(4, stack.config.state_size)
    outputs, final = stack(inputs, state, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone, alone_final = stack(inputs[row : row + 1, :length], state[row : row + 1])
        torch.testing.assert_close(outputs[row : row + 1, :length], alone)
        torch.testing.assert_close(final[row : row + 1], alone_final)
        assert not outputs[row, length:].any()


@pytest.mark.parametrize("kind", CELL_KINDS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_training_computes_the_same_outputs_last_states_and_gradients(kind: CellKind, bidirectional: bool) -> None:
    stack = stack_of(kind, bidirectional=bidirectional)
    if isinstance(stack.layers, torch.nn.RNNBase):
        stack.layers.dropout = 0.0
    lengths = torch.tensor([4, 1, 7, 2])
    state = torch.randn(4, stack.config.state_size)
    is_text = (torch.arange(7) < lengths.unsqueeze(1)).unsqueeze(2)
    found = []
    for is_training in (False, True):
        stack.train(is_training).zero_grad()
        inputs = torch.where(is_text, torch.linspace(-1, 1, 84).view(4, 7, 3).sin(), 9.0).requires_grad_()
        outputs, final = stack(inputs, state, lengths)
        h = final[:, : stack.config.num_layers * outputs.shape[2]]  # c, after it, is NaN in training
        (outputs.square().sum() + h.cos().sum()).backward()
        gradients = [parameter.grad for parameter in stack.parameters()]
        found.append([outputs, h, inputs.grad, *gradients])
    for packed, padded in zip(*found, strict=True):
        torch.testing.assert_close(padded, packed)


def test_the_time_of_a_training_step_is_not_the_square_of_its_length() -> None:
    stack = stack_of("lstm", bidirectional=True, num_layers=1).train()
    inputs = torch.zeros(8, 400, 3, requires_grad=True)
    outputs, _ = stack(inputs, stack.zero_state(8), torch.arange(393, 401))
    nodes, seen = [outputs.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            nodes += [before for before, _ in node.next_functions]
    assert len(seen) < 100  # no node for each step, whose gradient would be as large as all steps'


@pytest.mark.parametrize("kind", CELL_KINDS)
def test_carried_state_continues_the_sequence(kind: CellKind) -> None:
    stack = stack_of(kind, bidirectional=False)
    inputs = torch.randn(2, 9, 3)
    whole, final = stack(inputs, stack.zero_state(2))
    state, pieces = stack.zero_state(2), []
    for piece in (inputs[:, :1], inputs[:, 1:6], inputs[:, 6:]):
        outputs, state = stack(piece, state)
        pieces.append(outputs)
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole)
    torch.testing.assert_close(state, final)


def test_the_row_is_all_h_then_all_c() -> None:
    stack = stack_of("lstm", bidirectional=False)
    inputs = torch.randn(1, 4, 3)
    outputs, row = stack(inputs, stack.zero_state(1))
    _, (h, c) = stack.layers(inputs)
    torch.testing.assert_close(row[0], torch.cat([h[:, 0].flatten(), c[:, 0].flatten()]))
    torch.testing.assert_close(row[0, 5:10], outputs[0, -1])


def test_one_layer_with_dropout_makes_no_warning() -> None:
    stack = stack_of("gru", bidirectional=False, num_layers=1)  # a warning is an error in the tests
    assert stack.layers.dropout == 0.0
