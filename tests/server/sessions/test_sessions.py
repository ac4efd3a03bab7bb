"""The sessions of one app: their order, and what is written for the next process and not changed after."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from server.errors import UnavailableError
from server.metrics import Metrics
from server.sessions.point import Point
from server.sessions.sessions import Sessions
from server.settings import Settings
from tests.server.fake_runner import STATE_WIDTH
from tests.server.running import fake_model

MODEL = fake_model()


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
