"""The store alone: what is kept, what goes, and why."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from server.errors import OverloadedError, SessionBusyError, SessionNotFoundError
from server.sessions.store import Session, SessionStore

TTL = 100.0
Store = SessionStore[tuple[int, ...]]


def add(store: Store, name: str, now: float, held: tuple[int, ...] = (), ttl: float = TTL) -> Session[tuple[int, ...]]:
    return store.add(name, "m/1", held, num_bytes=10 + len(held), ttl_seconds=ttl, used=now, now=now)


def names(store: Store, now: float) -> list[str]:
    return [session.id for session in store.sessions(now)]


def use(store: Store, name: str, now: float) -> None:
    store.give_back(store.take(name, now), now)


def code_of(store: Store, name: str, now: float) -> str:
    with pytest.raises(SessionNotFoundError) as caught:
        store.find(name, now)
    return caught.value.code


def test_one_unused_for_its_time_expires_and_its_users_are_told_so() -> None:
    evicted: list[str] = []
    store: Store = SessionStore(9, 10_000, evicted.append)
    add(store, "a", 0)
    add(store, "b", 0, ttl=500)
    use(store, "a", 50)
    store.find("a", 149)  # looking is no use
    with pytest.raises(SessionNotFoundError, match=r"'a' has expired: it was not used for 100 s"):
        store.take("a", 150)
    assert code_of(store, "a", 1000) == "session_expired"
    assert (len(store), store.num_bytes, evicted) == (0, 0, ["expired", "expired"])
    add(store, "a", 1001)  # the id is free again
    assert store.find("a", 1002).used == 1001
    store.remove("a", 1003)
    assert code_of(store, "a", 1004) == "session_not_found"  # not why the one before it went


def test_of_those_that_have_gone_the_latest_10_000_are_remembered() -> None:
    store: Store = SessionStore(1, 1000)
    for i in range(10_002):
        add(store, f"s{i}", i)
    codes = [code_of(store, name, 10_002) for name in ("s0", "s1", "s10000")]
    assert codes == ["session_not_found", "session_evicted", "session_evicted"]


def test_one_in_use_does_not_expire_and_counts_from_the_end_of_its_use() -> None:
    store: Store = SessionStore(9, 10_000)
    add(store, "a", 0)
    session = store.take("a", 10)
    assert names(store, 500) == ["a"]
    store.give_back(session, 500)
    assert names(store, 599) == ["a"]
    assert names(store, 600) == []


def test_for_want_of_places_the_one_unused_longest_goes_but_never_one_in_use() -> None:
    evicted: list[str] = []
    store: Store = SessionStore(3, 10_000, evicted.append)
    for i, name in enumerate("abc"):
        add(store, name, i)
    use(store, "a", 3)
    busy = store.take("b", 4)
    add(store, "d", 5)
    assert names(store, 6) == ["a", "b", "d"]
    assert evicted == ["number"]
    assert code_of(store, "c", 6) == "session_evicted"
    others = [store.take(name, 7) for name in "ad"]
    with pytest.raises(OverloadedError, match=r"3 of at most 3 sessions .*RNNSERVE_MAX_SESSIONS"):
        add(store, "e", 8)
    for session in (busy, *others):
        store.give_back(session, 9)
    assert sorted(names(store, 9)) == ["a", "b", "d"]


def test_for_want_of_bytes_those_unused_longest_go_until_it_fits() -> None:
    evicted: list[str] = []
    store: Store = SessionStore(9, 60, evicted.append)
    for i, name in enumerate("abcd"):
        add(store, name, i, (1, 2))
    session = store.take("a", 5)
    store.put(session, (1,) * 30, 40)
    assert store.num_bytes == 76  # for a moment: nothing goes while it is in use
    store.give_back(session, 6)
    assert names(store, 7) == ["d", "a"]
    assert evicted == ["bytes", "bytes"]
    store.take("a", 8)
    with pytest.raises(OverloadedError, match="60 bytes"):
        add(store, "e", 9, (0,) * 20)
    assert names(store, 9) == ["d", "a"]  # one that finds no room has pushed nobody out


def test_one_of_the_same_id_is_replaced_but_not_while_it_is_used() -> None:
    store: Store = SessionStore(1, 10_000)
    add(store, "a", 0, (1,))
    add(store, "a", 1, (2, 3))
    assert (store.find("a", 2).held, len(store), store.num_bytes) == ((2, 3), 1, 12)
    session = store.take("a", 3)
    for change in (lambda: add(store, "a", 4), lambda: store.remove("a", 4), lambda: store.take("a", 4)):
        with pytest.raises(SessionBusyError, match="'a' is being used by another request"):
            change()
    store.give_back(session, 5)
    store.remove("a", 6)
    assert code_of(store, "a", 6) == "session_not_found"


def test_a_message_never_names_other_sessions() -> None:
    store: Store = SessionStore(99, 10_000)
    add(store, "s1", 1)
    with pytest.raises(SessionNotFoundError, match=r"'\\u751f' not found\.") as found:
        store.find("生", 2)
    assert "s1" not in str(found.value)


class Machine(RuleBasedStateMachine):
    """Random requests against a store, beside what each session last held."""

    MOST, MOST_BYTES, LARGEST = 4, 200, 40

    def __init__(self) -> None:
        super().__init__()
        self.evicted: Counter[str] = Counter()
        self.store: Store = SessionStore(self.MOST, self.MOST_BYTES, lambda reason: self.evicted.update([reason]))
        self.now = 0.0
        self.number = 0
        self.known: dict[str, tuple[int, ...]] = {}  # what each is to hold; its first number is its own
        self.busy: dict[str, Session[tuple[int, ...]]] = {}
        self.num_gone = self.num_refused = 0  # removed by a request; refused because the store is full

    def name(self, data: Any) -> str:
        return str(data.draw(st.sampled_from(sorted(self.known) or ["none"])))

    @rule(size=st.integers(0, 30), ttl=st.sampled_from([5.0, 50.0]))
    def make(self, size: int, ttl: float) -> None:
        name = f"s{self.number}"
        held = (self.number,) * (1 + size)
        self.number += 1
        try:
            self.store.add(name, "m", held, num_bytes=10 + size, ttl_seconds=ttl, used=self.now, now=self.now)
        except OverloadedError:
            num_bytes = sum(session.num_bytes for session in self.busy.values())
            assert len(self.busy) >= self.MOST or num_bytes + 10 + size > self.MOST_BYTES
            self.num_refused += 1
        else:
            self.known[name] = held
            assert self.store.find(name, self.now).held == held

    @rule(data=st.data())
    def begin(self, data: Any) -> None:
        name = self.name(data)
        try:
            session = self.store.take(name, self.now)
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
        if succeeds:
            held = (session.held + session.held[:1] * grows)[: self.LARGEST]
            self.store.put(session, held, 9 + len(held))
            self.known[name] = held
        self.store.give_back(session, self.now)
        assert self.store.find(name, self.now).held == self.known[name]

    @rule(data=st.data())
    def remove(self, data: Any) -> None:
        name = self.name(data)
        try:
            self.store.remove(name, self.now)
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
        if name in {session.id for session in self.store.sessions(self.now)}:
            assert self.store.find(name, self.now).held == self.known[name]
            return
        self.known.pop(name, None)
        assert name == "none" or code_of(self.store, name, self.now) in ("session_expired", "session_evicted")

    @rule(seconds=st.floats(0.1, 30))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def nobody_is_lost_and_nobody_holds_anothers_tokens(self) -> None:
        present = {session.id: session for session in self.store.sessions(self.now)}
        for name, session in present.items():
            assert session.held == self.known[name]
            assert session.is_busy == (name in self.busy)
            assert session.is_busy or session.expires > self.now
        assert set(self.busy) <= set(present)
        assert self.number == self.num_refused + len(present) + self.num_gone + sum(self.evicted.values())
        assert self.store.num_bytes == sum(session.num_bytes for session in present.values())
        assert len(present) <= self.MOST
        if not self.busy:
            assert self.store.num_bytes <= self.MOST_BYTES


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
