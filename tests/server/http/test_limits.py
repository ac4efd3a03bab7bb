import time

import pytest

from server.errors import FieldError, OverloadedError
from server.http.access import Record, network_of
from server.http.limits import HeldBytes, Limiter


def of(client: str, seconds: float = 0.0) -> Record:
    """A request of a client that came so many seconds ago."""
    return Record("id", client, started=time.perf_counter() - seconds)


def retry_after(permits: Limiter) -> int:
    with pytest.raises(OverloadedError, match="is full: 4 requests") as found:
        permits.take(of("a"))
    return int(found.value.headers["retry-after"])


def full(seconds: float) -> Limiter:
    """Four permits, all taken, after requests that held theirs so long."""
    permits = Limiter("m/1", 4)
    for _ in range(50):
        permits.take(of("a"))
        permits.give_back(of("a", seconds))
    for _ in range(4):
        permits.take(of("a"))
    return permits


def test_who_is_refused_first_comes_again_first() -> None:
    permits = full(7.99)
    assert [retry_after(permits) for _ in range(6)] == [2, 4, 6, 8, 10, 12]
    for _ in range(3):
        permits.give_back(of("a", 7.99))
        permits.take(of("a"))
    assert retry_after(permits) == 8


def test_it_is_a_second_at_least_and_a_minute_at_most() -> None:
    assert retry_after(full(0.001)) == 1
    slow = full(99.9)
    assert [retry_after(slow) for _ in range(4)] == [25, 50, 60, 60]


def test_before_any_request_has_ended_it_is_a_second() -> None:
    permits = Limiter("m/1", 4)
    for _ in range(4):
        permits.take(of("a"))
    assert retry_after(permits) == 1


def test_one_client_leaves_a_quarter_of_the_permits_to_others() -> None:
    permits = Limiter("m/1", 40)
    for _ in range(30):
        permits.take(of("greedy"))
    with pytest.raises(OverloadedError, match="nearly full, and 30 of its 40 requests are yours"):
        permits.take(of("greedy"))
    for client in "abcdefghij":
        permits.take(of(client))
    with pytest.raises(OverloadedError, match="is full: 40 requests"):
        permits.take(of("k"))
    for client in "abcde":
        permits.give_back(of(client, 1.0))
    with pytest.raises(OverloadedError, match="are yours"):
        permits.take(of("greedy"))
    permits.take(of("k"))


def test_clients_that_hold_no_more_than_their_share_are_equal() -> None:
    permits = Limiter("m/1", 16)
    for _ in range(6):
        permits.take(of("a"))
        permits.take(of("b"))
    with pytest.raises(OverloadedError, match="are yours"):
        permits.take(of("a"))
    permits.take(of("c"))


def test_tokens_that_never_fit_are_422_and_those_that_do_not_fit_now_429() -> None:
    permits = Limiter("m/1", 8, max_tokens=2560)
    with pytest.raises(FieldError, match=r"prompt: the request may need 2561 tokens.*At most 2560.*MAX_PENDING_TOKENS"):
        permits.take_tokens(of("a"), 2561, "prompt")
    large = of("a")
    permits.take(large)
    for num_tokens in (100, 2000):  # what it needs at least, and then all
        permits.take_tokens(large, num_tokens, "prompt")
    with pytest.raises(OverloadedError, match="has 2000 tokens to work on; 600 more do not fit"):
        permits.take_tokens(of("a"), 600, "prompt")
    with pytest.raises(OverloadedError, match="has 2000 tokens to work on; 2000 of them are yours"):
        permits.take_tokens(of("a"), 500, "prompt")
    permits.take_tokens(of("b"), 560, "prompt")
    for _ in range(32):  # small ones have an eighth more
        permits.take_tokens(of("a"), 10, "prompt")
    for num_tokens in (10, 11):
        with pytest.raises(OverloadedError):
            permits.take_tokens(of("a"), num_tokens, "prompt")
    permits.give_back(large)
    assert permits.tokens.num_taken == 880


def test_one_client_leaves_a_quarter_of_the_bytes_to_others() -> None:
    bodies = HeldBytes(128 << 20)
    for _ in range(96):
        bodies.take(of("greedy"), 1 << 20)
    with pytest.raises(OverloadedError, match="more than their share"):
        bodies.take(of("greedy"), 1 << 20)
    bodies.take(of("greedy"), 1000)
    for client in "abcdefghijklmno":
        bodies.take(of(client), 1 << 20)
    with pytest.raises(OverloadedError):
        bodies.take(of("p"), 1 << 20)


def test_all_addresses_of_one_network_of_ipv6_are_one_client() -> None:
    assert network_of("192.0.2.1") != network_of("192.0.2.2")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1")
    assert network_of("2001:db8::1") == network_of("2001:0db8:0:0:ffff::2") != network_of("2001:db8:0:1::1")
    assert network_of("fe80::1%eth0") == network_of("fe80::2")
    assert network_of("unknown") == "unknown"
    assert len(network_of("x" * 1000)) < 100
