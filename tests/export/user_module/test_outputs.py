"""Return values of every form as named tensors in order."""

from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from export.user_module.outputs import named_tensors, output_names
from models.errors import ExportError, UnsupportedModelError

A, B, C = (torch.full((), number) for number in (1.0, 2.0, 3.0))


class Fields(NamedTuple):
    logits: Tensor
    state: tuple[Tensor, Tensor]


@dataclass
class Record:
    scores: Tensor
    rest: dict[str, Tensor] | None


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (A, ["output"]),
        ((A, B), ["output_0", "output_1"]),
        ([A, (B, C)], ["output_0", "output_1_0", "output_1_1"]),
        ((A, None, B), ["output_0", "output_2"]),
        ({"logits": A, "state": (B, C)}, ["logits", "state_0", "state_1"]),
        (Fields(A, (B, C)), ["logits", "state_0", "state_1"]),
        (Record(A, {"x": B}), ["scores", "rest_x"]),
        (Record(A, None), ["scores"]),
    ],
)
def test_names_are_the_keys_and_fields_on_the_way_or_positions(value: object, names: list[str]) -> None:
    found = named_tensors(value)
    assert [name for name, _ in found] == names
    assert [float(tensor) for _, tensor in found] == sorted(float(tensor) for _, tensor in found)


def test_what_is_no_tensor_is_named() -> None:
    with pytest.raises(UnsupportedModelError, match="Output info_width is int, not a tensor"):
        named_tensors({"logits": A, "info": {"width": 3}})


def test_an_output_never_has_an_inputs_name() -> None:
    assert output_names(["logits", "state"], None, ["ids", "state"]) == ["logits", "new_state"]
    assert output_names(["new_h", "h"], None, ["h"]) == ["output_0", "output_1"]
    assert output_names(["output"], ["logits"], ["ids"]) == ["logits"]
    with pytest.raises(ExportError, match="Output name 'a' is another output's"):
        output_names(["output_0", "output_1"], ["a", "a"], [])
