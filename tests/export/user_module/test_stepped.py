"""Modules with a step: their two graphs, where their states begin, language models of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.onnx.census import census
from export.tasks.task import WrapFacts
from export.user_module.wrap.generation import user_language_model
from models.errors import ExportError
from runtime.onnxruntime.build import open_session
from tests.export.user_module.command_line import run_module
from tests.export.user_module.modules import steps


def test_the_command_writes_a_step_without_a_loop_and_the_same_over_a_sequence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    vad = steps.Vad()
    monkeypatch.setattr(steps, "Vad", lambda: vad)
    inputs = ("frame:float32[batch,8]", "loudness:float32[batch]")
    done = run_module("tests.export.user_module.modules.steps:Vad", inputs, tmp_path / "vad.onnx")
    assert done.exit_code == 0, done.exception
    step, advance = (open_session(tmp_path / f"vad-{graph}.onnx") for graph in ("step", "advance"))
    names = ["speech", "score", "new_hidden_0", "new_hidden_1"]
    assert [each.name for each in step.get_outputs()] == [each.name for each in advance.get_outputs()] == names
    generator = np.random.default_rng(0)
    frames = generator.standard_normal((3, 5, 8)).astype(np.float32)
    loud = generator.random((3, 5)).astype(np.float32)
    states = {name: np.zeros((2, 3, 6), np.float32) for name in ("hidden_0", "hidden_1")}
    lengths = np.array([5, 2, 4])
    speech, _, *after = advance.run(None, {"frame": frames, "loudness": loud, "lengths": lengths, **states})
    for row, length in enumerate(lengths):
        own = {name: state[:, row : row + 1] for name, state in states.items()}
        for time in range(length):
            fed = {"frame": frames[row : row + 1, time], "loudness": loud[row : row + 1, time]}
            found, _, *new = step.run(None, {**fed, **own})
            np.testing.assert_allclose(found[0], speech[row, time], rtol=1e-5)
            own = dict(zip(own, new, strict=True))
        assert not speech[row, length:].any()
        for whole, state in zip(after, own.values(), strict=True):
            np.testing.assert_allclose(whole[:, row], state[:, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "is_native", "num_states"),
    [
        (steps.layer_norm_lstm_lm, False, 2),
        pytest.param(steps.min_gru_lm, False, 1, marks=pytest.mark.slow),
        pytest.param(steps.DefaultsLm, True, 1, marks=pytest.mark.slow),
    ],
)
def test_a_language_model_of_steps_has_a_step_without_a_loop(
    make: Callable[[], nn.Module], is_native: bool, num_states: int
) -> None:
    user = user_language_model(make().eval(), WrapFacts(vocab_size=30))
    assert len(user.config().state) == num_states
    graphs = user.graphs()
    assert {name: census(graph)["Scan"] for name, graph in graphs.items()} == {"advance": 1, "step": 0, "score": 1}
    if is_native:
        user.native()


def test_states_that_do_not_begin_with_zeros_are_marked_in_the_row() -> None:
    module = steps.ntm_lm().eval()
    user = user_language_model(module, WrapFacts(vocab_size=30))
    assert [part.name for part in user.config().state][-1] == "begun"
    ids = torch.tensor([[3, 1, 4], [1, 5, 9]])
    state, logits = module.cell.initial_state(2), []  # type: ignore[operator]
    with torch.no_grad():
        for token in ids.unbind(1):
            found, state = module.step(token, state)
            logits.append(found)
        whole, row = user(ids, torch.tensor([3, 2]), torch.zeros(2, user.layout.size))
        first, begun = user.once(ids[:, 0], torch.zeros(2, user.layout.size))
        second, _ = user.once(ids[:, 1], begun)
    torch.testing.assert_close(whole[0], torch.stack(logits, 1)[0])
    torch.testing.assert_close((first, second), (logits[0], logits[1]))
    assert row[:, -1].tolist() == [1, 1]


class _Refused(nn.Module):
    def __init__(self, answer: Callable[[Tensor, Tensor], object], initial: object = None) -> None:
        super().__init__()
        self._answer = answer
        if callable(initial):
            self.initial_state = initial
        elif initial is not None:
            self.state_sizes = initial

    def step(self, token: Tensor, h: Tensor) -> object:
        return self._answer(torch.nn.functional.one_hot(token % 8, 8).float(), h)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            _Refused(lambda x, h: (x, h)),
            r"takes the states h, and nothing says where they begin. Add to the class: def ",
        ),
        (_Refused(lambda x, h: (x, h), (8, 8)), r"state_sizes gives 2 states, the step takes h; give one for each"),
        (_Refused(lambda x, h: x, 8), r"_Refused.step gives Tensor; give the output and 1 new states: h"),
        (_Refused(lambda x, h: (x, (h, h)), 8), r"takes its states as .* and gives"),
        (_Refused(lambda x, h: (x, h), lambda batch: torch.zeros(1, 8)), r"begins as \[1, 8\] for a batch of 2 and as"),
        (_Refused(lambda x, h: (x, h), lambda: 0), r"\(batch\) fails in PyTorch: TypeError: .* 0 positional"),
    ],
)
def test_a_step_that_cannot_be_served_is_refused_with_what_to_add(module: nn.Module, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        user_language_model(module, WrapFacts(vocab_size=8))
