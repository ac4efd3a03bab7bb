"""Random histories of conversations through the whole app, one call of the engine at a time, beside a list of tokens.

Answers are whole and streamed; clients leave, requests are late, calls fail; sessions are forked, rewound, moved,
removed, and expire.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import msgpack
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from structlog.testing import capture_logs

from models.decoding.detokenizer import TokenTexts
from models.decoding.options import GenerationOptions
from server.app import create_app
from server.settings import Settings
from tests.server.engine.generation.harness import plain_run
from tests.server.engine.lockstep import FAILURES, TIMEOUT, Gate, HeldSequences, HeldSteps
from tests.server.fake_open_set import FakeOpenSet
from tests.server.running import CHARACTERS, fake_model
from tests.server.sessions.exchange import Exchange
from tests.server.sessions.test_reading import row_after

TEXTS = TokenTexts(CHARACTERS.token_bytes)
ADMIN = "operators, sixteen"
ALPHABET = "abcdefgh ,."
MAX_REQUESTS = 5
SHORT, LONG = 200, 500  # seconds: deadlines, and for how long sessions are kept unused
WAIT = 150  # seconds; no sum of them comes near one of those


class MovableLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock can be put forward."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


@dataclass
class Known:
    """What a session must be."""

    tokens: list[int]
    ttl: float
    used: float
    ends: tuple[int, ...] = ()  # how long it was when a call had ended
    is_busy: bool = False


@dataclass
class Pending:
    """A request that has not ended.

    Attributes:
        exchange: on its way.
        session: it uses this one.
        tokens: what the session holds when it has succeeded.
        text: what it is answered; None for a rewind.
        deadline: of the app's clock.
        num_failures: calls of the engine that had failed before it.
    """

    exchange: Exchange
    session: str
    tokens: list[int]
    text: str | None
    is_streamed: bool
    deadline: float
    num_failures: int


class SessionsMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = MovableLoop()
        self.gate = Gate(self.loop)
        self.now = 1e9
        self.known: dict[str, Known] = {}
        self.pending: list[Pending] = []
        self.num_failures = self.num_steps = 0
        self.is_stopped = False
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(capture_logs())
        clock = SimpleNamespace(time=lambda: self.now, monotonic=lambda: self.now)
        self._stack.enter_context(patch("server.sessions.sessions.time", clock))
        self._app_stack = contextlib.AsyncExitStack()

    @initialize(max_rows=st.sampled_from([4, 1]), cache_bytes=st.sampled_from([1 << 20, 0, 3000]))
    def start(self, max_rows: int, cache_bytes: int) -> None:
        graphs = FakeOpenSet(CHARACTERS.vocab_size)
        graphs.step_runner = HeldSteps(self.gate, 256, CHARACTERS.vocab_size)
        graphs.sequence_runner = HeldSequences(self.gate, CHARACTERS.vocab_size)
        model = replace(fake_model(), opened=graphs)
        own = Settings(
            session_key="sixteen letters!",
            admin_key=ADMIN,
            lanes=1,
            max_rows=max_rows,
            prefix_cache_bytes=cache_bytes,
            max_requests=MAX_REQUESTS,
            refusal_seconds=0,
        )
        self.app = create_app(own, lambda _, __: [model])
        self.service = self.app.state.service
        self.loop.run_until_complete(self._app_stack.enter_async_context(self.service.running()))
        while self.service.phase == "loading":
            self.loop.run_until_complete(asyncio.sleep(0.001))
        for _ in range(3):
            self.create(random.Random(1))

    # What clients do.

    @rule(seed=st.integers(0, 2**32), number=st.integers(1, 4))
    def happen(self, seed: int, number: int) -> None:
        """Clients send requests of all sorts and leave, and time passes."""
        self.num_steps += 1
        draw = random.Random(f"{seed} {self.num_steps}")  # seeds by themselves are often the same
        happenings: dict[Callable[[random.Random], None], float] = {
            self.say: 8,
            self.create: 1,
            self.rewind: 2,
            self.fork: 1,
            self.move: 1,
            self.delete: 0.4,
            self.look: 0.4,
            self.leave: 1,
            self.wait: 0.4,
        }
        for happening in draw.choices(list(happenings), list(happenings.values()), k=number):
            happening(draw)

    def create(self, draw: random.Random) -> None:
        ttl = draw.choice([SHORT, LONG, 100_000])
        name = self.ask("POST", "/v1/sessions", {"ttl_seconds": ttl}).json["id"]
        self.known[name] = Known([], ttl, self.now)

    def say(self, draw: random.Random) -> None:
        name = self.name_from(draw)
        prompt = "".join(draw.choices(ALPHABET, k=draw.choice([1, 2, 5, 31, 33, 70])))
        seed = draw.randrange(2**40)
        fields: dict[str, Any] = {"max_tokens": draw.randint(1, 12), "seed": seed}
        fields["stop"] = draw.choice([[], [], ["a", "生", " "], ["ab", "c"]])
        fields["temperature"] = draw.choice([0, 1])
        fields["logprobs"] = draw.choice([None, 2])
        fields["frequency_penalty"] = draw.choice([0, 0, 1.5])
        seconds, is_streamed = draw.choice([SHORT, LONG]), draw.random() < 0.5
        body = {**fields, "prompt": prompt, "session": name, "stream": is_streamed}
        exchange = self.begin("POST", "/v1/generate", body, {"x-request-timeout-ms": str(seconds * 1000)})
        if not self.may_use(exchange, name):
            return
        tokens = self.known[name].tokens + CHARACTERS.encode(prompt)
        assert CHARACTERS.end_id is not None
        update, _ = plain_run(tokens, GenerationOptions(**fields), seed, 0, TEXTS, CHARACTERS.end_id)
        tokens += CHARACTERS.encode(update.text) if update.text else []
        self.expect(Pending(exchange, name, tokens, update.text, is_streamed, self.now + seconds, self.num_failures))

    def rewind(self, draw: random.Random) -> None:
        name = self.name_from(draw)
        known = self.known.get(name, Known([], 0, 0))
        to = int(len(known.tokens) * draw.uniform(0, 1.1))
        if known.ends and draw.random() < 0.5:
            to = max(0, draw.choice(known.ends) + draw.choice([-1, 0, 1]))
        elif draw.random() < 0.3:
            to = draw.randrange(3)  # where nothing is kept to go back to
        exchange = self.begin("POST", f"/v1/sessions/{name}/rewind", {"to": to})
        if not self.may_use(exchange, name, or_else=(422,)):
            return
        tokens = self.known[name].tokens[:to]
        self.expect(Pending(exchange, name, tokens, None, False, self.now + 60, self.num_failures))

    def fork(self, draw: random.Random) -> None:
        name = self.name_from(draw)
        exchange = self.ask("POST", f"/v1/sessions/{name}/fork")
        if self.may_use(exchange, name):
            source = self.known[name]
            source.used = self.now
            self.known[exchange.json["id"]] = Known(list(source.tokens), source.ttl, self.now, source.ends)

    def delete(self, draw: random.Random) -> None:
        name = self.name_from(draw)
        taken = self.ask("GET", f"/v1/sessions/{name}/state")
        if not self.may_use(taken, name):
            return
        assert self.ask("DELETE", f"/v1/sessions/{name}").status == 200
        del self.known[name]
        for method, path, body in (("GET", "", b""), ("DELETE", "", b""), ("PUT", "/state", taken.content)):
            assert self.ask(method, f"/v1/sessions/{name}{path}", body).status == 410

    def move(self, draw: random.Random) -> None:
        """Out of the server and in again, where it is replaced; under another name it is refused."""
        name = self.name_from(draw)
        taken = self.ask("GET", f"/v1/sessions/{name}/state")
        if not self.may_use(taken, name):
            return
        self.known[name].used = self.now
        target = draw.choice([f"new-{draw.randrange(5)}", self.name_from(draw), name])
        put = self.ask("PUT", f"/v1/sessions/{target}/state", taken.content)
        if target != name:
            assert (put.status, put.json["error"]["code"]) == (409, "session_other_id")
        else:
            assert put.status == 200
            self.known[name] = Known(list(self.known[name].tokens), 3600, self.now)

    def look(self, draw: random.Random) -> None:
        name = self.name_from(draw)
        exchange = self.ask("GET", f"/v1/sessions/{name}")
        if self.is_there(name):
            assert exchange.json["tokens"] == len(self.known[name].tokens)
        else:
            assert exchange.status == 404

    def leave(self, draw: random.Random) -> None:
        """A client closes its connection."""
        if self.pending:
            pending = self.pending.pop(draw.randrange(len(self.pending)))
            pending.exchange.leave()
            self.settle()
            assert pending.exchange.is_done
            self.known[pending.session].is_busy = False
            self.known[pending.session].used = self.now

    def wait(self, draw: random.Random) -> None:
        """Time passes: requests are too late, sessions expire."""
        self.now += WAIT
        self.loop.ahead += WAIT
        self.settle()
        assert all(pending.deadline > self.now for pending in self.pending)

    # What the runners do.

    @rule(seed=st.integers(0, 2**32), number=st.integers(1, 12), chance=st.sampled_from([0, 0.05, 0.2]))
    def call(self, seed: int, number: int, chance: float) -> None:
        """Let the engine's next calls end, some in failure."""
        self.num_steps += 1
        draw = random.Random(f"{seed} {self.num_steps}")  # seeds by themselves are often the same
        for _ in range(number):
            is_for_nobody = not self.pending
            for call in self.gate.held if is_for_nobody else self.gate.held[:1]:
                call.verdict = draw.choice(FAILURES) if draw.random() < chance else "works"
                call.broken = frozenset(range(len(call.rows)) if call.verdict == "is broken" and call.may_break else ())
                self.num_failures += call.verdict != "works"
                call.go.set()
            del self.gate.held[: None if is_for_nobody else 1]
            self.settle()
            if is_for_nobody:
                self.check_idle()

    # What must come of it.

    def check_idle(self) -> None:
        """Nobody waits: the engine comes to rest, after the window that it may have begun before that."""
        (served,) = self.service.registry.models
        late = time.monotonic() + TIMEOUT
        while served.engine.gauges.num_running or served.engine.gauges.num_waiting:
            assert time.monotonic() < late, "the engine works for nobody"
            for call in self.gate.held:
                call.verdict = "works"
                call.go.set()
            self.gate.held.clear()
            self.loop.run_until_complete(asyncio.sleep(0.0002))  # the calls of a window come to wait one by one
        self.settle()
        assert not self.gate.held

    def name_from(self, draw: random.Random) -> str:
        """A session's name, also of one that is no more."""
        return draw.choice(list(self.known)[-6:] or ["none"])

    def is_there(self, name: str) -> bool:
        known = self.known.get(name)
        return known is not None and (known.is_busy or known.used + known.ttl > self.now)

    def may_use(self, exchange: Exchange, name: str, or_else: tuple[int, ...] = ()) -> bool:
        """Whether a request that names a session has found it free; its status says the same."""
        status = exchange.status if exchange.is_done else 0
        if status == 429:  # before anything was looked at
            assert len(self.pending) == MAX_REQUESTS
            return False
        if not self.is_there(name):
            assert status == 404, exchange.content
            has_expired = name in self.known
            assert not has_expired or exchange.json["error"]["code"] == "session_expired"
            return False
        if self.known[name].is_busy:
            assert status == 409, exchange.content
            return False
        if status in or_else:
            self.known[name].used = self.now
            return False
        assert status in (0, 200), exchange.content
        return True

    def expect(self, pending: Pending) -> None:
        """A request has been admitted."""
        self.known[pending.session].is_busy = True
        self.known[pending.session].used = self.now
        self.pending.append(pending)
        pending.exchange.task.add_done_callback(lambda _: self.gate.happened.set())
        self.settle()

    def begin(self, method: str, path: str, body: Any = b"", headers: dict[str, str] | None = None) -> Exchange:
        """Send a request, and let the app do what it can do at once."""
        exchange = Exchange(self.loop, self.app, method, path, body, headers)
        self.loop.run_until_complete(self._rest())
        return exchange

    def ask(self, method: str, path: str, body: Any = b"", headers: dict[str, str] | None = None) -> Exchange:
        """A request that is answered at once."""
        exchange = self.begin(method, path, body, headers)
        late = time.monotonic() + TIMEOUT
        while not exchange.is_done and time.monotonic() < late:  # states take turns, with pauses
            self.loop.run_until_complete(asyncio.sleep(0.001))
        assert exchange.is_done
        return exchange

    def settle(self) -> None:
        self.loop.run_until_complete(self._settle())
        for pending in [item for item in self.pending if item.exchange.is_done]:
            self.pending.remove(pending)
            self.end(pending)

    async def _settle(self) -> None:
        """Until a call waits or every request has ended."""
        await self._rest()
        while not self.gate.held and not all(item.exchange.is_done for item in self.pending):
            await self.gate.next_event()
            await self._rest()

    async def _rest(self) -> None:
        for _ in range(40):
            await asyncio.sleep(0)

    def end(self, pending: Pending) -> None:
        """Compare an answer with what is due, and note what its session is now."""
        exchange, known = pending.exchange, self.known[pending.session]
        exchange.task.result()
        events = exchange.events if exchange.status == 200 and pending.is_streamed else []
        errors = [event["error"]["type"] for event in events if "error" in event]
        known.is_busy, known.used = False, self.now
        if exchange.status == 200 and not errors:
            known.tokens = pending.tokens
            known.ends += (len(pending.tokens),)
            answers = events or [exchange.json]
            if pending.text is None:
                assert exchange.json["tokens"] == len(pending.tokens)
            else:
                choices = [choice for answer in answers for choice in answer["choices"]]
                assert "".join(choice["text"] for choice in choices) == pending.text
                assert [choice["finish_reason"] is None for choice in choices][-1:] == [False]
        elif exchange.status == 504 or errors == ["deadline_error"]:
            assert pending.deadline <= self.now
        elif exchange.status == 500 or errors == ["engine_error"]:
            assert self.num_failures > pending.num_failures
        else:
            assert self.is_stopped
            assert exchange.status == 503 or errors == ["unavailable_error"]

    def check_all(self) -> None:
        """Every session holds its own tokens, and the state after all of them but the last."""
        listed = {
            item["id"]: item["tokens"]
            for item in self.ask("GET", "/v1/sessions", headers={"authorization": f"Bearer {ADMIN}"}).json["data"]
        }
        assert listed == {name: len(known.tokens) for name, known in self.known.items() if self.is_there(name)}
        for name in listed:
            content = self.ask("GET", f"/v1/sessions/{name}/state").content
            self.known[name].used = self.now
            state = msgpack.unpackb(content[:-32])
            assert np.frombuffer(state["tokens"], "<i4").tolist() == self.known[name].tokens
            assert state["row"] == row_after(np.array(self.known[name].tokens, np.int64)).tobytes()

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            self.gate.open()
            self.loop.run_until_complete(self._app_stack.aclose())
            self.loop.run_until_complete(self._end_tasks())
            self.loop.close()
            self._stack.close()

    def finish(self) -> None:
        """Half of what is open ends by itself, the rest when the server stops."""
        self.settle()
        while self.gate.held and len(self.pending) > 2:
            self.call(0, 1, 0)
        self.is_stopped = True
        self.gate.open()
        self.loop.run_until_complete(self.service.drain(0))
        self.settle()
        assert not self.pending, "a request without an end"
        self.service.phase = "ready"  # to look once more
        self.check_all()
        (served,) = self.service.registry.models
        assert served.limiter.permits.num_taken == self.service.num_requests == 0

    async def _end_tasks(self) -> None:
        tasks = [item.exchange.task for item in self.pending]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.loop.shutdown_default_executor()


@pytest.mark.parametrize("number", [8, pytest.param(400, marks=pytest.mark.slow)])
def test_random_histories_of_50_steps(number: int) -> None:
    run_state_machine_as_test(
        SessionsMachine, settings=settings(max_examples=number, stateful_step_count=50, deadline=None)
    )
