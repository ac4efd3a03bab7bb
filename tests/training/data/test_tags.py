import gzip
import json
import os
from pathlib import Path

import pytest

from models.errors import DataError
from training.data.errands import errands
from training.data.tags import Tagged, columns, conllu, repaired, tags_file
from training.data.treebanks import cluener, gmb, treebank, weibo, wnut17

real_data = pytest.mark.skipif("RNNSERVE_DATA" not in os.environ, reason="RNNSERVE_DATA is not set")

CONLLU = """# sent_id = 1
# text = I can't say.
1\tI\tI\tPRON\tPRP\t_\t0\troot\t_\t_
2-3\tcan't\t_\t_\t_\t_\t_\t_\t_\t_
2\tca\tcan\tAUX\tMD\t_\t0\troot\t_\t_
3\tn't\tnot\tPART\tRB\t_\t0\troot\t_\t_
3.1\tghost\tghost\tVERB\tVB\t_\t_\t_\t_\t_
4\tsay\tsay\tVERB\tVB\t_\t0\troot\t_\tSpaceAfter=No
5\t.\t.\tPUNCT\t.\t_\t0\troot\t_\t_

"""


def test_of_a_multiword_token_its_words_are_read_and_no_empty_node() -> None:
    (sentence,) = conllu(CONLLU.encode(), "x.conllu")
    assert sentence.words == ("I", "ca", "n't", "say", ".")
    assert sentence.tags == ("PRON", "AUX", "PART", "VERB", "PUNCT")
    assert sentence.spans == ((0, 1), (2, 4), (4, 7), (8, 11), (11, 12))
    assert sentence.tokens == ((0, 1), (2, 7), (2, 7), (8, 11), (11, 12))
    assert conllu(gzip.compress(CONLLU.encode()), "x.conllu.gz", "xpos")[0].tags[1] == "MD"


def test_words_that_do_not_join_to_their_token_have_its_place() -> None:
    text = CONLLU.replace("can't say", "wont say").replace("2-3\tcan't", "2-3\twont")
    assert conllu(text.encode(), "x")[0].spans == ((0, 1), (2, 6), (2, 6), (7, 10), (10, 11))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\tI\tI\n", r"x line 1 has 3 columns; CoNLL-U has 10, tabs separate them\."),
        (CONLLU.replace("4\tsay", "four\tsay"), r"x line 8: id 'four'; allowed: 1, 1-2, 1\.1\."),
        (CONLLU.replace("\tVERB\tVB\t_\t0", "\t_\tVB\t_\t0"), r"x line 8 has no form or no tag in column 4"),
        ("# text = nothing\n\n", r"x line 1: a sentence without words"),
    ],
)
def test_a_malformed_line_is_named(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        conllu(text.encode(), "x")


def test_columns_are_separated_by_white_space_or_tabs_alone() -> None:
    text = "-DOCSTART- -X- O\n\nNew NNP B-LOC\nYork NNP I-LOC\r\n\nhi UH O\n"
    first, second = columns(text.encode(), "x")
    assert first == Tagged(("New", "York"), ("B-LOC", "I-LOC"))
    assert second.words == ("hi",)
    assert columns(b"New York\tB-LOC\n", "x", separator="\t") == [Tagged(("New York",), ("B-LOC",))]
    with pytest.raises(DataError, match=r"x line 2: 'lonely' has no word or no tag; write WORD<TAB>TAG"):
        columns(b"a\tO\nlonely\n", "x", separator="\t")


def test_a_span_that_begins_with_i_is_repaired_and_counted() -> None:
    sentence = Tagged(tuple("abcdef"), ("I-x", "I-x", "O", "I-y", "B-x", "I-y"))
    assert repaired(sentence) == (sentence._replace(tags=("B-x", "I-x", "O", "B-y", "B-x", "B-y")), 2 + 1)


def test_a_file_of_your_own_is_split_with_equal_sentences_in_one_part(tmp_path: Path) -> None:
    lines = [f"w{i % 15}\tO\ncity{i % 15}\tI-place\n" for i in range(45)]
    (tmp_path / "mine.tsv").write_text("\n".join(lines), encoding="utf-8")
    corpus = tags_file(tmp_path / "mine.tsv", "tsv", validation_share=0.2, splitter="whitespace")
    assert (len(corpus.train), len(corpus.validation)) == (36, 9)
    assert not {sentence.words for sentence in corpus.train} & {sentence.words for sentence in corpus.validation}
    assert corpus.is_bio
    assert corpus.num_repaired == 45


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "0 sentences cannot be split"),
        ("a\tX\n\nb\tX\n\nc\tX\n", "training sentences have the tags X, validation sentences also none; at least two"),
    ],
)
def test_a_file_that_is_not_enough_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "mine.tsv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        tags_file(tmp_path / "mine.tsv", "tsv", validation_share=0.4, splitter="words")
    with pytest.raises(DataError, match=r"none\.tsv cannot be read \(No such file"):
        tags_file(tmp_path / "none.tsv", "tsv", validation_share=0.4, splitter="words")


