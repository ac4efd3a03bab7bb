"""A server with the shipped models, and a browser; once for all tests of a worker."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.end_to_end.real_server import RealServer, real_server
from tests.page.browser import Browser, chromium, missing_programs

KEY = "0123456789abcdef0123"
ADMIN_KEY = "an-admin-key-of-the-tests"
ENVIRONMENT = {
    "RNNSERVE_SESSION_KEY": KEY,
    "RNNSERVE_ADMIN_KEY": ADMIN_KEY,
    "RNNSERVE_DEFAULT_SENTIMENT": "sentiment-en",
}


@pytest.fixture(scope="session")
def installed() -> None:
    """Chromium, installed through apt where that is possible; else the test is skipped with the reason."""
    with FileLock(Path(tempfile.gettempdir()) / "rnnserve-chromium.lock"):
        missing = missing_programs()
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed: apt-get install chromium chromium-driver")


@pytest.fixture(scope="session")
def server(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    log = tmp_path_factory.mktemp("page") / "log"
    with real_server(Path("artifacts"), log=log, environment=ENVIRONMENT) as running:
        yield running


@pytest.fixture(scope="session")
def window(installed: None) -> Iterator[Browser]:
    with chromium("") as browser:
        yield browser


@pytest.fixture
def browser(window: Browser, server: RealServer) -> Iterator[Browser]:
    """The browser at its usual size. At the end: no errors in its console, and nothing asked of another origin."""
    window.url = server.url
    window.resize(1280)
    window.errors()
    window.requested.clear()
    window.read_requests()
    window.requested.clear()
    yield window
    # A session whose call was cut off may be busy for a moment; the page asks again.
    assert [message for message in window.errors() if "/rewind" not in message or "409" not in message] == []
    asked = window.read_requests()
    assert asked
    assert [url for url in asked if not url.startswith((f"{window.url}/", "blob:", "data:"))] == []
