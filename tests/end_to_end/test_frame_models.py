"""Seventeen models as people write them: wrapped, served, asked over HTTP, and held against PyTorch.

`wrap` has compared the graphs with each module at sizes that were not traced before anything was published; here the
server is asked. Sixteen are models of frames and are asked by the Open Inference Protocol; one is a translator.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from export.parity.errors import Errors
from export.user_module.outputs import named_tensors
from export.user_module.wrap.frames import random_row
from export.user_module.wrap.options import WrapOptions
from export.user_module.wrap.wrap import wrap_model
from models.bundle import Bundle
from models.signature import Port, Signature
from server.api.inference.tensors import DATATYPE_OF, DATATYPES
from tests.end_to_end.frame_models import CASES, Case, Seq2Seq
from tests.end_to_end.real_server import RealServer, real_server
from tests.end_to_end.wrapped_modules import marked_characters

MODULES = "tests.end_to_end.frame_models"
LENGTHS = [1, 2, 3, 5, 8, 16, 21, 33, 40, 64, 7, 12, 90, 4, 6, 31] * 2  # none is traced
SOURCES = ["the film was good", "a", "soup, soup and more soup", "not bad at all."] * 8

Arrays = dict[str, NDArray[Any]]


pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")  # PyTorch says once that they are slower
SLOW = pytest.mark.slow
DEFAULT = ("bilstmcrf", "layernormlstmstep")  # what no other test of the default run does in this way


@dataclass(frozen=True)
class Served:
    """A server with the model of a case alone."""

    case: Case
    server: RealServer
    signature: Signature


def published(case: Case, folder: Path) -> Bundle:
    torch.manual_seed(7)
    options = WrapOptions(
        f"{MODULES}:{case.kind.__name__}",
        "sequence",
        None,
        folder / case.name,
        inputs=case.inputs,
        outputs=case.outputs,
    )
    found = wrap_model(options)
    assert all(report.is_passed for report in found.reports)
    return found.bundle


@pytest.fixture(
    scope="module",
    params=[pytest.param(case, id=case.name, marks=() if case.name in DEFAULT else SLOW) for case in CASES],
)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp(request.param.name)
    bundle = published(request.param, folder / "store")
    signature = bundle.config.signature  # type: ignore[union-attr]
    assert signature is not None
    with real_server(folder / "store", log=folder / "log") as server:
        yield Served(request.param, server, signature)


def asked(server: RealServer, case: Case, row: Arrays, **parameters: Any) -> Arrays:
    """What the server gives for one row."""
    tensors = [
        {
            "name": name,
            "shape": [1, *values.shape],
            "datatype": DATATYPE_OF[values.dtype],
            "data": values.ravel().tolist(),
        }
        for name, values in row.items()
    ]
    with httpx.Client(base_url=server.url, timeout=120, verify=False) as client:
        body = {"inputs": tensors, "parameters": parameters}
        answer = client.post(f"/v2/models/{case.name}/infer", json=body)
    assert answer.status_code == 200, answer.text
    return {
        item["name"]: np.array(item["data"], DATATYPES[item["datatype"]]).reshape(item["shape"])[0]
        for item in answer.json()["outputs"]
    }


@torch.no_grad()
def eager(case: Case, signature: Signature, row: Arrays, *, is_precise: bool = False) -> Arrays:
    """What the user's own module gives, called as its user calls it; a step is repeated."""
    torch.manual_seed(7)
    module = case.kind().eval()
    inputs = [torch.from_numpy(values)[None] for values in row.values()]
    if is_precise:
        module = module.double()
        torch.set_default_dtype(torch.float64)
        inputs = [value.double() if value.is_floating_point() else value for value in inputs]
    try:
        outputs = _called(module, case, inputs)
    finally:
        torch.set_default_dtype(torch.float32)
    tensors = [tensor for _, tensor in named_tensors(outputs)]
    return {port.name: tensor[0].numpy() for port, tensor in zip(signature.outputs, tensors, strict=True)}


def _called(module: Any, case: Case, inputs: list[Any]) -> Any:
    if hasattr(module, "step"):
        begin = next(
            (getattr(module, name) for name in ("initial_state", "init_hidden") if hasattr(module, name)), None
        )
        if begin is None:
            states = [torch.zeros(1, size) for size in module.state_sizes]
        else:
            given = begin(1)
            states = list(given) if isinstance(given, tuple) else [given]
        steps = []
        for frame in inputs[0].unbind(1):
            y, *states = module.step(frame, *states)
            steps.append(y)
        return torch.stack(steps, 1)
    takes_lengths = "lengths" in module.forward.__code__.co_varnames[: module.forward.__code__.co_argcount]
    answer = module(*inputs, *([torch.tensor([inputs[0].shape[1]])] if takes_lengths else []))
    if not case.num_states:
        return answer
    outputs = answer[: -case.num_states]
    return outputs[0] if len(outputs) == 1 else outputs


