"""What a client reads of a translation beside its text: codes and sentences."""

from collections.abc import Iterator, Sequence

from server.text.languages import Detected, name_of
from server.text.passage import Passage, Rendered

_MOST_SHOWN, _LONGEST = 5, 60  # things of a kind that are named, and characters of each


def warnings_of(
    passage: Passage, best: Sequence[Rendered], detected: Detected | None, source: str
) -> list[tuple[str, str]]:
    """The warnings of a translation, at most one of a code.

    Args:
        passage: the text.
        best: of each sentence its translation.
        detected: its language, where that is not the expected one.
        source: the language that the model reads.
    """
    return list(_warnings(passage, best, detected, source))


def _warnings(
    passage: Passage, best: Sequence[Rendered], detected: Detected | None, source: str
) -> Iterator[tuple[str, str]]:
    if detected is not None:
        what = "in another script" if detected.language == "und" else f"{_language(detected.language)}, it seems"
        yield "language_mismatch", f"The text is {what}, and the model reads {_language(source)}."
    texts = [passage.text[sentence.start : sentence.end] for sentence in passage.sentences]
    cut_off = [text for text, found in zip(texts, best, strict=True) if found.is_cut_off]
    if cut_off:
        yield (
            "truncated",
            f"The translation has as many tokens as it may (max_tokens) and is cut off, of: {_named(cut_off)}.",
        )
    parts = [text for text, sentence in zip(texts, passage.sentences, strict=True) if sentence.is_cut]
    if parts:
        yield (
            "sentence_cut",
            f"A sentence is longer than the model reads at once; it was read in parts: {_named(parts)}.",
        )
    pairs = zip(passage.sentences, best, strict=True)
    copied = [part for sentence, found in pairs for part in (*sentence.copied, *found.copied)]
    if copied:
        yield "copied", f"Not translated but copied: {_named(copied)}."
    lacking = [part for found in best for part in found.lacking]
    invented = [part for found in best for part in found.invented]
    sayings = []
    if lacking:
        sayings.append(f"Numbers or names of the source that are not in the translation: {_named(lacking)}.")
    if invented:
        sayings.append(f"Numbers of the translation that are not in the source: {_named(invented)}.")
    if sayings:
        yield "unknown_text", " ".join(sayings)


def _language(code: str) -> str:
    return f"{name_of(code)} ({code})"


def _named(parts: Sequence[str]) -> str:
    """The first few, each in quotation marks and cut."""
    shown = [f'"{part if len(part) <= _LONGEST else part[: _LONGEST - 1] + "…"}"' for part in parts[:_MOST_SHOWN]]
    return ", ".join(shown) + (f" and {len(parts) - _MOST_SHOWN} more" if len(parts) > _MOST_SHOWN else "")
