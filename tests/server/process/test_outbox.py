"""What the web server hears of an engine, and when."""

from server.engine.engine import Gauges
from server.engine.sentiment.request import Classification, Verdict
from server.process.messages import Bulletin, Letter
from server.process.outbox import Address, Outbox


def test_an_engine_at_rest_says_how_it_is_if_that_is_news_and_nothing_otherwise() -> None:
    sent: list[Bulletin] = []
    gauges = Gauges()
    outbox = Outbox(sent.append, lambda: gauges)
    outbox.rest()
    assert not sent
    gauges = Gauges(num_running=3)
    outbox.flush()
    assert not sent, "while it works it speaks when it has news of requests"
    outbox.rest()
    outbox.rest()
    assert sent == [Bulletin([], [], gauges)]


def test_what_was_counted_goes_with_the_news() -> None:
    sent: list[Bulletin] = []
    outbox = Outbox(sent.append, Gauges)
    request = Classification([[1]])
    request.mailbox = Address(7)
    outbox.stepped(2, 0.5)
    outbox.flush()
    assert not sent
    outbox.post(request, Verdict(0, [1.0]))
    outbox.flush()
    outbox.flush()
    (bulletin,) = sent
    assert bulletin.letters == [Letter(7, Verdict(0, [1.0]), request.times)]
    assert bulletin.notes == [("stepped", (2, 0.5))]
