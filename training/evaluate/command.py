"""`python -m training evaluate`: from what a user writes to tables, and to a file for machines."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import structlog
from rich.console import Console
from rich.table import Table
from rich.text import Text as Line

from models.bundle import Bundle
from models.errors import ConfigError, DataError
from models.forecaster import ForecasterConfig
from training.evaluate import examples as data_of
from training.evaluate.answers import ServedBundle, open_bundle
from training.evaluate.evaluation import Evaluation, Listing
from training.evaluate.forecast import evaluate_forecast
from training.evaluate.generation import evaluate_generation
from training.evaluate.resampling import Comparison, Figure
from training.evaluate.sentiment import evaluate_sentiment
from training.evaluate.tagging import evaluate_tagging
from training.evaluate.translation import evaluate_translation

E = TypeVar("E")
_WIDEST = 60  # characters of a text in a table


@dataclass(frozen=True)
class EvaluateOptions:
    """What a user asks for.

    Attributes:
        data: FILE or DATASET[:PART].
        set_name: the graph set; None: int8 where the bundle has it.
        against: another bundle, which is compared on the same data.
        against_set: its graph set.
        store: where bundles are found by name; None: that of the server's settings.
        limit: how many examples are read, from the first; None: all.
        num_shown: mistakes and worst examples that are listed, at least 0.
        beam_size: of translation's second search; 1 leaves it out.
        is_split: whether translation splits sentences.
        num_windows: of generation; 0: none.
        steps: of forecasts, values of each series that are forecast; None: as the recipe says.
    """

    data: str
    set_name: str | None = None
    against: str | None = None
    against_set: str | None = None
    store: Path | None = None
    limit: int | None = None
    num_shown: int = 10
    beam_size: int = 4
    is_split: bool = False
    num_windows: int = 0
    steps: int | None = None


def evaluate(bundle: str, options: EvaluateOptions) -> tuple[Evaluation, list[Comparison]]:
    """Measure a bundle, and compare it where another one is named.

    Args:
        bundle: its folder, or NAME or NAME/VERSION in the store.
        options: what is asked for.

    Raises:
        RnnserveError: a bundle or the data is not there, or they do not go together.
    """
    opened = open_bundle(bundle, options.store)
    other = None if options.against is None else open_bundle(options.against, options.store)
    if other is not None:
        _check_alike(opened, other)
    examples = _examples(opened, options)
    with logging_warnings_alone():
        found = _evaluated(ServedBundle(opened, options.set_name), examples, options)
        if other is None:
            return found, []
        return found, found.compared(_evaluated(ServedBundle(other, options.against_set), examples, options))


@contextmanager
def logging_warnings_alone() -> Iterator[None]:
    """Keep what a server logs when it loads a model out of a command's output."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        yield
    finally:
        structlog.configure(**before)


def _check_alike(one: Bundle, other: Bundle) -> None:
    if one.record.task != other.record.task:
        raise ConfigError(f"{one.id} is for {one.record.task}, {other.id} for {other.record.task}: nothing to compare.")
    if isinstance(one.config, ForecasterConfig) and isinstance(other.config, ForecasterConfig):
        own, theirs = ((item.frequency, item.horizon, item.season) for item in (one.config, other.config))
        if own != theirs:
            raise ConfigError(
                f"{one.id} has frequency, horizon and season {own}, {other.id} {theirs}: nothing to compare."
            )
    if one.record.languages != other.record.languages:
        raise ConfigError(f"{one.id} and {other.id} translate between other languages: nothing to compare.")


def _examples(bundle: Bundle, options: EvaluateOptions) -> data_of.Examples[Any]:
    match bundle.record.task:
        case "sentiment":
            return _first(data_of.labelled_texts(options.data, bundle), options.limit)
        case "translation":
            return _first(data_of.sentence_pairs(options.data, bundle), options.limit)
        case "tagging":
            return _first(data_of.tagged_sentences(options.data, bundle), options.limit)
        case "generation":
            return _cut_text(data_of.text(options.data, bundle), options.limit)
        case "forecast":
            found = data_of.series(options.data, bundle, options.steps)
            (corpus,) = found.items
            return replace(found, items=[replace(corpus, series=corpus.series[: options.limit])])
        case task:
            raise ConfigError(
                f"{bundle.id} is for {task}; evaluated are sentiment, translation, tagging, generation and forecast."
            )


