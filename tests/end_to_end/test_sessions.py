"""Sessions between real server processes: moved, refused elsewhere, and written at SIGTERM for the next process."""

import json
import re
import signal
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgpack
import pytest

from models.bundle import Bundle
from models.cells import CellKind
from tests.end_to_end.real_server import RealServer, real_server

KEY = {"RNNSERVE_SESSION_KEY": "one secret for both"}
TURNS: list[dict[str, Any]] = [
    {"prompt": "to be, or ", "max_tokens": 45, "logprobs": 3},
    {"prompt": "not", "max_tokens": 200, "min_tokens": 40, "stop": ["a", "e", " "]},
    {"prompt": " " + "that is the question. " * 9, "max_tokens": 30, "repetition_penalty": 1.4, "temperature": 0},
    {"prompt": "x", "max_tokens": 33, "top_k": 7, "logprobs": 0},
]


def generated(server: RealServer, **fields: Any) -> dict[str, Any]:
    answer = server.client.post("/v1/generate", json=fields)
    assert answer.status_code == 200, answer.text
    choice: dict[str, Any] = answer.json()["choices"][0]
    return choice


def streamed(server: RealServer, **fields: Any) -> str:
    """The text of a stream, whole."""
    answer = server.client.post("/v1/generate", json={**fields, "stream": True})
    events = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert events.pop() == "[DONE]"
    return "".join(choice["text"] for event in events for choice in json.loads(event)["choices"])


def created(server: RealServer) -> str:
    session: str = server.client.post("/v1/sessions", json={}).json()["id"]
    return session


def state(server: RealServer, session: str) -> bytes:
    """The session as bytes: equal when id, row and tokens are, bit by bit."""
    answer = server.client.get(f"/v1/sessions/{session}/state")
    assert answer.status_code == 200, answer.text
    return answer.content


def row_and_tokens(content: bytes) -> tuple[bytes, bytes]:
    fields = msgpack.unpackb(content[:-32])
    return fields["row"], fields["tokens"]


def test_a_conversation_is_one_call_and_goes_on_elsewhere_as_if_it_had_stayed(
    built_bundle: Callable[[CellKind], Bundle], tmp_path: Path
) -> None:
    choices: list[tuple[CellKind, str]] = [("lstm", "fp32"), ("lstm", "int8"), ("gru", "int8")]
    for kind, set_name in choices:
        check_a_conversation(built_bundle(kind), set_name, tmp_path)


def check_a_conversation(bundle: Bundle, set_name: str, folder: Path) -> None:
    store, arguments = bundle.path.parent.parent, ("--set", set_name, "--models", bundle.record.name)
    with ExitStack() as stack:
        here, there = (
            stack.enter_context(real_server(store, *arguments, log=folder / f"{name}.log", environment=KEY))
            for name in ("here", "there")
        )
        session, said, states = created(here), "", []
        for seed, turn in enumerate(TURNS):
            answer = generated(here, **turn, seed=seed, session=session)
            whole = generated(here, **{**turn, "prompt": said + turn["prompt"]}, seed=seed)
            assert answer == {**whole, **({"logprobs": answer["logprobs"]} if "logprobs" in turn else {})}
            if "logprobs" in turn:
                assert answer["logprobs"] == whole["logprobs"]
            said += turn["prompt"] + answer["text"]
            states.append(state(here, session))
        for number, past in enumerate(states[:-1]):
            assert there.client.put(f"/v1/sessions/{session}/state", content=past).status_code == 200
            for seed, turn in list(enumerate(TURNS))[number + 1 :]:
                streamed(there, **turn, seed=seed, session=session)
                assert state(there, session) == states[seed]
        tokens = here.client.get(f"/v1/sessions/{session}").json()["tokens"]
        assert tokens == len(said)
        length = len(TURNS[0]["prompt"]) + 45
        assert here.client.post(f"/v1/sessions/{session}/rewind", json={"to": length}).json()["tokens"] == length
        assert state(here, session) == states[0]


