"""`python -m server` with a fake model whose steps, or whose loading, never return."""

import sys
import threading

from server.__main__ import main
from server.endpoint import LoadedModel
from server.loading import Tasks
from server.settings import Settings
from tests.server.running import fake_model, fake_set


def load(settings: Settings, tasks: Tasks) -> list[LoadedModel]:
    del tasks
    if settings.models == ("never",):
        threading.Event().wait()
    model = fake_model()
    fake_set(model).step_runner.step = lambda *_: threading.Event().wait()  # type: ignore[method-assign,assignment]
    return [model]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], load))
