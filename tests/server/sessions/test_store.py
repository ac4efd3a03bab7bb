"""The store alone: what is kept, what goes, and why."""

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from server.errors import OverloadedError, SessionBusyError, SessionGoneError, SessionNotFoundError
from server.sessions.point import Point
from server.sessions.store import Session, SessionStore

TTL = 100.0


def point_of(*numbers: int) -> Point:
    """Where a session of 10 bytes and one for each number stands, as much as a store needs."""
    return cast("Point", SimpleNamespace(numbers=numbers, num_bytes=10 + len(numbers)))


def numbers_of(session: Session) -> tuple[int, ...]:
    return cast("Any", session.point).numbers  # type: ignore[no-any-return]


class Store(SessionStore):
    """A store whose time is set."""

    def __init__(self, max_sessions: int, max_bytes: int, evicted: Callable[[str], None] = lambda _: None) -> None:
        super().__init__(max_sessions, max_bytes, 3, evicted, lambda: self.now, lambda: self.now + self.ahead)
        self.now = 0.0
        self.ahead = 1e9  # of the wall clock

    def at(self, now: float) -> Self:
        self.now = now
        return self


def add(
    store: Store, name: str, now: float, numbers: tuple[int, ...] = (), ttl: float = TTL, client: str = ""
) -> Session:
    return store.at(now).add(name, "m/1", point_of(*numbers), ttl, client)


def names(store: Store, now: float) -> list[str]:
    """The longest unused first."""
    return [session.id for session in reversed(store.at(now).all())]


def use(store: Store, name: str, now: float) -> None:
    store.give_back(store.at(now).take(name))


def code_of(store: Store, name: str, now: float) -> str:
    with pytest.raises(SessionNotFoundError) as caught:
        store.at(now).find(name)
    return caught.value.code


def test_one_unused_for_its_time_expires_and_its_users_are_told_so() -> None:
    evicted: list[str] = []
    store = Store(9, 10_000, evicted.append)
    add(store, "a", 0)
    add(store, "b", 0, ttl=500)
    use(store, "a", 50)
    store.at(149).find("a")  # looking is no use
    with pytest.raises(SessionNotFoundError, match=r"'a' has expired: it was not used for 100 s"):
        store.at(150).take("a")
    assert code_of(store, "a", 1000) == "session_expired"
    assert (len(store.all()), store.num_bytes, evicted) == (0, 0, ["expired", "expired"])
    add(store, "a", 1001)  # the id is free again
    assert store.at(1002).find("a").used == 1001
    store.at(1003).remove("a")
    assert code_of(store, "a", 1101) == "session_not_found"  # not why the one before it went


def test_of_those_that_have_gone_the_latest_10_000_are_remembered() -> None:
    store = Store(1, 1000)
    for i in range(10_002):
        add(store, f"s{i}", i)
    codes = [code_of(store, name, 10_002) for name in ("s0", "s1", "s10000")]
    assert codes == ["session_not_found", "session_evicted", "session_evicted"]


def test_one_in_use_does_not_expire_and_counts_from_the_end_of_its_use() -> None:
    store = Store(9, 10_000)
    add(store, "a", 0)
    session = store.at(10).take("a")
    assert names(store, 500) == ["a"]
    store.at(500).give_back(session)
    assert names(store, 599) == ["a"]
    assert names(store, 600) == []


def test_for_want_of_places_the_one_unused_longest_goes_but_never_one_in_use() -> None:
    evicted: list[str] = []
    store = Store(3, 10_000, evicted.append)
    for i, name in enumerate("abc"):
        add(store, name, i)
    use(store, "a", 3)
    busy = store.at(4).take("b")
    add(store, "d", 5)
    assert names(store, 6) == ["a", "b", "d"]
    assert evicted == ["number"]
    assert code_of(store, "c", 6) == "session_evicted"
    others = [store.at(7).take(name) for name in "ad"]
    with pytest.raises(OverloadedError, match=r"3 of at most 3 sessions, .*RNNSERVE_MAX_SESSIONS"):
        add(store, "e", 8)
    for session in (busy, *others):
        store.at(9).give_back(session)
    assert sorted(names(store, 9)) == ["a", "b", "d"]


def test_for_want_of_bytes_those_unused_longest_go_until_it_fits() -> None:
    evicted: list[str] = []
    store = Store(9, 60, evicted.append)
    for i, name in enumerate("abcd"):
        add(store, name, i, (1, 2))
    session = store.at(5).take("a")
    store.at(6).give_back(session, point_of(*[1] * 30))
    assert names(store, 7) == ["d", "a"]
    assert evicted == ["bytes", "bytes"]
    store.at(8).take("a")
    with pytest.raises(OverloadedError, match="60 bytes"):
        add(store, "e", 9, (0,) * 20)
    assert names(store, 9) == ["d", "a"]  # one that finds no room has pushed nobody out


