"""`python -m server` with a fake model whose steps never return; or whose loading, or tokenizer, does not."""

import sys
import threading
from typing import Any

from models.tokenizer import Tokenizer
from server.__main__ import main
from server.endpoint import LoadedModel
from server.loading import Tasks
from server.settings import Settings
from tests.server.running import fake_model, fake_set


class _HangingTokenizer:
    """Short texts are tokenized in the event loop."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def encode(self, text: str) -> list[int]:
        threading.Event().wait()
        raise AssertionError(text)


def load(settings: Settings, tasks: Tasks) -> list[LoadedModel]:
    del tasks
    if settings.models == ("never",):
        threading.Event().wait()
    model = fake_model()
    if settings.models == ("loop",):
        object.__setattr__(model, "own_tokenizer", _HangingTokenizer(model.tokenizer))
    fake_set(model).step_runner.step = lambda *_: threading.Event().wait()  # type: ignore[method-assign,assignment]
    return [model]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], load))