def test_errands_are_the_same_every_time_and_need_the_words_around_a_name() -> None:
    corpus = errands(0.1)
    assert corpus == errands(0.1)
    tags = {
        tag
        for sentence in corpus.train
        for word, tag in zip(sentence.words, sentence.tags, strict=True)
        if word == "Florence"
    }
    assert tags == {"B-person", "B-place"}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RNNSERVE_DATA", str(tmp_path))
    for folder in ("cluener2020", "weibo_ner", "gmb_sample"):
        (tmp_path / folder).mkdir()
    return tmp_path


def test_of_overlapping_chinese_spans_the_longer_counts(data: Path) -> None:
    line = {"text": "在 北京大学", "label": {"address": {"北京": [[2, 3]]}, "organization": {"北京大学": [[2, 5]]}}}
    (data / "cluener2020/train.json.gz").write_bytes(gzip.compress(json.dumps(line).encode()))
    (data / "cluener2020/val.json").write_text(json.dumps(line), encoding="utf-8")
    (sentence,) = cluener().train
    assert sentence.words == tuple("在北京大学")
    assert sentence.tags == ("O", "B-organization", *["I-organization"] * 3)
    assert sentence.spans == ((0, 1), (2, 3), (3, 4), (4, 5), (5, 6))
    (data / "cluener2020/val.json").write_text('{"text": "x"}', encoding="utf-8")
    with pytest.raises(DataError, match=r"val\.json line 1 is not a text with its labels"):
        cluener()


def test_segment_digits_go_and_repeated_sentences_are_not_trained_on(data: Path) -> None:
    (data / "weibo_ner/weiboNER_2nd_conll.train").write_text("京0\tB-X\n50\tO\n\n好0\tO\n", encoding="utf-8")
    (data / "weibo_ner/weiboNER_2nd_conll.dev").write_text("好1\tO\n", encoding="utf-8")
    corpus = weibo()
    assert [sentence.words for sentence in corpus.train] == [("京", "5")]


def test_sentences_of_gmb_are_found_by_their_number(data: Path) -> None:
    head = "\tSentence #\tWord\tPOS\tTag\n"
    rows = '0\t1.0\tIn\tIN\tO\n1\t1.0\tIraq\tNNP\tB-geo\n2\t2.0\t"\tSYM\tO\n'
    (data / "gmb_sample/train.txt.gz").write_bytes(gzip.compress((head + rows).encode()))
    (data / "gmb_sample/val.txt").write_text(head + rows, encoding="utf-8")
    assert [sentence.words for sentence in gmb().train] == [("In", "Iraq"), ('"',)]


@real_data
def test_the_real_sets_have_their_sizes() -> None:
    found = {
        corpus.name: (len(corpus.train), len(corpus.validation))
        for corpus in (treebank("ewt", "upos"), wnut17(), gmb(), cluener())
    }
    assert found == {"ewt": (12_544, 2001), "wnut17": (3394, 1009), "gmb": (2399, 300), "cluener": (9674, 1074)}


def test_absent_data_says_where_it_is_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RNNSERVE_DATA", raising=False)
    with pytest.raises(DataError, match=r"UD English EWT .* Download it from https://github\.com/UniversalDep"):
        treebank("ewt", "upos")
