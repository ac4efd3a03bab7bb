import gzip
import os
from pathlib import Path

import pytest

from models.errors import DataError
from training.data.texts import NAMES_FILE
from training.generation.recipe import DataSection
from training.generation.task import load_corpus

real_data = pytest.mark.skipif("RNNSERVE_DATA" not in os.environ, reason="RNNSERVE_DATA is not set")


def put(root: Path, file: str, content: bytes) -> None:
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_bytes(content)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RNNSERVE_DATA", str(tmp_path))
    return tmp_path


def test_tiny_shakespeare_splits_off_the_last_tenth_of_characters(data: Path) -> None:
    text = "First Citizen:\nWé " * 10
    put(data, "tinyshakespeare/input.txt", text.encode())
    corpus = load_corpus(DataSection(dataset="tiny-shakespeare"))
    assert corpus.train == (text[:162],)
    assert corpus.validation == (text[162:],)
    assert not corpus.has_ends


def test_war_and_peace_is_read_from_gzip(data: Path) -> None:
    text = "Eh bien, mon prince. " * 20
    put(data, "war_and_peace/input.txt.gz", gzip.compress(text.encode()))
    corpus = load_corpus(DataSection(dataset="war-and-peace", validation_share=0.25))
    assert corpus.train[0] + corpus.validation[0] == text
    assert len(corpus.validation[0]) == 105


def test_half_a_gzip_file_is_refused_in_words(data: Path) -> None:
    put(data, "war_and_peace/input.txt.gz", gzip.compress(b"Eh bien, mon prince. " * 20)[:30])
    with pytest.raises(DataError, match=r"input\.txt\.gz is not a whole gzip file .* download it again"):
        load_corpus(DataSection(dataset="war-and-peace"))


def test_names_are_shuffled_the_same_way_every_time_and_end(data: Path) -> None:
    everyone = [f"name{i}" for i in range(50)]
    put(data, NAMES_FILE, "\n".join(everyone).encode() + b"\n")
    corpus = load_corpus(DataSection(dataset="names"))
    assert (len(corpus.train), len(corpus.validation)) == (45, 5)
    assert sorted(corpus.train + corpus.validation) == sorted(everyone)
    assert corpus.train != tuple(everyone[:45])
    assert corpus == load_corpus(DataSection(dataset="names"))
    assert corpus.has_ends


@pytest.mark.parametrize("suffix", [".txt", ".gz"])
def test_text_file_of_your_own(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"mine{suffix}"
    raw = b"\xef\xbb\xbfone\r\ntwo\r\n" * 9
    path.write_bytes(gzip.compress(raw) if suffix == ".gz" else raw)
    corpus = load_corpus(DataSection(dataset="text-file", path=str(path)))
    assert "\r" not in corpus.train[0]
    assert corpus.train[0].startswith("one\ntwo\n")


def test_text_that_is_not_utf8_is_refused_with_its_byte(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_bytes(b"caf\xe9 " * 10)
    with pytest.raises(DataError, match=r"mine\.txt is not UTF-8 at byte 3"):
        load_corpus(DataSection(dataset="text-file", path=str(tmp_path / "mine.txt")))


@pytest.mark.parametrize("content", [b"", b"abc"])
def test_text_too_short_to_split_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mine.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be split .* Use a longer text"):
        load_corpus(DataSection(dataset="text-file", path=str(tmp_path / "mine.txt")))


def test_builtin_text_needs_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RNNSERVE_DATA", raising=False)
    corpus = load_corpus(DataSection(dataset="builtin", max_characters=5000))
    assert len(corpus.train[0]) == 4500
    assert corpus == load_corpus(DataSection(dataset="builtin", max_characters=5000))


@pytest.mark.parametrize("dataset", ["tiny-shakespeare", "war-and-peace", "names"])
def test_absent_data_says_where_to_get_it(dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    section = DataSection.model_validate({"dataset": dataset})
    monkeypatch.delenv("RNNSERVE_DATA", raising=False)
    with pytest.raises(DataError, match=r"RNNSERVE_DATA is not set.*https://.*licence: .*set RNNSERVE_DATA=FOLDER"):
        load_corpus(section)
    monkeypatch.setenv("RNNSERVE_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"cannot be read \(No such file.*https://"):
        load_corpus(section)


@real_data
def test_real_tiny_shakespeare() -> None:
    corpus = load_corpus(DataSection(dataset="tiny-shakespeare"))
    assert (len(corpus.train[0]), len(corpus.validation[0])) == (1_003_855, 111_539)
    assert set(corpus.validation[0]) <= set(corpus.train[0])


@real_data
def test_real_war_and_peace() -> None:
    corpus = load_corpus(DataSection(dataset="war-and-peace"))
    assert len(corpus.train[0]) > 2_000_000
    assert "Anna P" in corpus.train[0]


@real_data
def test_real_names() -> None:
    corpus = load_corpus(DataSection(dataset="names"))
    assert (len(corpus.train), len(corpus.validation)) == (28_830, 3_203)