def test_another_set_another_model_and_another_key_are_refused(
    built_bundle: Callable[[CellKind], Bundle], tmp_path: Path
) -> None:
    lstm, gru = built_bundle("lstm"), built_bundle("gru")
    store = lstm.path.parent.parent
    with real_server(store, "--set", "int8", "--models", "lstm", log=tmp_path / "log", environment=KEY) as server:
        session = created(server)
        generated(server, prompt="to be", session=session)
        content = state(server, session)
    for arguments, key, status, words in (
        (("--set", "fp32", "--models", "lstm"), KEY, 409, ["graph set int8", "runs fp32"]),
        (("--set", "int8", "--models", "gru"), KEY, 409, [lstm.record.sha256[:12], gru.record.sha256[:12]]),
        (("--set", "int8", "--models", "lstm"), {"RNNSERVE_SESSION_KEY": "k" * 16}, 422, ["changed", "another"]),
    ):
        with real_server(store, *arguments, log=tmp_path / "log", environment=key) as server:
            answer = server.client.put(f"/v1/sessions/{session}/state", content=content)
            assert answer.status_code == status
            for word in words:
                assert word in answer.json()["error"]["message"]


@pytest.mark.parametrize("is_busy", [False, True])
def test_after_sigterm_the_next_process_goes_on(
    built_bundle: Callable[[CellKind], Bundle], tmp_path: Path, is_busy: bool
) -> None:
    """Also when a call that uses the session is cut off: then the session is as it was before it."""
    bundle = built_bundle("lstm")
    environment = {**KEY, "RNNSERVE_SESSION_DIR": str(tmp_path / "sessions"), "RNNSERVE_GRACE_SECONDS": "0"}
    store = bundle.path.parent.parent
    with real_server(store, "--models", "lstm", log=tmp_path / "first.log", environment=environment) as server:
        session = created(server)
        generated(server, **TURNS[0], seed=0, session=session)
        before = state(server, session)
        fork = server.client.post(f"/v1/sessions/{session}/fork").json()["id"]
        if is_busy:
            asked = {"prompt": "a", "max_tokens": 4096, "min_tokens": 4096, "session": session, "stream": True}
            with server.client.stream("POST", "/v1/generate", json=asked) as stream:
                lines = stream.iter_lines()
                next(lines)
                server.process.send_signal(signal.SIGTERM)
                assert "draining" in "".join(lines)
        else:
            server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
    with real_server(store, "--models", "lstm", log=tmp_path / "second.log", environment=environment) as server:
        assert state(server, session) == before
        assert row_and_tokens(state(server, fork)) == row_and_tokens(before)
        answer = generated(server, **TURNS[1], seed=1, session=session)
        assert answer == generated(server, **TURNS[1], seed=1, session=fork)
        assert list((tmp_path / "sessions").iterdir()) == []


def test_the_documents_commands_give_what_it_says(tmp_path: Path) -> None:
    document = Path("docs/sessions.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```(?:\n\n```json\n(.*?)```)?", document, re.DOTALL)
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(
                real_server(
                    Path("artifacts"), "--models", "shakespeare-char", log=tmp_path / f"{name}.log", environment=KEY
                )
            )
            for name in ("first", "second")
        )
        commands = "set -euo pipefail\n" + "\necho @@@@\n".join(block for block, _ in blocks)
        for port, server in ((8000, first), (8001, second)):
            commands = commands.replace(f"localhost:{port}", server.url)
        run = subprocess.run(["bash", "-c", commands], cwd=tmp_path, check=True, capture_output=True, text=True)
        session = re.findall(r"session-[0-9a-f]{32}", run.stdout)[0]
        said = generated(second, session=session, prompt="\nJULIET:", max_tokens=40, seed=4)
        state_there = state(second, session)
    found = [part.strip().replace("}{", "}\n{").split("\n") for part in run.stdout.split("@@@@")]
    for lines, (_, documented) in zip(found, blocks, strict=True):
        answers = [json.loads(line) for line in lines]
        assert not any("error" in answer for answer in answers), answers
        if documented:
            expected, last = json.loads(documented), answers[-1]
            varying = {"id": last["id"], "expires": last["expires"]}
            assert last == expected | varying
    assert len(found) == 3
    assert said["text"]
    assert len(state_there) < 20_000
