"""The sessions of one app: their order, and what is written for the next process and not changed after."""

import asyncio
import errno
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from server.errors import SessionGoneError, SessionNotFoundError, UnavailableError
from server.metrics import Metrics
from server.sessions.point import Point
from server.sessions.sessions import Sessions
from server.settings import Settings
from tests.server.fake_runner import STATE_WIDTH
from tests.server.running import fake_model

MODEL = fake_model()


class MovableLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock can be put forward."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


def opened(**settings: Any) -> Sessions:
    sessions = Sessions(Settings(session_key="sixteen letters!", **settings), Metrics())
    asyncio.run(sessions.open([MODEL]))
    return sessions


def point_of(*tokens: int) -> Point:
    return Point(np.array(tokens, np.int32), np.full(STATE_WIDTH, sum(tokens), np.float32))


def names(sessions: Sessions) -> list[str]:
    return [session.id for session in sessions.all()]


def test_they_are_listed_the_last_used_first_and_looking_is_no_use() -> None:
    sessions = opened()
    first, second, third = (sessions.create(MODEL).id for _ in range(3))
    assert names(sessions) == [third, second, first]
    with sessions.using(second):
        sessions.find(first)
    assert names(sessions) == [second, third, first]
    fork = sessions.fork(first).id
    assert set(names(sessions)[:2]) == {fork, first}
    assert names(sessions)[2:] == [second, third]


def test_a_use_that_has_finished_does_not_end_the_next_one() -> None:
    sessions = opened()
    session = sessions.create(MODEL)
    with sessions.using(session.id):
        sessions.finish(session, point_of(1))
        following = sessions.using(session.id)
        following.__enter__()
    assert session.is_busy
    following.__exit__(None, None, None)
    assert not session.is_busy


def test_what_was_written_for_the_next_process_changes_no_more(tmp_path: Path) -> None:
    sessions = opened(session_dir=tmp_path)
    session, idle = sessions.create(MODEL), sessions.create(MODEL)
    with sessions.using(session.id):
        sessions.finish(session, point_of(1, 2))
    with sessions.using(session.id):
        asyncio.run(sessions.close())  # waits for a while, and no longer
        with pytest.raises(UnavailableError, match="the session is as it was"):
            sessions.finish(session, point_of(1, 2, 3))
    assert not session.is_busy
    assert session.point.tokens.tolist() == [1, 2]
    (tmp_path / f"{idle.id}.session").unlink()
    asyncio.run(sessions.close())
    assert [path.stem for path in tmp_path.iterdir()] == [session.id], "written twice"

    following = opened(session_dir=tmp_path)
    (found,) = following.all()
    assert (found.id, found.point.tokens.tolist()) == (session.id, [1, 2])
    assert list(tmp_path.iterdir()) == []


def test_a_use_that_ends_soon_is_waited_for_and_written(tmp_path: Path) -> None:
    sessions = opened(session_dir=tmp_path)
    session = sessions.create(MODEL)

    async def main() -> None:
        with sessions.using(session.id):
            closing = asyncio.create_task(sessions.close())
            await asyncio.sleep(0.05)
            sessions.finish(session, point_of(4, 5))
        await closing

    asyncio.run(main())
    (found,) = opened(session_dir=tmp_path).all()
    assert found.point.tokens.tolist() == [4, 5]


