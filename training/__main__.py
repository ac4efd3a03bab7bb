"""python -m training run RECIPE.yaml [key=value ...]"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from models.errors import RnnserveError
from training.recipe import PLACES
from training.recipe_file import RECIPES, as_typed, load_recipe

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def show_help(context: typer.Context) -> None:
    """Text in, trained bundle out."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="a recipe, such as training/recipes/builtin-tiny.yaml")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="such as optimizer.learning_rate=0.001")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="begin again, whatever run_dir holds")] = False,
) -> None:
    """Train as a recipe says and publish the bundle; its path is the last line of the output.

    After a kill the same command resumes from the last checkpoint and ends in the same weights.
    """
    checked = load_recipe(recipe, overrides or [])
    from training.run import run as run_recipe  # after the check: torch and Lightning take seconds to load

    print(run_recipe(checked, fresh=fresh, command=_command(recipe, overrides or [])))


@app.command()
def recipes() -> None:
    """List the recipes that come with the project."""
    for path in sorted(RECIPES.glob("*.yaml")):
        print(f"{as_typed(path)}  {path.read_text(encoding='utf-8').splitlines()[0].removeprefix('# ')}")


@app.command()
def sweep(
    recipe: Annotated[Path, typer.Argument(help="a recipe, such as training/recipes/builtin-tiny.yaml")],
    ranges: Annotated[
        list[str], typer.Argument(metavar="KEY=RANGE", help="KEY=LOW..HIGH, KEY=A,B,C, or KEY=VALUE for all trials")
    ],
    trials: Annotated[int, typer.Option(min=1, help="how many runs")] = 10,
    folder: Annotated[Path | None, typer.Option(help="of the sweep; runs/sweep-<recipe> when absent")] = None,
) -> None:
    """Search for good values of recipe keys; the best overrides are the last line of the output.

    The same command goes on with a sweep that was stopped. Needs the package optuna.
    """
    from training.run import run as run_recipe
    from training.sweep import sweep as search

    def start(overrides: list[str], said: str) -> None:
        print(said, file=sys.stderr)
        run_recipe(load_recipe(recipe, overrides), command=_command(recipe, overrides))

    chosen = folder or Path("runs") / f"sweep-{recipe.stem}"
    best = search(recipe, ranges, trials=trials, start=start, folder=chosen)
    print((chosen / "trials.md").read_text(encoding="utf-8"))
    print(shlex.join(best))


@app.command()
def keys() -> None:
    """Print every recipe key of every task, as Markdown: the page docs/recipes.md."""
    from training.keys import reference

    print(reference(), end="")


def _command(recipe: Path, overrides: list[str]) -> str:
    """What a user types for the same weights: without the overrides that no weight depends on."""
    kept = [item for item in overrides if item.partition("=")[0] not in PLACES]
    absolute = recipe.resolve()
    shown = absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else recipe
    return shlex.join(["python", "-m", "training", "run", str(shown), *kept])


def main(arguments: Sequence[str] | None = None, program: str = "python -m training") -> None:
    """The program: an error of rnnserve, or a file that cannot be written, is one sentence and exit status 1.

    Args:
        arguments: by default those of the process.
        program: what messages call it.
    """
    try:
        app(arguments, prog_name=program)
    except (RnnserveError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
