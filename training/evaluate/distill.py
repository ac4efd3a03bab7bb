"""`python -m training distill`: a larger translator's own translations, for a smaller one to learn from.

Sequence-level knowledge distillation (Kim & Rush 2016, section 3.2): what the teacher's beam search finds is easier to
learn than what people wrote, because it says the same thing in the same way.
"""

import sys
from pathlib import Path

from models.bundle import Languages
from models.decoding.options import TranslationOptions
from models.errors import ConfigError, DataError
from training.evaluate.answers import ServedBundle, open_bundle
from training.evaluate.command import logging_warnings_alone
from training.recipe_file import load_recipe
from training.translation.corpus import load_pairs
from training.translation.recipe import TranslationRecipe

_AT_ONCE = 4096  # sources between two lines of progress


def distill(
    teacher: str,
    recipe: Path,
    overrides: list[str],
    to: Path,
    *,
    beam_size: int = 4,
    store: Path | None = None,
    set_name: str | None = None,
) -> int:
    """Translate the training sources of a recipe, each once, and write lines source<TAB>translation.

    A source that the teacher translates by nothing is left out. The file is what a recipe's data set `pairs-file`
    reads, beside the sentences that people translated.

    Args:
        teacher: a translator's folder, or NAME or NAME/VERSION in a store.
        recipe: of a translator, whose training part is read; its validation part is not.
        overrides: of the recipe, "key=value" each.
        to: the file that is written; there must be none yet.
        beam_size: of the teacher's search.
        store: of the teacher; None: that of the server's settings.
        set_name: the teacher's graph set; None: int8 where it has it.

    Returns:
        How many pairs were written.

    Raises:
        ConfigError: the recipe is of another task or for other languages than the teacher's, or the file is there.
        DataError: the data is absent or malformed, or nothing was translated.
        BundleError: there is no such teacher.
    """
    if to.exists():
        raise ConfigError(f"{to} is there already; name another file, or remove it.")
    asked = load_recipe(recipe, overrides)
    if not isinstance(asked, TranslationRecipe):
        raise ConfigError(f"recipe {recipe} is for {asked.task}; distill reads a recipe of translation.")
    bundle = open_bundle(teacher, store)
    if bundle.record.languages != asked.languages:
        raise ConfigError(
            f"{bundle.id} {_direction(bundle.record.languages)}, and recipe {recipe} "
            f"{_direction(asked.languages)}; they have to be the same."
        )
    sources = list(dict.fromkeys(pair.source for pair in load_pairs(asked).train))
    options = TranslationOptions(beam_size=beam_size)
    lines: list[str] = []
    with logging_warnings_alone():
        served = ServedBundle(bundle, set_name)
        for start in range(0, len(sources), _AT_ONCE):
            part = sources[start : start + _AT_ONCE]
            found = served.translations(part, options, is_split=False)
            pairs = ((_cell(source), _cell(target)) for source, target in zip(part, found, strict=True))
            lines += [f"{source}\t{target}\n" for source, target in pairs if target]
            print(f"{start + len(part):,} of {len(sources):,} sources", file=sys.stderr)
    if not lines:
        raise DataError(f"{bundle.id} gave no translation of {len(sources):,} sources; nothing is written.")
    to.write_text("".join(lines), encoding="utf-8", newline="\n")
    return len(lines)


def _cell(text: str) -> str:
    """A text without the white space that parts columns and lines."""
    return " ".join(text.split())


def _direction(languages: Languages | None) -> str:
    return "is no translator" if languages is None else f"translates {languages.source} to {languages.target}"
