"""The console command `rnnserve`: the same programs as `python -m server`, `python -m training`, `python -m export`."""

import difflib
import importlib
import sys
from importlib import metadata

COMMANDS = {
    "serve": ("server", "serve", "serve the models of a store over HTTP"),
    "train": ("training", "train", "train a model as a recipe says: text in, bundle out"),
    "export": ("export", "train", "make verified ONNX graphs and TensorRT engines; wrap models of your own"),
}  # command -> its package, the extra that has what it needs, what it does
_OURS = ("models", "training", "export", "runtime", "server")


def main() -> None:
    """Run the command that the arguments name; ends the process with its exit code, 2 for a command there is not."""
    match sys.argv[1:]:
        case [] | ["-h" | "--help" | "help", *_]:
            print(_help())
        case ["-V" | "--version", *_]:
            print(f"rnnserve {metadata.version('rnnserve')}")
        case [command, *arguments] if command in COMMANDS:
            sys.exit(_run(command, arguments))
        case [command, *_]:
            near = difflib.get_close_matches(command, COMMANDS, n=1) or list(COMMANDS)
            print(f"rnnserve: {ascii(command)[:80]} is no command. Did you mean {', '.join(near)}?", file=sys.stderr)
            sys.exit(2)


def _run(command: str, arguments: list[str]) -> int | None:
    package, extra, _ = COMMANDS[command]
    try:
        program = importlib.import_module(f"{package}.__main__")
        code: int | None = program.main(arguments, program=f"rnnserve {command}")
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        where = "in this installation" if name in _OURS else f"here; its extra is missing: pip install -e '.[{extra}]'"
        print(f"rnnserve {command}: the package {name} is not {where}", file=sys.stderr)
        return 3
    return code


def _help() -> str:
    lines = [f"  {name:<8}{what}" for name, (_, _, what) in COMMANDS.items()]
    usage = "usage: rnnserve COMMAND ...   (rnnserve COMMAND --help says what it takes; --version)"
    return "\n".join([usage, "", *lines])


if __name__ == "__main__":
    main()
