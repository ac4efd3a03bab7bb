"""`python -m benchmarks [NAME ...]`: run benchmarks, by default all but `comparison` and `attack`, and print their
tables.

Each runs in a process of its own, so that none finds what another left in memory; one that fails does not stop the
others. With --write, benchmarks/results/, the pictures and docs/benchmarks.md are written too.
"""

import argparse
import subprocess
import sys
from importlib import import_module

# name -> module, whose `main` gives a Report
ALL = {
    "generation": "benchmarks.core_limit.generation",
    "translation": "benchmarks.core_limit.translation",
    "sentiment": "benchmarks.core_limit.sentiment",
    "open-loop": "benchmarks.latency.open_loop",
    "one-client": "benchmarks.latency.one_client",
    "mixed": "benchmarks.latency.mixed",
    "event-loop": "benchmarks.latency.event_loop",
    "prefix": "benchmarks.latency.prefix",
    "start": "benchmarks.operation.start",
    "overload": "benchmarks.operation.overload",
    "export": "benchmarks.operation.export",
    "step": "benchmarks.kernels.step",
    "precision": "benchmarks.quality.precision",
    "quality": "benchmarks.quality.__main__",
}
OTHERS = {"comparison": "benchmarks.comparison.__main__", "attack": "benchmarks.operation.attack"}  # not by default
ROUNDS = ("generation", "translation", "sentiment", "open-loop", "one-client", "mixed", "event-loop", "export")
SECONDS = ("start", "overload", "attack")


def main(arguments: list[str]) -> int:
    """Run what is asked for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join((*ALL, *OTHERS)))
    parser.add_argument("--rounds", type=int, help=f"of {', '.join(ROUNDS)}")
    parser.add_argument("--seconds", type=float, help=f"of {' and '.join(SECONDS)}")
    parser.add_argument("--write", action="store_true", help="write the results, the pictures and docs/benchmarks.md")
    asked = parser.parse_args(arguments)
    names = asked.names or list(ALL)
    if unknown := [name for name in names if name not in ALL | OTHERS]:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join((*ALL, *OTHERS))}")
    options = []
    for option, value, takers in (("--rounds", asked.rounds, ROUNDS), ("--seconds", asked.seconds, SECONDS)):
        if value is not None:
            if fixed := [name for name in names if name not in takers]:
                parser.error(f"{option} is for {', '.join(takers)}, and not for {fixed[0]}")
            options.append(value)
    if len(names) == 1:
        found = import_module((ALL | OTHERS)[names[0]]).main(*options)
        found.print()
        if asked.write:
            found.write()
            write_document()
        return 0
    more = [option for option in arguments if option not in names]
    failed = [name for name in names if subprocess.run([sys.executable, "-m", "benchmarks", name, *more]).returncode]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def write_document() -> None:
    """Write docs/benchmarks.md of all results."""
    from benchmarks.document import main as write

    write()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
