"""How the page is shown and used: languages, a narrow screen, colours, and the keyboard alone."""

from functools import partial

import pytest
from selenium.webdriver.common.keys import Keys

from tests.end_to_end.real_server import RealServer
from tests.page.browser import Browser
from tests.page.test_page import session_of_branch, sessions_of

pytestmark = pytest.mark.slow

_TOO_WIDE = """
    const shown = [...document.querySelectorAll('main *')].filter((item) => item.checkVisibility());
    const free = shown.filter((item) => !item.closest('svg, .scroll, pre'));
    return free.filter((item) => item.getBoundingClientRect().right > 361).map((item) => item.className);
"""
TASKS = ("generation", "translation", "sentiment", "tagging", "forecast")


def test_the_words_of_the_attention_are_whole_characters(browser: Browser) -> None:
    """Some Chinese characters are two tokens, each a part of its bytes."""
    browser.open("translation")
    text = "My father bought this old house ten years ago."
    browser.enter("#translation-text", text)
    browser.until(lambda: browser.text(".words").startswith("My"))
    sources, targets = (
        browser.run(f"return [...document.querySelectorAll('.word.{kind}')].map((word) => word.textContent)")
        for kind in ("source", "target")
    )
    assert sources == [*text.replace(".", " .").split(), "∎"]
    assert "".join(targets) == browser.text(".translated") + "∎"


def test_words_are_tagged_in_colours(browser: Browser) -> None:
    browser.open("tagging")
    browser.enter("#tagging-text", "Peter 😀 sees Mary.")
    browser.until(lambda: browser.text(".tagged").startswith("Peter"))
    labels = {item.text.split("\n")[0].split()[0]: item for item in browser.all(".tagged .tag")}
    assert [name for name in labels if name.startswith(("Peter", "Mary"))], "offsets count characters, not UTF-16"
    found = browser.run(
        "return [...document.querySelectorAll('.tagged .tag')].map((i) => [i.firstChild.data, i.dataset.label])"
    )
    assert ["Peter", "PROPN"] in found
    assert ["Mary", "PROPN"] in found
    assert ["sees", "VERB"] in found
    hues = browser.run(
        "return [...document.querySelectorAll('.tagged .tag')].map((i) => i.style.getPropertyValue('--hue'))"
    )
    assert len(set(hues)) >= 3


def test_a_series_is_forecast_changed_and_forked_into_scenarios(browser: Browser, server: RealServer) -> None:
    before = sessions_of(server)
    browser.open("forecast")
    values = " ".join(str(20 + 10 * (i % 24 > 12)) for i in range(96))
    browser.enter("#series", values)
    browser.until(lambda: browser.attribute("#chart", "aria-label").startswith("Series of 96 values"))
    assert len(browser.all(".band")) == 4
    browser.enter("#assumed", "90 90 90")
    browser.act("addScenario")
    browser.until(lambda: len(browser.all(".median")) == 2)
    scenario = browser.attribute(".scenarios li", "data-session")
    made = {key: tokens for key, tokens in sessions_of(server).items() if key not in before}
    assert made[scenario] == 99
    assert sorted(made.values()) == [96, 99], "the fork has read on, its origin has not"

    median = browser.attribute(".median.base", "points")
    browser.run("document.querySelector('#chart').focus()")
    browser.press(Keys.ARROW_LEFT, *[Keys.ARROW_UP] * 5)
    browser.until(lambda: browser.attribute(".median.base", "points") != median)
    browser.until(lambda: sorted(set(sessions_of(server)) - set(before) - set(made)))
    assert browser.find("#series").get_attribute("value") != values
    browser.enter("#series", "1 2 three")
    assert browser.problem().startswith("“three” is not a number.")
    assert not browser.all(".scenarios li")
    assert len(browser.all(".median")) == 1, "what followed from another series is gone"
    browser.enter("#series", values)
    browser.until(lambda: len(browser.all(".median")) == 2)


def test_a_point_of_the_series_is_dragged(browser: Browser) -> None:
    from selenium.webdriver import ActionChains

    browser.open("forecast")
    browser.until(lambda: browser.all(".median"))
    series = browser.find("#series")
    before = str(series.get_attribute("value"))
    chart = browser.find("#chart")
    ActionChains(browser.driver).move_to_element(chart).click_and_hold().move_by_offset(0, -60).release().perform()
    after = str(series.get_attribute("value"))
    changed = [i for i, (a, b) in enumerate(zip(before.split(), after.split(), strict=True)) if a != b]
    assert len(changed) == 1


def test_the_language_is_the_browsers_until_it_is_switched_and_then_remembered(browser: Browser) -> None:
    browser.driver.execute_cdp_cmd(
        "Emulation.setUserAgentOverride", {"userAgent": "test", "acceptLanguage": "zh-CN,en"}
    )
    try:
        browser.open("generation")
        browser.run("localStorage.clear()")
        browser.driver.refresh()
        browser.find("#tab-translation")
        browser.until(lambda: browser.text("#tab-translation") == "翻译")
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setUserAgentOverride", {"userAgent": "test", "acceptLanguage": "en"})
    browser.open("generation")
    browser.enter("#seed", "x")
    browser.act("begin")
    assert browser.problem().startswith("The seed")
    browser.click("#language")
    assert browser.problem().startswith("种子须为")
    assert browser.text("#tab-generation") == "文本生成"
    assert browser.attribute("html", "lang") == "zh-CN"
    assert browser.attribute("#prompt", "placeholder") == "文本的开头，或接下来的内容"
    browser.driver.refresh()
    browser.find("#tab-generation")
    browser.until(lambda: browser.text("#tab-generation") == "文本生成")
    for task in TASKS:
        browser.click(f"#tab-{task}")
        browser.find(f"#panel-{task} > *")
    browser.until(lambda: "“正面”" in browser.text("#panel-sentiment .hint"))  # once there is an answer
    browser.click("#language")
    assert browser.text("#tab-generation") == "Generation"
    assert "adds to the probability of “positive”" in browser.text("#panel-sentiment .hint")


