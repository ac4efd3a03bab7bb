"""Branches of a text: stopped, exported and imported, ended and begun anew; and the calls as code."""

import json
import subprocess
import sys
from functools import partial

import pytest

from tests.end_to_end.real_server import RealServer
from tests.page.browser import Browser
from tests.page.test_page import session_of_branch, sessions_of
from tests.server.running import BYTES, fake_model, running

pytestmark = pytest.mark.slow


def begin(browser: Browser, prompt: str, tokens: int, speed: int = 3) -> str:
    """Write a new text to its end; it."""
    browser.open("generation")
    browser.enter("#prompt", prompt)
    browser.enter("#seed", "1")
    browser.slide("#slider-maxTokens", tokens)
    browser.slide("#slider-speed", speed)
    browser.act("begin")
    browser.until(lambda: len(browser.text("#story")) == len(prompt) + tokens and not browser.all("[data-action=stop]"))
    return browser.text("#story")


def has_text(browser: Browser, selector: str, text: str) -> bool:
    return text in browser.text(selector)


def wait_until_idle(browser: Browser) -> None:
    browser.until(lambda: not browser.all("[data-action=stop]") and not browser.all("[aria-busy=true]"))


@pytest.mark.parametrize("speed", [0, 2, 3])
def test_a_stopped_text_ends_where_it_was_stopped_and_goes_on_from_there(
    browser: Browser, server: RealServer, speed: int
) -> None:
    """Whether the server had ended its answer or not."""
    browser.open("generation")
    browser.enter("#prompt", "ROMEO:")
    browser.slide("#slider-maxTokens", 1000)
    browser.slide("#slider-speed", speed)
    browser.act("begin")
    browser.until(lambda: len(browser.text("#story")) > 8)
    browser.run("document.querySelector('[data-action=stop]').click()")  # hidden if the text has just ended
    wait_until_idle(browser)
    shown = browser.text("#story")
    assert sessions_of(server)[session_of_branch(browser, 1)] == len(shown)
    browser.slide("#slider-maxTokens", 40)
    browser.enter("#prompt", "\n\nJULIET:")
    browser.act("goOn")
    browser.until(lambda: len(browser.text("#story")) == len(shown) + 9 + 40)
    wait_until_idle(browser)
    assert browser.text("#story").startswith(shown + "\n\nJULIET:")
    assert sessions_of(server)[session_of_branch(browser, 1)] == len(shown) + 9 + 40


def test_a_click_while_the_model_writes_stops_it_and_branches(browser: Browser, server: RealServer) -> None:
    browser.open("generation")
    browser.enter("#prompt", "ROMEO:")
    browser.enter("#seed", "1")
    browser.slide("#slider-maxTokens", 1000)
    browser.slide("#slider-speed", 1)
    browser.act("begin")
    browser.click("#unit20")
    browser.until(lambda: browser.all("[data-branch='2']") and len(browser.text("#story")) > 24)
    browser.act("stop")
    wait_until_idle(browser)
    tokens = sessions_of(server)
    assert tokens[session_of_branch(browser, 2)] == len(browser.text("#story"))
    browser.click("[data-branch='1'] circle")
    assert tokens[session_of_branch(browser, 1)] == len(browser.text("#story")) < 200


def test_a_branch_goes_on_as_if_its_text_had_been_written_at_once(browser: Browser, server: RealServer) -> None:
    """Rewound, forked and continued by the page: the same text as one call of the server's with the whole prompt."""
    whole = begin(browser, "KING HENRY:\n", 120)
    browser.enter("#seed", "11")
    browser.slide("#slider-maxTokens", 60)
    browser.click("#unit59")
    browser.until(lambda: len(browser.text("#story")) == 120)
    wait_until_idle(browser)
    body = {"prompt": whole[:60], "max_tokens": 60, "temperature": 0.8, "seed": 11, "logprobs": 0}
    answer = server.client.post("/v1/generate", json=body).json()
    assert browser.text("#story") == whole[:60] + answer["choices"][0]["text"]
    assert output_of(shown_code(browser, "generation", "python"), "python") == answer["choices"][0]["text"]

    first = session_of_branch(browser, 1)
    browser.click("[data-branch='1'] circle")
    assert output_of(shown_code(browser, "generation", "python"), "python") == whole[12:]
    assert sessions_of(server)[first] == 132
    browser.click("[data-branch='2'] circle")
    browser.act("remove")
    browser.until(lambda: browser.text("#story") == whole)
    assert '"prompt":"KING HENRY:\\n"' in shown_code(browser, "generation", "curl")


