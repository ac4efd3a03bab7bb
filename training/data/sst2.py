"""SST-2 (Socher et al. 2013), whole sentences: tokenised lower-case film reviews, positive or negative."""

import re

from training.data.corpus import Origin, digest
from training.data.folder import read_dataset
from training.data.labels import LabelCorpus, Labelled, polarity, shuffled, unambiguous
from training.data.lines import columns_of, lines_of

ORIGIN = Origin(
    title="SST-2",
    upstream="https://github.com/clairett/pytorch-sentiment-classification/tree/master/data/SST2",
    licence="none stated; Socher et al. 2013",
)
BRACKETS = {"-lrb-": "(", "-rrb-": ")", "lrb": "(", "rrb": ")", "``": '"', "''": '"'}


def load(*, natural: bool) -> LabelCorpus:
    """Read the data set.

    Args:
        natural: whether sentences are put together as people write them ("it's good." for "it 's good .");
            the validation part, too.

    Raises:
        DataError: it is absent or malformed.
    """
    files = ["sst2/train.tsv", "sst2/val.tsv"]
    raw = [read_dataset(file, ORIGIN) for file in files]
    train, validation = (_examples(content, file, natural=natural) for content, file in zip(raw, files, strict=True))
    return LabelCorpus("sst2", ORIGIN, shuffled(unambiguous(train)), validation, digest(*raw))


def _examples(raw: bytes, file: str, *, natural: bool) -> tuple[Labelled, ...]:
    rows = columns_of(lines_of(raw, file), 2, file)
    write = naturally_written if natural else _without_bracket_names
    return tuple(
        Labelled(write(text.strip()), polarity(label.strip(), file, number))
        for number, (text, label, *_) in enumerate(rows, 1)
    )


def naturally_written(tokenised: str) -> str:
    """Tokens joined as people write them."""
    text = _without_bracket_names(tokenised)
    text = re.sub(r" (n't|'s|'re|'ve|'ll|'d|'m)(?= |$)", r"\1", text)
    text = re.sub(r"\( ", "(", text)
    return re.sub(r" ([,.!?;:%)])", r"\1", text)


def _without_bracket_names(tokenised: str) -> str:
    return " ".join(BRACKETS.get(token, token) for token in tokenised.split())
