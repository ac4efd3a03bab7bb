from collections.abc import Iterator

import pytest

from tests.server.running import Running, running


@pytest.fixture(scope="package")
def server() -> Iterator[Running]:
    """One server with one fake character model, for tests that leave it as it was."""
    with running() as instance:
        yield instance
