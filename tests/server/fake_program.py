"""`python -m server` with the fake model: what the program tests start."""

import sys
import time

from server.loaded_model import LoadedModel

from server.__main__ import main
from server.settings import Settings
from tests.server.fake_runner import FakeStepRunner
from tests.server.running import fake_model


def load(settings: Settings) -> list[LoadedModel]:
    model = fake_model(max_rows=settings.max_rows)
    assert isinstance(model.steps, FakeStepRunner)
    step = model.steps.step

    def slow_step(tokens: object, parents: object) -> object:
        time.sleep(0.002)  # so that a request is still running when the signal comes
        return step(tokens, parents)  # type: ignore[arg-type]

    model.steps.step = slow_step  # type: ignore[method-assign,assignment]
    return [model]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], load))
