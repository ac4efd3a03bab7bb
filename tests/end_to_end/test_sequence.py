"""docs/sequence.md as a reader would follow it, and the model it makes asked by NVIDIA's own client."""

import asyncio
import importlib.util
import json
import random
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
import tritonclient.http as triton
from numpy.typing import NDArray
from safetensors.torch import load_model
from tritonclient.utils import InferenceServerException

from export.parity.errors import Errors
from models.bundle import Bundle
from runtime.frames import batched
from runtime.opening import CPU, open_set
from tests.end_to_end.real_server import RealServer, real_server
from tests.end_to_end.test_readme import same
from tests.forked import Program

DOCUMENT = Path("docs/sequence.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`(\w+\.py)`.*?```python\n(.*?)```", DOCUMENT, re.DOTALL | re.MULTILINE))
(COMMANDS,) = re.findall(r"```sh\n(python my_vad.*?)```", DOCUMENT, re.DOTALL)
QUESTIONS = re.findall(r"```sh\n(curl .*?)```\s+```json\n(.*?)```", DOCUMENT, re.DOTALL)
INFER = "/v2/models/vad/infer"

Floats = NDArray[np.float32]


@pytest.fixture(scope="module")
def folder(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the document's files are and its commands were run, but the last one, which serves."""
    found = tmp_path_factory.mktemp("sequence")
    for name, text in FILES.items():
        (found / name).write_text(text, encoding="utf-8")
    *commands, serve = COMMANDS.replace("\\\n", " ").strip().splitlines()
    assert serve == "python -m server --store store"
    for command in commands:
        python, *arguments = shlex.split(command)
        assert python == "python"
        module = arguments[1:] if arguments[0] == "-m" else [arguments[0].removesuffix(".py"), *arguments[1:]]
        done = program(*module, folder=found)
        assert done.returncode == 0, done.stdout + done.stderr
    return found


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RealServer]:
    limits = {
        "max-requests": 200,
        "max-sequences": 20_000,
        "sequence-idle-seconds": 3600,
        "request-timeout-ms": 600_000,
    }
    flags = [text for name, value in limits.items() for text in (f"--{name}", str(value))]
    with real_server(folder / "store", *flags, log=folder / "log") as running:
        yield running


@pytest.fixture
def client(server: RealServer) -> Iterator[Any]:
    with triton.InferenceServerClient(server.url.removeprefix("http://"), concurrency=4) as found:
        yield found


