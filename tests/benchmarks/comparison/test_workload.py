import orjson
import pytest

from benchmarks.comparison.picture import picture
from benchmarks.comparison.server_settings import ServerSettings
from benchmarks.comparison.servers import OTHERS, RNNSERVE
from benchmarks.comparison.workload import Dialect, requests
from benchmarks.serving.w1 import Workload

WORKLOAD = Workload(("a", "b", "c"), seed=1)
PLAIN = Dialect("/", lambda asked: asked, lambda answer: int(answer["completion_tokens"]))


def test_every_server_is_asked_the_same_in_its_own_words() -> None:
    ours, bento = (requests(WORKLOAD, dialect) for dialect in (RNNSERVE, OTHERS["BentoML"].dialect))
    for number in (5, 0, 5):
        assert orjson.loads(bento(number).body) == {"requests": [orjson.loads(ours(number).body)]}
    assert orjson.loads(ours(7).body) == WORKLOAD.ask(7)._asdict()


def test_an_answer_of_another_length_than_asked_is_an_error() -> None:
    request = requests(WORKLOAD, PLAIN)(0)
    wanted = orjson.loads(request.body)["max_tokens"]
    assert request.count(orjson.dumps({"completion_tokens": wanted})).error is None
    wrong = request.count(orjson.dumps({"completion_tokens": wanted - 1})).error
    assert wrong == f"{wanted - 1} tokens; asked for {wanted}"


def test_settings_arrive_in_the_peers_process(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ServerSettings("artifacts", "shakespeare-char", 8123, 64, 0.5, 2)
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert ServerSettings.from_environment() == settings


def test_the_picture_has_a_bar_for_each_server_with_its_figure() -> None:
    figures = {
        "rnnserve": {"share_of_bare": 0.8, "p99_short_ms": 40.0},
        "x": {"share_of_bare": 0.3, "p99_short_ms": 400.0},
    }
    shares, latencies = picture(figures).axes
    assert [text.get_text() for text in shares.texts] == ["80 %", "30 %"]
    assert [text.get_text() for text in latencies.texts] == ["40 ms", "400 ms"]
