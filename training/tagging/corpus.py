"""What a tagger's run reads: tagged sentences, the splitter that fits them, and texts for pre-training."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from models.words import WordSplitter, learnt_splitter
from training.data.corpus import Origin
from training.data.errands import errands
from training.data.labels import LabelCorpus
from training.data.reviews import chinese_reviews, imdb, sst2
from training.data.tags import TagCorpus, tags_file
from training.data.treebanks import cluener, gmb, treebank, weibo, wnut17
from training.data.usage import Unused, Usage
from training.tagging.recipe import TaggingDataSection, TaggingRecipe, TextsName

Words = tuple[str, ...]


@dataclass(frozen=True)
class TaggingCorpus:
    """The data of a tagger's run.

    Attributes:
        tagged: the sentences.
        splitter: how raw text becomes words like theirs.
        texts: words of the pre-training texts.
        origins: of these, by name.
        sha256: of all that was read.
        usage: what of it is not used.
    """

    tagged: TagCorpus
    splitter: WordSplitter
    texts: tuple[Words, ...]
    origins: dict[str, Origin]
    sha256: str
    usage: Usage


def load_tagging(recipe: TaggingRecipe) -> TaggingCorpus:
    """Read what a recipe names.

    Raises:
        DataError: something is absent or malformed.
    """
    tagged = load_tagged(recipe.data)
    splitter = WordSplitter(kind=tagged.splitter)
    if tagged.splitter == "words":
        splitter = learnt_splitter((item.text, item.spans) for item in tagged.train if item.text and item.spans)
    read = [_texts(name) for name in (recipe.pretraining.texts if recipe.pretraining else [])]
    digests = "".join([tagged.sha256, *(corpus.sha256 for corpus in read)])
    usage = tagged.usage
    texts: list[Words] = []
    for number, corpus in enumerate(read):
        found = list(_words([corpus], splitter))
        texts += found
        lost = len(corpus.train) - len(found)
        own = (replace(item, key=f"pretraining.texts.{number}") for item in corpus.usage.unused)
        usage = usage.with_unused(*own).with_unused(
            Unused(corpus.name, "texts", len(corpus.train), lost, "have no word", f"pretraining.texts.{number}")
        )
    return TaggingCorpus(
        tagged=tagged,
        splitter=splitter,
        usage=usage,
        texts=tuple(texts),
        origins={corpus.name: corpus.origin for corpus in read},
        sha256=hashlib.sha256(digests.encode()).hexdigest() if read else tagged.sha256,
    )


def load_tagged(section: TaggingDataSection) -> TagCorpus:
    """Read the data set that a section names.

    Raises:
        DataError: it is absent or malformed.
    """
    match section.dataset:
        case "ewt" | "gsd":
            return treebank(section.dataset, section.column)
        case "wnut17":
            return wnut17()
        case "gmb":
            return gmb()
        case "cluener":
            return cluener()
        case "weibo":
            return weibo()
        case "errands":
            assert section.validation_share  # checked by TaggingDataSection
            return errands(section.validation_share)
        case "tags-file":
            assert section.path is not None
            assert section.format is not None
            assert section.splitter is not None
            return tags_file(
                Path(section.path),
                section.format,
                validation_share=section.validation_share,
                splitter=section.splitter,
                column=section.column,
                validation_path=None if section.validation_path is None else Path(section.validation_path),
                test_path=None if section.test_path is None else Path(section.test_path),
            )


def _texts(name: TextsName) -> LabelCorpus:
    match name:
        case "imdb":
            return imdb(chunk_words=None)
        case "sst2":
            return sst2(natural=True)
        case "waimai" | "online-shopping":
            return chinese_reviews(name)


def _words(corpora: list[LabelCorpus], splitter: WordSplitter) -> Iterator[Words]:
    """Of each training text; equal words are one object, because there are millions."""
    known: dict[str, str] = {}
    for corpus in corpora:
        for text, _ in corpus.train:
            words = tuple(known.setdefault(word, word) for a, b in splitter.split(text) if (word := text[a:b]))
            if words:
                yield words
