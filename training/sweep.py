"""A search over recipe keys: trials are runs of their own, chosen by Optuna's TPE (Akiba et al. 2019).

Every trial has a folder below the sweep's. The sampler's seed is the recipe's, so a sweep that was stopped suggests the
same values again, and trials that are finished are not trained again.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import ConfigError, RnnserveError
from training.checkpoint import load_checkpoint
from training.progress import Progress
from training.recipe_file import load_recipe, read_yaml
from training.run_folder import write_whole

_ROUNDED = 3  # significant digits of a drawn number, so that a table and a command can be read


@dataclass(frozen=True)
class Range:
    """What a key is drawn from: one of `choices`, or a number from low to high."""

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    is_whole: bool = False

    @property
    def is_log(self) -> bool:
        """Whether numbers are drawn evenly in their logarithm: a range over a factor of ten or more."""
        return self.low > 0 and self.high / self.low >= 10

    @classmethod
    def parse(cls, text: str) -> "Range":
        """KEY=LOW..HIGH or KEY=A,B,C.

        Raises:
            ConfigError: it is neither.
        """
        key, equals, values = text.partition("=")
        if not key or not equals or not values:
            raise ConfigError(
                f"{text!r} is not KEY=LOW..HIGH or KEY=A,B,C, such as optimizer.learning_rate=1e-4..1e-2."
            )
        if ".." not in values:
            return cls(key, choices=tuple(values.split(",")))
        ends = [read_yaml(end, f"range {text!r}") for end in values.split("..", 1)]
        if not all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends) or ends[0] >= ends[1]:
            raise ConfigError(f"range {text!r}: {values} is not two numbers, the lower one first, such as 1e-4..1e-2.")
        low, high = ends
        return cls(key, low=low, high=high, is_whole=isinstance(low, int) and isinstance(high, int))

    def draw(self, trial: Any) -> str:
        """An override for a trial of Optuna."""
        if self.choices:
            return f"{self.key}={trial.suggest_categorical(self.key, self.choices)}"
        if self.is_whole:
            return f"{self.key}={trial.suggest_int(self.key, int(self.low), int(self.high), log=self.is_log)}"
        number = trial.suggest_float(self.key, self.low, self.high, log=self.is_log)
        rounded = min(max(float(f"{number:.{_ROUNDED}g}"), self.low), self.high)
        return f"{self.key}={rounded!r}"


def sweep(
    path: Path, overrides: Sequence[str], *, trials: int, start: Callable[[list[str], str], None], folder: Path
) -> list[str]:
    """Train with drawn values and write trials.md, after each trial.

    Args:
        path: the recipe.
        overrides: ranges, and fixed values as for a run: one value without a comma.
        trials: how many.
        start: (overrides, a name for messages) -> trains to the end.
        folder: of the sweep; each trial has one below it, and its store.

    Returns:
        The best trial's overrides.

    Raises:
        ConfigError: Optuna is not installed, nothing is to be drawn, or no trial ended.
    """
    try:
        import optuna
    except ImportError:
        raise ConfigError("sweep needs the package optuna, which is not installed: pip install optuna.") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ranges = [Range.parse(text) for text in overrides if _is_range(text)]
    fixed = [text for text in overrides if not _is_range(text)]
    if not ranges:
        raise ConfigError("sweep: no key has a range; add one, such as optimizer.learning_rate=1e-4..1e-2.")
    recipe = load_recipe(path, fixed)
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=recipe.seed))
    rows: list[tuple[float | None, list[str], str]] = []
    for number in range(1, trials + 1):
        trial = study.ask()
        drawn = [each.draw(trial) for each in ranges]
        run_dir = folder / f"trial-{number}"
        places = [f"run_dir={json.dumps(str(run_dir))}", f"store={json.dumps(str(folder / 'store'))}"]
        try:
            start([*fixed, *drawn, *places], f"trial {number} of {trials}: {' '.join(drawn)}")
        except RnnserveError as error:  # a combination that does not go together, or a loss that is not finite
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            rows.append((None, drawn, " ".join(str(error).split())[:200]))
        else:
            progress = Progress.from_plain(load_checkpoint(run_dir / "last.ckpt").progress)
            assert progress.best_rank is not None
            study.tell(trial, progress.best_rank[0])
            figures = progress.history[progress.best_epoch - 1].validation
            shown = ", ".join(f"{name.removeprefix('validation_')} {value:.4f}" for name, value in figures.items())
            rows.append((progress.best_rank[0], drawn, f"epoch {progress.best_epoch}: {shown}"))
        write_whole(folder / "trials.md", _table(rows).encode())
    ended = [(value, drawn) for value, drawn, _ in rows if value is not None]
    if not ended:
        raise ConfigError(f"sweep: no trial ended; {folder / 'trials.md'} says why.")
    return min(ended, key=lambda row: row[0])[1]


def _is_range(text: str) -> bool:
    values = text.partition("=")[2]
    return ".." in values or ("," in values and not values.startswith(("[", "{", '"', "'")))


def _table(rows: Sequence[tuple[float | None, list[str], str]]) -> str:
    """Markdown, the best trial first: what is minimised is what chooses the best epoch."""
    order = sorted(enumerate(rows, 1), key=lambda item: (item[1][0] is None, item[1][0] or 0.0))
    lines = ["| trial | minimised | overrides | best epoch |", "|---|---|---|---|"]
    for number, (value, drawn, said) in order:
        shown = "-" if value is None else f"{value:.4f}"
        lines.append(f"| {number} | {shown} | `{' '.join(drawn)}` | {said.replace('|', chr(92) + '|')} |")
    return "\n".join([*lines, ""])
