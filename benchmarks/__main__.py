"""`python -m benchmarks [NAME ...] [--rounds N]`: run the named benchmarks, all by default; `readme` writes the README.

Several run one after another, each in a process of its own, so that none finds what another left in memory; one that
fails does not stop the others.
"""

import argparse
import subprocess
import sys
from importlib import import_module

# name -> module, whose `main` runs it
ALL = {
    "bare": "benchmarks.generation_bare",
    "http": "benchmarks.generation_http",
    "scenarios": "benchmarks.generation_scenarios",
    "prefix": "benchmarks.generation_prefix",
    "translation": "benchmarks.translation_serving",
    "sentiment": "benchmarks.sentiment_serving",
    "start": "benchmarks.start",
    "overload": "benchmarks.overload",
    "step": "benchmarks.step",
    "precision": "benchmarks.quality.precision",
    "quality": "benchmarks.quality.__main__",
}
OTHERS = {"comparison": "benchmarks.comparison.__main__", "readme": "benchmarks.readme"}  # not by default
SHORTER = ("bare", "http", "scenarios", "prefix")  # that take a number of rounds


def main(arguments: list[str]) -> int:
    """Run what is asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join((*ALL, *OTHERS)))
    parser.add_argument("--rounds", type=int, help=f"of {', '.join(SHORTER)}; then no files are written")
    asked = parser.parse_args(arguments)
    names = asked.names or list(ALL)
    if unknown := [name for name in names if name not in ALL | OTHERS]:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join((*ALL, *OTHERS))}")
    if asked.rounds is not None and (fixed := [name for name in names if name not in SHORTER]):
        parser.error(f"--rounds is for {', '.join(SHORTER)}, and not for {fixed[0]}")
    if len(names) == 1:
        entry = import_module((ALL | OTHERS)[names[0]]).main
        entry() if asked.rounds is None else entry(asked.rounds)
        return 0
    more = [] if asked.rounds is None else ["--rounds", str(asked.rounds)]
    failed = [name for name in names if subprocess.run([sys.executable, "-m", "benchmarks", name, *more]).returncode]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
