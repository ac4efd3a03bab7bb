"""`python -m server` with the fake model: what the program tests start."""

import sys
import time

from server.__main__ import main
from server.endpoint import LoadedModel
from server.loading import Tasks
from server.settings import Settings
from tests.server.running import fake_model, fake_set


def load(settings: Settings, tasks: Tasks) -> list[LoadedModel]:
    del settings, tasks
    model = fake_model()
    steps = fake_set(model).step_runner
    step = steps.step

    def slow_step(tokens: object, parents: object) -> object:
        time.sleep(0.002)  # so that a request is still running when the signal comes
        return step(tokens, parents)  # type: ignore[arg-type]

    steps.step = slow_step  # type: ignore[method-assign,assignment]
    return [model]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], load))
