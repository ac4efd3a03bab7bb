"""Tatoeba sentence pairs (manythings.org/anki): English-Chinese with a column of attributions, English-French without.

The training and validation parts are files of their own, split by distinct English sentence.
"""

from models.bundle import Languages
from training.data.corpus import Origin, digest
from training.data.folder import read_dataset
from training.data.lines import columns_of, lines_of
from training.data.pairs import Pair, PairCorpus, checked_languages, without_repetitions

FOLDERS = {frozenset({"en", "zh"}): "tatoeba_cmn_eng", frozenset({"en", "fr"}): "tatoeba_fra_eng"}
NOTICE = (
    "The sentences are by the contributors of tatoeba.org, collected by manythings.org/anki, under CC BY 2.0 FR "
    "(https://creativecommons.org/licenses/by/2.0/fr/)."
)


def load(languages: Languages) -> PairCorpus:
    """Read the data set.

    Raises:
        DataError: it is absent or malformed.
        ConfigError: it does not have these languages.
    """
    checked_languages(languages, list(FOLDERS), "tatoeba")
    folder = FOLDERS[frozenset({languages.source, languages.target})]
    archive = folder.removeprefix("tatoeba_").split("_")[0]
    origin = Origin(
        title=f"Tatoeba sentence pairs ({archive}-eng)",
        upstream=f"https://www.manythings.org/anki/{archive}-eng.zip (split it by English sentence, gzip both parts)",
        licence="CC BY 2.0 FR",
    )
    raw = [read_dataset(f"{folder}/{part}.txt.gz", origin) for part in ("train", "val")]
    train, validation = (
        _pairs(content, f"{folder}/{part}.txt.gz", languages)
        for content, part in zip(raw, ("train", "val"), strict=True)
    )
    return PairCorpus("tatoeba", origin, languages, train, validation, digest(*raw), NOTICE, may_quote=True)


def _pairs(raw: bytes, where: str, languages: Languages) -> tuple[Pair, ...]:
    pairs = []
    for english, other, *rest in columns_of(lines_of(raw, where), 2, where):
        attribution = rest[0].strip() if rest else ""
        sides = (english.strip(), other.strip())
        pairs.append(Pair(*(sides if languages.source == "en" else sides[::-1]), attribution))
    return without_repetitions(pairs)