def test_one_of_the_same_id_is_replaced_but_not_while_it_is_used() -> None:
    store = Store(1, 10_000)
    add(store, "a", 0, (1,))
    add(store, "a", 1, (2, 3))
    assert (numbers_of(store.at(2).find("a")), len(store.all()), store.num_bytes) == ((2, 3), 1, 12)
    session = store.at(3).take("a")
    for change in (lambda: add(store, "a", 4), lambda: store.at(4).remove("a"), lambda: store.at(4).take("a")):
        with pytest.raises(SessionBusyError, match="'a' is being used by another request"):
            change()
    store.at(5).give_back(session)
    store.at(6).remove("a")
    assert (store.num_bytes, store.all()) == (0, [])


def test_a_deleted_one_does_not_come_back_before_it_would_have_expired() -> None:
    store = Store(9, 10_000)
    add(store, "a", 0)
    use(store, "a", 50)
    store.at(60).remove("a")
    add(store, "b", 60)
    for now in (60.0, 149.0):
        for change in (
            lambda now=now: store.at(now).find("a"),
            lambda now=now: store.at(now).take("a"),
            lambda now=now: store.at(now).remove("a"),
            lambda now=now: add(store, "a", now),
        ):
            with pytest.raises(SessionGoneError, match="'a' was deleted"):
                change()
    assert code_of(store, "a", 150) == "session_not_found"
    add(store, "a", 150)
    assert store.at(151).find("a").used == 150


def test_of_the_deleted_ones_no_more_than_the_setting_says_are_remembered() -> None:
    store = Store(9, 10_000)  # three
    for name in "abcd":
        add(store, name, 0)
        store.remove(name)
    assert code_of(store, "a", 1) == "session_not_found"
    for name in "bcd":
        with pytest.raises(SessionGoneError):
            store.at(1).find(name)


@pytest.mark.parametrize("hours", [-2, 2, 20_000])
def test_a_wall_clock_that_is_set_expires_nothing(hours: int) -> None:
    store = Store(9, 10_000)
    add(store, "a", 0)
    store.ahead += 3600 * hours
    assert names(store, 99) == ["a"]
    use(store, "a", 99)
    assert store.find("a").expires_at == store.ahead + 199  # what is shown follows the wall clock at the next use
    assert names(store, 198) == ["a"]
    assert names(store, 199) == []


def held_by(store: Store, now: float) -> dict[str, int]:
    return Counter(session.client for session in store.at(now).all())


@pytest.mark.parametrize("budget", ["number", "bytes"])
def test_one_clients_sessions_never_displace_those_of_clients_that_have_few(budget: str) -> None:
    store = Store(10, 10_000) if budget == "number" else Store(1000, 100)
    for i in range(3):
        for number in range(2):
            add(store, f"few-{i}-{number}", number, client=f"few-{i}")
    for i in range(50):
        add(store, f"many-{i}", 10 + i, client="many")
    assert held_by(store, 60) == {"few-0": 2, "few-1": 2, "few-2": 2, "many": 4}
    assert {session.id for session in store.all() if session.client == "many"} == {f"many-{i}" for i in range(46, 50)}
    few = {"few-0": 2, "few-1": 2, "few-2": 2}
    add(store, "one more", 61, client="few-3")
    assert held_by(store, 61) == few | {"few-3": 1, "many": 3}
    session = store.at(62).take("many-49")
    store.at(63).give_back(session, point_of(*range(20)))  # grows
    assert held_by(store, 63) == few | {"few-3": 1, "many": 3 if budget == "number" else 1}


def test_a_client_that_has_many_is_not_displaced_by_another_that_makes_many() -> None:
    store = Store(12, 10_000)
    for i in range(10):
        add(store, f"old-{i}", i, client="old")
    for i in range(40):
        add(store, f"new-{i}", 10 + i, client="new")
    assert held_by(store, 60)["old"] >= 4  # at least half of what the other has


def test_a_new_client_finds_room_where_each_has_one() -> None:
    store = Store(3, 10_000)
    for i in range(5):
        add(store, f"s{i}", i, client=f"client-{i}")
    assert names(store, 6) == ["s2", "s3", "s4"]


