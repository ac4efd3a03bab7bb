"""A session that has moved to another server process goes on as one that stayed: the same rows, logits and texts."""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgpack
import numpy as np
import pytest

from models.bundle import Bundle
from models.cells import CellKind
from server.sessions.state import signed
from tests.end_to_end.real_server import RealServer, real_server
from tests.tiny_models import ALPHABET

KEY = {"RNNSERVE_SESSION_KEY": "one secret for both"}
MOST_LOGPROBS = 20


def said(server: RealServer, session: str, turn: int) -> dict[str, Any]:
    """A turn's answer: its text, and float32 log-probabilities of the likeliest tokens at each place."""
    prompt = (ALPHABET * 3)[turn : turn + 7 + 30 * turn]
    body = {"prompt": prompt, "max_tokens": 25, "seed": turn, "logprobs": MOST_LOGPROBS, "session": session}
    answer = server.client.post("/v1/generate", json=body)
    assert answer.status_code == 200, answer.text
    choice: dict[str, Any] = answer.json()["choices"][0]
    return choice


def row_and_tokens(server: RealServer, session: str) -> tuple[bytes, bytes]:
    answer = server.client.get(f"/v1/sessions/{session}/state")
    assert answer.status_code == 200, answer.text
    state = msgpack.unpackb(answer.content[:-32])
    assert np.isfinite(np.frombuffer(state["row"], "<f4")).all()
    return state["row"], state["tokens"]


@pytest.mark.parametrize(("kind", "set_name"), [("lstm", "fp32"), ("gru", "int8"), ("rnn-tanh", "int8")])
def test_a_session_moved_after_every_turn_is_one_that_stayed(
    built_bundle: Callable[[CellKind], Bundle], kind: CellKind, set_name: str, tmp_path: Path
) -> None:
    """It is moved back and forth among the noise of other requests; the one that stays is left alone."""
    bundle = built_bundle(kind)
    arguments = ("--set", set_name, "--models", bundle.record.name)
    with ExitStack() as stack:
        here, there = (
            stack.enter_context(
                real_server(bundle.path.parent.parent, *arguments, log=tmp_path / name, environment=KEY)
            )
            for name in ("here", "there")
        )
        staying = here.client.post("/v1/sessions", json={}).json()["id"]
        moving = here.client.post("/v1/sessions", json={}).json()["id"]
        servers = [here, there]
        for turn in range(5):
            content = servers[0].client.get(f"/v1/sessions/{moving}/state").content
            assert servers[1].client.put(f"/v1/sessions/{moving}/state", content=content).status_code == 200
            alone = said(here, staying, turn)
            assert asyncio.run(among_others(servers[1], partial(said, servers[1], moving, turn))) == alone
            assert row_and_tokens(servers[1], moving) == row_and_tokens(here, staying)
            servers.reverse()


async def among_others(server: RealServer, ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Ask while others do."""
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        others = [
            asyncio.create_task(client.post("/v1/generate", json={"prompt": "to be"[:n], "max_tokens": 200, "n": 3}))
            for n in range(1, 6)
        ]
        await asyncio.sleep(0.005)
        answer = await asyncio.to_thread(ask)
        for other in others:
            assert (await other).status_code == 200
    return answer


def test_a_changed_bit_and_a_state_of_another_format_are_refused_over_http(
    built_bundle: Callable[[CellKind], Bundle], tmp_path: Path
) -> None:
    bundle = built_bundle("lstm")
    key = KEY["RNNSERVE_SESSION_KEY"].encode()
    with real_server(
        bundle.path.parent.parent, "--models", bundle.record.name, log=tmp_path / "log", environment=KEY
    ) as server:
        session = server.client.post("/v1/sessions", json={}).json()["id"]
        said(server, session, 1)
        content = server.client.get(f"/v1/sessions/{session}/state").content
        for place in (0, len(content) // 2, len(content) - 33, len(content) - 1):
            changed = bytearray(content)
            changed[place] ^= 4
            check_refused(server, bytes(changed), "session_signature_wrong", "changed on the way")
        for change, code, reason in (
            ({"format": 0}, "session_format_unknown", "format 0 is not known"),
            ({"format": 1}, "session_format_unknown", "format 1 is not known"),
        ):
            state = msgpack.unpackb(content[:-32]) | change
            check_refused(server, signed(msgpack.packb(state), key, "session state"), code, reason)
        assert server.client.get(f"/v1/sessions/{session}").json()["id"] == session
        assert server.client.get(f"/v1/sessions/{session}/state").content == content


def check_refused(server: RealServer, content: bytes, code: str, reason: str) -> None:
    answer = server.client.put("/v1/sessions/other/state", content=content)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (422, code)
    assert reason in error["message"]
