"""A damaged model is refused at start in one sentence that names the file; the others are served."""

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from models.bundle import Bundle
from models.cells import CellKind
from runtime.device import VARIABLE
from tests.end_to_end.broken_models import hang_in_decode
from tests.end_to_end.real_server import real_server

Built = Callable[[CellKind], Bundle]


def damaged_store(built_bundle: Built, folder: Path, file: str, damage: Callable[[bytes], bytes]) -> Path:
    """A store with a good gru and a damaged copy of the lstm."""
    kinds: tuple[CellKind, ...] = ("gru", "lstm")
    for kind in kinds:
        source = built_bundle(kind).path
        shutil.copytree(source, folder / kind / "1")
    path = folder / "lstm" / "1" / file
    path.write_bytes(damage(path.read_bytes()))
    return folder


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def test_a_damaged_model_is_named_and_the_others_are_served(built_bundle: Built, tmp_path: Path) -> None:
    store = damaged_store(built_bundle, tmp_path / "store", "weights.safetensors", flipped)
    with real_server(store, log=tmp_path / "log") as server:
        listed = [entry["id"] for entry in server.client.get("/v1/models").json()["data"]]
        assert listed == ["gru"]
        assert server.client.post("/v1/generate", json={"prompt": "a", "max_tokens": 2}).status_code == 200
        missing = server.client.post("/v1/generate", json={"model": "lstm", "prompt": "a"})
        assert missing.status_code == 404
        assert "gru" in missing.json()["error"]["message"]
    assert "weights.safetensors" in (tmp_path / "log").read_text()


def test_a_model_that_hangs_in_the_runtime_is_seen_and_ends_the_server(tmp_path: Path) -> None:
    shutil.copytree("artifacts/shakespeare-char/1", tmp_path / "store/hanging/1")
    hang_in_decode(tmp_path / "store/hanging/1/onnx/int8")
    arguments = ("--stuck-seconds", "2", "--grace-seconds", "0")
    with real_server(tmp_path / "store", *arguments, log=tmp_path / "log") as server, ThreadPoolExecutor() as pool:
        asked = pool.submit(server.client.post, "/v1/generate", json={"prompt": "a"})
        statuses = set()
        with contextlib.suppress(httpx.TransportError), httpx.Client(base_url=server.url) as probe:
            while server.process.poll() is None:
                statuses.add(probe.get("/livez").status_code)
                time.sleep(0.02)
        assert statuses == {200, 500}
        assert asked.result().status_code == 503
        assert server.process.wait(30) == 1
    assert "engine dead" in (tmp_path / "log").read_text()


def test_a_truncated_graph_is_named_and_the_other_set_is_served(
    built_bundle: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))  # nothing was measured of the undamaged model
    store = damaged_store(built_bundle, tmp_path / "store", "onnx/int8/step.onnx", truncated)
    with real_server(store, log=tmp_path / "log") as server:
        listed = {entry["id"]: entry["precision"] for entry in server.client.get("/v1/models").json()["data"]}
        assert listed["lstm"] == "fp32"
        assert listed["gru"] in ("int8", "fp32")  # the faster one
    assert "step.onnx was changed" in (tmp_path / "log").read_text()
    command = [
        sys.executable,
        "-m",
        "server",
        "--store",
        str(store),
        "--port",
        "0",
        "--models",
        "lstm",
        "--set",
        "int8",
    ]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1
    assert "step.onnx was changed" in ended.stderr + ended.stdout


def test_a_server_without_any_sound_model_ends_with_one_sentence(built_bundle: Built, tmp_path: Path) -> None:
    store = damaged_store(built_bundle, tmp_path / "store", "bundle.json", flipped)
    shutil.rmtree(store / "gru")
    command = [sys.executable, "-m", "server", "--store", str(store), "--port", "0"]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1
    assert "bundle.json" in ended.stderr + ended.stdout
    assert "Traceback" not in ended.stderr + ended.stdout
