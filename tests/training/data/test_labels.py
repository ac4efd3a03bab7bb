import gzip
import os
from collections import Counter
from pathlib import Path

import pytest

from models.errors import DataError
from training.data.comparisons import BETTER, comparisons
from training.data.labels import Labelled, labels_file, unambiguous
from training.data.reviews import chinese_reviews, imdb, sst2

real_data = pytest.mark.skipif("RNNSERVE_DATA" not in os.environ, reason="RNNSERVE_DATA is not set")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RNNSERVE_DATA", str(tmp_path))
    for folder in ("sst2", "imdb", "waimai_10k"):
        (tmp_path / folder).mkdir()
    return tmp_path


def test_sst2_can_be_written_as_people_write(data: Path) -> None:
    (data / "sst2/train.tsv").write_text("it 's lrb almost rrb fun , is n't it ?\t1\n", encoding="utf-8")
    (data / "sst2/val.tsv").write_text("dull .\t0\n", encoding="utf-8")
    assert sst2(natural=False).train == (Labelled("it 's ( almost ) fun , is n't it ?", "positive"),)
    assert sst2(natural=True).train == (Labelled("it's (almost) fun, isn't it?", "positive"),)
    assert sst2(natural=True).validation == (Labelled("dull.", "negative"),)


def write_imdb(root: Path, reviews: list[str]) -> None:
    lines = [f"{text}\t{i % 2}\t7\tpath" for i, text in enumerate(reviews)]
    (root / "imdb/train.tsv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))


def test_imdb_reviews_lose_their_html_and_are_not_cut_at_next_line(data: Path) -> None:
    write_imdb(data, [f"Number {i}.<br /><br />It\x85was fine." for i in range(20)])
    corpus = imdb(chunk_words=None)
    assert (len(corpus.train), len(corpus.validation)) == (18, 2)
    assert all(text.endswith(". It was fine.") for text, _ in corpus.train)


def test_chunks_are_whole_sentences_with_their_reviews_label(data: Path) -> None:
    write_imdb(data, [f"One two {i}. Three four five. Six!" for i in range(20)])
    whole, cut = imdb(chunk_words=None), imdb(chunk_words=5)
    assert cut.validation == whole.validation
    assert len(cut.train) == 2 * len(whole.train)
    assert {label for text, label in cut.train if text == "Six!"} == {"negative", "positive"}


def test_a_text_with_two_labels_is_left_out() -> None:
    examples = [
        Labelled("a", "positive"),
        Labelled("b", "positive"),
        Labelled("a", "negative"),
        Labelled("", "negative"),
    ]
    assert unambiguous(examples) == (Labelled("b", "positive"),)


def test_sorted_chinese_reviews_are_shuffled_and_keep_their_commas(data: Path) -> None:
    rows = [f'{int(i < 10)},"好吃,{i}"' for i in range(20)]
    for part, chosen in (("train", rows), ("val", ["1,\ufeff很好"])):
        text = "label,review\n" + "\n".join(chosen) + "\n"
        (data / f"waimai_10k/{part}.csv.gz").write_bytes(gzip.compress(text.encode()))
    corpus = chinese_reviews("waimai")
    assert corpus.validation == (Labelled("很好", "positive"),)
    labels = [label for _, label in corpus.train]
    assert labels != sorted(labels, reverse=True)
    assert sorted(text for text, _ in corpus.train) == sorted(f"好吃,{i}" for i in range(20))


def test_a_strange_label_is_named(data: Path) -> None:
    for part in ("train", "val"):
        (data / f"sst2/{part}.tsv").write_text("fine\t1\nfine\tgood\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"sst2/train\.tsv line 2: label 'good'; allowed: 0, 1"):
        sst2(natural=False)


def test_labels_of_your_own_are_any_words(tmp_path: Path) -> None:
    lines = [f"text {i}\t{['buy', 'sell', 'hold'][i % 3]}" for i in range(30)]
    (tmp_path / "mine.tsv").write_text("\n".join(lines), encoding="utf-8")
    corpus = labels_file(tmp_path / "mine.tsv", 0.2)
    assert (len(corpus.train), len(corpus.validation)) == (24, 6)
    assert {label for _, label in corpus.train} == {"buy", "sell", "hold"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text\t\n", "line 1 has no label; write one after its text"),
        ("text\n", "line 1 has 1 columns"),
        ("a\tb\n", "use more"),
        ("a\tx\nb\tx\na\ty\n", "line 3: the text 'a' has the label 'y' here and 'x' in line 1; keep one"),
    ],
)
def test_a_useless_file_of_labels_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        labels_file(tmp_path / "mine.tsv", 0.1)


@pytest.mark.parametrize("dataset", ["sst2", "imdb", "waimai", "online-shopping"])
def test_absent_data_says_where_to_get_it(dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RNNSERVE_DATA", raising=False)
    loads = {
        "sst2": lambda: sst2(natural=False),
        "imdb": lambda: imdb(chunk_words=None),
        "waimai": lambda: chinese_reviews("waimai"),
        "online-shopping": lambda: chinese_reviews("online-shopping"),
    }
    with pytest.raises(DataError, match=r"RNNSERVE_DATA is not set.*https://.*licence: .*set RNNSERVE_DATA=FOLDER"):
        loads[dataset]()


def test_no_count_of_words_tells_comparisons_apart() -> None:
    corpus = comparisons(0.1)
    for part in (corpus.train, corpus.validation):
        bags: dict[frozenset[tuple[str, int]], Counter[str]] = {}
        for text, label in part:
            bag = frozenset(Counter(text.rstrip(".").split()).items())
            bags.setdefault(bag, Counter())[label] += 1
        assert all(counts["positive"] == counts["negative"] for counts in bags.values())
    assert not set(corpus.train) & set(corpus.validation)


def test_a_comparisons_label_follows_from_what_comes_after_but() -> None:
    for text, label in comparisons(0.1).train:
        last = text.rstrip(".").split(" but ")[1].split()
        is_praise = bool(set(last) & set(BETTER)) != ("not" in last)
        assert label == ("positive" if is_praise else "negative")


@real_data
def test_real_reviews() -> None:
    sst = sst2(natural=False)
    assert (len(sst.train), len(sst.validation)) == (6_911, 872)
    reviews = imdb(chunk_words=None)
    assert (len(reviews.train), len(reviews.validation)) == (22_902, 2_000)
    assert not any("<br" in text for text, _ in reviews.train)
    for collection, sizes in (("waimai", (9_805, 952)), ("online-shopping", (51_436, 5_118))):
        corpus = chinese_reviews(collection)  # type: ignore[arg-type]
        assert (len(corpus.train), len(corpus.validation)) == sizes
