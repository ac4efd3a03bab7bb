"""Chromium without a window, and what tests ask of the page in it."""

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from selenium.common.exceptions import ElementNotInteractableException, StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

T = TypeVar("T")

PROGRAMS = ("chromium", "chromedriver")
_FLAGS = (
    "headless=new",
    "no-sandbox",
    "disable-gpu",
    "disable-quic",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
    "hide-scrollbars",
)


def missing_programs() -> list[str]:
    """Those that are not installed. Where the user is root they are installed first, by apt."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        for command in (["update", "-qq"], ["install", "-y", "-qq", "chromium", "chromium-driver"]):
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            subprocess.run(["apt-get", *command], check=False, capture_output=True, env=environment)
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
    return missing


@dataclass
class Browser:
    """The page in a browser.

    Attributes:
        url: of the server.
        requested: the addresses that the browser has asked for, of all pages.
    """

    driver: Chrome
    url: str
    downloads: Path
    requested: list[str] = field(default_factory=list)

    def open(self, task: str = "generation", *, language: str = "en", theme: str = "light") -> None:
        """The page, as if it were seen for the first time."""
        self.driver.get(f"{self.url}/page/icon.svg")  # of this origin, without the page's scripts
        self.driver.execute_script(
            "localStorage.clear(); sessionStorage.clear();"
            "localStorage.setItem('rnnserve.language', arguments[0]);"
            "localStorage.setItem('rnnserve.theme', arguments[1]);",
            language,
            theme,
        )
        self.driver.get(f"{self.url}/#{task}")
        self.find(f"#panel-{task} > *")

    def leave(self) -> None:
        """Show nothing, so that nothing more is asked of the server."""
        self.driver.get("about:blank")

    def resize(self, width: int, height: int = 900) -> None:
        """Set the size of what is seen, narrower than a window can be."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def all(self, selector: str) -> list[WebElement]:
        """The elements that are shown now."""
        script = "return [...document.querySelectorAll(arguments[0])].filter((item) => item.checkVisibility())"
        found: list[WebElement] = self.run(script, selector)
        return found

    def find(self, selector: str) -> WebElement:
        """The first such element, once it is shown."""
        return self.until(lambda: next(iter(self.all(selector)), None))

    def click(self, selector: str) -> None:
        def pressed() -> bool:  # what is drawn anew or hidden meanwhile is looked for again
            with contextlib.suppress(StaleElementReferenceException, ElementNotInteractableException):
                found = self.find(selector)
                if found.is_enabled():
                    found.click()
                    return True
            return False

        self.until(pressed)

    def act(self, name: str) -> None:
        """Press one of the panel's buttons."""
        self.click(f"[data-action={name}]")

    def enter(self, selector: str, text: str) -> None:
        """Type a text in place of what is there."""
        found = self.find(selector)
        found.send_keys(Keys.CONTROL, "a")
        found.send_keys(Keys.DELETE)
        found.send_keys(text)

    def text(self, selector: str) -> str:
        """The whole text of the first such element, as it is; "" while there is none."""
        found: str = self.run("return document.querySelector(arguments[0])?.textContent ?? ''", selector)
        return found

    def attribute(self, selector: str, name: str) -> str:
        """An attribute of the first such element."""
        found: str = self.run("return document.querySelector(arguments[0]).getAttribute(arguments[1])", selector, name)
        return found

    def slide(self, selector: str, value: float) -> None:
        """Set a slider as a person's drag does."""
        self.run(
            "const s = document.querySelector(arguments[0]); s.value = arguments[1];"
            "s.dispatchEvent(new Event('input', {bubbles: true})); s.dispatchEvent(new Event('change'));",
            selector,
            value,
        )

    def press(self, *keys: str) -> None:
        """Press keys where the focus is."""
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def run(self, script: str, *values: Any) -> Any:
        return self.driver.execute_script(script, *values)

    def until(self, condition: Callable[[], T | None], seconds: float = 60) -> T:
        """What a condition gives once it gives something. Raises AssertionError with what the page says."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(StaleElementReferenceException):  # the page has put another in its place
                found = condition()
                if found:
                    return found
            time.sleep(0.03)
        raise AssertionError(f"waited {seconds} s in vain; the page says:\n{self.text('body')[:3000]}")

    def problem(self) -> str:
        """The sentence that says what went wrong, once there is one."""
        return self.find("[role=alert]").text

    def errors(self) -> list[str]:
        """What the console has of errors since the last call; answers of 4xx that a test provokes count."""
        return [entry["message"] for entry in self._log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def read_requests(self) -> list[str]:
        """Note what the browser has asked for by now; all of it."""
        for entry in self._log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requested.append(message["params"]["request"]["url"])
        return self.requested

    def _log(self, kind: str) -> list[dict[str, str]]:
        """What came into a log since it was read last."""
        found: list[dict[str, str]] = self.driver.get_log(kind)  # type: ignore[no-untyped-call]
        return found

    def picture(self, path: Path) -> None:
        path.write_bytes(self.driver.get_screenshot_as_png())


@contextlib.contextmanager
def chromium(url: str) -> Iterator[Browser]:
    """A browser with a profile of its own."""
    with TemporaryDirectory(prefix="page-") as folder:
        options = ChromeOptions()
        for flag in _FLAGS:
            options.add_argument(f"--{flag}")
        downloads = Path(folder) / "downloads"
        downloads.mkdir()
        options.add_argument(f"--user-data-dir={folder}/profile")
        options.add_experimental_option(
            "prefs", {"download.default_directory": str(downloads), "intl.accept_languages": "en"}
        )
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        options.binary_location = str(shutil.which("chromium"))
        driver = Chrome(options=options, service=ChromeService(executable_path=str(shutil.which("chromedriver"))))
        try:
            browser = Browser(driver, url, downloads)
            browser.resize(1280)
            yield browser
        finally:
            driver.quit()
