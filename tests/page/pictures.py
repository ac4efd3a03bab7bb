"""`python -m tests.page.pictures`: the README's pictures of the page, docs/page-*.png, 1280 pixels wide.

From the shipped models, with fixed seeds. Debian's packages fonts-inter, fonts-urw-base35 and fonts-wqy-zenhei have the
fonts that were used.
"""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from selenium.webdriver import ActionChains

from tests.end_to_end.real_server import real_server
from tests.page.browser import Browser, chromium, missing_programs
from tests.page.conftest import ENVIRONMENT

FOLDER = Path("docs")


def generation(browser: Browser) -> None:
    """A text with four branches; the pointer is on a character of the chosen one."""
    browser.open("generation")
    browser.slide("#slider-speed", 3)
    browser.slide("#slider-temperature", 0.7)
    browser.enter("#prompt", "ROMEO:\n")
    browser.enter("#seed", "4")
    browser.act("begin")
    wait(browser)
    for number, (branch, unit, seed) in enumerate(((1, 96, 5), (2, 150, 6), (1, 48, 9)), 2):
        browser.click(f"[data-branch='{branch}'] circle")
        browser.enter("#seed", str(seed))
        browser.click(f"#unit{unit}")
        browser.until(partial(has, browser, f"[data-branch='{number}']", 1))
        wait(browser)
    browser.run("document.activeElement.blur(); document.querySelector('#story').scrollTop = 0")
    ActionChains(browser.driver).move_to_element(browser.find("#unit126")).perform()


def translation(browser: Browser) -> None:
    """A sentence whose words are far from where they were; the pointer is on one of them."""
    browser.open("translation")
    browser.enter("#translation-text", "He bought a new car yesterday.")
    browser.until(lambda: len(browser.all(".word.source")) == 8)
    browser.run("document.activeElement.blur()")
    words = browser.all(".word.target")
    ActionChains(browser.driver).move_to_element(words[min(3, len(words) - 1)]).perform()


def forecast(browser: Browser) -> None:
    """A week of rides, and what would follow a quiet morning or a crowded one."""
    browser.open("forecast")
    for number, assumed in enumerate(("20 10 10 5 5 5", "190 230 240 200 160 120"), 2):
        browser.enter("#assumed", assumed)
        browser.act("addScenario")
        browser.until(partial(has, browser, ".median", number))
    browser.run("document.activeElement.blur()")


def has(browser: Browser, selector: str, count: int) -> bool:
    return len(browser.all(selector)) == count


def wait(browser: Browser) -> None:
    browser.until(lambda: not browser.all("[data-action=stop]") and not browser.all("[aria-busy=true]"))


def main() -> None:
    """Take them all."""
    missing = missing_programs()
    if missing:
        raise SystemExit(f"{' and '.join(missing)} not installed: apt-get install chromium chromium-driver")
    with (
        TemporaryDirectory() as folder,
        real_server(Path("artifacts"), log=Path(folder) / "log", environment=ENVIRONMENT) as server,
        chromium(server.url) as browser,
    ):
        for take in (generation, translation, forecast):
            browser.resize(1280, 900)
            take(browser)
            browser.until(
                lambda: browser.run("return document.querySelectorAll('.spark polyline')[0].points.length") > 1
            )
            height = browser.run("return document.querySelector('main').getBoundingClientRect().bottom")
            browser.resize(1280, int(height) + 24)
            path = FOLDER / f"page-{take.__name__}.png"
            browser.picture(path)
            print(f"{path}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
