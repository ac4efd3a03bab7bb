"""Loops over time: those that become scans answer as PyTorch does at few steps and many, the others are refused."""

import re

import pytest
import torch
from torch import nn

from export.user_module.prove import LOOPED, MOST_LOOPED
from models.errors import ExportError, ParityError, UnsupportedModelError
from tests.export.user_module.exporting import WITH_LENGTHS, X, exported
from tests.export.user_module.modules import loops, refused_loops

SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("kind", "num_scans"),
    [
        (loops.LoopedLayerNormLstm, 1),
        (loops.Stack, 1),
        (loops.Summing, 1),
        (loops.BestPath, 2),
        pytest.param(loops.LoopedMinGru, 1, marks=SLOW),
        pytest.param(loops.LoopedNtm, 1, marks=SLOW),
        pytest.param(loops.BothWays, 2, marks=SLOW),
        pytest.param(loops.Layered, 1, marks=SLOW),
        pytest.param(loops.Chunks, 2, marks=SLOW),
        pytest.param(refused_loops.AsPrinted, 1, marks=SLOW),
    ],
)
def test_a_loop_over_time_is_a_scan_and_proven_at_few_steps_and_many(kind: type[nn.Module], num_scans: int) -> None:
    torch.manual_seed(0)
    takes_lengths = kind in (loops.Layered, refused_loops.AsPrinted)
    found = exported(kind().eval(), WITH_LENGTHS if takes_lengths else X)
    assert found.operators["Scan"] == num_scans
    assert {sizes["time"] for sizes in found.parity.compared} >= set(LOOPED)
    assert not [note for note in found.notes if "With time=0" not in note]  # no step, no answer, and an error says so


def test_a_loop_is_proven_beyond_every_number_of_its_code() -> None:
    found = exported(loops.Summing().eval())
    assert {sizes["time"] for sizes in found.parity.compared} >= {12, 13}  # the code has `> 11`
    assert max(sizes["time"] for sizes in found.parity.compared) <= MOST_LOOPED + 1


def test_a_question_about_sizes_beside_a_loop_stays_visible() -> None:
    with pytest.raises(
        ParityError, match=r"whether time <= 100 \(loops.py, line \d+: return y \* 2 if x.size\(1\) > 100"
    ):
        exported(loops.Decides().eval())


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            refused_loops.PositionAsNumber,
            r"line \d+ \(h = torch.where.*`for t in range\(x.size\(1\)\)` in line \d+ .* t is used as a number"
            r".*\n    positions = torch.arange\(x.size\(1\)\)  # before the loop"
            r"\n    h = torch.where\(\(positions\[t\] < lengths\).unsqueeze\(1\), new, h\)",
        ),
        (
            refused_loops.LengthAsNumber,
            r"steps, the number of steps, is used as a number.*\n    num_steps = torch.full\(\(\), steps\)  # before"
            r" the loop"
            r"\n    h = self.cell\(x\[:, t\] / num_steps, h\)",
        ),
        (
            refused_loops.StepBack,
            r"a value from one step back is read.*\n    x_before = torch.cat\(\[torch.zeros_like\(x\[:, :1\]\), "
            r"x\[:, :-1\]\], dim=1\).*\n    h = self.cell\(x\[:, t\] - x_before\[:, t\], h\)",
        ),
        (
            refused_loops.LastOfList,
            r"outputs, which the loop fills, is read.*\n    last = outputs\[-1\]  # before the loop.*"
            r"\n    last = self.cell\(x\[:, t\], last\)\n    outputs.append\(last\)",
        ),
        (refused_loops.AttendsToThePast, r"the list past is read, which grows .*\n    memory = torch.zeros"),
        (
            refused_loops.FirstStep,
            r"another than the rest \(`t == 0`\).*\n    h = torch.tanh\(x\[:, 0\]\)\n    outputs.append\(h\)"
            r"\n    for t in range\(1, x.size\(1\)\):\n        h = self.cell\(x\[:, t\], h\)\n        outputs.app",
        ),
        (
            refused_loops.BeginsWithNone,
            r"h is None before it and a tensor .*\n    h = torch.zeros\(batch, width\)  # bef",
        ),
        (
            refused_loops.AsksForNone,
            r"\(`h is None`\).*\n    h = torch.zeros\(x.size\(0\), 8\)\n    for t in range\(x.size\(1\)\):\n        ",
        ),
        (refused_loops.Breaks, r"break ends .*\n    is_done = torch.zeros.*\n    is_done = is_done \| \(bool\(\(h.abs"),
        (refused_loops.KeepsOnModule, r"self.last is set.*\n    last = \.\.\.  # before the loop.*\n    last = h$"),
        (
            refused_loops.EverySecondIntoTheList,
            r"i is used as a number.*torch.where\(positions\[i\] % 2 == 0, one_value",
        ),
        (refused_loops.Counts, r"count is 0 before it .*\n    count = torch.tensor\(0\)  # before the loop"),
        (
            refused_loops.Broadcasts,
            r"h is float32\[1, 8\] before a step and float32\[\*, 8\] after it.*line \d+: for frame",
        ),
        (
            refused_loops.ReadsWhatItFills,
            r"out, which the loop fills, is read.*\n    last = self.cell\(x\[:, t\], last\)",
        ),
        (refused_loops.EverySecondStep, r"takes steps of 2 \(refused_loops.py, line \d+: for t in .*x = x\[:, ::2\]"),
        (
            refused_loops.IteratesTheList,
            r"each element of a list of the time axis \(refused_loops.py, line \d+: return",
        ),
    ],
)
def test_a_loop_that_no_graph_can_have_is_refused_with_its_line_and_a_rewrite(
    kind: type[nn.Module], message: str
) -> None:
    with pytest.raises(UnsupportedModelError, match=re.compile(message, re.DOTALL)):
        exported(kind().eval(), WITH_LENGTHS)


def test_a_loop_over_a_number_of_steps_stays_as_it_was_written() -> None:
    found = exported(refused_loops.FirstStep().eval(), ("x:float32[batch,4,8]", "lengths:int64[batch]"))
    assert found.operators["Scan"] == 0


def test_a_loop_in_a_function_is_named_as_what_freezes_the_axis() -> None:
    class Around(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return _sum_of(x)

    with pytest.raises(ExportError, match=r"was frozen to 7 in test_loops.py, line \d+"):
        exported(Around())


def _sum_of(x: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(x.size(0), 8)
    for t in range(x.size(1)):
        total = total + x[:, t]
    return total
