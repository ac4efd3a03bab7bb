"""python -m tests.training.killed_run RECIPE WHERE: a run that is killed with SIGKILL at WHERE.

WHERE is the number of a window, counted from 0 through all epochs from where this process begins, or "publish": after
every file of the bundle is written and before it gets its name; or "never".
"""

import itertools
import os
import signal
import sys
from pathlib import Path
from typing import Any

from models import store
from training.language_model import LanguageModelTask
from training.recipe import load_recipe
from training.run import run


def main() -> None:
    recipe, where = sys.argv[1:]
    if where == "publish":
        setattr(store, "sync_tree", lambda *_: os.kill(os.getpid(), signal.SIGKILL))  # noqa: B010
    elif where != "never":
        windows = itertools.count()
        step = LanguageModelTask.training_step

        def killed_step(*args: Any) -> Any:
            if next(windows) == int(where):
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*args)

        setattr(LanguageModelTask, "training_step", killed_step)  # noqa: B010
    print(run(load_recipe(Path(recipe), [])))


if __name__ == "__main__":
    main()
