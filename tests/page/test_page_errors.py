"""What goes wrong is a sentence: a key is missing, the models are loading, the server is full, or gone."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.endpoint import LoadedModel
from server.settings import Settings
from tests.end_to_end.real_server import RealServer, real_server
from tests.page.browser import Browser
from tests.server.running import fake_model, running

pytestmark = pytest.mark.slow

KEY = "a-key-of-the-tests-alone"


def test_what_the_server_refuses_is_said_in_both_languages(browser: Browser) -> None:
    browser.open("generation")
    browser.run("document.querySelector('#prompt').value = '你好'")
    browser.act("begin")
    assert browser.problem().startswith("The server refused this: prompt")
    assert browser.text(".status") == ""
    browser.click("#language")
    assert browser.problem().startswith("服务器拒绝了该请求：prompt")
    assert not browser.all("[role=treeitem]")
    assert all("422" in message for message in browser.errors())


@pytest.mark.parametrize(
    ("task", "result"), [("translation", ".translated"), ("sentiment", ".verdict .bar"), ("tagging", ".tagged .tag")]
)
def test_an_empty_text_is_said_and_no_result_stays(browser: Browser, task: str, result: str) -> None:
    browser.open(task)
    browser.find(result)
    browser.enter(f"#{task}-text", "  ")
    assert browser.problem() == "The text is empty. Write something first."
    assert not browser.all(result)
    assert not browser.all(f"#panel-{task} .code")
    browser.enter(f"#{task}-text", "Anna is here.")
    browser.find(result)
    assert not browser.all("[role=alert]")


def test_what_is_refused_leaves_no_result(browser: Browser) -> None:
    browser.open("sentiment")
    browser.find(".verdict .bar")
    script = "const i = document.querySelector('#sentiment-text'); i.value = 'a '.repeat(3e5);"
    browser.run(script + "i.dispatchEvent(new Event('input'))")
    assert browser.problem()
    assert not browser.all(".verdict .bar, .moved *, #panel-sentiment .hint, #panel-sentiment .code")
    assert all("413" in message or "422" in message for message in browser.errors())


def test_a_scenario_needs_the_series_beginning(browser: Browser) -> None:
    browser.open("forecast")
    browser.until(lambda: len(browser.all(".median")) == 1)
    browser.enter("#assumed", "9 9")
    browser.act("addScenario")
    browser.until(lambda: len(browser.all(".median")) == 2 and browser.all(".scenarios li"))
    browser.enter("#start", "")
    assert browser.problem().startswith("“Begins at” is empty and needed here.")
    browser.until(lambda: not browser.all(".scenarios li") and len(browser.all(".median")) == 1)
    browser.enter("#assumed", "9 9")
    browser.act("addScenario")
    assert browser.problem().startswith("“Begins at” is empty and needed here.")
    browser.errors()


def test_a_key_is_asked_for_and_kept_in_this_tab_alone(window: Browser, tmp_path: Path) -> None:
    environment = {"RNNSERVE_API_KEYS": KEY}
    with real_server(
        Path("artifacts"), "--models", "sentiment-en", log=tmp_path / "log", environment=environment
    ) as one:
        window.url = one.url
        window.driver.get(f"{one.url}/")
        assert window.problem() == "This server asks for an API key. Enter yours above."
        window.enter("#key", "wrong")
        window.press("\n")
        window.until(lambda: "does not accept" in window.problem())
        window.enter("#key", KEY)
        window.press("\n")
        window.until(lambda: window.all("#panel-sentiment > *"))
        assert not window.all("#key")
        assert window.run("return Object.values(sessionStorage)") == [KEY]
        assert KEY not in window.run("return Object.values(localStorage)")
        window.enter("#sentiment-text", "Wonderful!")
        window.until(lambda: window.text(".moved") == "Wonderful!")
        window.run("document.querySelector('.code').open = true")
        assert KEY not in window.text(".code pre")
        assert "RNNSERVE_KEY" in window.text(".code pre")
        window.leave()
    assert [message for message in window.errors() if "401" not in message] == []


def test_the_page_waits_for_models_that_are_loading(window: Browser) -> None:
    go_on = threading.Event()

    def load(_: Settings) -> list[LoadedModel]:
        go_on.wait(60)
        return [fake_model()]

    with running(load=load) as server:
        try:
            window.url = server.url
            window.driver.get(f"{server.url}/")
            assert window.problem() == "The models are being loaded. This page goes on by itself when they are there."
        finally:
            go_on.set()
        window.until(lambda: window.all("#panel-generation > *"))
        assert not window.all("[role=alert]")
        assert [tab.text for tab in window.all("[role=tab]")] == ["Generation"]
        window.leave()
    assert [message for message in window.errors() if "503" not in message] == []


def test_a_server_without_a_session_key_says_how_to_set_one(window: Browser) -> None:
    with running(fake_model()) as server:
        window.url = server.url
        window.open("generation")
        window.enter("#prompt", "to be")
        window.enter("#seed", "3")
        window.slide("#slider-speed", 3)
        window.act("begin")
        window.until(lambda: window.all("#unit9"))
        window.until(lambda: not window.all("[aria-busy=true]"))
        window.act("export")
        assert window.problem().startswith("This cannot be done now: ")
        assert "RNNSERVE_SESSION_KEY" in window.problem()
        window.leave()
    assert [message for message in window.errors() if "409" not in message] == []


@contextmanager
def full(server: RealServer) -> Iterator[None]:
    """The server's only permit is held, by a client that takes nothing of a long answer."""
    body = {"prompt": "a", "max_tokens": 4096, "n": 12, "stream": True, "logprobs": 20}
    content = json.dumps(body).encode()
    host, port = server.url.removeprefix("http://").split(":")
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((host, int(port)))
        head = f"POST /v1/generate HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        connection.sendall(f"{head}content-length: {len(content)}\r\n\r\n".encode() + content)
        assert connection.recv(12) == b"HTTP/1.1 200"
        yield


def test_a_full_server_says_when_to_come_again_and_a_server_that_is_gone_that_it_is(
    window: Browser, tmp_path: Path
) -> None:
    arguments = ("--models", "shakespeare-char", "--max-requests", "1")
    with real_server(Path("artifacts"), *arguments, log=tmp_path / "log") as one:
        window.url = one.url
        window.open("generation")
        with full(one):
            window.enter("#prompt", "ROMEO:")
            window.act("begin")
            assert window.problem().startswith("The server is full right now. Try again in")
            assert window.find("#prompt").get_attribute("value") == "ROMEO:", "what was typed is kept"
        window.slide("#slider-speed", 3)
        window.slide("#slider-maxTokens", 40)

        def begun() -> bool:
            window.act("begin")
            window.until(lambda: not window.all("[aria-busy=true]"))
            return bool(window.all("#unit40"))

        window.until(begun)
    window.act("goOn")
    assert window.problem() == "The server does not answer. Is it running, and is the network up?"
    window.leave()
    window.errors()
