"""English-Chinese pairs of four downloaded data sets: sentences, captions, examples of a dictionary, documentation.

All are in simplified characters and come with a validation part of their own; each is read in either direction.
"""

import csv
import io
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator

from models.bundle import Languages
from models.errors import DataError
from training.data.corpus import Origin, decoded, lines_of, read_dataset, text_of
from training.data.pairs import Pair, PairCorpus, aligned_lines, aligned_pairs, checked_languages, corpus_of_pairs
from training.data.usage import ALL_USED, Unused

_LANGUAGES = [frozenset({"en", "zh"})]

_TATOEBA = Origin(
    title="Tatoeba sentence pairs, export of December 2025",
    upstream="https://github.com/Roxaleen/hsk-annotated-corpus (data/cleaned/sentences_tatoeba.csv; split it, gzip)",
    licence="CC BY 2.0 FR",
)
_TATOEBA_NOTICE = (
    "The sentences are by the contributors of tatoeba.org, under CC BY 2.0 FR "
    "(https://creativecommons.org/licenses/by/2.0/fr/)."
)
_WIKTIONARY = Origin(
    title="Example sentences of Wiktionary",
    upstream="https://github.com/Roxaleen/hsk-annotated-corpus (data/cleaned/sentences_kaikki.csv; split it, gzip)",
    licence="CC BY-SA 4.0",
)
_WIKTIONARY_NOTICE = "The sentences are by the contributors of Wiktionary, under CC BY-SA 4.0; share alike."
_CAPTIONS = Origin(
    title="3AM image captions",
    upstream="https://github.com/MaxyLee/3AM/tree/main/data (gzip train.en and train.zh)",
    licence="MIT",
)
_CAPTIONS_NOTICE = "3AM is under the MIT licence; its captions stem from other sets of captions."
_DOCS = Origin(
    title="Python documentation, Chinese translation",
    upstream="https://github.com/python/python-docs-zh-cn (branch 3.14; .po files as train.po.tar.gz, val.po.tar.gz)",
    licence="translations CC0; English PSF-2.0",
)
_DOCS_NOTICE = "The English text is Python's documentation, under the PSF licence version 2."
LONGEST_MESSAGE = 200  # characters
_MARKUP = re.compile(r"[`*|]|::|:\w+:|_\b\s|\w_$|<[^>]*>|https?://|^\.\. |\\")


def tatoeba_2025(languages: Languages) -> PairCorpus:
    """Tatoeba of 2025: each Chinese sentence once, with one English one. It supersedes `tatoeba` for en-zh.

    Raises:
        DataError: it is absent or malformed.
        ConfigError: it does not have these languages.
    """
    return _of_tables("tatoeba-2025", "tatoeba_cmn_eng_2025", _TATOEBA, languages, _TATOEBA_NOTICE)


def wiktionary(languages: Languages) -> PairCorpus:
    """Example sentences of Wiktionary's Chinese entries, some literary or in other Chinese languages.

    Raises:
        DataError: it is absent or malformed.
        ConfigError: it does not have these languages.
    """
    return _of_tables("wiktionary", "wiktionary_zh_en", _WIKTIONARY, languages, _WIKTIONARY_NOTICE)


def _of_tables(name: str, folder: str, origin: Origin, languages: Languages, notice: str) -> PairCorpus:
    """CSV files with the columns sentence (Chinese) and translation (English)."""
    checked_languages(languages, _LANGUAGES, name)
    files = [f"{folder}/{part}.csv.gz" for part in ("train", "val")]
    raw = [read_dataset(file, origin) for file in files]
    parts = [_table_pairs(content, file, languages) for content, file in zip(raw, files, strict=True)]
    return corpus_of_pairs(name, origin, languages, parts, files, raw, notice, may_quote=name == "tatoeba-2025")


def _table_pairs(raw: bytes, file: str, languages: Languages) -> list[Pair]:
    rows = csv.DictReader(io.StringIO(text_of(raw, file), newline=""))
    if not {"sentence", "translation"} <= set(rows.fieldnames or ()):
        raise DataError(
            f"{file} has columns {rows.fieldnames}; sentence and translation are needed. Download it again."
        )
    return [_pair(row["translation"] or "", row["sentence"] or "", languages) for row in rows]


def _pair(english: str, chinese: str, languages: Languages) -> Pair:
    """In the languages' order, each in one line."""
    sides = (" ".join(english.split()), " ".join(chinese.split()))
    return Pair(*(sides if languages.source == "en" else sides[::-1]))


