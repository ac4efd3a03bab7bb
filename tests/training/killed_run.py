"""python -m tests.training.killed_run RECIPE WHERE [SIGNAL ...]: a run that gets SIGNALs (SIGKILL) at WHERE.

WHERE is the number of a batch, counted from 0 through all epochs from where this process begins, or "publish": after
every file of the bundle is written and before it gets its name; or "never".
"""

import itertools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

from models import store
from training.recipe_file import load_recipe
from training.run import TASKS, run
from training.sentiment.pretraining_module import PretrainingModule


def _killed(
    step: Callable[..., Any], batches: "itertools.count[int]", where: int, signals: list[signal.Signals]
) -> Callable[..., Any]:
    def killed_step(*args: Any) -> Any:
        if next(batches) == where:
            for number in signals:
                os.kill(os.getpid(), number)
        return step(*args)

    return killed_step


def main() -> None:
    recipe, where, *names = sys.argv[1:]
    signals = [signal.Signals[name] for name in names] or [signal.SIGKILL]
    checked = load_recipe(Path(recipe), [])
    if where == "publish":
        setattr(store, "sync_tree", lambda *_: os.kill(os.getpid(), signal.SIGKILL))  # noqa: B010
    elif where != "never":
        batches = itertools.count()
        for module in (get_type_hints(TASKS[checked.task])["module"], PretrainingModule):
            setattr(module, "forward", _killed(module.forward, batches, int(where), signals))  # noqa: B010
    print(run(checked))


if __name__ == "__main__":
    main()
