"""python -m tests.training.several_runs RECIPE...: one run after another in the same processes; each prints its bundle.

With several devices the first run starts the other processes, as the real command does, and the later ones use them.
"""

import contextlib
import sys
from pathlib import Path

from training.recipe_file import load_recipe
from training.run import run

if __name__ == "__main__":
    for path in sys.argv[1:]:
        with contextlib.suppress(SystemExit):  # of a process of another rank than 0
            print(run(load_recipe(Path(path), [])))