def frames_of(seed: int, length: int) -> Floats:
    """float32 [length, 8]."""
    return np.random.default_rng(seed).standard_normal((length, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def graphs(folder: Path) -> Any:
    """reads(rows): what the graphs give by themselves to float32 [n, length, 8], read from zeros."""
    bundle = Bundle(folder / "store" / "vad" / "1")
    signature = bundle.config.signature  # type: ignore[union-attr]
    sequences = open_set(CPU, bundle, "fp32").sequences()

    def reads(rows: Floats) -> Floats:
        assert signature is not None
        inputs = batched(signature, [{"frames": row} for row in rows], rows.shape[1])
        state = np.zeros((len(rows), bundle.record.state_width), np.float32)
        speech: Floats = sequences.run("advance", inputs | {"state": state})["speech"]
        return speech

    return reads


def read(client: Any, frames: Floats, *, is_binary: bool = True, **sequence: Any) -> Floats:
    """What the client gets for float32 [n, 8]: float32 [n]."""
    tensor = triton.InferInput("frames", [1, *frames.shape], "FP32")
    tensor.set_data_from_numpy(frames[None], binary_data=is_binary)
    outputs = None if is_binary else [triton.InferRequestedOutput("speech", binary_data=False)]
    found: Floats = client.infer("vad", [tensor], outputs=outputs, **sequence).as_numpy("speech")[0]
    return found


@pytest.mark.parametrize(("command", "documented"), QUESTIONS, ids=["metadata", "infer"])
def test_a_question_is_answered_as_the_document_says(command: str, documented: str, server: RealServer) -> None:
    command = command.replace("http://127.0.0.1:8000", server.url)
    found = json.loads(subprocess.run(["bash", "-c", command], check=True, capture_output=True, text=True).stdout)
    same(json.loads(documented), found)


def test_the_documents_client_runs(folder: Path, server: RealServer) -> None:
    text = FILES["ask.py"].replace("127.0.0.1:8000", server.url.removeprefix("http://"))
    done = subprocess.run([sys.executable, "-c", text], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == FILES["ask.py"].split("# ")[-1].strip()


def test_the_client_sees_the_server_and_the_model(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("vad")
    assert client.is_model_ready("vad", "1")
    assert not client.is_model_ready("vad", "2")
    assert "sequence(string_id)" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata("vad")["outputs"] == [{"name": "speech", "datatype": "FP32", "shape": [-1, -1]}]
    with pytest.raises(InferenceServerException, match="Model 'film' not found"):
        client.get_model_metadata("film")


def test_json_and_bytes_give_the_same_numbers_and_those_of_the_graphs(client: Any, graphs: Any) -> None:
    for length in (1, 2, 31, 64, 77):
        frames = frames_of(length, length)
        wanted = graphs(frames[None])[0]
        for is_binary in (True, False):
            assert read(client, frames, is_binary=is_binary).tobytes() == wanted.tobytes()


def test_three_sequences_go_on_interleaved(client: Any, graphs: Any) -> None:
    rows = {name: frames_of(seed, 60) for seed, name in enumerate((7, "7", "door"))}
    found: dict[Any, list[Floats]] = {name: [] for name in rows}
    for start, stop in ((0, 1), (1, 20), (20, 21), (21, 55), (55, 60)):
        for name, frames in rows.items():
            found[name].append(
                read(
                    client,
                    frames[start:stop],
                    sequence_id=name,
                    sequence_start=start == 0,
                    sequence_end=stop == 60,
                )
            )
    for name, frames in rows.items():
        assert np.concatenate(found[name]).tobytes() == graphs(frames[None])[0].tobytes()
        with pytest.raises(InferenceServerException, match="Begin it with sequence_start"):
            read(client, frames, sequence_id=name)


def test_a_session_of_frames_goes_on_is_forked_and_rewound(server: RealServer, graphs: Any) -> None:
    def read_on(session: str, piece: Floats) -> bytes:
        tensor = {"name": "frames", "shape": [1, *piece.shape], "datatype": "FP32", "data": piece.ravel().tolist()}
        answer = server.client.post(INFER, json={"parameters": {"session": session}, "inputs": [tensor]})
        assert answer.status_code == 200, answer.text
        return np.array(answer.json()["outputs"][0]["data"], np.float32).tobytes()

    frames = frames_of(5, 60)
    wanted = graphs(frames[None])[0]
    session = server.client.post("/v1/sessions", json={"model": "vad"}).json()["id"]
    assert read_on(session, frames[:41]) == wanted[:41].tobytes()
    fork = server.client.post(f"/v1/sessions/{session}/fork").json()["id"]
    assert server.client.post(f"/v1/sessions/{session}/rewind", json={"to": 17}).json()["tokens"] == 17
    assert read_on(fork, frames[41:]) == wanted[41:].tobytes()
    assert read_on(session, frames[17:]) == wanted[17:].tobytes()


def test_a_sequence_is_begun_anew_in_its_middle(client: Any, graphs: Any) -> None:
    frames = frames_of(3, 40)
    read(client, frames[:23], sequence_id="twice", sequence_start=True)
    found = read(client, frames, sequence_id="twice", sequence_start=True, sequence_end=True)
    assert found.tobytes() == graphs(frames[None])[0].tobytes()


def test_a_sequence_that_never_ends_expires(folder: Path) -> None:
    frames = frames_of(4, 5)
    with real_server(folder / "store", "--sequence-idle-seconds", "1", log=folder / "log-of-expiry") as server:
        with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
            read(client, frames, sequence_id=9, sequence_start=True)
            time.sleep(1.5)
            with pytest.raises(InferenceServerException, match="has expired: it was not used for 1 s"):
                read(client, frames, sequence_id=9)
        assert "rnnserve_sequences 0.0" in server.client.get("/metrics").text


def test_states_are_the_same_alone_and_among_32_and_those_of_a_pytorch_loop(
    client: Any, server: RealServer, folder: Path
) -> None:
    cuts = [0, 1, 2, 5, 16, 33, 70, 71, 100]
    rows = [frames_of(100 + seed, 100) for seed in range(32)]

    def one(prefix: str, index: int) -> Floats:
        with httpx.Client(base_url=server.url, timeout=120, verify=False) as own:
            pieces = []
            for start, stop in pairwise(cuts):
                body = body_of(rows[index][start:stop], f"{prefix} {index}", is_start=start == 0)
                answer = own.post(INFER, json=body)
                assert answer.status_code == 200, answer.text
                pieces.append(speech_of(answer))
            return np.concatenate(pieces)

    alone = [one("alone", index) for index in range(32)]
    with ThreadPoolExecutor(32) as pool:
        among = list(pool.map(lambda index: one("among", index), range(32)))
    assert [found.tobytes() for found in among] == [found.tobytes() for found in alone]
    module, precise = vad_of(folder), vad_of(folder).double()
    errors = Errors()
    for frames, found in zip(rows, alone, strict=True):
        errors.add(found[None], looped(module, frames), partial(looped, precise, frames))
    assert errors.worst <= 1e-5


def vad_of(folder: Path) -> Any:
    """The document's module with its weights."""
    spec = importlib.util.spec_from_file_location("my_vad", folder / "my_vad.py")
    assert spec is not None
    assert spec.loader is not None
    code = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(code)
    module = code.Vad().eval()
    load_model(module, str(folder / "vad.safetensors"))
    return module


@torch.no_grad()
def looped(module: Any, frames: Floats) -> NDArray[np.floating[Any]]:
    """PyTorch, frame by frame: [1, length]."""
    dtype = next(module.parameters()).dtype
    hidden, found = None, []
    for frame in torch.from_numpy(frames).to(dtype):
        speech, hidden = module(frame[None, None], hidden)
        found.append(speech[0])
    return torch.cat(found)[None].numpy()


def body_of(frames: Floats, sequence: int | str, *, is_start: bool = False, is_end: bool = False) -> dict[str, Any]:
    return {
        "parameters": {"sequence_id": sequence, "sequence_start": is_start, "sequence_end": is_end},
        "inputs": [
            {"name": "frames", "shape": [1, *frames.shape], "datatype": "FP32", "data": frames.ravel().tolist()}
        ],
    }


def speech_of(answer: httpx.Response) -> Floats:
    return np.array(answer.json()["outputs"][0]["data"], np.float32)


@pytest.mark.parametrize("count", [60, pytest.param(10_000, marks=pytest.mark.slow)])
def test_no_state_is_crossed_whatever_is_cancelled(server: RealServer, graphs: Any, count: int) -> None:
    """Many sequences at once; calls are dropped at random, and their sequences begun anew or left."""
    rows = np.random.default_rng(5).standard_normal((count, 24, 8)).astype(np.float32)
    wanted = np.concatenate([graphs(rows[start : start + 100]) for start in range(0, count, 100)])
    chance = random.Random(6)
    num_dropped = num_checked = 0

    async def one(client: httpx.AsyncClient, index: int) -> None:
        nonlocal num_dropped, num_checked
        name: int | str = index + 1 if index % 2 else f"of the test of {count}: {index}"
        start = 0
        while start < 24:
            stop = min(24, start + chance.choice((1, 2, 7, 13)))
            body = body_of(rows[index, start:stop], name, is_start=start == 0, is_end=stop == 24)
            patience = chance.random() * 0.002 if chance.random() < 0.2 else None  # seconds
            try:
                answer = await client.post(INFER, json=body, timeout=httpx.Timeout(600, read=patience))
            except httpx.ReadTimeout:  # the client is gone
                num_dropped += 1
                if chance.random() < 0.3:
                    return  # it is never ended
                start = 0  # whether the call was made is not known, nor whether it comes only after the next
                name = name + count if isinstance(name, int) else f"{name} again"
                continue
            if answer.status_code == 429:
                await asyncio.sleep(0.05)
                continue
            assert answer.status_code == 200, answer.text
            assert speech_of(answer).tobytes() == wanted[index, start:stop].tobytes(), (index, start, stop)
            num_checked += 1
            start = stop

    async def main() -> None:
        free = asyncio.Semaphore(64)
        limits = httpx.Limits(max_connections=64)
        async with httpx.AsyncClient(base_url=server.url, timeout=300, limits=limits, verify=False) as client:

            async def bounded(index: int) -> None:
                async with free:
                    await one(client, index)

            await asyncio.gather(*map(bounded, range(count)))

    asyncio.run(main())
    assert num_dropped >= 10
    assert num_checked > count
    assert server.process.poll() is None
