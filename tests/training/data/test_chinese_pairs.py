import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from models.bundle import Languages
from models.errors import ConfigError, DataError
from training.data.chinese_pairs import captions_3am, python_docs, tatoeba_2025, wiktionary
from training.data.pairs import Pair, PairCorpus

EN_ZH = Languages(source="en", target="zh")
ZH_EN = Languages(source="zh", target="en")
real_data = pytest.mark.skipif("RNNSERVE_DATA" not in os.environ, reason="RNNSERVE_DATA is not set")
PO = """\
msgid ""
msgstr "Language: zh_CN\\n"

#: a.rst:1
msgid "A \\"list\\" "
"of words."
msgstr "词的列表。"

#, fuzzy
msgid "Perhaps."
msgstr "也许。"

msgid "Not yet."
msgstr ""

msgid "See :ref:`here`."
msgstr "见 :ref:`这里`。"

msgid "print"
msgstr "print"

msgid "A \\"list\\" of words."
msgstr "词的列表。"
"""


def archive(text: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as found:
        for name, content in (("a.po", text.encode()), ("README", b"\xff")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            found.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RNNSERVE_DATA", str(tmp_path))
    table = 'sentence,translation\n你好。,Hello.\n"早\n安。",Good morning.\n,Empty.\n'
    for folder in ("tatoeba_cmn_eng_2025", "wiktionary_zh_en", "3am_en_zh", "python_docs_zh_cn"):
        (tmp_path / folder).mkdir()
    for folder in ("tatoeba_cmn_eng_2025", "wiktionary_zh_en"):
        for part in ("train", "val"):
            (tmp_path / folder / f"{part}.csv.gz").write_bytes(gzip.compress(table.encode()))
    for side, lines in (("en", "A dog.\nA cat.\nA cow.\n"), ("zh", "狗。\n猫。\n牛。\n")):
        (tmp_path / f"3am_en_zh/train.{side}.gz").write_bytes(gzip.compress(lines.encode()))
        (tmp_path / f"3am_en_zh/val.{side}").write_text(lines, encoding="utf-8")
    (tmp_path / "3am_en_zh/train.exclude.txt").write_text("2\n", encoding="utf-8")
    for part in ("train", "val"):
        (tmp_path / f"python_docs_zh_cn/{part}.po.tar.gz").write_bytes(archive(PO))
    return tmp_path


@pytest.mark.parametrize("load", [tatoeba_2025, wiktionary])
def test_tables_are_read_with_their_line_breaks_in_either_direction(
    load: Callable[[Languages], PairCorpus], data: Path
) -> None:
    assert load(EN_ZH).train == (Pair("Hello.", "你好。"), Pair("Good morning.", "早 安。"))
    corpus = load(ZH_EN)
    assert corpus.validation[0] == Pair("你好。", "Hello.")
    assert str(corpus.usage.unused[0]).startswith("1 of 3 pairs of ")


def test_captions_of_the_official_parts_are_left_out(data: Path) -> None:
    corpus = captions_3am(ZH_EN)
    assert corpus.train == (Pair("狗。", "A dog."), Pair("牛。", "A cow."))
    assert len(corpus.validation) == 3
    (lost,) = corpus.usage.unused
    assert (lost.count, lost.total) == (1, 3)
    (data / "3am_en_zh/train.exclude.txt").write_text("two\n", encoding="utf-8")
    with pytest.raises(DataError, match="holds something that is no line number"):
        captions_3am(ZH_EN)


def test_messages_without_mark_up_are_read_and_the_others_counted(data: Path) -> None:
    corpus = python_docs(EN_ZH)
    assert corpus.train == (Pair('A "list" of words.', "词的列表。"),)
    counts = {item.reason: item.count for item in corpus.usage.unused if "train" in item.source}
    assert counts == {
        "are fuzzy or not translated": 2,
        "have no Chinese character": 1,
        "have reST mark-up": 1,
        "are duplicates": 1,
    }
    (data / "python_docs_zh_cn/val.po.tar.gz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"val\.po\.tar\.gz is not a whole \.tar\.gz file"):
        python_docs(EN_ZH)


@pytest.mark.parametrize("load", [tatoeba_2025, wiktionary, captions_3am, python_docs])
def test_absent_data_and_other_languages_are_said(
    load: Callable[[Languages], PairCorpus], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RNNSERVE_DATA", raising=False)
    with pytest.raises(DataError, match=r"RNNSERVE_DATA is not set.*https://.*licence: .*set RNNSERVE_DATA=FOLDER"):
        load(EN_ZH)
    with pytest.raises(ConfigError, match="has en and zh"):
        load(Languages(source="en", target="fr"))


@real_data
def test_the_real_sets_have_their_sizes() -> None:
    loads: list[Callable[[Languages], PairCorpus]] = [tatoeba_2025, wiktionary, captions_3am, python_docs]
    found = {corpus.name: (len(corpus.train), len(corpus.validation)) for corpus in (load(EN_ZH) for load in loads)}
    assert found == {
        "tatoeba-2025": (48_994, 1_420),
        "wiktionary": (5_745, 169),
        "3am": (23_818, 1_000),
        "python-docs": (11_977, 570),
    }
