"""Print what pyproject.toml requires, with the extras named: `python requirements.py serve cpu`.

pip can install a project's dependencies only together with the project. In an image the packages are a layer of their
own, which a change of the source leaves alone.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = project["optional-dependencies"]
if unknown := set(sys.argv[1:]) - set(extras):
    sys.exit(f"requirements.py: extra {', '.join(sorted(unknown))} not found. There are: {', '.join(extras)}.")
print(*project["dependencies"], *(line for name in sys.argv[1:] for line in extras[name]), sep="\n")
