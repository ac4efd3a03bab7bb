"""The loss of a CRF, against every sequence of labels that there is."""

from itertools import pairwise, product

import pytest
import torch
from torch import Tensor

from models.crf import allowed_transitions
from models.network.crf import negative_log_likelihood

LABELS = ("B-x", "I-x", "O")
ALLOWED = torch.from_numpy(allowed_transitions(LABELS))
LENGTHS = torch.tensor([4, 1, 3, 2])
GIVEN = torch.tensor([[0, 1, 1, 2], [2, 0, 0, 0], [0, 0, 1, 0], [2, 0, 0, 0]])


@pytest.fixture
def parts() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    emissions = torch.randn(4, 4, 3, generator=generator, dtype=torch.float64)
    return emissions, torch.randn(4, 4, generator=generator, dtype=torch.float64)


def score(emissions: Tensor, transitions: Tensor, classes: tuple[int, ...]) -> Tensor:
    steps = [transitions[a, b] for a, b in pairwise((3, *classes, 3))]
    return torch.stack([*steps, *(row[c] for row, c in zip(emissions, classes, strict=True))]).sum()


def test_the_loss_is_that_of_one_sequence_among_all(parts: tuple[Tensor, Tensor]) -> None:
    emissions, transitions = parts
    found = negative_log_likelihood(emissions, transitions, ALLOWED, GIVEN, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        own = emissions[row, :length]
        possible = [
            classes
            for classes in product(range(3), repeat=length)
            if all(ALLOWED[a, b] for a, b in pairwise((3, *classes, 3)))
        ]
        assert len(possible) == {1: 2, 2: 5, 3: 13, 4: 34}[length]
        every = torch.stack([score(own, transitions, classes) for classes in possible]).logsumexp(0)
        given = score(own, transitions, tuple(GIVEN[row, :length].tolist()))
        torch.testing.assert_close(found[row], every - given)


def test_padding_and_the_rest_of_the_batch_change_nothing(parts: tuple[Tensor, Tensor]) -> None:
    emissions, transitions = parts
    together = negative_log_likelihood(emissions, transitions, ALLOWED, GIVEN, LENGTHS)
    is_padding = torch.arange(4) >= LENGTHS.unsqueeze(1)
    padded = emissions.masked_fill(is_padding.unsqueeze(2), float("nan"))
    labels = GIVEN.masked_fill(is_padding, -100)
    assert torch.equal(negative_log_likelihood(padded, transitions, ALLOWED, labels, LENGTHS), together)
    for row, length in enumerate(LENGTHS.tolist()):
        one = slice(row, row + 1)
        alone = negative_log_likelihood(
            emissions[one, :length], transitions, ALLOWED, GIVEN[one, :length], LENGTHS[one]
        )
        torch.testing.assert_close(alone[0], together[row])


def test_what_is_not_allowed_is_not_learnt_and_padding_has_no_gradient(parts: tuple[Tensor, Tensor]) -> None:
    emissions, transitions = (part.requires_grad_() for part in parts)
    negative_log_likelihood(emissions, transitions, ALLOWED, GIVEN, LENGTHS).sum().backward()  # type: ignore[no-untyped-call]
    assert transitions.grad is not None
    assert emissions.grad is not None
    assert (transitions.grad[~ALLOWED] == 0).all()
    learnt = ALLOWED.clone()
    learnt[3, 3] = False  # an empty sentence, which there is none of
    assert (transitions.grad[learnt] != 0).all()
    is_padding = torch.arange(4) >= LENGTHS.unsqueeze(1)
    assert (emissions.grad[is_padding] == 0).all()
    assert emissions.grad.isfinite().all()
