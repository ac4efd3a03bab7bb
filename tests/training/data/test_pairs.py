import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from models.bundle import Languages
from models.errors import ConfigError, DataError
from tests.training.data.number_parser import number_of_chinese, number_of_english
from training.data.numbers import numbers
from training.data.pairs import Pair, PairCorpus, multi30k, pairs_file, tatoeba

real_data = pytest.mark.skipif("RNNSERVE_DATA" not in os.environ, reason="RNNSERVE_DATA is not set")
EN_ZH = Languages(source="en", target="zh")
EN_DE = Languages(source="en", target="de")


def put(root: Path, file: str, text: str) -> None:
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_bytes(gzip.compress(text.encode()))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RNNSERVE_DATA", str(tmp_path))
    put(
        tmp_path,
        "tatoeba_cmn_eng/train.txt.gz",
        "Hi.\t嗨。\tby A\nHi.\t嗨。\tby B\nHi.\t你好。\tby C\n\u0085.\t。\tD\n",
    )
    put(tmp_path, "tatoeba_cmn_eng/val.txt.gz", "Run.\t跑。\tby D\n")
    put(tmp_path, "multi30k/train.en.gz", "A dog.\nA cat.\n\nA cow.\n")
    put(tmp_path, "multi30k/train.de.gz", "Ein Hund.\n@@\n\nEine Kuh.\n")
    put(tmp_path, "multi30k/val.en.gz", "A bird.\n")
    put(tmp_path, "multi30k/val.de.gz", "Ein Vogel.\n")
    return tmp_path


def test_tatoeba_keeps_the_attribution_and_no_pair_twice(data: Path) -> None:
    corpus = tatoeba(EN_ZH)
    assert corpus.train[:2] == (Pair("Hi.", "嗨。", "by A"), Pair("Hi.", "你好。", "by C"))
    assert corpus.validation == (Pair("Run.", "跑。", "by D"),)
    assert "CC BY 2.0 FR" in corpus.notice


def test_lines_end_at_line_feeds_alone(data: Path) -> None:
    assert len(tatoeba(EN_ZH).train) == 3  # U+0085 ends no line; the sentence that begins with it is kept


def test_the_other_direction_exchanges_the_sides(data: Path) -> None:
    corpus = tatoeba(Languages(source="zh", target="en"))
    assert corpus.validation == (Pair("跑。", "Run.", "by D"),)


def test_multi30k_leaves_out_what_was_never_translated(data: Path) -> None:
    corpus = multi30k(EN_DE)
    assert corpus.train == (Pair("A dog.", "Ein Hund."), Pair("A cow.", "Eine Kuh."))
    assert not corpus.may_quote


def test_multi30k_with_a_lost_line_is_refused(data: Path) -> None:
    put(data, "multi30k/train.de.gz", "Ein Hund.\n")
    with pytest.raises(DataError, match=r"train\.de\.gz has 1 lines, its source 4; download both again"):
        multi30k(EN_DE)


@pytest.mark.parametrize("load", [tatoeba, multi30k])
def test_other_languages_are_refused_with_those_there_are(load: Callable[[Languages], PairCorpus]) -> None:
    with pytest.raises(ConfigError, match=r"languages ja to en: dataset .* has de and en|.* has en and zh"):
        load(Languages(source="ja", target="en"))


@pytest.mark.parametrize(("load", "languages"), [(tatoeba, EN_ZH), (multi30k, EN_DE)])
def test_absent_data_says_where_to_get_it(
    load: Callable[[Languages], PairCorpus], languages: Languages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RNNSERVE_DATA", raising=False)
    with pytest.raises(DataError, match=r"RNNSERVE_DATA is not set.*https://.*licence: .*set RNNSERVE_DATA=FOLDER"):
        load(languages)


def test_a_line_without_a_tab_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_text("one\tun\ntwo deux\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"mine\.tsv line 2 has 1 columns, 2 are needed"):
        pairs_file(tmp_path / "mine.tsv", EN_DE, 0.5)


def test_pairs_of_your_own_are_split_by_source(tmp_path: Path) -> None:
    lines = [f"sentence {i // 2}\tSatz {i}" for i in range(100)]
    (tmp_path / "mine.tsv").write_text("\n".join(lines), encoding="utf-8")
    corpus = pairs_file(tmp_path / "mine.tsv", EN_DE, 0.1)
    assert (len(corpus.train), len(corpus.validation)) == (90, 10)
    assert not {pair.source for pair in corpus.train} & {pair.source for pair in corpus.validation}
    assert corpus == pairs_file(tmp_path / "mine.tsv", EN_DE, 0.1)


def test_too_few_pairs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.tsv").write_text("one\tun\n", encoding="utf-8")
    with pytest.raises(DataError, match="1 different sources cannot be split"):
        pairs_file(tmp_path / "mine.tsv", EN_DE, 0.1)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.tsv cannot be read \(No such file"):
        pairs_file(tmp_path / "no.tsv", EN_DE, 0.1)


def test_numbers_are_right_translations_of_each_other() -> None:
    corpus = numbers(EN_ZH, examples=500, largest=99_999_999, validation_share=0.1)
    for pair in (*corpus.train, *corpus.validation):
        assert number_of_english(pair.source) == number_of_chinese(pair.target)
    assert corpus == numbers(EN_ZH, examples=500, largest=99_999_999, validation_share=0.1)


@real_data
def test_real_tatoeba() -> None:
    corpus = tatoeba(EN_ZH)
    assert (len(corpus.train), len(corpus.validation)) == (21_305, 948)
    assert all("CC-BY 2.0" in pair.attribution for pair in corpus.validation)
    assert not {pair.source for pair in corpus.train} & {pair.source for pair in corpus.validation}
    french = tatoeba(Languages(source="en", target="fr"))
    assert (len(french.train), len(french.validation)) == (138_555, 2_128)


@real_data
def test_real_multi30k() -> None:
    corpus = multi30k(EN_DE)
    assert (len(corpus.train), len(corpus.validation)) == (28_995, 1_014)
    assert not any("@@" in pair for pair in corpus.train)
