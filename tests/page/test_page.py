"""The page as a person first meets it: a text that streams, a branch by a click, tasks from typing to result."""

from tests.end_to_end.real_server import RealServer
from tests.page.browser import Browser
from tests.page.conftest import ADMIN_KEY

SESSIONS = {"authorization": f"Bearer {ADMIN_KEY}"}


def sessions_of(server: RealServer) -> dict[str, int]:
    """The server's sessions: the tokens of each."""
    found = server.client.get("/v1/sessions", headers=SESSIONS).json()["data"]
    return {session["id"]: session["tokens"] for session in found}


def session_of_branch(browser: Browser, number: int) -> str:
    return browser.attribute(f"[data-branch='{number}']", "data-session")


def test_a_text_streams_and_a_click_on_a_character_branches_there(browser: Browser, server: RealServer) -> None:
    browser.open("generation")
    browser.enter("#prompt", "JULIET:\n")
    browser.enter("#seed", "1")
    browser.slide("#slider-maxTokens", 200)
    browser.slide("#slider-speed", 1)
    browser.act("begin")
    browser.until(lambda: len(browser.text("#story")) > 20)
    assert browser.all("[data-action=stop]"), "the text is seen before its end"
    assert len(browser.text("#story")) < 208
    browser.slide("#slider-speed", 3)
    browser.until(lambda: not browser.all("[data-action=stop]"))
    whole = browser.text("#story")
    assert whole.startswith("JULIET:\n")
    assert len(whole) == 208
    assert sessions_of(server)[session_of_branch(browser, 1)] == 208

    browser.click("#at-once")  # first only back, then on
    browser.click("#unit30")
    browser.until(lambda: browser.all("[data-branch='2']"))
    second = session_of_branch(browser, 2)
    assert browser.text("#story") == whole[:31]
    assert browser.text(".status") == "31 tokens in this session."
    assert not browser.all("#panel-generation .code"), "the branch has made no call"
    assert sessions_of(server)[second] == 31
    browser.click("#at-once")
    browser.click("#unit20")
    browser.until(lambda: browser.all("[data-branch='3']") and len(browser.text("#story")) == 221)
    browser.until(lambda: not browser.all("[data-action=stop]"))
    assert browser.text("#story")[:21] == whole[:21]
    tokens = sessions_of(server)
    assert tokens[session_of_branch(browser, 3)] == 221
    assert tokens[session_of_branch(browser, 1)] == 208, "the first branch is as it was"
    browser.click("[data-branch='1'] circle")
    assert browser.text("#story") == whole
    assert browser.text(".status") == "208 tokens in this session; seed 1."


def test_a_typed_text_is_translated_with_alternatives_scores_and_attention(browser: Browser) -> None:
    browser.open("translation")
    browser.enter("#translation-text", "I love you.")
    browser.until(lambda: browser.all(".word.source") and browser.all(".word.source")[0].text == "I")
    assert "爱" in browser.text(".translated")
    assert len(browser.all(".alternatives li")) == 3
    assert all("score -" in item.text for item in browser.all(".alternatives li"))
    love = next(item for item in browser.all(".word.target") if "爱" in item.text)
    browser.run("arguments[0].focus()", love)
    browser.until(lambda: "love" in browser.text(".strongest"))
    assert browser.run("return document.querySelectorAll('.lines path.lit').length") >= 1


def test_sentiment_follows_the_typing_and_colours_the_words_that_moved_it(browser: Browser) -> None:
    browser.open("sentiment")
    browser.enter("#sentiment-text", "The plot is dull, but the acting is wonderful.")
    browser.until(lambda: browser.text(".moved") == "The plot is dull, but the acting is wonderful.")
    words = {item.text: item for item in browser.all(".moved .move")}
    assert "up" in str(words["wonderful"].get_attribute("class"))
    assert "down" in str(words["dull"].get_attribute("class"))
    assert len(browser.all(".verdict .bar")) == 2
    browser.enter("#sentiment-text", "味道很好，就是太贵了。")
    browser.until(lambda: browser.text(".moved") == "味道很好，就是太贵了。")
    assert browser.run("return document.querySelector('#panel-sentiment select').value") == "sentiment-zh"


def test_an_error_is_a_sentence(browser: Browser) -> None:
    browser.open("generation")
    browser.enter("#prompt", "ROMEO:")
    browser.enter("#seed", "seven")
    browser.act("begin")
    sentence = "The seed is not a whole number from 0 to 9007199254740991. Leave it empty to draw one."
    assert browser.problem() == sentence
    assert not browser.all("[role=treeitem]")
    browser.enter("#seed", "9007199254740992")
    browser.act("begin")
    assert browser.problem() == sentence
    browser.enter("#seed", "9007199254740991")
    browser.slide("#slider-maxTokens", 20)
    browser.act("begin")
    browser.until(lambda: browser.text(".status") == "26 tokens in this session; seed 9007199254740991.")