def test_files_that_are_found_after_the_end_are_left_to_the_next_process(tmp_path: Path) -> None:
    sessions = opened(session_dir=tmp_path)
    session = sessions.create(MODEL)
    asyncio.run(sessions.close())
    asyncio.run(sessions.open([MODEL]))  # loading has taken longer than the server was wanted
    assert [path.stem for path in tmp_path.iterdir()] == [session.id]


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A disk that is full: from the third file on half of each is written."""
    written: list[int] = []

    def write(path: Path, content: bytes) -> None:
        written.append(len(content))
        if len(written) > 2:
            path.write_bytes(content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_bytes(content)

    monkeypatch.setattr("server.sessions.state.write_durably", write)
    return written


@pytest.mark.usefixtures("full_disk")
def test_what_a_full_disk_takes_is_said_and_what_is_written_is_whole(tmp_path: Path) -> None:
    sessions = opened(session_dir=tmp_path)
    made = [sessions.create(MODEL).id for _ in range(5)]
    with capture_logs() as logs:
        asyncio.run(sessions.close())
    assert sessions.num_lost == 3
    (lost,) = [line for line in logs if line["event"] == "sessions lost"]
    assert (lost["sessions"], lost["of"], lost["reason"], lost["log_level"]) == (
        3,
        5,
        "No space left on device",
        "error",
    )
    assert {path.stem for path in tmp_path.iterdir()} == set(made[3:])  # the last used ones
    assert set(names(opened(session_dir=tmp_path))) == set(made[3:])


def test_a_wall_clock_that_jumps_expires_no_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = 0.0
    clock = SimpleNamespace(time=lambda: 1e9 + ahead, monotonic=lambda: 50.0)
    monkeypatch.setattr("server.sessions.sessions.time", clock)
    sessions = opened(session_dir=tmp_path)
    session = sessions.create(MODEL)
    assert session.expires_at == 1e9 + 3600
    ahead = 7200.0
    assert names(sessions) == [session.id]
    asyncio.run(sessions.close())
    (found,) = opened(session_dir=tmp_path).all()  # by the clock of its writing
    assert found.expires_at == 1e9 + 7200 + 3600


def test_files_that_cannot_be_continued_are_removed_while_the_server_runs_and_may_be_deleted(tmp_path: Path) -> None:
    sessions = opened(session_dir=tmp_path)
    made = [sessions.create(MODEL, ttl_seconds=ttl).id for ttl in (1000, 2000, 3000)]
    asyncio.run(sessions.close())

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, MovableLoop)
        clock = SimpleNamespace(time=lambda: time.time() + loop.ahead, monotonic=lambda: time.monotonic() + loop.ahead)
        with pytest.MonkeyPatch.context() as patch, capture_logs() as logs:
            patch.setattr("server.sessions.sessions.time", clock)
            other = Sessions(Settings(session_key="another letters!", session_dir=tmp_path), Metrics())
            loop.ahead = 1500.0
            await other.open([MODEL])
            assert {path.stem for path in tmp_path.iterdir()} == set(made[1:])
            assert [line["event"] for line in logs] == ["sessions kept in their files", "session files removed"]
            with pytest.raises(SessionNotFoundError, match="in a file that this server cannot continue") as caught:
                other.find(made[1])
            assert caught.value.code == "session_not_loaded"
            other.remove(made[2])
            with pytest.raises(SessionGoneError):
                other.find(made[2])
            assert [path.stem for path in tmp_path.iterdir()] == [made[1]]
            loop.ahead = 2001.0
            await asyncio.sleep(0.01)
        assert list(tmp_path.iterdir()) == []

    with asyncio.Runner(loop_factory=MovableLoop) as runner:
        runner.run(main())


def test_sessions_of_a_version_that_is_not_loaded_wait_for_it(tmp_path: Path) -> None:
    sessions = opened(session_dir=tmp_path)
    made = [sessions.create(MODEL).id for _ in range(2)]
    asyncio.run(sessions.close())
    newer = fake_model(version=2)
    with capture_logs() as logs:
        following = Sessions(Settings(session_key="sixteen letters!", session_dir=tmp_path), Metrics())
        asyncio.run(following.open([newer]))
    (line,) = [line for line in logs if line["event"] == "sessions kept in their files"]
    assert line["sessions"] == 2
    assert "Model fake/1: " in line["reason"]
    assert "RNNSERVE_MODELS takes name/version" in line["reason"]
    assert following.all() == []
    asyncio.run(following.close())
    pinned = Sessions(Settings(session_key="sixteen letters!", session_dir=tmp_path), Metrics())
    asyncio.run(pinned.open([newer, MODEL]))
    assert {(session.id, session.model) for session in pinned.all()} == {(name, "fake/1") for name in made}


def test_a_deleted_one_does_not_come_back_in_the_next_process(tmp_path: Path) -> None:
    sessions = opened(session_dir=tmp_path)
    session = sessions.create(MODEL)
    state = sessions.state(session.id)
    sessions.remove(session.id)
    asyncio.run(sessions.close())
    for _ in range(2):  # also where the one between is killed, or ends before it has loaded
        following = opened(session_dir=tmp_path)
        with pytest.raises(SessionGoneError):
            following.put_state(session.id, state)
        unopened = Sessions(Settings(session_key="sixteen letters!", session_dir=tmp_path), Metrics())
        asyncio.run(unopened.close())
    (tmp_path / "deleted.ids").write_bytes(b"torn")
    with capture_logs() as logs:
        following = opened(session_dir=tmp_path)
    assert [line["event"] for line in logs] == ["deleted sessions not read"]
    asyncio.run(following.close())
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_has_left_half_written_is_removed(tmp_path: Path) -> None:
    for name, age in (("old", 4000), ("new", 10)):
        path = tmp_path / f".writing-{name}"
        path.write_bytes(b"text of somebody")
        os.utime(path, (time.time() - age,) * 2)
    opened(session_dir=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".writing-new"]  # another process may be writing it
