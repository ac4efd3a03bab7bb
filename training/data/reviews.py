"""Downloaded reviews with labels, English and Chinese."""

import csv
import io
import re
from typing import Literal

from models.errors import DataError
from training.data.corpus import Origin, columns_of, digest, lines_of, read_dataset, text_of
from training.data.labels import LabelCorpus, Labelled, ambiguities, polarity, shuffled, split_shuffled, unambiguous
from training.data.usage import Unused, Usage

SST2 = Origin(
    title="SST-2",
    upstream="https://github.com/clairett/pytorch-sentiment-classification/tree/master/data/SST2",
    licence="none stated; Socher et al. 2013",
)
BRACKETS = {"-lrb-": "(", "-rrb-": ")", "lrb": "(", "rrb": ")", "``": '"', "''": '"'}


def sst2(*, natural: bool) -> LabelCorpus:
    """SST-2 (Socher et al. 2013), whole sentences: tokenised lower-case film reviews, positive or negative.

    Args:
        natural: whether sentences are put together as people write them ("it's good." for "it 's good .");
            the validation part, too.

    Raises:
        DataError: it is absent or malformed.
    """
    files = ["sst2/train.tsv", "sst2/val.tsv"]
    raw = [read_dataset(file, SST2) for file in files]
    train, validation = (
        _sst2_examples(content, file, natural=natural) for content, file in zip(raw, files, strict=True)
    )
    usage = Usage().with_unused(*ambiguities(train, files[0]))
    return LabelCorpus("sst2", SST2, shuffled(unambiguous(train)), validation, digest(*raw), usage=usage)


def _sst2_examples(raw: bytes, file: str, *, natural: bool) -> tuple[Labelled, ...]:
    rows = columns_of(lines_of(raw, file), 2, file)
    write = naturally_written if natural else _without_bracket_names
    return tuple(
        Labelled(write(text.strip()), polarity(label.strip(), file, number)) for number, (text, label, *_) in rows
    )


def naturally_written(tokenised: str) -> str:
    """Tokens joined as people write them."""
    text = _without_bracket_names(tokenised)
    text = re.sub(r" (n't|'s|'re|'ve|'ll|'d|'m)(?= |$)", r"\1", text)
    text = re.sub(r"\( ", "(", text)
    return re.sub(r" ([,.!?;:%)])", r"\1", text)


def _without_bracket_names(tokenised: str) -> str:
    return " ".join(BRACKETS.get(token, token) for token in tokenised.split())


IMDB_FILE = "imdb/train.tsv.gz"
IMDB = Origin(
    title="IMDB reviews",
    upstream="https://ai.stanford.edu/~amaas/data/sentiment/ (aclImdb_v1.tar.gz; lines text<TAB>label<TAB>..., gzip)",
    licence="none stated; cite Maas et al. 2011",
)
NUM_VALIDATION = 2000
MOST_WORDS = 60  # of a chunk


def imdb(*, chunk_words: int | None) -> LabelCorpus:
    """Large Movie Review Dataset (Maas et al. 2011), 25,000 reviews; 2,000 of them, drawn with a fixed seed, validate.

    A review's line breaks are HTML, and 681 reviews contain U+0085, which does not end a line here. A chunk of a
    review has the review's label, which is weak: not every sentence of a positive review is positive.

    Args:
        chunk_words: cut the training reviews after each sentence that makes a chunk this long; None: whole reviews.
            The validation part is whole reviews.

    Raises:
        DataError: it is absent or malformed.
    """
    raw = read_dataset(IMDB_FILE, IMDB)
    rows = columns_of(lines_of(raw, IMDB_FILE), 2, IMDB_FILE)
    read = [Labelled(plain_text(row[0]), polarity(row[1], IMDB_FILE, number)) for number, row in rows]
    reviews = unambiguous(read)
    usage = Usage().with_unused(*ambiguities(read, IMDB_FILE))
    train, validation = split_shuffled(reviews, min(NUM_VALIDATION, len(reviews) // 10), IMDB_FILE)
    if chunk_words is not None:
        pieces = [(chunk, label) for text, label in train for chunk in chunks(text, chunk_words)]
        train = tuple(Labelled(" ".join(words[:MOST_WORDS]), label) for words, label in pieces)
        cut = sum(len(words) > MOST_WORDS for words, _ in pieces)
        reason = f"are longer than {MOST_WORDS} words and cut there"
        usage = usage.with_unused(
            Unused(IMDB_FILE, "chunks", len(pieces), cut, reason, "data.chunk_words", is_used=True)
        )
    return LabelCorpus("imdb", IMDB, train, validation, digest(raw), usage=usage)


def plain_text(review: str) -> str:
    """The review without HTML line breaks, in one line."""
    return " ".join(re.sub(r"<br\s*/?>", " ", review).replace("\x85", " ").split())


def chunks(text: str, least_words: int) -> list[list[str]]:
    """Words of consecutive sentences joined until they are at least so many."""
    found: list[list[str]] = []
    words: list[str] = []
    for sentence in re.split(r"(?<=[.!?])[\"')]*\s+", text):
        words += sentence.split()
        if len(words) >= least_words:
            found.append(words)
            words = []
    if words:
        found.append(words)
    return found


Collection = Literal["waimai", "online-shopping"]
CHINESE_FOLDERS: dict[Collection, str] = {"waimai": "waimai_10k", "online-shopping": "online_shopping_10_cats"}


def chinese_reviews(collection: Collection) -> LabelCorpus:
    """Chinese reviews from ChineseNlpCorpus: food delivery (waimai_10k) or ten kinds of goods.

    Both are CSV with a header and sorted by label, so they are shuffled; some lines begin with a byte order mark.

    Raises:
        DataError: it is absent or malformed.
    """
    folder = CHINESE_FOLDERS[collection]
    origin = Origin(
        title=folder,
        upstream=f"https://github.com/SophonPlus/ChineseNlpCorpus/tree/master/datasets/{folder} (split it, gzip both)",
        licence="none stated; SophonPlus/ChineseNlpCorpus",
    )
    files = [f"{folder}/train.csv.gz", f"{folder}/val.csv.gz"]
    raw = [read_dataset(file, origin) for file in files]
    train, read = (_chinese_examples(content, file) for content, file in zip(raw, files, strict=True))
    validation = tuple(example for example in read if example.text)
    held_out = {example.text for example in validation}
    distinct = unambiguous(train)
    kept = tuple(example for example in distinct if example.text not in held_out)
    usage = Usage().with_unused(
        *ambiguities(train, files[0]),
        Unused(files[0], "texts", len(train), len(distinct) - len(kept), f"are also in {files[1]}", "data.dataset"),
        Unused(files[1], "texts", len(read), len(read) - len(validation), "have an empty text", "data.dataset"),
    )
    return LabelCorpus(collection, origin, shuffled(kept), validation, digest(*raw), usage=usage)


def _chinese_examples(raw: bytes, file: str) -> tuple[Labelled, ...]:
    rows = csv.DictReader(io.StringIO(text_of(raw, file), newline=""))
    if not {"label", "review"} <= set(rows.fieldnames or ()):
        raise DataError(f"{file} has columns {rows.fieldnames}; label and review are needed. Download it again.")
    examples = []
    line = rows.line_num + 1
    for row in rows:
        text = " ".join((row["review"] or "").replace("\ufeff", "").split())
        examples.append(Labelled(text, polarity(row["label"], file, line)))
        line = rows.line_num + 1
    return tuple(examples)
