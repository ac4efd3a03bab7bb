"""Messages arrive whole and in order, however the stream cuts them."""

from hypothesis import given
from hypothesis import strategies as st

from server.process.frames import Frames, framed


@given(st.lists(st.binary(max_size=300)), st.lists(st.integers(1, 40), min_size=1))
def test_what_was_sent_is_what_arrives(messages: list[bytes], sizes: list[int]) -> None:
    stream = b"".join(map(framed, messages))
    frames = Frames()
    arrived: list[bytes] = []
    start = number = 0
    while start < len(stream):
        size = sizes[number % len(sizes)]
        arrived += frames.feed(stream[start : start + size])
        start, number = start + size, number + 1
    assert arrived == messages
