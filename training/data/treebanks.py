"""Downloaded sentences with tags: parts of speech and named entities, English and Chinese."""

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from models.errors import DataError
from models.words import SplitterKind
from training.data.corpus import Origin, lines_of, read_dataset, text_of
from training.data.tags import ConlluColumn, TagCorpus, Tagged, columns, conllu, corpus_of
from training.data.usage import ALL_USED, Unused

Treebank = Literal["ewt", "gsd"]
_TREEBANKS: dict[Treebank, tuple[Origin, tuple[str, str]]] = {
    "ewt": (
        Origin(
            title="UD English EWT (r2.16)",
            upstream="https://github.com/UniversalDependencies/UD_English-EWT (train and dev, gzip them)",
            licence="CC BY-SA 4.0",
        ),
        ("ud_english_ewt/train.conllu.gz", "ud_english_ewt/val.conllu.gz"),
    ),
    "gsd": (
        Origin(
            title="UD Chinese GSD",
            upstream="https://github.com/UniversalDependencies/UD_Chinese-GSD (train gzipped, dev plain)",
            licence="CC BY-SA 4.0",
        ),
        ("ud_chinese_gsd/zh-ud-train.conllu.gz", "ud_chinese_gsd/zh-ud-dev.conllu"),
    ),
}


def treebank(name: Treebank, column: ConlluColumn) -> TagCorpus:
    """A treebank of Universal Dependencies, official split.

    Raises:
        DataError: it is absent or malformed.
    """
    origin, files = _TREEBANKS[name]
    splitter: SplitterKind = "words" if name == "ewt" else "whitespace"
    return _corpus(name, origin, files, partial(conllu, column=column), splitter)


def _corpus(
    name: str,
    origin: Origin,
    files: tuple[str, str],
    read: Callable[[bytes, str], Sequence[Tagged]],
    splitter: SplitterKind,
) -> TagCorpus:
    """A corpus of a training and a validation file, each read by `read`. Raises DataError."""
    raw = [read_dataset(file, origin) for file in files]
    train, validation = (read(content, file) for content, file in zip(raw, files, strict=True))
    return corpus_of(name, origin, (train, validation), raw, splitter)


_WNUT = Origin(
    title="WNUT-17 emerging entities",
    upstream="https://github.com/leondz/emerging_entities_17",
    licence="CC BY 4.0; Derczynski et al. 2017",
)


def wnut17() -> TagCorpus:
    """Rare and emerging entities in social media (Derczynski et al. 2017), 6 classes, official training and dev part.

    Raises:
        DataError: it is absent or malformed.
    """
    files = ("wnut17/wnut17train.conll", "wnut17/emerging.dev.conll")
    return _corpus("wnut17", _WNUT, files, partial(columns, separator="\t"), "words")


_GMB = Origin(
    title="a sample of the Groningen Meaning Bank",
    upstream="https://github.com/chickenbror/ML-assignment2 (GMB_dataset.txt, split by sentence number: 8 mod 10 val)",
    licence="none stated; the Groningen Meaning Bank is made of public-domain text",
)


def gmb() -> TagCorpus:
    """Entities in press reports, 8 classes.

    Raises:
        DataError: it is absent or malformed.
    """
    files = ("gmb_sample/train.txt.gz", "gmb_sample/val.txt")
    return _corpus("gmb", _GMB, files, _gmb_sentences, "words")


