import pytest

from server.errors import OverloadedError
from server.http.access import Limiter


def retry_after(permits: Limiter) -> int:
    with pytest.raises(OverloadedError, match="is full: 4 requests") as found:
        permits.take()
    return int(found.value.headers["retry-after"])


def full(seconds: float) -> Limiter:
    """Four permits, all taken, after requests that held theirs so long."""
    permits = Limiter("m/1", 4)
    for _ in range(50):
        permits.take()
        permits.give_back(seconds)
    for _ in range(4):
        permits.take()
    return permits


def test_who_is_refused_first_comes_again_first() -> None:
    permits = full(8.0)
    assert [retry_after(permits) for _ in range(6)] == [2, 4, 6, 8, 10, 12]
    for _ in range(3):
        permits.give_back(8.0)
        permits.take()
    assert retry_after(permits) == 8


def test_it_is_a_second_at_least_and_a_minute_at_most() -> None:
    assert retry_after(full(0.001)) == 1
    slow = full(100.0)
    assert [retry_after(slow) for _ in range(4)] == [25, 50, 60, 60]


def test_before_any_request_has_ended_it_is_a_second() -> None:
    permits = Limiter("m/1", 4)
    for _ in range(4):
        permits.take()
    assert retry_after(permits) == 1
