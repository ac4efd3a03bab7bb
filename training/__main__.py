"""python -m training run RECIPE.yaml [key=value ...]"""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from models.errors import RnnserveError
from training.recipe import RECIPES, load_recipe

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Text in, trained bundle out."
)


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="a recipe, such as training/recipes/builtin-tiny.yaml")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value ..., such as optimizer.clip=0.5")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="begin again, whatever run_dir holds")] = False,
) -> None:
    """Train as a recipe says and publish the bundle; its path is the last line. Run it again after a kill to go on."""
    checked = load_recipe(recipe, overrides or [])
    from training.run import run as run_recipe

    command = shlex.join(["python", "-m", "training", "run", str(recipe), *(overrides or [])])
    print(run_recipe(checked, fresh=fresh, command=command))


@app.command()
def recipes() -> None:
    """List the shipped recipes."""
    for path in sorted(RECIPES.glob("*.yaml")):
        print(f"{path}: {path.read_text(encoding='utf-8').splitlines()[0].removeprefix('# ')}")


if __name__ == "__main__":
    try:
        app(prog_name="python -m training")
    except RnnserveError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
