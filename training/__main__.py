"""`python -m training run|evaluate|baseline|recipes`."""

import shlex
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from models.errors import BackendMissingError, RnnserveError
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
def evaluate(
    bundle: Annotated[str, typer.Argument(help="A bundle's folder, or NAME or NAME/VERSION in the store.")],
    data: Annotated[str, typer.Argument(metavar="FILE", help="A file, or a data set's part, such as sst2:validation.")],
    set_name: Annotated[
        str | None, typer.Option("--set", help="Graph set: int8 or fp32; by default int8 where there is one.")
    ] = None,
    against: Annotated[str | None, typer.Option(metavar="BUNDLE", help="Compare with it on the same data.")] = None,
    against_set: Annotated[str | None, typer.Option(help="Its graph set.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures there, for machines.")
    ] = None,
    store: Annotated[Path | None, typer.Option(help="The folder of bundles that are given by name.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Read the first so many examples; of one text, characters.")
    ] = None,
    show: Annotated[int, typer.Option(min=0, help="Mistakes or worst translations to list.")] = 10,
    beam: Annotated[int, typer.Option(min=1, max=16, help="Of translation's second search; 1 leaves it out.")] = 4,
    split_sentences: Annotated[
        bool, typer.Option("--split-sentences", help="Translate as /v1/translate does by default.")
    ] = False,
    windows: Annotated[
        int, typer.Option(min=0, help="Of generation: so many windows of 256 characters, each as a new text.")
    ] = 0,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Of a forecaster: values at each series' end that are forecast.")
    ] = None,
) -> None:
    """Measure a bundle as it is served: through its exported graphs and the server's engine."""
    _check_serving()
    from rich.console import Console

    from training.evaluate.command import EvaluateOptions, plain, write_json
    from training.evaluate.command import evaluate as evaluated
    from training.evaluate.command import show as print_tables

    options = EvaluateOptions(
        data=data,
        set_name=set_name,
        against=against,
        against_set=against_set,
        store=store,
        limit=limit,
        num_shown=show,
        beam_size=beam,
        is_split=split_sentences,
        num_windows=windows,
        steps=steps,
    )
    found, comparisons = evaluated(bundle, options)
    if json_file is not None:
        write_json(json_file, plain(found, comparisons, against))
    print_tables(Console(), found, comparisons, against)


@app.command()
def baseline(
    data: Annotated[
        str, typer.Argument(metavar="FILE", help="Lines text<TAB>label, or a data set, such as sst2 or waimai.")
    ],
    unit: Annotated[
        str | None, typer.Option(help="What is counted: word or char; by default char for texts in Chinese.")
    ] = None,
    validation_share: Annotated[
        float, typer.Option(min=0.01, max=0.99, help="Of a file, what is held out, as in training.")
    ] = 0.1,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures there, for machines.")
    ] = None,
) -> None:
    """Measure linear classifiers of n-grams: what a classifier of labelled texts has to beat."""
    from rich.console import Console

    from training.sentiment.baseline import baselines, show_baselines, write_baselines

    found = baselines(data, unit=unit, validation_share=validation_share)
    if json_file is not None:
        write_baselines(json_file, found)
    show_baselines(Console(), found)


@app.command()
def distill(
    teacher: Annotated[str, typer.Argument(help="A translator's folder, or NAME or NAME/VERSION in the store.")],
    recipe: Annotated[Path, typer.Argument(help="A recipe of translation, whose training sources are translated.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...")] = None,
    to: Annotated[Path, typer.Option("--to", metavar="FILE", help="Lines source<TAB>translation.")] = Path(
        "taught.tsv"
    ),
    beam: Annotated[int, typer.Option(min=1, max=16, help="Of the teacher's search.")] = 4,
    set_name: Annotated[str | None, typer.Option("--set", help="The teacher's graph set: int8 or fp32.")] = None,
    store: Annotated[Path | None, typer.Option(help="The folder of bundles that are given by name.")] = None,
) -> None:
    """Write a translator's own translations of a recipe's training sources, for a smaller one to learn from."""
    _check_serving()
    from training.evaluate.distill import distill as distilled

    count = distilled(teacher, recipe, overrides or [], to, beam_size=beam, store=store, set_name=set_name)
    print(f"{count:,} pairs in {to}; a recipe reads them by data.dataset=pairs-file data.path={to}")


def _check_serving() -> None:
    """Raises BackendMissingError where what the server needs is not installed."""
    missing = [name for name in ("fastapi", "onnxruntime", "pydantic_settings", "structlog") if find_spec(name) is None]
    if missing:
        raise BackendMissingError(
            f"evaluate answers through the server's engine, and {', '.join(missing)} is not installed: "
            "pip install 'rnnserve[serve,cpu]'"
        )


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