def is_answered(browser: Browser, task: str) -> bool:
    """Whether the whole text that was typed is in the request that is shown."""
    return browser.text(f"#panel-{task} .code pre").count("conios") >= 3


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_narrow_screen_needs_no_scrolling_sideways(browser: Browser, language: str) -> None:
    browser.resize(360, 740)
    browser.open("generation", language=language)
    browser.slide("#slider-speed", 3)
    browser.enter("#seed", "1")
    browser.act("begin")
    browser.until(lambda: len(browser.text("#story")) > 200 and not browser.all("[data-action=stop]"))
    at = next(i for i, character in enumerate(browser.text("#story")) if i >= 60 and character.isalpha())
    browser.click(f"#unit{at}")
    browser.until(lambda: browser.all("[data-branch='2']") and not browser.all("[data-action=stop]"))
    for task in TASKS:
        browser.click(f"#tab-{task}")
        if task in ("translation", "sentiment", "tagging"):
            browser.enter(f"#{task}-text", "Pneumonoultramicroscopicsilicovolcanoconiosis is a word. " * 3)
            browser.until(partial(is_answered, browser, task))
        browser.find(f"#panel-{task} .code")
        browser.run("for (const box of document.querySelectorAll('details')) box.open = true")
        browser.until(lambda: not browser.all("[aria-busy=true]"))
        assert browser.run("return document.documentElement.scrollWidth") == 360
        assert browser.run(_TOO_WIDE) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_follow_the_system_and_the_switch(browser: Browser, theme: str) -> None:
    def brightness(selector: str, name: str) -> float:
        script = f"return getComputedStyle(document.querySelector(arguments[0])).{name}.match(/[\\d.]+/g).slice(0, 3)"
        return sum(float(value) for value in browser.run(script, selector)) / 3

    emulated = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
    try:
        browser.open("generation")
        browser.run("localStorage.clear()")
        browser.driver.refresh()
        browser.find("#panel-generation > *")
        assert (brightness("body", "backgroundColor") < 60) == (theme == "dark")
        assert abs(brightness("body", "backgroundColor") - brightness("body", "color")) > 120
        browser.click("#theme")
        assert (brightness("body", "backgroundColor") < 60) == (theme == "light")
        browser.driver.refresh()
        browser.find("#panel-generation > *")
        assert (brightness("body", "backgroundColor") < 60) == (theme == "light"), "it is remembered"
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def focus(browser: Browser) -> dict[str, str]:
    script = (
        "const i = document.activeElement; const s = getComputedStyle(i);"
        "return {id: i.id, name: i.dataset.action ?? '', role: i.getAttribute('role') ?? '', outline: s.outlineStyle}"
    )
    found: dict[str, str] = browser.run(script)
    return found


def tab_to(browser: Browser, name: str) -> None:
    """Press Tab until the focus is there. Raises AssertionError where it never is, or is not seen."""
    for _ in range(40):
        browser.press(Keys.TAB)
        at = focus(browser)
        if name in (at["id"], at["name"], at["role"]):
            return
        assert at["outline"] != "none" or not at["id"], at
    raise AssertionError(f"{name} is not reached by Tab")


def test_a_story_is_written_and_branched_with_the_keyboard_alone(browser: Browser, server: RealServer) -> None:
    browser.open("generation")
    tab_to(browser, "tab-generation")
    browser.press(Keys.ARROW_RIGHT)
    assert focus(browser)["id"] == "tab-translation"
    browser.press(Keys.HOME)
    assert focus(browser)["id"] == "tab-generation"
    tab_to(browser, "prompt")
    browser.press(Keys.CONTROL + "a", "ROMEO:")
    tab_to(browser, "slider-temperature")
    tab_to(browser, "slider-maxTokens")
    browser.press(Keys.HOME, *[Keys.ARROW_RIGHT] * 3)
    tab_to(browser, "slider-speed")
    browser.press(Keys.END)
    tab_to(browser, "begin")
    browser.press(Keys.ENTER)
    browser.until(lambda: len(browser.text("#story")) == 86 and not browser.all("[data-action=stop]"))
    whole = browser.text("#story")
    tab_to(browser, "story")
    browser.press(Keys.HOME, *[Keys.ARROW_RIGHT] * 9, Keys.ARROW_DOWN, Keys.ARROW_UP, Keys.ARROW_LEFT)
    at = int(browser.attribute("#story", "aria-activedescendant").removeprefix("unit"))
    assert browser.attribute(f"#unit{at}", "class").endswith("current")
    browser.press(Keys.ENTER)
    browser.until(lambda: browser.all("[data-branch='2']") and len(browser.text("#story")) == at + 81)
    browser.until(lambda: not browser.all("[data-action=stop]"))
    assert browser.text("#story")[: at + 1] == whole[: at + 1]
    assert sessions_of(server)[session_of_branch(browser, 2)] == at + 81
    tab_to(browser, "treeitem")
    browser.press(Keys.ARROW_UP)
    assert browser.text("#story") == whole
    assert focus(browser)["role"] == "treeitem"


def test_the_strip_shows_what_the_server_does(browser: Browser) -> None:
    browser.open("generation")
    browser.slide("#slider-maxTokens", 1000)
    browser.act("begin")
    browser.until(
        lambda: any(character in "123456789" for character in browser.text(".strip .meter:nth-child(4) output"))
    )
    assert browser.text(".strip .meter:nth-child(3) output").endswith("ms")