def test_the_code_of_a_stopped_text_gives_what_is_shown(browser: Browser) -> None:
    browser.open("generation")
    browser.enter("#prompt", "ROMEO:")
    browser.slide("#slider-maxTokens", 1000)
    browser.slide("#slider-speed", 1)
    browser.act("begin")
    browser.until(lambda: len(browser.text("#story")) > 20)
    browser.act("stop")
    wait_until_idle(browser)
    browser.driver.refresh()
    browser.until(lambda: browser.text(".status").startswith("Stopped."))
    assert "ROMEO:" + output_of(shown_code(browser, "generation", "python"), "python") == browser.text("#story")


def test_an_exported_branch_is_imported_and_leaves_the_others_as_they_are(browser: Browser, server: RealServer) -> None:
    whole = begin(browser, "HAMLET:\n", 80)
    browser.act("export")
    (file,) = browser.until(lambda: list(browser.downloads.glob("branch-1*.json")))
    assert json.loads(file.read_text())["format"] == "rnnserve-branch/1"
    browser.act("goOn")  # so that the branch is further than the file
    browser.until(lambda: len(browser.text("#story")) == 168)
    wait_until_idle(browser)
    first = session_of_branch(browser, 1)

    browser.run("document.querySelector('#file').hidden = false")
    browser.find("#file").send_keys(str(file))
    browser.until(lambda: browser.all("[data-branch='2']"))
    assert browser.text("#story") == whole
    assert sessions_of(server)[session_of_branch(browser, 2)] == 88
    assert sessions_of(server)[first] == 168
    browser.act("goOn")
    browser.until(lambda: len(browser.text("#story")) == 168)
    wait_until_idle(browser)

    browser.open("generation")  # another person, or another day: the page knows nothing of it
    browser.run("document.querySelector('#file').hidden = false")
    browser.find("#file").send_keys(str(file))
    browser.until(lambda: browser.text("#story") == whole)

    file.write_text("{}")
    browser.find("#file").send_keys(str(file))
    assert browser.problem() == "This file is no branch that was exported here, or it was changed."
    file.unlink()


def test_a_session_that_has_ended_is_said_and_begun_anew_from_its_text(browser: Browser, server: RealServer) -> None:
    whole = begin(browser, "ROMEO:", 60)
    server.client.delete(f"/v1/sessions/{session_of_branch(browser, 1)}").raise_for_status()
    browser.click("#unit20")
    assert browser.problem().startswith("This branch's session has ended: ")
    assert not browser.find("[data-action=goOn]").is_enabled()
    browser.act("renew")
    browser.until(lambda: not browser.all("[role=alert]") and not browser.all("[data-action=renew]"))
    wait_until_idle(browser)
    assert sessions_of(server)[session_of_branch(browser, 1)] == 66
    browser.slide("#slider-maxTokens", 40)
    browser.click("#unit20")
    browser.until(lambda: len(browser.text("#story")) == 61)
    wait_until_idle(browser)
    assert browser.text("#story")[:21] == whole[:21]
    assert all("410" in message for message in browser.errors())


def test_a_story_outlives_a_reload_and_a_call_that_it_cut_off(browser: Browser, server: RealServer) -> None:
    whole = begin(browser, "ROMEO:", 60)
    browser.click("#at-once")
    browser.click("#unit20")
    browser.until(lambda: browser.all("[data-branch='2']"))
    wait_until_idle(browser)
    second = session_of_branch(browser, 2)
    browser.slide("#slider-maxTokens", 1000)
    browser.slide("#slider-speed", 0)
    browser.act("goOn")
    browser.until(lambda: len(browser.text("#story")) > 24)
    browser.driver.refresh()
    browser.until(lambda: browser.all("[data-branch='2']"))
    wait_until_idle(browser)
    assert browser.text("#story") == whole[:21]
    assert not browser.all("[data-action=renew]")
    assert sessions_of(server)[second] in (20, 21), (
        "it has not gone on; what it reads again with the next call may lack"
    )
    browser.slide("#slider-maxTokens", 40)
    browser.slide("#slider-speed", 3)
    browser.act("goOn")
    browser.until(lambda: len(browser.text("#story")) == 61)
    wait_until_idle(browser)
    assert sessions_of(server)[second] == 61
    browser.click("[data-branch='1'] circle")
    assert browser.text("#story") == whole


def test_a_removed_branch_takes_its_session_along(browser: Browser, server: RealServer) -> None:
    begin(browser, "ROMEO:", 40)
    browser.click("#unit20")
    browser.until(lambda: len(browser.text("#story")) == 61)
    wait_until_idle(browser)
    second = session_of_branch(browser, 2)
    browser.act("remove")
    browser.until(lambda: not browser.all("[data-branch='2']"))
    assert second not in sessions_of(server)
    assert session_of_branch(browser, 1) in sessions_of(server)


