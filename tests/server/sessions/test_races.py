"""Sessions while everything happens at once: calls, forks, rewinds, moves and removals, cut off, late and failing."""

import asyncio
import random
from collections import Counter

import httpx
from structlog.testing import capture_logs

from models.errors import RunnerError
from tests.server.running import CHARACTERS, Running, running
from tests.server.sessions.test_reading import row_after

ADMIN = "sixteen or more letters"
NUM_WORKERS, NUM_OPERATIONS = 16, 30
FAMILIES = "abcdefgh"  # each session begins with its family's letter, ten times, and says nothing but it


class Fails:
    """A runner's call that fails now and then."""

    def __init__(self, call: object, chance: float) -> None:
        self._call, self._chance, self._draw = call, chance, random.Random(3)

    def __call__(self, *arguments: object) -> object:
        if self._draw.random() < self._chance:
            raise RunnerError("fake failure")
        return self._call(*arguments)  # type: ignore[operator]


async def work(server: Running, client: httpx.AsyncClient, seed: int, statuses: Counter[int]) -> None:
    draw = random.Random(seed)
    moved: list[tuple[str, bytes]] = []
    for number in range(NUM_OPERATIONS):
        listed = (await client.get("/v1/sessions", headers={"authorization": f"Bearer {ADMIN}"})).json()["data"]
        session = draw.choice(listed)["id"] if listed else "none"
        path = f"/v1/sessions/{session}"
        match draw.choice("ggggggffrrsspd"):
            case "g":
                family = family_of(server, session)
                fields = {
                    "session": session,
                    "prompt": family * draw.randint(1, 80),
                    "max_tokens": draw.choice([1, 20, 100]),
                    "stop": draw.choice([[], ["a", "生", " "]]),
                    "stream": draw.random() < 0.5,
                }
                headers = {"x-request-timeout-ms": str(draw.choice([1, 5, 60_000, 60_000]))}
                call = client.post("/v1/generate", json=fields, headers=headers)
                answer = await (cut_off(call, draw.uniform(0, 0.05)) if draw.random() < 0.2 else call)
            case "f":
                answer = await client.post(f"{path}/fork")
            case "r":
                answer = await client.post(f"{path}/rewind", json={"to": draw.randint(10, 60)})
            case "s":
                answer = await client.get(f"{path}/state")
                if answer.status_code == 200:
                    moved.append((draw.choice([session, session, f"w{seed}-{number}"]), answer.content))
            case "p":
                name, content = draw.choice(moved or [("none", b"")])
                answer = await client.put(f"/v1/sessions/{name}/state", content=content)
            case _:
                answer = await client.delete(path)
        statuses[0 if answer is None else answer.status_code] += 1


async def cut_off(call: object, seconds: float) -> httpx.Response | None:
    """Leave the call after a while."""
    try:
        return await asyncio.wait_for(call, seconds)  # type: ignore[arg-type]
    except TimeoutError:
        return None


def family_of(server: Running, session: str) -> str:
    held = {item.id: item.point for item in server.service.sessions.all()}.get(session)
    return CHARACTERS.decode(held.tokens[:1].tolist()) if held is not None and len(held.tokens) else "a"


def test_no_session_sees_anothers_tokens_and_each_row_is_that_of_its_tokens() -> None:
    silent = capture_logs()  # a traceback takes as long as many calls
    with silent, running(max_sessions=30, session_key="sixteen letters!", max_rows=8, admin_key=ADMIN) as server:
        for letter in FAMILIES:
            session = server.post("/v1/sessions")["id"]
            server.generate(prompt=letter * 10, max_tokens=5, min_tokens=5, session=session)
        server.steps.step = Fails(server.steps.step, 0.002)  # type: ignore[method-assign,assignment]
        server.sequences.run = Fails(server.sequences.run, 0.01)  # type: ignore[method-assign,assignment]
        statuses: Counter[int] = Counter()

        async def main() -> None:
            async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
                await asyncio.gather(*(work(server, client, seed, statuses) for seed in range(NUM_WORKERS)))

        asyncio.run(main())
        assert set(statuses) <= {0, 200, 404, 409, 410, 422, 429, 500, 504}, statuses
        assert min(statuses[status] for status in (0, 200, 500, 504)) > 0, statuses
        server.until(lambda: server.service.num_requests == 0)
        sessions = server.service.sessions.all()
        assert len(sessions) > 3
        for item in sessions:
            assert not item.is_busy
            point = item.point
            (letter,) = set(CHARACTERS.decode(point.tokens[:10].tolist()))
            assert letter in FAMILIES
            for mark in (*point.marks, point.nearest(len(point.tokens))):
                assert mark.row.tobytes() == row_after(point.tokens[: mark.num_read + 1]).tobytes()
        assert server.service.sessions.num_bytes == sum(item.point.num_bytes for item in sessions)
        (served,) = server.service.registry.models
        server.until(lambda: served.engine.gauges.num_running == served.engine.gauges.num_waiting == 0)
        assert served.limiter.permits.num_taken == 0
