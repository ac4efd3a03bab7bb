"""The minGRU's two ways: all steps at once, as it is trained, and one by one, as it is served."""

import pytest
import torch

from models.config import RecurrentConfig
from models.network.recurrent import RecurrentStack


@pytest.mark.parametrize("lengths", [None, torch.tensor([50, 1, 17])])
def test_all_steps_at_once_give_what_single_steps_give_and_train_the_same(lengths: torch.Tensor | None) -> None:
    torch.manual_seed(0)
    stack = RecurrentStack(
        RecurrentConfig(kind="min-gru", input_size=5, hidden_size=6, num_layers=2, bidirectional=True)
    )
    stack = stack.double()
    inputs, state = 3 * torch.randn(3, 50, 5).double(), torch.rand(3, stack.config.state_size).double()
    found = []
    for is_training in (True, False):
        stack.train(is_training).zero_grad()
        outputs, last = stack(inputs, state, lengths)
        (outputs.square().sum() + last.sum()).backward()
        found.append((outputs, last, [parameter.grad.clone() for parameter in stack.parameters()]))  # type: ignore[union-attr]
    torch.testing.assert_close(found[0], found[1])


def test_a_state_of_zeros_is_a_beginning() -> None:
    torch.manual_seed(0)
    stack = RecurrentStack(RecurrentConfig(kind="min-gru", input_size=5, hidden_size=6, num_layers=1))
    inputs = torch.randn(2, 4, 5)
    outputs, _ = stack.train()(inputs, stack.zero_state(2))
    torch.testing.assert_close(outputs, stack.eval()(inputs, stack.zero_state(2))[0], rtol=1e-5, atol=1e-6)
