"""A user's model of frames in int8: made of its fp32 graphs, held to their answers, exact in any batch, and served."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export.build import build_sets, verify_set
from export.parity.explained import KEPT, LOST, Explained
from export.user_module.wrap.command import architecture_with_code
from export.user_module.wrap.options import WrapOptions
from export.user_module.wrap.wrap import wrap_model
from models.bundle import Bundle
from models.errors import ExportError, ParityError
from tests.end_to_end.real_server import real_server
from tests.export.user_module.wrap.test_sequence import INPUTS
from tests.export.user_module.wrap.test_sequence import MODULES as FRAMES

OWN = __name__
X = ("x:float32[batch,time,4]",)
MODULES = {
    **{name: (FRAMES, INPUTS[name]) for name in ("Vad", "Policy", "Tags")},
    "Broad": (OWN, ("x:float32[batch,time,700]",)),
}


class Uneven(nn.Module):
    """One state is always near 1, and its weights, which a bias takes away again, are 60 times the others'."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gru = nn.GRU(4, 32, batch_first=True)
        reset, update, candidate = slice(0, 32), slice(32, 64), slice(64, 96)
        weight, bias = self.gru.state_dict()["weight_hh_l0"], self.gru.state_dict()["bias_hh_l0"]
        for gate in (reset, update, candidate):
            weight[gate, 0] = 12
            bias[gate] -= 12
            weight[gate][0] = bias[gate][0] = 0
        self.gru.state_dict()["bias_ih_l0"][update][0] = -9
        self.gru.state_dict()["bias_ih_l0"][candidate][0] = 9

    def forward(self, x: Tensor, h: Any = None) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self.gru(x, h)
        return found


class Broad(nn.Module):
    """So many inputs that the runtime sums a product in several blocks."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gru = nn.GRU(700, 16, batch_first=True)

    def forward(self, x: Tensor, h: Any = None) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self.gru(x, h)
        return found


class Leaky(nn.Module):
    """Has no LSTM and no GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.RNN(4, 6, batch_first=True)

    def forward(self, x: Tensor, h: Any = None) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self.rnn(x, h)
        return found


def wrapped(folder: Path, module: str, reference: str, inputs: tuple[str, ...]) -> Bundle:
    options = WrapOptions(f"{reference}:{module}", "sequence", None, folder / module.lower(), inputs=inputs)
    return wrap_model(options).bundle


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    for name, (reference, inputs) in MODULES.items():
        bundle = wrapped(folder, name, reference, inputs)
        assert bundle.graph_sets == ("fp32",)
        build_sets(bundle, ("int8",))
    return folder


@pytest.mark.parametrize("name", MODULES)
def test_it_is_built_without_the_code_and_keeps_its_answers_and_its_bits(store: Path, name: str) -> None:
    bundle = Bundle(store / name.lower() / "1")
    assert bundle.graph_sets == ("fp32", "int8")
    code = architecture_with_code(bundle, f"{MODULES[name][0]}:{name}")
    for report in (verify_set(bundle, "int8"), verify_set(bundle, "int8", architecture=code)):
        assert report.is_passed, report.failure()
        figures = report.figures()
        assert 0 < figures[LOST] <= 0.01
        assert figures.get(KEPT, 1) >= 0.99
        assert figures["other_bits_by_batch"] == figures.get("other_bits_by_chunks_or_steps", 0) == 0
        judged = {check.name for check in report.checks}
        assert {LOST, "other_bits_by_batch"} <= judged
    counts = bundle.graph_set("int8").manifest.notes["operators"]
    assert all(graph["MatMulInteger"] and not graph.get("LSTM", 0) + graph.get("GRU", 0) for graph in counts.values())
    assert verify_set(bundle, "fp32", architecture=code).figures()[LOST] < 1e-9


def test_one_that_int8_changes_too_much_has_no_such_set(tmp_path: Path) -> None:
    bundle = wrapped(tmp_path, "Uneven", OWN, X)
    with pytest.raises(ParityError, match=rf"{LOST} is .*, allowed 0\.01.* It is not published\."):
        build_sets(bundle, ("int8",))
    assert bundle.graph_sets == ("fp32",)


def test_one_without_such_layers_is_refused(tmp_path: Path) -> None:
    bundle = wrapped(tmp_path, "Leaky", OWN, X)
    with pytest.raises(ExportError, match=r"has no int8 set: its graphs hold no nn\.LSTM and no nn\.GRU"):
        build_sets(bundle, ("int8",))


def test_the_server_measures_both_and_answers_from_one(store: Path) -> None:
    frames = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    answers = {}
    for chosen in ((), ("--set", "int8"), ("--set", "fp32")):
        with real_server(store, "--models", "vad", *chosen, log=store.parent / "log") as server:
            (model,) = server.client.get("/v1/models").json()["data"]

            def read(start: int, stop: int, **parameters: Any) -> list[float]:
                tensor = {"name": "frames", "shape": [1, stop - start, 8], "datatype": "FP32"}
                body = {"parameters": parameters, "inputs": [{**tensor, "data": frames[start:stop].ravel().tolist()}]}
                answer = server.client.post("/v2/models/vad/infer", json=body)
                assert answer.status_code == 200, answer.text
                found: list[float] = answer.json()["outputs"][0]["data"]
                return found

            whole = read(0, 40)
            pieces = [
                read(start, start + 8, sequence_id=1, sequence_start=start == 0, sequence_end=start == 32)
                for start in range(0, 40, 8)
            ]
            assert [number for piece in pieces for number in piece] == whole
            answers[chosen] = (model["precision"], whole)
    precision, whole = answers.pop(())
    assert {found for found, _ in answers.values()} == {"int8", "fp32"}
    assert whole == dict(answers.values())[precision]
    assert answers[("--set", "int8")][1] != answers[("--set", "fp32")][1]


def test_shares_are_of_each_output_and_the_worst_counts() -> None:
    explained = Explained()
    expected = np.array([[1.0, 10.0], [3.0, 10.0], [5.0, 10.0]], np.float32)
    explained.add("wide", expected + np.array([[0.2, 0], [0, 0], [0, 0]], np.float32), expected)
    explained.add("same", expected, expected)
    explained.add("best", np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5]))
    assert explained.figures()[LOST] == pytest.approx(0.2**2 / 8, rel=1e-5)
    assert explained.figures()[KEPT] == 0.75
    explained.add("broken", np.array([[np.nan]]), np.array([[1.0]]))
    assert explained.figures()[LOST] == float("inf")