def rows_of(signature: Signature) -> list[Arrays]:
    generator = np.random.default_rng(11)
    return [dict(random_row(signature, length, generator)) for length in LENGTHS]


def in_pieces(signature: Signature, row: Arrays, cuts: list[int]) -> list[Arrays]:
    has_time = {port.name: port.has_time for port in signature.inputs}
    return [
        {name: values[start:stop] if has_time[name] else values for name, values in row.items()}
        for start, stop in pairwise(cuts)
    ]


def joined(port: Port, pieces: list[Arrays]) -> NDArray[Any]:
    found = [piece[port.name] for piece in pieces]
    return np.concatenate(found) if port.has_time else found[-1]


def test_it_answers_as_its_module_alone_and_among_32(served: Served) -> None:
    case, signature = served.case, served.signature
    rows = rows_of(signature)
    alone = [asked(served.server, case, row) for row in rows]
    with ThreadPoolExecutor(len(rows)) as pool:
        together = list(pool.map(partial(asked, served.server, case), rows))
    errors = Errors()
    for row, one, among in zip(rows, alone, together, strict=True):
        expected = eager(case, signature, row)
        for name, values in one.items():
            assert among[name].tobytes() == values.tobytes()
            if values.dtype.kind != "f":
                assert np.array_equal(values, expected[name])
                continue
            exact = partial(_exact, case, signature, row, name)
            errors.add(values[None], expected[name][None].astype(np.float32), exact)
    assert errors.worst <= errors.tolerance


def _exact(case: Case, signature: Signature, row: Arrays, name: str) -> NDArray[Any]:
    return eager(case, signature, row, is_precise=True)[name][None]


def test_a_sequence_in_pieces_is_the_whole_one(served: Served) -> None:
    case, signature = served.case, served.signature
    if not case.num_states:
        pytest.skip("it reads whole sequences")
    row = dict(random_row(signature, 75, np.random.default_rng(12)))
    whole = asked(served.server, case, row)
    pieces = [
        asked(served.server, case, piece, sequence_id="pieces", sequence_start=index == 0)
        for index, piece in enumerate(in_pieces(signature, row, [0, 1, 2, 9, 41, 42, 75]))
    ]
    for port in signature.outputs:
        # The last bit may be another where the command says so, as of a projection of one frame.
        np.testing.assert_allclose(joined(port, pieces), whole[port.name], rtol=1e-5, atol=1e-6, err_msg=port.name)


@pytest.mark.slow
def test_a_translator_whose_states_are_pairs_answers_as_its_module_alone_and_among_32(tmp_path: Path) -> None:
    torch.manual_seed(7)
    store, tokenizer = tmp_path / "store", tmp_path / "tokenizer.json"
    marked_characters().save(str(tokenizer))
    marks = {"start_token": "<s>", "end_token": "</s>"}
    reference = f"{MODULES}:Seq2Seq"
    to = store / "seq2seq"
    wrap_model(WrapOptions(reference, "translation", tokenizer, to, source="en", target="de", **marks))  # type: ignore[arg-type]
    with real_server(store, log=tmp_path / "log") as server:
        alone = [translated(server, source) for source in SOURCES]
        with ThreadPoolExecutor(len(SOURCES)) as pool:
            assert list(pool.map(partial(translated, server), SOURCES)) == alone
    torch.manual_seed(7)
    module, read = Seq2Seq().eval(), Bundle(to / "1").tokenizer
    for source, found in zip(SOURCES[:4], alone, strict=False):
        tokens, score = greedy(module, read.encode(source), start_id=1, end_id=2)
        assert found["text"] == read.decode(tokens)
        assert found["score"] == pytest.approx(score, rel=1e-4)


def translated(server: RealServer, source: str) -> dict[str, Any]:
    body = {"text": source, "beam_size": 1, "max_tokens": 20, "replace_unknown": False, "length_penalty": 0}
    with httpx.Client(base_url=server.url, timeout=120, verify=False) as client:
        answer = client.post("/v1/translate", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["translations"][0]
    return found


@torch.no_grad()
def greedy(module: nn.Module, ids: list[int], start_id: int, end_id: int) -> tuple[list[int], float]:
    """The likeliest token again and again, 20 at most, and the sum of their log probabilities."""
    lengths = torch.tensor([len(ids) + 1])
    memory, keys, state = module.encode(torch.tensor([[*ids, end_id]]), lengths)  # type: ignore[operator]
    tokens: list[int] = []
    total, token = 0.0, start_id
    while len(tokens) < 20 and token != end_id:
        logits, state, _ = module.step(torch.tensor([token]), state, memory, keys, lengths)  # type: ignore[operator]
        token = int(logits[0].argmax())
        total += float(logits[0].log_softmax(0)[token])
        tokens.append(token)
    return tokens, total