def test_characters_the_model_does_not_know_are_points_in_time_too(browser: Browser, server: RealServer) -> None:
    prompt = "ROMÉO: 😀"
    browser.open("generation")
    browser.run("document.querySelector('#prompt').value = arguments[0]", prompt)
    browser.slide("#slider-maxTokens", 20)
    browser.act("begin")
    browser.until(lambda: browser.text("#story").startswith(prompt))
    wait_until_idle(browser)
    assert sessions_of(server)[session_of_branch(browser, 1)] == 28
    browser.click("#unit5")
    browser.until(lambda: browser.all("[data-branch='2']"))
    wait_until_idle(browser)
    assert browser.text("#story").startswith("ROMÉO:")
    browser.click("[data-branch='1'] circle")
    assert browser.text(".status").endswith(" Characters of the prompt that the model does not know: 2.")


@pytest.mark.parametrize("prompt", ["to be or not to be, ", "生存还是毁灭", "😀é to"])
def test_tokens_of_several_characters_and_of_parts_of_one_are_points_in_time(window: Browser, prompt: str) -> None:
    """Of a model whose tokens are bytes and what is merged from them."""
    model = fake_model(tokenizer=BYTES)
    with running(model, session_key="0123456789abcdef0123") as server:
        window.url = server.url
        window.open("generation")
        window.run("document.querySelector('#prompt').value = arguments[0]", prompt)
        window.slide("#slider-speed", 3)
        window.slide("#slider-maxTokens", 40)
        window.act("begin")
        window.until(lambda: window.text("#story").startswith(prompt))
        wait_until_idle(window)

        def tokens(number: int) -> int:
            return int(server.client.get(f"/v1/sessions/{session_of_branch(window, number)}").json()["tokens"])

        whole, read = window.text("#story"), tokens(1)
        answer = server.post("/tokenize", prompt=prompt)
        assert read >= answer["count"]
        assert f"{read} tokens" in window.text(".status")
        units = window.run("return [...document.querySelectorAll('#story > *')].map((unit) => unit.textContent)")
        assert "".join(units) == whole
        window.click("#at-once")
        window.click("#unit1")
        window.until(lambda: window.all("[data-branch='2']"))
        wait_until_idle(window)
        assert window.text("#story") == "".join(units[:2])
        assert len("".join(units[:2]).encode()) >= tokens(2) >= 2
        window.act("goOn")
        wait_until_idle(window)
        window.until(lambda: f"{tokens(2)} tokens" in window.text(".status"))
        server.client.delete(f"/v1/sessions/{session_of_branch(window, 2)}")
        before = window.text("#story")
        window.act("branchHere")
        window.act("renew")
        window.until(lambda: not window.all("[data-action=renew]"))
        wait_until_idle(window)
        assert window.text("#story") == before
        window.leave()


def test_html_in_a_text_stays_text(browser: Browser) -> None:
    evil = "<img src=x onerror=alert(1)><b>good</b>"
    for task, field in (("sentiment", ".moved"), ("tagging", ".tagged")):
        browser.open(task)
        browser.enter(f"#{task}-text", evil)
        browser.until(partial(has_text, browser, field, "onerror"))
        assert browser.run("return document.querySelectorAll('main img, main b:not(.tag)').length") == 0
    browser.open("generation")
    browser.enter("#prompt", evil)
    browser.act("begin")
    browser.until(lambda: browser.text("#story").startswith(evil))
    assert browser.run("return document.querySelectorAll('main img').length") == 0


def shown_code(browser: Browser, panel: str, which: str) -> str:
    box = f"#panel-{panel} .code"
    browser.run("document.querySelector(arguments[0]).open = true", box)
    browser.click(f"{box} button:nth-of-type({1 if which == 'curl' else 2})")
    return browser.text(f"{box} pre")


def output_of(code: str, which: str) -> str:
    command = ["bash", "-c", code] if which == "curl" else [sys.executable, "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("which", ["curl", "python"])
def test_the_code_makes_the_same_call(browser: Browser, which: str) -> None:
    output = partial(output_of, which=which)
    browser.open("translation")
    browser.enter("#translation-text", 'It\'s "too" expensive!\nI love you.')
    browser.until(lambda: "It's" in shown_code(browser, "translation", which).replace("'\\''", "'"))
    assert browser.text(".translated")[:4] in output(shown_code(browser, "translation", which))
    browser.open("sentiment")
    browser.enter("#sentiment-text", "A dull film.")
    browser.until(lambda: "A dull film." in shown_code(browser, "sentiment", which))
    assert "negative" in output(shown_code(browser, "sentiment", which))
    whole = begin(browser, "ROMEO:", 20)
    shown = output(shown_code(browser, "generation", which))
    assert "data: [DONE]" in shown if which == "curl" else shown == whole[6:]