def _first(found: data_of.Examples[E], limit: int | None) -> data_of.Examples[E]:
    """The first `limit` examples. Raises DataError: there is none."""
    if not found.items:
        raise DataError(f"{found.name} holds no example.")
    return replace(found, items=found.items[:limit])


def _cut_text(found: data_of.Examples[data_of.Text], limit: int | None) -> data_of.Examples[data_of.Text]:
    """The first `limit` documents, or of one text its first characters."""
    (text,) = found.items
    documents = text.documents[:limit] if len(text.documents) > 1 else (text.documents[0][:limit],)
    return replace(found, items=[text._replace(documents=documents)])


def _evaluated(served: ServedBundle, examples: data_of.Examples[Any], options: EvaluateOptions) -> Evaluation:
    match served.model.task:
        case "sentiment":
            return evaluate_sentiment(served, examples, options.num_shown)
        case "translation":
            return evaluate_translation(
                served, examples, options.num_shown, beam_size=options.beam_size, is_split=options.is_split
            )
        case "tagging":
            return evaluate_tagging(served, examples)
        case "generation":
            return evaluate_generation(served, examples, options.num_windows)
        case _:
            return evaluate_forecast(served, examples)


def plain(evaluation: Evaluation, comparisons: Sequence[Comparison], against: str | None) -> dict[str, Any]:
    """For machines."""
    found = evaluation.plain
    if against is not None:
        found["against"] = against
        found["comparisons"] = [asdict(comparison) for comparison in comparisons]
    return found


def write_json(path: Path, found: dict[str, Any]) -> None:
    """Write figures for machines; NaN, which JSON has not, is null."""
    path.write_text(json.dumps(_finite(found), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value != value else value


def show(console: Console, evaluation: Evaluation, comparisons: Sequence[Comparison], against: str | None) -> None:
    """Print the tables."""
    sizes = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in evaluation.sizes.items())
    console.print(Line(f"{evaluation.bundle} ({evaluation.set_name}) on {evaluation.data}: {sizes}"))
    table = Table("figure", "value", "95 % interval", title_justify="left")
    for name, figure in evaluation.figures.items():
        table.add_row(name, _number(figure.value), _interval(figure))
    console.print(table)
    for name, note in evaluation.notes.items():
        console.print(Line(f"{name}: {note}"), soft_wrap=True)
    for listing in evaluation.listings:
        if listing.rows:
            console.print(_table(listing))
    if against is not None:
        console.print(_comparison_table(comparisons, against))
        if not comparisons:
            console.print("Nothing to test: of a text, give --windows, whose windows are the items that are drawn.")


def _table(listing: Listing) -> Table:
    table = Table(*listing.columns, title=listing.title, title_justify="left")
    for row in listing.rows:
        table.add_row(*(Line(_cell(value)) for value in row))
    return table


def _comparison_table(comparisons: Sequence[Comparison], against: str) -> Table:
    table = Table(
        "figure",
        "this",
        "other",
        "difference",
        "95 % interval",
        "p",
        "test",
        title=f"against {against}",
        title_justify="left",
    )
    for item in comparisons:
        table.add_row(
            item.name,
            _number(item.this),
            _number(item.other),
            f"{item.this - item.other:+.4f}",
            _interval(item),
            f"{item.p:.4f}",
            item.test,
        )
    return table


def _interval(item: Figure | Comparison) -> str:
    return "" if item.low is None or item.high is None else f"{_number(item.low)} to {_number(item.high)}"


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.4f}"


def _cell(value: str | int | float) -> str:
    if isinstance(value, str):
        return value if len(value) <= _WIDEST else f"{value[:_WIDEST]} ..."
    return f"{value:,}" if isinstance(value, int) else _number(value)