def _gmb_sentences(raw: bytes, file: str) -> list[Tagged]:
    rows = csv.DictReader(io.StringIO(text_of(raw, file), newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    if not {"Sentence #", "Word", "Tag"} <= set(rows.fieldnames or ()):
        raise DataError(
            f"{file} has columns {rows.fieldnames}; Sentence #, Word and Tag are needed. Download it again."
        )
    sentences: dict[str, tuple[list[str], list[str]]] = {}
    for number, row in enumerate(rows, 2):
        if not (row["Word"] or "").strip() or not row["Tag"]:
            raise DataError(f"{file} line {number} has no word or no tag. Download it again.")
        words, tags = sentences.setdefault(row["Sentence #"], ([], []))
        words.append(row["Word"].strip())
        tags.append(row["Tag"])
    return [Tagged(tuple(words), tuple(tags)) for words, tags in sentences.values()]


_CLUENER = Origin(
    title="CLUENER2020",
    upstream="https://github.com/CLUEbenchmark/CLUENER2020 (train.json: each 10th line as val.json, others gzipped)",
    licence="none stated; Xu et al. 2020",
)


def cluener() -> TagCorpus:
    """Fine-grained entities in Chinese press reports (Xu et al. 2020), 10 classes; each character is a word.

    Of two spans that overlap the longer one counts.

    Raises:
        DataError: it is absent or malformed.
    """
    files = ("cluener2020/train.json.gz", "cluener2020/val.json")
    raw = [read_dataset(file, _CLUENER) for file in files]
    usage = ALL_USED
    parts = []
    for content, file in zip(raw, files, strict=True):
        sentences, num_spans, num_covered = _cluener_sentences(content, file)
        parts.append(sentences)
        reason = "overlap with a longer one"
        usage = usage.with_unused(Unused(file, "spans", num_spans, num_covered, reason, "data.dataset"))
    return corpus_of("cluener", _CLUENER, (parts[0], parts[1]), raw, "characters", usage=usage)


def _cluener_sentences(raw: bytes, file: str) -> tuple[list[Tagged], int, int]:
    """The sentences, how many spans they have, and how many of these another one covers."""
    found = []
    num_spans = num_covered = 0
    for number, line in lines_of(raw, file):
        try:
            item = json.loads(line)
            text = item["text"]
            spans = [
                (start, end + 1, label)
                for label, entities in item["label"].items()
                for places in entities.values()
                for start, end in places
            ]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DataError(f"{file} line {number} is not a text with its labels. Download it again.") from None
        tags = ["O"] * len(text)
        num_spans += len(spans)
        for start, end, label in sorted(spans, key=lambda span: span[0] - span[1]):
            if all(tag == "O" for tag in tags[start:end]):
                tags[start:end] = [f"B-{label}", *[f"I-{label}"] * (end - start - 1)]
            else:
                num_covered += 1
        kept = [i for i, character in enumerate(text) if not character.isspace()]
        if kept:
            places = tuple((i, i + 1) for i in kept)
            found.append(Tagged(tuple(text[i] for i in kept), tuple(tags[i] for i in kept), text, places))
    return found, num_spans, num_covered


_WEIBO = Origin(
    title="Weibo NER, second version",
    upstream="https://github.com/OYE93/Chinese-NLP-Corpus/tree/master/NER/Weibo",
    licence="none stated; cite Peng & Dredze 2015 and He & Sun 2016",
)


def weibo() -> TagCorpus:
    """Entities in Chinese social media, named and nominal; each character is a word, its segment's digit is dropped.

    Sentences of the validation part are left out of the training part.

    Raises:
        DataError: it is absent or malformed.
    """
    files = ("weibo_ner/weiboNER_2nd_conll.train", "weibo_ner/weiboNER_2nd_conll.dev")
    raw = [read_dataset(file, _WEIBO) for file in files]
    train, validation = (
        _without_digits(columns(content, file, separator="\t")) for content, file in zip(raw, files, strict=True)
    )
    held_out = {sentence.words for sentence in validation}
    kept = [sentence for sentence in train if sentence.words not in held_out]
    lost = len(train) - len(kept)
    usage = ALL_USED.with_unused(
        Unused(files[0], "sentences", len(train), lost, f"are also in {files[1]}", "data.dataset")
    )
    return corpus_of("weibo", _WEIBO, (kept, validation), raw, "characters", usage=usage)


def _without_digits(sentences: Sequence[Tagged]) -> list[Tagged]:
    return [item._replace(words=tuple(re.sub(r"(?<=.)\d$", "", word) for word in item.words)) for item in sentences]