def captions_3am(languages: Languages) -> PairCorpus:
    """3AM (Ma et al. 2024): captions of images; training lines that the official test and validation parts repeat, as
    listed in train.exclude.txt, are left out.

    Raises:
        DataError: it is absent, or the two sides differ in their number of lines.
        ConfigError: it does not have these languages.
    """
    checked_languages(languages, _LANGUAGES, "3am")
    order = (languages.source, languages.target)
    files = [f"3am_en_zh/{name}{side}{end}" for name, end in (("train.", ".gz"), ("val.", "")) for side in order]
    excluded_file = "3am_en_zh/train.exclude.txt"
    raw = [read_dataset(file, _CAPTIONS) for file in (*files, excluded_file)]
    sides = [aligned_lines(content, file) for content, file in zip(raw, files, strict=False)]
    try:
        excluded = {int(line) for _, line in lines_of(raw[4], excluded_file)}
    except ValueError:
        raise DataError(f"{excluded_file} holds something that is no line number. Download it again.") from None
    everything = aligned_pairs(sides[0], sides[1], files[1])
    train = [pair for number, pair in enumerate(everything, 1) if number not in excluded]
    lost = Unused(
        files[0],
        "pairs",
        len(everything),
        len(everything) - len(train),
        f"are listed in {excluded_file}",
        "data.dataset",
    )
    parts = [train, aligned_pairs(sides[2], sides[3], files[3])]
    usage = ALL_USED.with_unused(lost)
    return corpus_of_pairs("3am", _CAPTIONS, languages, parts, [files[0], files[2]], raw, _CAPTIONS_NOTICE, usage=usage)


def python_docs(languages: Languages) -> PairCorpus:
    """Messages of Python's documentation of at most LONGEST_MESSAGE characters, without reST mark-up.

    Raises:
        DataError: it is absent or malformed.
        ConfigError: it does not have these languages.
    """
    checked_languages(languages, _LANGUAGES, "python-docs")
    files = [f"python_docs_zh_cn/{part}.po.tar.gz" for part in ("train", "val")]
    raw = [read_dataset(file, _DOCS) for file in files]
    usage = ALL_USED
    parts = []
    for content, file in zip(raw, files, strict=True):
        counts: Counter[str] = Counter()
        pairs = []
        for message in _messages(content, file):
            reason = _why_not(*message)
            counts[reason] += 1
            if not reason:
                pairs.append(_pair(*message[:2], languages))
        total = counts.total()
        usage = usage.with_unused(
            *(
                Unused(file, "messages", total, count, reason, "data.dataset")
                for reason, count in sorted(counts.items())
                if reason
            )
        )
        parts.append(pairs)
    return corpus_of_pairs("python-docs", _DOCS, languages, parts, files, raw, _DOCS_NOTICE, usage=usage)


def _why_not(english: str, chinese: str, is_fuzzy: bool) -> str:
    """Why a message is not read; empty where it is."""
    if is_fuzzy or not chinese:
        return "are fuzzy or not translated"
    if not re.search(r"[\u4e00-\u9fff]", chinese):
        return "have no Chinese character"
    if max(len(english), len(chinese)) > LONGEST_MESSAGE:
        return f"are longer than {LONGEST_MESSAGE} characters"
    if _MARKUP.search(english) or _MARKUP.search(chinese):
        return "have reST mark-up"
    return ""


def _messages(raw: bytes, file: str) -> Iterator[tuple[str, str, bool]]:
    """msgid, msgstr and whether it is fuzzy, of each .po file in a gzipped archive, in the archive's order."""
    try:
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:gz") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isfile() and member.name.endswith(".po") else None
                if content is not None:
                    yield from _po_messages(decoded(content.read(), f"{file}:{member.name}"))
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} is not a whole .tar.gz file ({error}); download it again.") from None


_PO_LINE = re.compile(r'(?:(msgid|msgstr|msgctxt|msgid_plural|msgstr\[\d\]) )?"(.*)"$')
_ESCAPE = re.compile(r"\\(.)")


def _po_messages(text: str) -> Iterator[tuple[str, str, bool]]:
    """Gettext's .po, as far as documentation uses it: entries between blank lines; the head has no msgid."""
    for entry in re.split(r"\n\s*\n", text):
        found: dict[str, str] = {}
        field, is_fuzzy = "", False
        for line in entry.split("\n"):
            if line.startswith("#,"):
                is_fuzzy = "fuzzy" in line
            elif match := _PO_LINE.match(line):
                field = match[1] or field
                value = _ESCAPE.sub(lambda escape: {"n": "\n", "t": "\t"}.get(escape[1], escape[1]), match[2])
                found[field] = found.get(field, "") + value
        if found.get("msgid"):
            yield found["msgid"], found.get("msgstr", ""), is_fuzzy