def test_a_client_whose_own_are_in_use_is_refused_instead_of_displacing_those_of_clients_that_have_few() -> None:
    store = Store(6, 10_000)
    for i in range(2):
        add(store, f"few-{i}", 0, client=f"few-{i}")
    busy = []
    for i in range(4):
        add(store, f"many-{i}", 1, client="many")
        busy.append(store.at(1).take(f"many-{i}"))
    with pytest.raises(OverloadedError, match=r"Requests are using 4, and the others belong to clients that have few"):
        add(store, "many-4", 2, client="many")
    store.at(3).give_back(busy[2])
    add(store, "many-4", 4, client="many")
    assert sorted(names(store, 5)) == ["few-0", "few-1", "many-0", "many-1", "many-3", "many-4"]


def test_a_message_never_names_other_sessions() -> None:
    store = Store(99, 10_000)
    add(store, "s1", 1)
    with pytest.raises(SessionNotFoundError, match=r"'生' not found\.") as found:
        store.at(2).find("生")
    assert "s1" not in str(found.value)


class Machine(RuleBasedStateMachine):
    """Random requests against a store, beside what each session last held."""

    MOST, MOST_BYTES, LARGEST = 4, 200, 40

    def __init__(self) -> None:
        super().__init__()
        self.evicted: Counter[str] = Counter()
        self.store = Store(self.MOST, self.MOST_BYTES, lambda reason: self.evicted.update([reason]))
        self.now = 0.0
        self.number = 0
        self.known: dict[str, tuple[int, ...]] = {}  # what each is to hold; its first number is its own
        self.busy: dict[str, Session] = {}
        self.num_gone = self.num_refused = 0  # removed by a request; refused because the store is full

    def name(self, data: Any) -> str:
        return str(data.draw(st.sampled_from(sorted(self.known) or ["none"])))

    @rule(size=st.integers(0, 30), ttl=st.sampled_from([5.0, 50.0]))
    def make(self, size: int, ttl: float) -> None:
        name = f"s{self.number}"
        held = (self.number,) * (1 + size)
        self.number += 1
        try:
            add(self.store, name, self.now, held, ttl)
        except OverloadedError:
            num_bytes = sum(session.point.num_bytes for session in self.busy.values())
            assert len(self.busy) >= self.MOST or num_bytes + 10 + size > self.MOST_BYTES
            self.num_refused += 1
        else:
            self.known[name] = held
            assert numbers_of(self.store.at(self.now).find(name)) == held

    @rule(data=st.data())
    def begin(self, data: Any) -> None:
        name = self.name(data)
        try:
            session = self.store.at(self.now).take(name)
        except SessionBusyError:
            assert name in self.busy
        except SessionNotFoundError:
            assert name not in self.busy
            self.known.pop(name, None)
        else:
            assert name not in self.busy
            self.busy[name] = session

    @rule(data=st.data(), succeeds=st.booleans(), grows=st.integers(1, 5))
    def end(self, data: Any, succeeds: bool, grows: int) -> None:
        if not self.busy:
            return
        name = data.draw(st.sampled_from(sorted(self.busy)))
        session = self.busy.pop(name)
        held = numbers_of(session)
        if succeeds:
            held = (held + held[:1] * grows)[: self.LARGEST]
            self.known[name] = held
        self.store.at(self.now).give_back(session, point_of(*held) if succeeds else None)
        assert numbers_of(self.store.at(self.now).find(name)) == self.known[name]

    @rule(data=st.data())
    def remove(self, data: Any) -> None:
        name = self.name(data)
        try:
            self.store.at(self.now).remove(name)
            self.num_gone += 1
        except SessionBusyError:
            assert name in self.busy
            return
        except SessionNotFoundError:
            pass
        self.known.pop(name, None)

    @rule(data=st.data())
    def look(self, data: Any) -> None:
        name = self.name(data)
        if name in {session.id for session in self.store.at(self.now).all()}:
            assert numbers_of(self.store.at(self.now).find(name)) == self.known[name]
            return
        self.known.pop(name, None)
        assert name == "none" or code_of(self.store, name, self.now) in ("session_expired", "session_evicted")

    @rule(seconds=st.floats(0.1, 30))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def nobody_is_lost_and_nobody_holds_anothers_tokens(self) -> None:
        present = {session.id: session for session in self.store.at(self.now).all()}
        for name, session in present.items():
            assert numbers_of(session) == self.known[name]
            assert session.is_busy == (name in self.busy)
            assert session.is_busy or session.expires > self.now
        assert set(self.busy) <= set(present)
        assert self.number == self.num_refused + len(present) + self.num_gone + sum(self.evicted.values())
        assert self.store.num_bytes == sum(session.point.num_bytes for session in present.values())
        assert len(present) <= self.MOST
        if not self.busy:
            assert self.store.num_bytes <= self.MOST_BYTES


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
